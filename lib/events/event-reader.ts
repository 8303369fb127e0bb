import { LARGE_EVENT } from '../defaults.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import { JsonAbridger } from './json-abridger.js';

const EMPTY: Buffer = Buffer.alloc(0);

/** `large`: of an event that is too large to be held; `unfinished`: an event that lacks its end, where the stream has ended. */
export type Part = 'large' | 'unfinished';

/** A piece of a stream: an event with all its bytes, or bytes between two events. */
export interface Block {
  bytes: Buffer;
  event: ParsedEvent | undefined;
  /**
   * Where large events pass in parts: such a part, or the unfinished end of the stream. Its event, if there is one, is for the account
   * only.
   */
  part: Part | undefined;
}

/** A block is larger than `limits.eventSize`. The reader cannot be used any more. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge';

  constructor(limit: number) {
    super(`An event has more than ${limit} bytes (\`limits.eventSize\`)`);
  }
}

/** A block that is too large to be held, while it passes. */
interface LargeBlock {
  size: number;
  abridger: JsonAbridger | undefined;
}

/**
 * Splits the chunks of a stream into blocks. It holds the unfinished block, never more than the limit. The reader is the iterator of
 * its own blocks, because a generator per chunk would cost more than all the rest.
 */
export class EventReader implements IterableIterator<Block, undefined> {
  readonly #format: EventFormat;
  readonly #scan: ReturnType<EventFormat['scanner']>;
  readonly #parse: ReturnType<EventFormat['parser']>;
  readonly #limit: number;
  readonly #onUnread: (() => void) | undefined;
  #chunk: Buffer = EMPTY;
  /** Where the next block begins in the chunk. */
  #start = 0;
  /** The unfinished block. A copy, since a chunk may be a small part of a large buffer, which it would keep in memory. */
  #held = EMPTY;
  #heldBytes = 0;
  #large: LargeBlock | undefined;
  /** The block that is being parsed. */
  #parsed = EMPTY;

  /**
   * @param onUnread has a block above the limit pass in parts, instead of throwing; of JSON, an abridged event is read with the last part.
   * Called where nothing could be read of it
   */
  constructor(format: EventFormat, limit: number, onUnread?: () => void) {
    this.#format = format;
    this.#scan = format.scanner();
    this.#parse = format.parser();
    this.#limit = limit;
    this.#onUnread = onUnread;
  }

  /** Iterates over the blocks that this chunk completes. All of them must be taken before the next chunk is read. */
  read(chunk: Buffer): this {
    this.#chunk = chunk;
    this.#start = 0;
    return this;
  }

  /** @throws {EventTooLarge} unless large blocks pass in parts, and this one has no end in sight */
  next(): IteratorResult<Block, undefined> {
    const chunk = this.#chunk;
    const start = this.#start;
    const end = start < chunk.length ? this.#scan(chunk, start) : -1;
    if (end >= 0) {
      const bytes = chunk.subarray(start, end);
      this.#start = end;
      const isLarge = this.#large !== undefined || this.#passesInParts(bytes);
      return { done: false, value: isLarge ? this.#endLarge(this.#pass(bytes)) : this.#block(this.#take(bytes)) };
    }
    this.read(EMPTY);
    if (start === chunk.length) return { done: true, value: undefined };
    const rest = chunk.subarray(start);
    if (this.#large !== undefined || this.#passesInParts(rest)) {
      return { done: false, value: { bytes: this.#pass(rest), event: undefined, part: 'large' } };
    }
    this.#hold(rest);
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  /**
   * The unfinished block at the end of the stream. It has an event if the format says so (`endsWithStream`); and, where large events
   * are passed on, if it lacks no more than what ends it.
   */
  end(): Block {
    const { endsWithStream, ending } = this.#format;
    if (this.#large !== undefined) {
      if (endsWithStream) return this.#endLarge(EMPTY);
      this.#large = undefined;
      this.#onUnread?.();
      return { bytes: EMPTY, event: undefined, part: 'large' };
    }
    const bytes = this.#take(EMPTY);
    if (bytes.length === 0) return { bytes, event: undefined, part: undefined };
    if (endsWithStream) return this.#block(bytes);
    if (ending === undefined || this.#onUnread === undefined) return { bytes, event: undefined, part: undefined };
    return { bytes, event: this.#eventIn(Buffer.concat([bytes, ending]), bytes), part: 'unfinished' };
  }

  /** After a failure: the bytes that were read, and were not given as those of a block. */
  release(): Buffer {
    const bytes = [this.#parsed, this.#take(EMPTY), this.#chunk.subarray(this.#start)];
    this.read(EMPTY);
    this.#parsed = EMPTY;
    return Buffer.concat(bytes);
  }

  #block(bytes: Buffer): Block {
    return { bytes, event: this.#eventIn(bytes, bytes), part: undefined };
  }

  /** @param bytes those of the stream, which are released where the parser fails */
  #eventIn(block: Buffer, bytes: Buffer): ParsedEvent | undefined {
    this.#parsed = bytes;
    const event = this.#parse(block);
    this.#parsed = EMPTY;
    return event;
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

  #passesInParts(bytes: Buffer): boolean {
    return this.#onUnread !== undefined && this.#heldBytes + bytes.length > this.#limit;
  }

  /** A part of a block that is too large to be held. */
  #pass(bytes: Buffer): Buffer {
    const part = this.#heldBytes > 0 ? Buffer.concat([this.#held.subarray(0, this.#heldBytes), bytes]) : bytes;
    this.#held = EMPTY;
    this.#heldBytes = 0;
    this.#large ??= { size: 0, abridger: this.#format.isJson === true ? new JsonAbridger() : undefined };
    const large = this.#large;
    large.size += part.length;
    large.abridger?.write(part);
    this.#parsed = part;
    if (large.size > Math.max(LARGE_EVENT, this.#limit)) throw new EventTooLarge(this.#limit);
    this.#parsed = EMPTY;
    return part;
  }

  #endLarge(bytes: Buffer): Block {
    const abridged = this.#large?.abridger?.end();
    this.#large = undefined;
    const event = abridged && this.#eventIn(abridged, bytes);
    // Only of JSON it is known that it can be told from what an event was without its middle.
    const isRead = event?.json() !== undefined;
    if (!isRead) this.#onUnread?.();
    return { bytes, event: isRead ? event : undefined, part: 'large' };
  }
}
