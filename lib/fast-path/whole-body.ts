import type { IncomingMessage } from 'node:http';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Takes a body from its request that is all there, as small ones are; `undefined` where it is not, or where others read it, too.
 * Node may not have noticed its end yet: its parser tells of a body and of an end one after the other, and of all else in between.
 *
 * @param read so many bytes of the request
 */
export function takeWholeBody(
  req: IncomingMessage,
  limit: number,
  read: (req: IncomingMessage, size: number) => Buffer | null,
): Buffer | undefined {
  const { readableLength: size } = req;
  if (!IS_FAST_PATH_ON || req.readableFlowing !== null || req.readableEncoding !== null) return undefined;
  if (size === 0 || size > limit || String(size) !== req.headers['content-length']) return undefined;
  // By number: from Node 26 on, `read()` gives no more than one piece of what is there.
  const bytes = read(req, size) as Buffer;
  // To its end.
  req.resume();
  return bytes;
}
