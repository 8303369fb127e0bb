import type { IncomingMessage } from 'node:http';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Takes the body of a request at once if all of it has arrived, as with small ones; `undefined` if not, or if others read it, too.
 * Node may not have noticed its end yet: its parser reports a body and its end one after the other, and much may run in between.
 *
 * @param read reads so many bytes of the request
 */
export function takeWholeBody(
  req: IncomingMessage,
  limit: number,
  read: (req: IncomingMessage, size: number) => Buffer | null,
): Buffer | undefined {
  const { readableLength: size } = req;
  if (!IS_FAST_PATH_ON || req.readableFlowing !== null || req.readableEncoding !== null) return undefined;
  if (size === 0 || size > limit || String(size) !== req.headers['content-length']) return undefined;
  // With the size: from Node 26 on, `read()` returns no more than one of the pieces that are there.
  const bytes = read(req, size) as Buffer;
  // So that the request comes to its end.
  req.resume();
  return bytes;
}
