import http, { type AgentOptions, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';

const OPTIONS: AgentOptions = { keepAlive: true, noDelay: true, scheduling: 'lifo' };

/**
 * One pool of kept-alive upstream connections for both protocols, without a cap on sockets. Node takes any object with
 * `addRequest` for an agent; an `http.Agent` alone would make a redirect to, or a second target of, the other protocol
 * throw.
 */
export class UpstreamAgent {
  /** Node reads this to decide that a connection will be kept alive. */
  readonly keepAlive = true;
  readonly #http = new http.Agent(OPTIONS);
  readonly #https = new https.Agent(OPTIONS);
  readonly #guards = new WeakMap<Socket, Guard>();

  /** Called by `ClientRequest`. */
  addRequest(request: ClientRequest, options: RequestOptions): void {
    const agent = request.protocol === 'https:' ? this.#https : this.#http;
    // Declared neither in the documentation nor in the types, but it is the contract between Node and custom agents.
    (agent as unknown as UpstreamAgent).addRequest(request, options);
    request.once('socket', (socket) => this.#guardOf(socket).watch(request));
  }

  #guardOf(socket: Socket): Guard {
    let guard = this.#guards.get(socket);
    if (guard === undefined) {
      guard = new Guard(socket);
      this.#guards.set(socket, guard);
    }
    return guard;
  }

  /** Closes every connection, those in use as well. New requests open new ones. */
  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}

/** `res` is not in the types. */
type Request = ClientRequest & { res?: IncomingMessage };

/**
 * Ends a connection by which bytes come that nobody has asked for. Behind the end of a response they are none of the next one,
 * but older versions of Node drop them and keep the connection: what follows would be the answer to somebody else's request.
 */
class Guard {
  /** Let go of when it is over: the connection may be idle for long. */
  #request: Request | undefined;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    // In front of Node's own listener, by which the response is completed.
    socket.prependListener('data', this.#onData);
    // By which an agent is told that it can have the connection back.
    socket.on('free', () => this.watch(undefined));
  }

  watch(request: Request | undefined): void {
    this.#request = request;
  }

  readonly #onData = (): void => {
    const response = this.#request?.res;
    // From here on the connection is the new protocol's.
    if (response?.statusCode === 101) this.#socket.removeListener('data', this.#onData);
    else if (this.#request === undefined || response?.complete) this.#socket.destroy();
  };
}
