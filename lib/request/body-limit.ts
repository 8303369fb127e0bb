import type { IncomingMessage } from 'node:http';
import { bytesOf, readAsBytes } from './reader-encodings.js';

/** Calls back when more than so many bytes of a request body have come. Must be called as {@link BodyCapture}. */
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
