import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type https from 'node:https';
import net from 'node:net';
import { type RawData, WebSocket, WebSocketServer } from 'ws';
import { createSseProxy, type SseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';
import { listen, onCleanUp } from './servers.js';
import { Queue } from './watch.js';

export interface EchoUpstream {
  url: string;
  port: number;
  /** The handshakes that came. */
  handshakes: IncomingMessage[];
  sockets: Set<WebSocket>;
}

/** Echoes every message over WebSocket; plain requests are answered by the server's own listener. */
export async function echoUpstream(
  server: http.Server | https.Server = http.createServer((_req, res) => res.end('plain')),
): Promise<EchoUpstream> {
  const handshakes: IncomingMessage[] = [];
  const sockets = new Set<WebSocket>();
  const webSockets = new WebSocketServer({ server });
  webSockets.on('connection', (socket, req) => {
    handshakes.push(req);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('message', (data: RawData, binary) => socket.send(data, { binary }));
  });
  const port = await listen(server);
  onCleanUp(() => {
    for (const socket of webSockets.clients) socket.terminate();
    webSockets.close();
  });
  return { url: `http://127.0.0.1:${port}`, port, handshakes, sockets };
}

export interface UpgradeServer {
  url: string;
  port: number;
  server: http.Server;
  proxy: SseProxy;
  summaries: Queue<StreamSummary>;
}

/** A server whose upgrades are handed to the proxy by hand. */
export async function upgradeServer(options: SseProxyOptions): Promise<UpgradeServer> {
  const summaries = new Queue<StreamSummary>();
  const proxy = createSseProxy({
    ...options,
    onFinish(summary, exchange) {
      summaries.push(summary);
      return options.onFinish?.(summary, exchange);
    },
  });
  const server = http.createServer((req, res) => void proxy(req, res));
  const upgraded = new Set<net.Socket>();
  server.on('upgrade', (req, socket, head) => {
    if (!(socket instanceof net.Socket)) return;
    upgraded.add(socket);
    proxy.upgrade(req, socket, head);
  });
  const port = await listen(server);
  onCleanUp(() => {
    for (const socket of upgraded) socket.destroy();
  });
  return { url: `ws://127.0.0.1:${port}`, port, server, proxy, summaries };
}

export function connect(url: string, headers: Record<string, string> = {}): WebSocket {
  const socket = new WebSocket(url, { headers });
  onCleanUp(() => socket.terminate());
  return socket;
}

export async function opened(url: string, headers?: Record<string, string>): Promise<WebSocket> {
  const socket = connect(url, headers);
  await once(socket, 'open');
  return socket;
}

export async function echo(socket: WebSocket, message: string): Promise<string> {
  const answer = once(socket, 'message');
  socket.send(message);
  return String((await answer)[0]);
}

/** How a handshake failed. */
export async function failed(url: string): Promise<Error> {
  const socket = connect(url);
  return new Promise((resolve, reject) => {
    socket.once('error', resolve);
    socket.once('open', () => reject(new Error('it opened')));
  });
}

/** A handshake as it is on the wire. */
export function handshake(path = '/', fields: Record<string, string> = {}): string {
  const all = {
    Host: 'app.test',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...fields,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
