import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import express, { type Express } from 'express';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { createSseProxy, type SseProxy, type SseProxyOptions, type StreamSummary } from '../../../lib/index.js';
import { onCleanUp } from '../watch/clean-up.js';
import { signal } from '../watch/wait.js';
import { certificate, listen } from './listen.js';

export interface ProxyUnderTest {
  app: Express;
  server: Server;
  port: number;
  url: string;
  proxy: SseProxy;
  /** The summaries of the exchanges that have ended, in order. */
  summaries: StreamSummary[];
  /** Resolves with the next summary (or the first that is there and was not asked for yet). */
  summary(): Promise<StreamSummary>;
}

/** An Express app with the proxy mounted at `/`; `before` may mount middleware in front of it. */
export async function proxyApp(options: SseProxyOptions, before?: (app: Express) => void): Promise<ProxyUnderTest> {
  const summaries: StreamSummary[] = [];
  const waiting: ((summary: StreamSummary) => void)[] = [];
  let taken = 0;
  const proxy = createSseProxy({
    ...options,
    onFinish(summary, exchange) {
      summaries.push(summary);
      const resolve = waiting.shift();
      if (resolve !== undefined) {
        taken += 1;
        resolve(summary);
      }
      return options.onFinish?.(summary, exchange);
    },
  });
  const app = express();
  before?.(app);
  app.use(proxy);
  const server = http.createServer(app);
  const port = await listen(server);
  return {
    app,
    server,
    port,
    url: `http://127.0.0.1:${port}`,
    proxy,
    summaries,
    summary() {
      const ready = summaries[taken];
      if (ready !== undefined) {
        taken += 1;
        return Promise.resolve(ready);
      }
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}

/** The servers in front of the proxy that a client of HTTP/1.1 may speak to. */
export const FRONTS = ['an HTTP/1.1 server', 'an HTTP/2 server with allowHTTP1'] as const;

export type FrontKind = (typeof FRONTS)[number];

export interface Front {
  port: number;
  /** Of the exchanges that have ended, in order. */
  summaries: StreamSummary[];
  /** A connection of HTTP/1.1. */
  connect(): Socket;
}

export async function front(kind: FrontKind, options: SseProxyOptions): Promise<Front> {
  if (kind === 'an HTTP/1.1 server') {
    const { port, summaries } = await proxyApp(options);
    return { port, summaries, connect: () => kept(net.connect(port, '127.0.0.1')) };
  }
  const { port, summaries } = await http2Front(options);
  const connect = (): Socket =>
    kept(tls.connect({ port, host: '127.0.0.1', ALPNProtocols: ['http/1.1'], rejectUnauthorized: false }));
  return { port, summaries, connect };
}

function kept(socket: Socket): Socket {
  onCleanUp(() => void socket.destroy());
  return socket.on('error', () => {});
}

/** The proxy as the listener of an HTTP/2 server that speaks HTTP/1.1 too. */
export async function http2Front(options: SseProxyOptions): Promise<{ port: number; summaries: StreamSummary[] }> {
  const summaries: StreamSummary[] = [];
  const proxy = createSseProxy({ ...options, onFinish: (summary) => void summaries.push(summary) });
  return { port: await listenHttp2(proxy), summaries };
}

/** Listens over TLS for clients of HTTP/2 and of HTTP/1.1; returns the port. */
export async function listenHttp2(listener: RequestListener): Promise<number> {
  const { key, cert } = await certificate();
  const server = http2.createSecureServer({ key, cert, allowHTTP1: true });
  server.on('request', (req: IncomingMessage, res: ServerResponse) => void listener(req, res));
  const sockets = new Set<Socket>();
  server.on('secureConnection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const port = await listen(server);
  onCleanUp(() => {
    for (const socket of sockets) socket.destroy();
  });
  return port;
}

/** The proxy as the listener of an HTTP/2 server, a session with it, and the summary of the first exchange. */
export async function http2Proxy(
  options: SseProxyOptions,
): Promise<{ session: ClientHttp2Session; summary: Promise<StreamSummary> }> {
  const { cert } = await certificate();
  const { promise: summary, resolve: onFinish } = signal<StreamSummary>();
  const port = await listenHttp2(createSseProxy({ ...options, onFinish }));
  const session = http2.connect(`https://localhost:${port}`, { ca: cert });
  session.on('error', () => {});
  onCleanUp(() => session.destroy());
  await once(session, 'connect');
  return { session, summary };
}

/** An Express app with http-proxy-middleware itself mounted at `/`: what `proxyApp` is compared with. */
export async function hpmApp(
  options: Options,
  before?: (app: Express) => void,
): Promise<{ url: string; port: number }> {
  const app = express();
  before?.(app);
  app.use(createProxyMiddleware(options));
  const port = await listen(http.createServer(app));
  return { port, url: `http://127.0.0.1:${port}` };
}
