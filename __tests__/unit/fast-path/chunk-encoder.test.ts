import { describe, expect, it } from '@jest/globals';
import { chunkOf } from '../../../lib/fast-path/chunk-encoder.js';

const pieces = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('a chunk', () => {
  it.each([
    [['a'], '1\r\na\r\n'],
    [['data: 1\n', '\n'], '9\r\ndata: 1\n\n\r\n'],
    [['\r\n0\r\n\r\n'], '7\r\n\r\n0\r\n\r\n\r\n'],
    [['0123456789', 'abcdef'], '10\r\n0123456789abcdef\r\n'],
    [['ü', '🙂'], '6\r\nü🙂\r\n'],
  ])('chunk encoder: a chunk of %j is framed', (texts, expected) => {
    const all = pieces(...texts);
    const parts = chunkOf(all, Buffer.concat(all).length);
    expect(Buffer.concat(parts).toString()).toBe(expected);
    expect(parts).toHaveLength(1);
  });

  it('chunk encoder: a chunk of large pieces is made of them, and not of copies', () => {
    const [one, two] = [Buffer.alloc(1_000_000, 'x'), Buffer.alloc(1_000_000, 'y')];
    const parts = chunkOf([one, two], 2_000_000);
    expect(Buffer.concat(parts).toString()).toBe(`1e8480\r\n${one}${two}\r\n`);
    expect(parts.slice(1, -1)).toEqual([one, two]);
    expect(parts[1]).toBe(one);
  });
});
