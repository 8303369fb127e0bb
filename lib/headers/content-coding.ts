import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import Negotiator from 'negotiator';
import { ZSTD_WINDOW_LOG } from '../defaults.js';
import { combined } from './header-values.js';

/** Decoders by content coding (RFC 9110 8.4.1). */
const DECODERS = new Map<string, () => Transform>([
  ['gzip', () => zlib.createGunzip()],
  ['x-gzip', () => zlib.createGunzip()],
  ['deflate', () => zlib.createInflate()],
  ['br', () => zlib.createBrotliDecompress()],
]);
const ZSTD = { params: { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } };
if (noticesCutZstd()) DECODERS.set('zstd', () => zlib.createZstdDecompress(ZSTD));

/** Node has zstd from 22.15 on, but before 24 takes a frame that was cut for a whole one: such bytes pass undecoded. */
function noticesCutZstd(): boolean {
  if (typeof zlib.zstdCompressSync !== 'function') return false;
  try {
    zlib.zstdDecompressSync(zlib.zstdCompressSync('x').subarray(0, -1));
    return false;
  } catch {
    return true;
  }
}

/** The content coding that a Content-Encoding field names; `undefined` where nothing was encoded. */
export function codingOf(contentEncoding: string | string[] | undefined): string | undefined {
  const coding = combined(contentEncoding).trim().toLowerCase();
  return coding === '' || coding === 'identity' ? undefined : coding;
}

/** Whether it can be undone: neither an unknown one nor a chain of them. */
export function isDecodable(coding: string): boolean {
  return DECODERS.has(coding);
}

/** Whether a client says that it takes it (RFC 9110 12.5.3). */
export function isAccepted(req: IncomingMessage, coding: string): boolean {
  return new Negotiator(req).encoding([coding]) === coding;
}

/** @throws {TypeError} for a coding that is not decodable */
export function createDecoder(coding: string): Transform {
  const create = DECODERS.get(coding);
  if (create === undefined) throw new TypeError(`Unknown content coding ${coding}`);
  return create();
}
