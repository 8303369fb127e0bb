import { once } from 'node:events';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, it } from '@jest/globals';
import express, { type ErrorRequestHandler, Router } from 'express';
import { createSseProxy, SseProxyError, type SseProxyOptions } from '../../../lib/index.js';
import { readAll, reader, readText, readUntilCut, request } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { watchProcess } from '../../support/watch/process.js';

afterEach(closeAll);

/** The alias has no types of its own. */
const express4: typeof express = createRequire(import.meta.url)('express4');

/** Answers with the request line that it got. */
const echo = () => upstream((req, res) => res.end(`${req.method} ${req.url}`));

async function serve(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(http.createServer(listener))}`;
}

async function get(url: string): Promise<[status: number | undefined, body: string]> {
  const response = await request(url);
  return [response.statusCode, await readText(response)];
}

const nobody = 'http://127.0.0.1:1';

describe('createSseProxy', () => {
  it('createSseProxy: throws for options that cannot be right', () => {
    expect(() => createSseProxy({})).toThrow('createSseProxy needs `target`');
  });

  it('createSseProxy: makes a function that Express does not take for an error handler, with a name for its stack', () => {
    const proxy = createSseProxy({ target: nobody });
    expect(proxy).toHaveLength(3);
    expect(proxy.name).toBe('sseProxy');
  });
});

describe("a request that is not the proxy's", () => {
  it("middleware: a request that is not the proxy's goes to the next middleware, untouched", async () => {
    const proxy = await proxyApp({ target: nobody, pathFilter: '/api', pathRewrite: { '^/': '/x' } });
    proxy.app.use((req, res) => {
      res.json([req.url, req.headers.connection]);
    });
    expect(await get(`${proxy.url}/other?a=b`)).toEqual([200, '["/other?a=b","close"]']);
    expect(proxy.summaries).toEqual([]);
  });

  it("middleware: a request that is not the proxy's is a 404 where there is no next", async () => {
    const url = await serve(createSseProxy({ target: nobody, pathFilter: '/api' }));
    expect(await get(`${url}/other`)).toEqual([404, '']);
  });
});

describe('active', () => {
  it('proxy.active: counts the exchanges that have not ended', async () => {
    const streams: ServerResponse[] = [];
    const { url } = await upstream((_req, res) => streams.push(eventStream(res)));
    const proxy = await proxyApp({ target: url, pathFilter: '/api' });
    proxy.app.use((_req, res) => res.end());
    expect(proxy.proxy.active).toBe(0);
    const first = await request(`${proxy.url}/api`);
    const second = await request(`${proxy.url}/api`);
    await get(`${proxy.url}/other`);
    expect(proxy.proxy.active).toBe(2);
    first.destroy();
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect(proxy.proxy.active).toBe(1);
    streams[1]?.end();
    await readAll(second);
    await proxy.summary();
    expect(proxy.proxy.active).toBe(0);
  });

  it('proxy.active: cannot be set', () => {
    const proxy = createSseProxy({ target: nobody });
    expect(Reflect.set(proxy, 'active', 7)).toBe(false);
    expect(proxy.active).toBe(0);
  });

  it('proxy.active: is 0 again after failures, also those that Express answers', async () => {
    for (const onError of ['respond', 'next'] as const) {
      const proxy = await proxyApp({ target: nobody, onError });
      proxy.app.use(((_error, _req, res, _next) => res.status(500).end()) satisfies ErrorRequestHandler);
      await get(proxy.url);
      expect((await proxy.summary()).outcome).toBe('upstream-error');
      expect(proxy.proxy.active).toBe(0);
    }
  });
});

describe('the promise of a request', () => {
  it('middleware: the promise of a request resolves when its exchange has ended', async () => {
    let stream: ServerResponse | undefined;
    const { url } = await upstream((_req, res) => {
      stream = eventStream(res);
    });
    const proxy = createSseProxy({ target: url });
    let settled: Promise<void> | undefined;
    let isSettled = false;
    const response = await request(
      await serve((req, res) => {
        settled = proxy(req, res).then(() => {
          isSettled = true;
        });
      }),
    );
    expect(isSettled).toBe(false);
    stream?.end();
    await readAll(response);
    await settled;
    expect(proxy.active).toBe(0);
  });

  it('middleware: the promise of a request resolves when the request was handed on', async () => {
    const proxy = createSseProxy({ target: nobody, pathFilter: '/api' });
    let settled: Promise<void> | undefined;
    const url = await serve((req, res) => {
      settled = proxy(req, res, () => res.end());
    });
    await get(`${url}/other`);
    await expect(settled).resolves.toBeUndefined();
  });

  it('middleware: the promise of a request never rejects, even for a body that cannot be written again', async () => {
    const seen = watchProcess();
    const { url } = await echo();
    const proxy = createSseProxy({ target: url });
    const front = await serve(async (req, res) => {
      await readAll(req);
      const body: Record<string, unknown> = {};
      body.self = body;
      void proxy(Object.assign(req, { body }), res);
    });
    const headers = { 'content-type': 'application/json' };
    const response = await request(front, { method: 'POST', headers, body: '{}' });
    expect(response.statusCode).toBe(500);
    expect(JSON.parse(await readText(response)).error.code).toBe('REQUEST_BODY_CONSUMED');
    expect(seen.map(String)).toEqual([]);
  });
});

describe('the place of the proxy', () => {
  it('middleware: the place of the proxy may be a plain node:http server', async () => {
    const { url } = await echo();
    expect(await get(`${await serve(createSseProxy({ target: url }))}/a?b=c`)).toEqual([200, 'GET /a?b=c']);
  });

  it.each([
    ['Express 5', express],
    ['Express 4', express4],
  ])('middleware: the place of the proxy may be a path, a router or a route of %s', async (_version, framework) => {
    const { url } = await echo();
    const app = framework();
    app.use('/mounted', createSseProxy({ target: url }));
    app.use('/prefixed', createSseProxy({ target: `${url}/v1` }));
    const router = framework.Router();
    router.use('/inner', createSseProxy({ target: url }));
    app.use('/outer', router);
    app.get('/route/:id', createSseProxy({ target: url }));
    const front = await serve(app);
    expect(await get(`${front}/mounted/a?b=c`)).toEqual([200, 'GET /a?b=c']);
    expect(await get(`${front}/mounted`)).toEqual([200, 'GET /']);
    expect(await get(`${front}/prefixed/a`)).toEqual([200, 'GET /v1/a']);
    expect(await get(`${front}/outer/inner/a`)).toEqual([200, 'GET /a']);
    expect(await get(`${front}/route/7`)).toEqual([200, 'GET /route/7']);
  });

  it.each([
    ['Express 5', express],
    ['Express 4', express4],
  ])('middleware: the place of the proxy streams event by event under %s', async (_version, framework) => {
    let stream: ServerResponse | undefined;
    const { url } = await upstream((_req, res) => {
      stream = eventStream(res);
    });
    const app = framework();
    app.use('/api', createSseProxy({ target: url }));
    const events = reader(await request(`${await serve(app)}/api/stream`));
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      stream?.write(event);
      expect(await events.until('\n\n')).toBe(event);
    }
    stream?.end();
  });

  it.each([
    ['Express 5', express],
    ['Express 4', express4],
  ])('middleware: the place of the proxy hands failures to the error middleware of %s', async (_version, framework) => {
    const app = framework();
    app.use('/api', createSseProxy({ target: nobody, onError: 'next' }));
    const errors: unknown[] = [];
    app.use(((error, _req, res, _next) => {
      errors.push(error);
      res.status(error.status).send(error.code);
    }) satisfies ErrorRequestHandler);
    expect(await get(`${await serve(app)}/api`)).toEqual([502, 'UPSTREAM_UNREACHABLE']);
    expect(errors[0]).toBeInstanceOf(SseProxyError);
  });

  it('middleware: the place of the proxy answers by itself where there is no error middleware to hand failures to', async () => {
    const [status, body] = await get(await serve(createSseProxy({ target: nobody, onError: 'next' })));
    expect([status, JSON.parse(body).error.code]).toEqual([502, 'UPSTREAM_UNREACHABLE']);
  });

  it('middleware: the place of the proxy gives the error middleware the URL that came in', async () => {
    const app = express();
    app.use('/api', createSseProxy({ target: nobody, onError: 'next', pathRewrite: { '^/in': '/out' } }));
    app.use('/api/in', ((_error, req, res, _next) =>
      res.status(502).send(req.originalUrl)) satisfies ErrorRequestHandler);
    expect(await get(`${await serve(app)}/api/in?a`)).toEqual([502, '/api/in?a']);
  });

  it('middleware: the place of the proxy may be taken more than once: each with its target, pool and count', async () => {
    const seen = watchProcess();
    const app = express();
    const proxies = await Promise.all(
      Array.from({ length: 8 }, async (_value, i) => {
        const { url } = await upstream((_req, res) => res.end(String(i)));
        return createSseProxy({ target: url });
      }),
    );
    for (const [i, proxy] of proxies.entries()) app.use(`/${i}`, proxy);
    const front = await serve(app);
    for (const i of proxies.keys()) expect(await get(`${front}/${i}`)).toEqual([200, String(i)]);
    // Many proxies in one server are no leak of listeners.
    expect(seen.map(String)).toEqual([]);
  });

  it('middleware: the place of the proxy may be behind another proxy in the same app', async () => {
    const { url } = await echo();
    const app = Router();
    app.use('/inner', createSseProxy({ target: url }));
    const inner = await serve(express().use(app));
    expect(await get(`${await serve(createSseProxy({ target: `${inner}/inner` }))}/a`)).toEqual([200, 'GET /a']);
  });

  it('middleware: the place of the proxy may be shared by several servers; its pool goes with the last of them', async () => {
    const { server: origin, url } = await echo();
    const proxy = createSseProxy({ target: url });
    const [first, second] = [http.createServer(proxy), http.createServer(proxy)];
    const urls = [await listen(first), await listen(second)].map((port) => `http://127.0.0.1:${port}`);
    const connected = once(origin, 'connection');
    for (const front of urls) expect((await get(front))[0]).toBe(200);
    const [socket] = await connected;
    const closed = once(socket, 'close');
    await new Promise((resolve) => first.close(resolve));
    expect((await get(urls[1] ?? ''))[0]).toBe(200);
    expect(socket.destroyed).toBe(false);
    second.close();
    await closed;
  });
});

describe("hooks and Express's own response", () => {
  it("hooks and Express's response: what a hook sets on the response is sent, as in http-proxy-middleware", async () => {
    const { url } = await echo();
    const on: SseProxyOptions['on'] = {
      proxyReq: (_proxyReq, _req, res) => {
        res.setHeader('x-proxy-req', '1');
      },
      proxyRes: (_proxyRes, _req, res) => {
        res.setHeader('x-proxy-res', '1');
      },
    };
    const { headers } = (await request((await proxyApp({ target: url, on })).url)).resume();
    expect(headers).toMatchObject({ 'x-proxy-req': '1', 'x-proxy-res': '1' });
  });

  it("hooks and Express's response: a hook that ends the response in mid-stream ends it, not the process", async () => {
    const seen = watchProcess();
    const { url } = await upstream((_req, res) => {
      eventStream(res).write('data: 1\n\n');
    });
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyRes(proxyRes, _req, res) {
          proxyRes.on('data', () => res.end());
        },
      },
    });
    await readAll(await request(proxy.url));
    await proxy.summary();
    expect(seen.map(String)).toEqual([]);
    expect(proxy.proxy.active).toBe(0);
  });

  it.each([
    ['the response of the upstream', async () => (await echo()).url],
    ['an error response', async () => nobody],
  ])(
    "hooks and Express's response: an async rewriteHeaders that rejects ends the exchange, not the process: %s",
    async (_case, target) => {
      const seen = watchProcess();
      // One that is declared as async is refused at construction.
      const rewriteHeaders = (): Promise<void> => Promise.reject(new Error('too late'));
      const proxy = await proxyApp({ target: await target(), rewriteHeaders });
      const response = await request(proxy.url);
      const { cut } = await readUntilCut(response);
      // Never the upstream's response as if nothing had happened.
      expect(response.statusCode === 502 || cut).toBe(true);
      await proxy.summary();
      expect(seen.map(String)).toEqual([]);
    },
  );

  it("hooks and Express's response: the response is finished once for a client that was just leaving", async () => {
    const { url } = await echo();
    const outcomes: string[] = [];
    let finish = (): void => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const proxy = createSseProxy({
      target: url,
      onFinish(summary) {
        outcomes.push(summary.outcome);
        finish();
      },
    });
    const front = await serve((req, res) => {
      // As middleware does that awaits something while the client leaves.
      req.socket.prependOnceListener('close', () => void proxy(req, res));
      req.socket.destroy();
    });
    await expect(request(front)).rejects.toThrow();
    await finished;
    for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(outcomes).toEqual(['client-closed']);
    expect(proxy.active).toBe(0);
  });
});
