import type { Transform } from 'node:stream';
import { DECODED_REST, DECODER_BACKLOG } from '../defaults.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import { DeferredQueue } from '../util/deferred-queue.js';
import { EventReader, type Part } from './event-reader.js';

const NO_BYTES = Buffer.alloc(0);

export interface EventTapHooks {
  /**
   * An event was read. Must not throw.
   *
   * @param part it is for the account only: an abridged one, or the unfinished end of the stream
   */
  event(event: ParsedEvent, part: Part | undefined): void;
  /** An event is too large, and was skipped: what it had in it is not known. */
  unread(): void;
  /** The bytes cannot be decoded, or are no events: nothing is read any more. Called at most once. */
  failed(cause: unknown): void;
}

/**
 * Reads a stream beside its way to the client. Chunks are read in the next turn of the event loop, when they have been sent, and so
 * have those of every other stream.
 */
export class EventTap {
  readonly #hooks: EventTapHooks;
  readonly #decoder: Transform | undefined;
  readonly #backlog: number;
  #reader: EventReader | undefined;
  readonly #pending: DeferredQueue<Buffer>;

  /** @param decoder for bytes in a content coding */
  constructor(format: EventFormat, limit: number, hooks: EventTapHooks, decoder?: Transform) {
    this.#reader = new EventReader(format, limit, () => hooks.unread());
    this.#hooks = hooks;
    this.#decoder = decoder;
    this.#backlog = Math.max(DECODER_BACKLOG, limit);
    this.#pending = new DeferredQueue((chunk) =>
      decoder === undefined ? this.#read(chunk) : this.#decode(decoder, chunk),
    );
    decoder?.on('data', (decoded: Buffer) => this.#read(decoded));
    // A body that broke off fails here, too.
    decoder?.on('error', (cause) => this.#fail(cause));
  }

  push(chunk: Buffer): void {
    if (this.#reader !== undefined) this.#pending.push(chunk);
  }

  /** Reads at once what was pushed so far. Returns a promise where it has to be decoded first. */
  flush(): Promise<void> | undefined {
    this.#pending.flush();
    const decoder = this.#decoder;
    if (decoder === undefined || decoder.destroyed || decoder.writableEnded) return undefined;
    return new Promise((resolve) => decoder.write(NO_BYTES, () => setImmediate(resolve)));
  }

  /** Reads the rest. Returns a promise if that takes time. `whole` is `false` if the stream was cut. */
  end(whole: boolean): Promise<void> | undefined {
    this.#pending.flush();
    const decoder = this.#decoder;
    if (decoder === undefined || decoder.destroyed) {
      this.#readEnd(whole);
      return undefined;
    }
    return new Promise((resolve) => {
      let size = 0;
      decoder.on('data', ({ length }: Buffer) => {
        size += length;
        if (size > DECODED_REST) this.#fail(new Error(`The rest of the stream has more than ${DECODED_REST} bytes`));
      });
      decoder.once('close', () => {
        this.#readEnd(whole && decoder.errored === null);
        resolve();
      });
      if (!whole) decoder.removeAllListeners('error').on('error', () => {});
      decoder.end();
    });
  }

  #decode(decoder: Transform, chunk: Buffer): void {
    if (decoder.destroyed) return;
    if (decoder.writableLength > this.#backlog) this.#fail(new Error('The decoder cannot keep up with the stream'));
    else decoder.write(chunk);
  }

  #read(bytes: Buffer): void {
    if (this.#reader === undefined) return;
    try {
      for (const { event, part } of this.#reader.read(bytes)) {
        if (event !== undefined) this.#hooks.event(event, part);
      }
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #readEnd(whole: boolean): void {
    try {
      const last = whole ? this.#reader?.end() : undefined;
      if (last?.event !== undefined) this.#hooks.event(last.event, last.part);
    } catch (cause) {
      this.#fail(cause);
    }
    this.#reader = undefined;
  }

  #fail(cause: unknown): void {
    if (this.#reader === undefined) return;
    this.#reader = undefined;
    this.#decoder?.destroy();
    this.#hooks.failed(cause);
  }
}
