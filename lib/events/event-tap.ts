import type { Transform } from 'node:stream';
import { DECODED_REST, DECODER_BACKLOG } from '../defaults.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import { DeferredQueue } from '../util/deferred-queue.js';
import { EventReader } from './event-reader.js';

/**
 * Reads a stream beside its way to the client. Chunks are read in the next turn of the event loop, when they have been sent, and so
 * have those of every other stream.
 */
export class EventTap {
  readonly #onEvent: (event: ParsedEvent) => void;
  readonly #onFailure: (cause: unknown) => void;
  readonly #decoder: Transform | undefined;
  readonly #backlog: number;
  #reader: EventReader | undefined;
  readonly #pending: DeferredQueue<Buffer>;

  /**
   * @param onEvent must not throw
   * @param onFailure called at most once, if an event is too large or the bytes cannot be decoded; nothing is read any more
   * @param decoder for bytes in a content coding
   */
  constructor(
    format: EventFormat,
    limit: number,
    onEvent: (event: ParsedEvent) => void,
    onFailure: (cause: unknown) => void,
    decoder?: Transform,
  ) {
    this.#reader = new EventReader(format, limit);
    this.#onEvent = onEvent;
    this.#onFailure = onFailure;
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

  /** Reads at once what was pushed so far, unless it has to be decoded. */
  flush(): void {
    this.#pending.flush();
  }

  /** Reads the rest. Returns a promise if that takes time. `whole` is `false` if the stream was cut. */
  end(whole: boolean): Promise<void> | undefined {
    this.flush();
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
      for (const { event } of this.#reader.read(bytes)) if (event !== undefined) this.#onEvent(event);
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #readEnd(whole: boolean): void {
    const last = whole ? this.#reader?.end().event : undefined;
    if (last !== undefined) this.#onEvent(last);
    this.#reader = undefined;
  }

  #fail(cause: unknown): void {
    if (this.#reader === undefined) return;
    this.#reader = undefined;
    this.#decoder?.destroy();
    this.#onFailure(cause);
  }
}
