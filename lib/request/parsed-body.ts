import type { IncomingMessage } from 'node:http';
import qs from 'qs';
import { hasBody } from '../headers/framing.js';
import { essenceOf, isJsonType, parseMediaType } from '../headers/media-type.js';
import { ReplayedBody, type RequestBody } from './replayed-body.js';

/** A request with what body parsers leave on it. */
type ParsedRequest = IncomingMessage & { body?: unknown; rawBody?: unknown };

/** The body of a request that middleware in front of the proxy may have read: the stream, or what the middleware left of it. */
export function receivedBody(req: ParsedRequest): RequestBody {
  if (!req.readableDidRead || !hasBody(req)) return 'stream';
  const { rawBody, body } = req;
  // Text that was read by hand is in this encoding.
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
    // The app has put something there that JSON cannot express.
    return 'lost';
  }
}

/** Body parsers leave decoded bytes, others the bytes as they came: their length tells which, or their first bytes do. */
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

/** The inverse of `express.json()`, `urlencoded()` and `text()`; `undefined` for what none of them makes. */
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

/** Whether the string that stands for a JSON body is its text (`express.text`), and not a parsed JSON string (`express.json`). */
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

/** A list of scalars was most likely a repeated name; any other list can only have been written with indices. */
function formEncode(body: object): string {
  const pairs = Object.entries(body).map(([name, value]: [string, unknown]) => {
    const repeated = Array.isArray(value) && value.length > 1 && value.every((item) => typeof item !== 'object');
    return qs.stringify({ [name]: value }, { arrayFormat: repeated ? 'repeat' : 'indices' });
  });
  return pairs.filter((pair) => pair !== '').join('&');
}
