import { type IncomingMessage, type ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http';
import { type Http2ServerResponse, constants as http2, type ServerHttp2Stream } from 'node:http2';
import { LINGER, STREAM_LINGER, UPLOAD_LINGER } from '../defaults.js';
import type { BodyBytes } from '../fast-path/direct-write.js';
import { isHeadStream } from '../fast-path/node-internals.js';
import type { ResponseHead } from '../types/http.js';
import { joined } from '../util/join-buffers.js';
import { ClientResponse, UNKNOWN_LENGTH } from './client-response.js';

/** RFC 9113 8.2.2: fields of a connection, which a stream must not have. Node throws where it finds one, or drops it. */
const CONNECTION_SPECIFIC = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Fields that Node sends in one line only: several are refused. Those that have no list for their value keep the first. */
const ONE_LINE = new Set([
  'access-control-allow-credentials',
  'access-control-max-age',
  'access-control-request-method',
  'age',
  'authorization',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'host',
  'if-modified-since',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'tk',
  'upgrade-insecure-requests',
  'user-agent',
  'x-content-type-options',
]);

/** RFC 9110 5.3: of these several lines are one list. */
const ONE_LIST = new Set(['content-encoding', 'content-language', 'if-match', 'if-none-match']);

/** RFC 9110 15: with these statuses there is no body. */
const WITHOUT_BODY = new Set([204, 205, 304]);

/** A response over HTTP/2. A stream is never closed from within nghttp2's own callbacks: see `#reset`. */
export class Http2Response extends ClientResponse {
  readonly #stream: ServerHttp2Stream;

  constructor(req: IncomingMessage, res: ServerResponse) {
    super(req, res);
    this.#stream = (res as unknown as Http2ServerResponse).stream;
  }

  get gone(): boolean {
    return this.res.writableEnded || this.#stream.destroyed || this.#stream.closed;
  }

  get finished(): boolean {
    // The response's own `finish` is emitted for streams that were reset, too.
    const { headersSent, writableFinished, aborted, rstCode } = this.#stream;
    return headersSent && writableFinished && !aborted && rstCode === http2.NGHTTP2_NO_ERROR;
  }

  get hasWholeRequest(): boolean {
    // Not `complete` of the request, which is also true of one that was reset.
    return this.#stream.endAfterHeaders || this.#stream.readableEnded;
  }

  get takesBody(): boolean {
    return !isHeadStream(this.#stream) && !WITHOUT_BODY.has(this.res.statusCode);
  }

  get takesChunks(): boolean {
    return false;
  }

  protected watchClose(closed: () => void): void {
    const stream = this.#stream;
    // Not the response's own, which a HEAD that is reset does not get; and a reset upload closes only when it was read.
    stream.once('aborted', closed);
    stream.once('close', closed);
    if (stream.destroyed || stream.aborted) process.nextTick(closed);
    else if (!this.hasWholeRequest) this.#watchUpload();
  }

  protected unwatchClose(closed: () => void): void {
    this.#stream.removeListener('aborted', closed);
    this.#stream.removeListener('close', closed);
  }

  onceFinished(callback: () => void): void {
    // Not the response's own `finish`, which is emitted when its stream closes.
    if (this.#stream.writableFinished) callback();
    else this.#stream.once('finish', callback);
  }

  /** Streams do not wait for each other. */
  get isItsTurn(): boolean {
    return true;
  }

  onceItsTurn(callback: () => void): void {
    callback();
  }

  protected get takesHints(): boolean {
    return !this.gone;
  }

  protected get promisedLength(): number {
    const length = this.res.getHeader('content-length');
    return length === undefined ? UNKNOWN_LENGTH : Number(length);
  }

  fieldFor(name: string, value: string | string[]): string | string[] | undefined {
    if (CONNECTION_SPECIFIC.has(name)) return undefined;
    try {
      validateHeaderName(name);
      for (const line of [value].flat()) validateHeaderValue(name, line);
    } catch {
      return undefined;
    }
    if (!Array.isArray(value)) return value;
    if (ONE_LIST.has(name)) return value.join(', ');
    return ONE_LINE.has(name) ? value[0] : value;
  }

  protected writeHead({ statusCode }: ResponseHead): void {
    this.res.writeHead(statusCode);
  }

  protected send({ pieces, piecesSize: size }: BodyBytes): boolean {
    // As Node's own `pipe` does: a `write` of middleware's may return nothing.
    return size === 0 || this.res.write(joined(pieces, size)) !== false;
  }

  protected endSoon(body: string | undefined): void {
    this.res.end(body);
    const timer = setTimeout(() => this.destroy(), LINGER);
    this.#stream.once('close', () => clearTimeout(timer));
  }

  /**
   * A client that goes on to send, with the whole response there, is told to stop (RFC 9113 8.1): else the stream would stay for as
   * long as it likes. One that its client has closed would stay, too, until what it has sent is read, and no event tells of it.
   */
  #watchUpload(): void {
    const stream = this.#stream;
    const timer = setInterval(() => {
      if (stream.closed || (stream.writableEnded && stream.state.localClose === 1)) stream.destroy();
      else if (this.hasWholeRequest) clearInterval(timer);
    }, UPLOAD_LINGER);
    stream.once('close', () => clearInterval(timer));
  }

  truncate(): void {
    const { res } = this;
    if (this.#stream.destroyed || res.writableFinished) {
      // The head of an answer without a body is the end of its stream, but the response has to be told.
      if (!res.writableEnded) res.end();
      return;
    }
    this.flushHead();
    this.#resetWhenWritten();
  }

  /** A stream that is reset drops what the client's window has not let through yet. */
  #resetWhenWritten(): void {
    const stream = this.#stream;
    if (stream.closed) return;
    const stuck = (): void => this.destroy();
    stream.setTimeout(LINGER, stuck);
    const timer = setTimeout(stuck, STREAM_LINGER);
    stream.once('close', () => clearTimeout(timer));
    // Called when all that was written before has left.
    stream.write('', () => this.#reset());
  }

  destroy(): void {
    // Its connection may be stuck, too, so that nothing of a reset would leave.
    this.#reset(() => this.#stream.destroy());
  }

  /**
   * In a turn of its own. Ticks and promises run within nghttp2's callbacks, and a stream that is closed there may end as if it were
   * whole (Node 24), or end the process (Node 22).
   */
  #reset(then?: () => void): void {
    setImmediate(() => {
      // The stream's error is emitted here; whoever might have listened may be gone.
      this.req.on('error', () => {});
      this.#stream.close(http2.NGHTTP2_INTERNAL_ERROR);
      then?.();
    });
  }
}
