import { BYTE_ORDER_MARK } from '../formats/format.js';

/** Removes the byte order mark at the start of a body, also if it is split over several chunks. */
export class ByteOrderMarkFilter {
  /** How many bytes are held back, since they may be the start of a mark. */
  #held = 0;
  #isDone = false;

  /** `true` as soon as the start of the body has been seen: the chunks that follow need no filter. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** The bytes of the next chunk, and of those held back, that are passed on. */
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

  /** The bytes held back, which turned out to be no mark. */
  rest(): Buffer[] {
    const held = this.#held;
    this.#held = 0;
    return held === 0 ? [] : [BYTE_ORDER_MARK.subarray(0, held)];
  }
}
