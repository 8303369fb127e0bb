import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it, jest } from '@jest/globals';
import express from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { anthropic, openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { bytesOf, openaiChat, openaiChatUnasked } from '../../support/streams/dialects.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** Retries that a test need not wait for. */
const AT_ONCE = { minTimeout: 1, maxTimeout: 1_000 } as const;

interface Seen {
  method: string | undefined;
  headers: IncomingMessage['headers'];
  body: string;
}

type Reply = (res: ServerResponse, req: IncomingMessage) => void;

/** An upstream that reads each request to its end and gives these replies in turn, the last one over and over. */
async function replying(...replies: [Reply, ...Reply[]]): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const { url } = await upstream(async (req, res) => {
    const { method, headers } = req;
    const reply = replies[Math.min(seen.length, replies.length - 1)] ?? replies[0];
    seen.push({ method, headers, body: await readText(req) });
    reply(res, req);
  });
  return { url, seen };
}

const status =
  (statusCode: number, headers: Record<string, string> = {}): Reply =>
  (res) =>
    res.writeHead(statusCode, headers).end(`status ${statusCode}`);
const reset: Reply = (_res, req) => req.socket.resetAndDestroy();
const fine: Reply = (res) => res.end('fine');

it('retries: leave no listeners on an upload that is under way, of which Node would warn', async () => {
  let asked = 0;
  const listeners: number[] = [];
  const { url } = await upstream((req) => {
    asked += 1;
    req.socket.resetAndDestroy();
  });
  const proxy = await proxyApp({
    provider: openai({ target: url, apiKey: SERVERS_KEY }),
    onUsage() {},
    onFinish: (_summary, { req }) => void listeners.push(req.listenerCount('data')),
    limits: { requestBody: 1_000 },
    retry: { ...AT_ONCE, maxTimeout: 1, maxRetries: 20 },
  });
  const client = openRequest(`${proxy.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  client.write('{"model":"m"');
  const response = await responseTo(client);
  expect([response.statusCode, asked]).toEqual([502, 21]);
  expect((await proxy.summary()).attempts).toHaveLength(21);
  expect(listeners).toEqual([0]);
  client.destroy();
});

describe('a status', () => {
  it.each([429, 500, 502, 503, 504, 529])(
    'retries: status %d is tried again, and the client sees nothing of it',
    async (code) => {
      const { url, seen } = await replying(status(code), fine);
      const proxy = await proxyApp({ target: url, retry: AT_ONCE });
      const response = await request(proxy.url);
      expect([response.statusCode, await readText(response)]).toEqual([200, 'fine']);
      expect(seen).toHaveLength(2);
      await expectOneSummary(proxy, {
        outcome: 'completed',
        statusCode: 200,
        attempts: [
          { target: url, statusCode: code, duration: expect.any(Number) },
          { target: url, statusCode: 200, duration: expect.any(Number) },
        ],
      });
    },
  );

  it.each([200, 301, 400, 401, 404, 409, 413, 501])('retries: status %d is the answer', async (code) => {
    const { url, seen } = await replying(status(code), fine);
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    expect((await request(proxy.url)).statusCode).toBe(code);
    expect(seen).toHaveLength(1);
  });

  it('retries: status is the answer where nobody has asked for retries', async () => {
    const { url, seen } = await replying(status(503), fine);
    const proxy = await proxyApp({ target: url });
    expect((await request(proxy.url)).statusCode).toBe(503);
    expect(seen).toHaveLength(1);
  });

  it('retries: status is one of `statusCodes` where these are given', async () => {
    const { url, seen } = await replying(status(418), status(503), fine);
    const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, statusCodes: [418] } });
    expect((await request(proxy.url)).statusCode).toBe(503);
    expect(seen).toHaveLength(2);
  });

  it('retries: status is passed on as the upstream sent it when the retries are spent', async () => {
    const { url, seen } = await replying(status(503, { 'x-request-id': 'abc' }));
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    const response = await request(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([503, 'status 503']);
    expect(response.headers['x-request-id']).toBe('abc');
    expect(seen).toHaveLength(3);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      statusCode: 503,
      attempts: [{ statusCode: 503 }, { statusCode: 503 }, { statusCode: 503 }],
    });
  });

  it('retries: status is tried again `maxRetries` times, however many that are', async () => {
    const { url, seen } = await replying(status(503));
    const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, maxRetries: 15, timeoutFactor: 1 } });
    expect((await request(proxy.url, { method: 'PUT', body: 'whole' })).statusCode).toBe(503);
    expect(seen.map(({ body }) => body)).toEqual(Array.from({ length: 16 }, () => 'whole'));
  });

  it.each([
    ['true', 400, 2],
    ['false', 503, 1],
  ] as const)('retries: status is tried again or not as `x-should-retry: %s` says', async (advice, code, requests) => {
    const { url, seen } = await replying(status(code, { 'x-should-retry': advice }), fine);
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    expect((await request(proxy.url)).statusCode).toBe(requests === 1 ? code : 200);
    expect(seen).toHaveLength(requests);
  });
});

describe('an error', () => {
  it('retries: an error of the connection is tried again', async () => {
    const { url, seen } = await replying(reset, fine);
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    expect(await readText(await request(proxy.url))).toBe('fine');
    expect(seen).toHaveLength(2);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [
        { target: url, error: 'UPSTREAM_CLOSED' },
        { target: url, statusCode: 200 },
      ],
    });
  });

  it('retries: an error is the answer when the retries are spent', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    const proxy = await proxyApp({ target, retry: AT_ONCE });
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
    const attempt = { target, error: 'UPSTREAM_UNREACHABLE' };
    await expectOneSummary(proxy, {
      outcome: 'upstream-error',
      attempts: [attempt, attempt, attempt],
      error: { code: 'UPSTREAM_UNREACHABLE' },
    });
  });

  it('retries: an error is not tried again where it is none of `errorCodes`', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    const proxy = await proxyApp({ target, retry: { ...AT_ONCE, errorCodes: ['UPSTREAM_CLOSED'] } });
    expect((await request(proxy.url)).statusCode).toBe(502);
    expect((await proxy.summary()).attempts).toHaveLength(1);
  });

  it('retries: an error such as an upstream that does not answer in time is not tried again by default', async () => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, timeouts: { headers: 20 } });
    expect((await request(proxy.url)).statusCode).toBe(504);
    expect((await proxy.summary()).attempts).toHaveLength(1);
  });

  it('retries: an error such as what is not HTTP is not tried again', async () => {
    const { url } = await rawUpstream((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n\r\n'));
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    expect((await request(proxy.url)).statusCode).toBe(502);
    expect((await proxy.summary()).attempts).toHaveLength(1);
  });

  it('retries: an error of this side, such as a hook that fails, is not tried again', async () => {
    const { url, seen } = await replying(fine);
    let calls = 0;
    const proxy = await proxyApp({
      target: url,
      retry: AT_ONCE,
      rewriteHeaders: ({ statusCode }) => {
        calls += 1;
        if (statusCode === 200) throw new Error('no');
      },
    });
    expect((await request(proxy.url)).statusCode).toBe(502);
    expect(seen).toHaveLength(1);
    // Once for the upstream's head, and once for that of the error.
    expect(calls).toBe(2);
  });

  it('retries: an error behind the head is not tried again', async () => {
    const { url, seen } = await replying((res, req) => {
      eventStream(res).write('data: 1\n\n', () => req.socket.destroy());
    }, fine);
    const proxy = await proxyApp({ target: url, retry: AT_ONCE });
    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect([body.toString(), cut]).toEqual(['data: 1\n\n', true]);
    expect(seen).toHaveLength(1);
    await expectOneSummary(proxy, { outcome: 'upstream-truncated', attempts: [{ statusCode: 200 }] });
  });
});

describe('a method', () => {
  const requestsOf = async (method: string, reply: Reply, options: SseProxyOptions): Promise<number> => {
    const { url, seen } = await replying(reply);
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, ...options });
    await readText(await request(proxy.url, { method, headers: { 'content-length': 2 }, body: '{}' }));
    return seen.length;
  };

  it.each([
    ['GET', 3],
    ['PUT', 3],
    ['DELETE', 3],
    ['POST', 1],
    ['PATCH', 1],
  ])('retries: method %s is sent %d times, where the upstream may have acted on it', async (method, times) => {
    expect(await requestsOf(method, status(503), {})).toBe(times);
    expect(await requestsOf(method, reset, {})).toBe(times);
  });

  it('retries: method is one of `methods` where these are given, in any case', async () => {
    expect(await requestsOf('POST', status(503), { retry: { ...AT_ONCE, methods: ['post'] } })).toBe(3);
    expect(await requestsOf('PUT', status(503), { retry: { ...AT_ONCE, methods: ['post'] } })).toBe(1);
  });

  it('retries: method may be POST where the provider says so', async () => {
    const { url, seen } = await replying(status(529));
    const proxy = await proxyApp({ provider: anthropic({ target: url, apiKey: SERVERS_KEY }), retry: AT_ONCE });
    expect((await post(proxy.url)).statusCode).toBe(529);
    expect(seen.map(({ body, headers }) => [body, headers['x-api-key']])).toEqual(
      Array.from({ length: 3 }, () => ['{}', SERVERS_KEY]),
    );
  });

  it('retries: method may be any where the upstream cannot have seen the request', async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, retry: AT_ONCE });
    expect((await request(proxy.url, { method: 'POST', body: 'x' })).statusCode).toBe(502);
    expect((await proxy.summary()).attempts).toHaveLength(3);
  });

  it('retries: method may be any where the connection was not made in time', async () => {
    const { url } = await rawUpstream(() => {});
    const proxy = await proxyApp({
      target: url.replace('http:', 'https:'),
      retry: { ...AT_ONCE, maxRetries: 1 },
      timeouts: { connect: 20 },
    });
    expect((await request(proxy.url, { method: 'PATCH', body: 'x' })).statusCode).toBe(504);
    expect((await proxy.summary()).attempts).toHaveLength(2);
  });
});

describe('the body of the request', () => {
  const retried = { retry: { ...AT_ONCE, methods: ['POST'] } };
  const BODY = JSON.stringify({ text: 'Zażółć 🙂'.repeat(10_000) });

  it('retries: the body of the request arrives whole with each attempt: with Content-Length', async () => {
    const { url, seen } = await replying(status(503), reset, fine);
    const proxy = await proxyApp({ target: url, ...retried });
    expect(await readText(await post(proxy.url, BODY))).toBe('fine');
    expect(seen.map(({ body }) => body === BODY)).toEqual([true, true, true]);
    for (const { headers } of seen) expect(headers['content-length']).toBe(String(Buffer.byteLength(BODY)));
  });

  it('retries: the body of the request arrives whole with each attempt: chunked', async () => {
    const { url, seen } = await replying(status(503), reset, fine);
    const proxy = await proxyApp({ target: url, ...retried });
    const req = openRequest(proxy.url, { method: 'POST' });
    const bytes = Buffer.from(BODY);
    for (let i = 0; i < bytes.length; i += 10_000) req.write(bytes.subarray(i, i + 10_000));
    req.end();
    expect(await readText(await responseTo(req))).toBe('fine');
    expect(seen.map(({ body }) => body === BODY)).toEqual([true, true, true]);
  });

  it.each(['PUT', 'DELETE'])(
    'retries: the body of the request is none with each attempt where there was none: %s',
    async (method) => {
      const { url, seen } = await replying(status(503), fine);
      const proxy = await proxyApp({ target: url, retry: AT_ONCE });
      expect(await readText(await request(proxy.url, { method }))).toBe('fine');
      expect(seen.map(({ body }) => body)).toEqual(['', '']);
    },
  );

  it('retries: the body of the request arrives whole with each attempt: parsed by express.json()', async () => {
    const { url, seen } = await replying(status(503), reset, fine);
    const proxy = await proxyApp({ target: url, ...retried }, (app) => app.use(express.json({ limit: '1mb' })));
    expect(await readText(await post(proxy.url, BODY))).toBe('fine');
    expect(seen.map(({ body }) => body === BODY)).toEqual([true, true, true]);
  });

  it('retries: the body of the request arrives whole where the first target could not be reached at all', async () => {
    const { url, seen } = await replying(fine);
    const targets = [`http://127.0.0.1:${await closedPort()}`, url];
    const proxy = await proxyApp({ router: () => targets.shift() ?? url, ...retried });
    expect(await readText(await post(proxy.url, BODY))).toBe('fine');
    expect(seen.map(({ body }) => body === BODY)).toEqual([true]);
  });

  it.each([
    ['Content-Length', { 'content-length': '1001' }],
    ['chunked', {}],
  ])(
    'retries: the body of the request is not kept above `maxBodySize`, and the answer is passed on: %s',
    async (_, headers) => {
      const { url, seen } = await replying(status(503), fine);
      const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, methods: ['POST'], maxBodySize: 1_000 } });
      const req = openRequest(proxy.url, { method: 'POST', headers });
      req.write('x'.repeat(500));
      req.end('x'.repeat(501));
      const response = await responseTo(req);
      expect([response.statusCode, await readText(response)]).toEqual([503, 'status 503']);
      expect(seen.map(({ body }) => body.length)).toEqual([1001]);
    },
  );

  it('retries: the body of the request is kept up to `maxBodySize`', async () => {
    const { url, seen } = await replying(status(503), fine);
    const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, methods: ['POST'], maxBodySize: '1kb' } });
    expect(await readText(await post(proxy.url, 'x'.repeat(1024)))).toBe('fine');
    expect(seen.map(({ body }) => body.length)).toEqual([1024, 1024]);
  });

  it.each([
    ['at once', {}],
    ['after a wait', { 'retry-after-ms': '50' }],
  ])(
    'retries: the body of the request may still be on its way when the first answer comes: the next attempt gets all of it, %s',
    async (_, headers) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, methods: ['POST'] } });
      const client = openRequest(proxy.url, { method: 'POST' });
      client.write('first,');
      const one = await requests.next();
      await once(one.req, 'data');
      one.res.writeHead(503, headers).end('busy');
      await one.closed;
      client.write('second,');
      const two = await requests.next();
      client.end('third');
      expect(await readText(two.req)).toBe('first,second,third');
      two.res.end('fine');
      expect(await readText(await responseTo(client))).toBe('fine');
      await expectOneSummary(proxy, { outcome: 'completed', attempts: [{ statusCode: 503 }, { statusCode: 200 }] });
    },
  );

  it('retries: the body of the request is edited anew for each attempt, and what that adds to the answer is taken out', async () => {
    const { url, seen } = await replying(status(503), reset, (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(openaiChat.parts));
    });
    const provider = openai({ target: url, apiKey: SERVERS_KEY, includeUsage: true });
    const proxy = await proxyApp({ provider, retry: AT_ONCE });
    const response = await post(`${proxy.url}${openaiChat.path}`, '{"model":"m","messages":[],"stream":true}');
    const body = await readText(response);
    expect(body).toContain('[DONE]');
    expect(body).not.toContain('"prompt_tokens"');
    const edited = '{"stream_options":{"include_usage":true},"model":"m","messages":[],"stream":true}';
    expect(seen.map((request) => request.body)).toEqual([edited, edited, edited]);
    for (const { headers } of seen) expect(headers['content-length']).toBe(String(edited.length));
    expect(await proxy.summary()).toMatchObject({ usage: { inputTokens: 1117, complete: true } });
  });
});

describe('the wait between two attempts', () => {
  it.each([
    ['Retry-After in seconds', { 'retry-after': '0' }],
    ['Retry-After as a date', { 'retry-after': new Date(0).toUTCString() }],
    ['retry-after-ms', { 'retry-after-ms': '1' }],
  ])('retries: the wait between two attempts is what the upstream asks for: %s', async (_, headers) => {
    const { url, seen } = await replying(status(503, headers), fine);
    // Backoff alone would take a minute and more, but for the luck of its jitter.
    const proxy = await proxyApp({
      target: url,
      retry: { minTimeout: 2_000_000_000, maxTimeout: 2_000_000_000 },
    });
    expect(await readText(await request(proxy.url))).toBe('fine');
    expect(seen).toHaveLength(2);
  });

  it.each([
    ['Retry-After', { 'retry-after': '31' }],
    ['retry-after-ms', { 'retry-after-ms': '30001' }],
    ['a date', { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() }],
  ])(
    'retries: the wait between two attempts is none where the upstream asks for more than `maxTimeout`: its answer is passed on (%s)',
    async (_, headers) => {
      const { url, seen } = await replying(status(429, headers), fine);
      const proxy = await proxyApp({ target: url, retry: {} });
      const response = await request(proxy.url);
      expect([response.statusCode, await readText(response)]).toEqual([429, 'status 429']);
      expect(response.headers).toMatchObject(headers);
      expect(seen).toHaveLength(1);
    },
  );

  it('retries: the wait between two attempts does not depend on the upstream with `retryAfter: false`', async () => {
    const { url, seen } = await replying(status(429, { 'retry-after': '3600' }), fine);
    const proxy = await proxyApp({ target: url, retry: { ...AT_ONCE, retryAfter: false } });
    expect(await readText(await request(proxy.url))).toBe('fine');
    expect(seen).toHaveLength(2);
  });

  it('retries: the wait between two attempts ends when the client leaves: nothing more is sent, and no timer is left', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, retry: {} });
    const client = openRequest(proxy.url).end();
    const { res, closed } = await requests.next();
    res.writeHead(503, { 'retry-after': '20' }).end('busy');
    await closed;
    expect(proxy.proxy.active).toBe(1);
    client.destroy();
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: [{ target: url, statusCode: 503 }] });
    expect(jest.getTimerCount()).toBe(0);
    expect(requests.count).toBe(1);
  });
});

describe('a client that has left', () => {
  it('retries: a client that has left has nothing tried again for it', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, onClientClose: 'continue' });
    const client = openRequest(proxy.url).end();
    const { res } = await requests.next();
    client.destroy();
    // The exchange goes on for the account; a failure is the end of it all the same.
    res.writeHead(503).end('busy');
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: [{ statusCode: 503 }] });
    expect(requests.count).toBe(1);
  });
});

describe('hooks', () => {
  it('retries, hooks that are about the answer run once: `rewriteHeaders`, `onUsage`, `onFinish`', async () => {
    const { url } = await replying(status(503), status(503), (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(openaiChatUnasked.parts));
    });
    const rewritten = new Queue<number>();
    const usages = new Queue<object>();
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: SERVERS_KEY }),
      retry: AT_ONCE,
      rewriteHeaders: ({ statusCode }) => rewritten.push(statusCode),
      onUsage: (usage) => usages.push(usage),
    });
    expect(await readAll(await post(proxy.url))).toEqual(bytesOf(openaiChatUnasked.parts));
    await expectOneSummary(proxy, { outcome: 'completed', attempts: { length: 3 } });
    expect([rewritten.count, await rewritten.next()]).toEqual([1, 200]);
    expect(usages.count).toBe(1);
  });

  it('retries, hooks that are about the failure run once, for the last one: `on.error`', async () => {
    const { url } = await replying(reset);
    const errors = new Queue<Error>();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, on: { error: (error) => errors.push(error) } });
    expect((await request(proxy.url)).statusCode).toBe(502);
    await expectOneSummary(proxy, { attempts: { length: 3 } });
    expect(errors.count).toBe(1);
  });

  it('retries, hooks: are not told of a failure that a retry has mended: `on.error`', async () => {
    const { url } = await replying(reset, fine);
    const errors = new Queue<Error>();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, on: { error: (error) => errors.push(error) } });
    expect(await readText(await request(proxy.url))).toBe('fine');
    await expectOneSummary(proxy, { outcome: 'completed', attempts: { length: 2 } });
    expect(errors.count).toBe(0);
  });

  it('retries, hooks that make the request run for each attempt, from what the client asked for: `pathRewrite`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, pathRewrite: { '^/a': '/a/b' } });
    const response = request(`${proxy.url}/a`);
    for (const code of [503, 200]) {
      const { req, res } = await requests.next();
      expect(req.url).toBe('/a/b');
      res.writeHead(code).end();
    }
    expect((await response).statusCode).toBe(200);
  });
});

describe('with selfHandleResponse', () => {
  it('retries with selfHandleResponse: connections that fail are tried again, and each attempt counts for itself', async () => {
    const { url, sockets } = await rawUpstream(() => {});
    const { url: good } = await replying(fine);
    const targets = [url.replace('http:', 'https:'), good];
    const proxy = await proxyApp({
      router: () => targets.shift() ?? good,
      selfHandleResponse: true,
      timeouts: { connect: 20 },
      retry: AT_ONCE,
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    expect(await readText(await request(proxy.url))).toBe('fine');
    expect(sockets.size).toBe(0);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [{ error: 'UPSTREAM_CONNECT_TIMEOUT' }, { target: good }],
    });
  });
});
