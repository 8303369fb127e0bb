import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { createSseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';
import { certificate } from './reference.js';
import { listen, onCleanUp } from './servers.js';
import { signal } from './watch.js';

/** The proxy as the listener of an HTTP/2 server, a session with it, and the summary of the first exchange. */
export async function http2Proxy(
  options: SseProxyOptions,
): Promise<{ session: ClientHttp2Session; summary: Promise<StreamSummary> }> {
  const { key, cert } = await certificate();
  const { promise: summary, resolve: onFinish } = signal<StreamSummary>();
  const proxy = createSseProxy({ ...options, onFinish });
  const server = http2.createSecureServer({ key, cert });
  server.on('request', (req, res) => {
    void proxy(req as unknown as IncomingMessage, res as unknown as ServerResponse);
  });
  const sockets = new Set<Socket>();
  server.on('secureConnection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const port = await listen(server);
  onCleanUp(() => {
    for (const socket of sockets) socket.destroy();
  });
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
