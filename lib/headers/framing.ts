import type { IncomingMessage } from 'node:http';
import { elementsOf } from './header-values.js';

/** Transfer codings that change nothing. RFC 9112 does not know `identity` any more; some senders do. */
const NO_CODINGS = new Set(['', 'identity']);

/** RFC 9112 6.3: a request has a body where it has one of these two headers; HTTP/2 says so with its END_STREAM flag. */
export function hasBody(req: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = req.headers;
  if (length !== undefined) return length !== '0';
  if (coding !== undefined) return true;
  const { stream } = req as { stream?: { endAfterHeaders?: boolean } };
  return stream !== undefined && stream.endAfterHeaders !== true;
}

/**
 * Makes the headers of an HTTP/1 request say, in one way only, how its body is framed. Node has read the body and frames it anew: what
 * is not in these headers, or is written in a way that others read differently, could become a request of its own (request smuggling).
 */
export function reframe(req: IncomingMessage): void {
  const { headers } = req;
  const { 'transfer-encoding': coding, 'content-length': length } = headers;
  if (coding === 'chunked' && length === undefined) return;
  if (coding !== undefined) {
    const codings = elementsOf(coding).filter((name) => !NO_CODINGS.has(name));
    // Node refuses a list that does not end in `chunked`, but only when the listeners have been called.
    headers['transfer-encoding'] = codings.at(-1) === 'chunked' ? codings.join(', ') : 'chunked';
    // RFC 9112 6.3, rule 3. They come together only where the server uses the insecure parser.
    delete headers['content-length'];
  } else if (length === undefined && (req.complete === false || req.readableLength > 0)) {
    // Node reads the body by a header that is not in `headers`: it leaves out those beyond `server.maxHeadersCount`.
    headers['transfer-encoding'] = 'chunked';
  }
}

/** RFC 9110 6.4.1: whether a final response to this method, with this status, can have a body. */
export function mayHaveContent(method: string | undefined, statusCode: number): boolean {
  return method !== 'HEAD' && statusCode !== 204 && statusCode !== 304;
}

/**
 * Whether Node has undone all transfer codings of a response: it undoes `chunked` and no other. The client is told of no coding, and
 * would take the body for what it is not.
 */
export function isTransferDecoded(transferEncoding: string | undefined): boolean {
  if (transferEncoding === undefined || transferEncoding === 'chunked') return true;
  const codings = elementsOf(transferEncoding);
  const last = codings.pop() ?? '';
  return (last === 'chunked' || NO_CODINGS.has(last)) && codings.every((coding) => NO_CODINGS.has(coding));
}
