import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { assignConnection, closeBehind, detachConnection } from '../fast-path/node-internals.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import { checkStatus, leaveFramingToNode, replaceHeaders, writeHttp1Head } from './commit-head.js';
import { cutWhenWritten } from './connection-end.js';

/** The response to an upgrade, on the client's connection. It is written by a response of Node's, with Node's own checks. */
export class UpgradeResponse {
  /** The response that hooks are handed. It has no connection until it is sent. */
  readonly res: ServerResponse;
  /** Upgrades pass no middleware that could have set any. */
  readonly appHeaders: Readonly<HeaderFields> = {};
  readonly #socket: Socket;

  constructor(req: IncomingMessage, socket: Socket) {
    this.res = new ServerResponse(req);
    // It is the last response on this connection.
    closeBehind(this.res);
    this.#socket = socket;
  }

  get headersSent(): boolean {
    return this.res.headersSent;
  }

  /** The status that the client was sent. */
  get statusCode(): number | undefined {
    return this.res.headersSent ? this.res.statusCode : undefined;
  }

  /** Whether the whole response was handed to the operating system. */
  get finished(): boolean {
    return this.res.writableFinished;
  }

  /** Sends the whole response. */
  respond(head: ResponseHead, body: string): void {
    this.#begin(head);
    this.res.end(body);
  }

  /** Sends the head now, and the body as it arrives. */
  relay(head: ResponseHead, source: Readable): void {
    const { res } = this;
    this.#begin(head);
    res.flushHeaders();
    // After an upgrade, Node no longer tells the response that its connection has drained.
    this.#socket.on('drain', () => res.emit('drain'));
    source.pipe(res);
  }

  #begin({ statusCode, statusMessage, headers }: ResponseHead): void {
    checkStatus(statusCode);
    leaveFramingToNode(headers, statusCode);
    // Node writes the Connection header.
    const { connection, ...others } = headers;
    this.#writeHead({ statusCode, statusMessage, headers: others });
  }

  /** Sends the 101. From here on the connection is the new protocol's. */
  switchProtocols(head: ResponseHead): void {
    this.#writeHead(head);
    this.res.end();
    detachConnection(this.res, this.#socket);
  }

  #writeHead(head: ResponseHead): void {
    const { res } = this;
    replaceHeaders(res, { present: res.getHeaders() as HeaderFields, headers: head.headers });
    // A listener of the user may have assigned the connection to a response of its own, and written nothing.
    if (res.socket === null) assignConnection(res, this.#socket);
    writeHttp1Head(res, head);
  }

  /** Ends a response that is not complete, so that the client cannot take it for a whole one. */
  truncate(): void {
    cutWhenWritten(this.#socket, this.res);
  }
}
