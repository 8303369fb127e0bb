import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { createSseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';
import { listenHttp2 } from './http2.js';
import { onCleanUp, proxyApp } from './servers.js';

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

/** The proxy as the listener of an HTTP/2 server that speaks HTTP/1.1 too. */
export async function http2Front(options: SseProxyOptions): Promise<{ port: number; summaries: StreamSummary[] }> {
  const summaries: StreamSummary[] = [];
  const proxy = createSseProxy({ ...options, onFinish: (summary) => void summaries.push(summary) });
  return { port: await listenHttp2(proxy), summaries };
}

function kept(socket: Socket): Socket {
  onCleanUp(() => void socket.destroy());
  return socket.on('error', () => {});
}

/** Sends these bytes; resolves with all that has come when `isEnough` says so, or the connection has closed. */
export async function speak(
  socket: Socket,
  bytes: string,
  isEnough: (text: string) => boolean,
): Promise<{ text: string; isClosed: boolean }> {
  let text = '';
  socket.write(bytes, 'latin1');
  return new Promise((resolve) => {
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      if (isEnough(text)) resolve({ text, isClosed: false });
    });
    socket.once('close', () => resolve({ text, isClosed: true }));
  });
}
