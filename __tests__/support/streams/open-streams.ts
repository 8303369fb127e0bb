import type { IncomingMessage, OutgoingHttpHeaders, RequestOptions, ServerResponse } from 'node:http';
import type { Express } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { keepAliveAgent, openRequest, readAll, request, responseTo } from '../clients/http.js';
import { type ProxyUnderTest, proxyApp } from '../servers/proxies.js';
import { manualUpstream, upstream } from '../servers/upstreams.js';
import type { Fixture } from './fixtures.js';

export interface OpenStream {
  proxy: ProxyUnderTest;
  /** The upstream's response: its head was sent. */
  res: ServerResponse;
  /** The connection to the upstream has closed. */
  upstreamClosed: Promise<void>;
  /** What the client got of it. */
  response: IncomingMessage;
}

/** A stream through the proxy that has begun, and that the test writes. */
export async function openStream(
  options: SseProxyOptions,
  {
    head,
    client,
    before,
  }: { head?: OutgoingHttpHeaders; client?: RequestOptions; before?: (app: Express) => void } = {},
): Promise<OpenStream> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options }, before);
  const req = openRequest(proxy.url, client);
  req.end();
  const { res, closed } = await requests.next();
  res.writeHead(200, { 'content-type': 'text/event-stream', ...head }).flushHeaders();
  return { proxy, res, upstreamClosed: closed, response: await responseTo(req) };
}

export interface Piecewise {
  proxy: ProxyUnderTest;
  /** Resolves with what the client gets where the stream is cut at these offsets. Each list of offsets once. */
  get(offsets: readonly number[]): Promise<Buffer>;
}

/** The offsets between any two bytes. */
export function everyOffset({ length }: Uint8Array): number[] {
  return Array.from({ length: length - 1 }, (_, i) => i + 1);
}

/** A proxy for a stream in pieces: the upstream sends the next piece when the proxy has read the last. */
export async function piecewise({ bytes, contentType }: Fixture, options: SseProxyOptions): Promise<Piecewise> {
  /** How much of the stream of this path was read, and who waits for that. */
  const reads = new Map<string, { size: number; wake: () => void }>();
  const { url } = await upstream(async (req, res) => {
    const read = { size: 0, wake: () => {} };
    reads.set(String(req.url), read);
    res.writeHead(200, { 'content-type': contentType });
    let from = 0;
    for (const to of [...JSON.parse(decodeURIComponent(String(req.url).slice(1))), bytes.length]) {
      res.write(bytes.subarray(from, to));
      while (read.size < to) {
        await new Promise<void>((resolve) => {
          read.wake = resolve;
        });
      }
      from = to;
    }
    res.end();
  });
  const proxy = await proxyApp({
    target: url,
    ...options,
    on: {
      proxyRes: (proxyRes, req) => {
        proxyRes.on('data', (chunk: Buffer) => {
          const read = reads.get(String(req.url));
          if (read === undefined) return;
          read.size += chunk.length;
          read.wake();
        });
      },
    },
  });
  const agent = keepAliveAgent();
  return {
    proxy,
    get: async (offsets) =>
      readAll(await request(`${proxy.url}/${encodeURIComponent(JSON.stringify(offsets))}`, { agent })),
  };
}
