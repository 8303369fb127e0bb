import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { ProxyExchange } from './exchange.js';
import { type Config, resolveOptions } from './options.js';
import type { SseProxy, SseProxyOptions } from './types.js';
import { createUpstream } from './upstream.js';

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
>(options: SseProxyOptions<TReq, TRes>): SseProxy<TReq, TRes> {
  const config: Config = resolveOptions(options as unknown as SseProxyOptions);
  const upstream = createUpstream(config);
  const servers = new Set<Server>();
  let active = 0;

  function sseProxy(req: IncomingMessage, res: ServerResponse, next?: (error?: unknown) => void): Promise<void> {
    const exchange = new ProxyExchange(config, upstream, req, res, next);
    return new Promise((resolve) => {
      const isOurs = exchange.start(() => {
        active -= 1;
        resolve();
      });
      if (isOurs) {
        active += 1;
        closeWith(req);
        return;
      }
      resolve();
      if (next !== undefined) next();
      else res.writeHead(404).end();
    });
  }

  /** The pool of upstream connections goes when the last server that uses the proxy has closed. */
  function closeWith(req: IncomingMessage): void {
    const { server } = req.socket as { server?: Server };
    if (server === undefined || servers.has(server)) return;
    servers.add(server);
    server.once('close', () => {
      servers.delete(server);
      if (servers.size === 0) upstream.close();
    });
  }

  return Object.defineProperty(Object.assign(sseProxy, { upgrade: upstream.upgrade }), 'active', {
    get: () => active,
  }) as unknown as SseProxy<TReq, TRes>;
}
