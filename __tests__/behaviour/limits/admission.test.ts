import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { readAll, request } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { post } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('pathFilter: the first verdict holds for the exchange', () => {
  /** A canary: it lets a request pass once, and never again. */
  function canary(): { pathFilter: () => boolean; asked(): number } {
    let asked = 0;
    return { pathFilter: () => ++asked === 1, asked: () => asked };
  }

  it('pathFilter: the first verdict holds with a retry', async () => {
    let requests = 0;
    const { url } = await upstream((_req, res) => {
      requests += 1;
      if (requests === 1) res.writeHead(503).end();
      else res.end('good');
    });
    const { pathFilter, asked } = canary();
    const retry = { maxRetries: 1, minTimeout: 1, maxTimeout: 1 };
    const proxy = await proxyApp({ target: url, pathFilter, retry });
    expect((await readAll(await request(proxy.url))).toString()).toBe('good');
    expect(asked()).toBe(1);
    expect((await proxy.summary()).outcome).toBe('completed');
    expect(proxy.proxy.active).toBe(0);
  });

  it('pathFilter: the first verdict holds with a fallback', async () => {
    const { url } = await upstream((_req, res) => void res.end('good'));
    const { pathFilter, asked } = canary();
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, fallbacks: [url], pathFilter });
    expect((await readAll(await request(proxy.url))).toString()).toBe('good');
    expect(asked()).toBe(1);
  });

  it('pathFilter: the first verdict holds with a fresh connection after a stale one', async () => {
    const { url } = await upstream((req, res) => {
      // The connection is closed when the next request has come in on it.
      req.socket.once('data', () => req.socket.destroy());
      res.end('good');
    });
    let asked = 0;
    const proxy = await proxyApp({
      target: url,
      pathFilter: () => {
        asked += 1;
        return asked <= 2;
      },
    });
    for (let i = 0; i < 2; i += 1) expect((await readAll(await request(proxy.url))).toString()).toBe('good');
    expect(asked).toBe(2);
  });

  it('pathFilter: the first verdict holds and what it has made of `req.url` is what every attempt begins with', async () => {
    const paths: (string | undefined)[] = [];
    const { url } = await upstream((req, res) => {
      paths.push(req.url);
      if (paths.length === 1) res.writeHead(503).end();
      else res.end();
    });
    const proxy = await proxyApp({
      target: url,
      pathFilter: (_path, req) => Boolean(Object.assign(req, { url: '/filtered' })),
      pathRewrite: (path) => `${path}/rewritten`,
      retry: { maxRetries: 1, minTimeout: 1, maxTimeout: 1 },
    });
    await readAll(await request(`${proxy.url}/asked`));
    expect(paths).toEqual(['/filtered/rewritten', '/filtered/rewritten']);
  });
});

describe('admission: comes before the callbacks of the user', () => {
  const cases: [string, SseProxyOptions, string][] = [
    ['`allow` names another path', { allow: ['POST /v1/other'] }, 'NOT_FOUND'],
    ['`allow` names another method', { allow: ['GET /'] }, 'METHOD_NOT_ALLOWED'],
    ['the body is too large', { limits: { requestBody: 1 } }, 'REQUEST_BODY_TOO_LARGE'],
    ['the proxy drains', {}, 'DRAINING'],
  ];

  it.each(cases)('admission: comes before callbacks where %s', async (_what, options, code) => {
    const called: string[] = [];
    const { url } = await upstream((_req, res) => void res.end());
    const proxy = await proxyApp({
      ...options,
      target: url,
      router: () => void called.push('router') as never,
      pathRewrite: (path) => {
        called.push('pathRewrite');
        return path;
      },
    });
    if (code === 'DRAINING') await proxy.proxy.drain();
    const response = await post(proxy.url);
    expect(JSON.parse((await readAll(response)).toString())).toMatchObject({ error: { code } });
    expect(called).toEqual([]);
    expect(await proxy.summary()).toMatchObject({ outcome: 'refused', attempts: [] });
  });

  it('admission: comes before callbacks and is asked for once: an exchange that is drained while it waits for a retry is not refused', async () => {
    let requests = 0;
    const { url } = await upstream((_req, res) => {
      requests += 1;
      if (requests === 1) res.writeHead(503).end();
      else res.end('good');
    });
    const proxy = await proxyApp({ target: url, retry: { maxRetries: 1, minTimeout: 40, maxTimeout: 40 } });
    const response = request(proxy.url);
    while (requests === 0) await new Promise(setImmediate);
    const drained = proxy.proxy.drain();
    expect((await readAll(await response)).toString()).toBe('good');
    await drained;
  });
});
