import { type IncomingMessage, type ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http';
import { type Http2ServerResponse, constants as http2, type ServerHttp2Stream } from 'node:http2';
import { LINGER, STREAM_LINGER, UPLOAD_LINGER } from '../defaults.js';
import type { BodyBytes } from '../fast-path/direct-write.js';
import { isHeadStream } from '../fast-path/node-internals.js';
import type { ResponseHead } from '../types/http.js';
import { joined } from '../util/join-buffers.js';
import { ClientResponse, UNKNOWN_LENGTH } from './client-response.js';
import { dropForbiddenHeaders } from './foreign-writes.js';

/** RFC 9113 8.2.2: connection-specific headers, which HTTP/2 must not have. Node throws for some, and drops others. */
const CONNECTION_SPECIFIC = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Headers that Node sends in one line only: it refuses several. Those whose value is no list keep the first line. */
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

/** RFC 9110 5.3: several lines of these headers are one list. */
const ONE_LIST = new Set(['content-encoding', 'content-language', 'if-match', 'if-none-match']);

/** RFC 9110 15: responses with these status codes have no body. */
const WITHOUT_BODY = new Set([204, 205, 304]);

/** A response over HTTP/2. It never closes its stream from within nghttp2's own callbacks: see `#reset`. */
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
    // Node emits `finish` of the response also for streams that were reset.
    const { headersSent, writableFinished, aborted, rstCode } = this.#stream;
    return headersSent && writableFinished && !aborted && rstCode === http2.NGHTTP2_NO_ERROR;
  }

  get hasWholeRequest(): boolean {
    // Not `complete` of the request, which is also `true` for a stream that was reset.
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
    // Not `close` of the response, which a HEAD that is reset does not emit. `aborted`, since a reset upload closes only once it is read.
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
    // Not `finish` of the response, which Node emits when its stream closes.
    if (this.#stream.writableFinished) callback();
    else this.#stream.once('finish', callback);
  }

  /** HTTP/2 streams do not wait for each other. */
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

  headerFor(name: string, value: string | string[]): string | string[] | undefined {
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

  override handOver(onBytes: (size: number) => void): void {
    super.handOver(onBytes);
    dropForbiddenHeaders(this.res, (name) => CONNECTION_SPECIFIC.has(name));
  }

  protected writeHead({ statusCode }: ResponseHead): void {
    this.res.writeHead(statusCode);
  }

  protected send({ pieces, piecesSize: size }: BodyBytes): boolean {
    // As Node's own `pipe` does, wait only for `false`: a `write` of middleware may return nothing.
    return size === 0 || this.res.write(joined(pieces, size)) !== false;
  }

  protected endSoon(body: string | undefined): void {
    this.res.end(body);
    const timer = setTimeout(() => this.destroy(), LINGER);
    this.#stream.once('close', () => clearTimeout(timer));
  }

  /**
   * Destroys the stream of a client that has the whole response and goes on to send, which tells it to stop (RFC 9113 8.1): else the
   * stream would stay open for as long as the client likes. A stream that its client has closed would stay, too, until what the client
   * has sent is read, and no event tells of that.
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
      // The head of a response without a body ends its stream, but Node's response does not know that.
      if (!res.writableEnded) res.end();
      return;
    }
    this.flushHead();
    this.#resetWhenWritten();
  }

  /** Resets the stream once the client has taken what was written: a reset drops what still waits for flow control. */
  #resetWhenWritten(): void {
    const stream = this.#stream;
    if (stream.closed) return;
    const stuck = (): void => this.destroy();
    stream.setTimeout(LINGER, stuck);
    const timer = setTimeout(stuck, STREAM_LINGER);
    stream.once('close', () => clearTimeout(timer));
    // What has its end behind it cannot be cut any more.
    if (stream.writableEnded) return;
    // The callback of an empty write runs when all that was written before it has left.
    stream.write('', () => this.#reset());
  }

  destroy(): void {
    // Its connection may be stuck, too, so that the reset would never be sent.
    this.#reset(() => this.#stream.destroy());
  }

  /**
   * Resets the stream in a turn of its own. Ticks and promises run within nghttp2's callbacks, and a stream that is closed there may end
   * as if it were whole (Node 24), or end the process (Node 22).
   */
  #reset(then?: () => void): void {
    setImmediate(() => {
      // The request emits the stream's error; whoever listened to it may be gone.
      this.req.on('error', () => {});
      this.#stream.close(http2.NGHTTP2_INTERNAL_ERROR);
      then?.();
    });
  }
}
