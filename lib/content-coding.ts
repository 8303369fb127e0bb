import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import Negotiator from 'negotiator';

/** Decoders by content coding (RFC 9110 8.4.1). */
const DECODERS = new Map<string, () => Transform>([
  ['gzip', () => zlib.createGunzip()],
  ['x-gzip', () => zlib.createGunzip()],
  ['deflate', () => zlib.createInflate()],
  ['br', () => zlib.createBrotliDecompress()],
]);
if (noticesCutZstd()) DECODERS.set('zstd', () => zlib.createZstdDecompress());

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

/**
 * A decoder for a body that came in a content coding which its client does not accept; `undefined` where the bytes pass as
 * they are: without a coding, with one the client accepts, or with one (or a chain of them) that is not known here.
 */
export function decoderFor(req: IncomingMessage, contentEncoding: string | undefined): Transform | undefined {
  const coding = contentEncoding?.trim().toLowerCase();
  if (coding === undefined || coding === '') return undefined;
  const create = DECODERS.get(coding);
  if (create === undefined || new Negotiator(req).encoding([coding]) === coding) return undefined;
  return create();
}
