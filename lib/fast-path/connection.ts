import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { replaceMethod } from './replace-method.js';

/** Sees a read before Node's parser does, and calls `parse` with each part that the parser is to get. */
export type ReadFilter = (read: Buffer, parse: (part: Buffer) => void) => void;

/** Node's types do not name `res`, the response. */
type Request = ClientRequest & { res?: IncomingMessage };

const connections = new WeakMap<Socket, Connection>();

/** A pooled connection to an upstream. It sees every read before Node's parser does. */
export class Connection {
  readonly #socket: Socket;
  /** The request that the connection is used for. Forgotten when that is over, since the connection may be idle for long. */
  #request: Request | undefined;
  #isFirstRead = false;
  #firstRead: Buffer | undefined;
  #filter: ReadFilter | undefined;
  /** When it was handed back to its pool last. */
  #freeSince = Number.POSITIVE_INFINITY;
  #idleTime = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const emit: (event: string, ...args: unknown[]) => boolean = socket.emit;
    const parse = (part: Buffer): void => {
      // What was parsed before this part may have closed it.
      if (!socket.destroyed) emit.call(socket, 'data', part);
    };
    replaceMethod(socket, 'emit', (event: string, ...args: unknown[]) => {
      if (event !== 'data') return emit.call(socket, event, ...args);
      this.#onRead(args[0] as Buffer, parse);
      return true;
    });
    // The event by which an agent gets the connection back.
    socket.on('free', () => {
      this.#freeSince = Date.now();
      this.watch(undefined);
    });
  }

  /** The connection of a socket of a pool; made at its first use. */
  static of(socket: Socket): Connection {
    let connection = connections.get(socket);
    if (connection === undefined) {
      connection = new Connection(socket);
      connections.set(socket, connection);
    }
    return connection;
  }

  /** The same; `undefined` for a socket that is of no pool of ours. */
  static find(socket: Socket): Connection | undefined {
    return connections.get(socket);
  }

  /** From here on the connection is used for this request. */
  watch(request: ClientRequest | undefined): void {
    this.#request = request;
    if (request !== undefined) this.#idleTime = this.idleNow;
    this.#isFirstRead = true;
    this.#filter = undefined;
  }

  /** How long it had been idle when its request got it. Milliseconds. */
  get idleTime(): number {
    return this.#idleTime;
  }

  /** How long it has been in the pool by now. Milliseconds. */
  get idleNow(): number {
    return Math.max(0, Date.now() - this.#freeSince);
  }

  /** The first read of a response, only while Node's parser is working on it. */
  get firstRead(): Buffer | undefined {
    return this.#firstRead;
  }

  /** Filters the reads of this response, until another filter is set. */
  setFilter(filter: ReadFilter | undefined): void {
    this.#filter = filter;
  }

  #onRead(read: Buffer, parse: (part: Buffer) => void): void {
    this.#endIfUnasked();
    if (this.#filter !== undefined) {
      this.#filter(read, parse);
      return;
    }
    this.#firstRead = this.#isFirstRead ? read : undefined;
    this.#isFirstRead = false;
    parse(read);
    this.#firstRead = undefined;
  }

  /**
   * Closes the connection if bytes come that nobody asked for, after the end of a response. Older versions of Node drop them and keep the
   * connection: what follows them would be the response to somebody else's request.
   */
  #endIfUnasked(): void {
    const response = this.#request?.res;
    // After an upgrade the connection has another protocol.
    if (response?.statusCode === 101) return;
    if (this.#request === undefined || response?.complete) this.#socket.destroy();
  }
}
