import type { IncomingMessage } from 'node:http';
import { flowsToOne } from './body-push.js';
import { ChunkScanner } from './chunk-scanner.js';
import { Connection } from './connection.js';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Hands on the chunks of a chunked body as they were read, past Node's parser: all that a read has whole in one piece, which can be
 * written as it is. Whatever is not beyond doubt goes to the parser, and so it is the parser that says where the body ends.
 *
 * It is never kept from a part of a chunk, and between two of them it is as if there had not been another.
 *
 * @param isWanted whether they can be taken just now; else they are the parser's, and so `takePieces` has what is in them
 * @param take is told how many bytes of the body they hold
 */
export function takeChunks(
  source: IncomingMessage,
  isWanted: () => boolean,
  take: (chunks: Buffer, size: number) => void,
): void {
  if (!IS_FAST_PATH_ON) return;
  const connection = Connection.find(source.socket);
  // What the parser is at just now: the head, which ends with the first blank line, and what has come of the body with it.
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
    let rest = start;
    // Asked now, since what was parsed may have changed it.
    if (end > start && isTaken()) {
      take(next.subarray(start, end), size);
      rest = end;
    }
    if (rest < next.length) parse(next.subarray(rest));
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
