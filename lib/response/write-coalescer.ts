import { COALESCE_LIMIT } from '../defaults.js';
import { chunkOf } from '../fast-path/chunk-encoder.js';
import type { BodyBytes } from '../fast-path/direct-write.js';

/** What is sent in one write. */
export interface Coalesced extends BodyBytes {
  /** How many bytes of the body are in it. */
  size: number;
  chunks: Buffer[];
  pieces: Buffer[];
  piecesSize: number;
}

/**
 * Sends what comes in one tick in one piece, at the end of the tick. Node's parser hands over a read of the upstream's socket
 * chunk by chunk, hundreds of them in a burst, and for each of them a write of its own would cost more than all the rest.
 */
export class WriteCoalescer {
  readonly #send: (gathered: Coalesced) => void;
  #gathered = nothing();

  constructor(send: (gathered: Coalesced) => void) {
    this.#send = send;
  }

  push(piece: Buffer): void {
    this.#grow(piece.length);
    this.#gathered.pieces.push(piece);
    this.#gathered.piecesSize += piece.length;
    if (this.#gathered.size >= COALESCE_LIMIT) this.flush();
  }

  /** Chunks of the chunked transfer coding, which hold so many bytes of the body. */
  pushChunks(chunks: Buffer, size: number): void {
    this.#grow(size);
    const gathered = this.#gathered;
    if (gathered.piecesSize > 0) {
      gathered.chunks.push(...chunkOf(gathered.pieces, gathered.piecesSize));
      gathered.pieces = [];
      gathered.piecesSize = 0;
    }
    gathered.chunks.push(chunks);
    if (gathered.size >= COALESCE_LIMIT) this.flush();
  }

  #grow(size: number): void {
    // Before any other input or timer is looked at.
    if (this.#gathered.size === 0) process.nextTick(this.flush);
    this.#gathered.size += size;
  }

  /** Sends now what was gathered so far. */
  readonly flush = (): void => {
    if (this.#gathered.size === 0) return;
    const gathered = this.#gathered;
    this.#gathered = nothing();
    this.#send(gathered);
  };

  /** Forgets it. */
  clear(): void {
    this.#gathered = nothing();
  }
}

function nothing(): Coalesced {
  return { size: 0, chunks: [], pieces: [], piecesSize: 0 };
}
