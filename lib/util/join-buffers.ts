/** The pieces in one buffer. */
export function joined(pieces: readonly Buffer[], size: number): Buffer {
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size);
}
