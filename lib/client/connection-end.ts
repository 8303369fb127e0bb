import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { LINGER } from '../defaults.js';
import { isChunked } from '../fast-path/node-internals.js';

/** Calls back when none of the bytes that wait to be sent has left for a while. @returns stops watching */
export function onceStuck(socket: Socket, callback: () => void): () => void {
  let waiting = socket.writableLength;
  const timer = setInterval(() => {
    const isMoving = socket.writableLength < waiting;
    waiting = socket.writableLength;
    if (isMoving) return;
    clearInterval(timer);
    callback();
  }, LINGER);
  return () => clearInterval(timer);
}

/** Closes the connection of an incomplete response once all that was written has left, so that the client can tell it was cut. */
export function cutWhenWritten(socket: Socket, res: ServerResponse): void {
  // The callback of an empty write runs when all that was written before it has left.
  socket.write('', () => {
    // Such a body ends with its connection (RFC 9112 6.3, rule 8): only a reset tells that it was cut.
    const isCloseDelimited = !isChunked(res) && !res.hasHeader('content-length');
    if (isCloseDelimited && isPlainTcp(socket)) socket.resetAndDestroy();
    else socket.destroy();
  });
}

/** Only plain TCP can be reset. A TLS connection that is destroyed ends without its closing alert, which tells as much. */
function isPlainTcp(socket: Socket): boolean {
  return Object.getPrototypeOf(socket) === Socket.prototype;
}
