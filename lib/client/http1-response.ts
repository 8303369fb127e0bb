import { UPLOAD_LINGER } from '../defaults.js';
import { forEachChunk } from '../fast-path/chunk-scanner.js';
import { type BodyBytes, canWriteDirectly, isPlain, writeDirectly, writeHeld } from '../fast-path/direct-write.js';
import {
  hasResponseBody,
  isChunked,
  isKeptAlive,
  onceAssigned,
  promisedLength,
  serverOf,
} from '../fast-path/node-internals.js';
import type { ResponseHead } from '../types/http.js';
import { joined } from '../util/join-buffers.js';
import { ClientResponse, UNKNOWN_LENGTH } from './client-response.js';
import { writeHttp1Head } from './commit-head.js';
import { cutWhenWritten, onceStuck } from './connection-end.js';
import { CloseNotifier, isInTurn, onceInTurn } from './response-turn.js';

/** A response over HTTP/1. */
export class Http1Response extends ClientResponse {
  /** Of a response with a stand-in for a connection. */
  #isFinished = false;
  #onDrain: (() => void) | undefined;
  #notifier: CloseNotifier | undefined;

  get gone(): boolean {
    return this.res.writableEnded || this.req.socket.destroyed || this.res.destroyed;
  }

  /** Hosts without connections (serverless, injected requests) hand over a stand-in for one: nobody else tells that it has closed. */
  get #hasStandIn(): boolean {
    return serverOf(this.req.socket) === undefined;
  }

  get finished(): boolean {
    return this.res.writableFinished || this.#isFinished;
  }

  get hasWholeRequest(): boolean {
    return this.req.complete;
  }

  get takesBody(): boolean {
    return hasResponseBody(this.res);
  }

  protected watchClose(closed: () => void): void {
    const { req, res } = this;
    res.once('close', closed);
    if (this.#hasStandIn) {
      res.once('finish', () => {
        this.#isFinished = true;
        closed();
      });
    }
    if (res.closed || req.socket.destroyed) process.nextTick(closed);
    // Node does not tell a pipelined response that waits for its turn that its connection has closed.
    else if (res.socket === null) {
      this.#notifier = CloseNotifier.of(req.socket);
      this.#notifier.add(closed);
    }
  }

  protected unwatchClose(closed: () => void): void {
    this.res.removeListener('close', closed);
    this.#notifier?.delete(closed);
  }

  onceFinished(callback: () => void): void {
    if (this.res.writableFinished) callback();
    else this.res.once('finish', callback);
  }

  get isItsTurn(): boolean {
    return isInTurn(this.res);
  }

  onceItsTurn(callback: () => void): void {
    onceInTurn(this.res, callback);
  }

  protected get takesHints(): boolean {
    // Before the response's turn, Node would queue the hints, and send the head in front of them.
    return this.req.httpVersion === '1.1' && this.isItsTurn;
  }

  protected get promisedLength(): number {
    return isChunked(this.res) ? UNKNOWN_LENGTH : (promisedLength(this.res) ?? UNKNOWN_LENGTH);
  }

  headerFor(_name: string, value: string | string[]): string | string[] {
    return value;
  }

  protected writeHead(head: ResponseHead): void {
    // Hosts without connections hand over stand-ins for one, which have but some of its methods.
    this.req.socket.setNoDelay?.(true);
    writeHttp1Head(this.res, head);
  }

  protected override resetStatus(): void {
    super.resetStatus();
    this.res.statusMessage = '';
  }

  override onDrain(callback: () => void): void {
    this.#onDrain = callback;
    super.onDrain(callback);
  }

  get #isDirect(): boolean {
    return this.headFlushed && canWriteDirectly(this.res);
  }

  get takesChunks(): boolean {
    return isChunked(this.res) && this.#isDirect && !this.isFlushed;
  }

  protected send(bytes: BodyBytes, isLast: boolean): boolean {
    const { chunks, pieces, piecesSize: size } = bytes;
    // The chunks were read earlier, and the response may have changed since.
    if (chunks.length > 0 && !this.takesChunks) return this.send(unchunked(bytes), isLast);
    if (isPlain(this.res) && !isLast) return this.#writeAtOnce(bytes);
    writeHeld(this.res, chunks);
    // As Node's own `pipe` does, wait only for `false`: a `write` of middleware may return nothing.
    return size === 0 || this.res.write(joined(pieces, size)) !== false;
  }

  /** Writes now what Node would hold back until the end of the tick. */
  #writeAtOnce(bytes: BodyBytes): boolean {
    const { res } = this;
    if (this.#isDirect) return writeDirectly(res, bytes, this.#onDrain);
    const { socket } = res;
    socket?.cork();
    const more = res.write(joined(bytes.pieces, bytes.piecesSize));
    socket?.uncork();
    // Node returns `false` for every large write, even if the operating system has taken all of it.
    return more || socket?.writableLength === 0;
  }

  override end(rawTrailers: readonly string[]): void {
    // Up to version 22, Node writes what a corked response holds back behind its end.
    while (this.res.writableCorked > 0 && !this.res.writableEnded) this.res.uncork();
    super.end(rawTrailers);
  }

  protected endSoon(body: string | undefined, endsConnection: boolean): void {
    const { req, res } = this;
    // Closing a connection while bytes of the client are unread resets it, and the response may be lost.
    const waitsForUpload = (endsConnection || !isKeptAlive(res)) && !req.complete;
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
    const { socket } = req;
    // A pipelined response that waits for its turn has sent nothing yet.
    if (res.socket === null || this.#hasStandIn) {
      this.destroy();
      return;
    }
    const forget = onceStuck(socket, () => socket.destroy());
    socket.once('close', forget);
    cutWhenWritten(socket, res);
  }

  destroy(): void {
    const { socket } = this.req;
    if (this.#hasStandIn) {
      this.res.destroy();
      if (!this.res.closed) process.nextTick(() => this.res.emit('close'));
    } else if (this.res.socket !== null) this.res.destroy();
    // Not `res.destroy()`: from Node 24 on it would still send what is buffered, and leave the connection open.
    else onceAssigned(this.res, () => socket.destroy());
  }
}

/** The same bytes of the body, as pieces alone. */
function unchunked({ chunks, pieces, piecesSize }: BodyBytes): BodyBytes {
  const all: Buffer[] = [];
  for (const chunk of chunks) forEachChunk(chunk, (bytes) => all.push(bytes));
  const size = all.reduce((sum, { length }) => sum + length, piecesSize);
  return { chunks: [], pieces: [...all, ...pieces], piecesSize: size };
}
