import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import { codingOf, createDecoder, isAccepted, isDecodable } from '../../../lib/headers/content-coding.js';
import { requestWith } from '../../support/servers/bare-http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

const TEXT = 'data: zażółć\n\n';
const encoders: [coding: string, encode: (text: string) => Buffer][] = [
  ['gzip', zlib.gzipSync],
  ['x-gzip', zlib.gzipSync],
  ['deflate', zlib.deflateSync],
  ['br', zlib.brotliCompressSync],
];
// Node 22 cannot tell a cut frame from a whole one: there zstd passes undecoded.
if (typeof zlib.zstdCompressSync === 'function' && Number.parseInt(process.versions.node, 10) >= 24)
  encoders.push(['zstd', zlib.zstdCompressSync]);

describe('a coding that the client does not accept', () => {
  it.each(encoders)('content coding that the client does not accept: %s is decoded', async (coding, encode) => {
    const named = codingOf(` ${coding.toUpperCase()} `) ?? '';
    expect(named).toBe(coding);
    expect(isDecodable(named)).toBe(true);
    expect(isAccepted(await requestWith([]), named)).toBe(false);
    const decoder = createDecoder(named);
    decoder.end(encode(TEXT));
    expect(Buffer.concat(await decoder.toArray()).toString()).toBe(TEXT);
  });

  it.each([
    ['Accept-Encoding: identity', 'gzip'],
    ['Accept-Encoding: gzip;q=0, br', 'gzip'],
    ['Accept-Encoding: *;q=0', 'br'],
    ['Accept-Encoding:', 'gzip'],
    ['Accept-Encoding: br', 'gzip'],
  ])(
    'content coding that the client does not accept: is one that is refused or not named: %s',
    async (line, coding) => {
      expect(isAccepted(await requestWith([line]), coding)).toBe(false);
    },
  );
});

describe('a coding that the client accepts', () => {
  it.each([
    ['by name', 'Accept-Encoding: deflate, gzip;q=0.5', 'gzip'],
    ['by a wildcard', 'Accept-Encoding: *', 'br'],
  ])('content coding that the client accepts: %s', async (_case, line, coding) => {
    expect(isAccepted(await requestWith([line]), coding)).toBe(true);
  });
});

it.each([undefined, '', ' ', 'identity', 'Identity'])('content coding: %p is no coding', (field) => {
  expect(codingOf(field)).toBeUndefined();
});

it.each(['compress', 'gzip, br'])('content coding: %s cannot be decoded', (coding) => {
  expect(isDecodable(coding)).toBe(false);
  expect(() => createDecoder(coding)).toThrow(TypeError);
});
