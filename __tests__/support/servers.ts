import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import express, { type Express } from 'express';
import { createSseProxy, type SseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';

/** Closers of what a test has opened, called by {@link closeAll}. */
const open: (() => Promise<void> | void)[] = [];

/** Registers something to close after the test. */
export function onCleanUp(close: () => Promise<void> | void): void {
  open.push(close);
}

/** For `afterEach`: closes everything, the last opened first. */
export async function closeAll(): Promise<void> {
  for (const close of open.splice(0).reverse()) await close();
}

/** Listens on an ephemeral port of 127.0.0.1; returns the port. */
export async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanUp(async () => {
    if (server instanceof http.Server) server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

export interface Upstream {
  server: Server;
  port: number;
  url: string;
}

/** An HTTP upstream. */
export async function upstream(listener: RequestListener): Promise<Upstream> {
  const server = http.createServer(listener);
  const port = await listen(server);
  return { server, port, url: `http://127.0.0.1:${port}` };
}

/** An upstream that speaks raw bytes: called with each connection, after the first bytes of a request were read. */
export async function rawUpstream(
  onRequest: (socket: Socket, request: string) => void,
): Promise<{ url: string; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    socket.on('data', (data) => onRequest(socket, data.toString('latin1')));
  });
  onCleanUp(() => {
    for (const socket of sockets) socket.destroy();
  });
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}`, sockets };
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

/** A plain request with `node:http`; resolves with the head, the body still to come. */
export async function request(
  url: string,
  options: http.RequestOptions & { body?: string | Uint8Array } = {},
): Promise<IncomingMessage> {
  const { body, ...rest } = options;
  const req = http.request(url, { agent: false, ...rest });
  req.end(body);
  const [response] = (await once(req, 'response')) as [IncomingMessage];
  return response;
}

/** The whole body; rejects where it was cut. */
export async function readAll(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks);
}

/** What the body brought, and whether it was cut: for tests of truncation. */
export async function readUntilCut(stream: IncomingMessage): Promise<{ body: Buffer; cut: boolean }> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
    return { body: Buffer.concat(chunks), cut: !stream.complete };
  } catch {
    return { body: Buffer.concat(chunks), cut: true };
  }
}

/** Sends raw bytes and resolves with all that comes back until the other side closes, and whether it was a reset. */
export async function rawExchange(port: number, bytes: string): Promise<{ text: string; reset: boolean }> {
  const socket = net.connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  let reset = false;
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reset = error.code === 'ECONNRESET';
  });
  socket.write(bytes, 'latin1');
  await once(socket, 'close').catch(() => {});
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return { text: Buffer.concat(chunks).toString('latin1'), reset };
}

/** Reads an open stream piece by piece: `next()` resolves with the bytes that came since. */
export function reader(stream: NodeJS.ReadableStream): { until(text: string): Promise<string> } {
  let buffered = '';
  let wake: (() => void) | undefined;
  stream.on('data', (chunk: Buffer) => {
    buffered += chunk.toString('latin1');
    wake?.();
  });
  stream.on('error', () => wake?.());
  return {
    /** Resolves with everything up to and including `text`; what follows is kept. */
    async until(text) {
      while (!buffered.includes(text)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const end = buffered.indexOf(text) + text.length;
      const found = buffered.slice(0, end);
      buffered = buffered.slice(end);
      return found;
    },
  };
}

/** Responds with an event stream's head at once. */
export function eventStream(res: ServerResponse): ServerResponse {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  res.flushHeaders();
  return res;
}
