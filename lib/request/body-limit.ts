import type { IncomingMessage } from 'node:http';
import { bytesOf, readAsBytes } from './reader-encodings.js';

/**
 * Calls back when a request body has more than `limit` bytes. The request must be piped elsewhere in the same tick: this makes it flow.
 *
 * @returns stops counting
 */
export function limitBody(req: IncomingMessage, limit: number, callback: () => void): () => void {
  let size = 0;
  const onData = (chunk: Buffer | string): void => {
    size += bytesOf(chunk, req).length;
    if (size <= limit) return;
    stop();
    callback();
  };
  const stop = (): void => void req.removeListener('data', onData);
  readAsBytes(req, () => req.on('data', onData));
  return stop;
}
