import http, { type IncomingMessage } from 'node:http';
import type https from 'node:https';
import net from 'node:net';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import type { SseProxy, SseProxyOptions, StreamSummary } from '../../../lib/index.js';
import { onCleanUp } from '../watch/clean-up.js';
import type { Queue } from '../watch/wait.js';
import { listen } from './listen.js';
import { recordedProxy } from './proxies.js';

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
  const { proxy, summaries } = recordedProxy(options);
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
