/** What is gathered at the most before it is sent. Bytes. */
const LIMIT = 64 * 1024;

/**
 * Sends what comes in one tick in one piece, at the end of the tick. Node's parser hands over a read of the upstream's socket
 * chunk by chunk, hundreds of them in a burst, and for each of them a write of its own would cost more than all the rest.
 */
export class Gatherer {
  readonly #send: (pieces: Buffer[], size: number) => void;
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(send: (pieces: Buffer[], size: number) => void) {
    this.#send = send;
  }

  push(piece: Buffer): void {
    // Before any other input or timer is looked at.
    if (this.#size === 0) process.nextTick(this.flush);
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size >= LIMIT) this.flush();
  }

  /** Sends now what was gathered so far. */
  readonly flush = (): void => {
    if (this.#size === 0) return;
    const pieces = this.#pieces;
    const size = this.#size;
    this.#pieces = [];
    this.#size = 0;
    this.#send(pieces, size);
  };

  /** Forgets it. */
  clear(): void {
    this.#pieces = [];
    this.#size = 0;
  }
}
