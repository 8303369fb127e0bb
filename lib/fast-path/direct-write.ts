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

/** Between a response and its connection is only Node's own code: no middleware has put a `write` in front. */
export function isPlain(res: ServerResponse): boolean {
  return res.write === OutgoingMessage.prototype.write;
}

/**
 * Whether bytes can go past a response whose head has left, into its connection, where Node would only frame them: it is its turn,
 * it has a body, and nobody counts or holds back what is written. To be asked at the moment of writing.
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
 * Writes pieces of a body, and in front of them whole chunks, past the response into its connection: Node would write each chunk in
 * four pieces. Only where {@link canWriteDirectly} says so.
 *
 * @param onDrain called when the connection can take more, where this returns `false`
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

/** Writes whole chunks into the connection of a response at the end of the tick, together with what follows. */
export function writeHeld(res: ServerResponse, chunks: readonly Buffer[]): void {
  const { socket } = res;
  if (chunks.length === 0 || socket === null) return;
  socket.cork();
  process.nextTick(() => socket.uncork());
  for (const chunk of chunks) socket.write(chunk);
}
