import type { IncomingMessage, ServerResponse } from 'node:http';
import { replaceMethod } from '../fast-path/replace-method.js';

/** The methods that change or write a response, over HTTP/1, HTTP/2 or both. */
const WRITING_METHODS = [
  ...[
    'setHeader',
    'setHeaders',
    'appendHeader',
    'removeHeader',
    'addTrailers',
    'setTrailer',
    'writeHead',
    'flushHeaders',
  ],
  ...['writeContinue', 'writeProcessing', 'writeEarlyHints', 'writeInformation', 'write', 'end'],
];

const NO_BYTES = Buffer.alloc(0);

/**
 * Keeps others from writing to a response that the proxy has sent: what they write is dropped without an error. Without it Node would
 * throw (in the callback of a timer, that ends the process), and would write a 1xx into the middle of whatever the connection carries
 * by then.
 */
export class ResponseSeal {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  #statusCode: number | undefined;
  /** The proxy itself is writing. */
  #isLifted = false;
  /** The body of the proxy's own response, which middleware may still hold back, and how many bytes of it were written late. */
  #ownBody = NO_BYTES;
  #lateBytes = 0;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
  }

  /** The status code that was sent. Others may still set one on the response, in vain. */
  get statusCode(): number | undefined {
    return this.#statusCode;
  }

  /** Notes the proxy's own response, which has this body. */
  answered(body: string): void {
    this.#statusCode = this.#res.statusCode;
    this.#ownBody = Buffer.from(body);
  }

  /** From here on only the proxy can write. */
  close(): void {
    this.#statusCode ??= this.#res.statusCode;
    this.#makeInert((name, args) => !this.#isLifted && !(name === 'write' && this.#isOwn(args)));
  }

  /** The same as {@link close}, but only once somebody else has ended the response. */
  closeWhenEnded(): void {
    this.#makeInert(() => this.#res.writableEnded);
  }

  /** Runs what the proxy itself has to write. */
  lift(action: () => void): void {
    this.#isLifted = true;
    try {
      action();
    } finally {
      this.#isLifted = false;
    }
  }

  /**
   * Whether what is written is the proxy's own body: middleware with an async `end` (sessions that are saved first) may pass it on only
   * now. Without it, the client would take the next response for it.
   */
  #isOwn([chunk, encoding]: readonly unknown[]): boolean {
    if (this.#res.writableEnded) return false;
    const bytes = bytesOf(chunk, encoding);
    if (!this.#ownBody.includes(bytes) || this.#lateBytes + bytes.length > this.#ownBody.length) return false;
    this.#lateBytes += bytes.length;
    return true;
  }

  #makeInert(isSealed: (name: string, args: readonly unknown[]) => boolean): void {
    const res = this.#res as unknown as Record<string, unknown>;
    for (const name of WRITING_METHODS) {
      const method = res[name];
      if (typeof method !== 'function') continue;
      replaceMethod(res, name, (...args: unknown[]) => {
        if (!isSealed(name, args)) return Reflect.apply(method, res, args);
        // `write` and `end` have a callback that somebody may wait for.
        const callback = args.findLast((arg) => typeof arg === 'function');
        if (callback !== undefined) process.nextTick(callback as () => void);
        return name === 'write' ? true : res;
      });
    }
    // Express's final handler would close the connection, whichever response it carries by then.
    const req = this.#req as { next?: (error?: unknown) => void };
    const { next } = req;
    if (typeof next === 'function') replaceMethod(req, 'next', (error) => isSealed('next', []) || next(error));
  }
}

/** The bytes of what is handed to `write`. For anything but strings and bytes, Node throws. */
function bytesOf(chunk: unknown, encoding: unknown): Buffer {
  if (typeof chunk !== 'string') return chunk instanceof Uint8Array ? Buffer.from(chunk) : NO_BYTES;
  return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8');
}
