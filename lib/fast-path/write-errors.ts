import type { Socket } from 'node:net';
import { EARLY_ANSWER_TIME } from '../defaults.js';
import { replaceMethod } from './replace-method.js';

type Callback = (error?: Error | null) => void;

const held = new WeakSet<Socket>();

/**
 * Has what the peer has sent read before the failure of a write ends the connection. RFC 9112 9.5: a server may answer in the middle of
 * an upload, and close; the write that meets the closed connection may fail before the answer is read, and Node would destroy the
 * connection with the answer in it.
 *
 * To the stream a failed write is one that takes long, until the read side has ended, as it must soon. Node's own destruction of the
 * connection, for a failed read or an abort, ends it at once.
 */
export function holdWriteErrors(socket: Socket): void {
  if (held.has(socket)) return;
  held.add(socket);
  let callback: Callback;
  // A stream makes one write at a time, so that there is no need of a function for each.
  const onWritten: Callback = (error) => {
    if (error && !socket.destroyed && !socket.readableEnded) failLate(socket, error, callback);
    else callback(error);
  };
  const { _write: write, _writev: writev } = socket;
  replaceMethod(socket, '_write', (chunk, encoding, done) => {
    callback = done;
    write.call(socket, chunk, encoding, onWritten);
  });
  if (writev === undefined) return;
  replaceMethod(socket, '_writev', (chunks, done) => {
    callback = done;
    writev.call(socket, chunks, onWritten);
  });
}

function failLate(socket: Socket, error: Error, callback: Callback): void {
  const { bytesRead } = socket;
  const fail = (): void => {
    clearTimeout(timer);
    socket.removeListener('end', fail).removeListener('close', fail);
    callback(error);
  };
  const timer = setTimeout(() => {
    // Once an answer has begun, its own deadlines hold.
    if (socket.bytesRead === bytesRead) fail();
  }, EARLY_ANSWER_TIME);
  // In front of Node's own, which takes an end for the clean end of a body without a length.
  socket.prependListener('end', fail).once('close', fail);
}
