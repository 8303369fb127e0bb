/** Where a default or a habit of ours would overrule what somebody has said to http-proxy-middleware, or does without a word. */
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import type { SseProxyOptions } from '../../lib/index.js';
import { resolveOptions } from '../../lib/options/resolve.js';
import { exchange, openRequest, request, responseTo } from '../support/clients/http.js';
import { listen } from '../support/servers/listen.js';
import { proxyApp, proxyIn, VERSIONS } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, recorder, recording, upstream } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { closed, until } from '../support/watch/wait.js';

closeAndWatchEachTest();

describe.each(VERSIONS)('the Host header that the upstream is sent, for a client of %s', (version) => {
  const NAMED: [string, (target: string) => SseProxyOptions, string][] = [
    ['`headers.host`', (target) => ({ target, headers: { host: 'mine.example' } }), 'mine.example'],
    ['`headers.Host`', (target) => ({ target, headers: { Host: 'mine.example' } }), 'mine.example'],
    [
      'an async router that sets it',
      (target) => ({
        target,
        router: async (_req, _res, options) => {
          options.headers = { host: 'mine.example' };
          return undefined as never;
        },
      }),
      'mine.example',
    ],
    [
      'a pathRewrite that sets it',
      (target) => ({
        target,
        pathRewrite: (_path, _req, _res, options) =>
          void Object.assign(options ?? {}, { headers: { host: 'mine.example' } }),
      }),
      'mine.example',
    ],
    [
      'the headers of a fallback',
      (target) => ({ target: 'http://127.0.0.1:1', fallbacks: [{ target, headers: { host: 'mine.example' } }] }),
      'mine.example',
    ],
    ['`changeOrigin: false`', (target) => ({ target, changeOrigin: false }), 'client.example'],
  ];

  it.each(NAMED)('Host header: is the one that the user has named: %s', async (_where, options, expected) => {
    const { url, received } = await recorder();
    const { ask } = await proxyIn(version, options(url));
    const host = version === 'HTTP/2' ? ':authority' : 'host';
    await (await ask({ headers: { [host]: 'client.example' } })).ended();
    expect(received[0]?.headers.host).toBe(expected);
  });

  it("Host header: is the target's where nobody has named one, and where `changeOrigin` says so", async () => {
    const { url, port, received } = await recorder();
    for (const options of [{ target: url }, { target: url, changeOrigin: true, headers: { host: 'mine.example' } }]) {
      const { ask } = await proxyIn(version, options);
      await (await ask()).ended();
      expect(received.pop()?.headers.host).toBe(`127.0.0.1:${port}`);
    }
  });

  it("Host header: is the client's for a target that is a Unix socket, which has no host", async () => {
    const { listener, received } = recording((_req, res) => res.end('ok'));
    const server = http.createServer(listener);
    const socketPath = join(tmpdir(), `express-sse-proxy-${process.pid}-${version.length}.sock`);
    server.listen(socketPath);
    await once(server, 'listening');
    onCleanUp(() => void server.close());
    const { ask } = await proxyIn(version, { target: { socketPath } as never });
    const host = version === 'HTTP/2' ? ':authority' : 'host';
    expect((await (await ask({ headers: { [host]: 'client.example' } })).ended()).text).toBe('ok');
    expect(received[0]?.headers.host).toBe('client.example');
    server.closeAllConnections();
  });
});

describe('`proxyTimeout` and `timeout`', () => {
  const target = 'http://127.0.0.1:1';
  const deadlines = (options: Partial<SseProxyOptions>) => resolveOptions({ target, ...options }).timeouts;

  it.each([
    ['proxyTimeout above our defaults', { proxyTimeout: 300_000 }, 300_000, 300_000],
    ['proxyTimeout: 0', { proxyTimeout: 0 }, false, false],
    ['timeout above our defaults', { timeout: 300_000 }, 300_000, 300_000],
    ['timeout: 0', { timeout: 0 }, false, false],
    ['both: proxyTimeout is about the upstream', { proxyTimeout: 300_000, timeout: 0 }, 300_000, 300_000],
    ['more than a timer takes', { proxyTimeout: 2 ** 40 }, 2 ** 31 - 1, 2 ** 31 - 1],
    ['what is shorter passes by itself', { proxyTimeout: 50 }, 120_000, 120_000],
    ['neither', {}, 120_000, 120_000],
    ['`timeouts` have the last word', { proxyTimeout: 300_000, timeouts: { headers: 5 } }, 5, 300_000],
    ['`timeouts: false`', { proxyTimeout: 300_000, timeouts: { idle: false as const } }, 300_000, false],
  ])('proxyTimeout and timeout: replace the deadlines that nobody has set: %s', (_which, options, headers, idle) => {
    expect(deadlines(options)).toMatchObject({ headers, idle, connect: 10_000, drain: 120_000, total: false });
  });
});

describe('`ws: true` with a `pathFilter`', () => {
  it('ws with a pathFilter: upgrades are taken from the first request on that has passed the middleware, also one that is not its own', async () => {
    const server = http.createServer();
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket) => socket.send('hello'));
    onCleanUp(() => void sockets.close());
    const port = await listen(server);
    const {
      app,
      port: proxyPort,
      url,
    } = await proxyApp({
      target: `http://127.0.0.1:${port}`,
      ws: true,
      pathFilter: '/socket',
    });
    app.use((_req, res) => void res.end('page'));
    for (let i = 0; i < 3; i += 1) expect((await exchange(`${url}/page`)).body).toBe('page');
    const client = new WebSocket(`ws://127.0.0.1:${proxyPort}/socket`);
    onCleanUp(() => client.terminate());
    const [message] = await once(client, 'message');
    expect(String(message)).toBe('hello');
  });
});

describe.each(VERSIONS)('a response that `on.proxyRes` destroys, for a client of %s', (version) => {
  const JSON_HEAD = { 'content-type': 'application/json', 'content-length': '2' };

  it.each([
    ['whole by then', (response: IncomingMessage) => void response.destroy()],
    ['whole by then, with an error', (response: IncomingMessage) => void response.destroy(new Error('too large'))],
  ])('response that on.proxyRes destroys: before its head has left, is a 502 at once: %s', async (_how, destroy) => {
    const { url } = await upstream((_req, res) => res.writeHead(200, JSON_HEAD).end('{}'));
    const { ask, summary } = await proxyIn(version, { target: url, on: { proxyRes: destroy } });
    const answer = await ask();
    expect(answer.status).toBeGreaterThanOrEqual(500);
    await answer.ended();
    expect((await summary()).outcome).toBe('failed');
  });

  it('response that on.proxyRes destroys: before its head has left, while its body is still to come, is a 502, and is not tried again', async () => {
    let count = 0;
    const { url } = await upstream((_req, res) => {
      count += 1;
      eventStream(res).write('data: a\n\n');
    });
    const { ask, summary } = await proxyIn(version, {
      target: url,
      retry: { minTimeout: 1 },
      on: { proxyRes: (response) => void response.destroy() },
    });
    const answer = await ask();
    expect(answer.status).toBe(502);
    expect(JSON.parse((await answer.ended()).text)).toMatchObject({ error: { code: 'HOOK_FAILED' } });
    expect([(await summary()).outcome, count]).toEqual(['failed', 1]);
  });

  it('response that on.proxyRes destroys: in the middle, by a limit of size, is cut at once', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).write('data: a\n\n'));
    const { ask, summary } = await proxyIn(version, {
      target: url,
      on: { proxyRes: (response) => void response.on('data', () => setImmediate(() => response.destroy())) },
    });
    expect(await (await ask()).ended()).toMatchObject({ cut: true });
    expect(['failed', 'upstream-truncated']).toContain((await summary()).outcome);
  });

  it('response that on.proxyRes destroys: when it is whole is no failure', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, JSON_HEAD).end('{}'));
    const { ask, summary } = await proxyIn(version, {
      target: url,
      on: { proxyRes: (response) => void response.once('end', () => response.destroy()) },
    });
    expect(await (await ask()).ended()).toEqual({ text: '{}', cut: false });
    expect((await summary()).outcome).toBe('completed');
  });
});

describe('upstream connections when the server closes', () => {
  it('connection pool when the server closes: connections are kept as long as answers are read on for clients that have left', async () => {
    const { url, requests } = await manualUpstream();
    const { proxy, server, summary, url: proxyUrl } = await proxyApp({ target: url, onClientClose: 'continue' });
    const client = openRequest(proxyUrl);
    client.end();
    const { res, closed: upstreamClosed } = await requests.next();
    eventStream(res).write('data: a\n\n');
    (await responseTo(client)).destroy();
    await closed(client);
    server.close();
    await once(server, 'close');
    const drained = proxy.drain({ grace: 20_000 });
    res.end('data: b\n\n');
    expect(await summary()).toMatchObject({ outcome: 'client-closed', attempts: [{ statusCode: 200 }] });
    await drained;
    // Nothing is left of the pool.
    await upstreamClosed;
  });

  it('connection pool when the server closes: connections that are idle are closed with it', async () => {
    const { url, server: upstreamServer } = await upstream((_req, res) => res.end('ok'));
    const { server, url: proxyUrl, proxy } = await proxyApp({ target: url });
    await exchange(proxyUrl);
    await until(() => proxy.active === 0);
    const closing = once(server, 'close');
    server.close();
    await closing;
    await until(() => new Promise((resolve) => upstreamServer.getConnections((_error, count) => resolve(count === 0))));
  });

  it('connection pool when the server closes: connections can be made again by the next server', async () => {
    const { url } = await upstream((_req, res) => res.end('ok'));
    const { server, app, url: proxyUrl } = await proxyApp({ target: url });
    await exchange(proxyUrl);
    const closing = once(server, 'close');
    server.close();
    await closing;
    const port = await listen(http.createServer(app));
    for (let i = 0; i < 2; i += 1) {
      const response = await request(`http://127.0.0.1:${port}`);
      response.resume();
      await once(response, 'end');
      expect(response.statusCode).toBe(200);
    }
  });
});
