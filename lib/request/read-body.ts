import type { IncomingMessage } from 'node:http';
import { EDIT_LIMIT } from '../defaults.js';
import { takeWholeBody } from '../fast-path/whole-body.js';
import { hasBody } from '../headers/framing.js';
import { bytesOf, readAsBytes, readBytes } from './reader-encodings.js';
import { knownSize, ReplayedBody } from './replayed-body.js';

/** Takes a body that has arrived as a whole, as small ones have, from its request: see {@link takeWholeBody}. */
export function takeWhole(req: IncomingMessage, limit = Number.POSITIVE_INFINITY): ReplayedBody | undefined {
  const bytes = takeWholeBody(req, limit, readBytes);
  return bytes && new ReplayedBody(bytes, true);
}

/**
 * Pauses a body that flows already, since middleware in front of the proxy listens to it: its beginning would be lost before it is
 * sent. Piping makes it flow again, for all who listen. Returns whether it did flow.
 */
export function pauseFlowing(req: IncomingMessage): boolean {
  const isFlowing = req.readableFlowing === true && !req.readableDidRead && hasBody(req);
  if (isFlowing) req.pause();
  return isFlowing;
}

/**
 * Reads the rest of a request body into memory; `undefined` where it is too large: then it is still on the request.
 *
 * @param maxSize in bytes; beyond `EDIT_LIMIT` nothing is read either
 * @throws {Error} when the request breaks off
 */
export async function readBody(req: IncomingMessage, maxSize: number): Promise<ReplayedBody | undefined> {
  const limit = Math.min(maxSize, EDIT_LIMIT);
  if (knownSize(req, 'stream') > limit) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const settle = (body: ReplayedBody | undefined): void => {
      req.removeListener('data', onData);
      req.removeListener('end', onEnd);
      req.removeListener('close', onClose);
      resolve(body);
    };
    const onData = (chunk: Buffer | string): void => {
      const bytes = bytesOf(chunk, req);
      size += bytes.length;
      chunks.push(bytes);
      if (size <= limit) return;
      req.pause();
      req.unshift(Buffer.concat(chunks));
      settle(undefined);
    };
    const onEnd = (): void => settle(new ReplayedBody(Buffer.concat(chunks), true));
    const onClose = (): void => reject(new Error('The request broke off'));
    readAsBytes(req, () => req.on('data', onData));
    // A listener alone does not make a paused request flow.
    if (req.isPaused()) req.resume();
    req.once('end', onEnd);
    req.once('close', onClose);
    if (req.destroyed && !req.readableEnded) onClose();
  });
}
