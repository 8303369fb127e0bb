import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import { decoderFor } from '../../lib/content-coding.js';
import { requestWith } from '../support/received.js';
import { closeAll } from '../support/servers.js';

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
  it.each(encoders)('%s is decoded', async (coding, encode) => {
    const decoder = decoderFor(await requestWith([]), ` ${coding.toUpperCase()} `);
    decoder?.end(encode(TEXT));
    expect(Buffer.concat((await decoder?.toArray()) ?? []).toString()).toBe(TEXT);
  });

  it.each([
    ['Accept-Encoding: identity', 'gzip'],
    ['Accept-Encoding: gzip;q=0, br', 'gzip'],
    ['Accept-Encoding: *;q=0', 'br'],
    ['Accept-Encoding:', 'gzip'],
    ['Accept-Encoding: br', 'gzip'],
  ])('is one that is refused or not named: %s', async (line, coding) => {
    const decoder = decoderFor(await requestWith([line]), coding);
    expect(decoder).toBeDefined();
    decoder?.destroy();
  });
});

describe('a body passes as it came', () => {
  it.each([
    ['in a coding that the client accepts', 'Accept-Encoding: deflate, gzip;q=0.5', 'gzip'],
    ['in one that a wildcard covers', 'Accept-Encoding: *', 'br'],
    ['without a coding', 'Accept-Encoding: identity', undefined],
    ['with an empty coding', 'Accept-Encoding: identity', ' '],
    ['in no coding at all', 'Accept-Encoding: gzip', 'identity'],
    ['in an unknown coding', 'Accept-Encoding: identity', 'compress'],
    ['in a chain of codings', 'Accept-Encoding: identity', 'gzip, br'],
  ])('%s', async (_case, line, coding) => {
    expect(decoderFor(await requestWith([line]), coding)).toBeUndefined();
  });
});
