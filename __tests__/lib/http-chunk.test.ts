import { describe, expect, it } from '@jest/globals';
import { chunkOf, joined } from '../../lib/http-chunk.js';

const pieces = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('a chunk', () => {
  it.each([
    [['a'], '1\r\na\r\n'],
    [['data: 1\n', '\n'], '9\r\ndata: 1\n\n\r\n'],
    [['\r\n0\r\n\r\n'], '7\r\n\r\n0\r\n\r\n\r\n'],
    [['0123456789', 'abcdef'], '10\r\n0123456789abcdef\r\n'],
    [['ü', '🙂'], '6\r\nü🙂\r\n'],
  ])('of %j is framed', (texts, expected) => {
    const all = pieces(...texts);
    expect(chunkOf(all, Buffer.concat(all).length).toString()).toBe(expected);
  });

  it('may be large', () => {
    const body = Buffer.alloc(1_000_000, 'x');
    const chunk = chunkOf([body, body], 2_000_000).toString('latin1');
    expect(chunk).toBe(`1e8480\r\n${'x'.repeat(2_000_000)}\r\n`);
  });
});

describe('pieces', () => {
  it('are joined, and one is left alone', () => {
    const [piece] = pieces('a') as [Buffer];
    expect(joined([piece], 1)).toBe(piece);
    expect(joined(pieces('a', 'bc'), 3).toString()).toBe('abc');
  });
});
