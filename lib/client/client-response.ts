import {
  type IncomingMessage,
  type InformationEvent,
  type ServerResponse,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http';
import { MAX_HINTS } from '../defaults.js';
import { SseProxyError } from '../errors.js';
import type { BodyBytes } from '../fast-path/direct-write.js';
import { endToEndTrailers } from '../headers/trailers.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import { checkStatus, leaveFramingToNode, replaceHeaders } from './commit-head.js';
import { isEarlyHints, writeEarlyHints } from './early-hints.js';
import { countWrites } from './foreign-writes.js';
import { ResponseSeal } from './response-seal.js';

/** The head names no length for the body. */
export const UNKNOWN_LENGTH = Number.POSITIVE_INFINITY;

/** Express's response, and the only code that writes to it. `Http1Response` and `Http2Response` have what differs between the two. */
export abstract class ClientResponse {
  protected readonly req: IncomingMessage;
  protected readonly res: ServerResponse;
  protected headFlushed = false;
  #app: HeaderFields | undefined;
  #flush: (() => void) | undefined;
  /** Milliseconds. */
  #silence = 0;
  #hints = 0;
  /** The Content-Length of the head that was committed. */
  #committedLength = UNKNOWN_LENGTH;
  /** How many bytes of the promised Content-Length are still to be written; `undefined` until the first write. */
  #owed: number | undefined;
  #onBroken: ((cause: unknown) => void) | undefined;
  #isBroken = false;
  /** Set for the proxy's own responses, and for those that nobody else may write to any more. */
  #seal: ResponseSeal | undefined;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.req = req;
    this.res = res;
  }

  /** The headers that the app, and hooks such as `on.proxyRes`, had set before the proxy committed a head. */
  get appHeaders(): Readonly<HeaderFields> {
    return this.#app ?? (this.res.getHeaders() as HeaderFields);
  }

  get headersSent(): boolean {
    return this.res.headersSent;
  }

  /** The status that the client was sent. */
  get statusCode(): number | undefined {
    return this.res.headersSent ? (this.#seal?.statusCode ?? this.res.statusCode) : undefined;
  }

  /** Whether its head has a Content-Length, so that the client can tell a whole body from one that was cut. */
  get isLengthDelimited(): boolean {
    return this.res.hasHeader('content-length');
  }

  /** Whether everything that was written has been handed to the operating system, and the response has not ended. */
  get isIdle(): boolean {
    return this.res.writableLength === 0 && !this.res.writableEnded;
  }

  /** Whether nothing can reach the client any more: it has left, or it has the whole response. */
  abstract get gone(): boolean;

  /** Whether the whole response was handed to the operating system. */
  abstract get finished(): boolean;

  /** Whether the whole request has arrived. Only valid before the stream of the request has closed. */
  abstract get hasWholeRequest(): boolean;

  /** Whether the response has a body (RFC 9110 6.4.1), by the method that the client sent. Known when the head is committed. */
  abstract get takesBody(): boolean;

  /** Whether {@link write} may be given whole chunks of the chunked transfer coding. */
  abstract get takesChunks(): boolean;

  /** Calls back once: when the response was sent and its connection is done with it, or when the client is gone. */
  onceClosed(callback: () => void): void {
    let isCalled = false;
    const closed = (): void => {
      if (isCalled) return;
      isCalled = true;
      this.unwatchClose(closed);
      callback();
    };
    this.watchClose(closed);
  }

  /** See {@link onceClosed}. May call back several times, and never in the same tick. */
  protected abstract watchClose(closed: () => void): void;

  protected abstract unwatchClose(closed: () => void): void;

  /** Calls back when somebody has ended the response, and all of it was handed to the operating system. */
  abstract onceFinished(callback: () => void): void;

  /** Whether no other response is to be written in front of this one. */
  abstract get isItsTurn(): boolean;

  /** Calls back when its turn has come; never if the client leaves before that. */
  abstract onceItsTurn(callback: () => void): void;

  /**
   * Ends a response that is not complete, so that the client cannot take it for a whole one. A client that reads still gets what was
   * written.
   */
  abstract truncate(): void;

  /** Closes the connection (over HTTP/2 the stream) at once; for a pipelined response, as soon as its turn has come. */
  abstract destroy(): void;

  /** Whether an interim response can be sent now. */
  protected abstract get takesHints(): boolean;

  /** The length of the body by the head that Node has written; {@link UNKNOWN_LENGTH} if it names none. */
  protected abstract get promisedLength(): number;

  /** The value of a header as this version of HTTP can send it; `undefined` if it cannot. */
  abstract headerFor(name: string, value: string | string[]): string | string[] | undefined;

  protected abstract writeHead(head: ResponseHead): void;

  /** See {@link write}. */
  protected abstract send(bytes: BodyBytes, isLast: boolean): boolean;

  /** Ends the response. A client that takes none of it for as long as `LINGER` is disconnected. */
  protected abstract endSoon(body: string | undefined, endsConnection: boolean): void;

  /** Forwards 103 (Early Hints). HTTP/1.0 has no interim responses. */
  inform(info: InformationEvent): void {
    if (!isEarlyHints(info) || this.res.headersSent || this.res.destroyed || !this.takesHints) return;
    if (this.#hints === MAX_HINTS) return;
    this.#hints += 1;
    writeEarlyHints(this.res, info, (name, value) => this.headerFor(name, value));
  }

  /**
   * Makes this the head of the response, and removes every header that is not in it. It is sent at the end of this tick, together
   * with the body if that has begun: one write, one packet.
   *
   * @throws {RangeError} for a status code that is not one of a final response
   */
  commit(head: ResponseHead, options: { eventStream: boolean; nameOf?: (key: string) => string }): void {
    const res = this.res;
    const { statusCode, headers } = head;
    checkStatus(statusCode);
    const present = res.getHeaders() as HeaderFields;
    this.#app ??= present;
    leaveFramingToNode(headers, statusCode);
    this.#committedLength = Number(headers['content-length'] ?? UNKNOWN_LENGTH);
    replaceHeaders(res, { present, headers, as: this, nameOf: options.nameOf });
    res.statusCode = statusCode;
    this.writeHead(head);

    const { flush } = res as { flush?: () => void };
    if (options.eventStream && typeof flush === 'function') this.#flush = flush.bind(res);
    // After the tick in which the body starts to flow.
    queueMicrotask(() => this.flushHead());
  }

  /** Removes from the response what a head that could not be sent has left there. */
  reset(): void {
    if (this.#app === undefined) return;
    replaceHeaders(this.res, { present: this.res.getHeaders() as HeaderFields, headers: this.#app, as: this });
    this.resetStatus();
  }

  protected resetStatus(): void {
    this.res.statusCode = 200;
  }

  protected flushHead(): void {
    if (this.headFlushed || this.res.destroyed) return;
    this.headFlushed = true;
    this.#guarded(() => {
      this.res.flushHeaders();
      this.#flush?.();
    });
  }

  /** Writes one piece of the body. */
  writePiece(piece: Buffer): boolean {
    return this.write({ chunks: [], pieces: [piece], piecesSize: piece.length });
  }

  /**
   * Writes a part of the body. It may have chunks only if {@link takesChunks} was `true` when they were read.
   *
   * @param isLast the response may end in the same tick: then the part is sent together with its end
   * @returns `false` if the caller should wait for {@link onDrain}
   */
  write(bytes: BodyBytes, isLast = false): boolean {
    // A hook may have ended the response.
    if (this.#isBroken || this.res.writableEnded || !this.takesBody) return true;
    this.#owed ??= this.#promised;
    if (bytes.piecesSize > this.#owed) {
      // The client would take the rest for the next response.
      this.#break(new RangeError('The body is longer than the Content-Length of its response says'));
      return true;
    }
    this.#owed -= bytes.piecesSize;
    return this.#guarded(() => {
      const more = this.send(bytes, isLast);
      // Middleware that overrides `write` may hold back chunks, and with them the head.
      if (!this.isWrapped) this.headFlushed = true;
      this.#flush?.();
      return more;
    });
  }

  /** If middleware overrides `write` and has changed the length, it changes the body: then its length is not known. */
  get #promised(): number {
    const length = this.promisedLength;
    return this.isWrapped && length !== this.#committedLength ? UNKNOWN_LENGTH : length;
  }

  /** Whether middleware overrides `write`. */
  protected get isWrapped(): boolean {
    return Object.hasOwn(this.res, 'write');
  }

  /** Whether middleware has a `flush` that is called after each write. */
  protected get isFlushed(): boolean {
    return this.#flush !== undefined;
  }

  /** Calls back, in a later tick, if the body contradicts its Content-Length, or a method that middleware overrides throws. */
  onBroken(callback: (cause: unknown) => void): void {
    this.#onBroken = callback;
  }

  #break(cause: unknown): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    process.nextTick(() => this.#onBroken?.(cause));
  }

  /** Catches what the methods of middleware throw, which are called here outside of any handler of Express. */
  #guarded<T>(action: () => T): T | true {
    try {
      return action();
    } catch (cause) {
      this.#break(cause);
      return true;
    }
  }

  /** Calls back whenever the client can take more. */
  onDrain(callback: () => void): void {
    // One listener for good: `compression` moves it to a stream of its own, from where `once` would not remove it.
    this.res.on('drain', callback);
  }

  /** Ends the response, whose whole body was written. */
  end(rawTrailers: readonly string[]): void {
    if (this.#isBroken || this.res.writableEnded) return;
    if (this.takesBody) this.#owed ??= this.#promised;
    if (this.#owed !== undefined && this.#owed > 0 && this.#owed !== UNKNOWN_LENGTH) {
      // The client would take the next response for the rest.
      const cause = new RangeError('The body is shorter than the Content-Length of its response says');
      this.#break(new SseProxyError('UPSTREAM_TRUNCATED', { cause }));
      return;
    }
    const trailers = Object.entries(endToEndTrailers(rawTrailers)).filter(([name, value]) =>
      this.#isSendable(name, value),
    );
    this.#guarded(() => {
      if (trailers.length > 0) this.res.addTrailers(Object.fromEntries(trailers));
      this.res.end();
    });
  }

  #isSendable(name: string, value: string): boolean {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
      return this.headerFor(name, value) !== undefined;
    } catch {
      return false;
    }
  }

  /** Leaves the response to others. The callback gets the size of each part of its body that they send. */
  handOver(onBytes: (size: number) => void): void {
    // What they set is for their answer, and for none of the proxy's own.
    this.#app ??= this.res.getHeaders() as HeaderFields;
    countWrites(this.res, { isOpen: () => !this.gone, takesBody: () => this.takesBody }, onBytes);
  }

  /** Sends a whole response of the proxy's own. A client that does not read it is disconnected after a while. */
  respond(head: ResponseHead, body: string): void {
    this.unsealed(() => {
      this.commit(head, { eventStream: false });
      this.headFlushed = true;
      this.#ownSeal.answered(body);
      this.endSoon(this.takesBody ? body : undefined, head.headers.connection === 'close');
    });
  }

  /** From here on, whatever others write to the response is dropped without an error: their answer comes too late. */
  seal(): void {
    this.#ownSeal.close();
  }

  /** The same as {@link seal}, but only once somebody else has ended the response. */
  sealWhenEnded(): void {
    this.#ownSeal.closeWhenEnded();
  }

  /** Runs what the proxy itself has to write to a response that may be sealed. */
  protected unsealed(action: () => void): void {
    this.#ownSeal.lift(action);
  }

  get #ownSeal(): ResponseSeal {
    this.#seal ??= new ResponseSeal(this.req, this.res);
    return this.#seal;
  }

  /** Destroys the response when nothing was sent or received for so many milliseconds; 0 turns the limit off. */
  limitSilence(timeout: number): void {
    if (timeout === this.#silence) return;
    this.#silence = timeout;
    this.res.setTimeout(timeout, () => this.destroy());
  }
}
