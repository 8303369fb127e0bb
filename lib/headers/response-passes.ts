import type { IncomingHttpHeaders } from 'node:http';
import vary from 'vary';
import type { HeaderFields } from '../types/http.js';
import { addNoTransform } from './cache-control.js';
import { mayHaveContent } from './framing.js';
import { removeConnectionHeaders } from './hop-by-hop.js';
import { announcedTrailers } from './trailers.js';
import { appendVia } from './via.js';

/** What the passes over a response's head are told. */
export interface ResponseContext {
  /** The method of the request. */
  method: string | undefined;
  httpVersion: string;
  statusCode: number;
  eventStream: boolean;
  /** The body's Content-Encoding has been undone. */
  decoded: boolean;
  /** The body is not, or may not be, the one that the upstream sent. */
  transformed: boolean;
  /** Whether the policy keeps a header of the upstream's from the client; `undefined` where it keeps none. */
  withholds: ((name: string) => boolean) | undefined;
  /** The headers that the policy sets. */
  own: Readonly<HeaderFields>;
  /** The entry for `Via`; absent where none is added. */
  via?: string | undefined;
  /** What the app had set on the response before the proxy. */
  app: Readonly<IncomingHttpHeaders | NodeJS.Dict<number | string | string[]>>;
}

type ResponsePass = (headers: HeaderFields, context: ResponseContext) => void;

/** Every change that the proxy makes to the headers of an upstream response, in this order. */
const responsePasses: readonly ResponsePass[] = [
  removeHopByHop,
  removeImpossibleLength,
  describeDecodedBody,
  describeTransformedBody,
  withholdFromClient,
  keepAppHeaders,
  addVia,
  setPolicyHeaders,
  keepEventStreamUntouched,
];

/** Applies all passes, in place: turns the upstream's headers into the client's. */
export function applyResponsePasses(headers: HeaderFields, context: ResponseContext): void {
  for (const pass of responsePasses) pass(headers, context);
}

function removeHopByHop(headers: HeaderFields, { method, httpVersion, statusCode, withholds }: ResponseContext): void {
  // Node sends trailers in a chunked body only, and throws on a Trailer header without one.
  const mayHaveTrailers =
    headers['transfer-encoding'] !== undefined && httpVersion === '1.1' && mayHaveContent(method, statusCode);
  const trailer = mayHaveTrailers && headers.trailer ? announcedTrailers(headers.trailer, withholds) : undefined;
  removeConnectionHeaders(headers);
  if (trailer !== undefined) headers.trailer = trailer;
}

/** RFC 9110 8.6: a 204 has no Content-Length. */
function removeImpossibleLength(headers: HeaderFields, { statusCode }: ResponseContext): void {
  if (statusCode === 204) delete headers['content-length'];
}

const DIGESTS = ['content-digest', 'repr-digest', 'content-md5', 'digest'];

/** RFC 9110 8.6, 8.8.3, 14.3, RFC 9530: headers that describe the exact bytes of a body. */
const ABOUT_BYTES = ['content-length', 'etag', 'accept-ranges', ...DIGESTS];

function describeDecodedBody(headers: HeaderFields, { decoded }: ResponseContext): void {
  if (!decoded) return;
  delete headers['content-encoding'];
  for (const name of ABOUT_BYTES) delete headers[name];
  headers.vary = appendVary(headers.vary, 'Accept-Encoding');
}

function describeTransformedBody(headers: HeaderFields, { transformed }: ResponseContext): void {
  if (!transformed) return;
  for (const name of ABOUT_BYTES) delete headers[name];
  delete headers.trailer;
}

export function withholdFromClient(headers: HeaderFields, { withholds }: Pick<ResponseContext, 'withholds'>): void {
  if (withholds === undefined) return;
  for (const name of Object.keys(headers)) if (withholds(name)) delete headers[name];
}

/**
 * Headers that describe this one response: the upstream's replace the app's. Any other header that the app has set, such as
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

function keepAppHeaders(headers: HeaderFields, { app }: ResponseContext): void {
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

function addVia(headers: HeaderFields, { via }: ResponseContext): void {
  if (via !== undefined) headers.via = appendVia(headers.via, via);
}

function setPolicyHeaders(headers: HeaderFields, { own }: ResponseContext): void {
  Object.assign(headers, own);
}

function appendVary(present: string | string[] | undefined, added: string | string[]): string {
  const values = [present ?? [], added].flat();
  try {
    return vary.append(values.slice(0, -1).join(', '), values.slice(-1).join());
  } catch {
    // One of them is malformed, as upstreams' may be.
    return values.filter((value) => value !== '').join(', ');
  }
}

/** Tells compression middleware and buffering proxies (nginx) to leave an event stream alone. */
function keepEventStreamUntouched(headers: HeaderFields, { eventStream }: ResponseContext): void {
  if (!eventStream) return;
  addNoTransform(headers);
  headers['x-accel-buffering'] = 'no';
}
