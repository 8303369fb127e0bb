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
  /** What listens for bytes that nobody has asked for. */
  readonly #guards = new WeakMap<Socket, () => void>();

  /** Called by `ClientRequest`. */
  addRequest(request: ClientRequest, options: RequestOptions): void {
    const agent = request.protocol === 'https:' ? this.#https : this.#http;
    // Declared neither in the documentation nor in the types, but it is the contract between Node and custom agents.
    (agent as unknown as UpstreamAgent).addRequest(request, options);
    request.once('socket', (socket) => this.#guard(socket, request));
  }

  /**
   * Bytes behind the end of a response are none of the next one. Older versions of Node drop them and keep the connection:
   * what follows would be the answer to somebody else's request.
   */
  #guard(socket: Socket, request: ClientRequest): void {
    const previous = this.#guards.get(socket);
    if (previous !== undefined) socket.removeListener('data', previous);
    // `res` is not in the types. The request is let go of when it is over: the connection may be idle for long.
    let current: (ClientRequest & { res?: IncomingMessage }) | undefined = request;
    const guard = (): void => {
      if (current === undefined || current.res?.complete) socket.destroy();
    };
    request.once('close', () => {
      // From here on the connection is the new protocol's.
      if (current?.res?.statusCode === 101) socket.removeListener('data', guard);
      current = undefined;
    });
    this.#guards.set(socket, guard);
    // In front of Node's own listener, by which the response is completed.
    socket.prependListener('data', guard);
  }

  /** Closes every connection, those in use as well. New requests open new ones. */
  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}
