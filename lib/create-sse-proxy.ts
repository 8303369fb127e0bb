import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { ConcurrencyLimiter } from './admission/concurrency-limiter.js';
import { respondNotFound } from './client/proxy-response.js';
import { KnownSecrets } from './credentials/secrets.js';
import { DEFAULT_GRACE, LONGEST_DELAY } from './defaults.js';
import { ProxyExchange, type Services } from './exchange/exchange.js';
import { UpgradeExchange } from './exchange/upgrade-exchange.js';
import { CircuitBreaker } from './failover/circuit-breaker.js';
import { ActiveExchanges } from './fast-path/active-exchanges.js';
import { serverOf } from './fast-path/node-internals.js';
import { FailureReport } from './observe/failure-report.js';
import { UnsettledAnswers } from './observe/unsettled-answers.js';
import { resolveOptions } from './options/resolve.js';
import type { Config } from './types/config.js';
import type { SseProxy, SseProxyOptions } from './types/options.js';
import { createUpstream } from './upstream/hpm/create-upstream.js';
import { makeRoomForListeners } from './util/listeners.js';

/** What `drain()` waits for, and ends. */
type Draining = ProxyExchange | UpgradeExchange;

/**
 * Creates the streaming reverse proxy, an Express middleware: `app.use('/openai', createSseProxy({ target }))`.
 *
 * The returned promise of a request resolves when its exchange has ended, or was handed to `next`.
 *
 * @throws {TypeError} for options that cannot be right: see {@link SseProxyOptions}
 */
export function createSseProxy<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext extends (error?: unknown) => void = (error?: unknown) => void,
>(options: SseProxyOptions<TReq, TRes>): SseProxy<TReq, TRes, TNext> {
  const config: Config = resolveOptions(options as unknown as SseProxyOptions);
  const upstream = createUpstream(config);
  const servers = new Set<Server>();
  const exchanges = new ActiveExchanges<Draining>();
  let isDraining = false;
  /** The last server that used the proxy has closed. */
  let hasClosed = false;
  /** Called with each exchange that has ended. */
  const drains = new Set<(exchange: Draining) => void>();
  const services: Services = {
    config,
    upstream,
    failures: new FailureReport(config),
    answers: new UnsettledAnswers(),
    secrets: new KnownSecrets(),
    limiter:
      config.concurrency === Number.POSITIVE_INFINITY
        ? undefined
        : new ConcurrencyLimiter(config.concurrency, config.queue),
    // A single target is tried whatever has become of it.
    circuits: new Map(config.routes.length > 1 ? config.routes.map((route) => [route, new CircuitBreaker()]) : []),
    isDraining: () => isDraining,
  };

  function sseProxy(req: IncomingMessage, res: ServerResponse, next?: (error?: unknown) => void): Promise<void> {
    const exchange = new ProxyExchange(services, req, res, next);
    return new Promise((resolve) => {
      let leave: (() => void) | undefined;
      const isOurs = exchange.start(() => {
        leave?.();
        onEnd(exchange);
        resolve();
      });
      // The page from which a WebSocket is opened may be the app's own.
      if (isOurs || upstream.hpm.ws) follow(serverOf(req.socket));
      if (isOurs) {
        leave = exchanges.add(exchange);
        return;
      }
      resolve();
      if (next !== undefined) next();
      else respondNotFound(res);
    });
  }

  const upgrade: SseProxy['upgrade'] = (req, socket, head) => {
    const exchange = UpgradeExchange.take(services, req, socket, head);
    if (exchange === undefined) return;
    const leave = exchanges.add(exchange);
    follow(serverOf(req.socket));
    exchange.start(() => {
      leave();
      onEnd(exchange);
    });
  };

  function onEnd(exchange: Draining): void {
    if (hasClosed) closeUpstream();
    for (const callback of drains) callback(exchange);
  }

  /** Takes the upgrades of a server that uses the proxy, and closes the upstream connections with the last such server. */
  function follow(server: Server | undefined): void {
    if (server === undefined || servers.has(server)) return;
    servers.add(server);
    hasClosed = false;
    // One listener of ours and one of http-proxy-middleware's: an app with many proxies is no leak.
    makeRoomForListeners(server, 2);
    if (upstream.hpm.ws) server.on('upgrade', upgrade);
    server.once('close', () => {
      servers.delete(server);
      server.removeListener('upgrade', upgrade);
      hasClosed = servers.size === 0;
      if (hasClosed) closeUpstream();
    });
  }

  /** Answers may be read on for clients that have left, when the last server has closed. */
  function closeUpstream(): void {
    if (exchanges.size === 0) upstream.close();
    else upstream.closeIdle();
  }

  const drain: SseProxy['drain'] = ({ grace = DEFAULT_GRACE } = {}) => {
    isDraining = true;
    return new Promise((resolve) => {
      /** What there was when the grace period was over. New requests are refused, but may come without end. */
      let last: Set<Draining> | undefined;
      const timer = setTimeout(
        () => {
          last = new Set(exchanges.items());
          for (const exchange of last) exchange.drain();
        },
        Math.min(grace, LONGEST_DELAY),
      );
      const check = (ended?: Draining): void => {
        if (ended !== undefined) last?.delete(ended);
        if (exchanges.size > 0 && last?.size !== 0) return;
        clearTimeout(timer);
        drains.delete(check);
        resolve();
      };
      drains.add(check);
      check();
    });
  };

  return Object.defineProperty(Object.assign(sseProxy, { upgrade, drain }), 'active', {
    get: () => exchanges.size,
  }) as unknown as SseProxy<TReq, TRes, TNext>;
}
