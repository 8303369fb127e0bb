import type { IncomingMessage } from 'node:http';

/** RFC 9112 6.3: a request has a body where it has one of these two fields; HTTP/2 says so with its END_STREAM flag. */
export function hasBody(req: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = req.headers;
  if (length !== undefined) return length !== '0';
  if (coding !== undefined) return true;
  const { stream } = req as { stream?: { endAfterHeaders?: boolean } };
  return stream !== undefined && stream.endAfterHeaders !== true;
}
