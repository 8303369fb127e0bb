import { OutgoingMessage, type ServerResponse, STATUS_CODES, validateHeaderValue } from 'node:http';
import { Socket } from 'node:net';
import { chunkOf } from '../fast-path/chunk-encoder.js';
import { forEachChunk } from '../fast-path/chunk-scanner.js';
import type { ResponseHead } from '../types/http.js';
import { joined } from '../util/join-buffers.js';
import { ClientResponse, LINGER, UNKNOWN_LENGTH, UPLOAD_LINGER } from './client-response.js';

/** What Node decides of a response, and does not document: `contract/node.test.ts` holds it. */
type DecidedResponse = ServerResponse & {
  /** RFC 9110 6.4.1: by the method as it was received, and by the status that was written. */
  readonly _hasBody: boolean;
  /** What the head says, once it is written. */
  readonly _contentLength: number | null;
};

/** Whose response a connection is just carrying. */
type ServerSocket = Socket & { readonly _httpMessage?: ServerResponse | null };

/** A response over HTTP/1. */
export class Http1Response extends ClientResponse {
  declare protected readonly res: DecidedResponse;
  #onDrain: (() => void) | undefined;

  get gone(): boolean {
    return this.res.writableEnded || this.req.socket.destroyed || this.res.destroyed;
  }

  get finished(): boolean {
    return this.res.writableFinished;
  }

  get hasWholeRequest(): boolean {
    return this.req.complete;
  }

  get takesBody(): boolean {
    return this.res._hasBody;
  }

  onceClosed(callback: () => void): void {
    const { req, res } = this;
    let forget: (() => void) | undefined;
    let called = false;
    const closed = (): void => {
      if (called) return;
      called = true;
      res.removeListener('close', closed);
      forget?.();
      callback();
    };
    res.once('close', closed);
    if (res.closed || req.socket.destroyed) process.nextTick(closed);
    // A pipelined response that waits for its turn is not told that its connection has closed.
    else if (res.socket === null) forget = CloseNotifier.of(req.socket).once(closed);
  }

  onceFinished(callback: () => void): void {
    if (this.res.writableFinished) callback();
    else this.res.once('finish', callback);
  }

  /** RFC 9112 9.3.2: pipelined requests are answered in their order. */
  get isItsTurn(): boolean {
    return this.res.socket !== null || this.res.writableEnded;
  }

  onceItsTurn(callback: () => void): void {
    // A 1xx that Node has queued is written in the same tick. With a head of ours by then, it would land behind that.
    this.res.once('socket', () => process.nextTick(callback));
  }

  protected get takesHints(): boolean {
    // Before its turn, Node would queue them, and send the head in front of them.
    return this.req.httpVersion === '1.1' && this.isItsTurn;
  }

  protected get promisedLength(): number {
    const { chunkedEncoding, _contentLength: length } = this.res;
    return chunkedEncoding ? UNKNOWN_LENGTH : (length ?? UNKNOWN_LENGTH);
  }

  protected fieldFor(_name: string, value: string | string[]): string | string[] {
    return value;
  }

  protected writeHead({ statusCode, statusMessage }: ResponseHead): void {
    // Node puts the standard phrase where there is none.
    const isUsable = statusMessage === STATUS_CODES[statusCode] || isValue(statusMessage);
    this.res.statusMessage = isUsable ? statusMessage : '';
    this.req.socket.setNoDelay(true);
    this.res.writeHead(statusCode);
  }

  protected override resetStatus(): void {
    super.resetStatus();
    this.res.statusMessage = '';
  }

  override onDrain(callback: () => void): void {
    this.#onDrain = callback;
    super.onDrain(callback);
  }

  /** Between it and the connection is only Node's own code. */
  get #isPlain(): boolean {
    return this.res.write === OutgoingMessage.prototype.write;
  }

  /**
   * Whether bytes can go past the response, into its connection, where Node would only frame them: its head has left, it is its
   * turn, it has a body, and nobody counts or holds back what is written. To be asked at the moment of writing.
   */
  get #isDirect(): boolean {
    const { res } = this;
    const socket = res.socket as ServerSocket | null;
    return (
      this.headFlushed &&
      this.#isPlain &&
      socket?.writable === true &&
      socket._httpMessage === res &&
      res._hasBody &&
      !res.strictContentLength &&
      res.writableCorked === 0
    );
  }

  get takesChunks(): boolean {
    return this.res.chunkedEncoding && this.#isDirect && !this.isFlushed;
  }

  protected send(pieces: readonly Buffer[], size: number, isLast: boolean, chunks: readonly Buffer[]): boolean {
    // What was true when they were read may have changed since.
    if (chunks.length > 0 && !this.takesChunks) return this.#sendUnchunked(pieces, size, isLast, chunks);
    if (this.#isPlain && !isLast) return this.#writeAtOnce(pieces, size, chunks);
    this.#hold(chunks);
    // As Node's own `pipe` does: a `write` of middleware's may return nothing.
    return size === 0 || this.res.write(joined(pieces, size)) !== false;
  }

  #sendUnchunked(pieces: readonly Buffer[], size: number, isLast: boolean, chunks: readonly Buffer[]): boolean {
    const all: Buffer[] = [];
    for (const chunk of chunks) forEachChunk(chunk, (bytes) => all.push(bytes));
    const chunksSize = all.reduce((sum, { length }) => sum + length, 0);
    return this.send([...all, ...pieces], chunksSize + size, isLast, []);
  }

  /** Node would hold it until the end of the tick. */
  #writeAtOnce(pieces: readonly Buffer[], size: number, chunks: readonly Buffer[]): boolean {
    const res = this.res;
    const { socket } = res;
    if (socket !== null && this.#isDirect) return this.#writeDirectly(socket, pieces, size, chunks);
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
      const rest = this.res.chunkedEncoding ? chunkOf(pieces, size) : pieces;
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
    const { socket } = this.res;
    if (chunks.length === 0 || socket === null) return;
    socket.cork();
    process.nextTick(() => socket.uncork());
    for (const chunk of chunks) socket.write(chunk);
  }

  override end(rawTrailers: readonly string[]): void {
    // Up to version 22 Node writes what a corked response has gathered behind its end.
    while (this.res.writableCorked > 0 && !this.res.writableEnded) this.res.uncork();
    super.end(rawTrailers);
  }

  protected endSoon(body: string | undefined, endsConnection: boolean): void {
    const { req, res } = this;
    // A connection that is closed with bytes of the client's unread is reset, and the response may be lost with it.
    const waitsForUpload = (endsConnection || !res.shouldKeepAlive) && !req.complete;
    const end = (): void => this.unsealed(() => void res.end(waitsForUpload ? undefined : body));
    const linger = waitsForUpload ? setTimeout(end, UPLOAD_LINGER) : undefined;
    const forget = onceStuck(req.socket, () => this.destroy());
    res.once('close', () => {
      forget();
      clearTimeout(linger);
      req.removeListener('end', end);
    });
    if (!waitsForUpload) {
      end();
      return;
    }
    if (body === undefined) this.res.flushHeaders();
    else res.write(body);
    req.once('end', end);
  }

  truncate(): void {
    const { req, res } = this;
    if (res.destroyed || res.writableFinished) return;
    this.flushHead();
    // A pipelined response whose turn has not come has written nothing.
    if (res.socket === null) {
      this.destroy();
      return;
    }
    const { socket } = req;
    const forget = onceStuck(socket, () => socket.destroy());
    socket.once('close', forget);
    // Called when all that was written before has left.
    socket.write('', () => {
      // The end of the connection ends such a body (RFC 9112 6.3, rule 8): only a reset tells that it was cut.
      const closeDelimited = !res.chunkedEncoding && !this.isLengthDelimited;
      if (closeDelimited && isPlainTcp(socket)) socket.resetAndDestroy();
      else socket.destroy();
    });
  }

  destroy(): void {
    const { socket } = this.req;
    if (this.res.socket !== null) this.res.destroy();
    // Not `res.destroy()`: from Node 24 on, what is buffered would still be sent, and the connection left open.
    else this.res.once('socket', () => socket.destroy());
  }
}

/** Calls back when for a while nothing has left of what waits to be sent; returns what gives that up. */
function onceStuck(socket: Socket, callback: () => void): () => void {
  let waiting = socket.writableLength;
  const timer = setInterval(() => {
    const isMoving = socket.writableLength < waiting;
    waiting = socket.writableLength;
    if (isMoving) return;
    clearInterval(timer);
    callback();
  }, LINGER);
  return () => clearInterval(timer);
}

/** Tells the responses that are pipelined on a connection that it has closed, by one listener for all of them. */
class CloseNotifier {
  static readonly #notifiers = new WeakMap<Socket, CloseNotifier>();
  readonly #socket: Socket;
  readonly #callbacks = new Set<() => void>();
  readonly #onClose = (): void => {
    for (const callback of this.#callbacks) callback();
  };

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static of(socket: Socket): CloseNotifier {
    const notifier = CloseNotifier.#notifiers.get(socket) ?? new CloseNotifier(socket);
    CloseNotifier.#notifiers.set(socket, notifier);
    return notifier;
  }

  /** Returns what takes the callback back. */
  once(callback: () => void): () => void {
    if (this.#callbacks.size === 0) this.#socket.once('close', this.#onClose);
    this.#callbacks.add(callback);
    return () => {
      this.#callbacks.delete(callback);
      if (this.#callbacks.size === 0) this.#socket.removeListener('close', this.#onClose);
    };
  }
}

export function isValue(value: string): boolean {
  try {
    validateHeaderValue('value', value);
    return true;
  } catch {
    return false;
  }
}

/** A TLS socket cannot be reset; it ends without its closing alert, which is a sign of its own. */
export function isPlainTcp(socket: Socket): boolean {
  return Object.getPrototypeOf(socket) === Socket.prototype;
}
