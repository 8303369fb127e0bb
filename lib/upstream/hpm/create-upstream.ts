import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  createProxyMiddleware,
  debugProxyErrorsPlugin,
  loggerPlugin,
  type Options,
  type Plugin,
  proxyEventsPlugin,
} from 'http-proxy-middleware';
import { secretsIn } from '../../credentials/own-credentials.js';
import { SseProxyError } from '../../errors.js';
import { prepareRequestHeaders } from '../../headers/request-passes.js';
import type { Config } from '../../types/config.js';
import { awaitHook, harmless } from '../../util/hooks.js';
import { then } from '../../util/then.js';
import type { Attempt } from '../attempt.js';
import { ConnectionPool } from '../connection-pool.js';
import { attemptOf, realResponse, share } from './attempt-of.js';
import { interceptEvents, type ProxyServer } from './intercept-events.js';
import { createPathFilter, type PathFilter } from './path-filter.js';
import { headersFor, parsedTarget } from './request-options.js';
import { RequestPreparer } from './request-preparer.js';
import type { Handshake } from './upgrade-socket.js';

export interface Upstream {
  /** The options of http-proxy-middleware, as plugins have left them. */
  readonly hpm: Readonly<Options>;
  /** Whether `pathFilter` has a request, or a handshake, be the proxy's: to be asked once of each. */
  readonly takes: PathFilter;
  /** Starts an attempt. */
  send(attempt: Attempt): void;
  /** Sends the handshake of a WebSocket that was let in. */
  upgrade(upgrade: Handshake): void;
  /** Closes the pooled connections that are not in use. */
  closeIdle(): void;
  /** Closes all pooled connections. */
  close(): void;
}

/** Sets up http-proxy-middleware so that it writes into objects of ours, and user callbacks still get what they expect. */
export function createUpstream(config: Config): Upstream {
  /** As plugins are handed them: what they change in them has its effect, as in http-proxy-middleware. */
  const hpm: Options = { ...config.hpm };
  const pool = new ConnectionPool();
  /** Handshakes by their requests: http-proxy-middleware hands over nothing else. */
  const upgrades = new WeakMap<IncomingMessage, Handshake>();
  const { plugins = [], ejectPlugins = false, logger } = hpm;
  let current = currentOptions();
  let server: ProxyServer | undefined;
  const isRead = (): boolean => server?.listenerCount('proxyReq') !== 0;
  const preparer = new RequestPreparer({
    hpm,
    pool,
    isRead,
    get headers() {
      return current.headers;
    },
    get secrets() {
      return current.secrets;
    },
    get isHandedOut() {
      return current.isHandedOut;
    },
  });
  /** `error` listeners that never answer: ours, and http-proxy-middleware's. */
  const bookkeepers = new Set<unknown>();

  function register(plugin: Plugin, httpxy: ProxyServer, options: Options): void {
    const before = httpxy.listeners('error');
    plugin(httpxy, options);
    if (plugin !== loggerPlugin && plugin !== debugProxyErrorsPlugin) return;
    for (const listener of httpxy.listeners('error')) if (!before.includes(listener)) bookkeepers.add(listener);
  }

  /** The options as http-proxy-middleware is given them. */
  function currentOptions() {
    const { router, pathRewrite } = hpm;
    // Hooks that are handed the options must find in them what the user gave.
    const isHandedOut = typeof router === 'function' || typeof pathRewrite === 'function';
    const target = isHandedOut ? hpm.target : parsedTarget(hpm.target);
    const headers = isHandedOut ? hpm.headers : hpm.headers && headersFor(hpm.headers);
    const options: Options = {
      changeOrigin: true,
      agent: pool,
      ...hpm,
      ...(target !== undefined && { target }),
      ...(headers !== undefined && { headers }),
      // Ours subscribes to upgrades. http-proxy-middleware does so only when its first request has ended: a stream may be long.
      ws: false,
      ...(logger !== undefined && { logger: harmless(logger) }),
      // `pathFilter` was asked before: see `takes`.
      pathFilter: () => true,
      ...(typeof router === 'function' && {
        router: async (req: IncomingMessage, res: ServerResponse | undefined, options: Options) => {
          const attempt = attemptOf(res);
          if (attempt !== undefined) share(req, attempt);
          const routed = awaitHook(
            'router',
            () => router(req, realResponse(res), preparer.withOwnHeaders(options)),
            attempt,
          );
          return then(routed, (result) => {
            // For an empty path http-proxy-middleware would not call `pathRewrite`, and httpxy would send this one.
            req.url ||= '/';
            return result;
          });
        },
      }),
      // Called for every request, after `router`, with the options of this request.
      pathRewrite: (path, req, res, given) => {
        const options = given as Options;
        const attempt = attemptOf(res);
        if (attempt === undefined) return preparer.pathOfUpgrade(path, upgrades.get(req) as Handshake, options);
        const { target: ownTarget, headers: ownHeaders } = attempt.route;
        // httpxy makes a URL of a string.
        if (ownTarget !== undefined) options.target = ownTarget;
        if (ownHeaders !== undefined) options.headers = ownHeaders;
        prepareRequestHeaders(attempt.req);
        // The types have async and synchronous functions, but none that may be either.
        return preparer.pathOf(attempt, path, options) as Promise<string>;
      },
    };
    return { options, headers, isHandedOut, secrets: secretsIn(headers, hpm.auth) };
  }

  /** The options that http-proxy-middleware goes by. */
  let used: Options | undefined;

  /** Has it go by what plugins have left of theirs. */
  function refresh(): void {
    if (used === undefined || plugins.length === 0) return;
    current = currentOptions();
    for (const name of Object.keys(used)) if (!(name in current.options)) Reflect.deleteProperty(used, name);
    Object.assign(used, current.options);
  }

  const middleware = createProxyMiddleware({
    ...current.options,
    // Not its error response plugin, which writes into streams; the other default plugins are below.
    ejectPlugins: true,
    plugins: [
      (httpxy, options) => {
        server = httpxy;
        used = options;
        // With a listener there, httpxy reports failures at once, by this event.
        httpxy.on('error', ignoreError);
        bookkeepers.add(ignoreError);
        interceptEvents(httpxy, config, bookkeepers);
      },
      ...(ejectPlugins ? [] : [proxyEventsPlugin as Plugin]),
      ...(ejectPlugins || logger === undefined
        ? []
        : [(httpxy: ProxyServer, options: Options) => register(loggerPlugin as Plugin, httpxy, options)]),
      ...plugins.map(
        (plugin): Plugin =>
          (httpxy) =>
            register(plugin, httpxy, hpm),
      ),
      refresh,
    ],
  });

  return {
    hpm,
    takes: createPathFilter(hpm, config.logError),
    send(attempt) {
      refresh();
      // The promise settles when the response closes; failures are told by events, or through this `next`.
      void middleware(
        attempt.req,
        attempt.response as unknown as ServerResponse,
        (error = new SseProxyError('PROXY_FAILED')) => attempt.onRejected(error),
      );
    },
    upgrade(upgrade) {
      refresh();
      upgrades.set(upgrade.req, upgrade);
      middleware.upgrade(upgrade.req, upgrade.standIn as unknown as Socket, upgrade.head);
    },
    closeIdle: () => pool.closeIdle(),
    close: () => pool.destroy(),
  };
}

const ignoreError = (): void => {};
