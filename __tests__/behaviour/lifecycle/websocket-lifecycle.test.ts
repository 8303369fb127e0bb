import { once } from 'node:events';
import http, { type IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { describe, expect, it, jest } from '@jest/globals';
import { WebSocket } from 'ws';
import { createSseProxy, type SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, responseTo } from '../../support/clients/http.js';
import { rawClient, rawExchange } from '../../support/clients/raw.js';
import { echo, failed, handshake, opened } from '../../support/clients/web-sockets.js';
import { certificate } from '../../support/servers/certificate.js';
import { closedPort, connections, listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

const LEAVING: [string, (socket: Socket) => void][] = [
  ['FIN', (socket) => void socket.end()],
  ['RST', (socket) => void socket.resetAndDestroy()],
];

/** An upstream that leaves handshakes unanswered; and the connections on which they came. */
async function silentUpstream(): Promise<{ url: string; sockets: Set<Socket>; arrived: Queue<Socket> }> {
  const arrived = new Queue<Socket>();
  const { url, sockets } = await rawUpstream((socket) => arrived.push(socket));
  return { url, sockets, arrived };
}

/** An upstream that switches protocols and leaves the rest to the test. */
async function rawTunnels(): Promise<{ url: string; sockets: Set<Socket>; arrived: Queue<Socket> }> {
  const arrived = new Queue<Socket>();
  const { url, sockets } = await rawUpstream((socket) => {
    socket.removeAllListeners('data');
    socket.write(SWITCH);
    arrived.push(socket);
  });
  return { url, sockets, arrived };
}

describe('a client that leaves while its WebSocket handshake is pending', () => {
  it.each(LEAVING)(
    'WebSocket handshake: a client that leaves while it is pending ends the upstream request at once: %s',
    async (_name, leave) => {
      const { url, sockets, arrived } = await silentUpstream();
      const errors: unknown[] = [];
      const { port, server, proxy, summaries } = await upgradeServer({
        target: url,
        on: { error: (error) => void errors.push(error) },
      });
      const clients = await Promise.all(Array.from({ length: 20 }, () => rawClient(port)));
      for (const { socket } of clients) socket.write(handshake());
      for (let i = 0; i < 20; i += 1) await arrived.next();
      expect(proxy.active).toBe(20);
      for (const { socket } of clients) leave(socket);
      await until(() => sockets.size === 0);
      await until(() => proxy.active === 0);
      expect(await connections(server)).toBe(0);
      for (let i = 0; i < 20; i += 1) {
        const summary = await summaries.next();
        expect(summary).toMatchObject({ outcome: 'client-closed', attempts: [{ target: url }] });
        expect(summary).not.toHaveProperty('statusCode');
      }
      expect(errors).toEqual([]);
      // Nothing keeps the server open.
      await new Promise((resolve) => server.close(resolve));
    },
  );

  it('WebSocket handshake: a client that leaves while it is pending is noticed although it has sent more than its handshake', async () => {
    const { url, sockets, arrived } = await silentUpstream();
    const { port, proxy } = await upgradeServer({ target: url });
    const { socket } = await rawClient(port);
    socket.write(`${handshake()}early`);
    await arrived.next();
    socket.end('later');
    await until(() => sockets.size === 0);
    await until(() => proxy.active === 0);
  });

  it.each(LEAVING)(
    'WebSocket handshake: a client that leaves while it is pending is noticed while `router` is at work: nothing is sent upstream: %s',
    async (_name, leave) => {
      const { url, handshakes } = await echoUpstream();
      const asked = signal();
      const answer = signal<string>();
      const router = (): Promise<string> => {
        asked.resolve();
        return answer.promise;
      };
      const { port, proxy, summaries } = await upgradeServer({ router });
      const { socket } = await rawClient(port);
      socket.write(handshake());
      await asked.promise;
      leave(socket);
      await until(() => proxy.active === 0);
      answer.resolve(url);
      expect(await summaries.next()).toMatchObject({ outcome: 'client-closed', attempts: [] });
      await turns();
      expect(handshakes).toEqual([]);
    },
  );

  it.each(LEAVING)(
    'WebSocket handshake: a client that leaves while it is pending gives up its place in the queue: %s',
    async (_name, leave) => {
      const { url, handshakes } = await echoUpstream();
      const limits = { concurrency: 1, queue: { size: 5 } };
      const { port, proxy, url: address } = await upgradeServer({ target: url, limits });
      const first = await opened(address);
      const { socket } = await rawClient(port);
      socket.write(handshake('/second'));
      await until(() => proxy.active === 2);
      leave(socket);
      await until(() => proxy.active === 1);
      first.close();
      await opened(`${address}/third`);
      expect(handshakes.map(({ url: path }) => path)).toEqual(['/', '/third']);
    },
  );
});

describe('the deadlines of a WebSocket handshake', () => {
  it.each<[string, SseProxyOptions, string]>([
    ['timeouts.headers', { timeouts: { headers: 50 } }, 'UPSTREAM_TIMEOUT'],
    ['timeouts.total', { timeouts: { total: 50 } }, 'TOTAL_TIMEOUT'],
    ['upgradeTimeout', { upgradeTimeout: 50, timeouts: { headers: 1 } }, 'UPSTREAM_TIMEOUT'],
  ])('WebSocket handshake, deadlines: are answered with a 504: %s', async (_name, options, code) => {
    const { url, sockets } = await silentUpstream();
    const errors: unknown[] = [];
    const { port, proxy, summaries } = await upgradeServer({
      target: url,
      ...options,
      on: { error: (error) => void errors.push(Reflect.get(error, 'code')) },
    });
    const startedAt = performance.now();
    const { text } = await rawExchange(port, handshake());
    expect(performance.now() - startedAt).toBeGreaterThan(45);
    expect(text).toMatch(/^HTTP\/1\.1 504 Gateway Timeout\r\n/);
    expect(JSON.parse(text.split('\r\n\r\n')[1] ?? '').error.code).toBe(code);
    expect(await summaries.next()).toMatchObject({ outcome: 'timeout', statusCode: 504, error: { code } });
    await until(() => sockets.size === 0 && proxy.active === 0);
    // As http-proxy-middleware tells it.
    expect(errors).toEqual(['ERR_UPSTREAM_UPGRADE_TIMEOUT']);
  });

  it('WebSocket handshake, deadlines: connect: is a 504 where TLS is not established in time', async () => {
    const { url, sockets } = await silentUpstream();
    const { port } = await upgradeServer({ target: url.replace('http', 'https'), timeouts: { connect: 50 } });
    const { text } = await rawExchange(port, handshake());
    expect(JSON.parse(text.split('\r\n\r\n')[1] ?? '').error.code).toBe('UPSTREAM_CONNECT_TIMEOUT');
    await until(() => sockets.size === 0);
  });

  it('WebSocket handshake, deadlines: upgradeTimeout: may be set by `router` for one handshake, and 0 is none', async () => {
    const { url, arrived } = await silentUpstream();
    const { port, url: address } = await upgradeServer({
      target: url,
      timeouts: { headers: 20 },
      router: (req, _res, options) => {
        options.upgradeTimeout = req.url === '/none' ? 0 : 50;
        return url;
      },
    });
    const socket = await rawClient(port);
    socket.socket.write(handshake('/none'));
    await arrived.next();
    expect((await failed(address)).message).toContain('504');
    expect(socket.text()).toBe('');
  });

  it('WebSocket handshake, deadlines: are over with the handshake: an open WebSocket may be silent', async () => {
    const { url } = await echoUpstream();
    const timeouts = { connect: 60, headers: 60, idle: 60, drain: 60 };
    const { url: address } = await upgradeServer({ target: url, timeouts });
    const socket = await opened(address);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await echo(socket, 'still')).toBe('still');
  });

  it('WebSocket handshake, deadlines: total: ends an open WebSocket', async () => {
    const { url, sockets } = await echoUpstream();
    const { url: address, summaries } = await upgradeServer({ target: url, timeouts: { total: 100 } });
    const socket = await opened(address);
    await once(socket, 'close');
    expect(await summaries.next()).toMatchObject({ outcome: 'timeout', error: { code: 'TOTAL_TIMEOUT' } });
    await until(() => sockets.size === 0);
  });

  it('WebSocket handshake, deadlines: idle: ends a refusal of the upstream that falls silent', async () => {
    const { url } = await rawUpstream((socket) => socket.write('HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\npart'));
    const { port, summaries } = await upgradeServer({ target: url, timeouts: { idle: 50 } });
    expect((await rawExchange(port, handshake())).text).toMatch(/part$/);
    expect(await summaries.next()).toMatchObject({ outcome: 'timeout', statusCode: 403 });
  });

  it('WebSocket handshake, deadlines: idle: ends a tunnel of which one side only has ended', async () => {
    const { url, arrived } = await rawTunnels();
    const { port, server, proxy, summaries } = await upgradeServer({ target: url, timeouts: { idle: 50 } });
    const client = await rawClient(port);
    client.socket.write(handshake());
    const upstream = await arrived.next();
    upstream.allowHalfOpen = true;
    await client.until('\r\n\r\n');
    client.socket.end();
    expect(await summaries.next()).toMatchObject({ outcome: 'timeout' });
    await until(() => proxy.active === 0);
    expect(await connections(server)).toBe(0);
    upstream.destroy();
  });
});

describe('limits.concurrency and WebSockets', () => {
  it('WebSocket, limits.concurrency: holds a place until the tunnel is over', async () => {
    const { url } = await echoUpstream();
    const { url: address, port, proxy } = await upgradeServer({ target: url, limits: { concurrency: 1 } });
    const first = await opened(address);
    expect(proxy.active).toBe(1);
    const { text } = await rawExchange(port, handshake());
    expect(text).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
    expect(text).toMatch(/\r\nretry-after: 1\r\n/);
    expect(JSON.parse(text.split('\r\n\r\n')[1] ?? '').error.code).toBe('CONCURRENCY_LIMIT');
    const request = await proxyless(address);
    expect(request.statusCode).toBe(503);
    first.close();
    await until(() => proxy.active === 0);
    expect(await echo(await opened(address), 'hello')).toBe('hello');
  });

  /** A plain request to the same proxy. */
  async function proxyless(address: string): Promise<IncomingMessage> {
    const req = openRequest(address.replace('ws', 'http'));
    req.end();
    const response = await responseTo(req);
    response.resume();
    await once(response, 'end');
    return response;
  }

  it('WebSocket, limits.concurrency: counts requests and WebSockets together, and has them wait for their turn', async () => {
    const stream = signal<http.ServerResponse>();
    const { url, handshakes } = await echoUpstream(http.createServer((_req, res) => stream.resolve(res)));
    const { url: address } = await upgradeServer({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    openRequest(address.replace('ws', 'http')).end();
    const res = await stream.promise;
    const waiting = opened(address);
    await turns(20);
    expect(handshakes).toHaveLength(0);
    res.end();
    expect(await echo(await waiting, 'hello')).toBe('hello');
  });

  it.each<[string, SseProxyOptions, number]>([
    ['a handshake that is refused upstream', {}, 403],
    ['a hook that throws', { requestHeaders: { set: { 'x-a': () => JSON.parse('{') } } }, 500],
    ['a path outside the target', { pathRewrite: () => '/..' }, 400],
  ])('WebSocket, limits.concurrency: gives the place back after %s', async (_name, options, status) => {
    const refusing = await rawUpstream((socket) => socket.end('HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'));
    const { port, proxy } = await upgradeServer({ target: refusing.url, limits: { concurrency: 1 }, ...options });
    for (let i = 0; i < 3; i += 1) {
      const { text } = await rawExchange(port, handshake());
      expect(text.split(' ')[1]).toBe(String(status));
      await until(() => proxy.active === 0);
    }
  });
});

describe('drain() and WebSockets', () => {
  it('WebSocket, drain(): refuses new handshakes with a 503, lets open ones go on, and resolves with the last', async () => {
    const { url } = await echoUpstream();
    const { url: address, port, proxy, summaries } = await upgradeServer({ target: url });
    const socket = await opened(address);
    const drained = proxy.drain();
    const { text } = await rawExchange(port, handshake());
    expect(text).toMatch(/^HTTP\/1\.1 503/);
    expect(JSON.parse(text.split('\r\n\r\n')[1] ?? '').error.code).toBe('DRAINING');
    expect(await summaries.next()).toMatchObject({ outcome: 'refused' });
    expect(await echo(socket, 'still')).toBe('still');
    socket.close();
    await drained;
    expect(proxy.active).toBe(0);
    expect(await summaries.next()).toMatchObject({ outcome: 'completed', statusCode: 101 });
  });

  it('WebSocket, drain(): ends open tunnels when the grace is over, so that the server can close', async () => {
    const { url, sockets } = await echoUpstream();
    const { url: address, proxy, server, summaries } = await upgradeServer({ target: url });
    const clients = await Promise.all([opened(address), opened(address)]);
    const closing = clients.map((socket) => once(socket, 'close'));
    await proxy.drain({ grace: 10 });
    expect((await Promise.all(closing)).map(([code]) => code)).toEqual([1006, 1006]);
    expect(await summaries.next()).toMatchObject({ outcome: 'drained', error: { code: 'DRAINED' } });
    await until(() => sockets.size === 0);
    await new Promise((resolve) => server.close(resolve));
  });

  it('WebSocket, drain(): answers pending handshakes with a 503 when the grace is over', async () => {
    const { url, sockets, arrived } = await silentUpstream();
    const { url: address, proxy } = await upgradeServer({ target: url });
    const failure = failed(address);
    await arrived.next();
    await proxy.drain({ grace: 10 });
    expect((await failure).message).toContain('503');
    await until(() => sockets.size === 0);
  });

  it('WebSocket, drain(): resolves although a client neither reads nor closes', async () => {
    const { url, arrived } = await rawTunnels();
    const { port, proxy, server } = await upgradeServer({ target: url });
    const client = await rawClient(port);
    client.socket.allowHalfOpen = true;
    client.socket.write(handshake());
    const upstream = await arrived.next();
    await client.until('\r\n\r\n');
    client.socket.pause();
    // More than the connection holds.
    upstream.write('x'.repeat(8_000_000));
    await once(upstream, 'drain', { signal: AbortSignal.timeout(500) }).catch(() => {});
    await proxy.drain({ grace: 10 });
    expect(proxy.active).toBe(0);
    expect(await connections(server)).toBe(0);
  }, 15_000);
});

describe('on.error and a WebSocket handshake that fails', () => {
  it.each<[string, SseProxyOptions, string | undefined, number]>([
    ['the upstream cannot be reached', {}, 'ECONNREFUSED', 502],
    ['router rejects', { router: () => Promise.reject(new Error('mine')) }, 'HOOK_FAILED', 500],
  ])(
    'WebSocket handshake that fails: on.error is told, and the proxy answers where it has not: %s',
    async (_name, options, code, status) => {
      const seen: unknown[][] = [];
      const target = `http://127.0.0.1:${await closedPort()}`;
      const { port, proxy } = await upgradeServer({
        target,
        ...options,
        on: {
          error: (error, req, socket) =>
            void seen.push([Reflect.get(error, 'code'), req.url, socket instanceof net.Socket]),
        },
      });
      const { text } = await rawExchange(port, handshake('/chat'));
      expect(text.split(' ')[1]).toBe(String(status));
      expect(seen).toEqual([[code, '/chat', true]]);
      await until(() => proxy.active === 0);
    },
  );

  const ANSWER = 'HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

  it.each<[string, (socket: Socket) => void | Promise<void>]>([
    ['ends the connection with an answer', (socket) => void socket.end(ANSWER)],
    ['writes an answer', (socket) => void socket.write(ANSWER)],
    [
      'does so when its promise settles',
      async (socket) => {
        await turns();
        socket.end(ANSWER);
      },
    ],
  ])('WebSocket handshake that fails: on.error has the word where it %s', async (_name, answer) => {
    const { port, proxy } = await upgradeServer({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: { error: (_error, _req, socket) => answer(socket as Socket) },
    });
    expect((await rawExchange(port, handshake())).text).toBe(ANSWER);
    await until(() => proxy.active === 0);
  });

  it.each<[string, () => void | Promise<void>]>([
    ['throws', () => JSON.parse('{')],
    ['rejects', () => Promise.reject(new Error('mine'))],
  ])('WebSocket handshake that fails: on.error does not keep the client waiting where it %s', async (_name, fail) => {
    const { port } = await upgradeServer({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: { error: fail },
    });
    expect((await rawExchange(port, handshake())).text).toMatch(/^HTTP\/1\.1 502/);
  });

  it.each<[string, (res: ServerResponse) => void | Promise<void>]>([
    ['its listener answers too late', (res) => void setTimeout(() => res.end('late'), 20)],
    ['its promise settles without an answer', () => turns()],
  ])(
    'WebSocket handshake that fails: on.error may give the connection to a response of its own: ours goes out where %s',
    async (_name, answer) => {
      const { port, proxy } = await upgradeServer({
        target: `http://127.0.0.1:${await closedPort()}`,
        on: {
          error: (_error, req, socket) => {
            const res = new ServerResponse(req);
            res.assignSocket(socket as Socket);
            return answer(res);
          },
        },
      });
      expect((await rawExchange(port, handshake())).text).toMatch(/^HTTP\/1\.1 502 [\s\S]*"UPSTREAM_UNREACHABLE"}}$/);
      await until(() => proxy.active === 0);
    },
  );

  it('WebSocket handshake that fails: on.error may write too late, which ends nothing', async () => {
    const late = signal();
    const { port } = await upgradeServer({
      target: `http://127.0.0.1:${await closedPort()}`,
      on: {
        error: (_error, _req, socket) => {
          setTimeout(() => {
            (socket as Socket).end(ANSWER);
            late.resolve();
          }, 20);
        },
      },
    });
    expect((await rawExchange(port, handshake())).text).toMatch(/^HTTP\/1\.1 502/);
    await late.promise;
    await turns();
  });

  it('WebSocket handshake that fails: on.error is told of a tunnel that the upstream resets', async () => {
    const { url, arrived } = await rawTunnels();
    const errors: unknown[] = [];
    const { port, summaries } = await upgradeServer({
      target: url,
      on: { error: (error) => void errors.push(Reflect.get(error, 'code')) },
    });
    const client = await rawClient(port);
    client.socket.write(handshake());
    const upstream = await arrived.next();
    await client.until('\r\n\r\n');
    upstream.resetAndDestroy();
    await client.end();
    expect(await summaries.next()).toMatchObject({ outcome: 'upstream-truncated', statusCode: 101 });
    expect(errors).toEqual(['ECONNRESET']);
  });
});

describe('a tunnel', () => {
  it('WebSocket tunnel: passes on what was sent behind the heads, on both sides, in order', async () => {
    const received = signal<string>();
    const { url } = await rawUpstream((socket, request) => {
      if (!request.startsWith('GET')) return;
      socket.removeAllListeners('data');
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes;
        if (text.length === 6) received.resolve(text);
      });
      socket.write(`${SWITCH}one`);
      setImmediate(() => socket.write('two'));
    });
    const { port } = await upgradeServer({ target: url });
    const client = await rawClient(port);
    client.socket.write(`${handshake()}abc`);
    setImmediate(() => client.socket.write('def'));
    await client.until('two');
    expect(client.text().split('\r\n\r\n')[1]).toBe('onetwo');
    expect(await received.promise).toBe('abcdef');
  });

  it('WebSocket tunnel: has the bytes of the upstream in its summary, and how it ended', async () => {
    const { url, arrived } = await rawTunnels();
    const { port, summaries } = await upgradeServer({ target: url });
    for (const [outcome, end] of [
      ['completed', (_client: Socket, upstream: Socket) => void upstream.end()],
      ['client-closed', (client: Socket) => void client.resetAndDestroy()],
    ] as const) {
      const client = await rawClient(port);
      client.socket.write(handshake('/?key=1'));
      const upstream = await arrived.next();
      upstream.write('x'.repeat(1_000));
      await client.until('xxx');
      await until(() => client.text().endsWith('x'.repeat(1_000)));
      end(client.socket, upstream);
      expect(await summaries.next()).toMatchObject({
        outcome,
        statusCode: 101,
        bytes: 1_000,
        attempts: [{ target: url, statusCode: 101 }],
      });
    }
  });

  it('WebSocket tunnel: delivers all of it to a client that reads slowly, when the upstream has closed', async () => {
    const { url, arrived } = await rawTunnels();
    const { port, summaries } = await upgradeServer({ target: url });
    const client = await rawClient(port);
    client.socket.write(handshake());
    const upstream = await arrived.next();
    await client.until('\r\n\r\n');
    client.socket.pause();
    upstream.end('x'.repeat(8_000_000));
    await turns(50);
    client.socket.resume();
    expect((await client.end()).text.split('\r\n\r\n')[1]).toHaveLength(8_000_000);
    expect(await summaries.next()).toMatchObject({ outcome: 'completed', bytes: 8_000_000 });
  });

  it('WebSocket tunnel: leaves no listener of the client’s connection behind but the one for late errors', async () => {
    const { url } = await echoUpstream();
    const sockets: Socket[] = [];
    const { url: address, proxy } = await upgradeServer({
      target: url,
      on: { proxyReqWs: (_request, _req, socket) => void sockets.push(socket as Socket) },
    });
    const socket = await opened(address);
    socket.close();
    await until(() => proxy.active === 0);
    expect(sockets[0]?.listenerCount('close')).toBe(0);
    expect(sockets[0]?.listenerCount('error')).toBe(1);
  });
});

describe('a WebSocket handshake behind other requests of its connection', () => {
  it.each<[string, SseProxyOptions, RegExp]>([
    ['that opens', {}, /HTTP\/1\.1 101 Switching Protocols\r\n/],
    ['that is refused', { allow: ['GET /first'] }, /HTTP\/1\.1 404 Not Found\r\n/],
  ])('WebSocket handshake behind pipelined requests: waits for its turn: %s', async (_name, options, second) => {
    const stream = signal<http.ServerResponse>();
    const { url } = await echoUpstream(http.createServer((_req, res) => stream.resolve(res)));
    const { port, proxy } = await upgradeServer({ target: url, ...options });
    const client = await rawClient(port);
    client.socket.write(`GET /first HTTP/1.1\r\nHost: a\r\n\r\n${handshake()}`);
    const res = await stream.promise;
    res.write('one');
    await client.until('one');
    await turns(20);
    expect(proxy.active).toBe(2);
    res.end('two');
    await client.until('HTTP/1.1', 2);
    const [, rest = ''] = client.text().split('two\r\n0\r\n\r\n');
    expect(rest).toMatch(second);
  });

  it.each(LEAVING)(
    'WebSocket handshake behind pipelined requests: is over, and they are, when its client leaves before that: %s',
    async (_name, leave) => {
      const stream = signal<http.ServerResponse>();
      const { url, handshakes } = await echoUpstream(http.createServer((_req, res) => stream.resolve(res)));
      const { port, proxy, server } = await upgradeServer({ target: url });
      const client = await rawClient(port);
      client.socket.write(`GET /first HTTP/1.1\r\nHost: a\r\n\r\n${handshake()}`);
      (await stream.promise).write('one');
      await client.until('one');
      leave(client.socket);
      await until(() => proxy.active === 0);
      expect(handshakes).toEqual([]);
      expect(await connections(server)).toBe(0);
    },
  );

  it('WebSocket handshake behind pipelined requests: closes the connection, but not in the middle of an answer, when its time is over before that', async () => {
    const stream = signal<http.ServerResponse>();
    const { url } = await echoUpstream(http.createServer((_req, res) => stream.resolve(res)));
    const own = await upgradeServer({ target: url });
    const late = createSseProxy({ target: url, timeouts: { total: 20 } });
    own.server.prependListener('upgrade', (req, socket, head) => late.upgrade(req, socket as Socket, head));
    const client = await rawClient(own.port);
    client.socket.write(`GET /first HTTP/1.1\r\nHost: a\r\n\r\n${handshake()}`);
    const res = await stream.promise;
    res.write('one');
    await client.until('one');
    await until(() => late.active === 0);
    res.end('two');
    expect((await client.end()).text).toMatch(/one\r\n3\r\ntwo\r\n0\r\n\r\n$/);
  });
});

describe('a server with TLS', () => {
  it('WebSocket: a server with TLS has WebSockets, and refusals that are read to their end', async () => {
    const { url } = await echoUpstream();
    const proxy = createSseProxy({ target: url, allow: ['GET /chat'] });
    const server = https.createServer(await certificate());
    server.on('upgrade', (req, socket, head) => proxy.upgrade(req, socket as Socket, head));
    const port = await listen(server);
    const connected = (path: string): WebSocket => {
      const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, { rejectUnauthorized: false });
      socket.on('error', () => {});
      onCleanUp(() => socket.terminate());
      return socket;
    };
    const socket = connected('/chat');
    await once(socket, 'open');
    expect(await echo(socket, 'hello')).toBe('hello');
    const [, response] = await once(connected('/other'), 'unexpected-response');
    expect(response.statusCode).toBe(404);
    expect(JSON.parse(String(await readAll(response))).error.code).toBe('NOT_FOUND');
    socket.close();
    await until(() => proxy.active === 0);
  });
});

describe('onFinish', () => {
  it('WebSocket: onFinish tells of a WebSocket with ws: true, too', async () => {
    const { url } = await echoUpstream();
    const proxy = await proxyApp({ target: url, ws: true });
    const first = openRequest(proxy.url);
    first.end();
    (await responseTo(first)).resume();
    expect((await proxy.summary()).statusCode).toBe(200);
    const socket = await opened(proxy.url.replace('http', 'ws'));
    socket.close();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 101 });
  });

  it('WebSocket: onFinish that throws is logged', async () => {
    const { url } = await echoUpstream();
    const error = jest.fn();
    const { url: address } = await upgradeServer({
      target: url,
      logger: { info: () => {}, warn: () => {}, error },
      onFinish: () => JSON.parse('{'),
    });
    (await opened(address)).close();
    await until(() => error.mock.calls.length > 0);
  });
});
