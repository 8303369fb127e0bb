import { COALESCE_LIMIT } from '../defaults.js';
import { chunkOf } from '../fast-path/chunk-encoder.js';
import type { BodyBytes } from '../fast-path/direct-write.js';

/** The bytes that are sent in one write. */
export interface Coalesced extends BodyBytes {
  /** How many bytes of the body are in it. */
  size: number;
  chunks: Buffer[];
  pieces: Buffer[];
  piecesSize: number;
}

/**
 * Collects the pieces that arrive in one tick, and sends them in one write at the end of the tick. Node's parser emits a read of the
 * upstream's socket chunk by chunk, hundreds of them in a burst, and a write for each would cost more than all the rest.
 */
export class WriteCoalescer {
  readonly #send: (coalesced: Coalesced) => void;
  #coalesced = nothing();

  constructor(send: (coalesced: Coalesced) => void) {
    this.#send = send;
  }

  push(piece: Buffer): void {
    this.#grow(piece.length);
    this.#coalesced.pieces.push(piece);
    this.#coalesced.piecesSize += piece.length;
    if (this.#coalesced.size >= COALESCE_LIMIT) this.flush();
  }

  /** Adds whole chunks of the chunked transfer coding, which hold so many bytes of the body. */
  pushChunks(chunks: Buffer, size: number): void {
    this.#grow(size);
    const coalesced = this.#coalesced;
    if (coalesced.piecesSize > 0) {
      coalesced.chunks.push(...chunkOf(coalesced.pieces, coalesced.piecesSize));
      coalesced.pieces = [];
      coalesced.piecesSize = 0;
    }
    coalesced.chunks.push(chunks);
    if (coalesced.size >= COALESCE_LIMIT) this.flush();
  }

  #grow(size: number): void {
    // Ticks run before any other input or timer.
    if (this.#coalesced.size === 0) process.nextTick(this.flush);
    this.#coalesced.size += size;
  }

  /** Sends what was collected so far. */
  readonly flush = (): void => {
    if (this.#coalesced.size === 0) return;
    const coalesced = this.#coalesced;
    this.#coalesced = nothing();
    this.#send(coalesced);
  };

  /** Drops what was collected so far. */
  clear(): void {
    this.#coalesced = nothing();
  }
}

function nothing(): Coalesced {
  return { size: 0, chunks: [], pieces: [], piecesSize: 0 };
}
