import { once } from 'node:events';
import http, { ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import type { Plugin } from 'http-proxy-middleware';
import type { Exchange, ResponseHead, SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const FAILURE = new Error('the hook at http://10.0.0.1/secret failed');

const throws = (): never => {
  throw FAILURE;
};
/** A hook that fails. None is declared as async: where a hook may not be, such a one is refused where the proxy is made. */
const FAILING = {
  throws,
  rejects: (): Promise<never> => Promise.reject(FAILURE),
  'rejects later': (): Promise<never> => turns(3).then(throws),
};
type Manner = keyof typeof FAILING;
const MANNERS: Manner[] = ['throws', 'rejects', 'rejects later'];

/** Options with a hook of the user's; an `on` listener that returns a promise is allowed. */
function withHook(name: string, hook: () => unknown): SseProxyOptions {
  const [event, option] = name.split('.').reverse();
  if (event === undefined) throw new Error(name);
  const options: unknown =
    option === 'on'
      ? { on: { [event]: hook } }
      : option === 'plugin'
        ? { plugins: [(server: Parameters<Plugin>[0]) => server.on(event as 'start', hook)] }
        : { [name]: hook };
  return options as SseProxyOptions;
}

async function expectHookFailed(response: http.IncomingMessage, statusCode: number): Promise<void> {
  expect(response.statusCode).toBe(statusCode);
  expect(response.headers['content-type']).toMatch(/^application\/json\b/);
  const body = JSON.parse(await readText(response));
  expect(body).toEqual({ error: { message: expect.any(String), type: 'proxy_error', code: 'HOOK_FAILED' } });
  expect(body.error.message).not.toMatch(/secret|10\.0/);
}

const FAILED = { outcome: 'failed', error: { code: 'HOOK_FAILED', cause: FAILURE } };

describe('a hook that fails before the upstream has answered', () => {
  const cases = ['router', 'pathRewrite', 'on.start', 'on.proxyReq', 'plugin.start', 'plugin.proxyReq'].flatMap(
    (name) => MANNERS.map((manner): [string, Manner] => [name, manner]),
  );

  it.each(cases)("a hook that fails before the upstream's head: is a 500: %s %s", async (name, manner) => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...withHook(name, FAILING[manner]) });

    await expectHookFailed(await request(proxy.url), 500);
    await expectOneSummary(proxy, { ...FAILED, statusCode: 500, bytes: 0 });
  });

  it.each(cases)(
    "a hook that fails before the upstream's head: is a 500 in the middle of an upload, and the connection goes on: %s %s",
    async (name, manner) => {
      const { url } = await manualUpstream();
      const proxy = await proxyApp({ target: url, ...withHook(name, FAILING[manner]) }, (app) =>
        app.get('/own', (_req, res) => res.send('own')),
      );
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      onCleanUp(() => agent.destroy());

      const req = openRequest(proxy.url, { method: 'POST', agent });
      const chunk = Buffer.alloc(64 * 1024);
      req.write(chunk);
      await expectHookFailed(await responseTo(req), 500);
      for (let i = 1; i < 20; i += 1) req.write(chunk);
      req.end();
      await once(req, 'finish');
      await expectOneSummary(proxy, FAILED);

      const second = openRequest(`${proxy.url}/own`, { agent });
      second.end();
      expect(await readText(await responseTo(second))).toBe('own');
      expect(second.reusedSocket).toBe(true);
    },
  );

  it("a hook that fails before the upstream's head: ends the upstream request", async () => {
    const { url, requests } = await manualUpstream();
    const reached = signal();
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyReq: async () => {
          await reached.promise;
          throw FAILURE;
        },
      },
    });

    const response = request(proxy.url);
    const received = await requests.next();
    reached.resolve();
    await received.closed;
    await expectHookFailed(await response, 500);
  });

  it("a hook that fails before the upstream's head: `pathFilter` that throws is a 404 of the app, as in http-proxy-middleware", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, pathFilter: FAILING.throws });

    expect((await request(proxy.url)).statusCode).toBe(404);
    expect(proxy.summaries).toHaveLength(0);
    expect(requests.count).toBe(0);
  });

  it.each(['rejects', 'rejects later'] as const)(
    "a hook that fails before the upstream's head: does not end the process where it is `pathFilter` that %s",
    async (manner) => {
      const { url } = await upstream((_req, res) => res.end('fine'));
      const proxy = await proxyApp({ target: url, ...withHook('pathFilter', FAILING[manner]) });

      await readAll(await request(proxy.url));
      await turns(10);
    },
  );
});

describe('a hook that fails when the upstream has answered', () => {
  const cases = ['on.proxyRes', 'plugin.proxyRes', 'isEventStream', 'rewriteHeaders'];

  it.each(cases)(
    "a hook that fails on the upstream's head: before the head is sent, is a 5xx: %s throws",
    async (name) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, ...withHook(name, FAILING.throws) });

      const response = request(proxy.url);
      const received = await requests.next();
      eventStream(received.res).write('data: 1\n\n');
      await received.closed;
      await expectHookFailed(await response, name.includes('.') ? 500 : 502);
      await expectOneSummary(proxy, { ...FAILED, bytes: 0, attempts: { length: 1 } });
    },
  );

  it.each(cases)(
    "a hook that fails on the upstream's head: before the head is sent, is a 5xx in the middle of an upload: %s throws",
    async (name) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, ...withHook(name, FAILING.throws) }, (app) =>
        app.get('/own', (_req, res) => res.send('own')),
      );
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      onCleanUp(() => agent.destroy());

      const req = openRequest(proxy.url, { method: 'POST', agent });
      const chunk = Buffer.alloc(64 * 1024);
      req.write(chunk);
      const received = await requests.next();
      eventStream(received.res);
      await expectHookFailed(await responseTo(req), name.includes('.') ? 500 : 502);
      for (let i = 1; i < 20; i += 1) req.write(chunk);
      req.end();
      await once(req, 'finish');

      const second = openRequest(`${proxy.url}/own`, { agent });
      second.end();
      expect(await readText(await responseTo(second))).toBe('own');
      expect(second.reusedSocket).toBe(true);
    },
  );

  it.each(
    ['on.proxyRes', 'plugin.proxyRes'].flatMap((name) =>
      (['rejects', 'rejects later'] as const).map((manner) => [name, manner] as const),
    ),
  )(
    "a hook that fails on the upstream's head: after the head was sent, cuts the response: %s %s",
    async (name, manner) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, ...withHook(name, FAILING[manner]) });

      const req = openRequest(proxy.url);
      req.end();
      const received = await requests.next();
      eventStream(received.res);
      const response = await responseTo(req);
      if (response.statusCode === 200) expect((await readUntilCut(response)).cut).toBe(true);
      else await expectHookFailed(response, 500);
      await received.closed;
      await expectOneSummary(proxy, FAILED);
    },
  );

  it.each(['on.start', 'on.proxyReq', 'on.proxyRes'])(
    "a hook that fails on the upstream's head: mid-stream cuts the response: %s rejects",
    async (name) => {
      const { url, requests } = await manualUpstream();
      const midStream = signal();
      const hook = async (): Promise<never> => {
        await midStream.promise;
        throw FAILURE;
      };
      const proxy = await proxyApp({ target: url, ...withHook(name, hook) });

      const req = openRequest(proxy.url);
      req.end();
      const received = await requests.next();
      eventStream(received.res).write('data: 1\n\n');
      const response = await responseTo(req);
      response.once('data', () => midStream.resolve());
      const { body, cut } = await readUntilCut(response);
      expect(body.toString()).toBe('data: 1\n\n');
      expect(cut).toBe(true);
      await received.closed;
      await expectOneSummary(proxy, { ...FAILED, statusCode: 200, bytes: 9 });
    },
  );

  it.each(['on.end', 'plugin.end'])(
    "a hook that fails on the upstream's head: when its response has ended, does not let it look whole: %s throws",
    async (name) => {
      const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
      const proxy = await proxyApp({ target: url, ...withHook(name, FAILING.throws) });

      const { body, cut } = await readUntilCut(await request(proxy.url));
      expect(body.toString()).toBe('data: 1\n\n');
      expect(cut).toBe(true);
      await expectOneSummary(proxy, { ...FAILED, statusCode: 200 });
    },
  );

  it.each(['on.start', 'on.proxyReq', 'on.proxyRes', 'on.end'])(
    'a hook that fails after the end: is only logged: %s rejects',
    async (name) => {
      const { url } = await upstream((_req, res) => res.end('fine'));
      const ended = signal();
      const hook = async (): Promise<never> => {
        await ended.promise;
        throw FAILURE;
      };
      const log = logbook();
      const proxy = await proxyApp({ target: url, logger: log.logger, ...withHook(name, hook) });

      expect(await readText(await request(proxy.url))).toBe('fine');
      await expectOneSummary(proxy, { outcome: 'completed' });
      ended.resolve();
      await turns();
      expect(log.errors).toEqual([expect.stringContaining(FAILURE.message)]);
    },
  );

  it.each(['rewriteHeaders', 'isEventStream'])(
    "a hook that fails on the upstream's head: does not end the process where it is not meant to be async: %s",
    async (name) => {
      const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
      for (const manner of ['rejects', 'rejects later'] as const) {
        const proxy = await proxyApp({ target: url, ...withHook(name, FAILING[manner]) });
        await readUntilCut(await request(proxy.url));
        expect(await proxy.summary()).toBeDefined();
      }
      await turns(10);
    },
  );

  it("a hook that fails on the upstream's head: answers by itself where `rewriteHeaders` throws for the error response, too", async () => {
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${await closedPort()}`,
      rewriteHeaders: FAILING.throws,
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
    await expectOneSummary(proxy, { outcome: 'upstream-error' });
  });
});

describe('a listener for the end that fails', () => {
  it.each(MANNERS)('a listener for the end that fails: is only logged: onFinish %s', async (manner) => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const log = logbook();
    const proxy = await proxyApp({ target: url, logger: log.logger, ...withHook('onFinish', FAILING[manner]) });

    expect(await readText(await request(proxy.url))).toBe('fine');
    await expectOneSummary(proxy, { outcome: 'completed' });
    expect(log.errors).toEqual([expect.stringContaining(FAILURE.message)]);
  });

  it.each(MANNERS)('a listener for the end that fails: is harmless without a logger: onFinish %s', async (manner) => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const proxy = await proxyApp({ target: url, ...withHook('onFinish', FAILING[manner]) });

    expect(await readText(await request(proxy.url))).toBe('fine');
    await expectOneSummary(proxy, { outcome: 'completed' });
  });

  it.each(MANNERS)(
    'a listener for the end that fails: is only logged, and the proxy answers: on.error %s',
    async (manner) => {
      const log = logbook();
      const proxy = await proxyApp({
        target: `http://127.0.0.1:${await closedPort()}`,
        logger: log.logger,
        ...withHook('on.error', FAILING[manner]),
      });

      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
      await expectOneSummary(proxy, { outcome: 'upstream-error' });
      expect(log.errors).toEqual([expect.stringContaining(FAILURE.message)]);
    },
  );

  it.each(MANNERS)('a listener for the end that fails: is only logged after the head: on.error %s', async (manner) => {
    const { url, requests } = await manualUpstream();
    const log = logbook();
    const proxy = await proxyApp({ target: url, logger: log.logger, ...withHook('on.error', FAILING[manner]) });

    const req = openRequest(proxy.url);
    req.end();
    const { res } = await requests.next();
    eventStream(res).write('data: 1\n\n');
    const response = await responseTo(req);
    response.once('data', () => res.destroy());
    expect((await readUntilCut(response)).cut).toBe(true);
    await expectOneSummary(proxy, { outcome: 'upstream-truncated' });
    expect(log.errors).toEqual([expect.stringContaining(FAILURE.message)]);
  });

  it.each(MANNERS)(
    'a listener for the end that fails: is only logged when the client has left: on.econnreset %s',
    async (manner) => {
      const { url, requests } = await manualUpstream();
      const log = logbook();
      const proxy = await proxyApp({ target: url, logger: log.logger, ...withHook('on.econnreset', FAILING[manner]) });

      const req = openRequest(proxy.url);
      req.end();
      const received = await requests.next();
      req.destroy();
      await received.closed;
      await expectOneSummary(proxy, { outcome: 'client-closed' });
      expect(log.errors).toEqual([expect.stringContaining(FAILURE.message)]);
    },
  );

  it('a listener for the end that fails: does not keep the next listener from being called', async () => {
    const called: string[] = [];
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: { error: FAILING.throws },
      plugins: [(server) => server.on('error', () => called.push('plugin'))],
    });

    expect((await request(proxy.url)).statusCode).toBe(502);
    expect(called).toEqual(['plugin']);
  });
});

describe('a hook that answers the request itself', () => {
  /** More than a connection takes at once. */
  const ANSWER = 'answered by the hook '.repeat(500_000);
  const answer = (res: ServerResponse): void => {
    res.writeHead(401, { 'x-answered-by': 'hook' });
    res.end(ANSWER);
  };

  async function expectAnswer(response: http.IncomingMessage, proxy: ProxyUnderTest): Promise<void> {
    const { body, cut } = await readUntilCut(response);
    expect(response.statusCode).toBe(401);
    expect(response.headers['x-answered-by']).toBe('hook');
    expect(body.toString() === ANSWER).toBe(true);
    expect(cut).toBe(false);
    await expectOneSummary(proxy, { outcome: 'completed', statusCode: 401 });
  }

  const early: [string, (url: string) => SseProxyOptions][] = [
    [
      'router',
      (url) => ({
        router: (_req, res) => {
          if (res !== undefined) answer(res);
          return url;
        },
      }),
    ],
    [
      'router, asynchronously',
      (url) => ({
        router: async (_req, res) => {
          await turns();
          if (res !== undefined) answer(res);
          return url;
        },
      }),
    ],
    [
      'router without a target',
      () => ({
        router: (_req, res) => {
          if (res !== undefined) answer(res);
          return '';
        },
      }),
    ],
    [
      'router, and then throws',
      () => ({
        router: (_req, res) => {
          if (res !== undefined) answer(res);
          throw FAILURE;
        },
      }),
    ],
    [
      'pathRewrite',
      (target) => ({
        target,
        pathRewrite: (path, _req, res) => {
          if (res !== undefined) answer(res);
          return path;
        },
      }),
    ],
  ];

  it.each(early)(
    'a hook that answers by itself: is respected, and no upstream request is made: %s',
    async (_, options) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp(options(url));

      await expectAnswer(await request(proxy.url), proxy);
      expect(requests.count).toBe(0);
      expect(proxy.summaries[0]).toMatchObject({ attempts: { length: 0 } });
    },
  );

  it.each(['start', 'proxyReq'] as const)(
    'a hook that answers by itself: is respected, and the upstream request is aborted: on.%s',
    async (event) => {
      const { url } = await manualUpstream();
      const proxy = await proxyApp({
        target: url,
        on: { [event]: (...args: unknown[]) => args.some((arg) => arg instanceof ServerResponse && void answer(arg)) },
      });

      await expectAnswer(await request(proxy.url), proxy);
    },
  );

  it('a hook that answers by itself: is respected while an upload is under way, and the upstream request is aborted: on.proxyReq', async () => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ target: url, on: { proxyReq: (_proxyReq, _req, res) => answer(res) } });

    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('up');
    await expectAnswer(await responseTo(req), proxy);
  });

  it('a hook that answers by itself: is respected, and the upstream response is aborted: on.proxyRes', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, on: { proxyRes: (_proxyRes, _req, res) => answer(res) } });

    const response = request(proxy.url);
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    await expectAnswer(await response, proxy);
    await received.closed;
  });

  it('a hook that answers by itself with a head of its own gets the upstream body behind it: on.proxyRes', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyRes: (_proxyRes, _req, res) => {
          res.writeHead(201, { 'content-type': 'text/plain', 'x-mine': '1' });
        },
      },
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(201);
    expect(response.headers).toMatchObject({ 'content-type': 'text/plain', 'x-mine': '1' });
    expect(response.headers).not.toHaveProperty('x-accel-buffering');
    expect(await readText(response)).toBe('data: 1\n\n');
    await expectOneSummary(proxy, { outcome: 'completed', statusCode: 201, bytes: 9 });
  });

  it('a hook that answers by itself with a part of the body gets the upstream body behind it: on.proxyReq', async () => {
    const { url } = await upstream((_req, res) => res.end('theirs'));
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyReq: (_proxyReq, _req, res) => {
          res.writeHead(200, { 'content-type': 'text/plain' });
          res.write('mine, ');
        },
      },
    });

    expect(await readText(await request(proxy.url))).toBe('mine, theirs');
    await expectOneSummary(proxy, { outcome: 'completed' });
  });

  it('a hook that answers by itself: where its upstream then fails, is cut: on.proxyReq with a head of its own', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyReq: (_proxyReq, _req, res) => {
          res.writeHead(200, { 'content-type': 'text/plain' });
          res.write('mine');
        },
      },
    });

    const response = request(proxy.url);
    (await requests.next()).res.destroy();
    const { body, cut } = await readUntilCut(await response);
    expect(body.toString()).toBe('mine');
    expect(cut).toBe(true);
    await expectOneSummary(proxy, { outcome: 'upstream-error', statusCode: 200, error: { code: 'UPSTREAM_CLOSED' } });
  });

  it.each([
    ['at once', async () => {}],
    ['later', () => turns()],
  ])('a hook that answers by itself: is respected: on.error %s', async (_, wait) => {
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: {
        error: async (_error, _req, res) => {
          await wait();
          if (res instanceof ServerResponse) res.writeHead(503, { 'retry-after': '7' }).end('busy');
        },
      },
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(503);
    expect(response.headers['retry-after']).toBe('7');
    expect(await readText(response)).toBe('busy');
    await expectOneSummary(proxy, {
      outcome: 'upstream-error',
      statusCode: 503,
      error: { code: 'UPSTREAM_UNREACHABLE' },
    });
  });

  it('a hook that answers by itself: is not waited for where it only logs: on.error', async () => {
    const logged: unknown[] = [];
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: { error: (error) => logged.push(error) },
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
    expect(logged).toEqual([expect.objectContaining({ code: 'ECONNREFUSED' })]);
  });

  it('a hook that answers by itself: is given what it may need: on.error', async () => {
    const calls = new Queue<unknown[]>();
    const port = await closedPort();
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${port}`,
      on: { error: (...args) => calls.push(args) },
    });

    await readAll(await request(`${proxy.url}/path`));
    const [error, req, res, target] = await calls.next();
    expect(error).toMatchObject({ code: 'ECONNREFUSED' });
    expect(req).toMatchObject({ url: '/path', originalUrl: '/path' });
    expect(res).toBeInstanceOf(ServerResponse);
    expect(String(target)).toBe(`http://127.0.0.1:${port}/`);
  });
});

describe('rewriteHeaders', () => {
  it.each([
    ['a stream', '/stream', 200],
    ['JSON', '/json', 200],
    ['an error of the upstream', '/429', 429],
    ['no content', '/204', 204],
    ['a redirect', '/302', 302],
    ['a cached answer', '/304', 304],
  ])('rewriteHeaders: runs exactly once for %s', async (_, path, statusCode) => {
    const { url } = await upstream((req, res) => {
      if (req.url === '/stream') eventStream(res).end('data: 1\n\ndata: 2\n\n');
      else if (req.url === '/json') res.setHeader('content-type', 'application/json').end('{}');
      else res.writeHead(Number(req.url?.slice(1))).end();
    });
    const heads: ResponseHead[] = [];
    const proxy = await proxyApp({ target: url, rewriteHeaders: (head) => void heads.push({ ...head }) });

    await readAll(await request(proxy.url + path));
    await proxy.summary();
    expect(heads).toMatchObject([{ statusCode }]);
  });

  it('rewriteHeaders: runs exactly once for HEAD', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'content-length': 10 }).end());
    let calls = 0;
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders: () => {
        calls += 1;
      },
    });

    const response = await request(proxy.url, { method: 'HEAD' });
    expect(response.headers['content-length']).toBe('10');
    expect(calls).toBe(1);
  });

  it("rewriteHeaders: runs exactly once for an error response of the proxy's own, and can change it", async () => {
    const heads: ResponseHead[] = [];
    const proxy = await proxyApp(
      {
        target: `http://127.0.0.1:${await closedPort()}`,
        rewriteHeaders: (head) => {
          heads.push(structuredClone(head));
          head.statusCode = 503;
          head.headers['retry-after'] = '1';
          delete head.headers['x-powered-by'];
        },
      },
      (app) => app.use((_req, res, next) => void next(res.set('x-app', '1') && undefined)),
    );

    const response = await request(proxy.url);
    expect(heads).toMatchObject([
      { statusCode: 502, headers: { 'content-type': 'application/json; charset=utf-8', 'x-app': '1' } },
    ]);
    expect(response.statusCode).toBe(503);
    expect(response.headers).toMatchObject({ 'retry-after': '1', 'x-app': '1' });
    expect(response.headers).not.toHaveProperty('x-powered-by');
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
    await expectOneSummary(proxy, { outcome: 'upstream-error', statusCode: 503 });
  });

  it('rewriteHeaders: runs last: it sees what the proxy and the app have set', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end());
    const heads: ResponseHead[] = [];
    const proxy = await proxyApp(
      { target: url, rewriteHeaders: (head) => void heads.push(structuredClone(head)) },
      (app) =>
        app.use((_req, res, next) => {
          res.set('x-app', '1');
          next();
        }),
    );

    await readAll(await request(proxy.url));
    expect(heads).toMatchObject([
      {
        statusCode: 200,
        statusMessage: 'OK',
        headers: {
          'content-type': 'text/event-stream',
          'cache-control': 'no-transform',
          'x-accel-buffering': 'no',
          'x-powered-by': 'Express',
          'x-app': '1',
        },
      },
    ]);
  });

  it('rewriteHeaders: can change the status, the reason and any header', async () => {
    const { url } = await upstream((_req, res) =>
      res
        .writeHead(200, { 'x-changed': 'upstream', 'x-removed': 'upstream', 'content-type': 'text/plain' })
        .end('body'),
    );
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders(head) {
        head.statusCode = 299;
        head.statusMessage = 'Rewritten';
        head.headers['x-changed'] = 'by the hook';
        head.headers['x-added'] = ['1', '2'];
        delete head.headers['x-removed'];
        delete head.headers['x-powered-by'];
      },
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(299);
    expect(response.statusMessage).toBe('Rewritten');
    expect(response.headersDistinct).toMatchObject({ 'x-changed': ['by the hook'], 'x-added': ['1', '2'] });
    expect(response.headers).not.toHaveProperty('x-removed');
    expect(response.headers).not.toHaveProperty('x-powered-by');
    expect(await readText(response)).toBe('body');
    await expectOneSummary(proxy, { outcome: 'completed', statusCode: 299 });
  });

  it('rewriteHeaders: can replace all headers', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'x-upstream': '1' }).end('body'));
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders: (head) => {
        head.headers = { 'x-only': '1' };
      },
    });

    const response = await request(proxy.url);
    expect(response.headers).toMatchObject({ 'x-only': '1' });
    expect(response.headers).not.toHaveProperty('x-upstream');
    expect(response.headers).not.toHaveProperty('x-powered-by');
    expect(await readText(response)).toBe('body');
  });

  it.each([99, 101, 199, 1000, 200.5, Number.NaN, '200 OK'])(
    'rewriteHeaders that sets status %p is a 502',
    async (statusCode) => {
      const { url } = await upstream((_req, res) => eventStream(res).write('data: 1\n\n'));
      const proxy = await proxyApp({
        target: url,
        rewriteHeaders: (head) => {
          Object.assign(head, { statusCode });
        },
      });

      await expectHookFailed(await request(proxy.url), 502);
      await expectOneSummary(proxy, { outcome: 'failed', statusCode: 502, error: { code: 'HOOK_FAILED' } });
    },
  );

  it('rewriteHeaders that sets characters which HTTP forbids loses that header only', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'x-upstream': 'fine' }).end('body'));
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders(head) {
        Object.assign(head.headers, {
          'x-injected': 'a\r\nx-evil: 1',
          'x-control': 'a\u0000b',
          'x-unicode': '\u4f60',
          'x-list': ['fine', 'not\nfine'],
          'not a name': '1',
          '': 'no name',
          'x-good': '1',
        });
        head.statusMessage = 'Bad\r\nx-evil: 1';
      },
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(200);
    expect(response.statusMessage).toBe('OK');
    expect(response.headers).toMatchObject({ 'x-good': '1', 'x-upstream': 'fine' });
    for (const name of ['x-injected', 'x-evil', 'x-control', 'x-unicode', 'x-list', 'not a name']) {
      expect(response.headers).not.toHaveProperty([name]);
    }
    expect(await readText(response)).toBe('body');
  });

  it('rewriteHeaders that invalidates a header of the app loses it, rather than sending the old value', async () => {
    const { url } = await upstream((_req, res) => res.end('body'));
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders: (head) => {
        head.headers['x-powered-by'] = 'a\nb';
      },
    });

    expect((await request(proxy.url)).headers).not.toHaveProperty('x-powered-by');
  });

  it('rewriteHeaders: is told of the exchange', async () => {
    const { url } = await upstream((_req, res) => res.end());
    const seen: Exchange[] = [];
    const proxy = await proxyApp({
      target: `${url}/base`,
      rewriteHeaders: (_head, exchange) => void seen.push(exchange),
    });

    await readAll(await request(`${proxy.url}/path`));
    expect(seen).toHaveLength(1);
    expect(seen[0]?.attempts).toHaveLength(1);
    expect(seen[0]?.target).toBe(url);
    expect(seen[0]?.req).toMatchObject({ originalUrl: '/path' });
    expect(seen[0]?.res).toBeInstanceOf(ServerResponse);
  });
});

describe('onFinish', () => {
  it('onFinish: is told of the exchange, and what came of it', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(418).end('teapot'));
    const calls = new Queue<[unknown, Exchange]>();
    const proxy = await proxyApp({ target: url, onFinish: (...args) => calls.push(args) });

    await readAll(await request(`${proxy.url}/path`));
    const [summary, exchange] = await calls.next();
    expect(summary).toEqual({
      outcome: 'completed',
      statusCode: 418,
      attempts: [{ target: url, statusCode: 418, duration: expect.any(Number) }],
      target: url,
      bytes: 6,
      timings: { headers: expect.any(Number), firstByte: expect.any(Number), total: expect.any(Number) },
    });
    expect(exchange.req).toMatchObject({ originalUrl: '/path' });
    expect(exchange.res).toBeInstanceOf(ServerResponse);
    expect(calls.count).toBe(1);
  });

  it('onFinish: is not called for a request that `pathFilter` leaves to the app', async () => {
    const { url } = await upstream((_req, res) => res.end());
    const proxy = await proxyApp({ target: url, pathFilter: '/api' });

    expect((await request(`${proxy.url}/other`)).statusCode).toBe(404);
    expect((await request(`${proxy.url}/api`)).statusCode).toBe(200);
    await expectOneSummary(proxy, { outcome: 'completed' });
  });
});
