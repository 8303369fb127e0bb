import { createServer, type RequestListener } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { accessLog, createSseProxy, type SseProxyOptions, type StreamEvent } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { readText, readUntilCut, request } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { handshake } from '../../support/clients/web-sockets.js';
import { certificate } from '../../support/servers/certificate.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { SERVERS_KEY } from '../../support/servers/provider.js';
import { answeringUpstream, eventStream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { consoleBook } from '../../support/watch/console.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const fail = (): never => {
  throw new Error('of the hook');
};

const EVENTS = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n';
const streaming: RequestListener = (req, res) => void req.resume().on('end', () => eventStream(res).end(EVENTS));

/** A server with the proxy alone: with nothing set up that could tell of a failure. */
async function bare(options: SseProxyOptions): Promise<string> {
  const app = express();
  app.use(createSseProxy(options));
  return `http://127.0.0.1:${await listen(createServer(app))}`;
}

/** Asks, and reads whatever comes until it ends or breaks off. */
async function ask(url: string, options: Parameters<typeof request>[1] = {}): Promise<number | undefined> {
  const response = await request(url, options);
  await readUntilCut(response);
  return response.statusCode;
}

const post = {
  method: 'POST',
  body: '{"model":"gpt-5","messages":[],"stream":true}',
  headers: { 'content-type': 'application/json' },
};

describe('a hook that fails leaves a trace', () => {
  const own = (hooks: object) => (target: string) => ({ target, ...hooks });
  const ofProvider = (hooks: object) => (target: string) => ({
    provider: { ...openai({ apiKey: SERVERS_KEY, target }), ...hooks },
  });

  const HOOKS: [name: string, options: (target: string) => SseProxyOptions][] = [
    ['rewriteHeaders', own({ rewriteHeaders: fail })],
    ['isEventStream', own({ isEventStream: fail })],
    ['transformEvent', own({ transformEvent: fail })],
    ['onEvent', own({ onEvent: fail })],
    ['onFinish', own({ onFinish: fail })],
    ['router', own({ router: fail })],
    ['pathRewrite', own({ pathRewrite: fail })],
    ['pathFilter', own({ pathFilter: fail })],
    ['commit', own({ commit: fail })],
    ['on.start', own({ on: { start: fail } })],
    ['on.proxyReq', own({ on: { proxyReq: fail } })],
    ['on.proxyRes', own({ on: { proxyRes: fail } })],
    ['on.end', own({ on: { end: fail } })],
    ['requestHeaders.set["x-user"]', own({ requestHeaders: { set: { 'x-user': fail } } })],
    ['responseHeaders.set["x-user"]', own({ responseHeaders: { set: { 'x-user': fail } } })],
    ['onUsage', (target) => ({ ...ofProvider({})(target), onUsage: fail })],
    ['apiKey', (target) => ({ provider: openai({ apiKey: fail, target }) })],
    ['credentials', ofProvider({ credentials: fail })],
    ['sign', ofProvider({ sign: fail })],
    ['rewritePath', ofProvider({ rewritePath: fail })],
    ['editRequest', ofProvider({ editRequest: fail })],
    ['read', (target) => ({ ...ofProvider({ read: fail })(target), onUsage() {} })],
    ['formatOf', ofProvider({ formatOf: fail })],
  ];

  it.each(HOOKS)(
    'hook failure on the console: is told with its name and its stack, once: %s',
    async (name, options) => {
      const { url } = await upstream(streaming);
      const book = consoleBook();
      const proxy = await bare(options(url));
      for (let i = 0; i < 3; i += 1) await ask(`${proxy}/v1/chat/completions`, post);
      const shown = name === 'apiKey' ? 'credentials' : name;
      expect(book.error).toEqual([
        expect.stringContaining(`[express-sse-proxy] ${shown} failed: Error: of the hook\n`),
      ]);
      expect(book.error[0]).toContain('failures-on-the-console.test');
      expect(book.warn).toEqual([]);
    },
  );

  it.each(HOOKS)('hook failure in the log: is told to a logger each time, in one string: %s', async (name, options) => {
    const { url } = await upstream(streaming);
    const book = consoleBook();
    const { logger, errors } = logbook();
    const proxy = await bare({ ...options(url), logger });
    for (let i = 0; i < 2; i += 1) await ask(`${proxy}/v1/chat/completions`, post);
    const shown = name === 'apiKey' ? 'credentials' : name;
    const line = expect.stringContaining(`[express-sse-proxy] ${shown} failed: Error: of the hook\n`);
    expect(errors).toEqual([line, line]);
    expect(book.error.concat(book.warn)).toEqual([]);
  });

  it('hook failure on the console: also of a listener that is told of a failure', async () => {
    const book = consoleBook();
    const { url } = await upstream((_req, res) => void res.destroy());
    expect(await ask(await bare({ target: url, on: { error: fail } }))).toBe(502);
    expect(book.error).toEqual([expect.stringContaining('on.error failed: Error: of the hook\n')]);
  });

  it('hook failure in the log: one that fails with each of 500 events is one line per stream', async () => {
    const target = await answeringUpstream(EVENTS.repeat(500), { 'content-type': 'text/event-stream' });
    const { logger, errors } = logbook();
    let calls = 0;
    const onEvent = ({ data }: StreamEvent): never => {
      calls += 1;
      throw new Error(`event ${calls}: ${data}`);
    };
    const proxy = await bare({ target, logger, onEvent });
    for (let i = 0; i < 2; i += 1) await ask(proxy);
    expect(calls).toBe(1000);
    expect(errors).toEqual([
      expect.stringContaining('onEvent failed: Error: event 1: '),
      expect.stringContaining('onEvent failed: Error: event 501: '),
    ]);
  });

  it('hook failure on the console: distinct errors of one hook are each told', async () => {
    const { url } = await upstream(streaming);
    const book = consoleBook();
    const rewriteHeaders: SseProxyOptions['rewriteHeaders'] = (_headers, { path }) => {
      throw new Error(`at ${path}`);
    };
    const proxy = await bare({ target: url, rewriteHeaders });
    for (const path of ['/a', '/b', '/a']) await ask(proxy + path);
    expect(book.error.map((text) => text.split('\n')[0])).toEqual([
      '[express-sse-proxy] rewriteHeaders failed: Error: at /a',
      '[express-sse-proxy] rewriteHeaders failed: Error: at /b',
    ]);
  });

  it('hook failure on the console: credentials are masked, also in what hangs on the error', async () => {
    const { url } = await upstream(streaming);
    const book = consoleBook();
    const proxy = await bare({
      provider: openai({ apiKey: SERVERS_KEY, target: url }),
      on: {
        proxyReq(proxyReq) {
          const key = proxyReq.getHeader('authorization');
          throw Object.assign(new Error(`sent with ${key}`), { key, config: { headers: { key } }, list: [key] });
        },
      },
    });
    expect(await ask(`${proxy}/v1/chat/completions`, post)).toBe(500);
    expect(book.error).toEqual([expect.stringContaining('on.proxyReq failed: Error: sent with Bearer ***')]);
    expect(book.error[0]).not.toContain(SERVERS_KEY);
  });

  it('hook failure on the console: also of a WebSocket', async () => {
    const book = consoleBook();
    const proxy = createSseProxy({ target: 'http://127.0.0.1:1', ws: true, router: fail });
    const server = createServer(proxy).on('upgrade', proxy.upgrade);
    expect((await rawExchange(await listen(server), handshake())).text).toMatch(/^HTTP\/1\.1 500 /);
    expect(book.error).toEqual([expect.stringContaining('router failed: Error: of the hook\n')]);
  });
});

/** A server that answers every connection with these bytes. */
const bytes = (text: string) => async (): Promise<string> =>
  (await rawUpstream((socket: Socket) => socket.end(text))).url;

async function secure(): Promise<string> {
  const { key, cert } = await certificate();
  return `https://localhost:${await listen(https.createServer({ key, cert }, (_req, res) => res.end()))}`;
}

const FAULTS: [name: string, makeTarget: () => Promise<string>, codes: string, cause: RegExp, advice: RegExp][] = [
  [
    'nothing listens',
    async () => `http://127.0.0.1:${await closedPort()}`,
    'UPSTREAM_UNREACHABLE',
    /^ECONNREFUSED$/,
    /is running.*`target`/,
  ],
  [
    'there is no such name',
    async () => 'http://nowhere.invalid',
    'UPSTREAM_UNREACHABLE',
    /^E\w+$/,
    /name can be resolved/,
  ],
  [
    'the certificate is self-signed',
    secure,
    'UPSTREAM_TLS_FAILED',
    /^DEPTH_ZERO_SELF_SIGNED_CERT$/,
    /NODE_EXTRA_CA_CERTS/,
  ],
  [
    'it speaks plain HTTP',
    async () => (await upstream((_req, res) => res.end())).url.replace('http:', 'https:'),
    'UPSTREAM_TLS_FAILED',
    /^(EPROTO|ERR_SSL_\w+)$/,
    /does not speak TLS.*`http:\/\/`/,
  ],
  [
    'it speaks something that is neither TLS nor HTTP',
    async () => (await bytes('SSH-2.0-OpenSSH_9.6\r\n')()).replace('http:', 'https:'),
    'UPSTREAM_TLS_FAILED',
    /^(EPROTO|ERR_SSL_\w+)$/,
    /does not speak TLS.*`http:\/\/`/,
  ],
  [
    'it speaks TLS only',
    async () => (await secure()).replace('https:', 'http:'),
    'UPSTREAM_(INVALID_RESPONSE|CLOSED)',
    /^(HPE_\w+|ECONNRESET)$/,
    /speaks TLS.*`http(s:\/\/|:)`/,
  ],
  [
    'it answers with a TLS alert',
    bytes('\x15\x03\x01\x00\x02\x02\x46'),
    'UPSTREAM_INVALID_RESPONSE',
    /^HPE_INVALID_CONSTANT$/,
    /speaks TLS only.*`https:\/\/`/,
  ],
  [
    'its head is above the limit',
    bytes(`HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(100_000)}\r\n\r\n`),
    'UPSTREAM_INVALID_RESPONSE',
    /^HPE_HEADER_OVERFLOW$/,
    /head of the upstream's response is too large.*--max-http-header-size/,
  ],
  ['it does not speak HTTP', bytes('SSH-2.0\r\n\r\n'), 'UPSTREAM_INVALID_RESPONSE', /^HPE_\w+$/, /is an HTTP server/],
];

describe('a failure of the upstream explains itself', () => {
  it.each(FAULTS)(
    'upstream failure on the console: is said once per target, with what to do: %s',
    async (_what, makeTarget, codes, cause, advice) => {
      const target = await makeTarget();
      const book = consoleBook();
      const proxy = await bare({ target });
      for (let i = 0; i < 3; i += 1) expect(await ask(proxy)).toBe(502);
      expect(book.warn).toEqual([expect.stringContaining(`[express-sse-proxy] ${target}: `)]);
      const [, code = '', causeCode = ''] = /\(([A-Z_]+), ([A-Z_]+)[:)]/.exec(book.warn[0] ?? '') ?? [];
      expect(code).toMatch(new RegExp(`^${codes}$`));
      expect(causeCode).toMatch(cause);
      expect(book.warn[0]).toMatch(advice);
      expect(book.error).toEqual([]);
    },
  );

  it.each(FAULTS)(
    'upstream failure in the access log: names the code of its cause and the target: %s',
    async (_what, makeTarget, codes, cause) => {
      const target = await makeTarget();
      const lines: string[] = [];
      const write = (line: string): void => void lines.push(line);
      for (const format of ['text', 'json'] as const) {
        expect(await ask(await bare({ target, onFinish: accessLog({ write, format }) }))).toBe(502);
      }
      const [text = '', json = ''] = lines;
      const { hostname, port } = new URL(target);
      const [, code = '', causeCode = ''] = /upstream-error ([A-Z_]+) ([A-Z_]+) at (\S+)/.exec(text) ?? [];
      expect(text).toContain(` at ${target} `);
      const line = JSON.parse(json);
      expect(line).toMatchObject({ 'server.address': hostname, 'server.port': Number(port || 80) });
      for (const found of [code, line['error.type']]) expect(found).toMatch(new RegExp(`^${codes}$`));
      for (const found of [causeCode, line.error_cause]) expect(found).toMatch(cause);
    },
  );

  it.each(FAULTS)(
    'upstream failure: what the client is told names no host, and no cause: %s',
    async (what, makeTarget) => {
      const target = await makeTarget();
      consoleBook();
      const { body } = await readUntilCut(await request(await bare({ target })));
      const { message } = JSON.parse(String(body)).error;
      expect(message).not.toMatch(/127\.0|localhost|\.invalid|E[A-Z]{5,}|HPE_|node|http:/);
      expect(message.includes('not valid HTTP')).toBe(what === 'it does not speak HTTP');
    },
  );

  it('upstream failure on the console: each target and each code is said', async () => {
    const book = consoleBook();
    const ports = [await closedPort(), await closedPort()];
    const targets = ports.map((port) => `http://127.0.0.1:${port}`);
    const proxy = await bare({
      target: targets[0] as string,
      router: (req) => targets[Number(req.url?.slice(1))] as string,
    });
    for (const path of ['/0', '/1', '/0', '/1']) await ask(proxy + path);
    expect(book.warn.map((text) => text.split(': ')[0])).toEqual(
      targets.map((target) => `[express-sse-proxy] ${target}`),
    );
  });

  it('upstream failure on the console: an attempt that a fallback has mended is said, too', async () => {
    const book = consoleBook();
    const proxy = await bare({
      target: `http://127.0.0.1:${await closedPort()}`,
      fallbacks: [(await upstream(streaming)).url],
    });
    expect(await ask(proxy)).toBe(200);
    expect(book.warn).toEqual([expect.stringContaining('ECONNREFUSED')]);
  });

  it.each<[string, SseProxyOptions]>([
    ['`logger` is set', { logger: logbook().logger }],
    ['`onFinish` is set', { onFinish() {} }],
    ["`onError` is 'next'", { onError: 'next' }],
  ])('upstream failure on the console: nothing is said where %s', async (_what, options) => {
    const book = consoleBook();
    const app = express();
    app.use(createSseProxy({ target: `http://127.0.0.1:${await closedPort()}`, ...options }));
    app.use(((_error, _req, res, _next) => void res.sendStatus(502)) as express.ErrorRequestHandler);
    expect(await ask(`http://127.0.0.1:${await listen(createServer(app))}`)).toBe(502);
    expect(book).toEqual({ log: [], info: [], warn: [], error: [] });
  });

  it('upstream failure on the console: nothing is said of what was refused, of a client that leaves, or of a good answer', async () => {
    const book = consoleBook();
    const left = signal();
    const { url } = await upstream((req, res) => {
      if (req.url === '/stays') res.flushHeaders();
      else res.end('fine');
      res.once('close', () => req.url === '/stays' && left.resolve());
    });
    const proxy = await bare({ target: url, allow: ['GET /good', 'GET /stays'] });
    expect(await ask(`${proxy}/good`)).toBe(200);
    expect(await ask(`${proxy}/bad`)).toBe(404);
    (await request(`${proxy}/stays`)).destroy();
    await left.promise;
    expect(book).toEqual({ log: [], info: [], warn: [], error: [] });
  });

  it('upstream failure on the console: a key in the cause is masked', async () => {
    const book = consoleBook();
    // Node quotes what it could not parse.
    const target = await bytes(`HTTP/1.1 200 OK\r\n${SERVERS_KEY}\x01: x\r\n\r\n`)();
    const proxy = await bare({ provider: openai({ apiKey: SERVERS_KEY, target }) });
    await ask(`${proxy}/v1/chat/completions`, post);
    expect(book.warn.length).toBe(1);
    expect(book.warn[0]).not.toContain(SERVERS_KEY);
  });
});

describe('a mistake at request time says what to do, on the console', () => {
  it.each<[wrote: string, options: (target: string) => SseProxyOptions, says: RegExp]>([
    [
      'a router without an answer',
      () => ({ router: () => undefined as never }),
      /TARGET_MISSING.*Have `router` give a target/,
    ],
    [
      'an apiKey function without a key',
      (target) => ({ provider: openai({ apiKey: () => undefined as never, target }) }),
      /CREDENTIALS_MISSING.*Look why the function that the provider was given, `apiKey` or `token`, gave none/,
    ],
    [
      'timeouts that are too short',
      (target) => ({ target, timeouts: { headers: 20 } }),
      /UPSTREAM_TIMEOUT.*raise `timeouts\.headers`/,
    ],
  ])('mistake on the console: %s', async (_wrote, options, says) => {
    const { url } = await upstream(() => {});
    const book = consoleBook();
    const proxy = await bare(options(url));
    for (let i = 0; i < 2; i += 1) await readText(await request(`${proxy}/v1/chat/completions`, post));
    expect(book.warn).toEqual([expect.stringMatching(says)]);
  });

  it('mistake on the console: a body that was read in front of the proxy, and cannot be sent again', async () => {
    const { url } = await upstream(streaming);
    const book = consoleBook();
    const app = express();
    app.use((req, _res, next) => void req.resume().on('end', next));
    app.use(createSseProxy({ target: url }));
    const response = await request(`http://127.0.0.1:${await listen(createServer(app))}`, post);
    expect(response.statusCode).toBe(500);
    expect(book.warn).toEqual([
      expect.stringMatching(/REQUEST_BODY_CONSUMED.*Mount the proxy in front of what reads the body/),
    ]);
  });

  it.each<[wrote: string, options: object, says: string]>([
    [
      'rewriteHeaders that returns a promise',
      { rewriteHeaders: () => Promise.resolve() },
      'rewriteHeaders failed: TypeError: `rewriteHeaders` must be synchronous, but has returned a promise',
    ],
    ['transformEvent that returns text', { transformEvent: () => 'text' }, 'transformEvent failed: TypeError: '],
    [
      'a header that is an object',
      { requestHeaders: { set: { 'x-user': () => ({}) } } },
      'requestHeaders.set["x-user"] failed: TypeError: `requestHeaders.set["x-user"]` must give a string',
    ],
    [
      'pathFilter that is async',
      { pathFilter: async () => true },
      'pathFilter failed: TypeError: `pathFilter` must be synchronous',
    ],
    [
      'fallbacks that name no target',
      { target: 'http://127.0.0.1:1', fallbacks: () => ({ url: 'http://127.0.0.1:1' }) },
      'fallbacks failed: TypeError: ',
    ],
  ])('mistake on the console: %s', async (_wrote, options, says) => {
    const { url } = await upstream(streaming);
    const book = consoleBook();
    await ask(await bare({ target: url, ...options } as SseProxyOptions));
    expect(book.error).toEqual([expect.stringContaining(`[express-sse-proxy] ${says}`)]);
  });

  it.each(['transformEvent', 'onEvent'])(
    'mistake on the console: what an event has no more is in the stack: %s',
    async (name) => {
      const { url } = await upstream(streaming);
      const book = consoleBook();
      // It takes an event for what was in its data.
      const hook = (event: { choices?: { delta: unknown }[] }): unknown =>
        event.choices?.[0]?.delta ?? (event.choices as never as unknown[])[0];
      await ask(await bare({ target: url, [name]: hook } as SseProxyOptions));
      expect(book.error).toEqual([
        expect.stringMatching(new RegExp(`${name} failed: TypeError: Cannot read properties of undefined`)),
      ]);
    },
  );
});
