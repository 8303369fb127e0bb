import { once } from 'node:events';
import type { ClientRequest, ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { expectErrorResponse, openRequest, readText, request, responseTo } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** The path of a request that is to fail where others do not. */
const FIRST = '/first';

/** A request that has come in when this resolves. */
async function send(proxy: ProxyUnderTest, path = '/', options = {}): Promise<ClientRequest> {
  const active = proxy.proxy.active + 1;
  const req = openRequest(proxy.url + path, options).end();
  await until(() => proxy.proxy.active === active);
  return req;
}

describe('limits.concurrency', () => {
  it('limits.concurrency: answers what is more with a 503 at once, and does not send it', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 2 } });
    const running = [await send(proxy), await send(proxy)];
    const [one, two] = [await requests.next(), await requests.next()];

    const response = await request(proxy.url, { method: 'POST', body: '{}' });
    expect(response.headers['retry-after']).toBe('1');
    await expectErrorResponse(response, 503, 'CONCURRENCY_LIMIT');
    const summary = await proxy.summary();
    expect(summary).toMatchObject({ outcome: 'refused', statusCode: 503, attempts: { length: 0 } });
    expect(summary.error).toMatchObject({ code: 'CONCURRENCY_LIMIT' });
    expect(summary).not.toHaveProperty('target');

    for (const { res } of [one, two]) res.end('fine');
    for (const req of running) expect(await readText(await responseTo(req))).toBe('fine');
    expect(requests.count).toBe(2);
  });

  it('limits.concurrency: says so in the shape of the provider', async () => {
    const { url, requests } = await manualUpstream();
    const provider = openai({ target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, limits: { concurrency: 1 } });
    await send(proxy);
    const { res } = await requests.next();
    const body = JSON.parse(await readText(await post(proxy.url)));
    expect(body.error).toMatchObject({ code: 'CONCURRENCY_LIMIT', param: null });
    res.end();
  });

  it('limits.concurrency: does not count what the proxy is not for', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1 }, pathFilter: '/ours' });
    await send(proxy, '/ours');
    const { res } = await requests.next();
    expect((await request(`${proxy.url}/theirs`)).statusCode).toBe(404);
    res.end();
  });

  /** Has an exchange end, one way or another; `next` resolves with what the upstream is to answer. */
  type Ending = (proxy: ProxyUnderTest, next: () => Promise<ServerResponse>) => Promise<unknown>;

  const beforeTheHead = async (proxy: ProxyUnderTest, next: () => Promise<ServerResponse>) => {
    const client = await send(proxy, FIRST);
    return { client, res: await next() };
  };
  const behindTheHead = async (proxy: ProxyUnderTest, next: () => Promise<ServerResponse>) => {
    const { client, res } = await beforeTheHead(proxy, next);
    eventStream(res).write('data: 1\n\n');
    await once(await responseTo(client), 'data');
    return { client, res };
  };
  const answered: Ending = async (proxy) =>
    readText(await request(proxy.url + FIRST, { method: 'POST', body: '12345' }));
  const fail = (path: string | undefined): void => {
    if (path === FIRST) throw new Error('no');
  };

  const ENDINGS: { that: string; end: Ending; options?: () => SseProxyOptions | Promise<SseProxyOptions> }[] = [
    {
      that: 'is complete',
      end: async (...setting) => {
        const { client, res } = await behindTheHead(...setting);
        client.on('response', (response) => response.resume());
        res.end();
      },
    },
    {
      that: 'has lost its client before the head',
      end: async (...it) => (await beforeTheHead(...it)).client.destroy(),
    },
    {
      that: 'has lost its client behind the head',
      end: async (...it) => (await behindTheHead(...it)).client.destroy(),
    },
    { that: 'has lost its upstream before the head', end: async (...it) => (await beforeTheHead(...it)).res.destroy() },
    { that: 'has lost its upstream behind the head', end: async (...it) => (await behindTheHead(...it)).res.destroy() },
    {
      that: 'has passed a deadline',
      end: answered,
      options: async () => ({
        router: { [FIRST]: (await rawUpstream(() => {})).url.replace('http:', 'https:') },
        timeouts: { connect: 20 },
      }),
    },
    {
      that: 'has an upstream that cannot be reached',
      end: answered,
      options: async () => ({ router: { [FIRST]: `http://127.0.0.1:${await closedPort()}` } }),
    },
    {
      that: 'has a hook that fails at the head',
      end: async (...setting) => {
        const { client, res } = await beforeTheHead(...setting);
        res.end();
        await readText(await responseTo(client));
      },
      options: () => ({ rewriteHeaders: (_head, { path }) => fail(path) }),
    },
    {
      that: 'has a hook that fails before it is sent',
      end: answered,
      options: () => ({
        pathRewrite: (path) => {
          fail(path);
          return path;
        },
      }),
    },
    {
      that: 'has a body that is too large',
      end: answered,
      options: () => ({ limits: { concurrency: 1, requestBody: 4 } }),
    },
    {
      that: 'has lost its client in the wait for a retry',
      end: async (proxy, next) => {
        const { client, res } = await beforeTheHead(proxy, next);
        res.writeHead(503, { 'retry-after': '20' }).end();
        await closed(res);
        client.destroy();
      },
      options: () => ({ retry: {} }),
    },
  ];

  it.each(ENDINGS)('limits.concurrency: gives the place of an exchange back that $that', async ({ end, options }) => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1 }, ...(await options?.()) });
    await end(proxy, async () => (await requests.next()).res);
    await proxy.summary();
    expect(proxy.proxy.active).toBe(0);

    // One place, no more and no fewer.
    await send(proxy);
    const { req, res } = await requests.next();
    expect(req.url).toBe('/');
    expect((await request(proxy.url)).statusCode).toBe(503);
    res.end();
  });
});

describe('limits.queue', () => {
  it('limits.queue: has requests wait for their turn, in the order of their coming, up to `size`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 2 } } });
    const clients = [await send(proxy, '/1'), await send(proxy, '/2'), await send(proxy, '/3')];
    await expectErrorResponse(await request(`${proxy.url}/4`), 503, 'CONCURRENCY_LIMIT');

    const order: (string | undefined)[] = [];
    for (const client of clients) {
      const { req, res } = await requests.next();
      await turns();
      // The others still wait.
      expect(requests.count).toBe(order.length + 1);
      order.push(req.url);
      res.end(req.url);
      expect(await readText(await responseTo(client))).toBe(req.url);
    }
    expect(order).toEqual(['/1', '/2', '/3']);
  });

  it('limits.queue: keeps the body of a request that waits', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    await send(proxy);
    const first = await requests.next();
    const body = 'x'.repeat(500_000);
    const response = post(proxy.url, body);
    await until(() => proxy.proxy.active === 2);
    first.res.end();
    const { req, res } = await requests.next();
    expect((await readText(req)) === body).toBe(true);
    res.end('fine');
    expect(await readText(await response)).toBe('fine');
  });

  it('limits.queue: has nobody wait for longer than `timeout`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1, timeout: 20 } } });
    await send(proxy);
    const { res } = await requests.next();
    const response = await request(proxy.url);
    expect(response.headers['retry-after']).toBe('1');
    await expectErrorResponse(response, 503, 'CONCURRENCY_LIMIT');
    expect(await proxy.summary()).toMatchObject({ outcome: 'refused', attempts: { length: 0 } });
    res.end();
    await proxy.summary();
    expect(requests.count).toBe(1);
  });

  it('limits.queue: gives the place of a client that leaves to the next', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    await send(proxy, '/1');
    const first = await requests.next();
    const leaving = await send(proxy, '/2');
    leaving.destroy();
    expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed', attempts: { length: 0 } });

    const waiting = await send(proxy, '/3');
    first.res.end();
    const { req, res } = await requests.next();
    expect(req.url).toBe('/3');
    res.end('fine');
    expect(await readText(await responseTo(waiting))).toBe('fine');
    expect(requests.count).toBe(2);
  });

  it('limits.queue: gives back the places of clients that leave all at once', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    await send(proxy, '/1');
    await requests.next();
    await send(proxy, '/2');
    proxy.server.closeAllConnections();
    for (let i = 0; i < 2; i += 1) expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed' });

    const next = await send(proxy, '/3');
    let received = await requests.next();
    // The one that waited may have been sent in the meantime.
    if (received.req.url === '/2') received = await requests.next();
    received.res.end(received.req.url);
    expect(await readText(await responseTo(next))).toBe('/3');
  });

  it('limits.queue: counts as a part of the whole exchange: `timeouts.total`', async () => {
    const { url, requests } = await manualUpstream();
    let total = false;
    const proxy = await proxyApp({
      target: url,
      limits: { concurrency: 1, queue: { size: 1 } },
      timeouts: { total: 300 },
      onFinish: ({ outcome }) => {
        total ||= outcome === 'timeout';
      },
    });
    const running = await send(proxy);
    eventStream((await requests.next()).res);
    await responseTo(running);
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(504);
    await response.resume();
    await until(() => total);
  });
});
