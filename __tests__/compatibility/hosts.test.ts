import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { createInterface } from 'node:readline';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, jest } from '@jest/globals';
import compression from 'compression';
import connect from 'connect';
import express from 'express';
import { createSseProxy, type SseProxyOptions } from '../../lib/index.js';
import { type Ask, begin, beginWithEvent, expectOneByOne, http1Asker, http2Asker } from '../support/clients/ask.js';
import { readText } from '../support/clients/http.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, PING, STREAMS, versionOf } from '../support/programs/compatibility.js';
import { closedPort, listen } from '../support/servers/listen.js';
import { listenHttp2 } from '../support/servers/proxies.js';
import { eventStream, manualUpstream } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { Queue } from '../support/watch/wait.js';

closeAndWatchEachTest();

// Three processes take a while to start on a busy machine.
jest.setTimeout(30_000);

const express4: typeof express = createRequire(import.meta.url)('express4');

interface Hosted {
  ask: Ask;
  /** How the exchanges have ended, in order. */
  outcomes: Queue<string>;
}

/** Starts it with the proxy in it. The options are such as JSON can hold. */
type Host = (options: SseProxyOptions) => Promise<Hosted>;

const asker = (port: number): Ask => http1Asker(() => net.connect(port, '127.0.0.1'));

const secureAsker = (asker: typeof http1Asker, protocol: string, port: number): Ask =>
  asker(() => tls.connect({ port, host: '127.0.0.1', ALPNProtocols: [protocol], rejectUnauthorized: false }));

/** A host in this process, from how it serves. */
const hostOf =
  (serve: (proxy: RequestListener) => Promise<Ask>): Host =>
  async (options) => {
    const outcomes = new Queue<string>();
    const proxy = createSseProxy({ ...options, onFinish: ({ outcome }) => outcomes.push(outcome) });
    return { ask: await serve(proxy), outcomes };
  };

/** What Express and Connect have in common. */
interface App extends RequestListener {
  use(handler: Handler): unknown;
  use(handler: ErrorHandler): unknown;
  use(path: string, handler: Handler): unknown;
}
type Handler = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;
type ErrorHandler = (error: Error, req: IncomingMessage, res: ServerResponse, next: () => void) => void;

const FRAMEWORKS: [title: string, framework: () => App][] = [
  [compatible('host', 'Express', versionOf('express')), express as () => unknown as () => App],
  [compatible('host', 'Express', versionOf('express4')), express4 as () => unknown as () => App],
  [compatible('host', 'Connect', versionOf('connect')), connect as () => unknown as () => App],
];

const node = process.versions.node;

const CLUSTER = compatible('host', 'node:cluster', node);

const HOSTS_HERE: [title: string, host: Host][] = [
  ...FRAMEWORKS.map(([title, framework]): [string, Host] => [
    title,
    hostOf(async (proxy) => {
      const app = framework();
      app.use(compression() as unknown as Handler);
      app.use(proxy);
      return asker(await listen(http.createServer(app)));
    }),
  ]),
  [compatible('host', 'node:http', node), hostOf(async (proxy) => asker(await listen(http.createServer(proxy))))],
  [
    compatible('host', 'node:http2', node),
    hostOf(async (proxy) => secureAsker(http2Asker, 'h2', await listenHttp2(proxy))),
  ],
  [
    compatible('host', 'node:http2 with HTTP/1.1', node),
    hostOf(async (proxy) => secureAsker(http1Asker, 'http/1.1', await listenHttp2(proxy))),
  ],
];

/** Two workers, in processes of their own. */
async function clustered(options: SseProxyOptions): Promise<Hosted & { primary: ChildProcess }> {
  const script = fileURLToPath(new URL('../support/programs/cluster.js', import.meta.url));
  const env = { ...process.env, OPTIONS: JSON.stringify(options) };
  const primary = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const close = once(primary, 'close');
  onCleanUp(async () => {
    // The workers leave with it, and with the last of them the output closes.
    primary.kill('SIGKILL');
    await close;
  });
  const lines = new Queue<string>();
  createInterface({ input: primary.stdout }).on('line', (line) => lines.push(line));
  const port = Number((await lines.next()).replace('listening on ', ''));
  return { ask: asker(port), outcomes: lines, primary };
}

describe.each([...HOSTS_HERE, [CLUSTER, clustered]] satisfies typeof HOSTS_HERE)('%s', (_title, host) => {
  it(STREAMS, async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes } = await host({ target: url });
    const { answer, res } = await begin(ask, requests);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'text/event-stream' } });
    expect(answer.headers).not.toHaveProperty('content-encoding');
    await expectOneByOne(answer, res);
    res.end();
    expect((await answer.ended()).cut).toBe(false);
    expect(await outcomes.next()).toBe('completed');
  });

  it(ABORTS, async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes } = await host({ target: url });
    const { answer, closed } = await beginWithEvent(ask, requests);
    answer.leave();
    await closed;
    expect(await outcomes.next()).toBe('client-closed');
  });

  it(ERRORS, async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes } = await host({ target: url });
    const asked = ask();
    const { res } = await requests.next();
    res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' }).end('{"error":{}}');
    const answer = await asked;
    expect(answer).toMatchObject({ status: 429, headers: { 'content-type': 'application/json', 'retry-after': '7' } });
    expect(await answer.ended()).toEqual({ text: '{"error":{}}', cut: false });
    expect(await outcomes.next()).toBe('completed');
  });

  it(HEARTBEATS, async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await host({ target: url, heartbeat: { interval: 10 } });
    const { answer, res } = await begin(ask, requests);
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      // Nothing else has come: the upstream is silent.
      expect(await answer.until(PING)).toBe(PING);
      res.write(event);
      await answer.until(event);
    }
    res.end();
    const { text, cut } = await answer.ended();
    expect(text.replaceAll(PING, '')).toBe('data: 1\n\ndata: 2\n\n');
    expect(cut).toBe(false);
  });
});

describe.each(HOSTS_HERE)('%s', (_title, host) => {
  it('502 of the proxy', async () => {
    const { ask, outcomes } = await host({ target: `http://127.0.0.1:${await closedPort()}` });
    const answer = await ask();
    expect(answer.status).toBe(502);
    expect(JSON.parse((await answer.ended()).text).error.code).toBe('UPSTREAM_UNREACHABLE');
    expect(await outcomes.next()).toBe('upstream-error');
  });

  it('broken stream', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes } = await host({ target: url });
    const { answer, res } = await beginWithEvent(ask, requests);
    res.destroy();
    expect(await answer.ended()).toEqual({ text: 'data: first\n\n', cut: true });
    expect(await outcomes.next()).toBe('upstream-truncated');
  });

  it('request body', async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await host({ target: url });
    const body = 'again '.repeat(40_000);
    const asked = ask({ method: 'POST', path: '/v1?a=b', body });
    const { req, res } = await requests.next();
    expect([req.method, req.url, await readText(req)]).toEqual(['POST', '/v1?a=b', body]);
    eventStream(res);
    await expectOneByOne(await asked, res);
  });
});

describe.each(FRAMEWORKS)('%s', (_title, framework) => {
  it('at a path', async () => {
    const { url, requests } = await manualUpstream();
    const app = framework();
    app.use('/ai', createSseProxy({ target: url }));
    const ask = asker(await listen(http.createServer(app)));
    const { answer, req, res } = await begin(ask, requests, '/ai/stream?a=b');
    expect(req.url).toBe('/stream?a=b');
    await expectOneByOne(answer, res);
  });

  it('several proxies in one app', async () => {
    const upstreams = [await manualUpstream(), await manualUpstream()];
    const app = framework();
    for (const [i, { url }] of upstreams.entries()) app.use(`/${i}`, createSseProxy({ target: url }));
    const ask = asker(await listen(http.createServer(app)));
    const [one, other] = await Promise.all(upstreams.map(({ requests }, i) => begin(ask, requests, `/${i}`)));
    if (one === undefined || other === undefined) throw new Error('There are two.');
    await Promise.all([expectOneByOne(one.answer, one.res), expectOneByOne(other.answer, other.res)]);
    one.answer.leave();
    await one.closed;
    await expectOneByOne(other.answer, other.res);
  });

  it('routes of the app behind it', async () => {
    const app = framework();
    app.use(createSseProxy({ target: `http://127.0.0.1:${await closedPort()}`, pathFilter: '/ai' }));
    app.use((req, res) => void res.end(`app: ${req.url}`));
    const ask = asker(await listen(http.createServer(app)));
    expect((await (await ask({ path: '/other' })).ended()).text).toBe('app: /other');
    expect((await ask({ path: '/ai' })).status).toBe(502);
  });

  it('error middleware of the app', async () => {
    const app = framework();
    app.use(createSseProxy({ target: `http://127.0.0.1:${await closedPort()}`, onError: 'next' }));
    // By its four parameters they know it.
    app.use((error: Error, _req: IncomingMessage, res: ServerResponse, _next: () => void) => {
      res.writeHead(503).end(`app: ${error.message}`);
    });
    const answer = await asker(await listen(http.createServer(app)))();
    expect(answer.status).toBe(503);
    expect((await answer.ended()).text).toMatch(/^app: .+/);
  });
});

describe.each([
  [compatible('host', 'Express', versionOf('express')), express],
  [compatible('host', 'Express', versionOf('express4')), express4],
])('%s', (_title, framework) => {
  it('in a router', async () => {
    const { url, requests } = await manualUpstream();
    const router = framework.Router().use('/inner', createSseProxy({ target: url }));
    const app = framework().use('/outer', router);
    const ask = asker(await listen(http.createServer(app)));
    const { answer, req, res } = await begin(ask, requests, '/outer/inner/stream?a=b');
    expect(req.url).toBe('/stream?a=b');
    await expectOneByOne(answer, res);
  });

  it('in a route', async () => {
    const { url, requests } = await manualUpstream();
    const app = framework().get('/:model/stream', createSseProxy({ target: url }));
    const ask = asker(await listen(http.createServer(app)));
    const { answer, req, res } = await begin(ask, requests, '/small/stream');
    expect(req.url).toBe('/small/stream');
    await expectOneByOne(answer, res);
  });

  it('trust proxy', async () => {
    const { url, requests } = await manualUpstream();
    const app = framework().set('trust proxy', 'loopback');
    app.use((req, res, next) => {
      res.setHeader('x-seen', `${req.ip} ${req.protocol} ${req.hostname}`);
      next();
    });
    app.use(createSseProxy({ target: url, xfwd: true }));
    const ask = asker(await listen(http.createServer(app)));
    const forwarded = {
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'app.test',
    };
    const asked = ask({ headers: forwarded });
    const { req, res } = await requests.next();
    expect(req.headers).toMatchObject({ ...forwarded, 'x-forwarded-for': '203.0.113.7, 127.0.0.1' });
    eventStream(res);
    const answer = await asked;
    expect(answer.headers['x-seen']).toBe('203.0.113.7 https app.test');
    await expectOneByOne(answer, res);
  });
});

describe(CLUSTER, () => {
  it('streams of two workers at once', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes } = await clustered({ target: url });
    const one = await begin(ask, requests);
    const other = await begin(ask, requests);
    expect(one.answer.headers['x-worker']).not.toBe(other.answer.headers['x-worker']);
    await Promise.all([expectOneByOne(one.answer, one.res), expectOneByOne(other.answer, other.res)]);
    one.answer.leave();
    await one.closed;
    expect(await outcomes.next()).toBe('client-closed');
    await expectOneByOne(other.answer, other.res);
  });

  it('death of a worker', async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await clustered({ target: url });
    const one = await beginWithEvent(ask, requests);
    const other = await beginWithEvent(ask, requests);
    process.kill(Number(one.answer.headers['x-worker']), 'SIGKILL');
    await one.closed;
    expect(await one.answer.ended()).toEqual({ text: 'data: first\n\n', cut: true });
    await expectOneByOne(other.answer, other.res);
    // The one that is left answers now.
    const next = await begin(ask, requests);
    expect(next.answer.headers['x-worker']).toBe(other.answer.headers['x-worker']);
  });

  it('workers that end with their streams', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, outcomes, primary } = await clustered({ target: url });
    const begun = [await begin(ask, requests), await begin(ask, requests)];
    const exit = once(primary, 'close');
    primary.kill('SIGTERM');
    expect(await outcomes.next()).toBe('leaving');
    for (const { answer, res } of begun) {
      await expectOneByOne(answer, res);
      res.end();
      expect((await answer.ended()).cut).toBe(false);
    }
    // By themselves: no timer and no connection holds them.
    expect(await exit).toEqual([0, null]);
    await Promise.all(begun.map(({ closed }) => closed));
  });
});
