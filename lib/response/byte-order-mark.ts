import { BYTE_ORDER_MARK } from '../formats/format.js';

/** Leaves out the byte order mark that a body begins with, in however many chunks it comes. */
export class ByteOrderMarkFilter {
  /** How many bytes of what may become a mark are held back. */
  #held = 0;
  #isDone = false;

  /** Whether it is known if there was a mark: what follows need not be filtered. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** What goes on of the next chunk, in order. */
  filter(chunk: Buffer): Buffer[] {
    const held = this.#held;
    let matched = 0;
    while (held + matched < 3 && matched < chunk.length && chunk[matched] === BYTE_ORDER_MARK[held + matched]) {
      matched += 1;
    }
    const isMark = held + matched === 3;
    if (!isMark && matched === chunk.length) {
      this.#held += matched;
      return [];
    }
    this.#isDone = true;
    if (!isMark) return [...this.rest(), chunk];
    this.#held = 0;
    return matched === chunk.length ? [] : [chunk.subarray(matched)];
  }

  /** What was held back, and is no mark. */
  rest(): Buffer[] {
    const held = this.#held;
    this.#held = 0;
    return held === 0 ? [] : [BYTE_ORDER_MARK.subarray(0, held)];
  }
}
