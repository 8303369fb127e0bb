import { type EventEmitter, once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, request, responseTo } from '../../support/clients/http.js';
import { closedPort, connections } from '../../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { buffersInUse } from '../../support/watch/memory.js';
import { closeAndWatchEachTest, realProcess } from '../../support/watch/process.js';
import { closed, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** How many listeners an emitter has, by event. */
function listeners(emitter: EventEmitter): Record<string, number> {
  return Object.fromEntries(emitter.eventNames().map((name) => [String(name), emitter.listenerCount(name)]));
}

/** How many of these keep the process alive. */
function active(resource: 'Timeout' | 'TCPSocketWrap'): number {
  return realProcess.getActiveResourcesInfo().filter((name) => name === resource).length;
}

/** Jest has some timers of its own, which come and go. */
const A_FEW = 10;

/** mulberry32: the same numbers in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Where a stream breaks off, and by whom. `events`: after so many were sent. */
interface Plan {
  by: 'client' | 'upstream';
  at: 'connected' | 'upload' | 'before the head' | 'head' | 'events';
  events: number;
  reset: boolean;
  method: 'GET' | 'POST';
}

function plan(next: () => number): Plan {
  const pick = <T>(...choices: [T, ...T[]]): T => choices[Math.floor(next() * choices.length)] ?? choices[0];
  const by = pick('client', 'upstream');
  return {
    by,
    at:
      by === 'client'
        ? pick('connected', 'upload', 'before the head', 'head', 'events')
        : pick('before the head', 'head', 'events'),
    events: 1 + Math.floor(next() * 20),
    reset: next() < 0.5,
    method: pick('GET', 'POST'),
  };
}

const breakOff = (socket: Socket | null, reset: boolean): unknown =>
  reset ? socket?.resetAndDestroy() : socket?.destroy();

/** The upstream of {@link run}: is told in the path what to do. */
function planned(req: IncomingMessage, res: ServerResponse): void {
  const { by, at, events, reset } = JSON.parse(decodeURIComponent(req.url?.slice(1) ?? '')) as Plan;
  req.resume();
  const end = (): unknown => by === 'upstream' && breakOff(req.socket, reset);
  if (at === 'before the head') return void end();
  if (at === 'connected' || at === 'upload') return;
  eventStream(res);
  if (at === 'head') return void end();
  let sent = 0;
  const send = (): void => {
    if (res.destroyed) return;
    if (sent === events) return void end();
    sent += 1;
    res.write(`data: ${'x'.repeat(100 * sent)}\n\n`, () => setImmediate(send));
  };
  send();
}

/** One stream that does not come to its end; resolves when its client is done. */
async function run(proxy: ProxyUnderTest, plan: Plan): Promise<void> {
  const { by, at, reset, method } = plan;
  const req = openRequest(`${proxy.url}/${encodeURIComponent(JSON.stringify(plan))}`, { method });
  const leave = (): unknown => breakOff(req.socket, reset);
  const over = closed(req);
  if (by === 'client' && at === 'connected') req.once('socket', (socket) => socket.once('connect', leave));
  if (at === 'upload') {
    req.write('x'.repeat(1000), () => setImmediate(leave));
  } else {
    req.end(method === 'POST' ? '{"stream":true}' : undefined);
  }
  if (by === 'client' && at === 'before the head') req.once('finish', () => setImmediate(leave));
  req.once('response', (response) => {
    response.on('error', () => {});
    if (by === 'client' && at === 'head') leave();
    let events = 0;
    response.on('data', (chunk: Buffer) => {
      events += chunk.toString().split('\n\n').length - 1;
      if (by === 'client' && events >= plan.events) leave();
    });
  });
  await over;
}

describe('500 streams that break off at random points', () => {
  it('leaks: 500 streams that break off at random points leave no socket, no listener and no timer behind', async () => {
    const up = await upstream(planned);
    let arrived = 0;
    const proxy = await proxyApp({ target: up.url }, (app) =>
      app.use((_req, _res, next) => {
        arrived += 1;
        next();
      }),
    );
    const next = random(20260721);
    const quiet = async (): Promise<void> => {
      await until(() => proxy.proxy.active === 0 && proxy.summaries.length === arrived);
      await until(async () => (await connections(proxy.server)) === 0);
      await until(async () => (await connections(up.server)) === 0);
    };

    // What is made once, is made by these.
    await Promise.all(Array.from({ length: 20 }, () => run(proxy, plan(next))));
    await quiet();
    const emitters = [realProcess, proxy.server, up.server];
    const before = emitters.map(listeners);
    const timers = active('Timeout');
    const warmUp = proxy.summaries.length;

    for (let batch = 0; batch < 10; batch += 1) {
      await Promise.all(Array.from({ length: 50 }, () => run(proxy, plan(next))));
    }
    await quiet();
    expect(active('Timeout')).toBeLessThan(timers + A_FEW);
    expect(emitters.map(listeners)).toEqual(before);
    await until(() => active('TCPSocketWrap') === 0);

    const outcomes = new Map<string, number>();
    for (const { outcome } of proxy.summaries.slice(warmUp)) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    // All of them were met; `completed` are error responses that were there before their client left.
    expect([...outcomes.keys()]).toEqual(
      expect.arrayContaining(['client-closed', 'upstream-truncated', 'upstream-error']),
    );
    expect(outcomes.has('failed')).toBe(false);
    expect(outcomes.has('completed')).toBe(false);
    expect(outcomes.get('client-closed')).toBeGreaterThan(100);
    expect(outcomes.get('upstream-truncated')).toBeGreaterThan(100);
  }, 30_000);
});

describe('requests one after the other', () => {
  /** Sends requests on one connection, and compares the listeners of its two ends after the second and the last. */
  async function compare(send: (agent: http.Agent, proxy: ProxyUnderTest) => Promise<void>, proxy: ProxyUnderTest) {
    const sockets: Socket[] = [];
    proxy.server.on('connection', (socket) => sockets.push(socket));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onCleanUp(() => agent.destroy());
    const counts = async (): Promise<Record<string, number>[]> => {
      await until(() => proxy.proxy.active === 0);
      return sockets.map(listeners);
    };
    await send(agent, proxy);
    await send(agent, proxy);
    const before = await counts();
    for (let i = 0; i < 50; i += 1) await send(agent, proxy);
    expect(sockets).toHaveLength(1);
    return { before, after: await counts() };
  }

  const get = async (agent: http.Agent, proxy: ProxyUnderTest): Promise<void> => {
    const req = openRequest(proxy.url, { agent });
    req.end();
    await readAll(await responseTo(req));
  };
  const post = async (agent: http.Agent, proxy: ProxyUnderTest): Promise<void> => {
    const req = openRequest(proxy.url, { agent, method: 'POST', headers: { 'content-length': 2 } });
    req.end('{}');
    await readAll(await responseTo(req));
  };

  it.each([
    ['GET', get],
    ['POST', post],
  ])('leaks: requests one after the other add no listener to the connections on either side: %s', async (_, send) => {
    const upstreamSockets: Socket[] = [];
    const { server, url } = await upstream((req, res) => {
      req.resume();
      eventStream(res).end('data: 1\n\n');
    });
    server.on('connection', (socket) => upstreamSockets.push(socket));
    const proxySockets = new Set<Socket>();
    const proxy = await proxyApp({
      target: url,
      on: { proxyReq: (proxyReq) => proxyReq.socket && proxySockets.add(proxyReq.socket) },
    });

    const { before, after } = await compare(send, proxy);
    expect(after).toEqual(before);
    expect(upstreamSockets).toHaveLength(1);
    expect(proxySockets.size).toBe(1);
    // An idle connection has a handful, of the pool's.
    for (const socket of proxySockets) {
      for (const [event, count] of Object.entries(listeners(socket))) expect([event, count < 5]).toEqual([event, true]);
    }
  });

  it('leaks: requests one after the other add no listener where they fail', async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}` });
    const { before, after } = await compare(get, proxy);
    expect(after).toEqual(before);
  });

  it('leaks: requests one after the other add no listener where the option `timeout` is set', async () => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const proxy = await proxyApp({ target: url, timeout: 60_000 });
    const { before, after } = await compare(get, proxy);
    expect(after).toEqual(before);
  });

  it('leaks: requests one after the other add no listener to a server', async () => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const proxy = await proxyApp({ target: url });
    await readAll(await request(proxy.url));
    const before = listeners(proxy.server);
    for (let i = 0; i < 50; i += 1) await readAll(await request(proxy.url));
    expect(listeners(proxy.server)).toEqual(before);
  });
});

describe('a proxy that has been used', () => {
  it('leaks: a proxy that has been used holds no timer, and no connection once its server is closed', async () => {
    const { url, server } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
    server.keepAliveTimeout = 0;
    const timers = active('Timeout');
    const proxy = await proxyApp({ target: url });
    for (let i = 0; i < 2 * A_FEW; i += 1) await readAll(await request(proxy.url));
    expect(active('Timeout')).toBeLessThan(timers + A_FEW);
    proxy.server.close();
    await once(proxy.server, 'close');
    await until(async () => (await connections(server)) === 0);
    await until(() => active('TCPSocketWrap') === 0);
  });

  it('leaks: a proxy that has been used holds no timer for responses that were cut', async () => {
    const { url } = await upstream((_req, res) => {
      eventStream(res).write('data: 1\n\n');
      setImmediate(() => res.destroy());
    });
    const proxy = await proxyApp({ target: url });
    const timers = active('Timeout');
    for (let i = 0; i < 2 * A_FEW; i += 1) {
      const response = await responseTo(openRequest(proxy.url).end());
      await closed(response.resume());
      await proxy.summary();
    }
    await until(async () => (await connections(proxy.server)) === 0);
    expect(active('Timeout')).toBeLessThan(timers + A_FEW);
  });
});

describe('what a request has brought is let go of when its answer has begun', () => {
  it.each<[string, SseProxyOptions, RequestHandler[]]>([
    ['of a small body', {}, []],
    ['of a body that could have been sent again', { retry: { methods: ['POST'] } }, []],
    ['of a body that a parser has read', {}, [express.json()]],
  ])('leaks: what a request has brought is let go of when its answer has begun: %s', async (_what, options, before) => {
    const { url } = await upstream((req, res) => {
      req.resume();
      eventStream(res).write('data: 1\n\n');
    });
    const proxy = await proxyApp({ target: url, ...options }, (app) =>
      app.use((_req, _res, next) => next(), ...before),
    );
    const count = 100;
    const text = JSON.stringify({ messages: [{ role: 'user', content: 'x'.repeat(10_000) }] });
    const headers = { 'content-type': 'application/json', 'content-length': text.length };
    const open = async (): Promise<IncomingMessage> => {
      const req = openRequest(proxy.url, { method: 'POST', headers });
      req.end(text);
      const response = await responseTo(req);
      await once(response, 'data');
      return response;
    };
    await open();
    const held = await buffersInUse();
    for (let i = 0; i < count; i += 1) await open();
    expect(proxy.proxy.active).toBe(count + 1);
    expect(((await buffersInUse()) - held) / count).toBeLessThan(text.length / 2);
  });
});
