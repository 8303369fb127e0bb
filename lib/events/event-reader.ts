import type { EventFormat, ParsedEvent } from '../formats/format.js';

const EMPTY: Buffer = Buffer.alloc(0);

/** A piece of a stream: an event with all its bytes, or bytes between two events. */
export interface Block {
  bytes: Buffer;
  event: ParsedEvent | undefined;
}

/** A block is larger than `limits.eventSize`. Nothing can be read any more. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge';

  constructor(limit: number) {
    super(`An event has more than ${limit} bytes (\`limits.eventSize\`)`);
  }
}

/**
 * Chunks in, blocks out: holds what is unfinished, and never more than the limit. It is the iterator of its own blocks: a
 * generator per chunk would cost more than all that is done with it.
 */
export class EventReader implements IterableIterator<Block, undefined> {
  readonly #scan: ReturnType<EventFormat['scanner']>;
  readonly #parse: ReturnType<EventFormat['parser']>;
  readonly #endsWithStream: boolean;
  readonly #limit: number;
  #chunk: Buffer = EMPTY;
  /** Where the next block begins in it. */
  #start = 0;
  /** A copy: a chunk may be a small part of a large buffer, and there may be many of them. */
  #held = EMPTY;
  #heldBytes = 0;

  constructor(format: EventFormat, limit: number) {
    this.#scan = format.scanner();
    this.#parse = format.parser();
    this.#endsWithStream = format.endsWithStream;
    this.#limit = limit;
  }

  /** The blocks that this chunk completes, to be taken one at a time, and all of them before the next chunk. */
  read(chunk: Buffer): this {
    this.#chunk = chunk;
    this.#start = 0;
    return this;
  }

  /** @throws {EventTooLarge} */
  next(): IteratorResult<Block, undefined> {
    const chunk = this.#chunk;
    const start = this.#start;
    const end = start < chunk.length ? this.#scan(chunk, start) : -1;
    if (end >= 0) {
      this.#start = end;
      return { done: false, value: this.#block(this.#take(chunk.subarray(start, end))) };
    }
    this.read(EMPTY);
    if (start < chunk.length) this.#hold(chunk.subarray(start));
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  /** What was held when the stream ended; an event only where the format takes it for one. */
  end(): Block {
    const bytes = this.#take(EMPTY);
    return this.#endsWithStream && bytes.length > 0 ? this.#block(bytes) : { bytes, event: undefined };
  }

  #block(bytes: Buffer): Block {
    return { bytes, event: this.#parse(bytes) };
  }

  /** The bytes behind those that are held. */
  #take(bytes: Buffer): Buffer {
    if (this.#heldBytes === 0 && bytes.length <= this.#limit) return bytes;
    this.#hold(bytes);
    const whole = this.#held.subarray(0, this.#heldBytes);
    this.#held = EMPTY;
    this.#heldBytes = 0;
    return whole;
  }

  #hold(bytes: Buffer): void {
    const size = this.#heldBytes + bytes.length;
    if (size > this.#limit) {
      this.#held = EMPTY;
      throw new EventTooLarge(this.#limit);
    }
    if (size > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(2 * size, this.#limit));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldBytes);
    this.#heldBytes = size;
  }
}
