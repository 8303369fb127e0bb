import { describe, expect, it } from '@jest/globals';
import { joined } from '../../../lib/util/join-buffers.js';

const pieces = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('pieces', () => {
  it('joinBuffers: pieces are joined, and one is left alone', () => {
    const [piece] = pieces('a') as [Buffer];
    expect(joined([piece], 1)).toBe(piece);
    expect(joined(pieces('a', 'bc'), 3).toString()).toBe('abc');
  });
});
