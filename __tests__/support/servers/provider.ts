import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Express } from 'express';
import type { SseProxyOptions, Usage } from '../../../lib/index.js';
import type { Provider, ProviderOptions } from '../../../lib/providers/index.js';
import { readText, request } from '../clients/http.js';
import { bytesOf, type Part, type ProviderAnswer } from '../streams/dialects.js';
import { closed, Queue } from '../watch/wait.js';
import { type ProxyUnderTest, proxyApp } from './proxies.js';
import { manualUpstream } from './upstreams.js';

/** The key that the proxy has. */
export const SERVERS_KEY = 'sk-servers';

/** A stand-in for any provider, whose answers the test gives part by part. */
interface StandIn {
  url: string;
  /** Resolves with the next request. */
  next(): Promise<Asked>;
}

interface Asked {
  req: IncomingMessage;
  body: string;
  res: ServerResponse;
  /** Sends the head. */
  start(answer: ProviderAnswer): void;
  send(parts: readonly Part[]): void;
  end(): void;
  /** Sends all of it. */
  give(answer: ProviderAnswer): void;
  /** With all that was sent on its way. */
  die(): void;
  /** The proxy has closed the connection. */
  closed: Promise<void>;
}

async function standIn(): Promise<StandIn> {
  const { url, requests } = await manualUpstream();
  return {
    url,
    async next() {
      const { req, res } = await requests.next();
      const start = ({ contentType }: ProviderAnswer): void =>
        res.writeHead(200, { 'content-type': contentType }).flushHeaders();
      return {
        req,
        body: await readText(req),
        res,
        start,
        send: (parts) => void res.write(bytesOf(parts)),
        end: () => void res.end(),
        give(answer) {
          start(answer);
          res.end(bytesOf(answer.parts));
        },
        die: () => void res.write('', () => res.destroy()),
        closed: closed(res),
      };
    },
  };
}

/** A provider at a stand-in, with a proxy in front of it. */
export interface ProxiedProvider {
  upstream: StandIn;
  proxy: ProxyUnderTest;
  /** What `onUsage` was called with. */
  usages: Queue<Usage>;
}

export async function proxiedProvider(
  create: (options: ProviderOptions) => Provider,
  options: SseProxyOptions = {},
  before?: (app: Express) => void,
): Promise<ProxiedProvider> {
  const upstream = await standIn();
  const usages = new Queue<Usage>();
  const provider = create({ target: upstream.url, apiKey: SERVERS_KEY });
  const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage), ...options }, before);
  return { upstream, proxy, usages };
}

/** Asks as a plain client does. */
export function post(url: string, body: string | Uint8Array = '{}', headers: object = {}): Promise<IncomingMessage> {
  return request(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
}
