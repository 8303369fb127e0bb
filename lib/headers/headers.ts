import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import vary from 'vary';
import type { HeaderFields } from '../types/http.js';

/** RFC 9110 7.6.1 and, beyond it, the fields that concern a single connection by common practice. */
export const HOP_BY_HOP = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'upgrade',
  'proxy-authenticate',
  'proxy-authorization',
  'trailer',
]);

/** Fields that say how to read the message. A Connection field that names one of them is mistaken or an attack. */
const NEVER_NOMINATED = new Set(['content-length', 'content-type', 'content-encoding', 'host', 'transfer-encoding']);

const NO_NAMES: ReadonlySet<string> = new Set();

/** What a Connection field lists, each once, beside those that are hop-by-hop in any case. */
export function nominatedBy(connection: string | string[] | undefined): ReadonlySet<string> {
  // Nearly all of them.
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NO_NAMES;
  const names = elementsOf(connection);
  return new Set(names.filter((name) => name !== '' && !HOP_BY_HOP.has(name) && !NEVER_NOMINATED.has(name)));
}

/** The lines of a field as one (RFC 9110 5.3). */
export function combined(field: string | string[] | undefined): string {
  return Array.isArray(field) ? field.join(', ') : (field ?? '');
}

/** What a field lists, in lower case. */
export function elementsOf(field: string | string[] | undefined): string[] {
  return combined(field)
    .split(',')
    .map((element) => element.trim().toLowerCase());
}

/** Transfer codings that change nothing. RFC 9112 knows `identity` no more; some senders do. */
export const NO_CODINGS = new Set(['', 'identity']);

/** The lines of each field, by lower-case name. In older versions of Node `headersDistinct` throws for some names. */
export function linesOf(rawHeaders: readonly string[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = String(rawHeaders[i]).toLowerCase();
    const lines = fields.get(name);
    if (lines === undefined) fields.set(name, [String(rawHeaders[i + 1])]);
    else lines.push(String(rawHeaders[i + 1]));
  }
  return fields;
}

/** Whether a request came over HTTP/2. The version does not tell: a client of HTTP/1 may claim any. */
export function isHttp2(req: IncomingMessage): boolean {
  return req.httpVersionMajor >= 2 && (req as { stream?: unknown }).stream !== undefined;
}

// --- requests -------------------------------------------------------------------------------------------------------

/** Whether WebSocket is one of the protocols that a message offers, or has switched, to. */
export function offersWebSocket({ headers }: IncomingMessage): boolean {
  return elementsOf(headers.upgrade).includes('websocket');
}

/** A field that has one value, however it is held. */
export function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

// --- responses ------------------------------------------------------------------------------------------------------

/**
 * Whether the body of a response is there as it was meant: chunked it may be, Node undoes that. In any other transfer coding
 * the client, who is told of none, would take it for what it is not.
 */
export function isReadable(transferEncoding: string | undefined): boolean {
  if (transferEncoding === undefined || transferEncoding === 'chunked') return true;
  const codings = elementsOf(transferEncoding);
  const last = codings.pop() ?? '';
  return (last === 'chunked' || NO_CODINGS.has(last)) && codings.every((coding) => NO_CODINGS.has(coding));
}

/** Takes away what concerns the connection to the upstream only, in place. */
export function removeConnectionFields(headers: IncomingHttpHeaders | HeaderFields): void {
  for (const name of nominatedBy(headers.connection)) delete headers[name];
  for (const name of HOP_BY_HOP) delete headers[name];
  delete headers['transfer-encoding'];
}

/** RFC 9110 6.5.1: fields that frame or route a message do not belong behind it. */
const NEVER_TRAILERS = new Set([
  ...HOP_BY_HOP,
  'transfer-encoding',
  'content-length',
  'content-type',
  'host',
  '__proto__',
]);

/** Trailers as they came, by lower-case name, without those that must not be there. */
export function trailerFields(rawTrailers: readonly string[]): Record<string, string> {
  const trailers: Record<string, string> = Object.create(null);
  for (const [name, lines] of linesOf(rawTrailers)) {
    if (!NEVER_TRAILERS.has(name)) trailers[name] = combined(lines);
  }
  return trailers;
}

/** What the passes over a response's head are told. */
export interface HeadContext {
  /** The request that is answered. */
  method: string | undefined;
  httpVersion: string;
  statusCode: number;
  eventStream: boolean;
  /** The body's Content-Encoding has been undone. */
  decoded: boolean;
  /** The body is not, or may not be, the one that the upstream sent. */
  transformed: boolean;
  /** Whether the policy keeps a field of the upstream's from the client; `undefined` where it keeps none. */
  withholds: ((name: string) => boolean) | undefined;
  /** What the policy puts in. */
  own: Readonly<HeaderFields>;
  /** What the app had set on the response before the proxy. */
  app: Readonly<IncomingHttpHeaders | NodeJS.Dict<number | string | string[]>>;
}

type HeadPass = (headers: HeaderFields, context: HeadContext) => void;

/** Every change that the proxy makes to the fields of an upstream response, in this order. */
const responsePasses: readonly HeadPass[] = [
  removeHopByHop,
  removeImpossibleLength,
  describeDecodedBody,
  describeTransformedBody,
  withhold,
  keepAppHeaders,
  setOwn,
  keepEventStreamUntouched,
];

/** Turns the upstream's header fields into those that the client is to get, in place. */
export function applyResponsePasses(headers: HeaderFields, context: HeadContext): void {
  for (const pass of responsePasses) pass(headers, context);
}

function removeHopByHop(headers: HeaderFields, { method, httpVersion, statusCode }: HeadContext): void {
  // Node sends trailers in a chunked body only, and throws on a Trailer field without one.
  const mayHaveTrailers =
    headers['transfer-encoding'] !== undefined && httpVersion === '1.1' && mayHaveContent(method, statusCode);
  const { trailer } = headers;
  removeConnectionFields(headers);
  if (trailer !== undefined && mayHaveTrailers) headers.trailer = trailer;
}

/** RFC 9110 6.4.1: whether a final response to this method, with this status, can have a body. */
export function mayHaveContent(method: string | undefined, statusCode: number): boolean {
  return method !== 'HEAD' && statusCode !== 204 && statusCode !== 304;
}

/** RFC 9110 8.6: a 204 has no Content-Length. */
function removeImpossibleLength(headers: HeaderFields, { statusCode }: HeadContext): void {
  if (statusCode === 204) delete headers['content-length'];
}

const DIGESTS = ['content-digest', 'repr-digest', 'content-md5', 'digest'];

/** RFC 9110 8.6, 8.8.3, 14.3, RFC 9530: fields that are about the very bytes. */
const ABOUT_BYTES = ['content-length', 'etag', 'accept-ranges', ...DIGESTS];

function describeDecodedBody(headers: HeaderFields, { decoded }: HeadContext): void {
  if (!decoded) return;
  delete headers['content-encoding'];
  for (const name of ABOUT_BYTES) delete headers[name];
  headers.vary = appendVary(headers.vary, 'Accept-Encoding');
}

function describeTransformedBody(headers: HeaderFields, { transformed }: HeadContext): void {
  if (!transformed) return;
  for (const name of ABOUT_BYTES) delete headers[name];
  delete headers.trailer;
}

export function withhold(headers: HeaderFields, { withholds }: Pick<HeadContext, 'withholds'>): void {
  if (withholds === undefined) return;
  for (const name of Object.keys(headers)) if (withholds(name)) delete headers[name];
}

/**
 * Fields that describe this one response: the upstream's replace the app's. Any other field that the app has set, such as
 * CORS and helmet's, stays as the app has set it.
 */
const DESCRIBES_RESPONSE = new Set([
  'accept-ranges',
  'age',
  'allow',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-range',
  'content-type',
  'date',
  'etag',
  'last-modified',
  'location',
  'retry-after',
  'trailer',
  'www-authenticate',
]);

/** An app's own value of these would misdescribe the upstream's body. */
const NEVER_FROM_APP = new Set([
  ...['content-length', 'content-encoding', 'transfer-encoding', 'trailer', 'etag'],
  ...DIGESTS,
]);

function keepAppHeaders(headers: HeaderFields, { app }: HeadContext): void {
  for (const [name, value] of Object.entries(app)) {
    if (value === undefined || NEVER_FROM_APP.has(name)) continue;
    const own = Array.isArray(value) ? value : String(value);
    const upstream = headers[name];
    if (upstream === undefined) headers[name] = own;
    else if (name === 'set-cookie') headers[name] = [own, upstream].flat();
    else if (name === 'vary') headers[name] = appendVary(own, upstream);
    else if (!DESCRIBES_RESPONSE.has(name)) headers[name] = own;
  }
}

function setOwn(headers: HeaderFields, { own }: HeadContext): void {
  Object.assign(headers, own);
}

function appendVary(present: string | string[] | undefined, added: string | string[]): string {
  const fields = [present ?? [], added].flat();
  try {
    return vary.append(fields.slice(0, -1).join(', '), fields.slice(-1).join());
  } catch {
    // One of them is malformed, as upstreams' may be.
    return fields.filter((field) => field !== '').join(', ');
  }
}

/** RFC 9111 5.2.2.6: nobody on the way may change the content. */
export function forbidsTransform(headers: HeaderFields): boolean {
  return hasNoTransform(combined(headers['cache-control']).toLowerCase());
}

function hasNoTransform(directives: string): boolean {
  return /(?:^|,)\s*no-transform\s*(?:,|$)/.test(directives);
}

/** Tells compression middleware and buffering proxies (nginx) to leave an event stream alone. */
function keepEventStreamUntouched(headers: HeaderFields, { eventStream }: HeadContext): void {
  if (!eventStream) return;
  const directives = combined(headers['cache-control']);
  // In lower case even if it is there in another: `compression` up to 1.8.1 matches case-sensitively.
  if (!hasNoTransform(directives)) {
    headers['cache-control'] = directives === '' ? 'no-transform' : `${directives}, no-transform`;
  }
  headers['x-accel-buffering'] = 'no';
}
