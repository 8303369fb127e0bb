import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Duplex, Readable, Stream } from 'node:stream';
import {
  createProxyMiddleware,
  debugProxyErrorsPlugin,
  loggerPlugin,
  type Options,
  type Plugin,
  proxyEventsPlugin,
} from 'http-proxy-middleware';
import { checkTarget } from '../../admission/path-guard.js';
import { SseProxyError } from '../../errors.js';
import { noBody } from '../../fast-path/body-in-memory.js';
import { closeBehind } from '../../fast-path/node-internals.js';
import { replaceMethod } from '../../fast-path/replace-method.js';
import { hasBody } from '../../headers/framing.js';
import { prepareRequestHeaders, prepareUpgradeHeaders } from '../../headers/request-passes.js';
import { takeWhole } from '../../request/read-body.js';
import { shareBody } from '../../request/reader-encodings.js';
import { ReplayedBody } from '../../request/replayed-body.js';
import type { Config } from '../../types/config.js';
import { awaitHook, harmless, isPromiseLike, runHook, tryHook } from '../../util/hooks.js';
import type { Attempt } from '../attempt.js';
import { ConnectionPool } from '../connection-pool.js';
import { UpstreamResponse } from '../upstream-response.js';
import { type Handshake, UpgradeSocket } from './upgrade-socket.js';

type ProxyServer = Parameters<Plugin>[0];

export interface Upstream {
  /** Starts an attempt; `false` where `pathFilter` says that the request is not the proxy's. */
  send(attempt: Attempt): boolean;
  /** Whether `pathFilter` has a handshake be the proxy's. */
  takes(req: IncomingMessage): boolean;
  /** Sends the handshake of a WebSocket that was let in. */
  upgrade(upgrade: Handshake): void;
  /** Closes the pooled connections that are not in use. */
  closeIdle(): void;
  /** Closes all pooled connections. */
  close(): void;
}

/** http-proxy-middleware, told to write into what we own and to hand the user's callbacks what they expect. */
export function createUpstream(config: Config): Upstream {
  const { hpm } = config;
  const pool = new ConnectionPool();
  /** By their requests, where http-proxy-middleware hands over nothing else. */
  const upgrades = new WeakMap<IncomingMessage, Handshake>();
  const { plugins = [], ejectPlugins = false, router, pathFilter, pathRewrite, logger } = hpm;
  const rewritePath = typeof pathRewrite === 'function' ? pathRewrite : pathRewriter(pathRewrite ?? {});
  // Hooks that are handed the options find in them what was given.
  const isHandedOut = typeof router === 'function' || typeof pathRewrite === 'function';
  const target = isHandedOut ? hpm.target : parsedTarget(hpm.target);
  const filter =
    typeof pathFilter === 'function'
      ? (pathname: string, req: IncomingMessage) =>
          tryHook('pathFilter', () => pathFilter(pathname, req), Boolean, config.logError) ?? false
      : pathFilter;
  const headers = isHandedOut ? hpm.headers : hpm.headers && fieldsFor(hpm.headers);
  let server: ProxyServer | undefined;
  /** Listeners for errors that only take notice of them: ours, and those of http-proxy-middleware. */
  const bookkeepers = new Set<unknown>();

  function register(plugin: Plugin, httpxy: ProxyServer, options: Options): void {
    const before = httpxy.listeners('error');
    plugin(httpxy, options);
    if (plugin !== loggerPlugin && plugin !== debugProxyErrorsPlugin) return;
    for (const listener of httpxy.listeners('error')) if (!before.includes(listener)) bookkeepers.add(listener);
  }

  let takes: Upstream['takes'] | undefined;

  const middleware = createProxyMiddleware({
    changeOrigin: true,
    agent: pool,
    ...hpm,
    ...(target !== undefined && { target }),
    ...(headers !== undefined && { headers }),
    // The middleware sees to it. http-proxy-middleware does so only when its first request has ended: a stream may be long.
    ws: false,
    // Its error response is not wanted, and it writes into streams; what the others are good for is below.
    ejectPlugins: true,
    plugins: [
      (httpxy) => {
        server = httpxy;
        // With a listener there, httpxy reports failures at once, by this event.
        httpxy.on('error', ignoreError);
        bookkeepers.add(ignoreError);
        intercept(httpxy, config, bookkeepers);
      },
      ...(ejectPlugins ? [] : [proxyEventsPlugin as Plugin]),
      ...(ejectPlugins || logger === undefined
        ? []
        : [(httpxy: ProxyServer, options: Options) => register(loggerPlugin as Plugin, httpxy, options)]),
      ...plugins.map(
        (plugin): Plugin =>
          (httpxy) =>
            register(plugin, httpxy, hpm as Options),
      ),
    ],
    ...(logger !== undefined && { logger: harmless(logger) }),
    ...(typeof filter === 'function' && {
      // Of an upgrade it was asked before.
      pathFilter: (pathname: string, req: IncomingMessage) => upgrades.has(req) || filter(pathname, req),
    }),
    ...(typeof router === 'function' && {
      router: async (req: IncomingMessage, res: ServerResponse | undefined, options: Options) => {
        const attempt = attemptOf(res);
        if (attempt !== undefined) share(req, attempt, config);
        const routed = awaitHook('router', () => router(req, realResponse(res), withOwnHeaders(options)), attempt);
        return then(routed, (result) => {
          // Of no path http-proxy-middleware would ask nobody, and httpxy make this.
          req.url ||= '/';
          return result;
        });
      },
    }),
    // Runs for every request, after `router`, with the options of this one request.
    pathRewrite: (path, req, res, options) => {
      const attempt = attemptOf(res);
      if (attempt === undefined || options === undefined) return pathOfUpgrade(path, req, options ?? {});
      const { target: ownTarget, headers: ownHeaders } = attempt.route;
      // httpxy makes a URL of a string.
      if (ownTarget !== undefined) options.target = ownTarget;
      if (ownHeaders !== undefined) options.headers = ownHeaders;
      prepareRequestHeaders(attempt.req);
      // The types know functions that are async and such that are not, but none that is either.
      return pathOf(attempt, path, options) as Promise<string>;
    },
  });

  /** The path to ask for, when the exchange has been let in. */
  function pathOf(attempt: Attempt, path: string, options: Options): string | Promise<string> {
    const { req, res } = attempt;
    const { pathRewrite: own } = attempt.route;
    checkTarget(path);
    // Middleware may have set an encoding when it had handed the request on.
    if (req.readableEncoding || typeof (own ?? pathRewrite) === 'function') share(req, attempt, config);
    const rewrite = () => (own === undefined ? rewritePath(path, req, res, withOwnHeaders(options)) : own(path, req));
    const rewritten = awaitHook('pathRewrite', rewrite, attempt);
    return then(rewritten, (result) => {
      if (options.buffer) {
        attempt.takeOwnBody({ stream: options.buffer as Readable, isShared: options.buffer === hpm.buffer });
      }
      // A hook may have written it there instead.
      return then(attempt.prepare(typeof result === 'string' ? result : (req.url ?? path)), (prepared) => {
        prepare(attempt, options);
        return prepared;
      });
    });
  }

  async function pathOfUpgrade(path: string, req: IncomingMessage, options: Options): Promise<string> {
    if (!options.target) throw new SseProxyError('TARGET_MISSING');
    options.target = withoutUserInfo(options.target);
    // As in http-proxy-middleware each has a connection of its own, which cannot be one that is dead.
    if (options.agent === (pool as unknown)) options.agent = false;
    prepareUpgradeHeaders(req);
    const rewrite = () => rewritePath(path, req, undefined, withOwnHeaders(options));
    const rewritten = await awaitHook('pathRewrite', rewrite);
    // A hook may have written it there instead.
    const result = typeof rewritten === 'string' ? rewritten : (req.url ?? path);
    prepareOptions(options);
    upgrades.get(req)?.prepare(result, options);
    return result;
  }

  /** Hooks may change what is in it for their request: it must not be there for the next one. */
  function withOwnHeaders(options: Options): Options {
    if (isHandedOut && headers !== undefined && options.headers === headers) options.headers = { ...headers };
    return options;
  }

  function prepareOptions(options: Options): void {
    // Our default never overrules a Host that the user has named, and a target without a host has none to give.
    if (hpm.changeOrigin === undefined && (namesHost(options.headers) || !hasHost(options.target))) {
      options.changeOrigin = false;
    }
    // httpxy makes the options of its request of this very object, and would find them there with the next one.
    if (options.ssl) options.ssl = { ...options.ssl };
    if (options.headers && options.headers !== headers) options.headers = fieldsFor(options.headers);
  }

  /** By the options of this one request, of which `router` and `pathRewrite` may have changed any. */
  function prepare(attempt: Attempt, options: Options): void {
    if (options.target !== undefined) options.target = withoutUserInfo(options.target);
    // httpxy makes a URL of a string, and names it in its errors.
    if (typeof options.forward === 'string') options.forward = new URL(options.forward);
    attempt.mirror = options.forward;
    prepareOptions(options);
    // The exchange sees to it. httpxy adds a listener to the client's connection with each of its requests.
    attempt.limitSilence(options.timeout ?? 0);
    options.timeout = 0;
    attempt.isForwarded = takeForwarded(options);
    options.agent = options.agent === undefined ? pool : options.agent;
    // A user's agent may be the only way out.
    if (attempt.freshConnection && options.agent === pool) options.agent = false;
    if (!options.buffer) prepareBody(attempt, options);
  }

  /** What httpxy is to send. It pipes the body of the request itself, where nothing else is said. */
  function prepareBody(attempt: Attempt, options: Options): void {
    const { req } = attempt;
    // A hook may read the request as it flows upstream.
    if (attempt.body === 'stream' && server?.listenerCount('proxyReq') === 0) {
      attempt.body = takeWhole(req, attempt.keptBytes) ?? 'stream';
    }
    const { body } = attempt;
    const requests = options.forward && options.target ? 2 : 1;
    if (body instanceof ReplayedBody) {
      body.describeIn(req);
      options.buffer = body.toSource(requests) as unknown as Readable;
    } else if (!hasBody(req)) {
      options.buffer = noBody() as unknown as Readable;
      // A request that was not read to its end fails when its client leaves.
      req.resume();
    } else if (requests > 1 || (body === 'stream' && (attempt.keptBytes || options.followRedirects))) {
      // httpxy lets go of a body when an answer comes early, and with `followRedirects` listens to it for good: what is to be sent
      // once more must not be the request itself.
      options.buffer = attempt.holdBody();
    }
  }

  function realResponse(res: ServerResponse | undefined): ServerResponse | undefined {
    return attemptOf(res)?.res ?? res;
  }

  return {
    send(attempt) {
      let isOurs = true;
      // Settles when the response closes; failures come as events, or through this `next`.
      void middleware(attempt.req, attempt.response as unknown as ServerResponse, (error) => {
        if (error === undefined) isOurs = false;
        else attempt.onRejected(error);
      });
      return isOurs;
    },
    takes(req) {
      takes ??= upgradeFilter(filter, logger);
      return takes(req);
    },
    upgrade(upgrade) {
      upgrades.set(upgrade.req, upgrade);
      middleware.upgrade(upgrade.req, upgrade.standIn as unknown as Socket, upgrade.head);
    },
    closeIdle: () => pool.closeIdle(),
    close: () => pool.destroy(),
  };
}

const ignoreError = (): void => {};

/** http-proxy-middleware and httpxy would each parse it with each request. */
function parsedTarget(target: Options['target']): Options['target'] {
  return typeof target === 'string' && URL.canParse(target) ? new URL(target) : target;
}

/** httpxy does not send it, but has it in what it tells of its targets and of its errors, where a logger finds it. */
function withoutUserInfo(target: NonNullable<Options['target']>): NonNullable<Options['target']> {
  const withoutIt = (url: string): string => url.replace(/^([a-z]+:\/\/)[^/?#]*@/i, '$1');
  if (target instanceof URL) return target.username + target.password === '' ? target : new URL(withoutIt(target.href));
  return typeof target === 'string' ? withoutIt(target) : target;
}

function namesHost(headers: Options['headers']): boolean {
  return headers !== undefined && Object.keys(headers).some((name) => name.toLowerCase() === 'host');
}

/** A Unix socket has none, unless it is given beside it. */
function hasHost(target: Options['target']): boolean {
  if (target === undefined || typeof target === 'string' || target instanceof URL) return true;
  return Boolean(target.host ?? target.hostname);
}

/** Whether `xfwd` is on: ours appends the peer, httpxy's lets the client hide it. */
function takeForwarded(options: Options): boolean {
  const isForwarded = Boolean(options.xfwd);
  options.xfwd = false;
  return isForwarded;
}

/**
 * `headers` as httpxy is to have them: it forgets credentials at a redirect to another host only where their names are in lower
 * case, and tells nobody of a request with `Expect`.
 */
function fieldsFor(headers: NonNullable<Options['headers']>): NonNullable<Options['headers']> {
  const { expect, ...fields } = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return fields;
}

/**
 * Whether `pathFilter` has a handshake be the proxy's, by http-proxy-middleware's own reading of it, and at once: it asks `router`
 * in the same tick where that is so. This one has nobody to send anything to.
 */
function upgradeFilter(pathFilter: Options['pathFilter'], logger: Options['logger']): Upstream['takes'] {
  let isOurs = false;
  const asks = createProxyMiddleware({
    ...(pathFilter !== undefined && { pathFilter }),
    ...(logger !== undefined && { logger }),
    router() {
      isOurs = true;
      throw new SseProxyError('TARGET_MISSING');
    },
    ejectPlugins: true,
    plugins: [(httpxy) => void httpxy.on('error', () => {})],
  });
  return (req) => {
    isOurs = false;
    asks.upgrade(req, req.socket, Buffer.alloc(0));
    return isOurs;
  };
}

/** A table of `pathRewrite`, as http-proxy-middleware reads it: the first pattern that matches. */
function pathRewriter(table: Record<string, string>): (path: string, ...rest: unknown[]) => string {
  const rules = Object.entries(table).map(([pattern, replacement]) => ({ pattern: new RegExp(pattern), replacement }));
  return (path) => {
    const rule = rules.find(({ pattern }) => pattern.test(path));
    return rule === undefined ? path : path.replace(rule.pattern, rule.replacement);
  };
}

/** Goes on with a value: at once, where it is there. Of a promise each step costs a turn of the queue. */
function then<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  return isPromiseLike(value) ? Promise.resolve(value).then(next) : next(value);
}

/**
 * Replaces the `emit` of httpxy's server: every listener, of `on` as well as of plugins, is handed Express's own response,
 * and one that throws or rejects ends its exchange instead of the process.
 *
 * @param bookkeepers listeners for errors that answer none
 */
function intercept(server: ProxyServer, config: Config, bookkeepers: ReadonlySet<unknown>): void {
  /** Hooks that have got hold of a request, or of its response, may read it in their own encoding. */
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
      if (args[3] !== undefined && args[3] === attempt.mirror) return;
      attempt.fail(args[0], () => callErrorListeners(withRealResponse(attempt, args)));
      return;
    }
    if (event === 'start') {
      attempt.onStart(args[2]);
      if (isShared()) share(attempt.req, attempt, config);
    }
    if (event === 'proxyReq') prepareRequest(attempt, args[0] as ClientRequest, args[3] as Options);
    if (event === 'proxyRes') {
      attempt.onResponse(args[0] as IncomingMessage);
      if (isShared() && !attempt.response.isHandedOver) {
        share(args[0] as IncomingMessage, attempt, config);
        endWhenDestroyed(args[0] as IncomingMessage, attempt);
      }
    }
    if (event === 'econnreset') attempt.fail(args[0]);
    const hasListeners = server.listenerCount(event as 'error') > 0;
    const isWritten = hasListeners && event === 'proxyReq' ? watchBody(attempt, args[0] as ClientRequest) : undefined;
    if (hasListeners) {
      void callListeners(event, withRealResponse(attempt, args), (cause) => {
        attempt.fail(new SseProxyError('HOOK_FAILED', { cause }));
      });
    }
    if (event === 'proxyRes' && (args[0] as IncomingMessage).destroyed)
      failDestroyed(args[0] as IncomingMessage, attempt);
    if (event !== 'proxyReq') return;
    sendBody(attempt, args[0] as ClientRequest, args[3] as Options, isWritten?.() ?? false);
  }

  /** Tells whether a listener writes to the request. As in http-proxy-middleware, what is there of the body follows. */
  function watchBody(attempt: Attempt, request: ClientRequest): () => boolean {
    // Those who write a body do so for one that was consumed.
    if (attempt.body === 'stream') return () => request.writableEnded;
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

  /** Called by Node's agent: what is thrown here would end the process. */
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
      // As in http-proxy-middleware, where the connection is closed when they have returned.
      upgrade.fail(args[0], () => callListeners(event, ownArgs));
      return;
    }
    // The proxy could not let it in.
    if (event === 'open' && (args[0] as Duplex).destroyed) return;
    if (event === 'proxyReqWs') upgrade?.onRequest(args[0] as ClientRequest, args[3] as Options);
    void callListeners(event, ownArgs, (cause) => {
      if (upgrade !== undefined) {
        upgrade.fail(new SseProxyError('HOOK_FAILED', { cause }));
        return;
      }
      for (const arg of args) if (arg instanceof Stream) (arg as Partial<Duplex>).destroy?.();
    });
  }

  /** Resolves when the last listener has settled; nothing to wait for where none is async. */
  function callListeners(
    event: string,
    args: unknown[],
    onFailure?: (cause: unknown) => void,
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
    onFailure?: (cause: unknown) => void,
  ): Promise<void> | undefined {
    return runHook(
      `a listener of "${event}"`,
      () => Reflect.apply(listener, server, args),
      (message, cause) => {
        // Which masks what it says.
        onFailure?.(cause);
        config.logError(message, cause);
      },
    );
  }

  /** See {@link Notify}. */
  function callErrorListeners(args: unknown[]): Promise<boolean> | undefined {
    const ofUser: Promise<boolean>[] = [];
    for (const listener of listenersOf('error')) {
      let hasFailed = false;
      const settled = callListener('error', listener, args, () => {
        hasFailed = true;
      });
      const { listener: own = listener } = listener as { listener?: Listener };
      if (bookkeepers.has(own)) continue;
      // With one parameter it has no response to answer by.
      const mayAnswer = own.length >= 2;
      ofUser.push(Promise.resolve(settled).then(() => (mayAnswer && !hasFailed ? never() : hasFailed)));
    }
    return ofUser.length === 0 ? undefined : Promise.all(ofUser).then((failed) => failed.includes(true));
  }
}

type Listener = (...args: unknown[]) => unknown;

/** A new one each time: one for all would keep whoever waits for it. */
const never = (): Promise<never> => new Promise(() => {});

/** A hook may destroy the response that it has got hold of: of one that is complete, httpxy would not tell. */
function endWhenDestroyed(response: IncomingMessage, attempt: Attempt): void {
  response.once('close', () => {
    if (!response.readableEnded) failDestroyed(response, attempt);
  });
}

function failDestroyed({ errored }: IncomingMessage, attempt: Attempt): void {
  const cause = errored ?? new Error('The response was destroyed');
  attempt.fail(new SseProxyError('HOOK_FAILED', { cause, statusCode: 502 }));
}

/** A hook gets hold of this message. What its listeners throw ends the exchange instead of the process. */
function share(message: IncomingMessage, attempt: Attempt, config: Config): void {
  shareBody(message, (cause) => {
    // Which masks what it says.
    attempt.fail(new SseProxyError('HOOK_FAILED', { cause }));
    config.logError('a listener of a body failed: %o', cause);
  });
}

function withRealResponse({ response, res }: Attempt, args: readonly unknown[]): unknown[] {
  return args.map((arg) => (arg === response ? res : arg));
}

/** Where the events of a request have its response, among their arguments. */
const RESPONSE_OF: Readonly<Record<string, number>> = {
  start: 1,
  proxyReq: 2,
  proxyRes: 2,
  end: 1,
  error: 2,
  econnreset: 2,
};

/** By what http-proxy-middleware was given as the response. */
function attemptOf(response: unknown): Attempt | undefined {
  return response instanceof UpstreamResponse ? (response.attempt as Attempt | undefined) : undefined;
}
