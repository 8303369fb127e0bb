import type { IncomingMessage } from 'node:http';
import { flowsToOne } from './body-push.js';
import { ChunkScanner } from './chunk-scanner.js';
import { Connection } from './connection.js';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Calls `take` with the chunks of a chunked body as they were read, bypassing Node's parser: all chunks that are whole within one read,
 * in one buffer that can be written as it is. Everything that is not beyond doubt goes to the parser, so that the parser alone says
 * where the body ends.
 *
 * The parser gets a chunk either whole or not at all, and so never notices that one is missing.
 *
 * @param isWanted whether chunks can be taken now. If not, they go to the parser, and `takePieces` gets their bytes
 * @param take is also told how many bytes of the body the chunks hold
 */
export function takeChunks(
  source: IncomingMessage,
  isWanted: () => boolean,
  take: (chunks: Buffer, size: number) => void,
): void {
  if (!IS_FAST_PATH_ON) return;
  const connection = Connection.find(source.socket);
  // The read that the parser is working on: the head, which ends with the first blank line, and the beginning of the body.
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
    // Not earlier: what was parsed just now may have changed it.
    if (end > start && isTaken()) {
      take(next.subarray(start, end), size);
      rest = end;
    }
    if (rest < next.length) parse(next.subarray(rest));
  });
}

/** By the raw headers: a hook may have changed `headers`. */
function isChunked({ rawHeaders }: IncomingMessage): boolean {
  let codings = '';
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === 'transfer-encoding') codings += rawHeaders[i + 1];
  }
  return codings.toLowerCase() === 'chunked';
}
