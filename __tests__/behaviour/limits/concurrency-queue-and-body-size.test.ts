import { once } from 'node:events';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import type { SseProxyErrorCode, SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** The path of a request that is to fail where others do not. */
const FIRST = '/first';

async function expectRefused(response: IncomingMessage, status: number, code: SseProxyErrorCode): Promise<void> {
  expect(response.statusCode).toBe(status);
  expect(JSON.parse(await readText(response)).error).toMatchObject({ code, message: expect.any(String) });
}

/** A request that has come in when this resolves. */
async function send(proxy: ProxyUnderTest, path = '/', options = {}): Promise<ClientRequest> {
  const active = proxy.proxy.active + 1;
  const req = openRequest(proxy.url + path, options).end();
  await until(() => proxy.proxy.active === active);
  return req;
}

describe('limits.concurrency', () => {
  it('answers what is more with a 503 at once, and does not send it', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 2 } });
    const running = [await send(proxy), await send(proxy)];
    const [one, two] = [await requests.next(), await requests.next()];

    const response = await request(proxy.url, { method: 'POST', body: '{}' });
    expect(response.headers['retry-after']).toBe('1');
    await expectRefused(response, 503, 'CONCURRENCY_LIMIT');
    const summary = await proxy.summary();
    expect(summary).toMatchObject({ outcome: 'refused', statusCode: 503, attempts: { length: 0 } });
    expect(summary.error).toMatchObject({ code: 'CONCURRENCY_LIMIT' });
    expect(summary).not.toHaveProperty('target');

    for (const { res } of [one, two]) res.end('fine');
    for (const req of running) expect(await readText(await responseTo(req))).toBe('fine');
    expect(requests.count).toBe(2);
  });

  it('says so in the shape of the provider', async () => {
    const { url, requests } = await manualUpstream();
    const provider = openai({ target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, limits: { concurrency: 1 } });
    await send(proxy);
    const { res } = await requests.next();
    const body = JSON.parse(await readText(await post(proxy.url)));
    expect(body.error).toMatchObject({ code: 'CONCURRENCY_LIMIT', param: null });
    res.end();
  });

  it('does not count what the proxy is not for', async () => {
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

  it.each(ENDINGS)('gives the place of an exchange back that $that', async ({ end, options }) => {
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
  it('has requests wait for their turn, in the order of their coming, up to `size`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 2 } } });
    const clients = [await send(proxy, '/1'), await send(proxy, '/2'), await send(proxy, '/3')];
    await expectRefused(await request(`${proxy.url}/4`), 503, 'CONCURRENCY_LIMIT');

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

  it('keeps the body of a request that waits', async () => {
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

  it('has nobody wait for longer than `timeout`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1, timeout: 20 } } });
    await send(proxy);
    const { res } = await requests.next();
    const response = await request(proxy.url);
    expect(response.headers['retry-after']).toBe('1');
    await expectRefused(response, 503, 'CONCURRENCY_LIMIT');
    expect(await proxy.summary()).toMatchObject({ outcome: 'refused', attempts: { length: 0 } });
    res.end();
    await proxy.summary();
    expect(requests.count).toBe(1);
  });

  it('gives the place of a client that leaves to the next', async () => {
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

  it('gives back the places of clients that leave all at once', async () => {
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

  it('counts as a part of the whole exchange: `timeouts.total`', async () => {
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

describe('limits.requestBody', () => {
  const limits = { requestBody: '1kb' };
  const TOO_MUCH = 1025;

  it('answers a larger Content-Length with a 413 before anything of the body, and sends nothing', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST', headers: { 'content-length': String(TOO_MUCH) } });
    req.flushHeaders();
    const response = await responseTo(req);
    expect(response.headers.connection).toBe('close');
    await expectRefused(response, 413, 'REQUEST_BODY_TOO_LARGE');
    const summary = await proxy.summary();
    expect(summary).toMatchObject({ outcome: 'refused', statusCode: 413, attempts: { length: 0 } });
    expect(requests.count).toBe(0);
  });

  it('answers a body that turns out to be larger with a 413, and aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('x'.repeat(1024));
    const received = await requests.next();
    await once(received.req, 'data');
    req.write('x');
    await expectRefused(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    received.req.resume();
    await received.closed;
    expect(received.req.complete).toBe(false);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'refused',
      attempts: [{ error: 'REQUEST_BODY_TOO_LARGE' }],
    });
  });

  it.each([
    ['Content-Length', { 'content-length': String(50 * 1024 * 1024) }],
    ['chunked', {}],
  ])('reaches a client that goes on sending, and does not read that: %s', async (_, headers) => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const connected = once(proxy.server, 'connection');
    const req = openRequest(proxy.url, { method: 'POST', headers });
    const [socket] = (await connected) as [Socket];
    const chunk = Buffer.alloc(1024 * 1024);
    // More than the buffers of both ends take.
    let sent = 0;
    const write = (): void => {
      sent += 1;
      if (sent <= 50 && !req.destroyed) req.write(chunk, () => setImmediate(write));
    };
    write();
    await expectRefused(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    await proxy.summary();
    await closed(socket);
    expect(socket.bytesRead).toBeLessThan(10 * chunk.length);
  });

  it('is not retried, and goes to no fallback', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      fallbacks: [url],
      limits,
      retry: { methods: ['POST'], minTimeout: 1, statusCodes: [413], errorCodes: ['REQUEST_BODY_TOO_LARGE'] },
    });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('x'.repeat(TOO_MUCH));
    expect((await responseTo(req)).statusCode).toBe(413);
    await proxy.summary();
    expect(requests.count).toBeLessThan(2);
  });

  it.each([
    ['Content-Length', { 'content-length': '1024' }],
    ['chunked', {}],
  ])('lets pass what is exactly as large: %s', async (_, headers) => {
    const { url } = await upstream(async (req, res) => res.end(String((await readAll(req)).length)));
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST', headers });
    req.write('x'.repeat(1000));
    req.end('x'.repeat(24));
    expect(await readText(await responseTo(req))).toBe('1024');
  });

  it('is each attempt’s, not all attempts’ together', async () => {
    let requests = 0;
    const { url } = await upstream(async (req, res) => {
      requests += 1;
      const { length } = await readAll(req);
      res.writeHead(requests === 1 ? 503 : 200).end(String(length));
    });
    const proxy = await proxyApp({ target: url, limits, retry: { methods: ['POST'], minTimeout: 1 } });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.end('x'.repeat(1000));
    expect(await readText(await responseTo(req))).toBe('1000');
    expect(requests).toBe(2);
  });

  it.each<[string, (req: ClientRequest) => void]>([
    ['at once', (req) => req.end(`"${'x'.repeat(TOO_MUCH)}"`)],
    ['that does not end', (req) => req.write(`"${'x'.repeat(TOO_MUCH)}"`)],
  ])('is that of a body, too, which a provider reads to change it: %s', async (_, write) => {
    const { url } = await manualUpstream();
    const provider = openai({ target: url, apiKey: SERVERS_KEY, includeUsage: true });
    const proxy = await proxyApp({ provider, limits });
    const req = openRequest(`${proxy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
    });
    write(req);
    await expectRefused(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
  });

  it('is that of a body, too, which the app has parsed', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits }, (app) => app.use(express.json()));
    const req = openRequest(proxy.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
    });
    req.end(JSON.stringify({ text: 'x'.repeat(TOO_MUCH) }));
    await expectRefused(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    expect(requests.count).toBe(0);
  });
});
