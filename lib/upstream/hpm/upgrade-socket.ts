import { EventEmitter } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Options } from 'http-proxy-middleware';

/** The handshake of a WebSocket that http-proxy-middleware sends. */
export interface Handshake {
  readonly req: IncomingMessage;
  /** The client's connection. */
  readonly socket: Socket;
  readonly head: Buffer;
  /** What http-proxy-middleware is given for the connection. */
  readonly standIn: UpgradeSocket;
  /**
   * The request is about to be sent, with these options.
   *
   * @param own the secrets that `headers` and `auth` put on the request
   * @throws {SseProxyError} if it must not be sent
   */
  prepare(path: string, options: Options, own: readonly string[]): void;
  /** httpxy's `proxyReqWs`: the upstream request is made, and nothing of it was sent yet. */
  onRequest(request: ClientRequest, options: Options): void;
  /** @param notify calls the `error` listeners; a promise where they are to be waited for */
  fail(cause: unknown, notify?: () => Promise<unknown> | undefined): void;
}

/**
 * What http-proxy-middleware is given instead of a client's connection that asks for an upgrade: httpxy makes the upstream request,
 * and whatever it does to the client's connection has no effect. By itself, httpxy writes the upstream's heads unchanged, does not
 * answer failures, and waits without a limit.
 */
export class UpgradeSocket extends EventEmitter {
  readonly upgrade: Handshake;
  /** httpxy passes an upstream's refusal on only if the connection is writable. */
  readonly writable = false;
  readonly destroyed = false;

  constructor(upgrade: Handshake) {
    super();
    this.upgrade = upgrade;
  }

  write(): boolean {
    return true;
  }

  pipe<T>(destination: T): T {
    return destination;
  }

  unshift(): void {}
  setTimeout(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}
  end(): void {}
  destroy(): void {}
}
