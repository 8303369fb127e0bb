import { Readable } from 'node:stream';
import { IS_FAST_PATH_ON } from './switch.js';

/** What httpxy is given to send as the body of a request. */
export type BodySource = BodyInMemory | Readable;

/** A body to be sent from memory, as often as so many requests are made of it. */
export function bodySource(bytes: Buffer, requests: number): BodySource {
  // A stream can be read only once.
  return IS_FAST_PATH_ON || requests > 1 ? new BodyInMemory(bytes, requests) : Readable.from([bytes]);
}

/** In the place of a request without a body, which httpxy would read for nothing. */
export function noBody(): BodySource {
  return IS_FAST_PATH_ON ? NO_BODY : Readable.from([]);
}

/**
 * A body in memory, in the place of the stream that httpxy would send: it pipes that or, with `followRedirects`, listens to it.
 * Either way all of it is handed over at once, so that the head leaves with it, and with its length. It keeps nothing of what was.
 */
class BodyInMemory {
  /** Nothing of it is still to come. */
  readonly readableEnded = true;
  #bytes: Buffer | undefined;
  #requests: number;
  #onData: ((bytes: Buffer) => void) | undefined;

  constructor(bytes: Buffer | undefined, requests: number) {
    this.#bytes = bytes;
    this.#requests = requests;
  }

  pipe<T extends NodeJS.WritableStream>(request: T): T {
    const bytes = this.#take();
    if (bytes === undefined) request.end();
    else request.end(bytes);
    return request;
  }

  /** httpxy listens to `data`, then to `end`, and then to `error`, of which there is none. */
  on(event: string, listener: (bytes?: Buffer) => void): this {
    if (event === 'data') this.#onData = listener;
    if (event !== 'end') return this;
    const onData = this.#onData;
    this.#onData = undefined;
    const bytes = this.#take();
    if (bytes !== undefined) onData?.(bytes);
    listener();
    return this;
  }

  #take(): Buffer | undefined {
    const bytes = this.#bytes;
    this.#requests -= 1;
    if (this.#requests <= 0) this.#bytes = undefined;
    return bytes?.length === 0 ? undefined : bytes;
  }
}

const NO_BODY = new BodyInMemory(undefined, 1);
