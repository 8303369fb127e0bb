import { once } from 'node:events';
import fs from 'node:fs';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import http2, { Http2ServerResponse } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, jest } from '@jest/globals';
import compression from 'compression';
import type { ErrorRequestHandler, Express, Request, Response } from 'express';
import {
  createProxyMiddleware,
  debugProxyErrorsPlugin,
  loggerPlugin,
  type Options,
  type Plugin,
} from 'http-proxy-middleware';
import { createSseProxy, type SseProxyOptions, type StreamSummary } from '../../../lib/index.js';
import {
  keepAliveAgent,
  openRequest,
  readAll,
  readText,
  readUntilCut,
  request,
  responseTo,
} from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { answersIn, rawClient, rawExchange } from '../../support/clients/raw.js';
import { certificate } from '../../support/servers/certificate.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { listenHttp2, type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream, upstream, answeringUpstream as upstreamAnswering } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** How long a listener may take (docs/errors.md). */
const ANSWER_TIME = 5_000;

type Listener = (req: Request, res: Response) => unknown;
type On = NonNullable<SseProxyOptions['on']>;

/** An `error` listener that answers by Express's response. */
const on = (listener: Listener): On => ({
  error: (_error, req, res) => void listener(req as Request, res as unknown as Response),
});

const nowhere = async (): Promise<string> => `http://127.0.0.1:${await closedPort()}`;

async function expectOneFailure(proxy: ProxyUnderTest, summary: object): Promise<void> {
  expect(await proxy.summary()).toMatchObject({
    outcome: 'upstream-error',
    error: { code: 'UPSTREAM_UNREACHABLE' },
    ...summary,
  });
  await turns(10);
  expect(proxy.summaries).toHaveLength(1);
  expect(proxy.proxy.active).toBe(0);
  await proxy.proxy.drain({ grace: 0 });
}

/** A template engine that takes its time. */
function lateEngine(app: Express): void {
  app.engine('ts', (_path: string, options: object, callback: (error: unknown, html?: string) => void) => {
    setImmediate(() => callback(null, `rendered ${(options as { what: string }).what}`));
  });
}

const FILE = fileURLToPath(new URL('../../support/watch/clock.ts', import.meta.url));

/** Answers that are there some turns after the listener has returned. */
const LATER: [string, Listener, (answer: { status: number; body: string }) => void][] = [
  [
    'res.render with an async engine',
    (_req, res) => res.status(503).render(FILE, { what: 'late' }),
    ({ status, body }) => expect([status, body]).toEqual([503, 'rendered late']),
  ],
  [
    'the callback of fs.readFile',
    (_req, res) => fs.readFile(FILE, (_error, bytes) => res.status(503).type('text').send(bytes)),
    ({ status, body }) => expect([status, body]).toEqual([503, fs.readFileSync(FILE, 'utf8')]),
  ],
  [
    'setTimeout',
    (_req, res) => setTimeout(() => res.writeHead(503).end('later'), 20),
    ({ status, body }) => expect([status, body]).toEqual([503, 'later']),
  ],
  [
    'res.sendFile',
    (_req, res) => res.status(503).sendFile(FILE),
    ({ status, body }) => expect([status, body]).toEqual([503, fs.readFileSync(FILE, 'utf8')]),
  ],
  [
    'a stream that is piped',
    (_req, res) => fs.createReadStream(FILE).pipe(res.status(503)),
    ({ status, body }) => expect([status, body]).toEqual([503, fs.readFileSync(FILE, 'utf8')]),
  ],
  [
    'res.json after a promise that nobody awaits',
    (_req, res) => void turns(3).then(() => res.status(503).json({ busy: true })),
    ({ status, body }) => expect([status, body]).toEqual([503, '{"busy":true}']),
  ],
  [
    'req.next(err), by error middleware',
    (req) => setImmediate(() => req.next?.(new Error('mine'))),
    ({ status, body }) => expect([status, body]).toEqual([500, 'middleware: mine']),
  ],
  [
    'req.next(), by a route behind',
    (req) => setImmediate(() => req.next?.()),
    ({ status, body }) => expect([status, body]).toEqual([200, 'the route behind']),
  ],
];

/** What apps have around a proxy. */
async function app(options: SseProxyOptions, before?: (app: Express) => void): Promise<ProxyUnderTest> {
  const proxy = await proxyApp(options, (express) => {
    lateEngine(express);
    before?.(express);
  });
  proxy.app.use((_req, res) => void res.send('the route behind'));
  const onError: ErrorRequestHandler = (error, _req, res, _next) => {
    setImmediate(() => res.status(500).send(`middleware: ${error.message}`));
  };
  proxy.app.use(onError);
  return proxy;
}

describe('an error listener that answers later', () => {
  it.each(LATER)('on.error listener that answers later: is respected: %s', async (_, listener, expectAnswer) => {
    const proxy = await app({ target: await nowhere(), on: on(listener) });
    const response = await request(proxy.url);
    expectAnswer({ status: response.statusCode ?? 0, body: await readText(response) });
    await expectOneFailure(proxy, { statusCode: response.statusCode });
  });

  it.each(LATER)(
    'on.error listener that answers later: is respected behind compression: %s',
    async (_, listener, expectAnswer) => {
      const proxy = await app({ target: await nowhere(), on: on(listener) }, (express) =>
        express.use(compression({ threshold: 0 })),
      );
      const response = await request(proxy.url);
      expectAnswer({ status: response.statusCode ?? 0, body: await readText(response) });
      await expectOneFailure(proxy, { statusCode: response.statusCode });
    },
  );

  it.each<[string, (target: string) => RequestListener]>([
    ['createProxyMiddleware', (target) => createProxyMiddleware({ target }) as RequestListener],
    ['createSseProxy', (target) => createSseProxy({ target })],
  ])('on.error listener that answers later: is respected where it is a second proxy: %s', async (_, create) => {
    const fallback = create(await upstreamAnswering('data: 1\n\n'));
    const proxy = await proxyApp({ target: await nowhere(), on: on((req, res) => fallback(req, res)) });
    const response = await request(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([200, 'data: 1\n\n']);
    await expectOneFailure(proxy, { statusCode: 200 });
  });

  it('on.error listener that answers later: is respected where it is a second proxy whose upstream takes longer than our wait: its head was sent', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const fallback = createSseProxy({ target: url });
    const proxy = await proxyApp({ target: await nowhere(), on: on((req, res) => fallback(req, res)) });
    const response = request(proxy.url);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    const head = await response;
    jest.advanceTimersByTime(2 * ANSWER_TIME);
    res.end('data: 2\n\n');
    expect(await readText(head)).toBe('data: 1\n\ndata: 2\n\n');
    await expectOneFailure(proxy, { statusCode: 200 });
  });

  it.each<[string, (listener: (error: Error, req: unknown, res: unknown) => void) => SseProxyOptions]>([
    ['a listener of a plugin', (listener) => ({ plugins: [(server) => server.on('error', listener)] })],
    [
      'a listener of a plugin that listens once',
      (listener) => ({ plugins: [(server) => server.once('error', listener)] }),
    ],
    [
      'the second of two',
      (listener) => ({ on: { error: () => {} }, plugins: [(server) => server.on('error', listener)] }),
    ],
    [
      'one beside a failing one',
      (listener) => ({
        on: {
          error: (_error, _req, _res) => {
            throw new Error('no');
          },
        },
        plugins: [(server) => server.on('error', listener)],
      }),
    ],
  ])('on.error listener that answers later: is respected where it is %s', async (_, options) => {
    const proxy = await proxyApp({
      target: await nowhere(),
      ...options((_error, _req, res) => {
        setTimeout(() => (res as ServerResponse).writeHead(503).end('later'), 10);
      }),
    });
    expect(await readText(await request(proxy.url))).toBe('later');
    await expectOneFailure(proxy, { statusCode: 503 });
  });

  it('on.error listener that answers later: is respected without Express', async () => {
    const summaries = new Queue<StreamSummary>();
    const listener = createSseProxy({
      target: await nowhere(),
      on: {
        error: (_error, _req, res) => void setTimeout(() => (res as ServerResponse).writeHead(503).end('later'), 10),
      },
      onFinish: (summary) => summaries.push(summary),
    });
    const port = await listen(http.createServer(listener));
    const response = await request(`http://127.0.0.1:${port}`);
    expect([response.statusCode, await readText(response)]).toEqual([503, 'later']);
    expect(await summaries.next()).toMatchObject({ outcome: 'upstream-error', statusCode: 503 });
  });

  it('on.error listener that answers later: may still do so when its promise has settled, and may answer before it does', async () => {
    const settled = signal();
    for (const wait of [async () => {}, () => settled.promise]) {
      const proxy = await proxyApp({
        target: await nowhere(),
        on: {
          error: async (_error, _req, res) => {
            setTimeout(() => (res as ServerResponse).writeHead(503).end('later'), 10);
            await wait();
          },
        },
      });
      expect(await readText(await request(proxy.url))).toBe('later');
      await expectOneFailure(proxy, { statusCode: 503 });
    }
  });

  it.each<[string, SseProxyOptions]>([
    ['on.error', {}],
    ["error middleware (onError: 'next')", { onError: 'next' }],
  ])(
    'on.error listener that answers later: may have a second proxy send all of an upload that comes in the meantime: %s',
    async (_, options) => {
      const { url } = await upstream((req, res) => void req.pipe(res));
      const routed = signal<string>();
      const fallback = createSseProxy({ router: () => routed.promise });
      const called = signal();
      const fallBack = (req: unknown, res: unknown): void => {
        called.resolve();
        void fallback(req as Request, res as Response, () => {});
      };
      const proxy = await proxyApp({
        target: await nowhere(),
        ...options,
        ...(options.onError === undefined && { on: on(fallBack) }),
      });
      const onError: ErrorRequestHandler = (_error, req, res, _next) => fallBack(req, res);
      proxy.app.use(onError);
      const client = openRequest(proxy.url, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
      client.flushHeaders();
      await called.promise;
      await turns(20);
      client.write('one,');
      await turns(20);
      routed.resolve(url);
      client.end('two');
      expect(await readText(await responseTo(client))).toBe('one,two');
      await expectOneFailure(proxy, { statusCode: 200 });
    },
  );

  it('on.error listener that answers later: leaves the exchange as it is where the client leaves in the meantime', async () => {
    stopTheClock();
    const called = signal<Response>();
    const proxy = await proxyApp({ target: await nowhere(), on: on((_req, res) => called.resolve(res)) });
    const client = openRequest(proxy.url).end();
    const res = await called.promise;
    client.destroy();
    await expectOneFailure(proxy, {});
    expect(jest.getTimerCount()).toBe(0);
    res.status(503).send('too late');
    await turns();
  });
});

describe('an error listener that fails in the middle of its answer', () => {
  const begin = (res: unknown): void => void (res as ServerResponse).writeHead(503).write('half');

  it.each<[string, On]>([
    [
      'throws',
      {
        error: (_error, _req, res) => {
          begin(res);
          throw new Error('no');
        },
      },
    ],
    [
      'rejects',
      {
        error: async (_error, _req, res) => {
          begin(res);
          await turns();
          throw new Error('no');
        },
      },
    ],
  ])(
    'on.error listener that fails in its answer: leaves no client waiting for the rest, nor with what looks whole: it %s',
    async (_, on) => {
      const proxy = await proxyApp({ target: await nowhere(), on });
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(503);
      expect(await readUntilCut(response)).toEqual({ body: Buffer.from('half'), cut: true });
      await expectOneFailure(proxy, { statusCode: 503 });
    },
  );
});

describe('an error listener that does not answer', () => {
  const silent = (): { on: On; called: Promise<Response> } => {
    const { promise, resolve } = signal<Response>();
    return { on: on((_req, res) => resolve(res)), called: promise };
  };

  it('on.error listener that does not answer: is waited for so long, and then the answer is ours', async () => {
    stopTheClock();
    const { on, called } = silent();
    const proxy = await proxyApp({ target: await nowhere(), on });
    let hasAnswer = false;
    const response = request(proxy.url).then((answer) => {
      hasAnswer = true;
      return answer;
    });
    await called;
    jest.advanceTimersByTime(ANSWER_TIME - 1);
    await turns(20);
    expect(hasAnswer).toBe(false);
    expect(proxy.proxy.active).toBe(1);
    jest.advanceTimersByTime(1);
    expect((await response).statusCode).toBe(502);
    await readAll(await response);
    await expectOneFailure(proxy, { statusCode: 502 });
  });

  it.each<[string, On, Plugin[]?]>([
    ['it has no parameter', { error: () => {} }],
    ['it has one for the error only', { error: (_error) => {} }],
    [
      'it throws',
      {
        error: (_error, _req, _res) => {
          throw new Error('no');
        },
      },
    ],
    [
      'its promise rejects',
      {
        error: async (_error, _req, _res) => {
          throw new Error('no');
        },
      },
    ],
    ['it is of http-proxy-middleware’s own plugins', {}, [loggerPlugin as Plugin, debugProxyErrorsPlugin as Plugin]],
  ])('on.error listener that does not answer: is not waited for where %s', async (_, on, plugins = []) => {
    stopTheClock();
    const { logger } = logbook();
    const proxy = await proxyApp({ target: await nowhere(), on, plugins, logger } as SseProxyOptions);
    expect((await request(proxy.url)).statusCode).toBe(502);
    await expectOneFailure(proxy, { statusCode: 502 });
  });

  it('on.error listener that does not answer, with one parameter, is waited for no longer where its promise never settles', async () => {
    stopTheClock();
    const called = signal();
    const error = (_error: Error): Promise<never> => {
      called.resolve();
      return new Promise(() => {});
    };
    const proxy = await proxyApp({ target: await nowhere(), on: { error } });
    const response = request(proxy.url);
    await called.promise;
    await turns();
    jest.advanceTimersByTime(ANSWER_TIME);
    expect((await response).statusCode).toBe(502);
  });

  it('on.error listener that does not answer: does not hold up drain()', async () => {
    stopTheClock();
    const { on, called } = silent();
    const proxy = await proxyApp({ target: await nowhere(), on });
    const response = request(proxy.url);
    await called;
    const drained = proxy.proxy.drain({ grace: 10 });
    jest.advanceTimersByTime(10);
    expect((await response).statusCode).toBe(502);
    await readAll(await response);
    await drained;
    await expectOneFailure(proxy, { statusCode: 502 });
  });

  it('on.error listener that does not answer to its end does not hold up drain()', async () => {
    stopTheClock();
    const proxy = await proxyApp({ target: await nowhere(), on: on((_req, res) => res.status(503).write('half')) });
    const response = await request(proxy.url);
    await once(response, 'data');
    const drained = proxy.proxy.drain({ grace: 10 });
    jest.advanceTimersByTime(10);
    await expect(readAll(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
    await drained;
    await expectOneFailure(proxy, { statusCode: 503 });
  });

  it("on.error listener that does not answer: is followed by Express's error middleware with `onError: 'next'`", async () => {
    stopTheClock();
    const { on, called } = silent();
    const proxy = await app({ target: await nowhere(), on, onError: 'next' });
    const response = request(proxy.url);
    const res = await called;
    jest.advanceTimersByTime(ANSWER_TIME);
    const answer = await response;
    expect([answer.statusCode, await readText(answer)]).toEqual([
      500,
      'middleware: The upstream could not be reached.',
    ]);
    for (const [, write] of LATE) write(res.req, res);
    await turns(10);
    await expectOneFailure(proxy, { statusCode: 500 });
  });

  it("on.error listener that does not answer with `onError: 'next'` is heard first", async () => {
    const proxy = await app({
      target: await nowhere(),
      onError: 'next',
      on: on((_req, res) => setImmediate(() => res.status(503).send('mine'))),
    });
    expect(await readText(await request(proxy.url))).toBe('mine');
    await expectOneFailure(proxy, { statusCode: 503 });
  });
});

/** What a listener may do with a response. */
const LATE: [string, Listener][] = [
  ['setHeader', (_req, res) => res.setHeader('x-late', '1')],
  ['setHeaders', (_req, res) => res.setHeaders?.(new Headers({ 'x-late': '1' }))],
  ['appendHeader', (_req, res) => res.appendHeader?.('x-late', '1')],
  ['removeHeader', (_req, res) => res.removeHeader('content-type')],
  ['writeHead', (_req, res) => res.writeHead(503, { 'x-late': '1' })],
  ['writeHead and end', (_req, res) => res.writeHead(503).end('late')],
  ['flushHeaders', (_req, res) => res.flushHeaders()],
  ['addTrailers', (_req, res) => res.addTrailers({ 'x-late': '1' })],
  ['write', (_req, res) => res.write('late')],
  ['end', (_req, res) => res.end('late')],
  ['writeContinue', (_req, res) => res.writeContinue()],
  ['writeProcessing', (_req, res) => res.writeProcessing?.()],
  ['writeEarlyHints', (_req, res) => res.writeEarlyHints?.({ link: '</late>; rel=preload' })],
  ['res.send', (_req, res) => res.status?.(503).send('late')],
  ['res.json', (_req, res) => res.json?.({ late: true })],
  ['res.redirect', (_req, res) => res.redirect?.('/late')],
  ['res.cookie', (_req, res) => res.cookie?.('late', '1')],
  ['res.render', (_req, res) => res.render?.(FILE, { what: 'late' })],
  ['res.sendFile', (_req, res) => res.sendFile?.(FILE)],
  ['pipe', (_req, res) => fs.createReadStream(FILE).pipe(res)],
  ['req.next(err)', (req) => req.next?.(new Error('late'))],
  ['a second proxy', (req, res) => createSseProxy({ target: 'http://127.0.0.1:1' })(req, res)],
  [
    "http-proxy-middleware's",
    (req, res) => createProxyMiddleware({ target: 'http://127.0.0.1:1' })(req, res, () => {}),
  ],
];

describe('what a listener writes after our answer', () => {
  it.each(LATE)(
    'on.error listener, late: what it writes after our answer goes nowhere, and ends nothing: %s',
    async (_, write) => {
      stopTheClock();
      const responses = new Queue<Response>();
      const { url } = await upstream((_req, res) => void res.writeHead(200).end('fine'));
      const proxy = await app({
        router: (req) => (req.url === '/fine' ? url : 'http://127.0.0.1:1'),
        target: url,
        on: on((_req, res) => responses.push(res)),
      });
      const agent = keepAliveAgent(1);
      const response = request(proxy.url, { agent });
      const res = await responses.next();
      jest.advanceTimersByTime(ANSWER_TIME);
      // At once, when the response is still on its way, and when it has been sent.
      write(res.req, res);
      const answer = await response;
      expect(answer.statusCode).toBe(502);
      expect(answer.rawHeaders.join()).not.toMatch(/late/i);
      expect(JSON.parse(await readText(answer)).error.code).toBe('UPSTREAM_UNREACHABLE');
      await expectSummaryOnly(proxy, 502);
      write(res.req, res);
      await turns(10);
      const next = request(`${proxy.url}/fine`, { agent });
      write(res.req, res);
      expect(await readText(await next)).toBe('fine');
      expect((await proxy.summary()).outcome).toBe('completed');
    },
  );

  async function expectSummaryOnly(proxy: ProxyUnderTest, statusCode: number): Promise<void> {
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', statusCode });
    expect(proxy.proxy.active).toBe(0);
  }

  it('on.error listener, late: what it writes after our answer is not on the wire: one connection, byte by byte', async () => {
    stopTheClock();
    const responses = new Queue<Response>();
    const proxy = await app({ target: await nowhere(), on: on((_req, res) => responses.push(res)) });
    const client = await rawClient(proxy.port);
    client.socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
    const both = [await responses.next(), await responses.next()];
    jest.advanceTimersByTime(ANSWER_TIME);
    for (const res of both) for (const [, write] of LATE) write(res.req, res);
    await client.until('"code":"UPSTREAM_UNREACHABLE"}}', 2);
    for (const res of both) for (const [, write] of LATE) write(res.req, res);
    await turns(20);
    client.socket.write('GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await responses.next();
    jest.advanceTimersByTime(ANSWER_TIME);
    const { text: all } = await client.end();
    expect(all.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 502', 'HTTP/1.1 502', 'HTTP/1.1 502']);
    expect(all).not.toMatch(/late/i);
  });

  it('on.error listener, late: what it writes after our answer is not waited for by whoever writes it', async () => {
    stopTheClock();
    const { promise, resolve } = signal<Response>();
    const proxy = await proxyApp({ target: await nowhere(), on: on((_req, res) => resolve(res)) });
    const response = request(proxy.url);
    const res = await promise;
    jest.advanceTimersByTime(ANSWER_TIME);
    await readAll(await response);
    await new Promise<void>((done) => void res.write('late', () => done()));
    expect(res.write('late')).toBe(true);
    await new Promise<void>((done) => void res.end(done));
    await once(
      fs.createReadStream(FILE).pipe(res) && fs.createReadStream(FILE).on('data', (c) => res.write(c)),
      'close',
    );
  });

  it('on.error listener, late: what it writes after our answer goes nowhere, also where the answer waits for the rest of an upload', async () => {
    stopTheClock();
    const { promise, resolve } = signal<Response>();
    const proxy = await proxyApp({ target: await nowhere(), on: on((_req, res) => resolve(res)) }, (express) =>
      express.use((_req, res, next) => {
        res.shouldKeepAlive = false;
        next();
      }),
    );
    const client = openRequest(proxy.url, { method: 'POST' });
    client.write('half');
    const res = await promise;
    jest.advanceTimersByTime(ANSWER_TIME);
    res.end('late');
    const response = await responseTo(client);
    client.end('the rest');
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
    await expectOneFailure(proxy, { statusCode: 502 });
  });

  it.each<[string, (res: Response, end: (body?: unknown) => void, body: unknown) => void]>([
    ['by end', (res, end, body) => void end.call(res, body)],
    [
      'by write and end',
      (res, end, body) => {
        res.write(body);
        end.call(res);
      },
    ],
    [
      'all but the last byte at first',
      (res, end, body) => {
        res.write(String(body).slice(0, -1));
        end.call(res, String(body).slice(-1));
      },
    ],
  ])(
    'on.error listener, late: what it writes after our answer is not mixed up with ours, which middleware passes on in its own time: %s',
    async (_, passOn) => {
      const failing: On = {
        error: (_error, _req, res) => {
          setImmediate(() => (res as ServerResponse).end('late'));
          throw new Error('no');
        },
      };
      const delay = (res: Response): void => {
        const end = res.end as unknown as (body?: unknown) => void;
        res.end = ((body: unknown) => {
          void turns(5).then(() => passOn(res, end, body));
          return res;
        }) as typeof res.end;
      };
      const target = await nowhere();
      const proxy = await proxyApp({ target, on: failing }, (express) =>
        express.use((_req, res, next) => {
          delay(res);
          next();
        }),
      );
      const { text: wire } = await rawExchange(
        proxy.port,
        'GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      );
      const ours = { status: 502, body: expect.stringMatching(/^{.*"UPSTREAM_UNREACHABLE"}}$/) };
      expect(answersIn(wire)).toMatchObject([ours, ours]);

      const listener = createSseProxy({ target, on: failing });
      const port = await listenHttp2((req, res) => {
        delay(res as Response);
        listener(req as Request, res as Response);
      });
      const session = http2.connect(`https://localhost:${port}`, { ca: (await certificate()).cert });
      onCleanUp(() => session.destroy());
      expect(await closing(session.request({ ':path': '/' }))).toEqual({ ...{ body: ours.body }, code: 0 });
    },
  );

  it('on.error listener, late: what it writes after our answer goes nowhere after a response that was cut', async () => {
    const late = signal<Response>();
    const { url, requests } = await manualUpstream();
    const proxy = await app({ target: url, on: on((_req, res) => late.resolve(res)) });
    const client = openRequest(proxy.url).end();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    const response = await responseTo(client);
    response.once('data', () => res.destroy());
    await expect(readAll(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
    const cut = await late.promise;
    for (const [, write] of LATE) write(cut.req, cut);
    await turns(10);
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', statusCode: 200 });
  });
});

describe('over HTTP/2, an error listener', () => {
  async function http2App(
    options: SseProxyOptions,
  ): Promise<{ get: () => http2.ClientHttp2Stream; summaries: Queue<StreamSummary> }> {
    const { cert } = await certificate();
    const summaries = new Queue<StreamSummary>();
    const proxy = createSseProxy({ ...options, onFinish: (summary) => summaries.push(summary) });
    const port = await listenHttp2(proxy);
    const session = http2.connect(`https://localhost:${port}`, { ca: cert });
    session.on('error', () => {});
    onCleanUp(() => session.destroy());
    await once(session, 'connect');
    return { get: () => session.request({ ':path': '/' }), summaries };
  }

  it.each<[string, (res: Http2ServerResponse) => void]>([
    ['setTimeout', (res) => void setTimeout(() => res.writeHead(503).end('later'), 10)],
    ['pipe', (res) => void fs.createReadStream(FILE).pipe(res.writeHead(503) as unknown as NodeJS.WritableStream)],
  ])('on.error listener over HTTP/2 that answers later is respected: %s', async (_, write) => {
    const error: NonNullable<Options['on']>['error'] = (_error, _req, res) =>
      write(res as unknown as Http2ServerResponse);
    const { get, summaries } = await http2App({ target: await nowhere(), on: { error } });
    const stream = get();
    const [head] = await once(stream, 'response');
    expect(head[':status']).toBe(503);
    expect((await closing(stream)).code).toBe(0);
    expect(await summaries.next()).toMatchObject({ outcome: 'upstream-error', statusCode: 503 });
  });

  it('on.error listener over HTTP/2 that answers too late writes nowhere', async () => {
    stopTheClock();
    const responses = new Queue<Http2ServerResponse>();
    const error: NonNullable<Options['on']>['error'] = (_error, _req, res) =>
      responses.push(res as unknown as Http2ServerResponse);
    const { get, summaries } = await http2App({
      target: await nowhere(),
      on: { error: (e, req, res) => error(e, req, res, undefined) },
    });
    const stream = get();
    const heads: unknown[] = [];
    for (const event of ['response', 'headers', 'trailers']) stream.on(event, (head) => heads.push(head));
    const ended = closing(stream);
    const res = await responses.next();
    jest.advanceTimersByTime(ANSWER_TIME);
    const writeAll = (): void => {
      for (const [, write] of LATE) {
        const express = res as unknown as Response;
        write(express.req, express);
      }
      (res as unknown as { setTrailer(name: string, value: string): void }).setTrailer('x-late', '1');
    };
    expect(res).toBeInstanceOf(Http2ServerResponse);
    writeAll();
    const { body, code } = await ended;
    expect([JSON.parse(body).error.code, code]).toEqual(['UPSTREAM_UNREACHABLE', 0]);
    expect(heads).toEqual([expect.objectContaining({ ':status': 502 })]);
    writeAll();
    await turns(10);
    expect(await summaries.next()).toMatchObject({ outcome: 'upstream-error', statusCode: 502 });
  });
});
