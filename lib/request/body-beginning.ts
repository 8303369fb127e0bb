import type { IncomingMessage } from 'node:http';
import { bytesOf, readAsBytes } from './reader-encodings.js';

/** Keeps a copy of the beginning of a request body while it streams upstream. */
export class BodyBeginning {
  readonly #req: IncomingMessage;
  readonly #chunks: Buffer[] = [];
  readonly #onData: (chunk: Buffer | string) => void;

  /** Starts to copy, which makes the request flow: it must be piped elsewhere in the same tick. */
  constructor(req: IncomingMessage, limit: number) {
    let size = 0;
    this.#req = req;
    this.#onData = (chunk) => {
      const bytes = bytesOf(chunk, req);
      this.#chunks.push(Buffer.from(bytes.subarray(0, limit - size)));
      size += bytes.length;
      if (size >= limit) this.stop();
    };
    readAsBytes(req, () => req.on('data', this.#onData));
  }

  /** Stops copying. */
  stop(): void {
    this.#req.removeListener('data', this.#onData);
  }

  /** What has come so far. */
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
