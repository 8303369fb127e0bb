const CR = 13;
const LF = 10;

/** The pieces in one buffer. */
export function joined(pieces: readonly Buffer[], size: number): Buffer {
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size);
}

/** The pieces as one chunk of the chunked transfer coding (RFC 9112 7.1). */
export function chunkOf(pieces: readonly Buffer[], size: number): Buffer {
  const length = `${size.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(length.length + size + 2);
  let end = chunk.write(length, 'latin1');
  for (const piece of pieces) {
    chunk.set(piece, end);
    end += piece.length;
  }
  chunk[end] = CR;
  chunk[end + 1] = LF;
  return chunk;
}
