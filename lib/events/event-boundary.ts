import type { EventFormat } from '../formats/format.js';

/** Whether what was sent so far ends between two events: the only place where something of our own may go. */
export class EventBoundary {
  readonly #isBoundary: EventFormat['isBoundary'];
  /** The last four bytes. A stream that has not begun is between two events, as after line ends. */
  #tail = 0x0a0a0a0a;
  /** The last chunk. */
  last: Buffer | undefined;

  constructor({ isBoundary }: EventFormat) {
    this.#isBoundary = isBoundary;
  }

  get isReached(): boolean {
    return this.#isBoundary?.(this.#tail) ?? false;
  }

  sent(chunk: Buffer): void {
    this.last = chunk;
    for (let i = Math.max(0, chunk.length - 4); i < chunk.length; i += 1) {
      this.#tail = (this.#tail << 8) | (chunk[i] as number);
    }
  }
}
