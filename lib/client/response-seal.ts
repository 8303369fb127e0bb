import type { IncomingMessage, ServerResponse } from 'node:http';
import { replaceMethod } from '../fast-path/replace-method.js';

/** What a response is changed and written by: in HTTP/1, in HTTP/2, or in both. */
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
 * Keeps others from writing to a response that the proxy has answered: what they write goes nowhere, and never fails. Node would
 * throw it back at them (in the callback of a timer, that ends the process), and writes a 1xx into the middle of whatever the
 * connection carries by then.
 */
export class ResponseSeal {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  #statusCode: number | undefined;
  /** It is the proxy itself that writes. */
  #isLifted = false;
  /** A whole response of the proxy's own, which middleware may still hold back, and how much of it was written late. */
  #ownBody = NO_BYTES;
  #lateBytes = 0;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
  }

  /** The status as it was sent: others may set one in vain. */
  get statusCode(): number | undefined {
    return this.#statusCode;
  }

  /** The proxy answers with this body. */
  answered(body: string): void {
    this.#statusCode = this.#res.statusCode;
    this.#ownBody = Buffer.from(body);
  }

  /** From here on nobody else writes. */
  close(): void {
    this.#statusCode ??= this.#res.statusCode;
    this.#makeInert((name, args) => !this.#isLifted && !(name === 'write' && this.#isOwn(args)));
  }

  /** The same once somebody else has ended the response. */
  closeWhenEnded(): void {
    this.#makeInert(() => this.#res.writableEnded);
  }

  /** For what the proxy itself has to write. */
  lift(action: () => void): void {
    this.#isLifted = true;
    try {
      action();
    } finally {
      this.#isLifted = false;
    }
  }

  /**
   * Whether it is the proxy's own body that is written: middleware whose `end` is async (sessions that are saved first) may pass it
   * on only now. Without it, whoever reads would take the next response for it.
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
        // Of `write` and `end`: somebody may wait for it.
        const callback = args.findLast((arg) => typeof arg === 'function');
        if (callback !== undefined) process.nextTick(callback as () => void);
        return name === 'write' ? true : res;
      });
    }
    // Express's own last resort would close the connection, whoever's answer it carries.
    const req = this.#req as { next?: (error?: unknown) => void };
    const { next } = req;
    if (typeof next === 'function') replaceMethod(req, 'next', (error) => isSealed('next', []) || next(error));
  }
}

/** What is handed to `write`; for anything else Node throws. */
function bytesOf(chunk: unknown, encoding: unknown): Buffer {
  if (typeof chunk !== 'string') return chunk instanceof Uint8Array ? Buffer.from(chunk) : NO_BYTES;
  return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8');
}
