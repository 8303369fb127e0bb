import type { TailBoundary } from '../formats/event-boundary.js';
import { BYTE_ORDER_MARK } from '../formats/format.js';

/**
 * Holds back the unfinished tail of a stream, so that what the client has is always whole events: half an event is of no use to a parser,
 * and nothing could be said behind it where the stream breaks off. Whole events pass at once, in their own bytes.
 */
export class EventHold {
  readonly #boundary: TailBoundary;
  readonly #limit: number;
  #held: Buffer[] = [];
  #heldBytes = 0;

  /** @param limit how much is held of one event; the rest of a larger one passes as it comes */
  constructor(boundary: TailBoundary, limit: number) {
    this.#boundary = boundary;
    this.#limit = limit;
  }

  /** Nothing is held, and behind these chunks nothing would be: they can pass as they are. They count as passed then. */
  passes(chunks: readonly Buffer[]): boolean {
    if (this.#heldBytes > 0 || !this.#boundary.isReachedBehind(chunks)) return false;
    for (const chunk of chunks) this.#boundary.sent(chunk);
    return true;
  }

  /** What can be sent now, in order. */
  push(chunk: Buffer): Buffer[] {
    const end = this.#boundary.isReachedBehind([chunk]) ? chunk.length : this.#boundary.lastIn(chunk);
    this.#boundary.sent(chunk);
    if (end === chunk.length) return [...this.release(), chunk];
    const whole = end > 0 ? [...this.release(), chunk.subarray(0, end)] : [];
    this.#held.push(chunk.subarray(end));
    this.#heldBytes += chunk.length - end;
    // An event that is larger can be read by nobody here, and is not to wait.
    return this.#heldBytes > this.#limit ? [...whole, ...this.release()] : whole;
  }

  /** Something is sent in front of what is held: `false` where nothing is. */
  skipByteOrderMark(): boolean {
    const [first] = this.#held;
    if (first === undefined) return false;
    if (first.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)) {
      this.#held[0] = first.subarray(BYTE_ORDER_MARK.length);
    }
    return true;
  }

  /** What is held: it is to be sent where the stream has ended, and not where it has broken off. */
  release(): Buffer[] {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    return held;
  }
}
