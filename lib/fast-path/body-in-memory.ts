import { Readable } from 'node:stream';
import { IS_FAST_PATH_ON } from './switch.js';

/** What httpxy is given as the source of a request's body. */
export type BodySource = BodyInMemory | Readable;

/** A body that is sent from memory, in so many requests. */
export function bodySource(bytes: Buffer, requests: number): BodySource {
  // A stream can be read only once.
  return IS_FAST_PATH_ON || requests > 1 ? new BodyInMemory(bytes, requests) : streamOf(bytes);
}

/** Unlike `Readable.from`, it keeps no bytes that were read: the request may wait for its response for long. */
function streamOf(bytes: Buffer): Readable {
  let rest: Buffer | undefined = bytes.length > 0 ? bytes : undefined;
  return new Readable({
    read() {
      const piece = rest ?? null;
      rest = undefined;
      this.push(piece);
    },
  });
}

/** Stands in for a request without a body, which httpxy would otherwise read for nothing. */
export function noBody(): BodySource {
  return IS_FAST_PATH_ON ? NO_BODY : Readable.from([]);
}

/**
 * A body in memory that stands in for the stream that httpxy would send: httpxy calls its `pipe` or, with `followRedirects`, its `on`.
 * Either way it gets the whole body at once, so that the head is sent together with it. After the last request it keeps no bytes.
 */
class BodyInMemory {
  /** As of a stream: nothing of the body is still to come. */
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

  /** httpxy listens to `data`, then to `end`, and then to `error`, which never comes. */
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
