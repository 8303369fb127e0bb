import type { IncomingMessage } from 'node:http';
import qs from 'qs';
import { EDIT_LIMIT } from '../defaults.js';
import { type BodySource, bodySource } from '../fast-path/body-in-memory.js';
import { takeWholeBody } from '../fast-path/whole-body.js';
import { hasBody } from '../headers/framing.js';
import { essenceOf, isJsonType, parseMediaType } from '../headers/media-type.js';
import { readAsBytes, readBytes } from './body-readers.js';

/** A request body that is sent from memory, since the request's own stream has been read already. */
export class ReplayedBody {
  /** What its content coding stands for, and which one that is, where it was undone to be read. */
  decoded: { readonly bytes: Buffer; readonly coding: string } | undefined;

  constructor(
    readonly bytes: Buffer,
    /** The bytes are still in the request's Content-Encoding. */
    readonly encoded: boolean,
    /** Where the bytes are not in the charset that the request names. */
    readonly contentType?: string,
  ) {}

  /**
   * Makes the fields of a request those of these bytes. It is the request's own fields that every request made from it
   * copies (the upstream's, that of `forward`, those after redirects): with a length that is not its own, the rest of one
   * would be taken for the next request.
   */
  describeIn({ headers }: IncomingMessage): void {
    const hadBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    delete headers['transfer-encoding'];
    if (hadBody || this.bytes.length > 0) headers['content-length'] = String(this.bytes.length);
    if (!this.encoded) delete headers['content-encoding'];
    // Another attempt may have sent what was made of it.
    else if (this.decoded !== undefined) headers['content-encoding'] = this.decoded.coding;
    if (this.contentType !== undefined) headers['content-type'] = this.contentType;
  }

  /** What httpxy is given to send, as often as so many requests are made of it. */
  toSource(requests: number): BodySource {
    return bodySource(this.bytes, requests);
  }
}

/** What is sent upstream: the request's own stream, bytes in its place, or nothing, since the body is lost. */
export type RequestBody = 'stream' | ReplayedBody | 'lost';

/** A piece of a request whose encoding may have been set where nobody here could know of it. */
function bytesOf(chunk: Buffer | string, req: IncomingMessage): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, req.readableEncoding ?? 'utf8') : chunk;
}

/** Calls back when more than so many bytes of a request body have come. Must be called as {@link BodyCapture}. */
export function limitBody(req: IncomingMessage, limit: number, callback: () => void): void {
  let size = 0;
  const onData = (chunk: Buffer | string): void => {
    size += bytesOf(chunk, req).length;
    if (size <= limit) return;
    req.removeListener('data', onData);
    callback();
  };
  readAsBytes(req, () => req.on('data', onData));
}

/** Takes a body from its request that is all there, as small ones are: see {@link takeWholeBody}. */
export function takeWhole(req: IncomingMessage, limit = Number.POSITIVE_INFINITY): ReplayedBody | undefined {
  const bytes = takeWholeBody(req, limit, readBytes);
  return bytes && new ReplayedBody(bytes, true);
}

/**
 * Pauses a body that flows already, since middleware in front listens to it: by the time that it is sent, its beginning would have
 * gone by. Piping makes it flow again, for all who listen. Returns whether it did flow.
 */
export function pauseFlowing(req: IncomingMessage): boolean {
  const isFlowing = req.readableFlowing === true && !req.readableDidRead && hasBody(req);
  if (isFlowing) req.pause();
  return isFlowing;
}

/** What body parsers leave on a request. */
type ParsedRequest = IncomingMessage & { body?: unknown; rawBody?: unknown };

/** Finds the body of a request that middleware in front of the proxy may have read. */
export function requestBody(req: ParsedRequest): RequestBody {
  if (!req.readableDidRead || !hasBody(req)) return 'stream';
  const { rawBody, body } = req;
  // Of text that was read by hand, the bytes are those of this encoding.
  const encoding = req.readableEncoding ?? 'utf8';
  if (typeof rawBody === 'string') return fromBytes(req, Buffer.from(rawBody, encoding));
  if (rawBody instanceof Uint8Array) return fromBytes(req, Buffer.from(rawBody));
  if (body instanceof Uint8Array) return fromBytes(req, Buffer.from(body));
  if (body === undefined || !req.readableEnded) return 'lost';
  if (typeof body === 'string' && encoding !== 'utf8') return fromBytes(req, Buffer.from(body, encoding));
  try {
    const text = serialize(req, body);
    return text === undefined ? 'lost' : fromText(req, text);
  } catch {
    // What the app has put there cannot be written as JSON.
    return 'lost';
  }
}

/** The size of a request body in bytes, as far as it is known before it is read. */
export function knownSize(req: IncomingMessage, body: RequestBody): number {
  return body instanceof ReplayedBody ? body.bytes.length : Number(req.headers['content-length'] ?? 0);
}

/** Parsers hand over what they have inflated, others the bytes as they came: the length tells which, or how they begin. */
function fromBytes(req: IncomingMessage, bytes: Buffer): ReplayedBody {
  const { 'content-length': length } = req.headers;
  const encoded = length === undefined ? isCompressed(bytes) : length === String(bytes.length);
  return new ReplayedBody(bytes, encoded);
}

/** RFC 1952 2.3.1 (gzip), RFC 8878 3.1.1 (zstd). The other codings have no signature. */
function isCompressed(bytes: Buffer): boolean {
  const start = bytes.toString('hex', 0, 4);
  return start.startsWith('1f8b') || start === '28b52ffd';
}

function fromText(req: IncomingMessage, text: string): ReplayedBody {
  const bytes = Buffer.from(text);
  const type = parseMediaType(req.headers['content-type']);
  const charset = type?.params.get('charset');
  if (type === undefined || charset == null || /^utf-?8$/i.test(charset)) return new ReplayedBody(bytes, false);
  type.params.set('charset', 'utf-8');
  return new ReplayedBody(bytes, false, String(type));
}

/** The inverse of `express.json()`, `urlencoded()` and `text()`; `undefined` for what no parser of theirs has made. */
function serialize(req: IncomingMessage, body: unknown): string | undefined {
  const contentType = req.headers['content-type'];
  if (isJsonType(contentType)) {
    return typeof body === 'string' && isJsonText(req, body) ? body : JSON.stringify(body);
  }
  if (typeof body === 'string') return body;
  const isForm = essenceOf(contentType) === 'application/x-www-form-urlencoded';
  if (isForm && typeof body === 'object' && body !== null) return formEncode(body);
  return undefined;
}

/** A string for a JSON body is the text itself (`express.text`), or a parsed JSON string (`express.json`, not strict). */
function isJsonText(req: IncomingMessage, body: string): boolean {
  const { 'content-length': length, 'content-encoding': coding } = req.headers;
  if (length !== undefined && coding === undefined) return length === String(Buffer.byteLength(body));
  try {
    JSON.parse(body);
    return true;
  } catch {
    return false;
  }
}

/** Lists of scalars were most likely repeated names; any other list can only have been written with indices. */
function formEncode(body: object): string {
  const pairs = Object.entries(body).map(([name, value]: [string, unknown]) => {
    const repeated = Array.isArray(value) && value.length > 1 && value.every((item) => typeof item !== 'object');
    return qs.stringify({ [name]: value }, { arrayFormat: repeated ? 'repeat' : 'indices' });
  });
  return pairs.filter((pair) => pair !== '').join('&');
}

/**
 * Reads the rest of a request body into memory; `undefined` where it is too large, and nothing is lost of it.
 *
 * @param maxSize above which there is no use in it
 * @throws {Error} when the request breaks off
 */
export async function readBody(req: IncomingMessage, maxSize: number): Promise<ReplayedBody | undefined> {
  const limit = Math.min(maxSize, EDIT_LIMIT);
  if (knownSize(req, 'stream') > limit) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const settle = (body: ReplayedBody | undefined): void => {
      req.removeListener('data', onData);
      req.removeListener('end', onEnd);
      req.removeListener('close', onClose);
      resolve(body);
    };
    const onData = (chunk: Buffer | string): void => {
      const bytes = bytesOf(chunk, req);
      size += bytes.length;
      chunks.push(bytes);
      if (size <= limit) return;
      req.pause();
      req.unshift(Buffer.concat(chunks));
      settle(undefined);
    };
    const onEnd = (): void => settle(new ReplayedBody(Buffer.concat(chunks), true));
    const onClose = (): void => reject(new Error('The request broke off'));
    readAsBytes(req, () => req.on('data', onData));
    // A listener does not make a request flow that was paused.
    if (req.isPaused()) req.resume();
    req.once('end', onEnd);
    req.once('close', onClose);
    if (req.destroyed && !req.readableEnded) onClose();
  });
}

/** Keeps a copy of a request body while it streams upstream, so that a small one can be sent again. */
export class BodyCapture {
  readonly #req: IncomingMessage;
  readonly #limit: number;
  #chunks: Buffer[] | undefined = [];
  #size = 0;
  readonly #onData = (chunk: Buffer | string): void => {
    const bytes = bytesOf(chunk, this.#req);
    this.#size += bytes.length;
    this.#chunks?.push(bytes);
    if (this.#size > this.#limit) this.stop();
  };

  /** Starts to copy. The request must be piped elsewhere in the same tick: this makes it flow. */
  constructor(req: IncomingMessage, limit: number) {
    this.#req = req;
    this.#limit = limit;
    readAsBytes(req, () => req.on('data', this.#onData));
  }

  /** Not too much has come. */
  get isUsable(): boolean {
    return this.#chunks !== undefined;
  }

  /**
   * What to send once more: the body, where it has come in whole; else the request's own stream, with what was copied put back;
   * `undefined` where the body is too large. The request must not be piped anywhere by then.
   */
  take(): RequestBody | undefined {
    if (this.#chunks === undefined) return undefined;
    const req = this.#req;
    const copied = Buffer.concat(this.#chunks);
    this.stop();
    if (req.complete && req.readableLength === 0) return new ReplayedBody(copied, true);
    if (req.readableEnded || req.destroyed) return undefined;
    req.pause();
    if (copied.length > 0) req.unshift(copied);
    return 'stream';
  }

  /** Stops copying and forgets what was copied. */
  stop(): void {
    this.#req.removeListener('data', this.#onData);
    this.#chunks = undefined;
  }
}
