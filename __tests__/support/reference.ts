import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http';
import https from 'node:https';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import express, { type Express } from 'express';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { generate } from 'selfsigned';
import { listen, readAll, request, type Upstream, upstream } from './servers.js';

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

let pair: Promise<{ key: string; cert: string }> | undefined;

/** A certificate for `localhost` and 127.0.0.1 that nobody trusts. */
export function certificate(): Promise<{ key: string; cert: string }> {
  pair ??= generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
        ],
      },
    ],
  }).then((made) => ({ key: made.private, cert: made.cert }));
  return pair;
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
export interface Received {
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
): Promise<Upstream & { received: Received[] }> {
  const { listener, received } = recording(answer);
  return { ...(await upstream(listener)), received };
}

/** The listener of {@link recorder}, for other servers. */
export function recording(answer: RequestListener): { listener: RequestListener; received: Received[] } {
  const received: Received[] = [];
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

/** A request that has ended: status, headers and the whole body as text. */
export async function exchange(
  url: string,
  options: http.RequestOptions & { body?: string | Uint8Array } = {},
): Promise<{ status: number | undefined; reason: string | undefined; headers: IncomingHttpHeaders; body: string }> {
  const response = await request(url, options);
  const body = (await readAll(response)).toString();
  return { status: response.statusCode, reason: response.statusMessage, headers: response.headers, body };
}

type HeaderValue = number | string | readonly string[];

/** The few members of a response that httpxy uses, on a plain Writable. */
export class PlainResponse extends Writable {
  statusCode = 0;
  statusMessage = '';
  headersSent = false;
  finished = false;
  readonly headers = new Map<string, HeaderValue>();
  readonly chunks: Buffer[] = [];

  setHeader(name: string, value: HeaderValue): void {
    this.headers.set(name, value);
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.chunks.push(chunk);
    callback();
  }

  get body(): string {
    return Buffer.concat(this.chunks).toString();
  }

  /** As http-proxy-middleware declares its parameter. */
  get asServerResponse(): ServerResponse {
    return this as unknown as ServerResponse;
  }
}

/** Runs an ES module in a process of its own, with this package's dependencies. */
export async function runModule(source: string): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [exitCode] = await closed;
  return { exitCode: Number(exitCode), stdout, stderr };
}

/** Waits for something that no event tells, but not for ever. */
export async function until(condition: () => boolean, patience = 4_000): Promise<void> {
  const end = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`Waited in vain for: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
