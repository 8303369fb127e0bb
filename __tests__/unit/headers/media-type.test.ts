import { describe, expect, it } from '@jest/globals';
import { parseMediaType } from '../../../lib/headers/media-type.js';

describe('a Content-Type', () => {
  it('Content-Type: is parsed with its parameters, or not at all', () => {
    expect(parseMediaType('Text/Plain; Charset="latin1"')?.params.get('charset')).toBe('latin1');
    expect(parseMediaType('no type')).toBeUndefined();
  });
});
