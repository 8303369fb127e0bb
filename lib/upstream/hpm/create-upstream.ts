import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
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
import { hasBody } from '../../headers/framing.js';
import { prepareRequestHeaders, prepareUpgradeHeaders } from '../../headers/request-passes.js';
import { ReplayedBody } from '../../request/replayed-body.js';
import type { Config } from '../../types/config.js';
import { awaitHook, harmless } from '../../util/hooks.js';
import { then } from '../../util/then.js';
import type { Attempt } from '../attempt.js';
import { ConnectionPool } from '../connection-pool.js';
import { attemptOf, realResponse, share } from './attempt-of.js';
import { interceptEvents, type ProxyServer } from './intercept-events.js';
import { createPathFilter, type PathFilter } from './path-filter.js';
import { pathRewriter } from './path-rewrite.js';
import { hasHost, headersFor, namesHost, parsedTarget, takeForwarded, withoutUserInfo } from './request-options.js';
import type { Handshake } from './upgrade-socket.js';

export interface Upstream {
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

/** http-proxy-middleware, told to write into what we own and to hand the user's callbacks what they expect. */
export function createUpstream(config: Config): Upstream {
  const { hpm } = config;
  const pool = new ConnectionPool();
  /** By their requests, where http-proxy-middleware hands over nothing else. */
  const upgrades = new WeakMap<IncomingMessage, Handshake>();
  const { plugins = [], ejectPlugins = false, router, pathRewrite, logger } = hpm;
  const rewritePath = typeof pathRewrite === 'function' ? pathRewrite : pathRewriter(pathRewrite ?? {});
  // Hooks that are handed the options find in them what was given.
  const isHandedOut = typeof router === 'function' || typeof pathRewrite === 'function';
  const target = isHandedOut ? hpm.target : parsedTarget(hpm.target);
  const headers = isHandedOut ? hpm.headers : hpm.headers && headersFor(hpm.headers);
  let server: ProxyServer | undefined;
  /** Listeners for errors that only take notice of them: ours, and those of http-proxy-middleware. */
  const bookkeepers = new Set<unknown>();

  function register(plugin: Plugin, httpxy: ProxyServer, options: Options): void {
    const before = httpxy.listeners('error');
    plugin(httpxy, options);
    if (plugin !== loggerPlugin && plugin !== debugProxyErrorsPlugin) return;
    for (const listener of httpxy.listeners('error')) if (!before.includes(listener)) bookkeepers.add(listener);
  }

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
        interceptEvents(httpxy, config, bookkeepers);
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
    // Its verdict is there: see `takes`.
    pathFilter: () => true,
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
    if (options.headers && options.headers !== headers) options.headers = headersFor(options.headers);
  }

  /** By the options of this one request, of which `router` and `pathRewrite` may have changed any. */
  function prepare(attempt: Attempt, options: Options): void {
    if (options.target !== undefined) options.target = withoutUserInfo(options.target);
    // httpxy makes a URL of a string, and names it in its errors.
    if (typeof options.forward === 'string') options.forward = new URL(options.forward);
    prepareOptions(options);
    const { forward: mirror, timeout: silence = 0 } = options;
    attempt.configure({ mirror, silence, isForwarded: takeForwarded(options) });
    // The exchange sees to it. httpxy adds a listener to the client's connection with each of its requests.
    options.timeout = 0;
    options.agent = options.agent === undefined ? pool : options.agent;
    // A user's agent may be the only way out.
    if (attempt.freshConnection && options.agent === pool) options.agent = false;
    if (!options.buffer) prepareBody(attempt, options);
  }

  /** What httpxy is to send. It pipes the body of the request itself, where nothing else is said. */
  function prepareBody(attempt: Attempt, options: Options): void {
    const { req } = attempt;
    // A hook may read the request as it flows upstream.
    if (server?.listenerCount('proxyReq') === 0) attempt.body.takeWhole();
    const { content, keptBytes } = attempt.body;
    const requests = options.forward && options.target ? 2 : 1;
    if (content instanceof ReplayedBody) {
      content.describeIn(req);
      options.buffer = content.toSource(requests) as unknown as Readable;
    } else if (!hasBody(req)) {
      options.buffer = noBody() as unknown as Readable;
      // A request that was not read to its end fails when its client leaves.
      req.resume();
    } else if (requests > 1 || (content === 'stream' && (keptBytes || options.followRedirects))) {
      // httpxy lets go of a body when an answer comes early, and with `followRedirects` listens to it for good: what is to be sent
      // once more must not be the request itself.
      options.buffer = attempt.body.hold();
    }
  }

  return {
    takes: createPathFilter(hpm, config.logError),
    send(attempt) {
      // Settles when the response closes; failures come as events, or through this `next`.
      void middleware(
        attempt.req,
        attempt.response as unknown as ServerResponse,
        (error = new SseProxyError('PROXY_FAILED')) => attempt.onRejected(error),
      );
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
