import type { IncomingMessage } from 'node:http';
import { bytesOf, readAsBytes } from './reader-encodings.js';
import { ReplayedBody, type RequestBody } from './replayed-body.js';

/** Keeps a copy of a request body while it streams upstream, so that a small one can be sent again. */
export class BodyCapture {
  readonly #req: IncomingMessage;
  readonly #limit: number;
  #chunks: Buffer[] | undefined = [];
  #size = 0;
  readonly #onData = (chunk: Buffer | string): void => {
    const bytes = bytesOf(chunk, this.#req);
    this.#size += bytes.length;
    this.#chunks?.push(bytes);
    if (this.#size > this.#limit) this.stop();
  };

  /** Starts to copy, which makes the request flow: it must be piped elsewhere in the same tick. */
  constructor(req: IncomingMessage, limit: number) {
    this.#req = req;
    this.#limit = limit;
    readAsBytes(req, () => req.on('data', this.#onData));
  }

  /** Whether the copy is complete so far: it is not where more than `limit` bytes have come. */
  get isUsable(): boolean {
    return this.#chunks !== undefined;
  }

  /**
   * The body to send again: the copy, where all of it has arrived; else the request's own stream, with the copy put back in front;
   * `undefined` where the body is too large. The request must not be piped anywhere by then.
   */
  take(): RequestBody | undefined {
    if (this.#chunks === undefined) return undefined;
    const req = this.#req;
    const copied = Buffer.concat(this.#chunks);
    this.stop();
    if (req.complete && req.readableLength === 0) return new ReplayedBody(copied, true);
    if (req.readableEnded || req.destroyed) return undefined;
    req.pause();
    if (copied.length > 0) req.unshift(copied);
    return 'stream';
  }

  /** Stops copying, and forgets the copy. */
  stop(): void {
    this.#req.removeListener('data', this.#onData);
    this.#chunks = undefined;
  }
}
