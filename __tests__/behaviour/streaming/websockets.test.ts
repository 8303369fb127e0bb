import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { WebSocketServer } from 'ws';
import type { SseProxyOptions } from '../../../lib/index.js';
import { exchange, reader, request } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { connect, echo, failed, opened } from '../../support/clients/web-sockets.js';
import { certificate } from '../../support/servers/certificate.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, recorder } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { closeAll, onCleanUp } from '../../support/watch/clean-up.js';
import { until } from '../../support/watch/wait.js';

afterEach(closeAll);

/** What nobody listens on. */
const NOWHERE = 'http://127.0.0.1:9';

describe('with ws: true', () => {
  it('WebSocket with ws: true: proxies WebSockets from the first request on', async () => {
    const { url } = await echoUpstream();
    const proxy = await proxyApp({ target: url, ws: true });
    await exchange(proxy.url);
    await until(() => proxy.server.listenerCount('upgrade') > 0);
    const socket = await opened(proxy.url.replace('http', 'ws'));
    for (const message of ['one', 'zwölf', 'x'.repeat(100_000)]) expect(await echo(socket, message)).toBe(message);
  });

  it('WebSocket with ws: true: proxies WebSockets while the first request is an event stream that is still open', async () => {
    const { url } = await echoUpstream(http.createServer((_req, res) => eventStream(res).write('data: 1\n\n')));
    const proxy = await proxyApp({ target: url, ws: true });
    await reader(await request(proxy.url)).until('\n\n');
    expect(await echo(await opened(proxy.url.replace('http', 'ws')), 'hello')).toBe('hello');
  });

  it('WebSocket with ws: true: takes a WebSocket once where the app hands it over as well', async () => {
    const { url, handshakes } = await echoUpstream();
    const { url: proxyUrl, server } = await upgradeServer({ target: url, ws: true });
    await exchange(proxyUrl.replace('ws', 'http'));
    expect(server.listenerCount('upgrade')).toBe(2);
    expect(await echo(await opened(proxyUrl), 'hello')).toBe('hello');
    expect(handshakes).toHaveLength(1);
  });

  it('WebSocket with ws: true: subscribes to the server once', async () => {
    const { url } = await echoUpstream();
    const proxy = await proxyApp({ target: url, ws: true });
    for (let i = 0; i < 3; i += 1) {
      await exchange(proxy.url);
      await until(() => proxy.server.listenerCount('upgrade') > 0);
    }
    expect(proxy.server.listenerCount('upgrade')).toBe(1);
  });

  it('WebSocket with ws: true: leaves an event stream on the same server alone', async () => {
    let stream: http.ServerResponse | undefined;
    const { url } = await echoUpstream(
      http.createServer((req, res) => {
        if (req.url === '/stream') stream = eventStream(res);
        else res.end();
      }),
    );
    const proxy = await proxyApp({ target: url, ws: true });
    await exchange(proxy.url);
    await proxy.summary();
    await until(() => proxy.server.listenerCount('upgrade') > 0);
    const events = reader(await request(`${proxy.url}/stream`));
    const socket = await opened(proxy.url.replace('http', 'ws'));
    for (const i of [1, 2, 3]) {
      stream?.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
      expect(await echo(socket, `${i}`)).toBe(`${i}`);
    }
    stream?.end();
    expect((await proxy.summary()).outcome).toBe('completed');
    expect(await echo(socket, 'still')).toBe('still');
  });
});

describe('upgrade', () => {
  it('WebSocket, proxy.upgrade: proxies a WebSocket without a request before it', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    const socket = await opened(`${server.url}/path?q=1`, { 'x-a': '1' });
    expect(await echo(socket, 'hello')).toBe('hello');
    expect(handshakes[0]).toMatchObject({ url: '/path?q=1', headers: { 'x-a': '1', connection: 'Upgrade' } });
  });

  it('WebSocket, proxy.upgrade: passes binary messages, and the code and reason of a close', async () => {
    const { url, sockets } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    const socket = await opened(server.url);
    const answer = once(socket, 'message');
    socket.send(Buffer.from([0, 255, 128]));
    expect((await answer)[0]).toEqual(Buffer.from([0, 255, 128]));
    const close = once(socket, 'close');
    for (const upstream of sockets) upstream.close(4001, 'enough');
    const [code, reason] = await close;
    expect(code).toBe(4001);
    expect(String(reason)).toBe('enough');
  });

  it('WebSocket, proxy.upgrade: has many at a time, and one after the other', async () => {
    const { url, sockets } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    for (let round = 0; round < 3; round += 1) {
      const open = await Promise.all(Array.from({ length: 10 }, () => opened(server.url)));
      expect(await Promise.all(open.map((socket, index) => echo(socket, `${index}`)))).toEqual(
        open.map((_socket, index) => `${index}`),
      );
      await Promise.all(
        open.map((socket) => {
          const close = once(socket, 'close');
          socket.close();
          return close;
        }),
      );
    }
    await until(() => sockets.size === 0);
  });

  it.each<[string, (url: string) => SseProxyOptions, string, string]>([
    ['router', (url) => ({ router: async () => url }), '/a', '/a'],
    ['pathRewrite', (target) => ({ target, pathRewrite: { '^/a': '/b' } }), '/a/x', '/b/x'],
    ['async pathRewrite', (target) => ({ target, pathRewrite: async (path) => `/b${path}` }), '/a', '/b/a'],
    ['a target with a path', (url) => ({ target: `${url}/base` }), '/a', '/base/a'],
    ['a ws: target', (url) => ({ target: url.replace('http', 'ws') }), '/a', '/a'],
  ])('WebSocket, proxy.upgrade: heeds %s', async (_name, options, path, expected) => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer(options(url));
    expect(await echo(await opened(server.url + path), 'hello')).toBe('hello');
    expect(handshakes[0]?.url).toBe(expected);
  });

  it('WebSocket, proxy.upgrade: gives router and pathRewrite no response', async () => {
    const { url } = await echoUpstream();
    const seen: unknown[] = [];
    const server = await upgradeServer({
      router: (_req, res) => {
        seen.push(res);
        return url;
      },
      pathRewrite: (path, _req, res) => {
        seen.push(res);
        return path;
      },
    });
    await opened(server.url);
    expect(seen).toEqual([undefined, undefined]);
  });

  it('WebSocket, proxy.upgrade: names the host of the upstream, and of the client with changeOrigin: false', async () => {
    const { url, port, handshakes } = await echoUpstream();
    await opened((await upgradeServer({ target: url })).url);
    const kept = await upgradeServer({ target: url, changeOrigin: false });
    await opened(kept.url);
    expect(handshakes.map(({ headers }) => headers.host)).toEqual([`127.0.0.1:${port}`, `127.0.0.1:${kept.port}`]);
  });

  it('WebSocket, proxy.upgrade: appends the peer to X-Forwarded-For with xfwd', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url, xfwd: true });
    await opened(server.url, { 'x-forwarded-for': '203.0.113.9' });
    expect(handshakes[0]?.headers['x-forwarded-for']).toBe('203.0.113.9, 127.0.0.1');
  });

  it.each([true, false])(
    'WebSocket, proxy.upgrade: appends the peer to X-Forwarded-For where a hook says so for one handshake, whatever the proxy does: %p',
    async (xfwd) => {
      const { url, handshakes } = await echoUpstream();
      const server = await upgradeServer({
        target: url,
        xfwd: !xfwd,
        headers: { 'X-All': '1' },
        pathRewrite: (path, _req, _res, options) => {
          expect(options).toMatchObject({ xfwd: !xfwd });
          Object.assign(options ?? {}, { xfwd, headers: { ...options?.headers, 'X-One': '1' } });
          return path;
        },
      });
      await opened(server.url);
      expect(handshakes[0]?.headers['x-forwarded-for']).toBe(xfwd ? '127.0.0.1' : undefined);
      expect(handshakes[0]?.headers).toMatchObject({ 'x-all': '1', 'x-one': '1' });
    },
  );

  it('WebSocket, proxy.upgrade: reaches a wss: upstream with secure: false', async () => {
    const { port } = await echoUpstream(https.createServer(await certificate()));
    const server = await upgradeServer({ target: `wss://127.0.0.1:${port}`, secure: false });
    expect(await echo(await opened(server.url), 'hello')).toBe('hello');
  });

  it('WebSocket, proxy.upgrade: leaves what pathFilter excludes to others', async () => {
    const { url } = await echoUpstream();
    const server = await upgradeServer({ target: url, pathFilter: '/api' });
    const own = new WebSocketServer({ noServer: true });
    onCleanUp(() => {
      for (const client of own.clients) client.terminate();
      own.close();
    });
    server.server.on('upgrade', (req, socket, head) => {
      if (req.url === '/own') own.handleUpgrade(req, socket, head, (client) => client.send('own'));
    });
    const socket = connect(`${server.url}/own`);
    expect(String((await once(socket, 'message'))[0])).toBe('own');
    expect(await echo(await opened(`${server.url}/api`), 'hello')).toBe('hello');
  });
});

describe('the listeners of `on`', () => {
  it('WebSocket: the listeners of `on` hear proxyReqWs, open and close, and proxyReqWs may change the handshake', async () => {
    const { url, handshakes } = await echoUpstream();
    const open = jest.fn<(socket: net.Socket) => void>();
    const close = jest.fn<() => void>();
    const sockets: unknown[] = [];
    const server = await upgradeServer({
      target: url,
      on: {
        proxyReqWs: (proxyReq, _req, socket) => {
          sockets.push(socket);
          proxyReq.setHeader('x-added', '1');
        },
        open,
        close,
      },
    });
    const socket = await opened(server.url);
    expect(handshakes[0]?.headers['x-added']).toBe('1');
    expect(sockets[0]).toBeInstanceOf(net.Socket);
    expect(open).toHaveBeenCalledTimes(1);
    expect(open.mock.calls[0]?.[0]).toBeInstanceOf(net.Socket);
    socket.close();
    await once(socket, 'close');
    await until(() => close.mock.calls.length === 1);
  });

  it('WebSocket: the listeners of `on` hear of an upstream that cannot be reached, and may answer', async () => {
    const errors: unknown[] = [];
    const server = await upgradeServer({
      target: NOWHERE,
      on: {
        error: (error, _req, socket) => {
          errors.push(Reflect.get(error, 'code'));
          socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        },
      },
    });
    expect((await failed(server.url)).message).toContain('503');
    expect(errors).toEqual(['ECONNREFUSED']);
  });
});

describe('a handshake that fails', () => {
  it.each<[string, number, SseProxyOptions]>([
    ['the upstream refuses connections', 502, { target: NOWHERE }],
    ['router rejects', 500, { router: () => Promise.reject(new Error('router')) }],
    [
      'pathRewrite throws',
      500,
      {
        target: NOWHERE,
        pathRewrite: () => {
          throw new Error('pathRewrite');
        },
      },
    ],
    ['router leaves no target', 500, { router: {} }],
  ])('WebSocket handshake that fails: is answered where %s: %i', async (_name, status, options) => {
    const server = await upgradeServer(options);
    expect((await failed(server.url)).message).toContain(String(status));
    // And the server lives.
    expect((await failed(server.url)).message).toContain(String(status));
  });

  it.each<[string, () => void | Promise<void>]>([
    [
      'throws',
      () => {
        throw new Error('mine');
      },
    ],
    ['rejects', () => Promise.reject(new Error('mine'))],
  ])(
    'WebSocket handshake that fails: is answered with a 500, and ended upstream, where proxyReqWs %s',
    async (_name, fail) => {
      const { url, sockets } = await echoUpstream();
      const server = await upgradeServer({
        target: url,
        on: { proxyReqWs: (_proxyReq, req) => (req.url === '/bad' ? fail() : undefined) },
      });
      expect((await failed(`${server.url}/bad`)).message).toContain('500');
      // By now the other one has been there, or never will be.
      expect(await echo(await opened(server.url), 'hello')).toBe('hello');
      await until(() => sockets.size === 1);
    },
  );

  it('WebSocket handshake that fails: is answered with a 502 where the upstream resets its connection', async () => {
    const { url } = await rawUpstream((socket) => socket.resetAndDestroy());
    const server = await upgradeServer({ target: url });
    expect((await failed(server.url)).message).toContain('502');
  });

  it('WebSocket handshake that fails: passes on what the upstream answers instead', async () => {
    const { url } = await recorder();
    const refusing = http.createServer();
    refusing.on('upgrade', (_req, socket) => {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nX-Why: key\r\nConnection: close\r\n\r\nnope');
    });
    const port = await listen(refusing);
    const server = await upgradeServer({ router: { '/': `http://127.0.0.1:${port}` }, target: url });
    const { text } = await rawExchange(
      server.port,
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1\.1 401 Unauthorized\r\n/);
    expect(text).toMatch(/\r\nx-why: key\r\n/i);
    expect(text).toMatch(/\r\n\r\nnope$/);
  });

  it('WebSocket handshake that fails: is answered with a 504 when upgradeTimeout passes', async () => {
    const { url, sockets } = await rawUpstream(() => {});
    const server = await upgradeServer({ target: url, upgradeTimeout: 50 });
    expect((await failed(server.url)).message).toContain('504');
    await until(() => sockets.size === 0);
  });

  it('WebSocket handshake that fails: is aborted upstream when the client resets its connection', async () => {
    let arrived = (): void => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { url, sockets } = await rawUpstream(() => arrived());
    const server = await upgradeServer({ target: url });
    const client = net.connect(server.port, '127.0.0.1');
    client.on('error', () => {});
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await arrival;
    client.resetAndDestroy();
    await until(() => sockets.size === 0);
  });
});

describe('an open WebSocket', () => {
  it('open WebSocket: is closed at the client when the upstream dies', async () => {
    const { url, sockets } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    const socket = await opened(server.url);
    const close = once(socket, 'close');
    for (const upstream of sockets) upstream.terminate();
    expect((await close)[0]).toBe(1006);
  });

  it('open WebSocket: is closed upstream when the client dies', async () => {
    const { url, sockets } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    const socket = await opened(server.url);
    expect(sockets.size).toBe(1);
    socket.terminate();
    await until(() => sockets.size === 0);
  });
});

describe('without ws', () => {
  const handshake = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-version': '13',
  };

  it('without ws: an upgrade request is a plain one, which is answered', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url });
    const { status, body } = await exchange(proxy.url, { headers: handshake });
    expect({ status, body }).toEqual({ status: 200, body: 'ok' });
    expect(received[0]?.headers).not.toHaveProperty('upgrade');
    expect(received[0]?.headers.connection).toBe('keep-alive');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('without ws: does not upgrade at an upstream that would', async () => {
    const { url, handshakes } = await echoUpstream();
    const proxy = await proxyApp({ target: url });
    expect(await exchange(proxy.url, { headers: handshake })).toMatchObject({ status: 200, body: 'plain' });
    expect(handshakes).toEqual([]);
  });

  it('without ws: is a 502 where the upstream upgrades unasked', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
    );
    const proxy = await proxyApp({ target: url });
    const { status, body } = await exchange(proxy.url, { headers: handshake });
    expect(status).toBe(502);
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_INVALID_RESPONSE');
  });
});
