import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import { isPlainTcp, isValue } from './http1-response.js';

/** The answer to a handshake, on the connection that it came by. Node writes it, by the rules that it has for any response. */
export class UpgradeResponse {
  /** What hooks are handed. It has no connection before the answer is sent. */
  readonly res: ServerResponse;
  /** No middleware has been there. */
  readonly appHeaders: Readonly<HeaderFields> = {};
  readonly #socket: Socket;

  constructor(req: IncomingMessage, socket: Socket) {
    this.res = new ServerResponse(req);
    // It is the last response on this connection.
    this.res.shouldKeepAlive = false;
    this.#socket = socket;
  }

  get headersSent(): boolean {
    return this.res.headersSent;
  }

  /** The status that the client was sent. */
  get statusCode(): number | undefined {
    return this.res.headersSent ? this.res.statusCode : undefined;
  }

  /** Everything was handed to the operating system. */
  get finished(): boolean {
    return this.res.writableFinished;
  }

  /** Sends the whole response. */
  respond(head: ResponseHead, body: string): void {
    this.#begin(head);
    this.res.end(body);
  }

  /** Sends the head, and the body as it comes. */
  relay(head: ResponseHead, source: IncomingMessage): void {
    const { res } = this;
    this.#begin(head);
    res.flushHeaders();
    // Node's server does not tell a response any more that its connection has drained.
    this.#socket.on('drain', () => res.emit('drain'));
    source.pipe(res);
  }

  #begin({ statusCode, statusMessage, headers }: ResponseHead): void {
    if (!Number.isInteger(statusCode) || statusCode < 200 || statusCode > 999) {
      throw new RangeError(`The status code of a response must be 200 to 999, got ${statusCode}`);
    }
    // Node names the connection's end by itself.
    const { connection, ...others } = headers;
    this.#writeHead({ statusCode, statusMessage, headers: others });
  }

  /** Sends the 101. From here on the connection is the new protocol's. */
  switchProtocols(head: ResponseHead): void {
    this.#writeHead(head);
    this.res.end();
    this.res.detachSocket(this.#socket);
  }

  #writeHead({ statusCode, statusMessage, headers }: ResponseHead): void {
    const { res } = this;
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    for (const [name, value] of Object.entries(headers)) {
      try {
        res.setHeader(name, value);
      } catch {
        // Characters that HTTP forbids: the field is left out, the response is not lost for it.
      }
    }
    if (res.socket === null) this.#takeConnection();
    res.statusMessage = isValue(statusMessage) ? statusMessage : '';
    res.writeHead(statusCode);
  }

  /** A listener of the user's may have given it to a response of its own, and written nothing. Node tells of it here only. */
  #takeConnection(): void {
    const socket = this.#socket;
    const { _httpMessage: other } = socket as { _httpMessage?: ServerResponse | null };
    other?.detachSocket(socket);
    this.res.assignSocket(socket);
  }

  /** Ends a response that is not complete, so that nobody can take it for a whole one. */
  truncate(): void {
    const { res } = this;
    const socket = this.#socket;
    // Called when all that was written before has left.
    socket.write('', () => {
      // RFC 9112 6.3, rule 8: only a reset tells that a body was cut that ends with the connection.
      const closeDelimited = !res.chunkedEncoding && !res.hasHeader('content-length');
      if (closeDelimited && isPlainTcp(socket)) socket.resetAndDestroy();
      else socket.destroy();
    });
  }
}
