import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage, RequestListener, RequestOptions, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { ErrorRequestHandler } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import {
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  openaiCompatible,
  type Provider,
} from '../../../lib/providers/index.js';
import {
  keepAliveAgent,
  openRequest,
  readAll,
  reader,
  readText,
  readUntilCut,
  request,
  responseTo,
} from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { closedPort } from '../../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import {
  manualUpstream,
  type RecordedRequest,
  rawUpstream,
  recorder,
  recording,
  secureUpstream,
  upstream,
} from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest, realProcess } from '../../support/watch/process.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const KEY = 'sk-7Qz9LmXw2RtYbN4v';
const hidden = (text: string, key = KEY): string => text.replaceAll(key, '*'.repeat(key.length));

type Create = (options: { target: string; apiKey: string }) => Provider;

const PROVIDERS: [name: string, create: Create][] = [
  ['openai', openai],
  ['anthropic', anthropic],
  ['gemini', gemini],
  ['mistral', mistral],
  ['ollama', ollama],
  ['openaiCompatible', (options) => openaiCompatible({ name: 'vllm', ...options })],
];

const providerAt = (target: string): Provider => openai({ target, apiKey: KEY });

/** What an upstream may say back: the field in which it got the key. */
function echoOf({ headers }: IncomingMessage, key = KEY): string {
  const found = Object.entries(headers).find(([, value]) => String(value).includes(key));
  return `${found?.[0]}: ${found?.[1]}`;
}

/** No eight bytes of the key, as they are or as the bytes of a buffer are shown. */
function expectNoneIn(text: string, key = KEY): void {
  for (let at = 0; at + 8 <= key.length; at += 1) {
    const bytes = Buffer.from(key.slice(at, at + 8));
    const hex = bytes.toString('hex');
    for (const form of [
      bytes.toString(),
      hex,
      hex.replace(/..(?!$)/g, '$& '),
      [...bytes].join(),
      [...bytes].join(', '),
    ]) {
      // Not the matcher's, which would print all of it.
      const found = text.indexOf(form);
      if (found >= 0) expect(text.slice(Math.max(0, found - 500), found + 100)).not.toContain(form);
    }
  }
}

/** All that a client gets of an answer. */
async function answerTo(url: string, { body, ...options }: RequestOptions & { body?: string } = {}): Promise<string> {
  const hints: string[] = [];
  const req = openRequest(url, options).on('information', ({ rawHeaders }) => hints.push(...rawHeaders));
  const response = await responseTo(req.end(body));
  const { body: bytes } = await readUntilCut(response);
  const { statusCode, statusMessage, rawHeaders, rawTrailers } = response;
  return [...hints, statusCode, statusMessage, ...rawHeaders, bytes.toString('latin1'), ...rawTrailers].join('\n');
}

describe.each(PROVIDERS)('the key of %s is not in', (_name, create) => {
  const errorEvent = (message: string): string =>
    `event: error\ndata: ${JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', code: 400, message } })}\n\n`;
  const PLACES: [place: string, reply: (res: ServerResponse, echo: string) => void, options?: RequestOptions][] = [
    ['a header field', (res, echo) => res.setHeader('x-echo', echo).end()],
    ['the lines of a header field', (res, echo) => res.setHeader('x-echo', ['a', echo]).end()],
    ['a reason phrase', (res, echo) => res.writeHead(200, echo).end()],
    ['a redirect', (res, echo) => res.writeHead(302, { location: `/?${echo}` }).end()],
    [
      'Early Hints',
      (res, echo) => {
        res.writeEarlyHints({ link: `</${echo}>; rel=preload`, 'x-echo': echo });
        res.end();
      },
    ],
    ...[400, 401, 429, 500].map((status): [string, (res: ServerResponse, echo: string) => void] => [
      `the body of a ${status}`,
      (res, echo) => res.writeHead(status, { 'content-type': 'text/plain' }).end(`wrong: ${echo}`),
    ]),
    [
      'a JSON error',
      (res, echo) => res.writeHead(401, { 'content-type': 'application/json' }).end(JSON.stringify({ error: echo })),
    ],
    [
      'an event stream that is an error',
      (res, echo) => res.writeHead(400, { 'content-type': 'text/event-stream' }).end(errorEvent(echo)),
    ],
    [
      'an error in the place of the first event',
      (res, echo) => res.writeHead(200, { 'content-type': 'text/event-stream' }).end(errorEvent(echo)),
    ],
    [
      'the trailers of an error',
      (res, echo) => {
        res.writeHead(400, { trailer: 'x-echo' }).write('wrong');
        res.addTrailers({ 'x-echo': echo });
        res.end();
      },
    ],
    [
      'an answer to TRACE',
      (res, echo) => res.writeHead(200, { 'content-type': 'message/http' }).end(`TRACE / HTTP/1.1\r\n${echo}\r\n\r\n`),
      { method: 'TRACE' },
    ],
  ];

  it.each(PLACES)('secret masking: no key in %s', async (_place, reply, ...[options]) => {
    const echoes: string[] = [];
    const { url } = await upstream((req, res) => {
      const echo = echoOf(req);
      echoes.push(echo);
      reply(res, echo);
    });
    const provider = create({ target: url, apiKey: KEY });
    const proxy = await proxyApp({ provider, commit: 'first-event', responseHeaders: { pass: ['*'] } });
    const answer = await answerTo(proxy.url, options);
    expect(echoes).toEqual([expect.stringContaining(KEY)]);
    expect(answer).toContain(hidden(String(echoes)));
    expectNoneIn(answer);
  });
});

describe('an error of the upstream', () => {
  it('secret masking: an error of the upstream arrives as it comes, wherever the key is split', async () => {
    const requests = new Queue<ServerResponse>();
    const { url } = await upstream((_req, res) => requests.push(res));
    const proxy = await proxyApp({ provider: providerAt(url) });
    for (let at = 1; at < KEY.length; at += 1) {
      const coming = request(proxy.url);
      const res = await requests.next();
      res.writeHead(400).write(`wrong: ${KEY.slice(0, at)}`);
      const response = await coming;
      const client = reader(response);
      expect(await client.until(': ')).toBe('wrong: ');
      res.write(`${KEY.slice(at)}. Rig`);
      expect(await client.until('Rig')).toBe(`${hidden(KEY)}. Rig`);
      res.end('ht');
      expect(await client.until('ht')).toBe('ht');
    }
  });

  it('secret masking: an error of the upstream keeps its length, and the connection that it came on', async () => {
    const body = `wrong: ${KEY}`;
    const { url } = await upstream((_req, res) => res.writeHead(401, { 'content-length': body.length }).end(body));
    const proxy = await proxyApp({ provider: providerAt(url) });
    const agent = keepAliveAgent(1);
    for (const isReused of [false, true]) {
      const req = openRequest(proxy.url, { agent }).end();
      const response = await responseTo(req);
      expect(response.headers['content-length']).toBe(String(body.length));
      expect(await readText(response)).toBe(hidden(body));
      expect(req.reusedSocket).toBe(isReused);
    }
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('secret masking: an error of the upstream is decoded although the client takes %s', async (coding, encode) => {
    const body = encode(`wrong: ${KEY}`);
    const head = { 'content-encoding': coding, 'content-length': body.length };
    const { url } = await upstream((_req, res) => res.writeHead(400, head).end(body));
    const proxy = await proxyApp({ provider: providerAt(url) });
    const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
    expect(response.statusCode).toBe(400);
    expect(response.headers).not.toHaveProperty('content-encoding');
    expect(await readText(response)).toBe(hidden(`wrong: ${KEY}`));
  });

  it('secret masking: an error of the upstream is decoded only once where its events are read', async () => {
    const body = gzipSync(`data: ${KEY}\n\n`);
    const head = { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' };
    const { url } = await upstream((_req, res) => res.writeHead(400, head).end(body));
    const events: string[] = [];
    const proxy = await proxyApp({ provider: providerAt(url), onEvent: ({ data }) => events.push(data) });
    expect(await readText(await request(proxy.url))).toBe(hidden(`data: ${KEY}\n\n`));
    await proxy.summary();
    expect(events).toEqual([hidden(KEY)]);
  });

  it('secret masking: an error of the upstream passes in an unknown coding where there is no key to be found', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(400, { 'content-encoding': 'zz' }).end('zz'));
    const proxy = await proxyApp({ provider: ollama({ target: url }) });
    const response = await request(proxy.url);
    expect([response.statusCode, response.headers['content-encoding']]).toEqual([400, 'zz']);
    expect(await readText(response)).toBe('zz');
  });

  it('secret masking: an error of the upstream has no key when the retries are spent, nor that of a fallback when that has failed, too', async () => {
    const other = 'sk-of-the-fallback-K4v';
    const first = await upstream((req, res) => res.writeHead(429).end(echoOf(req)));
    const second = await upstream((req, res) =>
      res.writeHead(500, { 'x-echo': echoOf(req, other) }).end(echoOf(req, other)),
    );
    const retry = { maxRetries: 1, minTimeout: 1 };
    const alone = await proxyApp({ provider: providerAt(first.url), retry });
    expect(await readText(await request(alone.url))).toBe(hidden(`authorization: Bearer ${KEY}`));
    expect((await alone.summary()).attempts).toHaveLength(2);

    const fallbacks = [{ provider: anthropic({ target: second.url, apiKey: other }) }];
    const proxy = await proxyApp({ provider: providerAt(first.url), retry, fallbacks });
    const response = await request(proxy.url);
    const expected = hidden(`x-api-key: ${other}`, other);
    expect([response.statusCode, response.headers['x-echo']]).toEqual([500, expected]);
    expect(await readText(response)).toBe(expected);
    expect((await proxy.summary()).attempts).toHaveLength(4);
  });
});

// What a model says is not for a proxy to change: its bytes arrive as they are.
describe('a good answer is not searched:', () => {
  const body = Buffer.from(`data: ${KEY}\n\n`);

  it.each([
    ['a stream', 'text/event-stream', body, {}],
    ['JSON', 'application/json', Buffer.from(JSON.stringify(KEY)), {}],
    ['what is compressed', 'application/json', gzipSync(JSON.stringify(KEY)), { 'content-encoding': 'gzip' }],
  ])('secret masking: a good answer is not searched: %s', async (_what, type, bytes, head) => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'content-type': type, ...head }).end(bytes));
    const proxy = await proxyApp({ provider: providerAt(url) });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
    expect(response.headers).toMatchObject(head);
    expect((await readAll(response)).equals(bytes)).toBe(true);
  });
});

/** Node 20 and 22 keep Jest's own context in what a test makes, where `inspect` would find every test of this file. */
const outsideOfTest = AsyncResource.bind(<T>(callback: () => T): T => callback());

/** As much of a value as can be had, by `inspect` and as JSON. */
function shown(value: unknown): string {
  const all = { depth: 20, showHidden: true, maxStringLength: null, maxArrayLength: null, breakLength: Infinity };
  const seen = new WeakSet();
  const json = JSON.stringify(value, (_name, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null) return inner;
    if (seen.has(inner)) return undefined;
    seen.add(inner);
    return inner;
  });
  return `${inspect(value, all)} ${json}`;
}

interface Witness {
  /** Of a proxy that tells it everything. */
  options: SseProxyOptions;
  /** Of an Express app that does so, too. */
  errorMiddleware: ErrorRequestHandler;
  tell: (where: string) => (...values: unknown[]) => void;
  /** By where it was said. */
  said: [where: string, what: string][];
}

/** Until the end of the test. */
function replace<T extends object, K extends keyof T>(object: T, name: K, value: T[K]): void {
  const original = object[name];
  object[name] = value;
  onCleanUp(() => {
    object[name] = original;
  });
}

/** Keeps what a proxy says to whoever is not its client: hooks, listeners, loggers, and the terminal. */
function witness(): Witness {
  const said: [string, string][] = [];
  const tell =
    (where: string) =>
    (...values: unknown[]): void => {
      for (const value of values) said.push([where, shown(value)]);
    };
  for (const level of ['log', 'info', 'warn', 'error'] as const) replace(console, level, tell('console'));
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = realProcess[name];
    const write = stream.write.bind(stream);
    replace(stream, 'write', ((...args: Parameters<typeof write>) => {
      said.push([name, String(args[0])]);
      return write(...args);
    }) as typeof write);
  }
  const options: SseProxyOptions = {
    logger: { info: tell('logger'), warn: tell('logger'), error: tell('logger') },
    onFinish: tell('onFinish'),
    on: {
      start: (_req, _res, target) => tell('start')(target),
      // By its parameters it does not answer, and is not waited for.
      error: (...[error, , , target]) => tell('error')(error, target),
      econnreset: (error, _req, _res, target) => tell('econnreset')(error, target),
    },
  };
  const errorMiddleware: ErrorRequestHandler = (error, _req, res, _next) => {
    tell('next')(error);
    res.status(502).end('next');
  };
  return { options, errorMiddleware, tell, said };
}

function expectNoneSaid(said: Witness['said'], key = KEY): void {
  for (const [where, what] of said) {
    try {
      expectNoneIn(what, key);
    } catch (error) {
      throw new Error(`Said to ${where}`, { cause: error });
    }
  }
}

const witnessed = (options: SseProxyOptions): Promise<ProxyUnderTest> => outsideOfTest(() => proxyApp(options));

describe('what is said to hooks, listeners and loggers has no key', () => {
  it.each(PROVIDERS)(
    'secret masking: no key in what hooks, listeners and loggers are told of %s',
    async (_name, create) => {
      const { url, received } = await recorder((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: {}\n\n');
      });
      const { options, tell, said } = witness();
      const provider = create({ target: url, apiKey: KEY });
      const proxy = await witnessed({
        provider,
        ...options,
        rewriteHeaders: tell('rewriteHeaders'),
        transformEvent: (_event, exchange) => tell('transformEvent')(exchange),
        onEvent: (_event, exchange) => tell('onEvent')(exchange),
        onUsage: tell('onUsage'),
        on: {
          ...options.on,
          proxyReq: tell('proxyReq'),
          proxyRes: (proxyRes) => tell('proxyRes')(proxyRes),
        },
      });
      await answerTo(proxy.url, { method: 'POST', body: '{}' });
      await proxy.summary();
      expect(JSON.stringify(received)).toContain(KEY);
      const places = [
        'start',
        'proxyReq',
        'proxyRes',
        'rewriteHeaders',
        'transformEvent',
        'onEvent',
        'onUsage',
        'onFinish',
        'logger',
      ];
      expect(said.map(([where]) => where)).toEqual(expect.arrayContaining(places));
      expectNoneSaid([...said, ['provider', shown(provider)], ['proxy', shown(proxy.proxy)]]);
    },
  );

  it('secret masking: no key in what hooks, listeners and loggers are told while the request is still on its way', async () => {
    const { url, requests } = await manualUpstream();
    const { options, tell, said } = witness();
    const onEvent: SseProxyOptions['onEvent'] = (_event, exchange) => tell('onEvent')(exchange);
    const proxy = await witnessed({ provider: providerAt(url), ...options, onEvent });
    const client = openRequest(proxy.url, { method: 'POST', headers: { 'content-length': 4 } });
    client.write('ab');
    const { req, res } = await requests.next();
    expect(echoOf(req)).toContain(KEY);
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {}\n\n');
    const response = await responseTo(client);
    await reader(response).until('\n\n');
    client.end('cd');
    res.end();
    await proxy.summary();
    expect(said.map(([where]) => where)).toContain('onEvent');
    expectNoneSaid(said);
  });
});

it('secret masking: a hook that cannot read a good answer has what it says of that logged without the key', async () => {
  const { url } = await upstream((req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${echoOf(req).slice(-KEY.length)}\n\n`);
  });
  const { options, said } = witness();
  const onEvent: SseProxyOptions['onEvent'] = ({ data }) => JSON.parse(data);
  const proxy = await witnessed({ provider: providerAt(url), ...options, onEvent });
  expect(await answerTo(proxy.url)).toContain(`data: ${KEY}`);
  await proxy.summary();
  expect(said).toContainEqual(['logger', expect.stringContaining('onEvent failed')]);
  expect(said).toContainEqual(['logger', expect.stringContaining(hidden(KEY))]);
  expectNoneSaid(said);
});

describe('a failure shows no key, neither to the client nor to anybody else:', () => {
  /** An upstream whose answer is made of the field in which the key came. */
  const answering = async (answer: (echo: string) => string): Promise<string> => {
    const { url } = await rawUpstream((socket, asked) => {
      const echo = asked.split('\r\n').find((line) => line.includes(KEY));
      socket.end(echo === undefined ? 'HTTP/1.1 200 No key\r\n\r\n' : answer(echo));
    });
    return url;
  };
  const answer = (text: (echo: string) => string) => () => answering(text);
  const refusing = async (): Promise<string> => `http://127.0.0.1:${await closedPort()}`;
  const OK = 'HTTP/1.1 200 OK\r\n';
  const BAD = 'HTTP/1.1 400 Bad Request\r\n';
  const STREAM = 'Content-Type: text/event-stream\r\n\r\n';
  const FOUND = 'HTTP/1.1 302 Found\r\nLocation: ';
  const failingHook = (): never => {
    throw new Error('The hook has failed');
  };

  const FAILURES: [what: string, code: string | undefined, target: () => Promise<string>, options?: SseProxyOptions][] =
    [
      ['no HTTP', 'UPSTREAM_INVALID_RESPONSE', answer((echo) => `${echo}\r\n\r\n`)],
      ['a status line that is none', 'UPSTREAM_INVALID_RESPONSE', answer((echo) => `HTTP/1.1 ${echo}\r\n\r\n`)],
      [
        'a field that is none',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `${OK}X-Echo: ${echo}\r\nno field\r\n\r\n`),
      ],
      [
        'a field that is too long',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `${OK}X-Echo: ${echo.repeat(500)}\r\n\r\n`),
      ],
      ['a length that is none', 'UPSTREAM_INVALID_RESPONSE', answer((echo) => `${OK}Content-Length: ${echo}\r\n\r\n`)],
      [
        'a status below 200',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `HTTP/1.1 099 ${echo}\r\nX-Echo: ${echo}\r\n\r\n`),
      ],
      [
        'a switch of protocols',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `HTTP/1.1 101 ${echo}\r\nConnection: upgrade\r\nUpgrade: ${echo}\r\n\r\n`),
      ],
      [
        'a chunk without a size',
        'UPSTREAM_TRUNCATED',
        answer((echo) => `${OK}Transfer-Encoding: chunked\r\n\r\n${echo}\r\n`),
      ],
      [
        'a chunk without a size in an error',
        'UPSTREAM_TRUNCATED',
        answer((echo) => `${BAD}Transfer-Encoding: chunked\r\n\r\n${echo}\r\n`),
      ],
      ['a head that breaks off', 'UPSTREAM_CLOSED', answer((echo) => `${OK}X-Echo: ${echo}`)],
      [
        'an error that breaks off in the middle of the key',
        'UPSTREAM_TRUNCATED',
        answer((echo) => `${BAD}Content-Length: 100\r\n\r\n${echo.slice(0, -1)}`),
      ],
      [
        'an error in a coding that it does not have',
        'UPSTREAM_TRUNCATED',
        answer((echo) => `${BAD}Content-Encoding: gzip\r\n\r\n${echo}`),
      ],
      ['an error in an unknown coding', undefined, answer((echo) => `${BAD}Content-Encoding: zz\r\n\r\n${echo}`)],
      ['an error in two codings', undefined, answer((echo) => `${BAD}Content-Encoding: gzip, br\r\n\r\n${echo}`)],
      [
        'a Location to follow that is none',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `${FOUND}http://[${echo}\r\n\r\n`),
        { followRedirects: true },
      ],
      [
        'a Location to rewrite that is none',
        'UPSTREAM_INVALID_RESPONSE',
        answer((echo) => `${FOUND}http://[${echo}\r\n\r\n`),
        { autoRewrite: true },
      ],
      [
        'an error in the place of the first event',
        'UPSTREAM_ERROR_EVENT',
        answer((echo) => `${OK}${STREAM}data: ${JSON.stringify({ error: echo })}\n\n`),
        { commit: 'first-event' },
      ],
      [
        'an event at which a hook fails',
        'HOOK_FAILED',
        answer((echo) => `${OK}${STREAM}data: ${echo.slice(-KEY.length)}\n\n`),
        { transformEvent: ({ data }) => JSON.parse(data) },
      ],
      [
        'a listener that fails',
        'HOOK_FAILED',
        answer((echo) => `${OK}X-Echo: ${echo}\r\n\r\n`),
        { on: { proxyRes: ({ headers }) => JSON.parse(String(headers['x-echo']).slice(-KEY.length)) } },
      ],
      [
        'a hook that fails',
        'HOOK_FAILED',
        answer((echo) => `${OK}X-Echo: ${echo}\r\n\r\n`),
        { rewriteHeaders: failingHook },
      ],
      ['a listener that fails at the request', 'HOOK_FAILED', refusing, { on: { proxyReq: failingHook } }],
      ['an upstream that refuses', 'UPSTREAM_UNREACHABLE', refusing],
      [
        'an upstream that does not answer',
        'UPSTREAM_TIMEOUT',
        async () => (await rawUpstream(() => {})).url,
        { timeouts: { headers: 50 } },
      ],
      [
        'an upstream without TLS',
        'UPSTREAM_TLS_FAILED',
        async () => (await answering(() => OK)).replace('http:', 'https:'),
      ],
    ];

  describe.each(['respond', 'next'] as const)('with onError: %j', (onError) => {
    it.each(FAILURES)('secret masking: a failure shows no key: %s', async (_what, code, makeTarget, ...[own]) => {
      const { options, errorMiddleware, said } = witness();
      const on = { ...options.on, ...own?.on };
      const proxy = await witnessed({ provider: providerAt(await makeTarget()), onError, ...options, ...own, on });
      proxy.app.use(errorMiddleware);
      const answer = await answerTo(proxy.url);
      const summary = await proxy.summary();
      expect(summary.error?.code).toBe(code);
      expectNoneIn(answer);
      expectNoneSaid([...said, ['summary', shown(summary)], ['cause', shown(summary.error?.cause)]]);
    });
  });

  it.each([
    ['refuses', refusing, {}],
    ['sends a Location that is none', answer(() => `${FOUND}http://[\r\n\r\n`), { followRedirects: true }],
    ['redirects to where nobody is', answer(() => `${FOUND}//127.0.0.1:1/\r\n\r\n`), { followRedirects: true }],
    ['answers', answer(() => `${OK}\r\n`), {}],
  ])('secret masking: a failure shows no key: the password in a target that %s', async (_what, makeTarget, own) => {
    const password = 'pw-7Qz9LmXw2RtYbN4v';
    const target = (await makeTarget()).replace('//', `//user:${password}@`);
    const { options, said } = witness();
    for (const route of [{ target }, { target: new URL(target) }, { router: () => target }]) {
      const proxy = await witnessed({ provider: providerAt(target), ...options, ...own, ...route });
      expectNoneIn(await answerTo(proxy.url), password);
      expectNoneIn(shown(await proxy.summary()), password);
    }
    expect(said.map(([where]) => where)).toEqual(expect.arrayContaining(['start', 'onFinish']));
    expectNoneSaid(said, password);
  });
});

describe('a redirect that is followed', () => {
  const OWN = { 'x-own': 'secret-of-the-options', 'api-key': 'secret-of-the-options' };
  const SET = { 'x-set': 'secret-of-the-policy' };
  const ACCOUNT = 'secret-of-the-account';
  const providerAt = (target: string): Provider => openai({ target, apiKey: KEY, organization: ACCOUNT });
  const CALLERS = {
    authorization: 'Bearer secret-of-the-caller',
    'x-api-key': 'secret-of-the-caller',
    'x-goog-api-key': 'secret-of-the-caller',
    cookie: 'session=secret-of-the-caller',
    referer: 'http://secret-of-the-caller/',
    'x-forwarded-for': 'secret-of-the-caller',
  };
  const following = (provider: Provider, options: SseProxyOptions = {}): Promise<ProxyUnderTest> =>
    proxyApp({
      provider,
      followRedirects: true,
      secure: false,
      headers: OWN,
      requestHeaders: { set: SET },
      ...options,
    });

  /** A path that leads to these origins, one after the other; an empty one is the one that it leads from. */
  const way = (status: number, ...origins: string[]): string =>
    `/${Buffer.from(JSON.stringify([status, ...origins])).toString('base64url')}`;
  const guide: RequestListener = ({ url = '' }, res) => {
    const [status, next, ...rest] = JSON.parse(Buffer.from(url.slice(1), 'base64url').toString());
    if (next === undefined) res.end('there');
    else res.writeHead(status, { location: next + way(status, ...rest) }).end();
  };
  const ask = async (url: string, headers: object = {}): Promise<void> => {
    const answer = await answerTo(url, { method: 'POST', body: '{}', headers: { ...CALLERS, ...headers } });
    expect(answer).toMatch(/^200\n[\s\S]*there/);
  };

  function expectAllOfOurs({ headers, rawHeaders }: RecordedRequest): void {
    expect(rawHeaders.join()).toContain(KEY);
    expect(headers).toMatchObject({ ...OWN, ...SET });
    expect(rawHeaders.join()).not.toContain('secret-of-the-caller');
  }

  function expectNothingOfOurs({ rawHeaders }: RecordedRequest): void {
    expectNoneIn(rawHeaders.join());
    expect(rawHeaders.join()).not.toContain('secret');
  }

  describe.each([301, 302, 303, 307, 308])('with a %i', (status) => {
    it('secrets and redirects: a redirect takes the key along on the same origin', async () => {
      const { url, received } = await recorder(guide);
      const proxy = await following(providerAt(url));
      await ask(proxy.url + way(status, '', url));
      expect(received.map((request) => request.url)).toEqual([way(status, '', url), way(status, url), way(status)]);
      received.forEach(expectAllOfOurs);
    });

    it('secrets and redirects: a redirect does not take the key along to another origin', async () => {
      const [first, other] = [await recorder(guide), await recorder(guide)];
      const proxy = await following(providerAt(first.url));
      await ask(proxy.url + way(status, other.url));
      expect([first.received.length, other.received.length]).toEqual([1, 1]);
      first.received.forEach(expectAllOfOurs);
      other.received.forEach(expectNothingOfOurs);
    });

    it('secrets and redirects: a redirect is passed on where none is followed', async () => {
      const [first, other] = [await recorder(guide), await recorder(guide)];
      const proxy = await following(providerAt(first.url), { followRedirects: false });
      const { statusCode, headers } = await request(proxy.url + way(status, other.url));
      expect([statusCode, headers.location]).toEqual([status, other.url + way(status)]);
      expect([first.received.length, other.received.length]).toEqual([1, 0]);
    });
  });

  it.each(PROVIDERS)(
    'secrets and redirects: a redirect does not take the key of %s to another origin',
    async (_name, create) => {
      const [first, other] = [await recorder(guide), await recorder(guide)];
      const proxy = await following(create({ target: first.url, apiKey: KEY }));
      await ask(proxy.url + way(307, other.url));
      first.received.forEach(expectAllOfOurs);
      other.received.forEach(expectNothingOfOurs);
      expect([first.received.length, other.received.length]).toEqual([1, 1]);
    },
  );

  it('secrets and redirects: a redirect does not take the key to another scheme', async () => {
    const { listener, received } = recording(guide);
    const [first, secure] = [await recorder(guide), await secureUpstream(listener)];
    await ask((await following(providerAt(first.url))).url + way(307, secure.url));
    expect(received).toHaveLength(1);
    received.forEach(expectNothingOfOurs);
  });

  it('secrets and redirects: a redirect does not take the key to another name of the same host', async () => {
    const { url, received } = await recorder(guide);
    await ask((await following(providerAt(url))).url + way(307, url.replace('127.0.0.1', 'localhost')));
    expect(received).toHaveLength(2);
    expectNothingOfOurs(received[1] as RecordedRequest);
  });

  it('secrets and redirects: a redirect does not take the key further on the other origin, nor back: that has chosen what is asked for', async () => {
    const [first, other] = [await recorder(guide), await recorder(guide)];
    await ask((await following(providerAt(first.url))).url + way(307, '', other.url, '', first.url, ''));
    expect([first.received.length, other.received.length]).toEqual([4, 2]);
    first.received.slice(0, 2).forEach(expectAllOfOurs);
    [...other.received, ...first.received.slice(2)].forEach(expectNothingOfOurs);
  });

  it('secrets and redirects: a redirect does not take the key to an origin that the client has named', async () => {
    const other = await recorder(guide);
    const { url } = await recorder(({ headers }, res) =>
      guide({ url: way(307, `http://${headers.host}`) } as never, res),
    );
    const proxy = await following(providerAt(url), { changeOrigin: false });
    await ask(proxy.url, { host: new URL(other.url).host });
    expect(other.received).toHaveLength(1);
    other.received.forEach(expectNothingOfOurs);
  });

  it('secrets and redirects: a redirect takes the key along on the same origin, whatever name the client has for that', async () => {
    const { url, received } = await recorder(guide);
    await ask((await following(providerAt(url), { changeOrigin: false })).url + way(307, ''));
    expect(received).toHaveLength(2);
    received.forEach(expectAllOfOurs);
  });

  it("secrets and redirects: a redirect does not take the caller's own credentials to another origin where they pass", async () => {
    const [first, other] = [await recorder(guide), await recorder(guide)];
    const proxy = await following(openai({ target: first.url, apiKey: false }));
    await ask(proxy.url + way(307, '', other.url, ''));
    expect([first.received.length, other.received.length]).toEqual([2, 2]);
    for (const { headers } of first.received) expect(headers).toMatchObject({ authorization: CALLERS.authorization });
    other.received.forEach(expectNothingOfOurs);
  });
});

describe('a client that names fields in Connection', () => {
  it.each(PROVIDERS)(
    'hop-by-hop headers and secrets: a client that names headers in Connection strips nothing of what is put in for %s',
    async (_name, create) => {
      const { url, received } = await recorder();
      const proxy = await proxyApp({
        provider: create({ target: url, apiKey: KEY }),
        headers: { 'x-own': 'own' },
        requestHeaders: { set: { 'x-set': 'set' } },
      });
      const fields = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key', 'x-own', 'x-set'];
      const callers = fields.map((name) => `${name}: callers\r\n`).join('');
      const nominated = `Connection: close, ${fields.join(', ')}\r\nConnection: Authorization, X-API-Key\r\n`;
      const { text } = await rawExchange(proxy.port, `GET / HTTP/1.1\r\nHost: a\r\n${callers}${nominated}\r\n`);
      expect(text).toMatch(/^HTTP\/1\.1 200 /);
      expect(received[0]?.headers).toMatchObject({ 'x-own': 'own', 'x-set': 'set' });
      expect(received[0]?.rawHeaders.join()).toContain(KEY);
      expect(received[0]?.rawHeaders.join()).not.toContain('callers');
    },
  );
});
