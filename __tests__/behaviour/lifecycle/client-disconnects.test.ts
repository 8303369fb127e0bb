import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { Request } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readText, responseTo } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** The exchange is over: one summary, and none is to come. */
async function expectClientClosed(proxy: ProxyUnderTest): Promise<void> {
  const { error } = await expectOneSummary(proxy, { outcome: 'client-closed' });
  expect(error).toBeUndefined();
}

describe('a client that leaves', () => {
  describe.each(['router', 'pathRewrite'] as const)('while `%s` is pending', (name) => {
    it('client disconnect while a hook is pending: is the end of the exchange, and no upstream request is made', async () => {
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

  it('client disconnect: a client that leaves before the upstream answers aborts the upstream request', async () => {
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

  it.each(Object.entries(leave))(
    'client disconnect: a client that leaves mid-stream and %s aborts the upstream request',
    async (_, goAway) => {
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
    },
  );

  it('client disconnect: a client that leaves before the first event of a stream aborts the upstream request', async () => {
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

  it('client disconnect: a client that leaves in the middle of a body that is no event stream aborts the upstream request', async () => {
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

  it('client disconnect: a client that leaves in the middle of a stream that is being decoded aborts the upstream request', async () => {
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

  it('client disconnect: a client that leaves while it is not reading aborts the upstream request', async () => {
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
  ])('client disconnect: a client that leaves mid-upload (%s) aborts the upstream request', async (_, headers) => {
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

  it('client disconnect: a client that leaves mid-upload while the response streams down aborts the upstream request', async () => {
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
  ])(
    'client disconnect: a client that leaves aborts a pipelined request that is queued behind another response, too: %s',
    async (_, begin) => {
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
    },
  );

  it('client disconnect: a client that leaves before the middleware is called is never proxied', async () => {
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

  it('client disconnect: a client that leaves is not reported as an error', async () => {
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

  it('client disconnect: a client that leaves does not disturb the stream of another', async () => {
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
