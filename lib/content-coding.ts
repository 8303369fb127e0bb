import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import Negotiator from 'negotiator';

/** Decoders by content coding (RFC 9110 8.4.1). Node has zstd from 22.15 on. */
const DECODERS = new Map<string, () => Transform>([
  ['gzip', () => zlib.createGunzip()],
  ['x-gzip', () => zlib.createGunzip()],
  ['deflate', () => zlib.createInflate()],
  ['br', () => zlib.createBrotliDecompress()],
]);
if (typeof zlib.createZstdDecompress === 'function') DECODERS.set('zstd', () => zlib.createZstdDecompress());

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
