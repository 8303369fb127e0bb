import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import express, { type Express } from 'express';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { createSseProxy, type SseProxy, type SseProxyOptions, type StreamSummary } from '../../../lib/index.js';
import { type Ask, http1Asker, http2Asker } from '../clients/ask.js';
import { onCleanUp } from '../watch/clean-up.js';
import { Queue, signal } from '../watch/wait.js';
import { certificate } from './certificate.js';
import { listen } from './listen.js';
import { rawUpstream, upstream } from './upstreams.js';

/** A proxy whose summaries are kept, beside what `onFinish` does with them. */
export function recordedProxy(options: SseProxyOptions): { proxy: SseProxy; summaries: Queue<StreamSummary> } {
  const summaries = new Queue<StreamSummary>();
  const proxy = createSseProxy({
    ...options,
    onFinish(summary, exchange) {
      summaries.push(summary);
      return options.onFinish?.(summary, exchange);
    },
  });
  return { proxy, summaries };
}

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

export interface Http2Proxy {
  port: number;
  url: string;
  session: ClientHttp2Session;
  /** Of the first exchange. */
  summary: Promise<StreamSummary>;
  summaries: StreamSummary[];
}

/** The proxy as the listener of an HTTP/2 server, behind what `before` does to a response, and a session with it. */
export async function http2Proxy(
  options: SseProxyOptions,
  before?: (res: ServerResponse) => void,
): Promise<Http2Proxy> {
  const { cert } = await certificate();
  const summaries: StreamSummary[] = [];
  const first = signal<StreamSummary>();
  const proxy = createSseProxy({
    ...options,
    onFinish(summary) {
      summaries.push(summary);
      first.resolve(summary);
    },
  });
  const port = await listenHttp2((req, res) => {
    before?.(res);
    return proxy(req, res);
  });
  const url = `https://localhost:${port}`;
  const session = http2.connect(url, { ca: cert });
  session.on('error', () => {});
  onCleanUp(() => session.destroy());
  await once(session, 'connect');
  return { port, url, session, summary: first.promise, summaries };
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

/** What holds for clients of one version of HTTP has to hold for those of the other. */
export const VERSIONS = ['HTTP/1.1', 'HTTP/2'] as const;
type Version = (typeof VERSIONS)[number];

interface ProxyInVersion {
  port: number;
  proxy: SseProxy;
  /** Asks on a connection of its own. */
  ask: Ask;
  /** Resolves with the next summary. */
  summary(): Promise<StreamSummary>;
}

/** The proxy on a server that speaks this version, behind this middleware, and a client that does. */
export async function proxyIn(
  version: Version,
  options: SseProxyOptions,
  front: (req: IncomingMessage, res: ServerResponse, next: () => void) => void = (_req, _res, next) => next(),
): Promise<ProxyInVersion> {
  const { proxy, summaries } = recordedProxy(options);
  const summary = () => summaries.next();
  const listener: RequestListener = (req, res) => front(req, res, () => void proxy(req, res));
  if (version === 'HTTP/1.1') {
    const port = await listen(http.createServer(listener));
    return { port, proxy, summary, ask: http1Asker(() => net.connect(port, '127.0.0.1')) };
  }
  const port = await listenHttp2(listener);
  const { cert } = await certificate();
  const connect = () =>
    tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca: cert, ALPNProtocols: ['h2'] });
  return { port, proxy, summary, ask: http2Asker(connect) };
}

/** A proxy in front of an upstream with this listener. */
export async function proxyTo(
  listener: RequestListener,
  options: SseProxyOptions = {},
  before?: (app: Express) => void,
): Promise<ProxyUnderTest> {
  const { url } = await upstream(listener);
  return proxyApp({ target: url, ...options }, before);
}

/** A proxy in front of an upstream that answers each request with these bytes. */
export async function proxyToRaw(answer: string): Promise<ProxyUnderTest> {
  const { url } = await rawUpstream((socket) => {
    socket.write(answer, 'latin1');
  });
  return proxyApp({ target: url });
}
