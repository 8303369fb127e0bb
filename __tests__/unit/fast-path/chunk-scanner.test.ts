import { describe, expect, it } from '@jest/globals';
import { ChunkScanner, forEachChunk } from '../../../lib/fast-path/chunk-scanner.js';

/** What it finds whole in each read, and how many bytes that holds. */
function scanned(...reads: string[]): { whole: string[]; sizes: number[]; isLost: boolean } {
  const scanner = new ChunkScanner();
  const found = reads.map((text) => {
    const read = Buffer.from(text, 'latin1');
    const { start, end, size } = scanner.scan(read);
    return { whole: read.toString('latin1', start, end), size };
  });
  return { whole: found.map(({ whole }) => whole), sizes: found.map(({ size }) => size), isLost: scanner.isLost };
}

describe('whole chunks', () => {
  it('chunk scanner: whole chunks are found one behind the other', () => {
    const chunks = '1\r\na\r\nA\r\n0123456789\r\n0f\r\n0123\r\n3\r\nx\r\n012\r\n';
    expect(scanned(chunks)).toEqual({ whole: [chunks], sizes: [26], isLost: false });
  });

  it('chunk scanner: whole chunks are found behind the rest of one, and in front of the beginning of one', () => {
    expect(scanned('3\r\na', 'bc\r\n1\r\nd\r\n2', '\r\n', 'e', 'f\r', '\n1\r\ng\r\n')).toEqual({
      whole: ['', '1\r\nd\r\n', '', '', '', '1\r\ng\r\n'],
      sizes: [0, 1, 0, 0, 0, 1],
      isLost: false,
    });
  });

  it('chunk scanner: whole chunks are none in an empty read', () => {
    expect(scanned('', '1\r\na\r\n', '')).toEqual({ whole: ['', '1\r\na\r\n', ''], sizes: [0, 1, 0], isLost: false });
  });
});

describe('it is lost', () => {
  it.each([
    ['the last chunk', '0\r\n\r\n'],
    ['an extension', '1;a\r\na\r\n'],
    ['a space', '1 \r\na\r\n'],
    ['no digit', 'x\r\na\r\n'],
    ['no size', '\r\na\r\n'],
    ['too many digits', '00000001\r\na\r\n'],
    ['LF alone', '1\na\r\n'],
    ['CR alone', '1\ra\r\n'],
    ['no CRLF behind a chunk', '1\r\nab\r\n'],
    ['no CR behind a chunk', '1\r\na\n\n'],
    ['no LF behind a chunk', '1\r\na\r\r'],
  ])('chunk scanner: it is lost at %s, wherever the read ends', (_what, text) => {
    for (let cut = 0; cut <= text.length; cut += 1) {
      expect(scanned(`2\r\nok\r\n${text.slice(0, cut)}`, text.slice(cut), '1\r\na\r\n')).toEqual({
        whole: ['2\r\nok\r\n', '', ''],
        sizes: [2, 0, 0],
        isLost: true,
      });
    }
  });
});

it('chunk scanner: has the bytes of whole chunks', () => {
  const seen: string[] = [];
  forEachChunk(Buffer.from('1\r\na\r\n0A\r\n01234\r\n789\r\n'), (bytes) => seen.push(String(bytes)));
  expect(seen).toEqual(['a', '01234\r\n789']);
});
