import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { fixRequestBody } from 'http-proxy-middleware';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { passTime } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** `n`: the how-manieth request of its connection this is, from 1 on; `connection`: the how-manieth connection. */
interface Place {
  n: number;
  connection: number;
}
type Fail = (socket: Socket, req: IncomingMessage, place: Place) => void;

const CLOSE: Fail = (socket) => socket.destroy();
const RESET: Fail = (socket) => socket.resetAndDestroy();

interface Seen extends Place {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage['headers'];
  body: string;
}

/**
 * An upstream that reads the whole request, and then fails on every request but the first of a connection; `answers` tells
 * for which connections it does not fail at all.
 */
async function staleUpstream(
  fail: Fail,
  failing: (place: Place) => boolean = ({ n }) => n > 1,
  answer: RequestListener = (_req, res) => res.end('fine'),
): Promise<{ url: string; seen: Seen[] }> {
  const places = new WeakMap<Socket, Place>();
  const seen: Seen[] = [];
  const { server, url } = await upstream(async (req, res) => {
    const place = places.get(req.socket);
    if (place === undefined) throw new Error('not reached');
    place.n += 1;
    const body = await readText(req);
    seen.push({ ...place, method: req.method, url: req.url, headers: req.headers, body });
    if (failing(place)) fail(req.socket, req, { ...place });
    else answer(req, res);
  });
  let connection = 0;
  server.on('connection', (socket) => {
    connection += 1;
    places.set(socket, { n: 0, connection });
  });
  return { url, seen };
}

/** Leaves one kept-alive connection in the pool, which has been idle for so long. */
async function warmUp(proxy: ProxyUnderTest, idle = 1_000): Promise<void> {
  expect(await readText(await request(`${proxy.url}/warm-up`))).toBe('fine');
  expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 1 } });
  await turns();
  if (idle > 0) passTime(idle);
}

async function expectRetried(response: IncomingMessage, proxy: ProxyUnderTest): Promise<void> {
  expect(response.statusCode).toBe(200);
  expect(await readText(response)).toBe('fine');
  const summary = await proxy.summary();
  expect(summary).toMatchObject({ outcome: 'completed', statusCode: 200, attempts: { length: 2 }, bytes: 4 });
  expect(summary.error).toBeUndefined();
  await turns();
  expect(proxy.summaries).toHaveLength(2);
  expect(proxy.proxy.active).toBe(0);
}

async function expectBadGateway(response: IncomingMessage, proxy: ProxyUnderTest, attempts: number): Promise<void> {
  expect(response.statusCode).toBe(502);
  expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_CLOSED');
  expect(await proxy.summary()).toMatchObject({
    outcome: 'upstream-error',
    statusCode: 502,
    attempts: { length: attempts },
    error: { code: 'UPSTREAM_CLOSED' },
  });
  await turns();
  expect(proxy.summaries).toHaveLength(2);
}

const MIB = 1024 * 1024;
const LIMIT = 256 * 1024;

describe.each([
  ['closed', CLOSE],
  ['reset', RESET],
])('a pooled connection that is %s without a byte', (_, fail) => {
  it.each(['GET', 'DELETE', 'OPTIONS'])('stale pooled connection: is replaced by a fresh one: %s', async (method) => {
    const { url, seen } = await staleUpstream(fail);
    const errors: unknown[] = [];
    const proxy = await proxyApp({ target: url, on: { error: (error) => errors.push(error) } });
    await warmUp(proxy);

    await expectRetried(await request(`${proxy.url}/path?query`, { method }), proxy);
    expect(seen.map(({ connection, n }) => [connection, n])).toEqual([
      [1, 1],
      [1, 2],
      [2, 1],
    ]);
    expect(seen[2]).toMatchObject({ method, url: '/path?query', body: '' });
    expect(errors).toEqual([]);
  });

  it.each([
    ['Content-Length', { 'content-length': '11' }],
    ['chunks', { 'transfer-encoding': 'chunked' }],
  ])('stale pooled connection: is replaced, and the upload is sent again: POST with %s', async (_framing, headers) => {
    const { url, seen } = await staleUpstream(fail);
    const errors: unknown[] = [];
    const proxy = await proxyApp({ target: url, on: { error: (error) => errors.push(error) } });
    await warmUp(proxy);

    const req = openRequest(`${proxy.url}/path`, { method: 'POST', headers });
    req.write('first,');
    req.end(' last');
    await expectRetried(await responseTo(req), proxy);
    expect(seen.map(({ body }) => body)).toEqual(['', 'first, last', 'first, last']);
    expect(seen[2]?.headers).toMatchObject({ 'content-length': '11' });
    expect(seen[2]?.headers).not.toHaveProperty('transfer-encoding');
    expect(errors).toEqual([]);
  });

  it('stale pooled connection: is replaced, and a parsed body is sent again: express.json()', async () => {
    const { url, seen } = await staleUpstream(fail);
    const proxy = await proxyApp({ target: url }, (app) => app.use(express.json()));
    await warmUp(proxy);

    const body = '{"stream":true,"text":"\u4f60\u597d"}';
    const headers = { 'content-type': 'application/json' };
    await expectRetried(await request(proxy.url, { method: 'POST', headers, body }), proxy);
    expect(seen.map((one) => one.body)).toEqual(['', body, body]);
    expect(seen[2]?.headers['content-length']).toBe(String(Buffer.byteLength(body)));
  });

  it('stale pooled connection: is replaced, and a body that `fixRequestBody` writes is sent again', async () => {
    const { url, seen } = await staleUpstream(fail);
    const proxy = await proxyApp({ target: url, on: { proxyReq: fixRequestBody } }, (app) => app.use(express.json()));
    await warmUp(proxy);

    const body = '{"stream":true}';
    const headers = { 'content-type': 'application/json' };
    await expectRetried(await request(proxy.url, { method: 'POST', headers, body }), proxy);
    expect(seen.map((one) => one.body)).toEqual(['', body, body]);
  });

  it('stale pooled connection: is replaced once only', async () => {
    const { url, seen } = await staleUpstream(fail, ({ n, connection }) => n > 1 || connection > 1);
    const errors: unknown[] = [];
    const proxy = await proxyApp({ target: url, on: { error: (error) => errors.push(error) } });
    await warmUp(proxy);

    await expectBadGateway(await request(proxy.url, { method: 'POST', body: 'body' }), proxy, 2);
    expect(seen.map((one) => one.body)).toEqual(['', 'body', 'body']);
    expect(errors).toHaveLength(1);
  });

  it('stale pooled connection: is not replaced where it was fresh', async () => {
    const { url, seen } = await staleUpstream(fail, ({ connection }) => connection > 1);
    const proxy = await proxyApp({ target: url, agent: false });
    await warmUp(proxy);

    await expectBadGateway(await request(proxy.url), proxy, 1);
    expect(seen).toHaveLength(2);
  });
});

describe('a pooled connection', () => {
  it('stale pooled connection: is not replaced where a byte of the response has come', async () => {
    const { url, seen } = await staleUpstream((socket) => socket.end('HTTP/1.1 2'));
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    await expectBadGateway(await request(proxy.url), proxy, 1);
    expect(seen).toHaveLength(2);
  });

  it('stale pooled connection: is not replaced where the head has come', async () => {
    const { url, seen } = await staleUpstream((socket) =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: 1\n\n'),
    );
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect(body.toString()).toBe('data: 1\n\n');
    expect(cut).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', attempts: { length: 1 } });
    expect(seen).toHaveLength(2);
  });

  it('stale pooled connection: is not replaced where the upstream does not answer in time', async () => {
    const { url, seen } = await staleUpstream(() => {});
    const proxy = await proxyApp({ target: url, proxyTimeout: 100 });
    await warmUp(proxy);

    expect((await request(proxy.url)).statusCode).toBe(504);
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', attempts: { length: 1 } });
    expect(seen).toHaveLength(2);
  });

  it('that closes: an upload of 256 KiB is sent again', async () => {
    const { url, seen } = await staleUpstream(CLOSE);
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const body = Buffer.alloc(LIMIT, 'abcdefg').toString();
    await expectRetried(
      await request(proxy.url, { method: 'POST', headers: { 'content-length': LIMIT }, body }),
      proxy,
    );
    expect(seen.slice(1).map((one) => one.body === body)).toEqual([true, true]);
  });

  it.each([
    ['more than 256 KiB', LIMIT + 1],
    ['much more', 4 * MIB],
  ])('that has been idle is not given an upload of %s, which could not be sent again', async (_, size) => {
    const { url, seen } = await staleUpstream(CLOSE);
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const body = Buffer.alloc(size, 'abcdefg').toString();
    const response = await request(proxy.url, { method: 'POST', headers: { 'content-length': size }, body });
    expect([response.statusCode, await readText(response)]).toEqual([200, 'fine']);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 1 } });
    expect(seen.map(({ connection, n }) => [connection, n])).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect(seen[1]?.body === body).toBe(true);
    // The next one has the new connection.
    await readText(await request(proxy.url));
    expect(seen[2]).toMatchObject({ connection: 2, n: 2 });
  });

  it('stale pooled connection that closes: a parsed body of more than 256 KiB is sent again, since it is there anyway', async () => {
    const { url, seen } = await staleUpstream(CLOSE);
    const proxy = await proxyApp({ target: url }, (app) => app.use(express.json({ limit: '2mb' })));
    await warmUp(proxy);

    const body = JSON.stringify({ text: 'x'.repeat(MIB) });
    const headers = { 'content-type': 'application/json' };
    await expectRetried(await request(proxy.url, { method: 'POST', headers, body }), proxy);
    expect(seen.slice(1).map((one) => one.body === body)).toEqual([true, true]);
  });

  it('stale pooled connection that closes: an upload that has not come in whole is sent again with the rest of it', async () => {
    const places = new Map<Socket, number>();
    const { url } = await upstream((req, res) => {
      const n = (places.get(req.socket) ?? 0) + 1;
      places.set(req.socket, n);
      if (n === 1 && places.size === 1) res.end('fine');
      else if (n === 2) req.once('data', () => req.socket.destroy());
      else void readAll(req).then((body) => res.end(body));
    });
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('half of ');
    await until(() => places.size === 2);
    req.end('the body');
    expect(await readText(await responseTo(req))).toBe('half of the body');
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 2 } });
  });

  it("stale pooled connection that closes: the body that the user's `router` has put in `options.buffer` is sent again, and no other", async () => {
    const { url, seen } = await staleUpstream(CLOSE);
    const proxy = await proxyApp({
      target: url,
      router: (req, _res, options) => {
        if (req.method === 'POST') {
          options.buffer = Readable.from([Buffer.from('signed')]);
          req.headers['content-length'] = '6';
        }
        return url;
      },
    });
    await warmUp(proxy);

    const response = await request(proxy.url, { method: 'POST', headers: { 'content-length': 8 }, body: 'original' });
    await readAll(response);
    expect(seen.slice(1).map((one) => one.body)).toEqual(
      response.statusCode === 200 ? ['signed', 'signed'] : ['signed'],
    );
  });
});

describe('the second attempt', () => {
  it('stale pooled connection: the second attempt is the same request, hooks included', async () => {
    const { url, seen } = await staleUpstream(RESET);
    const hooks: string[] = [];
    const options: SseProxyOptions = {
      target: `${url}/base`,
      xfwd: true,
      auth: 'user:password',
      pathRewrite: (path) => {
        hooks.push('pathRewrite');
        return path.replace('/old', '/new');
      },
      rewriteHeaders: () => {
        hooks.push('rewriteHeaders');
      },
      on: {
        proxyReq: (proxyReq) => {
          hooks.push('proxyReq');
          proxyReq.setHeader('x-key', 'injected');
        },
        proxyRes: () => {
          hooks.push('proxyRes');
        },
      },
    };
    const proxy = await proxyApp(options);
    await warmUp(proxy);
    hooks.length = 0;

    await expectRetried(await request(`${proxy.url}/old/path`, { headers: { 'x-forwarded-for': '1.2.3.4' } }), proxy);
    expect(hooks).toEqual(['pathRewrite', 'proxyReq', 'pathRewrite', 'proxyReq', 'proxyRes', 'rewriteHeaders']);
    const [, first, second] = seen;
    expect(second?.url).toBe('/base/new/path');
    expect(second?.headers).toMatchObject({ 'x-key': 'injected', 'x-forwarded-for': '1.2.3.4, 127.0.0.1' });
    const { connection: _a, ...sent } = first?.headers ?? {};
    const { connection: _b, ...sentAgain } = second?.headers ?? {};
    expect(sentAgain).toEqual(sent);
  });

  it('stale pooled connection: the second attempt streams', async () => {
    const streaming = signal<ServerResponse>();
    const { url } = await staleUpstream(
      CLOSE,
      ({ n }) => n > 1,
      (req, res) => (req.url === '/warm-up' ? res.end('fine') : streaming.resolve(eventStream(res))),
    );
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const response = await request(proxy.url);
    const res = await streaming.promise;
    for (let i = 0; i < 3; i += 1) {
      const event = once(response, 'data');
      res.write(`data: ${i}\n\n`);
      expect(String((await event)[0])).toBe(`data: ${i}\n\n`);
    }
    res.end();
    expect(await readText(response)).toBe('');
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 2 } });
  });

  it('stale pooled connection: the second attempt is aborted when the client leaves', async () => {
    const second = new Queue<{ closed: Promise<void> }>();
    const { url } = await staleUpstream(
      CLOSE,
      ({ n }) => n > 1,
      (req, res) => {
        if (req.url === '/warm-up') res.end('fine');
        else second.push({ closed: closed(req.socket) });
      },
    );
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    const req = openRequest(proxy.url);
    req.end();
    const received = await second.next();
    req.destroy();
    await received.closed;
    expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed', attempts: { length: 2 } });
    expect(proxy.proxy.active).toBe(0);
  });

  it('stale pooled connection: the second attempt is made for each of several requests whose connections went stale together', async () => {
    const { url, seen } = await staleUpstream(RESET);
    const proxy = await proxyApp({ target: url });
    const held = Array.from({ length: 5 }, () => request(`${proxy.url}/warm-up`).then(readAll));
    await Promise.all(held);
    for (const _ of held) await proxy.summary();
    await turns();

    const responses = await Promise.all(Array.from({ length: 5 }, () => request(proxy.url).then(readAll)));
    expect(responses.map(String)).toEqual(Array(5).fill('fine'));
    for (let i = 0; i < 5; i += 1) expect((await proxy.summary()).outcome).toBe('completed');
    expect(seen.length).toBeGreaterThan(10);
  });

  it('stale pooled connection: the second attempt leaves the pool in use for the requests that follow', async () => {
    const { url, seen } = await staleUpstream(CLOSE, ({ n, connection }) => connection === 1 && n > 1);
    const proxy = await proxyApp({ target: url });
    await warmUp(proxy);

    await expectRetried(await request(proxy.url), proxy);
    for (let i = 0; i < 5; i += 1) await readAll(await request(proxy.url));
    // The fresh connection of the retry was not pooled, the next one was.
    expect(new Set(seen.map(({ connection }) => connection)).size).toBe(3);
  });
});

describe.each([
  ['closed', CLOSE],
  ['reset', RESET],
])('a connection that was busy a moment ago, and is %s when the whole request was written', (_, fail) => {
  const RESENT: [string, SseProxyOptions, Record<string, unknown>][] = [
    ['a GET', {}, { method: 'GET' }],
    ['a PUT', {}, { method: 'PUT', body: 'body' }],
    ['a POST with an Idempotency-Key', {}, { method: 'POST', headers: { 'idempotency-key': '1' }, body: 'body' }],
    [
      'a POST that `retry.methods` names',
      { retry: { methods: ['POST'], minTimeout: 1 } },
      { method: 'POST', body: 'body' },
    ],
  ];

  it.each(RESENT)('%s is sent again', async (_what, options, asked) => {
    const { url, seen } = await staleUpstream(fail);
    const proxy = await proxyApp({ target: url, ...options });
    await warmUp(proxy, 0);
    await expectRetried(await request(proxy.url, asked), proxy);
    expect(seen).toHaveLength(3);
  });

  it.each([
    ['a POST', {}, 'POST'],
    ['a PATCH', {}, 'PATCH'],
    [
      'a POST to a provider that retries them, where `retry` is off',
      { provider: openai({ apiKey: 'sk-123456789' }) },
      'POST',
    ],
  ])('%s is not: the upstream may have acted on it, and bill it', async (_what, options, method) => {
    const { url, seen } = await staleUpstream(fail);
    const proxy = await proxyApp({ target: url, ...options });
    await warmUp(proxy, 0);
    const headers = { 'content-type': 'application/json' };
    await expectBadGateway(await request(proxy.url, { method, headers, body: '{}' }), proxy, 1);
    expect(seen).toHaveLength(2);
  });
});

describe('a dead connection in front of a failure', () => {
  const BODY = JSON.stringify({ model: 'asked', stream: true });

  it.each<[string, Record<string, string>]>([
    ['of known length', {}],
    ['chunked', { 'transfer-encoding': 'chunked' }],
  ])(
    'pooled connection: one that is dead takes no attempt from the plan: a body %s goes on to the fallback',
    async (_name, headers) => {
      const first = await staleUpstream(
        CLOSE,
        ({ n }) => n > 1,
        (req, res) => {
          if (req.url === '/warm-up') res.end('fine');
          else res.writeHead(503).end();
        },
      );
      const second = await staleUpstream(
        CLOSE,
        () => false,
        (_req, res) => res.end('from the fallback'),
      );
      for (const fallback of [{ target: second.url }, { target: second.url, model: 'other' }]) {
        const proxy = await proxyApp({ target: first.url, fallbacks: [fallback] });
        await warmUp(proxy);
        const response = await request(proxy.url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: BODY,
        });
        expect(await readText(response)).toBe('from the fallback');
        const { attempts } = await proxy.summary();
        expect(attempts.map(({ statusCode, error }) => statusCode ?? error)).toEqual(['UPSTREAM_CLOSED', 503, 200]);
        expect(second.seen.at(-1)?.body).toBe(BODY.replace('asked', 'model' in fallback ? 'other' : 'asked'));
      }
    },
  );
});
