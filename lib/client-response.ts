import {
  type IncomingMessage,
  type InformationEvent,
  OutgoingMessage,
  type ServerResponse,
  STATUS_CODES,
  validateHeaderValue,
} from 'node:http';
import { type Http2ServerResponse, constants as http2, type ServerHttp2Stream } from 'node:http2';
import { Socket } from 'node:net';
import { isHttp2, removeConnectionFields, trailerFields } from './headers.js';
import { chunkOf, joined } from './http-chunk.js';
import type { HeaderFields, ResponseHead } from './types.js';

/** How long a client may take to read what was already written before a truncated response is cut. Milliseconds. */
const LINGER = 5_000;

/** How long a client that is still sending has to read a response that its connection ends with. Milliseconds. */
const UPLOAD_LINGER = 1_000;

/** How many early hints are passed on. They are not waited for, and an upstream could send them without end. */
const MAX_HINTS = 100;

/** Express's response: the only place that writes to it. */
export class ClientResponse {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #http2: Http2ServerResponse | undefined;
  #app: HeaderFields | undefined;
  #flush: (() => void) | undefined;
  #onDrain: (() => void) | undefined;
  #headFlushed = false;
  /** Milliseconds. */
  #silence = 0;
  #hints = 0;
  /** Middleware has put a `write` of its own in front, which may hold chunks back, and the head with them. */
  #isWrapped = false;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
    this.#http2 = isHttp2(req) ? (res as unknown as Http2ServerResponse) : undefined;
  }

  /** What the app, and hooks such as `on.proxyRes`, had set on the response before a head was first put there. */
  get appHeaders(): Readonly<HeaderFields> {
    return this.#app ?? (this.#res.getHeaders() as HeaderFields);
  }

  get headersSent(): boolean {
    return this.#res.headersSent;
  }

  /** Nothing can reach the client any more: it has left, or it has the whole response. */
  get gone(): boolean {
    return this.#res.writableEnded || this.#req.socket.destroyed || (this.#http2 ?? this.#res).destroyed === true;
  }

  /** Its body has as many bytes as its head says, so that with all of them it is whole. */
  get isLengthDelimited(): boolean {
    return this.#res.hasHeader('content-length');
  }

  /** The status that the client was sent. */
  get statusCode(): number | undefined {
    return this.#res.headersSent ? this.#res.statusCode : undefined;
  }

  /** Everything was handed to the operating system. */
  get finished(): boolean {
    if (this.#http2 === undefined) return this.#res.writableFinished;
    // Its own `finish` is emitted for streams that were reset, too.
    const { stream } = this.#http2;
    return (
      stream === undefined || (stream.writableFinished && !stream.aborted && stream.rstCode === http2.NGHTTP2_NO_ERROR)
    );
  }

  /** Calls back once: when the response was sent and its connection is done with it, or when the client is gone. */
  onceClosed(callback: () => void): void {
    const { socket } = this.#req;
    let called = false;
    const closed = (): void => {
      if (called) return;
      called = true;
      this.#res.removeListener('close', closed);
      socket.removeListener('close', closed);
      callback();
    };
    this.#res.once('close', closed);
    if (this.#res.closed || this.#req.socket.destroyed) process.nextTick(closed);
    // A pipelined response that waits for its turn is not told that its connection has closed.
    if (this.#http2 === undefined && this.#res.socket === null) socket.once('close', closed);
  }

  /** Passes 103 (Early Hints) on; before HTTP/1.1 nobody knows it. */
  inform({ statusCode, headers }: InformationEvent): void {
    if (statusCode !== 103 || headers.link === undefined) return;
    if (this.#http2 === undefined && this.#req.httpVersion !== '1.1') return;
    if (this.#res.headersSent || this.#res.destroyed || this.#hints === MAX_HINTS) return;
    this.#hints += 1;
    const fields = { ...headers };
    removeConnectionFields(fields);
    // RFC 9110 8.6: it would be taken for that of the final response.
    delete fields['content-length'];
    try {
      // Node wants one link per element.
      this.#res.writeEarlyHints({
        ...fields,
        link: [headers.link]
          .flat()
          .join(', ')
          .split(/,\s*(?=<)/),
      } as Record<string, string | string[]>);
    } catch {
      // A Link field that Node cannot read. It was only a hint.
    }
  }

  /**
   * Makes the head the response's, whole: what is not in it goes. It leaves at the end of this tick, together with the
   * body where that is already there: one write, one packet.
   *
   * @throws {RangeError} for a status code that is not one of a final response
   */
  commit(head: ResponseHead, options: { eventStream: boolean; nameOf: (key: string) => string }): void {
    const res = this.#res;
    const { statusCode, statusMessage } = head;
    if (!Number.isInteger(statusCode) || statusCode < 200 || statusCode > 999) {
      throw new RangeError(`The status code of a response must be 200 to 999, got ${statusCode}`);
    }
    const present = res.getHeaders() as HeaderFields;
    this.#app ??= present;
    this.#replaceHeaders(present, head.headers, options.nameOf);
    res.statusCode = statusCode;
    if (this.#http2 === undefined) {
      // Node puts the standard phrase where there is none.
      res.statusMessage = statusMessage === STATUS_CODES[statusCode] || isValue(statusMessage) ? statusMessage : '';
      this.#req.socket.setNoDelay(true);
    }
    res.writeHead(statusCode);

    this.#isWrapped = Object.hasOwn(res, 'write');
    const { flush } = res as { flush?: () => void };
    if (options.eventStream && typeof flush === 'function') this.#flush = flush.bind(res);
    // After the tick in which the body starts to flow.
    queueMicrotask(() => this.#flushHead());
  }

  /** Takes back what a head that could not be sent has left on the response. */
  reset(): void {
    if (this.#app === undefined) return;
    this.#replaceHeaders(this.#res.getHeaders() as HeaderFields, this.#app, (key) => key);
    this.#res.statusCode = 200;
    if (this.#http2 === undefined) this.#res.statusMessage = '';
  }

  #replaceHeaders(present: HeaderFields, headers: HeaderFields, nameOf: (key: string) => string): void {
    const res = this.#res;
    for (const name of Object.keys(present)) if (headers[name] === undefined) res.removeHeader(name);
    for (const key of Object.keys(headers)) {
      const value = headers[key];
      if (value === undefined || present[key] === value) continue;
      try {
        res.setHeader(nameOf(key), value);
      } catch {
        // Characters that HTTP forbids: the field is left out, the response is not lost for it.
        res.removeHeader(key);
      }
    }
  }

  #flushHead(): void {
    if (this.#headFlushed || this.#res.destroyed) return;
    this.#headFlushed = true;
    this.#res.flushHeaders();
    this.#flush?.();
  }

  /**
   * Returns `false` where the client should be waited for: see {@link onDrain}. `isLast` tells that the end may follow in the
   * same tick: then it leaves together with it. `chunks` go in front: see {@link takesChunks}.
   */
  write(pieces: readonly Buffer[], size: number, isLast = false, chunks: readonly Buffer[] = []): boolean {
    const res = this.#res;
    // A hook has ended the response.
    if (res.writableEnded) return true;
    let more: boolean;
    if (this.#isPlain && !isLast) more = this.#writeAtOnce(pieces, size, chunks);
    else {
      this.#hold(chunks);
      more = size === 0 || res.write(joined(pieces, size));
    }
    if (!this.#isWrapped) this.#headFlushed = true;
    this.#flush?.();
    return more;
  }

  /** Between it and the connection is only Node's own code for HTTP/1. */
  get #isPlain(): boolean {
    return this.#http2 === undefined && this.#res.write === OutgoingMessage.prototype.write;
  }

  /** Whether it can be given whole chunks of the chunked transfer coding. */
  get takesChunks(): boolean {
    const { chunkedEncoding, socket } = this.#res;
    const hasLeft = this.#headFlushed && socket?.writable === true;
    return hasLeft && chunkedEncoding && this.#isPlain && this.#flush === undefined;
  }

  /** Node would hold it until the end of the tick. */
  #writeAtOnce(pieces: readonly Buffer[], size: number, chunks: readonly Buffer[]): boolean {
    const res = this.#res;
    const { socket } = res;
    if (this.#headFlushed && socket?.writable) return this.#writeDirectly(socket, pieces, size, chunks);
    socket?.cork();
    const more = res.write(joined(pieces, size));
    socket?.uncork();
    // A large write is never "more" to Node, even where the operating system has taken all of it.
    return more || socket?.writableLength === 0;
  }

  /** Behind the head past the response, into its connection: Node would write a chunk in four pieces. */
  #writeDirectly(socket: Socket, pieces: readonly Buffer[], size: number, chunks: readonly Buffer[]): boolean {
    let parts = chunks;
    if (size > 0) {
      const rest = this.#res.chunkedEncoding ? chunkOf(pieces, size) : pieces;
      parts = chunks.length === 0 ? rest : [...chunks, ...rest];
    }
    let more = true;
    if (parts.length > 1) socket.cork();
    for (const part of parts) more = socket.write(part);
    if (parts.length > 1) socket.uncork();
    if (more || socket.writableLength === 0) return true;
    if (this.#onDrain !== undefined) socket.once('drain', this.#onDrain);
    return false;
  }

  /** Writes at the end of the tick, together with what follows. */
  #hold(chunks: readonly Buffer[]): void {
    const { socket } = this.#res;
    if (chunks.length === 0 || socket === null) return;
    socket.cork();
    process.nextTick(() => socket.uncork());
    for (const chunk of chunks) socket.write(chunk);
  }

  /** Nothing that was written is still on its way out. */
  get isIdle(): boolean {
    return this.#res.writableLength === 0 && !this.#res.writableEnded;
  }

  /** Calls back whenever the client can take more. */
  onDrain(callback: () => void): void {
    this.#onDrain = callback;
    // Once for all: `compression` moves the listener to a stream of its own, from where `once` would not remove it.
    this.#res.on('drain', callback);
  }

  /** The whole body was written. */
  end(rawTrailers: readonly string[]): void {
    if (this.#res.writableEnded) return;
    if (rawTrailers.length > 0) {
      try {
        this.#res.addTrailers(trailerFields(rawTrailers));
      } catch {
        // Characters that HTTP forbids: the body is whole without them.
      }
    }
    this.#res.end();
  }

  /** Sends a whole response of the proxy's own. */
  respond(head: ResponseHead, body: string): void {
    this.commit(head, { eventStream: false, nameOf: (key) => key });
    this.#headFlushed = true;
    const endsConnection = head.headers.connection === 'close' || !this.#res.shouldKeepAlive;
    if (this.#http2 === undefined && endsConnection && !this.#req.complete) this.#endLater(body);
    else this.#res.end(body);
  }

  /** A connection that is closed with bytes of the client's unread is reset, and the response may be lost with it. */
  #endLater(body: string): void {
    const res = this.#res;
    res.write(body);
    const end = (): void => void res.end();
    const linger = setTimeout(end, UPLOAD_LINGER);
    this.#req.once('end', end);
    res.once('close', () => {
      clearTimeout(linger);
      this.#req.removeListener('end', end);
    });
  }

  /**
   * Ends a response that is not complete, so that nobody can take it for a whole one. What was written is still delivered
   * to a client that reads.
   */
  truncate(): void {
    const res = this.#res;
    if (res.destroyed || res.writableFinished) {
      // Over HTTP/2 the head of an answer without a body is the end of its stream, but the response has to be told.
      if (this.#http2 !== undefined && !res.writableEnded) res.end();
      return;
    }
    this.#flushHead();
    if (this.#http2 !== undefined) {
      resetWhenWritten(this.#http2.stream);
      return;
    }
    // A pipelined response whose turn has not come has written nothing.
    if (res.socket === null) {
      this.destroy();
      return;
    }
    const { socket } = this.#req;
    const linger = setTimeout(() => socket.destroy(), LINGER);
    socket.once('close', () => clearTimeout(linger));
    // Called when all that was written before has left.
    socket.write('', () => {
      // The end of the connection ends such a body (RFC 9112 6.3, rule 8): only a reset tells that it was cut.
      const closeDelimited = !res.chunkedEncoding && !this.isLengthDelimited;
      if (closeDelimited && isPlainTcp(socket)) socket.resetAndDestroy();
      else socket.destroy();
    });
  }

  /** Ends the connection (over HTTP/2 the stream) at once; that of a pipelined response when its turn has come. */
  destroy(): void {
    const { socket } = this.#req;
    if (this.#http2 !== undefined || this.#res.socket !== null) this.#res.destroy();
    // Not `res.destroy()`: from Node 24 on, what is buffered would still be sent, and the connection left open.
    else this.#res.once('socket', () => socket.destroy());
  }

  /** Destroys it when nothing has moved for so many milliseconds; 0 for no limit. */
  limitSilence(timeout: number): void {
    if (timeout === this.#silence) return;
    this.#silence = timeout;
    this.#res.setTimeout(timeout, () => this.destroy());
  }
}

/** A stream that is reset drops what the client's window has not let through yet. */
function resetWhenWritten(stream: ServerHttp2Stream): void {
  if (stream.closed) return;
  const reset = (): void => stream.close(http2.NGHTTP2_INTERNAL_ERROR);
  const linger = setTimeout(reset, LINGER);
  stream.once('close', () => clearTimeout(linger));
  // Called when all that was written before has left.
  stream.write('', reset);
}

function isValue(value: string): boolean {
  try {
    validateHeaderValue('value', value);
    return true;
  } catch {
    return false;
  }
}

/** A TLS socket cannot be reset; it ends without its closing alert, which is a sign of its own. */
function isPlainTcp(socket: Socket): boolean {
  return Object.getPrototypeOf(socket) === Socket.prototype;
}
