import http, { type AgentOptions, type ClientRequest, type RequestOptions } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { STALE_AFTER } from '../defaults.js';
import { Connection } from '../fast-path/connection.js';
import { addRequest, showAgent } from '../fast-path/node-internals.js';

const OPTIONS: AgentOptions = { keepAlive: true, noDelay: true, scheduling: 'lifo' };

/**
 * One pool of kept-alive upstream connections for both protocols, without a cap on sockets. Node takes any object with
 * `addRequest` for an agent; an `http.Agent` alone would make a redirect to, or a second target of, the other protocol
 * throw.
 */
export class ConnectionPool {
  /** Node reads this to decide that a connection will be kept alive. */
  readonly keepAlive = true;
  readonly #http = new http.Agent(OPTIONS);
  readonly #https = new https.Agent(OPTIONS);

  /** The same pool for requests that cannot be sent once more: it gives them no connection that may be dead by now. */
  readonly fresh = {
    keepAlive: true,
    addRequest: (request: ClientRequest, options: RequestOptions): void => {
      const agent = this.#agentOf(request);
      for (const socket of agent.freeSockets[agent.getName(options)] ?? []) {
        if ((Connection.find(socket)?.idleNow ?? 0) >= STALE_AFTER) socket.destroy();
      }
      this.#add(request, options);
    },
  };

  #agentOf({ protocol }: ClientRequest): http.Agent {
    return protocol === 'https:' ? this.#https : this.#http;
  }

  /** Called by `ClientRequest`. */
  addRequest(request: ClientRequest, options: RequestOptions): void {
    this.#add(request, options);
  }

  #add(request: ClientRequest, options: RequestOptions): void {
    showAgent(request, new RequestAgent(options));
    addRequest(this.#agentOf(request), request, options);
    request.once('socket', (socket) => Connection.of(socket).watch(request));
  }

  /** Closes the connections that are not in use. */
  closeIdle(): void {
    for (const { freeSockets } of [this.#http, this.#https]) {
      for (const sockets of Object.values(freeSockets)) for (const socket of [...(sockets ?? [])]) socket.destroy();
    }
  }

  /** Closes every connection, those in use as well. New requests open new ones. */
  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}

/**
 * The pool as one request shows it. http-proxy-middleware's `loggerPlugin` takes the port of a request from the first name among
 * `agent.sockets`, which would be that of some other target in a pool for all of them.
 */
class RequestAgent {
  readonly #options: RequestOptions;

  constructor(options: RequestOptions) {
    this.#options = options;
  }

  get sockets(): Readonly<Record<string, readonly Socket[]>> {
    const { host, port } = this.#options;
    // The port is what stands behind the first colon, of which an IPv6 address has several.
    return { [`${String(host).replaceAll(':', '.')}:${port ?? ''}:`]: [] };
  }
}
