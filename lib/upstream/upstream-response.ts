import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { replaceMethod } from '../fast-path/replace-method.js';
import { linesOf } from '../headers/header-values.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';

type HeaderValue = number | string | readonly string[];

/**
 * What http-proxy-middleware is given instead of Express's response: the head of the upstream's response is collected
 * here, after httpxy's own passes (cookie and host rewriting, letter case), and its body is never written here: when httpxy
 * pipes it in, the source is taken out again and handed over.
 *
 * httpxy aborts the upstream request when this closes before it has finished.
 *
 * It is no stream, although httpxy takes it for one: from Node 24 on the state of a Writable has a function that keeps it, and
 * with it the whole exchange, until the next major collection (see `fast-path/replace-method.ts`).
 */
export class UpstreamResponse extends EventEmitter {
  destroyed = false;
  writableFinished = false;
  /** httpxy sets both from the upstream's status line. */
  statusCode = 200;
  statusMessage = '';
  /** The upstream's own Connection field. */
  connection: string | undefined;
  /** The attempt that this is the response of. */
  attempt: object | undefined;
  /** The user answers the client (`selfHandleResponse`): if this is destroyed, so is the client's response. */
  isHandedOver = false;

  /** By lower-case name: the name in the case in which it was set, and the value. */
  readonly #fields = new Map<string, [name: string, value: string | string[]]>();
  readonly #client: ServerResponse;
  readonly #onBody: (source: IncomingMessage) => void;
  readonly #onEmpty: () => void;
  #hasBody = false;

  /**
   * @param client Express's response: a hook may answer the request itself, and httpxy must see that it did
   * @param onBody called once, when the head is complete, with the upstream's response as the source of the body
   * @param onEmpty called instead where httpxy ends the response by itself: a request that was only to be forwarded
   */
  constructor(client: ServerResponse, onBody: (source: IncomingMessage) => void, onEmpty: () => void) {
    super();
    this.#client = client;
    this.#onBody = onBody;
    this.#onEmpty = onEmpty;
  }

  /** Takes the source when httpxy pipes it here, in the place of a pipe, which would cost more than all the rest of a response. */
  expect(source: IncomingMessage): void {
    const { pipe } = source;
    replaceMethod(source, 'pipe', (destination, options) => {
      if ((destination as unknown) !== this) return pipe.call(source, destination, options) as typeof destination;
      this.#hasBody = true;
      this.#onBody(source);
      return destination;
    });
  }

  get headersSent(): boolean {
    return this.#client.headersSent;
  }

  /** httpxy does not pipe into a finished response: one that has ended, or that nobody waits for any more. */
  get finished(): boolean {
    return this.#client.writableEnded || this.destroyed;
  }

  /** Accepts any characters: headers with characters that HTTP forbids are left out when the head is committed. */
  setHeader(name: string, value: HeaderValue): this {
    this.#fields.set(name.toLowerCase(), [name, typeof value === 'object' ? [...value] : String(value)]);
    return this;
  }

  getHeader(name: string): string | string[] | undefined {
    return this.#fields.get(name.toLowerCase())?.[1];
  }

  getHeaders(): HeaderFields {
    const headers: HeaderFields = Object.create(null);
    for (const [key, [, value]] of this.#fields) headers[key] = value;
    return headers;
  }

  hasHeader(name: string): boolean {
    return this.#fields.has(name.toLowerCase());
  }

  removeHeader(name: string): void {
    this.#fields.delete(name.toLowerCase());
  }

  writeHead(statusCode: number): this {
    this.statusCode = statusCode;
    return this;
  }

  /** The head as the upstream sent it: headers that came in several lines are arrays again. */
  head(source: IncomingMessage): ResponseHead {
    const headers = this.getHeaders();
    if (this.connection !== undefined) headers.connection = this.connection;
    // httpxy adds a Connection header if there was none.
    const added = this.connection === undefined && this.hasHeader('connection') ? 1 : 0;
    if (source.rawHeaders.length > 2 * (this.#fields.size - added)) {
      for (const [name, lines] of linesOf(source.rawHeaders)) {
        if (lines.length > 1 && headers[name] === lines.join(', ')) headers[name] = lines;
      }
    }
    return { statusCode: this.statusCode, statusMessage: this.statusMessage, headers };
  }

  /** The letter case in which a header was set (`preserveHeaderKeyCase`). */
  nameOf(key: string): string {
    return this.#fields.get(key)?.[0] ?? key;
  }

  /** Lets go of the headers: they have been sent. */
  forget(): void {
    this.#fields.clear();
  }

  end(): this {
    if (this.destroyed) return this;
    this.writableFinished = true;
    if (!this.#hasBody) process.nextTick(this.#onEmpty);
    return this.close();
  }

  /** The upstream broke off. The cause does not matter here, since the source reports its own end. */
  destroy(): this {
    if (this.isHandedOver && !this.destroyed) this.#client.destroy();
    return this.close();
  }

  /** Nobody waits for this response any more. */
  close(): this {
    if (this.destroyed) return this;
    this.destroyed = true;
    process.nextTick(() => this.emit('close'));
    return this;
  }
}
