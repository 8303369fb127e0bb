import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import fc from 'fast-check';
import { createSseProxy, type SseProxy, type SseProxyOptions } from '../../lib/index.js';
import { openaiCompatible } from '../../lib/providers/index.js';
import { runs, TIMEOUT } from '../support/fuzz.js';
import { closeAndWatchEachTest, turns, watchProcess } from '../support/watch.js';
import { http1Client, http2Client, type WorldClient } from '../support/world-clients.js';
import {
  anyWorld,
  COMMENT,
  describeWorld,
  type Events,
  judge,
  LIMIT,
  sentOf,
  type World,
  WorldUpstream,
} from '../support/worlds.js';

closeAndWatchEachTest();

/** How often a world is looked at. Milliseconds. */
const TICK = 5;

/** Without anything that has moved, so many times: whoever waits for another need not wait any more, or waits for good. */
const REST = 4;
const HANG = 500;

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

  get isStill(): boolean {
    return this.#still >= REST;
  }

  /** Whether it came to that, with all that has moved meanwhile. */
  async until(condition: () => boolean): Promise<boolean> {
    while (!condition()) {
      if (this.#still >= HANG) return false;
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
  const { front, sending, window, leaves, readsSlowly } = world;
  const requests = ids.map((id, i) => sentOf(world, i, id));
  if (front === 'http2') return http2Client({ port, requests, window, leaves, readsSlowly, moved });
  return http1Client({ port, requests, sending, leaves, readsSlowly, moved });
}

let count = 0;

/** All that is wrong with it. */
async function faultsOf(world: World, upstream: WorldUpstream): Promise<string[]> {
  count += 1;
  const ids = world.requests.map((_asked, i) => `w${count}r${i}`);
  const events: Events = upstream.begin(world, ids);
  const watch = new Watch(events);
  const front = await frontOf(world, events, upstream.url);
  // Heartbeats never come to rest.
  const client = await clientOf(world, ids, front.port, world.options.heartbeat ? () => {} : () => events.moved());
  const expectSoon = async (what: string, condition: () => boolean): Promise<void> => {
    if (!(await watch.until(condition))) events.faults.push(`never: ${what}`);
  };
  const { proxy, server, sockets } = front;
  await expectSoon('every response has ended', () => client.isSettled || (watch.isStill && client.mayGiveUp));
  if (!client.isSettled) client.giveUp();
  await expectSoon('no exchange is left', () => proxy.active === 0);
  // For bytes that nobody has asked for.
  await turns(3);
  await client.close();
  await expectSoon('no exchange is left behind its client', () => proxy.active === 0);
  let isDrained = false;
  void Promise.all([front.drained, proxy.drain({ grace: 1 })]).then(() => {
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
    hasDrained: front.drained !== undefined,
  });
}

describe('whole connections at random', () => {
  it(
    'each request gets its own answer or an honest end, is reported once, and nothing is left behind',
    async () => {
      const upstream = new WorldUpstream();
      await upstream.listen();
      const incidents = watchProcess();
      await fc.assert(
        fc.asyncProperty(anyWorld, async (world) => {
          const faults = await faultsOf(world, upstream);
          faults.push(...incidents.splice(0).map((incident) => `incident: ${(incident as Error)?.stack ?? incident}`));
          if (faults.length > 0) throw new Error(`${describeWorld(world)}\n${faults.join('\n')}\n`);
        }),
        runs(),
      );
      expect(incidents).toEqual([]);
    },
    TIMEOUT,
  );
});
