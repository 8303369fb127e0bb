import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { createSseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';
import { certificate } from './reference.js';
import { listen, onCleanUp } from './servers.js';
import { signal } from './watch.js';

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

/** Resolves when the stream has closed: with its body, and the code with which it was reset, 0 for none. */
export async function closing(stream: ClientHttp2Stream): Promise<{ body: string; code: number }> {
  let body = '';
  stream.on('data', (chunk) => {
    body += chunk;
  });
  stream.on('error', () => {});
  if (!stream.closed) await new Promise<void>((resolve) => void stream.once('close', resolve));
  return { body, code: stream.rstCode ?? -1 };
}
