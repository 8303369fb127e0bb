import { Transform, type TransformCallback } from 'node:stream';
import { BYTE_ORDER_MARK, type EventFormat, type ParsedEvent } from '../formats/format.js';
import type { Config } from '../types/config.js';
import type { StreamEvent } from '../types/hooks.js';
import { tryHook } from '../util/hooks.js';
import { type Block, EventReader } from './event-reader.js';
import type { EventTapHooks } from './event-tap.js';

const LF = 0x0a;
const CR = 0x0d;

export interface OwnEditsOptions {
  format: EventFormat;
  limit: number;
  /** Whether an event is to be removed. It may throw. */
  isExtra(event: StreamEvent): unknown;
  /** Are told of the events that come in, those that are removed included. */
  hooks: EventTapHooks;
  logError: Config['logError'];
}

/**
 * The edit that the proxy makes for its own account, in front of the user's `transformEvent`: it removes events that are there only
 * because the request was edited. Nobody has asked for it, so that it never does harm: where it cannot tell what an event is, or
 * fails, the bytes pass as they came.
 */
export class OwnEdits extends Transform {
  readonly #options: OwnEditsOptions;
  readonly #reader: EventReader;
  /** The bytes are no events: they pass. */
  #cannotRead = false;
  /** `isExtra` has failed: nothing more is removed. */
  #hasGivenUp = false;
  /** What becomes of an unfinished event where the stream has broken off. */
  #end: 'whole' | 'cut' | 'whole-events' = 'whole';
  #isStart = true;
  /** The last event ended in CR, and was removed: an LF that follows belongs to it, and goes too. */
  #crIsGone = false;

  constructor(options: OwnEditsOptions) {
    super();
    this.#options = options;
    this.#reader = new EventReader(options.format, options.limit, () => options.hooks.unread());
  }

  /**
   * The stream broke off, and so did its last event.
   *
   * @param dropsTail something follows that has to be behind a whole event
   */
  breakOff(dropsTail: boolean): void {
    this.#end = dropsTail ? 'whole-events' : 'cut';
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    if (this.#cannotRead) {
      callback(null, chunk);
      return;
    }
    const output: Buffer[] = [];
    try {
      for (const block of this.#reader.read(chunk)) output.push(this.#edit(block));
    } catch (cause) {
      output.push(this.#pass(cause));
    }
    this.#push(output);
    callback();
  }

  override _flush(callback: TransformCallback): void {
    if (!this.#cannotRead) this.#push([this.#rest()]);
    callback();
  }

  /** What is left at the end: an event that lacks its end only, or half of one. */
  #rest(): Buffer {
    if (this.#end !== 'whole') return this.#end === 'cut' ? this.#reader.release() : Buffer.alloc(0);
    try {
      return this.#edit(this.#reader.end());
    } catch (cause) {
      return this.#pass(cause);
    }
  }

  /** What is sent of a block. */
  #edit({ bytes, event, part }: Block): Buffer {
    const isStart = this.#isStart;
    const crIsGone = this.#crIsGone;
    this.#isStart &&= bytes.length === 0;
    this.#crIsGone = false;
    if (event === undefined) return crIsGone && bytes.length === 1 && bytes[0] === LF ? bytes.subarray(1) : bytes;
    // Of an event that is too large, the other parts have passed.
    const isRemoved = part !== 'large' && this.#isExtra(event);
    this.#options.hooks.event(event, part);
    if (!isRemoved) return bytes;
    this.#crIsGone = this.#options.format.isText && bytes.at(-1) === CR;
    // A byte order mark belongs to the stream.
    const hasMark = isStart && this.#options.format.isText && bytes.subarray(0, 3).equals(BYTE_ORDER_MARK);
    return bytes.subarray(0, hasMark ? BYTE_ORDER_MARK.length : 0);
  }

  #isExtra(event: ParsedEvent): boolean {
    if (this.#hasGivenUp) return false;
    const { isExtra, logError } = this.#options;
    const isRemoved = tryHook('isExtra', () => isExtra(event), Boolean, logError);
    this.#hasGivenUp = isRemoved === undefined;
    return isRemoved === true;
  }

  #pass(cause: unknown): Buffer {
    this.#cannotRead = true;
    this.#options.hooks.failed(cause);
    return this.#reader.release();
  }

  /** Pushes the output of one tick as one chunk, so that it is one write. */
  #push(output: readonly Buffer[]): void {
    const bytes = output.length === 1 ? (output[0] as Buffer) : Buffer.concat(output);
    if (bytes.length > 0) this.push(bytes);
  }
}
