import type { EventFormat, ParsedEvent } from '../formats/format.js';

const EMPTY: Buffer = Buffer.alloc(0);

/** A piece of a stream: an event with all its bytes, or bytes between two events. */
export interface Block {
  bytes: Buffer;
  event: ParsedEvent | undefined;
}

/** A block is larger than `limits.eventSize`. The reader cannot be used any more. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge';

  constructor(limit: number) {
    super(`An event has more than ${limit} bytes (\`limits.eventSize\`)`);
  }
}

/**
 * Splits the chunks of a stream into blocks. It holds the unfinished block, never more than the limit. The reader is the iterator of
 * its own blocks, because a generator per chunk would cost more than all the rest.
 */
export class EventReader implements IterableIterator<Block, undefined> {
  readonly #scan: ReturnType<EventFormat['scanner']>;
  readonly #parse: ReturnType<EventFormat['parser']>;
  readonly #endsWithStream: boolean;
  readonly #limit: number;
  #chunk: Buffer = EMPTY;
  /** Where the next block begins in the chunk. */
  #start = 0;
  /** The unfinished block. A copy, since a chunk may be a small part of a large buffer, which it would keep in memory. */
  #held = EMPTY;
  #heldBytes = 0;

  constructor(format: EventFormat, limit: number) {
    this.#scan = format.scanner();
    this.#parse = format.parser();
    this.#endsWithStream = format.endsWithStream;
    this.#limit = limit;
  }

  /** Iterates over the blocks that this chunk completes. All of them must be taken before the next chunk is read. */
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

  /** The unfinished block at the end of the stream. It has an event only if the format says so (`endsWithStream`). */
  end(): Block {
    const bytes = this.#take(EMPTY);
    return this.#endsWithStream && bytes.length > 0 ? this.#block(bytes) : { bytes, event: undefined };
  }

  #block(bytes: Buffer): Block {
    return { bytes, event: this.#parse(bytes) };
  }

  /** The bytes that are held, followed by these. */
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
