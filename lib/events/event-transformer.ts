import { Transform, type TransformCallback } from 'node:stream';
import { BYTE_ORDER_MARK, type EventFormat, ParsedEvent } from '../formats/format.js';
import type { EventFields, TransformResult } from '../types/hooks.js';
import { ignore, isPromiseLike, kindOf } from '../util/hooks.js';
import { type Block, EventReader } from './event-reader.js';

const LF = 0x0a;
const CR = 0x0d;

/** An event as the upstream sent it, with its bytes. */
interface EventBlock {
  bytes: Buffer;
  event: ParsedEvent;
}

export interface EventTransformerHooks {
  /** Decides what an event becomes. */
  transform(event: ParsedEvent): TransformResult | Promise<TransformResult>;
  /** An event came from the upstream; called before `transform`, which may change it. */
  received?: ((event: ParsedEvent) => void) | undefined;
  /** Told that a promise of `transform` is waited for, and that this is over. */
  waiting?: ((isWaiting: boolean) => void) | undefined;
  /** Whether {@link EventTransformer.takeSent} is to be used. */
  collectsSent: boolean;
}

/** Edits the events of a stream. Events that are not changed keep their bytes. */
export class EventTransformer extends Transform {
  readonly #reader: EventReader;
  readonly #encode: (fields: EventFields) => Buffer;
  readonly #isText: boolean;
  readonly #endsWithStream: boolean;
  readonly #hooks: EventTransformerHooks;
  #brokenOff = false;
  #begun: boolean;
  /** The last event ended in CR, and was replaced: an LF that follows belongs to it, and goes too. */
  #crIsGone = false;
  #output: Buffer[] = [];
  #outputEvents: ParsedEvent[] = [];
  /** The events of each chunk of output that has not been taken yet. */
  readonly #sent: ParsedEvent[][] = [];

  /** Fails with `EventTooLarge`, with what a hook throws, and with a `TypeError` for an event that cannot be written. */
  constructor(format: EventFormat, limit: number, hooks: EventTransformerHooks) {
    super();
    const { endsWithStream, isText } = format;
    if (format.encode === undefined) throw new TypeError('The format has no encoder');
    this.#encode = (fields) => format.encode?.(fields) as Buffer;
    this.#isText = isText;
    this.#begun = !isText;
    this.#endsWithStream = endsWithStream;
    this.#reader = new EventReader(format, limit);
    this.#hooks = hooks;
  }

  /** The stream broke off: its last event is incomplete. */
  breakOff(): void {
    this.#brokenOff = true;
  }

  /** The events of the next chunk of output; to be called once for each chunk. */
  takeSent(): ParsedEvent[] {
    return this.#sent.shift() ?? [];
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    this.#run(this.#reader.read(chunk), callback);
  }

  override _flush(callback: TransformCallback): void {
    // An incomplete event is dropped: clients discard it, and the hook has not seen it.
    const isWhole = this.#endsWithStream && !this.#brokenOff;
    this.#run((isWhole ? [this.#reader.end()] : []).values(), callback);
  }

  /** Goes through the blocks in order. From the first promise on, it continues in a later tick. */
  #run(blocks: Iterator<Block>, callback: TransformCallback): void {
    try {
      for (let next = blocks.next(); next.done !== true; next = blocks.next()) {
        const { bytes, event } = next.value;
        if (event === undefined) {
          // The LF of a CRLF whose CR was replaced is dropped, too.
          const isGone = this.#crIsGone && bytes.length === 1 && bytes[0] === LF;
          if (!isGone) this.#output.push(this.#begin(bytes));
          this.#crIsGone = false;
          continue;
        }
        const original = event.copy();
        this.#hooks.received?.(original);
        const upstreams = { bytes: this.#begin(bytes), event: original };
        const result = this.#hooks.transform(event);
        if (isPromiseLike(result)) {
          this.#flushOutput();
          this.#hooks.waiting?.(true);
          void this.#resume(upstreams, event, result, blocks, callback);
          return;
        }
        this.#put(upstreams, event, result);
      }
    } catch (error) {
      this.#flushOutput();
      callback(error as Error);
      return;
    }
    this.#flushOutput();
    callback();
  }

  async #resume(
    upstreams: EventBlock,
    event: ParsedEvent,
    result: PromiseLike<TransformResult>,
    blocks: Iterator<Block>,
    callback: TransformCallback,
  ): Promise<void> {
    try {
      const settled = await result;
      this.#hooks.waiting?.(false);
      if (this.destroyed) return;
      this.#put(upstreams, event, settled);
    } catch (error) {
      this.#hooks.waiting?.(false);
      callback(error as Error);
      return;
    }
    this.#run(blocks, callback);
  }

  /** Sends the byte order mark at once: it counts at the very start only, and an event may be inserted before the first one. */
  #begin(bytes: Buffer): Buffer {
    if (this.#begun || bytes.length === 0) return bytes;
    this.#begun = true;
    if (!bytes.subarray(0, 3).equals(BYTE_ORDER_MARK)) return bytes;
    this.#output.push(BYTE_ORDER_MARK);
    return bytes.subarray(3);
  }

  #put(upstreams: EventBlock, event: ParsedEvent, result: TransformResult): void {
    // Nearly all events stay as they are.
    if ((result === undefined || result === event) && upstreams.event.equals(event)) {
      this.#keep(upstreams);
      this.#crIsGone = false;
      return;
    }
    const list = result === null ? [] : [result ?? event].flat();
    for (const [i, fields] of list.entries()) {
      if (typeof fields !== 'object' || fields === null || Array.isArray(fields) || isPromiseLike(fields)) {
        // An async function that was given to `map` makes a list of promises. The others are not waited for either.
        for (const other of list) ignore(other);
        const got = `${Array.isArray(result) ? 'an array with ' : ''}${kindOf(fields)}`;
        throw new TypeError(`transformEvent must return an event, an array of events or null, got ${got}`);
      }
      // The last line of NDJSON may lack its line end, and needs one if something follows.
      if (upstreams.event.equals(fields) && (i === list.length - 1 || !this.#isText || endsLine(upstreams.bytes))) {
        this.#keep(upstreams);
        continue;
      }
      const block = this.#encode(fields);
      this.#output.push(block);
      const { data, event, id, retry, comment } = fields;
      if (data === undefined || block.length === 0 || !this.#hooks.collectsSent) continue;
      this.#outputEvents.push(new ParsedEvent(data, event, id, retry, comment));
    }
    this.#crIsGone = this.#isText && upstreams.bytes.at(-1) === CR && this.#output.at(-1) !== upstreams.bytes;
  }

  #keep({ bytes, event }: EventBlock): void {
    this.#output.push(bytes);
    if (this.#hooks.collectsSent) this.#outputEvents.push(event);
  }

  /** Pushes the output of one tick as one chunk, so that it is one write. */
  #flushOutput(): void {
    const output = this.#output.length === 1 ? this.#output[0] : Buffer.concat(this.#output);
    const events = this.#outputEvents;
    this.#output = [];
    this.#outputEvents = [];
    if (output === undefined || output.length === 0) return;
    if (this.#hooks.collectsSent) this.#sent.push(events);
    this.push(output);
  }
}

function endsLine(bytes: Buffer): boolean {
  return bytes.at(-1) === LF || bytes.at(-1) === CR;
}
