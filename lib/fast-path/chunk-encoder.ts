const CRLF = Buffer.from('\r\n');

/** Pieces with more bytes on average are not copied. */
const LARGE = 1024;

/**
 * Frames pieces as one chunk of the chunked transfer coding (RFC 9112 7.1). Small pieces are copied into one buffer, since each write
 * costs more than a copy; large ones are returned as they are.
 */
export function chunkOf(pieces: readonly Buffer[], size: number): readonly Buffer[] {
  const length = `${size.toString(16)}\r\n`;
  if (size >= pieces.length * LARGE) return [Buffer.from(length, 'latin1'), ...pieces, CRLF];
  const chunk = Buffer.allocUnsafe(length.length + size + CRLF.length);
  let end = chunk.write(length, 'latin1');
  for (const piece of pieces) {
    chunk.set(piece, end);
    end += piece.length;
  }
  chunk.set(CRLF, end);
  return [chunk];
}
