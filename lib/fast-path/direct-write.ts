import { OutgoingMessage, type ServerResponse } from 'node:http';
import { chunkOf } from './chunk-encoder.js';
import { hasResponseBody, isChunked, responseInTurn } from './node-internals.js';
import { IS_FAST_PATH_ON } from './switch.js';

/** A part of a body. */
export interface BodyBytes {
  /** Whole chunks of the chunked transfer coding. They go first. */
  readonly chunks: readonly Buffer[];
  readonly pieces: readonly Buffer[];
  /** How many bytes are in the pieces. */
  readonly piecesSize: number;
}

/** Whether no middleware overrides `write` of a response. */
export function isPlain(res: ServerResponse): boolean {
  return res.write === OutgoingMessage.prototype.write;
}

/**
 * Whether the body of a response whose head was sent can be written directly into its connection, since Node would only frame it: it
 * is the response's turn, it has a body, and nobody counts or holds back what is written. To be asked right before each write.
 */
export function canWriteDirectly(res: ServerResponse): boolean {
  const { socket } = res;
  return (
    IS_FAST_PATH_ON &&
    isPlain(res) &&
    socket?.writable === true &&
    responseInTurn(socket) === res &&
    hasResponseBody(res) &&
    !res.strictContentLength &&
    res.writableCorked === 0
  );
}

/**
 * Writes a part of a body directly into the connection of its response: Node would write each chunk in four pieces. Only if
 * {@link canWriteDirectly}.
 *
 * @param onDrain called when the connection can take more, if this returns `false`
 */
export function writeDirectly(
  res: ServerResponse,
  { chunks, pieces, piecesSize: size }: BodyBytes,
  onDrain: (() => void) | undefined,
): boolean {
  const { socket } = res;
  if (socket === null) return true;
  let parts = chunks;
  if (size > 0) {
    const rest = isChunked(res) ? chunkOf(pieces, size) : pieces;
    parts = chunks.length === 0 ? rest : [...chunks, ...rest];
  }
  let more = true;
  if (parts.length > 1) socket.cork();
  for (const part of parts) more = socket.write(part);
  if (parts.length > 1) socket.uncork();
  if (more || socket.writableLength === 0) return true;
  if (onDrain !== undefined) socket.once('drain', onDrain);
  return false;
}

/** Writes whole chunks directly into the connection of a response, at the end of the tick, together with what follows. */
export function writeHeld(res: ServerResponse, chunks: readonly Buffer[]): void {
  const { socket } = res;
  if (chunks.length === 0 || socket === null) return;
  socket.cork();
  process.nextTick(() => socket.uncork());
  for (const chunk of chunks) socket.write(chunk);
}
