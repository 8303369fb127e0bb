import http, {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { readAll } from '../clients/http.js';
import { onCleanUp } from '../watch/clean-up.js';
import { closed, Queue } from '../watch/wait.js';
import { certificate } from './certificate.js';
import { listen } from './listen.js';

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

/** Responds with an event stream's head at once. */
export function eventStream(res: ServerResponse): ServerResponse {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  res.flushHeaders();
  return res;
}

export interface PendingRequest {
  req: IncomingMessage;
  res: ServerResponse;
  /** The connection that it came on has closed. */
  closed: Promise<void>;
}

/** An HTTP upstream whose requests the test answers one by one. */
export async function manualUpstream(): Promise<{ server: Server; url: string; requests: Queue<PendingRequest> }> {
  const requests = new Queue<PendingRequest>();
  const { server, url } = await upstream((req, res) => requests.push({ req, res, closed: closed(req.socket) }));
  return { server, url, requests };
}

/** The URL of an upstream that always answers so: with an event stream, unless the head says something else. */
export async function answeringUpstream(body: string | Buffer, head: OutgoingHttpHeaders = {}): Promise<string> {
  const { url } = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream', ...head }).end(body);
  });
  return url;
}

/** An HTTPS upstream with that certificate. */
export async function secureUpstream(listener: RequestListener): Promise<{ url: string; port: number; cert: string }> {
  const { key, cert } = await certificate();
  const server = https.createServer({ key, cert }, listener);
  const sockets = new Set<{ destroy(): void }>();
  server.on('secureConnection', (socket) => sockets.add(socket));
  const close = server.close.bind(server);
  server.close = (callback) => {
    for (const socket of sockets) socket.destroy();
    return close(callback);
  };
  const port = await listen(server);
  return { url: `https://127.0.0.1:${port}`, port, cert };
}

/** What an upstream was sent. */
export interface RecordedRequest {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  rawHeaders: string[];
  body: Buffer;
  /** Tells connections apart. */
  clientPort: number | undefined;
}

/** An upstream that keeps what it was sent, in order, and answers once it has the whole of it. */
export async function recorder(
  answer: RequestListener = (_req, res) => res.end('ok'),
): Promise<Upstream & { received: RecordedRequest[] }> {
  const { listener, received } = recording(answer);
  return { ...(await upstream(listener)), received };
}

/** The listener of {@link recorder}, for other servers. */
export function recording(answer: RequestListener): { listener: RequestListener; received: RecordedRequest[] } {
  const received: RecordedRequest[] = [];
  const listener: RequestListener = (req, res) => {
    const { method = '', url = '', headers, rawHeaders, socket } = req;
    readAll(req).then(
      (body) => {
        received.push({ method, url, headers, rawHeaders, body, clientPort: socket.remotePort });
        answer(req, res);
      },
      () => {},
    );
  };
  return { listener, received };
}
