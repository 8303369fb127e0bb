import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import type { CostContext, SseProxyOptions, StreamSummary, Usage } from '../../../lib/index.js';
import * as providers from '../../../lib/providers/index.js';
import { openRequest, readUntilCut, responseTo } from '../clients/http.js';
import type { Vendor } from '../streams/drawn-answers.js';
import { signal, turns } from '../watch/wait.js';
import { SERVERS_KEY as apiKey } from './provider.js';
import { type ProxyUnderTest, proxyApp } from './proxies.js';
import { upstream } from './upstreams.js';

export const CODINGS = {
  plain: undefined,
  gzip: () => zlib.createGzip(),
  deflate: () => zlib.createDeflate(),
  // Of its default quality it would take most of the time of these tests.
  br: () => zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
};
export type Coding = keyof typeof CODINGS;

/** How the upstream's answer ends behind the bytes that are sent, or the client leaves it when it has them. */
export type End = 'ended' | 'cut' | 'left' | 'read on';

/** What becomes of a request before it is answered. */
export type Way = 'at once' | 'retried' | 'by a fallback';

/** One exchange whose account is to be told. */
export interface AccountedExchange {
  vendor: Vendor;
  path: string;
  request: object;
  contentType: string;
  coding: Coding;
  /** The client accepts the coding, so that the answer passes as it is. */
  isAccepted: boolean;
  bytes: Buffer;
  /** What is sent when the client has left, where the answer is read on. */
  rest?: Buffer;
  end: End;
  way: Way;
  /** The largest piece in which the answer is sent. */
  piece: number;
  /** `limits.eventSize`: above it an event is not held. */
  eventSize: number;
}

/** What was told of one, by each hook. */
export interface Told {
  usages: Usage[];
  summaries: StreamSummary[];
  costs: [Usage, CostContext][];
}

export const FALLBACK_MODEL = 'fallback-model';
export const FIRST = 'first';

const token = (): string => SERVERS_TOKEN;
const SERVERS_TOKEN = 'ya29.servers';

function providerOf(vendor: Vendor, target: string, includeUsage = false): providers.Provider {
  switch (vendor) {
    case 'openai':
      return providers.openai({ target, apiKey, includeUsage });
    case 'compatible':
      return providers.openaiCompatible({ name: 'compatible', target, apiKey });
    case 'vertex':
      return providers.vertex({ project: 'p', location: 'l', token, target });
    case 'bedrock':
      return providers.bedrock({ region: 'us-east-1', apiKey, target });
    case 'azureOpenAI':
      return providers.azureOpenAI({ apiKey, target });
    default:
      // biome-ignore lint/performance/noDynamicNamespaceImportAccess: nobody bundles tests
      return providers[vendor]({ target, apiKey });
  }
}

/** The name of a vendor's provider, as it is told. */
export const nameOf = (vendor: Vendor): string => providerOf(vendor, 'http://127.0.0.1:1').name;

/** An amount to which each figure adds another one. */
export function costOf(usage: Omit<Usage, 'complete'>): number {
  const { inputTokens = 0, outputTokens = 0, cachedInputTokens = 0, reasoningTokens = 0 } = usage;
  return 2 * inputTokens + 7 * outputTokens + 3 * cachedInputTokens + 5 * reasoningTokens;
}

/** The bytes in their coding, such that what was sent first can be decoded before the rest comes. */
async function encoded({ coding, bytes, rest, end }: AccountedExchange): Promise<[Buffer, Buffer]> {
  const coder = CODINGS[coding]?.();
  if (coder === undefined) return [bytes, rest ?? Buffer.alloc(0)];
  let chunks: Buffer[] = [];
  const taken = (): Buffer => {
    const all = Buffer.concat(chunks);
    chunks = [];
    return all;
  };
  coder.on('data', (chunk: Buffer) => chunks.push(chunk));
  const write = promisify(coder.write.bind(coder) as (data: Buffer, done: (error?: Error | null) => void) => void);
  const finish = (): Promise<void> => new Promise((resolve) => void coder.once('end', resolve).end());
  await write(bytes);
  if (end === 'ended') {
    await finish();
    return [taken(), Buffer.alloc(0)];
  }
  await new Promise<void>((resolve) => coder.flush(() => resolve()));
  const first = taken();
  if (rest !== undefined) {
    await write(rest);
    await finish();
  }
  return [first, taken()];
}

/** Runs these exchanges, some at a time, and gives what was told of each. */
export async function accountsOf(exchanges: readonly AccountedExchange[]): Promise<Told[]> {
  const told = exchanges.map((): Told => ({ usages: [], summaries: [], costs: [] }));
  const codes = await Promise.all(exchanges.map(encoded));
  const isTold = exchanges.map(() => signal());
  const hasLeft = exchanges.map(() => signal());
  const attempts = exchanges.map(() => 0);
  const indexOf = (req: IncomingMessage): number => Number(req.headers['x-case']);

  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const index = indexOf(req);
    const { contentType, coding, end, way, piece } = exchanges[index] as AccountedExchange;
    attempts[index] = (attempts[index] as number) + 1;
    if (way !== 'at once' && attempts[index] === 1) {
      res
        .writeHead(503, { 'content-type': 'application/json' })
        .end('{"error":{"message":"Busy.","type":"overloaded"}}');
      return;
    }
    const [first, rest] = codes[index] as [Buffer, Buffer];
    const head: OutgoingHttpHeaders = { 'content-type': contentType };
    if (coding !== 'plain') head['content-encoding'] = coding;
    res.writeHead(200, head).flushHeaders();
    const send = async (bytes: Buffer): Promise<void> => {
      for (let at = 0; at < bytes.length; at += piece) {
        res.write(bytes.subarray(at, at + piece));
        await turns(1);
      }
    };
    await send(first);
    if (end === 'ended') res.end();
    if (end === 'cut') res.write('', () => setImmediate(() => res.destroy()));
    if (end !== 'read on') return;
    await hasLeft[index]?.promise;
    await send(rest);
    res.end();
  };
  const { server, url } = await upstream((req, res) => void req.resume().once('end', () => void answer(req, res)));
  // On a busy machine a pooled connection may be idle for long: one that had closed would be an attempt more.
  server.keepAliveTimeout = 120_000;

  const proxies = new Map<string, Promise<ProxyUnderTest>>();
  const proxyFor = ({ vendor, way, end, eventSize }: AccountedExchange): Promise<ProxyUnderTest> => {
    // Such a client waits until it has all bytes: none may be taken out, or held back for an error event.
    const leaves = end === 'left' || end === 'read on';
    const key = [vendor, way === 'by a fallback', leaves && end, eventSize].join();
    const provider = providerOf(vendor, url, !leaves);
    const first = providers.openaiCompatible({ name: FIRST, target: url, apiKey });
    const next = { provider, model: FALLBACK_MODEL };
    const options: SseProxyOptions = {
      // A list would have a circuit breaker.
      ...(way === 'by a fallback'
        ? { provider: first, fallbacks: (_failed, { attempts: { length } }) => (length === 1 ? next : undefined) }
        : { provider, retry: { maxRetries: 1, minTimeout: 1, maxTimeout: 1 } }),
      onClientClose: end === 'read on' ? 'continue' : 'abort',
      ...(leaves && { truncation: 'destroy' as const }),
      limits: { eventSize },
      requestHeaders: { pass: ['x-case'] },
      cost: (usage, context) => {
        waitingCosts.push([usage, context]);
        return costOf(usage);
      },
      onUsage: (usage, { req }) => {
        told[indexOf(req)]?.usages.push(usage);
        // It is asked right before.
        told[indexOf(req)]?.costs.push(...waitingCosts.splice(0));
      },
      onFinish: (summary, { req }) => {
        told[indexOf(req)]?.summaries.push(summary);
        isTold[indexOf(req)]?.resolve();
      },
    };
    const proxy = proxies.get(key) ?? proxyApp(options);
    proxies.set(key, proxy);
    return proxy;
  };
  const waitingCosts: [Usage, CostContext][] = [];

  const ask = async (exchange: AccountedExchange, index: number): Promise<void> => {
    const { url: front } = await proxyFor(exchange);
    const { coding, isAccepted, path, request, end, bytes } = exchange;
    const accepts = coding !== 'plain' && isAccepted ? { 'accept-encoding': coding } : {};
    const headers = { 'x-case': String(index), 'content-type': 'application/json', ...accepts };
    const req = openRequest(front + path, { method: 'POST', headers });
    req.end(JSON.stringify(request));
    const response = await responseTo(req);
    if (end === 'left' || end === 'read on') {
      const isCoded = response.headers['content-encoding'] !== undefined;
      const expected = isCoded ? (codes[index] as [Buffer, Buffer])[0].length : bytes.length;
      const closed = new Promise((resolve) => req.once('close', resolve));
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length >= expected) req.destroy();
      });
      await closed;
      hasLeft[index]?.resolve();
    } else {
      await readUntilCut(response);
    }
    await isTold[index]?.promise;
  };
  const waiting = exchanges.map((exchange, index) => ({ exchange, index }));
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await ask(next.exchange, next.index);
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return told;
}
