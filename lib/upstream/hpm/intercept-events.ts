import type { ClientRequest, IncomingMessage } from 'node:http';
import { type Duplex, Readable, Stream } from 'node:stream';
import type { Options, Plugin } from 'http-proxy-middleware';
import { maskedLog } from '../../credentials/secrets.js';
import { SseProxyError } from '../../errors.js';
import { closeBehind } from '../../fast-path/node-internals.js';
import { replaceMethod } from '../../fast-path/replace-method.js';
import type { Config } from '../../types/config.js';
import { runHook } from '../../util/hooks.js';
import type { Attempt } from '../attempt.js';
import { attemptOf, share } from './attempt-of.js';
import { guardHandedOver } from './handed-over-body.js';
import { UpgradeSocket } from './upgrade-socket.js';

export type ProxyServer = Parameters<Plugin>[0];

type Listener = (...args: unknown[]) => unknown;

/**
 * Replaces the `emit` of httpxy's server: every listener, of `on` as well as of plugins, is handed Express's own response,
 * and one that throws or rejects ends its exchange instead of the process.
 *
 * @param bookkeepers listeners for errors that answer none
 */
export function interceptEvents(server: ProxyServer, config: Config, bookkeepers: ReadonlySet<unknown>): void {
  /** Listeners of the user's that are handed a request, or its response, may read it in an encoding of their own. */
  const isShared = (): boolean =>
    server.listenerCount('start') + server.listenerCount('proxyReq') + server.listenerCount('proxyRes') > 0;

  const emit = (event: string, ...args: unknown[]): boolean => {
    const attempt = attemptOf(args[RESPONSE_OF[event] ?? -1]);
    if (attempt === undefined) emitUpgradeEvent(event, args);
    else emitAttemptEvent(attempt, event, args);
    return true;
  };
  server.emit = emit as typeof server.emit;

  function emitAttemptEvent(attempt: Attempt, event: string, args: unknown[]): void {
    if (event === 'error') {
      if (attempt.isMirror(args[3])) return;
      attempt.fail(args[0], () => callErrorListeners(attempt, args));
      return;
    }
    if (event === 'start') {
      attempt.onStart(args[2]);
      if (isShared()) share(attempt.req, attempt);
    }
    if (event === 'proxyReq') prepareRequest(attempt, args[0] as ClientRequest, args[3] as Options);
    if (event === 'proxyRes') {
      attempt.onResponse(args[0] as IncomingMessage);
      if (attempt.response.isHandedOver) {
        guardHandedOver(args[0] as IncomingMessage, attempt.res, {
          failed: (cause) =>
            attempt.fail(new SseProxyError('HOOK_FAILED', { cause, statusCode: 502, hook: 'on.proxyRes' })),
          // What breaks off is not to be answered as if it were whole.
          broken: (cause) => attempt.fail(cause, () => callErrorListeners(attempt, [cause, ...args.slice(1)])),
        });
      } else if (isShared()) {
        share(args[0] as IncomingMessage, attempt);
        endWhenDestroyed(args[0] as IncomingMessage, attempt);
      }
    }
    if (event === 'econnreset') attempt.fail(args[0]);
    const hasListeners = server.listenerCount(event as 'error') > 0;
    const isWritten = hasListeners && event === 'proxyReq' ? watchBody(attempt, args[0] as ClientRequest) : undefined;
    if (hasListeners) {
      void callListeners(event, withRealResponse(attempt, args), (cause) => {
        attempt.fail(new SseProxyError('HOOK_FAILED', { cause, hook: `on.${event}` }));
      });
    }
    if (event === 'proxyRes' && (args[0] as IncomingMessage).destroyed)
      failDestroyed(args[0] as IncomingMessage, attempt);
    if (event !== 'proxyReq') return;
    sendBody(attempt, args[0] as ClientRequest, args[3] as Options, isWritten?.() ?? false);
  }

  /** Called from an event of Node's: an exception here would end the process. */
  function prepareRequest(attempt: Attempt, request: ClientRequest, options: Options): void {
    try {
      attempt.onRequest(request, config, options);
    } catch (cause) {
      attempt.fail(new SseProxyError('PROXY_FAILED', { cause }));
      request.on('error', () => {}).destroy();
    }
  }

  function emitUpgradeEvent(event: string, args: unknown[]): void {
    const standIn = args.find((arg) => arg instanceof UpgradeSocket);
    const upgrade = standIn?.upgrade;
    const ownArgs = args.map((arg) => (arg === standIn && upgrade !== undefined ? upgrade.socket : arg));
    if (event === 'error' && upgrade !== undefined) {
      // As in http-proxy-middleware, the connection is closed when the listeners have returned.
      upgrade.fail(args[0], () =>
        callListeners(event, ownArgs, (cause) => config.logError(`on.${event} failed`, cause)),
      );
      return;
    }
    // The upstream connection is gone: the proxy did not accept the WebSocket.
    if (event === 'open' && (args[0] as Duplex).destroyed) return;
    if (event === 'proxyReqWs') upgrade?.onRequest(args[0] as ClientRequest, args[3] as Options);
    void callListeners(event, ownArgs, (cause) => {
      if (upgrade !== undefined) {
        upgrade.fail(new SseProxyError('HOOK_FAILED', { cause, hook: `on.${event}` }));
        return;
      }
      config.logError(`on.${event} failed`, cause);
      for (const arg of args) if (arg instanceof Stream) (arg as Partial<Duplex>).destroy?.();
    });
  }

  /** Calls all listeners. The promise resolves when the last one has settled; `undefined` if none is async. */
  function callListeners(
    event: string,
    args: unknown[],
    onFailure: (cause: unknown) => void,
  ): Promise<unknown> | undefined {
    const pending: Promise<void>[] = [];
    for (const listener of listenersOf(event)) {
      const settled = callListener(event, listener, args, onFailure);
      if (settled !== undefined) pending.push(settled);
    }
    return pending.length === 0 ? undefined : Promise.all(pending);
  }

  function listenersOf(event: string): Listener[] {
    return server.rawListeners(event as 'error') as Listener[];
  }

  function callListener(
    event: string,
    listener: Listener,
    args: unknown[],
    onFailure: (cause: unknown) => void,
  ): Promise<void> | undefined {
    return runHook(
      `on.${event}`,
      () => Reflect.apply(listener, server, args),
      (_message, cause) => onFailure(cause),
    );
  }

  /** See {@link Notify}. */
  function callErrorListeners(attempt: Attempt, given: unknown[]): Promise<boolean> | undefined {
    const args = withRealResponse(attempt, given);
    const logError = maskedLog(config.logError, attempt.secrets);
    const ofUser: Promise<boolean>[] = [];
    for (const listener of listenersOf('error')) {
      let hasFailed = false;
      const settled = callListener('error', listener, args, (cause) => {
        hasFailed = true;
        logError('on.error failed', cause);
      });
      const { listener: own = listener } = listener as { listener?: Listener };
      if (bookkeepers.has(own)) continue;
      // A listener with one parameter has no response that it could answer with.
      const mayAnswer = own.length >= 2;
      ofUser.push(Promise.resolve(settled).then(() => (mayAnswer && !hasFailed ? never() : hasFailed)));
    }
    return ofUser.length === 0 ? undefined : Promise.all(ofUser).then((failed) => failed.includes(true));
  }
}

/** Tells whether a listener writes to the request. As in http-proxy-middleware, what is there of the body follows. */
function watchBody(attempt: Attempt, request: ClientRequest): () => boolean {
  // Those who write a body do so for one that was consumed.
  if (attempt.body.content === 'stream') return () => request.writableEnded;
  let isWritten = false;
  const { write } = request;
  replaceMethod(request, 'write', (...args: unknown[]) => {
    isWritten = true;
    return Reflect.apply(write, request, args);
  });
  return () => {
    replaceMethod(request, 'write', write);
    return isWritten || request.writableEnded;
  };
}

/** @param isWritten whether a listener has written, or ended, what was to be sent */
function sendBody(attempt: Attempt, request: ClientRequest, options: Options, isWritten: boolean): void {
  attempt.requireBody(request, isWritten);
  // Nobody waits for it any more; or `fixRequestBody`, or a listener like it, has written the body already.
  if (attempt.isOver || isWritten) options.buffer = Readable.from([]);
  // What a listener has written may be more than its head says: the rest would be taken for the next request.
  else if (request.headersSent) closeBehind(request);
  else attempt.flushHead(request);
}

/** A hook may destroy the response that it has got hold of: of one that is complete, httpxy would not tell. */
function endWhenDestroyed(response: IncomingMessage, attempt: Attempt): void {
  response.once('close', () => {
    if (!response.readableEnded) failDestroyed(response, attempt);
  });
}

function failDestroyed({ errored }: IncomingMessage, attempt: Attempt): void {
  // It was the attempt itself that has let go of it.
  if (attempt.isOver) return;
  const cause = errored ?? new Error('The response was destroyed');
  attempt.fail(new SseProxyError('HOOK_FAILED', { cause, statusCode: 502 }));
}

/** A new promise each time: a shared one would keep everybody who waits for it in memory. */
const never = (): Promise<never> => new Promise(() => {});

function withRealResponse({ response, res }: Attempt, args: readonly unknown[]): unknown[] {
  return args.map((arg) => (arg === response ? res : arg));
}

/** The position of the response among the arguments of each event. */
const RESPONSE_OF: Readonly<Record<string, number>> = {
  start: 1,
  proxyReq: 2,
  proxyRes: 2,
  end: 1,
  error: 2,
  econnreset: 2,
};
