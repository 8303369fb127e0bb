import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http, { type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import compression from 'compression';
import express, { type NextFunction, type Request, type Response } from 'express';
import { createSseProxy, SseProxyError, type SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { closed, Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** The exchange is over: one summary, and none is to come. */
async function expectClientClosed(proxy: ProxyUnderTest): Promise<void> {
  const { error } = await expectOneSummary(proxy, { outcome: 'client-closed' });
  expect(error).toBeUndefined();
}

describe('a client that leaves', () => {
  describe.each(['router', 'pathRewrite'] as const)('while `%s` is pending', (name) => {
    it('is the end of the exchange, and no upstream request is made', async () => {
      const { url, requests } = await manualUpstream();
      const called = signal();
      const pending = signal();
      const wait = async (): Promise<void> => {
        called.resolve();
        await pending.promise;
      };
      const hooks: SseProxyOptions = {
        router: { router: async () => wait().then(() => url) },
        pathRewrite: { pathRewrite: async (path: string) => wait().then(() => path) },
      }[name] as SseProxyOptions;
      const proxy = await proxyApp({ target: url, ...hooks });

      const req = openRequest(proxy.url);
      req.end();
      await called.promise;
      expect(proxy.proxy.active).toBe(1);
      req.destroy();
      await expectClientClosed(proxy);
      expect(proxy.summaries[0]).toMatchObject({ attempts: { length: 0 } });
      expect(proxy.summaries[0]).not.toHaveProperty('statusCode');
      pending.resolve();

      openRequest(`${proxy.url}/second`).end();
      expect((await requests.next()).req.url).toBe('/second');
      expect(requests.count).toBe(1);
    });
  });

  it('before the upstream answers aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const received = await requests.next();
    req.destroy();
    await received.closed;
    await expectClientClosed(proxy);
    expect(proxy.summaries[0]).toMatchObject({ attempts: { length: 1 }, target: url, bytes: 0 });
    expect(proxy.summaries[0]).not.toHaveProperty('statusCode');
  });

  const leave = {
    'closes its connection': (socket: Socket) => socket.destroy(),
    'resets its connection': (socket: Socket) => socket.resetAndDestroy(),
    'ends its side of the connection': (socket: Socket) => socket.end(),
  };

  it.each(Object.entries(leave))('mid-stream and %s aborts the upstream request', async (_, goAway) => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    await client.until('data: 1\n\n');
    goAway(client.socket);
    await received.closed;
    await expectClientClosed(proxy);
    expect(proxy.summaries[0]).toMatchObject({ statusCode: 200, bytes: 9 });
  });

  it('before the first event of a stream aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const received = await requests.next();
    eventStream(received.res);
    await responseTo(req);
    req.destroy();
    await received.closed;
    await expectClientClosed(proxy);
  });

  it('in the middle of a body that is no event stream aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url }, (app) => app.use(compression()));

    const req = openRequest(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
    req.end();
    const received = await requests.next();
    received.res.writeHead(200, { 'content-type': 'text/plain' });
    // More than zlib keeps to itself, and not compressible.
    received.res.write(Array.from({ length: 50_000 }, (_, i) => (i * i).toString(36)).join(' '));
    const response = await responseTo(req);
    await once(response, 'data');
    req.destroy();
    await received.closed;
    await expectClientClosed(proxy);
  });

  it('in the middle of a stream that is being decoded aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const received = await requests.next();
    received.res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
    const compressed = gzipSync(`data: ${'x'.repeat(100_000)}\n\n`);
    received.res.write(compressed.subarray(0, -20));
    await once(await responseTo(req), 'data');
    req.destroy();
    await received.closed;
    await expectClientClosed(proxy);
  });

  it('while it is not reading aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const { res, closed: upstreamClosed } = await requests.next();
    eventStream(res);
    await responseTo(req);
    const chunk = Buffer.alloc(64 * 1024, 'x');
    // Until neither the client's nor the proxy's buffers take any more.
    for (let stalled = false; !stalled; ) {
      while (res.write(chunk));
      stalled = await Promise.race([
        once(res, 'drain').then(() => false),
        new Promise<boolean>((resolve) => setTimeout(resolve, 250, true)),
      ]);
    }
    req.destroy();
    await upstreamClosed;
    await expectClientClosed(proxy);
  });

  it.each([
    ['Content-Length', { 'content-length': '1000000' }],
    ['chunks', { 'transfer-encoding': 'chunked' }],
  ])('mid-upload (%s) aborts the upstream request', async (_, headers) => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url, { method: 'POST', headers });
    req.write('x'.repeat(1000));
    const received = await requests.next();
    await once(received.req, 'data');
    req.destroy();
    await received.closed;
    expect(received.req.complete).toBe(false);
    await expectClientClosed(proxy);
  });

  it('mid-upload while the response streams down aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('up');
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    const response = await responseTo(req);
    await once(response, 'data');
    req.destroy();
    await received.closed;
    await expectClientClosed(proxy);
  });

  it.each([
    ['before the head', (_res: ServerResponse) => {}],
    ['with a part of its body', (res: ServerResponse) => eventStream(res).write('data: queued\n\n')],
  ])('aborts a pipelined request that is queued behind another response, too: %s', async (_, begin) => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const client = await rawClient(proxy.port);
    client.socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
    const both = [await requests.next(), await requests.next()];
    const [first, second] = both[0]?.req.url === '/1' ? both : both.reverse();
    if (first === undefined || second === undefined) throw new Error('not reached');
    begin(second.res);
    eventStream(first.res).write('data: first\n\n');
    await client.until('data: first\n\n');
    expect(proxy.proxy.active).toBe(2);
    client.socket.destroy();
    await Promise.all([first.closed, second.closed]);
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect(proxy.proxy.active).toBe(0);
    await turns();
    expect(proxy.summaries).toHaveLength(2);
  });

  it('before the middleware is called is never proxied', async () => {
    const { url, requests } = await manualUpstream();
    const arrived = new Queue<Request>();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use((req, _res, next) => {
        if (req.url !== '/gone') return next();
        arrived.push(req);
        req.socket.once('close', () => setImmediate(next));
      }),
    );

    const req = openRequest(`${proxy.url}/gone`);
    req.end();
    await arrived.next();
    req.destroy();
    await expectClientClosed(proxy);

    openRequest(`${proxy.url}/here`).end();
    expect((await requests.next()).req.url).toBe('/here');
    expect(requests.count).toBe(1);
  });

  it('is not reported as an error', async () => {
    const { url, requests } = await manualUpstream();
    const errors: Error[] = [];
    const proxy = await proxyApp({ target: url, on: { error: (error) => errors.push(error) } });

    const early = openRequest(proxy.url);
    early.end();
    const first = await requests.next();
    early.destroy();
    await first.closed;
    await proxy.summary();

    const late = openRequest(proxy.url);
    late.end();
    const second = await requests.next();
    eventStream(second.res).write('data: 1\n\n');
    await once(await responseTo(late), 'data');
    late.destroy();
    await second.closed;
    await proxy.summary();
    await turns();
    expect(errors).toEqual([]);
  });

  it('does not disturb the stream of another', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const [leaving, staying] = [openRequest(`${proxy.url}/leaving`), openRequest(`${proxy.url}/staying`)];
    leaving.end();
    const a = await requests.next();
    staying.end();
    const b = await requests.next();
    eventStream(a.res).write('data: a\n\n');
    eventStream(b.res).write('data: b\n\n');
    const [, response] = await Promise.all([responseTo(leaving), responseTo(staying)]);
    leaving.destroy();
    await a.closed;
    b.res.end('data: c\n\n');
    expect(await readText(response)).toBe('data: b\n\ndata: c\n\n');
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('a complete response', () => {
  it.each([200, 201, 204, 302, 304, 400, 401, 429, 500, 503, 529])('is `completed` with status %i', async (status) => {
    const { url } = await upstream((_req, res) => res.writeHead(status).end());
    const proxy = await proxyApp({ target: url });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(status);
    await readAll(response);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'completed',
      statusCode: status,
      attempts: { length: 1 },
      target: url,
    });
    expect(proxy.proxy.active).toBe(0);
    await turns();
    expect(proxy.summaries).toHaveLength(1);
  });

  it('counts its bytes and its times', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
    const proxy = await proxyApp({ target: url });

    await readAll(await request(proxy.url));
    const { bytes, timings } = await proxy.summary();
    expect(bytes).toBe(9);
    const { headers = -1, firstByte = -1, total } = timings;
    expect(headers).toBeGreaterThan(0);
    expect(firstByte).toBeGreaterThanOrEqual(headers);
    expect(total).toBeGreaterThanOrEqual(firstByte);
  });

  it('is `completed` for each of several pipelined requests, in order', async () => {
    const { url } = await upstream((req, res) => res.end(`<${req.url}>`));
    const proxy = await proxyApp({ target: url });

    const client = await rawClient(proxy.port);
    client.socket.write(['/1', '/2', '/3'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
    await client.until('</3>');
    expect(client.text().match(/<\/\d>/g)).toEqual(['</1>', '</2>', '</3>']);
    for (let i = 0; i < 3; i += 1) expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('that comes in the middle of an upload leaves the connection usable', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

    const req = openRequest(proxy.url, { method: 'POST', agent });
    const chunk = Buffer.alloc(64 * 1024);
    req.write(chunk);
    (await requests.next()).res.writeHead(413).end('too large');
    const response = await responseTo(req);
    expect(response.statusCode).toBe(413);
    expect(await readText(response)).toBe('too large');
    for (let i = 1; i < 20; i += 1) req.write(chunk);
    req.end();
    await once(req, 'finish');
    expect((await proxy.summary()).outcome).toBe('completed');

    const second = openRequest(proxy.url, { agent });
    second.end();
    (await requests.next()).res.end('fine');
    expect(await readText(await responseTo(second))).toBe('fine');
    expect(second.reusedSocket).toBe(true);
    agent.destroy();
  });

  it('resolves the promise of the middleware', async () => {
    const { url } = await upstream((_req, res) => res.end('done'));
    const sseProxy = createSseProxy({ target: url });
    const settled = signal<unknown>();
    const server = http.createServer((req, res) => {
      void Promise.resolve(sseProxy(req, res)).then(settled.resolve);
    });
    const port = await listen(server);

    await readAll(await request(`http://127.0.0.1:${port}`));
    expect(await settled.promise).toBeUndefined();
    expect(sseProxy.active).toBe(0);
  });
});

describe('a client that stops reading', () => {
  it.each(['text/event-stream', 'application/octet-stream'])(
    'holds the upstream back, and gets every byte later: %s',
    async (type) => {
      const total = 64 * 1024 * 1024;
      const chunk = Buffer.from(Array.from({ length: 64 * 1024 }, (_, i) => (i * 7919) % 251));
      const sent = createHash('sha256');
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url });

      const req = openRequest(proxy.url);
      req.end();
      const { res } = await requests.next();
      res.writeHead(200, { 'content-type': type });
      let written = 0;
      const pump = (): void => {
        while (written < total) {
          chunk.writeUInt32BE(written, 0);
          sent.update(chunk);
          written += chunk.length;
          if (!res.write(Buffer.from(chunk))) {
            res.once('drain', pump);
            return;
          }
        }
        res.end();
      };
      pump();
      const response = await responseTo(req);

      // Nothing announces that no more is taken: it is when nothing has moved for a while.
      let before = -1;
      for (let still = 0; still < 5; ) {
        await new Promise((resolve) => setTimeout(resolve, 40));
        still = written === before ? still + 1 : 0;
        before = written;
      }
      expect(res.writableNeedDrain).toBe(true);
      expect(written).toBeLessThan(total / 2);

      const got = createHash('sha256');
      let size = 0;
      for await (const piece of response) {
        got.update(piece);
        size += piece.length;
      }
      expect(size).toBe(total);
      expect(got.digest('hex')).toBe(sent.digest('hex'));
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: total });
    },
    20_000,
  );
});

describe('the connection to the upstream', () => {
  async function countingUpstream(
    answer: (res: ServerResponse) => void,
  ): Promise<{ server: Server; url: string; sockets: Socket[]; connection: (string | undefined)[] }> {
    const sockets: Socket[] = [];
    const connection: (string | undefined)[] = [];
    const { server, url } = await upstream((req, res) => {
      connection.push(req.headers.connection);
      req.resume().once('end', () => answer(res));
    });
    // Only the proxy is to close its connections.
    server.keepAliveTimeout = 0;
    server.on('connection', (socket) => sockets.push(socket));
    return { server, url, sockets, connection };
  }

  it.each([
    ['JSON', (res: ServerResponse) => res.end('{}')],
    ['an event stream', (res: ServerResponse) => eventStream(res).end('data: 1\n\n')],
    ['no body', (res: ServerResponse) => res.writeHead(204).end()],
  ])('serves 20 requests in a row whose clients all say `Connection: close`: %s', async (_, answer) => {
    const { url, sockets, connection } = await countingUpstream(answer);
    const proxy = await proxyApp({ target: url });

    for (let i = 0; i < 20; i += 1) {
      await readAll(await request(proxy.url, { headers: { connection: 'close' } }));
    }
    expect(sockets).toHaveLength(1);
    expect(connection).toEqual(Array(20).fill('keep-alive'));
  });

  it('serves uploads in a row', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    for (let i = 0; i < 20; i += 1) {
      const body = `{"i":${i}}`;
      await readAll(await request(proxy.url, { method: 'POST', headers: { 'content-length': body.length }, body }));
    }
    expect(sockets).toHaveLength(1);
  });

  it('is one per concurrent request, without a cap', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const clients = Array.from({ length: 300 }, () => openRequest(proxy.url));
    for (const client of clients) client.end();
    for (const _ of clients) await requests.next();
    expect(proxy.proxy.active).toBe(300);
  });

  it('closes when the server that the proxy is mounted on closes', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    await Promise.all(Array.from({ length: 3 }, async () => readAll(await request(proxy.url))));
    expect(sockets.filter((socket) => !socket.destroyed).length).toBeGreaterThan(0);
    proxy.server.close();
    await Promise.all(sockets.map(closed));
  });

  it('stays open while another server uses the proxy', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });
    const app = express();
    app.use(proxy.proxy);
    const other = http.createServer(app);
    const port = await listen(other);

    await readAll(await request(proxy.url));
    await readAll(await request(`http://127.0.0.1:${port}`));
    proxy.server.close();
    await once(proxy.server, 'close');
    await readAll(await request(`http://127.0.0.1:${port}`));
    expect(sockets).toHaveLength(1);
    other.close();
    await Promise.all(sockets.map(closed));
  });

  it('is opened anew when the server listens again', async () => {
    const { url } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    await readAll(await request(proxy.url));
    proxy.server.close();
    await once(proxy.server, 'close');
    const port = await listen(proxy.server);
    expect(await readText(await request(`http://127.0.0.1:${port}`))).toBe('{}');
  });
});

describe("onError: 'next'", () => {
  /** An app with an error middleware that answers with what it finds. */
  async function appWithErrorMiddleware(
    options: SseProxyOptions,
    ...before: ((req: Request, res: Response, next: NextFunction) => void)[]
  ): Promise<{ proxy: ProxyUnderTest; errors: unknown[]; heads: unknown[] }> {
    const errors: unknown[] = [];
    const heads: unknown[] = [];
    const proxy = await proxyApp({ onError: 'next', ...options }, (app) => {
      app.use((_req, res, next) => {
        res.set({ 'x-app': 'mine', 'access-control-allow-origin': 'https://app.example' });
        res.cookie('session', '1');
        next();
      });
      for (const middleware of before) app.use(middleware);
    });
    proxy.app.use((error: unknown, _req: Request, res: Response, _next: NextFunction) => {
      errors.push(error);
      const { statusCode, statusMessage } = res;
      heads.push({ statusCode, statusMessage, headers: { ...res.getHeaders() } });
      res.status(error instanceof SseProxyError ? error.status : 500).send('handled by the app');
    });
    return { proxy, errors, heads };
  }

  const APP_HEADERS = {
    'x-powered-by': 'Express',
    'x-app': 'mine',
    'access-control-allow-origin': 'https://app.example',
    'set-cookie': 'session=1; Path=/',
  };

  it("hands a failure before the head to Express's error middleware", async () => {
    const { proxy, errors, heads } = await appWithErrorMiddleware({ target: `http://127.0.0.1:${await closedPort()}` });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(response.headers).toMatchObject({ 'x-app': 'mine', 'access-control-allow-origin': 'https://app.example' });
    expect(response.headers['set-cookie']).toEqual(['session=1; Path=/']);
    expect(await readText(response)).toBe('handled by the app');
    expect(errors).toEqual([expect.any(SseProxyError)]);
    expect(errors[0]).toMatchObject({
      name: 'SseProxyError',
      status: 502,
      statusCode: 502,
      code: 'UPSTREAM_UNREACHABLE',
      expose: true,
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    });
    expect(heads).toEqual([{ statusCode: 200, statusMessage: undefined, headers: APP_HEADERS }]);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'upstream-error',
      statusCode: 502,
      error: { code: 'UPSTREAM_UNREACHABLE' },
    });
  });

  it.each([
    [
      'a hook fails',
      (): SseProxyOptions => ({
        rewriteHeaders() {
          throw new Error('hook');
        },
      }),
    ],
    [
      'the head cannot be sent',
      (): SseProxyOptions => ({
        rewriteHeaders: (head) => {
          head.statusCode = 42;
        },
      }),
    ],
  ])("leaves nothing of the upstream's head where %s", async (_, options) => {
    const { url } = await upstream((_req, res) =>
      res.writeHead(201, 'Upstream Says', { 'x-upstream': 'theirs', 'x-app': 'theirs', 'set-cookie': 'u=1' }).end(),
    );
    const { proxy, errors, heads } = await appWithErrorMiddleware({ target: url, ...options() });

    expect((await request(proxy.url)).statusCode).toBe(502);
    expect(errors).toMatchObject([{ code: 'HOOK_FAILED', status: 502 }]);
    expect(heads).toEqual([{ statusCode: 200, statusMessage: undefined, headers: APP_HEADERS }]);
  });

  it("leaves nothing of the upstream's head where another middleware's `writeHead` throws", async () => {
    const { url } = await upstream((_req, res) => res.writeHead(201, 'Upstream Says', { 'x-upstream': '1' }).end());
    const { proxy, heads } = await appWithErrorMiddleware({ target: url }, (_req, res, next) => {
      const { writeHead } = res;
      res.writeHead = () => {
        res.writeHead = writeHead;
        throw new Error('a listener of on-headers');
      };
      next();
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(response.statusMessage).toBe('Bad Gateway');
    expect(heads).toMatchObject([{ statusCode: 200, headers: APP_HEADERS }]);
  });

  it('does not concern a failure after the head', async () => {
    const { url, requests } = await manualUpstream();
    const { proxy, errors } = await appWithErrorMiddleware({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const { res } = await requests.next();
    eventStream(res).write('data: 1\n\n');
    const response = await responseTo(req);
    await once(response, 'data');
    res.destroy();
    await closed(response);
    expect(response.complete).toBe(false);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
    expect(errors).toEqual([]);
  });

  it('answers by itself where there is no `next`', async () => {
    const sseProxy = createSseProxy({ target: `http://127.0.0.1:${await closedPort()}`, onError: 'next' });
    const port = await listen(http.createServer((req, res) => void sseProxy(req, res)));

    const response = await request(`http://127.0.0.1:${port}`);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
  });

  it("lets Express's default error handler answer", async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, onError: 'next' }, (app) =>
      app.set('env', 'test'),
    );
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    await readAll(response);
    await until(() => proxy.summaries.length === 1);
    expect(proxy.proxy.active).toBe(0);
  });
});
