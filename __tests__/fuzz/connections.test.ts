import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, it } from '@jest/globals';
import express from 'express';
import fc from 'fast-check';
import { createSseProxy, type SseProxy, type SseProxyOptions } from '../../lib/index.js';
import { openaiCompatible } from '../../lib/providers/index.js';
import { RUNS, runs, TIMEOUT } from '../support/fuzz/runs.js';
import { http1Client, http2Client, type WorldClient } from '../support/fuzz/world-clients.js';
import {
  anyStubbornWorld,
  anyWorld,
  COMMENT,
  describeWorld,
  type Events,
  judge,
  LIMIT,
  sentOf,
  type World,
  WorldUpstream,
} from '../support/fuzz/worlds.js';
import { closeAndWatchEachTest, watchProcess } from '../support/watch/process.js';
import { turns } from '../support/watch/wait.js';

closeAndWatchEachTest();

/** Of the first property; some of the faults that there were are in one world of several hundred. */
const LEAST = 1_000;

/** How often a world is looked at. Milliseconds. */
const TICK = 5;

/** Without anything that has moved, so many times: whoever waits for another need not wait any more, or waits for good. */
const REST = 4;
const HANG = 400;

// --- the proxy --------------------------------------------------------------------------------------------------------

function optionsOf({ options }: World, events: Events, url: string): SseProxyOptions {
  const { followRedirects, retry, fallback, commit, heartbeat, truncation, continues, limit, concurrency, queue } =
    options;
  const indexOf = ({ req }: { req: IncomingMessage }): number => events.ids.indexOf(String(req.url).slice(1));
  const { status, length } = options;
  return {
    target: url,
    followRedirects,
    xfwd: options.xfwd,
    ...(retry && { retry: { maxRetries: 1, minTimeout: 1, maxTimeout: 1 } }),
    ...(fallback && { fallbacks: [`${url}/fb`] }),
    ...(options.events === 'onEvent' && { onEvent() {} }),
    ...(options.events === 'same' && { transformEvent: (event) => event }),
    ...(options.events === 'edited' && {
      transformEvent(event) {
        event.data += '!';
      },
    }),
    ...(commit && { commit: 'first-event' }),
    ...(heartbeat && { heartbeat: { interval: 1, comment: COMMENT } }),
    ...(truncation && { truncation: 'event' }),
    ...(continues && { onClientClose: 'continue' }),
    ...(options.allow && { allow: ['GET /*path', 'POST /*path'] }),
    limits: {
      ...(limit && { requestBody: LIMIT }),
      ...(concurrency > 0 && { concurrency, ...(queue > 0 && { queue: { size: queue } }) }),
    },
    ...(options.provider && { provider: openaiCompatible({ name: 'world', target: url, apiKey: 'sesame' }) }),
    ...(status?.at === 'proxyRes' && {
      on: {
        proxyRes(response) {
          if (response.statusCode === 200) response.statusCode = status.is;
        },
      },
    }),
    ...((status?.at === 'rewriteHeaders' || length) && {
      rewriteHeaders(head, exchange) {
        const size = length ? events.lengthOf(indexOf(exchange), head) : undefined;
        if (size !== undefined) head.headers['content-length'] = String(size);
        if (status?.at === 'rewriteHeaders' && head.statusCode === 200) head.statusCode = status.is;
      },
    }),
    ...(options.provider && {
      onUsage(_usage, exchange) {
        const i = indexOf(exchange);
        events.usages[i] = (events.usages[i] ?? 0) + 1;
      },
    }),
    onFinish(summary, exchange) {
      events.summaries[indexOf(exchange)]?.push(summary);
      events.moved();
    },
  };
}

/** What stands in front of the proxy. */
function prepared({ options }: World, req: IncomingMessage, res: ServerResponse): void {
  if (options.method === 'HEAD is GET' && req.method === 'HEAD') req.method = 'GET';
  if (options.method === 'POST is PUT' && req.method === 'POST') req.method = 'PUT';
  if (options.write === 'strict') res.strictContentLength = true;
  if (!options.write.startsWith('wrapped')) return;
  const { write } = res;
  res.write = function (this: ServerResponse, ...args: unknown[]) {
    const result = Reflect.apply(write, this, args);
    return (options.write === 'wrapped' ? result : undefined) as boolean;
  } as typeof write;
}

interface Front {
  server: net.Server;
  port: number;
  proxy: SseProxy;
  sockets: Set<Socket>;
  drained: Promise<void> | undefined;
}

async function frontOf(world: World, events: Events, url: string): Promise<Front> {
  const proxy = createSseProxy(optionsOf(world, events, url));
  const front: Partial<Front> & { sockets: Set<Socket> } = { proxy, sockets: new Set() };
  let count = 0;
  const prepare = (req: IncomingMessage, res: ServerResponse): void => {
    const i = events.ids.indexOf(String(req.url).slice(1));
    if (i < 0) events.faults.push(`the front got ${req.method} ${req.url}`);
    else events.arrived[i] = (events.arrived[i] ?? 0) + 1;
    count += 1;
    if (count === world.drains?.at) front.drained = proxy.drain({ grace: world.drains.grace });
    prepared(world, req, res);
  };
  const listener: RequestListener = (req, res) => {
    prepare(req, res);
    void proxy(req, res);
  };
  if (world.front === 'http2') {
    const server = http2.createServer();
    server.on('request', (req: unknown, res: unknown) => listener(req as IncomingMessage, res as ServerResponse));
    server.on('sessionError', () => {});
    front.server = server;
  } else if (world.front === 'express') {
    const app = express();
    app.use((req, res, next) => {
      prepare(req, res);
      next();
    });
    app.use(proxy);
    front.server = http.createServer(app);
  } else front.server = http.createServer(listener);
  front.server.on('connection', (socket: Socket) => {
    front.sockets.add(socket);
    socket.once('close', () => {
      front.sockets.delete(socket);
      events.moved();
    });
  });
  front.server.listen(0, '127.0.0.1');
  await once(front.server, 'listening');
  front.port = (front.server.address() as AddressInfo).port;
  return front as Front;
}

// --- one world --------------------------------------------------------------------------------------------------------

/** Looks at a world from time to time. */
class Watch {
  #moves = 0;
  #seen = 0;
  #still = 0;
  #patience = HANG;
  readonly #timer: NodeJS.Timeout;
  readonly #events: Events;

  constructor(events: Events) {
    this.#events = events;
    events.moved = () => {
      this.#moves += 1;
    };
    this.#timer = setInterval(() => {
      this.#still = this.#moves === this.#seen ? this.#still + 1 : 0;
      this.#seen = this.#moves;
      if (this.#still >= REST) events.isAtRest = true;
    }, TICK);
  }

  /** Nobody waits for another any more, and nothing moves all the same. */
  get isQuiet(): boolean {
    return this.#still >= 3 * REST;
  }

  /** Whether it came to that, with all that has moved meanwhile. */
  async until(condition: () => boolean): Promise<boolean> {
    while (!condition()) {
      if (this.#still >= this.#patience) {
        // What hangs once hangs in the end, too.
        this.#patience = HANG / 4;
        this.#still = 0;
        return false;
      }
      await turns(1);
    }
    this.#still = 0;
    return true;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#events.isAtRest = true;
  }
}

function clientOf(world: World, ids: string[], port: number, moved: () => void): WorldClient | Promise<WorldClient> {
  const { front, sending, window, leaves, reads } = world;
  const requests = ids.map((id, i) => sentOf(world, i, id));
  if (front === 'http2') return http2Client({ port, requests, window, leaves, reads, moved });
  return http1Client({ port, requests, sending, leaves, reads, moved });
}

let count = 0;

interface Running {
  events: Events;
  watch: Watch;
  front: Front;
  client: WorldClient;
  /** What does not come to that is a fault. */
  expectSoon(what: string, condition: () => boolean): Promise<void>;
}

async function start(world: World, upstream: WorldUpstream): Promise<Running> {
  count += 1;
  const ids = world.requests.map((_asked, i) => `w${count}r${i}`);
  const events = upstream.begin(world, ids);
  const watch = new Watch(events);
  const front = await frontOf(world, events, upstream.url);
  // Heartbeats never come to rest.
  const client = await clientOf(world, ids, front.port, world.options.heartbeat ? () => {} : () => events.moved());
  return {
    ...{ events, watch, front, client },
    async expectSoon(what, condition) {
      if (!(await watch.until(condition))) events.faults.push(`never: ${what}`);
    },
  };
}

/** Nothing is left of it, and all that was wrong with it. */
async function finish(
  { events, watch, front, client, expectSoon }: Running,
  upstream: WorldUpstream,
): Promise<string[]> {
  const { proxy, server, sockets, drained } = front;
  await client.close();
  await expectSoon('no exchange is left behind its client', () => proxy.active === 0);
  let isDrained = false;
  void Promise.all([drained, proxy.drain({ grace: 1 })]).then(() => {
    isDrained = true;
  });
  await expectSoon('drain() has resolved', () => isDrained);
  let isClosed = false;
  server.close(() => {
    isClosed = true;
  });
  await expectSoon('the front has no connection any more', () => isClosed && sockets.size === 0);
  await expectSoon('the upstream has no connection any more', () => upstream.sockets.size === 0);
  watch.stop();
  for (const socket of [...sockets, ...upstream.sockets]) socket.destroy();
  events.faults.push(...client.faults);
  return judge({
    ...events,
    got: client.got,
    hasLeft: client.hasLeft,
    givenUp: client.givenUp,
    isBroken: client.faults.length > 0,
    hasDrained: drained !== undefined,
  });
}

/** All that is wrong with a world whose client leaves when it has what it can get. */
async function faultsOf(world: World, upstream: WorldUpstream): Promise<string[]> {
  const running = await start(world, upstream);
  const { watch, front, client, expectSoon } = running;
  await watch.until(() => client.isSettled || (watch.isQuiet && client.mayGiveUp));
  client.giveUp();
  await expectSoon('every response has ended', () => client.isSettled);
  await expectSoon('no exchange is left', () => front.proxy.active === 0);
  // For bytes that nobody has asked for.
  await turns(3);
  return finish(running, upstream);
}

/** Behind its grace period, the most that `drain()` may take, whatever clients do. Milliseconds. */
const DRAIN_MARGIN = 10_000;

/** Of worlds that wait. */
const BATCH = 40;

/** All that is wrong with a world whose client does not leave, as long as the proxy is not drained. */
async function faultsOfStubborn(world: World): Promise<string[]> {
  const upstream = new WorldUpstream();
  await upstream.listen();
  const running = await start(world, upstream);
  const { events, watch, front, client } = running;
  await watch.until(() => watch.isQuiet);
  const grace = world.drains?.grace ?? 0;
  front.drained ??= front.proxy.drain({ grace });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, grace + DRAIN_MARGIN, 'late');
  });
  if ((await Promise.race([front.drained, late])) === 'late') {
    events.faults.push(`drain() has not resolved in ${DRAIN_MARGIN} ms: ${front.proxy.active} active`);
  }
  clearTimeout(timer);
  client.giveUpAll();
  const faults = await finish(running, upstream);
  upstream.server.close();
  return faults;
}

function report(world: World, faults: readonly string[], incidents: unknown[]): void {
  const all = [...faults, ...incidents.splice(0).map((incident) => (incident as Error)?.stack ?? String(incident))];
  if (all.length > 0) throw new Error(`${describeWorld(world)}\n${all.join('\n')}\n`);
}

describe('whole connections at random', () => {
  it(
    'connections at random: each request gets its own answer or an honest end, is reported once, and nothing is left behind',
    async () => {
      const upstream = new WorldUpstream();
      await upstream.listen();
      const incidents = watchProcess();
      await fc.assert(
        fc.asyncProperty(anyWorld, async (world) => report(world, await faultsOf(world, upstream), incidents)),
        { ...runs(), numRuns: Math.max(RUNS, LEAST), timeout: 30_000 },
      );
    },
    // Where all cores are busy otherwise.
    3 * TIMEOUT,
  );

  it(
    'connections at random: drain() resolves soon after its grace period, whatever clients do that do not leave',
    async () => {
      const incidents = watchProcess();
      // All at once, since each may have to wait for some seconds; and none is made smaller, which would take minutes.
      const worlds = fc
        .noShrink(fc.array(anyStubbornWorld, { minLength: BATCH, maxLength: BATCH }))
        .map((batch) => Object.assign(batch, { [fc.toStringMethod]: () => 'that of the error' }));
      await fc.assert(
        fc.asyncProperty(worlds, async (batch) => {
          const all = await Promise.all(batch.map(async (world) => ({ world, faults: await faultsOfStubborn(world) })));
          const [first] = all;
          const { world, faults } = all.find((each) => each.faults.length > 0) ?? (first as (typeof all)[0]);
          report(world, faults, incidents);
        }),
        { ...runs(), numRuns: Math.ceil(RUNS / 2_000), timeout: 60_000 },
      );
    },
    TIMEOUT,
  );
});
