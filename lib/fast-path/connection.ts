import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { replaceMethod } from './replace-method.js';

/** Sees a read before Node's parser does, and hands it what it is to parse, part by part. */
export type ReadFilter = (read: Buffer, parse: (part: Buffer) => void) => void;

/** `res` is not in the types. */
type Request = ClientRequest & { res?: IncomingMessage };

const connections = new WeakMap<Socket, Connection>();

/** A pooled connection to an upstream. All that is read from it passes here, in front of Node's parser. */
export class Connection {
  readonly #socket: Socket;
  /** Let go of when it is over: the connection may be idle for long. */
  #request: Request | undefined;
  #isFirstRead = false;
  #firstRead: Buffer | undefined;
  #filter: ReadFilter | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const emit: (event: string, ...args: unknown[]) => boolean = socket.emit;
    const parse = (part: Buffer): void => {
      // It may have been closed for what was in front of this part.
      if (!socket.destroyed) emit.call(socket, 'data', part);
    };
    replaceMethod(socket, 'emit', (event: string, ...args: unknown[]) => {
      if (event !== 'data') return emit.call(socket, event, ...args);
      this.#onRead(args[0] as Buffer, parse);
      return true;
    });
    // By which an agent is told that it can have the connection back.
    socket.on('free', () => this.watch(undefined));
  }

  /** That of a pool's socket. */
  static of(socket: Socket): Connection {
    let connection = connections.get(socket);
    if (connection === undefined) {
      connection = new Connection(socket);
      connections.set(socket, connection);
    }
    return connection;
  }

  /** `undefined` for a socket that is of no pool of ours. */
  static find(socket: Socket): Connection | undefined {
    return connections.get(socket);
  }

  /** From here on it is this request's. */
  watch(request: ClientRequest | undefined): void {
    this.#request = request;
    this.#isFirstRead = true;
    this.#filter = undefined;
  }

  /** The first read of a response, as long as it is being parsed. */
  get firstRead(): Buffer | undefined {
    return this.#firstRead;
  }

  /** For the rest of this response, or until there is another. */
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
   * Bytes that nobody has asked for, behind the end of a response, are none of the next one; but older versions of Node drop them
   * and keep the connection: what follows would be the answer to somebody else's request.
   */
  #endIfUnasked(): void {
    const response = this.#request?.res;
    // The connection is the new protocol's.
    if (response?.statusCode === 101) return;
    if (this.#request === undefined || response?.complete) this.#socket.destroy();
  }
}
