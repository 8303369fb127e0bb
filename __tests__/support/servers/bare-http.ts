import { once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type Socket } from 'node:net';
import { Duplex, Writable } from 'node:stream';
import { onCleanUp } from '../watch/clean-up.js';
import { listen } from './listen.js';

export interface ServedRequest {
  req: IncomingMessage;
  res: ServerResponse;
  client: Socket;
  /** Resolves with all that the client has got once its connection has closed, and whether it was a reset. */
  closed(): Promise<{ text: string; reset: boolean }>;
}

/** Sends raw bytes to an HTTP server; resolves with what the server's listener is given. */
export async function receive(bytes: string): Promise<ServedRequest> {
  const server = http.createServer();
  const port = await listen(server);
  const client = net.connect(port, '127.0.0.1');
  onCleanUp(() => {
    client.destroy();
  });
  let text = '';
  let reset = false;
  client.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  client.on('error', (error: NodeJS.ErrnoException) => {
    reset = error.code === 'ECONNRESET';
  });
  const close = new Promise((resolve) => client.once('close', resolve));
  const requested = once(server, 'request');
  client.write(bytes, 'latin1');
  const [req, res] = (await requested) as [IncomingMessage, ServerResponse];
  return {
    req,
    res,
    client,
    closed: async () => {
      await close;
      return { text, reset };
    },
  };
}

/** A request with these header lines. */
export async function requestWith(lines: readonly string[], method = 'GET'): Promise<IncomingMessage> {
  return (await receive(`${method} /path HTTP/1.1\r\nHost: proxy.example\r\n${lines.join('\r\n')}\r\n\r\n`)).req;
}

/** A connection to nothing: takes what is written, and brings what is pushed. */
export function looseWire(): Duplex {
  return new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
}

/** A client request that is connected to nothing. */
export function unconnectedRequest(options: http.RequestOptions = {}): ClientRequest {
  const socket = looseWire();
  const request = http.request({ ...options, agent: undefined, createConnection: () => socket });
  request.on('error', () => {});
  onCleanUp(() => {
    request.destroy();
    socket.destroy();
  });
  return request;
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
