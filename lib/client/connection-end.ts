import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { LINGER } from '../defaults.js';
import { isChunked } from '../fast-path/node-internals.js';

/** Calls back when for a while nothing has left of what waits to be sent; returns what gives that up. */
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

/** Closes the connection of a response that is not complete, so that nobody can take it for a whole one, when all of it has left. */
export function cutWhenWritten(socket: Socket, res: ServerResponse): void {
  // Called when all that was written before has left.
  socket.write('', () => {
    // The end of the connection ends such a body (RFC 9112 6.3, rule 8): only a reset tells that it was cut.
    const isCloseDelimited = !isChunked(res) && !res.hasHeader('content-length');
    if (isCloseDelimited && isPlainTcp(socket)) socket.resetAndDestroy();
    else socket.destroy();
  });
}

/** A TLS socket cannot be reset; it ends without its closing alert, which is a sign of its own. */
function isPlainTcp(socket: Socket): boolean {
  return Object.getPrototypeOf(socket) === Socket.prototype;
}
