import type { IncomingMessage } from 'node:http';
import { PassThrough, type Transform } from 'node:stream';
import zlib from 'node:zlib';
import Negotiator from 'negotiator';
import { ZSTD_WINDOW_LOG } from '../defaults.js';
import { combined } from './header-values.js';
import { SniffingDecoder } from './sniffing-decoder.js';

/** RFC 1950 2.2: the compression method, in the low half of the first byte of a zlib stream. */
const DEFLATE_METHOD = 8;

/**
 * The content coding `deflate` is the zlib format (RFC 9110 8.4.1.2). Some senders leave out its wrapper: the first byte tells, as it does
 * for Node's `fetch` and for browsers.
 */
function inflateFor(firstByte: number): Transform {
  return (firstByte & 0x0f) === DEFLATE_METHOD ? zlib.createInflate() : zlib.createInflateRaw();
}

/** Decoders by content coding (RFC 9110 8.4.1). */
const DECODERS = new Map<string, () => Transform>([
  ['gzip', () => zlib.createGunzip()],
  ['x-gzip', () => zlib.createGunzip()],
  ['deflate', () => new SniffingDecoder(inflateFor)],
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

/**
 * What senders put into Content-Encoding although it names no content coding: `none` and the like to keep compression away, transfer
 * codings, charsets, media types. Node's `fetch` and browsers read such bodies as they are.
 */
const NO_CODING =
  /^(identity|none|null|undefined|false|off|raw|plain|text|chunked|binary|[78]bit|utf-?(8|16|16le|16be|32)|(us-)?ascii|latin-?1|iso-8859-\d+|windows-\d+|[a-z]+\/[\w.+-]+)?$/;

/** The content coding that a Content-Encoding header names, or the chain of them; `undefined` where nothing was encoded. */
export function codingOf(contentEncoding: string | string[] | undefined): string | undefined {
  if (contentEncoding === undefined) return undefined;
  const codings = combined(contentEncoding)
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => !NO_CODING.test(coding));
  return codings.length === 0 ? undefined : codings.join(', ');
}

/** Whether a content coding can be undone: an unknown one cannot, nor can a chain of them. */
export function isDecodable(coding: string): boolean {
  return DECODERS.has(coding);
}

/** Whether a client accepts a content coding (Accept-Encoding, RFC 9110 12.5.3). */
export function isAccepted(req: IncomingMessage, coding: string): boolean {
  return new Negotiator(req).encoding([coding]) === coding;
}

/**
 * A decoder that hands over all that can be decoded before it fails with an error for what is incomplete.
 *
 * @throws {TypeError} for a coding that is not decodable
 */
export function createDecoder(coding: string): Transform {
  return readyToEnd(creatorOf(coding)());
}

function creatorOf(coding: string): () => Transform {
  const create = DECODERS.get(coding);
  if (create === undefined) throw new TypeError(`Unknown content coding ${coding}`);
  return create;
}

function readyToEnd(decoder: Transform): Transform {
  endAfterWrites(decoder);
  // Bytes behind the end of the encoded data would never be reported as consumed.
  return decoder.once('end', () => decoder.destroy());
}

/** The first byte of bodies in codings that begin with a number of their own (RFC 1952 2.3.1, RFC 8878 3.1.1). */
const FIRST_BYTES = new Map([
  ['gzip', 0x1f],
  ['x-gzip', 0x1f],
  ['zstd', 0x28],
]);

/**
 * The same, for whoever decodes a body that nobody has asked to have decoded: where its first byte tells that it is not in that coding,
 * whatever its head says, it passes as it came.
 *
 * @throws {TypeError} for a coding that is not decodable
 */
export function createLenientDecoder(coding: string): Transform {
  const create = creatorOf(coding);
  const expected = FIRST_BYTES.get(coding);
  if (expected === undefined) return createDecoder(coding);
  return readyToEnd(new SniffingDecoder((first) => (first === expected ? create() : new PassThrough())));
}

const NO_BYTES = Buffer.alloc(0);

/**
 * Node decodes the last write together with the end where that was called meanwhile; and where zlib then finds that the stream is
 * incomplete, Node drops what it had decoded of that write.
 */
function endAfterWrites(decoder: Transform): void {
  const { end } = decoder;
  const endNow = (): unknown => Reflect.apply(end, decoder, []);
  let isEnding = false;
  Object.assign(decoder, {
    end(rest: Buffer = NO_BYTES): Transform {
      if (isEnding) return decoder;
      isEnding = true;
      if (rest.length > 0) decoder.write(rest);
      if (decoder.writableLength === 0) endNow();
      else decoder.write(NO_BYTES, endNow);
      return decoder;
    },
  });
}
