import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { hasBody } from './framing.js';
import { first } from './header-values.js';

/** Whether a request came over HTTP/2. The version does not tell: a client of HTTP/1 may claim any. */
export function isHttp2(req: IncomingMessage): boolean {
  return req.httpVersionMajor >= 2 && (req as { stream?: unknown }).stream !== undefined;
}

/** Shadows the headers of an HTTP/2 request with those that it would have in HTTP/1.1 (RFC 9113 8.3.1). */
export function translateFromHttp2(req: IncomingMessage): void {
  const headers: IncomingHttpHeaders = {};
  for (const [name, value] of Object.entries(req.headers)) if (!name.startsWith(':')) headers[name] = value;
  const authority = first(req.headers[':authority']);
  if (authority !== undefined) headers.host = authority;
  // HTTP/2 frames every body. In HTTP/1.1 one without a length would be taken for the next request.
  if (headers['content-length'] === undefined && hasBody(req)) headers['transfer-encoding'] = 'chunked';
  Object.defineProperty(req, 'headers', { value: headers, configurable: true, writable: true });
}
