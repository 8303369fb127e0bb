import type { IncomingMessage } from 'node:http';
import { ChunkScanner } from './chunk-scanner.js';
import { Connection } from './connection.js';
import { override } from './override.js';

/**
 * Hands on the pieces of a body as Node's parser finds them, past the machinery of a Readable: that costs more than all that is
 * done with a piece.
 *
 * `take` has to be the listener of the source's `data` as well. It is told by that where a piece is to wait, and where somebody
 * beside it listens, such as a hook in `on.proxyRes`.
 */
export function takePieces(source: IncomingMessage, take: (piece: Buffer) => void): void {
  const { push } = source;
  override(source, 'push', (piece: Buffer | null, ...rest) => {
    if (piece === null || !flowsToOne(source)) return push.call(source, piece, ...rest);
    take(piece);
    return true;
  });
}

/**
 * Hands on the chunks of a chunked body as they were read, past Node's parser: all that a read has whole in one piece, which can be
 * written as it is. Whatever is not beyond doubt goes to the parser, and so it is the parser that says where the body ends.
 *
 * The parser never misses a part of a chunk: between two chunks it does not notice that there was one.
 *
 * @param isWanted whether they are, or the parser's pieces (see {@link takePieces}), which are told in any case of the rest
 * @param take is told how many bytes of the body they hold
 */
export function takeChunks(
  source: IncomingMessage,
  isWanted: () => boolean,
  take: (chunks: Buffer, size: number) => void,
): void {
  const connection = Connection.find(source.socket);
  // With what the parser is at. That begins with the head, and a head ends with the first blank line.
  const read = connection?.firstRead;
  if (connection === undefined || read === undefined || !isChunked(source)) return;
  const head = read.indexOf('\r\n\r\n');
  if (head < 0) return;
  const scanner = new ChunkScanner();
  scanner.scan(read.subarray(head + 4));
  const isTaken = (): boolean => !source.socket.destroyed && flowsToOne(source) && isWanted();
  connection.setFilter((next, parse) => {
    if (scanner.isLost) connection.setFilter(undefined);
    const { start, end, size } = scanner.scan(next);
    if (start > 0) parse(next.subarray(0, start));
    // What was parsed may have changed that.
    if (end === start || !isTaken()) {
      if (start < next.length) parse(next.subarray(start));
      return;
    }
    take(next.subarray(start, end), size);
    if (end < next.length) parse(next.subarray(end));
  });
}

/** As it came: a hook may have changed what `headers` say. */
function isChunked({ rawHeaders }: IncomingMessage): boolean {
  let codings = '';
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === 'transfer-encoding') codings += rawHeaders[i + 1];
  }
  return codings.toLowerCase() === 'chunked';
}

/** It flows, nothing waits in it, and nobody but us listens. */
function flowsToOne(source: IncomingMessage): boolean {
  return (
    source.readableFlowing === true &&
    source.readableLength === 0 &&
    !source.destroyed &&
    source.listenerCount('data') === 1
  );
}
