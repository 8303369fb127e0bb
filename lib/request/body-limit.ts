import type { IncomingMessage } from 'node:http';
import { bytesOf, readAsBytes } from './reader-encodings.js';

/**
 * Calls back when a request body has more than `limit` bytes. The request must be piped elsewhere in the same tick: this makes it flow.
 */
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
