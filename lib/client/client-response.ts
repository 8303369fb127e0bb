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
import { ResponseSeal } from './response-seal.js';

/** Nothing was promised of how long a body is. */
export const UNKNOWN_LENGTH = Number.POSITIVE_INFINITY;

/** Express's response: the only place that writes to it. What HTTP/1 and HTTP/2 do in different ways is in its two kinds. */
export abstract class ClientResponse {
  protected readonly req: IncomingMessage;
  protected readonly res: ServerResponse;
  protected headFlushed = false;
  #app: HeaderFields | undefined;
  #flush: (() => void) | undefined;
  /** Milliseconds. */
  #silence = 0;
  #hints = 0;
  /** What the head was to promise. */
  #committedLength = UNKNOWN_LENGTH;
  /** How many bytes of the body the head has promised that were not written yet; `undefined` until the first are. */
  #owed: number | undefined;
  #onBroken: ((cause: unknown) => void) | undefined;
  #isBroken = false;
  /** Of a whole response of the proxy's own, or one that nobody else may write to any more. */
  #seal: ResponseSeal | undefined;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.req = req;
    this.res = res;
  }

  /** What the app, and hooks such as `on.proxyRes`, had set on the response before a head was first put there. */
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

  /** Its body has as many bytes as its head says, so that with all of them it is whole. */
  get isLengthDelimited(): boolean {
    return this.res.hasHeader('content-length');
  }

  /** Nothing that was written is still on its way out. */
  get isIdle(): boolean {
    return this.res.writableLength === 0 && !this.res.writableEnded;
  }

  /** Nothing can reach the client any more: it has left, or it has the whole response. */
  abstract get gone(): boolean;

  /** Everything was handed to the operating system. */
  abstract get finished(): boolean;

  /** Whether its request has come to its end; to be asked before its stream has closed. */
  abstract get hasWholeRequest(): boolean;

  /** Whether the response has a body at all (RFC 9110 6.4.1), by the method as the client has sent it. Known with its head. */
  abstract get takesBody(): boolean;

  /** Whether it can be given whole chunks of the chunked transfer coding. */
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

  /** See {@link onceClosed}: may call back several times, but in a later tick. */
  protected abstract watchClose(closed: () => void): void;

  protected abstract unwatchClose(closed: () => void): void;

  /** Calls back when the response has been ended, by whomever, and all of it is on its way. */
  abstract onceFinished(callback: () => void): void;

  /** Nothing else is to be written in front of this response. */
  abstract get isItsTurn(): boolean;

  /** Calls back when its turn has come; not at all where the client is gone by then. */
  abstract onceItsTurn(callback: () => void): void;

  /**
   * Ends a response that is not complete, so that nobody can take it for a whole one. What was written is still delivered
   * to a client that reads.
   */
  abstract truncate(): void;

  /** Ends the connection (over HTTP/2 the stream) at once; that of a pipelined response when its turn has come. */
  abstract destroy(): void;

  /** Whether hints can go in front of the final response now. */
  protected abstract get takesHints(): boolean;

  /** How long Node has promised the body to be; {@link UNKNOWN_LENGTH} where it has not. */
  protected abstract get promisedLength(): number;

  /** A field as this version of HTTP can have it; `undefined` where it cannot. */
  abstract fieldFor(name: string, value: string | string[]): string | string[] | undefined;

  protected abstract writeHead(head: ResponseHead): void;

  /** See {@link write}. */
  protected abstract send(bytes: BodyBytes, isLast: boolean): boolean;

  /** The response is on its way, and its client has {@link LINGER} to take some of it, again and again, until it has all. */
  protected abstract endSoon(body: string | undefined, endsConnection: boolean): void;

  /** Passes 103 (Early Hints) on; before HTTP/1.1 nobody knows it. */
  inform(info: InformationEvent): void {
    if (!isEarlyHints(info) || this.res.headersSent || this.res.destroyed || !this.takesHints) return;
    if (this.#hints === MAX_HINTS) return;
    this.#hints += 1;
    writeEarlyHints(this.res, info, (name, value) => this.fieldFor(name, value));
  }

  /**
   * Makes the head the response's, whole: what is not in it goes. It leaves at the end of this tick, together with the
   * body where that is already there: one write, one packet.
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

  /** Takes back what a head that could not be sent has left on the response. */
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

  /** See {@link write}. */
  writePiece(piece: Buffer): boolean {
    return this.write({ chunks: [], pieces: [piece], piecesSize: piece.length });
  }

  /**
   * Writes a part of the body. Chunks only where {@link takesChunks} said so when they were read.
   *
   * @param isLast the end may follow in the same tick: then the part leaves together with it
   * @returns `false` where the client should be waited for: see {@link onDrain}
   */
  write(bytes: BodyBytes, isLast = false): boolean {
    // A hook may have ended the response.
    if (this.#isBroken || this.res.writableEnded || !this.takesBody) return true;
    this.#owed ??= this.#promised;
    if (bytes.piecesSize > this.#owed) {
      // Whoever reads would take the rest for the next response.
      this.#break(new RangeError('The body is longer than the Content-Length of its response says'));
      return true;
    }
    this.#owed -= bytes.piecesSize;
    return this.#guarded(() => {
      const more = this.send(bytes, isLast);
      // A `write` of middleware's may hold chunks back, and the head with them.
      if (!this.isWrapped) this.headFlushed = true;
      this.#flush?.();
      return more;
    });
  }

  /** Middleware that writes, and has promised something else, makes another body of this one. */
  get #promised(): number {
    const length = this.promisedLength;
    return this.isWrapped && length !== this.#committedLength ? UNKNOWN_LENGTH : length;
  }

  /** Middleware has put a `write` of its own in front. */
  protected get isWrapped(): boolean {
    return Object.hasOwn(this.res, 'write');
  }

  /** Middleware is to be told to pass on what it holds, after each write. */
  protected get isFlushed(): boolean {
    return this.#flush !== undefined;
  }

  /** Calls back, in a later tick, where the response cannot go on as its head has it, or middleware's own methods throw. */
  onBroken(callback: (cause: unknown) => void): void {
    this.#onBroken = callback;
  }

  #break(cause: unknown): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    process.nextTick(() => this.#onBroken?.(cause));
  }

  /** What middleware has put on the response is called far from where it could be caught. */
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
    // Once for all: `compression` moves the listener to a stream of its own, from where `once` would not remove it.
    this.res.on('drain', callback);
  }

  /** The whole body was written. */
  end(rawTrailers: readonly string[]): void {
    if (this.#isBroken || this.res.writableEnded) return;
    if (this.takesBody) this.#owed ??= this.#promised;
    if (this.#owed !== undefined && this.#owed > 0 && this.#owed !== UNKNOWN_LENGTH) {
      // Whoever reads would take the next response for the rest.
      const cause = new RangeError('The body is shorter than the Content-Length of its response says');
      this.#break(new SseProxyError('UPSTREAM_TRUNCATED', { cause }));
      return;
    }
    const trailers = Object.entries(endToEndTrailers(rawTrailers)).filter(([name, value]) =>
      this.#isField(name, value),
    );
    this.#guarded(() => {
      if (trailers.length > 0) this.res.addTrailers(Object.fromEntries(trailers));
      this.res.end();
    });
  }

  #isField(name: string, value: string): boolean {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
      return this.fieldFor(name, value) !== undefined;
    } catch {
      return false;
    }
  }

  /** Sends a whole response of the proxy's own. Whoever does not take it is cut off after a while. */
  respond(head: ResponseHead, body: string): void {
    this.unsealed(() => {
      this.commit(head, { eventStream: false });
      this.headFlushed = true;
      this.#ownSeal.answered(body);
      this.endSoon(this.takesBody ? body : undefined, head.headers.connection === 'close');
    });
  }

  /** Whatever others write from here on goes nowhere, and never fails: it is an answer that comes too late. */
  seal(): void {
    this.#ownSeal.close();
  }

  /** The same once somebody else has ended the response. */
  sealWhenEnded(): void {
    this.#ownSeal.closeWhenEnded();
  }

  /** For what the proxy itself has to write to a response that may be sealed. */
  protected unsealed(action: () => void): void {
    this.#ownSeal.lift(action);
  }

  get #ownSeal(): ResponseSeal {
    this.#seal ??= new ResponseSeal(this.req, this.res);
    return this.#seal;
  }

  /** Destroys it when nothing has moved for so many milliseconds; 0 for no limit. */
  limitSilence(timeout: number): void {
    if (timeout === this.#silence) return;
    this.#silence = timeout;
    this.res.setTimeout(timeout, () => this.destroy());
  }
}
