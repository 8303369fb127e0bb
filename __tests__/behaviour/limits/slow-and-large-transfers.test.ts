/** Clients that send or read slowly, hooks that never settle, and bodies that nobody takes: each has its end, and memory its bound. */
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openRequest, responseTo } from '../../support/clients/http.js';
import { certificate } from '../../support/servers/certificate.js';
import { proxyApp, proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, recorder, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const MB = 1024 * 1024;

/** An upload that a client of this version has begun: what writes more of it, and the status that it gets. */
async function upload(
  version: string,
  port: number,
): Promise<{ write(text: string): void; end(): void; status: Promise<number> }> {
  if (version === 'HTTP/1.1') {
    const req = openRequest(`http://127.0.0.1:${port}`, { method: 'POST' });
    req.flushHeaders();
    const status = responseTo(req).then((response) => Number(response.resume().statusCode));
    return { write: (text) => void req.write(text), end: () => void req.end(), status };
  }
  const { cert } = await certificate();
  const session = http2.connect(`https://localhost:${port}`, { ca: cert });
  session.on('error', () => {});
  onCleanUp(() => session.destroy());
  const stream = session.request({ ':method': 'POST', ':path': '/' });
  stream.on('error', () => {});
  const status = once(stream, 'response').then(([head]) => Number(head[':status']));
  return { write: (text) => void stream.write(text), end: () => void stream.end(), status };
}

describe.each(VERSIONS)('an upload by a client of %s', (version) => {
  it('that is slow, and moves, is not cut', async () => {
    const { url } = await recorder();
    const { port, summary } = await proxyIn(version, { target: url, timeouts: { headers: 100 } });
    const { write, end, status } = await upload(version, port);
    for (let i = 0; i < 12; i += 1) {
      write(`part ${i},`);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    end();
    expect(await status).toBe(200);
    expect(await summary()).toMatchObject({ outcome: 'completed' });
  });
});

it('an HTTP/2 upload that stalls is a 408, and nobody waits for it any more', async () => {
  const { url } = await upstream((req) => void req.resume());
  const { port, proxy, summary } = await proxyIn('HTTP/2', { target: url, timeouts: { headers: 80 } });
  const { write, status } = await upload('HTTP/2', port);
  write('a part');
  expect(await status).toBe(408);
  expect(await summary()).toMatchObject({ outcome: 'timeout', error: { code: 'CLIENT_TIMEOUT' } });
  expect(proxy.active).toBe(0);
});

describe('one large event', () => {
  /** Reads some of it, again and again, with pauses that are shorter than the deadline. */
  function readSlowly(socket: net.Socket, wait: number): Promise<number> {
    let size = 0;
    socket.pause();
    const timer = setInterval(() => {
      const chunk: Buffer | null = socket.read(512 * 1024) ?? socket.read();
      size += chunk?.length ?? 0;
    }, wait);
    return new Promise((resolve) => {
      socket.on('readable', () => {});
      socket.once('close', () => {
        clearInterval(timer);
        resolve(size);
      });
    });
  }

  it('is not cut for a client that takes some of it again and again', async () => {
    const event = `data: ${'x'.repeat(12 * MB)}\n\n`;
    const { url } = await upstream((_req, res) => eventStream(res).end(event));
    const { port, summary } = await proxyApp({
      target: url,
      transformEvent: (read) => ({ ...read, data: `${read.data}!` }),
      limits: { eventSize: '24mb' },
      timeouts: { drain: 500 },
    });
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    onCleanUp(() => void socket.destroy());
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const read = readSlowly(socket, 50);
    expect(await summary()).toMatchObject({ outcome: 'completed', bytes: event.length + 1 });
    expect(await read).toBeGreaterThan(event.length);
  });

  it('is cut for a client that takes nothing of it', async () => {
    const event = `data: ${'x'.repeat(24 * MB)}\n\n`;
    const { url } = await upstream((_req, res) => eventStream(res).end(event));
    const { port, summary } = await proxyApp({
      target: url,
      transformEvent: (read) => ({ ...read, data: `${read.data}!` }),
      limits: { eventSize: '32mb' },
      timeouts: { drain: 200 },
    });
    const socket = net.connect(port, '127.0.0.1').pause();
    socket.on('error', () => {});
    onCleanUp(() => void socket.destroy());
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await summary()).toMatchObject({ outcome: 'timeout', error: { code: 'CLIENT_TIMEOUT' } });
  });

  it('that a client leaves in the middle of, whole by then, is over, also where it would be read on', async () => {
    const event = `data: ${'x'.repeat(24 * MB)}\n\n`;
    const { url } = await upstream((_req, res) => eventStream(res).end(event));
    const { url: proxyUrl, summary } = await proxyApp({
      target: url,
      transformEvent: (read) => ({ ...read, data: `${read.data}!` }),
      limits: { eventSize: '32mb' },
      onClientClose: 'continue',
    });
    const req = openRequest(proxyUrl);
    req.end();
    const response = await responseTo(req);
    await once(response, 'readable');
    response.destroy();
    expect((await summary()).outcome).toBe('client-closed');
  });
});

describe.each(VERSIONS)('`timeouts.total`, for a client of %s', (version) => {
  const NEVER: [string, SseProxyOptions][] = [
    ['transformEvent', { transformEvent: () => new Promise(() => {}) }],
    ['commit', { commit: () => new Promise<boolean>(() => {}) }],
  ];

  it.each(NEVER)('is kept where a hook never settles: %s', async (_hook, options) => {
    const { url } = await upstream((_req, res) => eventStream(res).write('data: a\n\n'));
    const { ask, summary } = await proxyIn(version, { target: url, ...options, timeouts: { total: 300 } });
    const start = performance.now();
    await (await ask()).ended();
    expect(await summary()).toMatchObject({ outcome: 'timeout', error: { code: 'TOTAL_TIMEOUT' } });
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});

/** An upstream that reads nothing. */
async function unreading(): Promise<string> {
  const { url, sockets } = await rawUpstream((socket) => void socket.pause());
  onCleanUp(() => {
    for (const socket of sockets) socket.destroy();
  });
  return url;
}

describe.each(VERSIONS)('`followRedirects`, for a client of %s', (version) => {
  it('takes an upload of unknown length into memory up to 64 MiB, or limits.requestBody', async () => {
    for (const [limits, size] of [
      [{}, 66],
      [{ requestBody: '1mb' }, 2],
    ] as const) {
      const { port, summary } = await proxyIn(version, { target: await unreading(), followRedirects: true, limits });
      const { write, status } = await upload(version, port);
      const part = 'x'.repeat(MB);
      for (let i = 0; i < size; i += 1) write(part);
      expect(await status).toBe(413);
      expect((await summary()).error?.code).toBe('REQUEST_BODY_TOO_LARGE');
    }
  });
});

it('`followRedirects`: an upload that says that it is larger is refused at once', async () => {
  const { ask, summary } = await proxyIn('HTTP/1.1', { target: await unreading(), followRedirects: true });
  const headers = { 'content-length': String(65 * MB) };
  const answer = await ask({ method: 'POST', headers, body: 'x'.repeat(1000) });
  expect(answer.status).toBe(413);
  expect((await summary()).error?.code).toBe('REQUEST_BODY_TOO_LARGE');
  answer.leave();
});

describe('a host without connections', () => {
  /** As serverless-http and light-my-request hand them over: an event emitter, or an object with a few methods. */
  const SOCKETS: [string, () => object][] = [
    ['with no method at all', () => ({ remoteAddress: '127.0.0.1' })],
    ['with null for a server', () => ({ remoteAddress: '127.0.0.1', server: null })],
    ['with a few', () => ({ remoteAddress: '127.0.0.1', end() {}, destroy() {}, on() {}, removeListener() {} })],
  ];
  it.each(SOCKETS)(
    'that has a stand-in for one, %s: settles, for answers and for failures',
    async (_socket, makeSocket) => {
      const { url } = await upstream((req, res) => {
        if (req.url === '/cut') {
          eventStream(res).write('data: a\n\n', () => res.destroy());
          return;
        }
        res.setHeader('content-type', 'application/json').end('{"a":1}');
      });
      for (const [target, path, outcome] of [
        [url, '/fine', 'completed'],
        ['http://127.0.0.1:1', '/refused', 'upstream-error'],
        [url, '/cut', 'upstream-truncated'],
      ] as const) {
        const { proxy, summary } = await proxyApp({ target, ws: true });
        const req = new http.IncomingMessage(makeSocket() as net.Socket);
        Object.assign(req, { method: 'GET', url: path, httpVersion: '1.1', complete: true });
        req.push(null);
        const res = new http.ServerResponse(req);
        const written: Buffer[] = [];
        res.assignSocket({
          writable: true,
          on() {},
          once() {},
          removeListener() {},
          destroy() {},
          cork() {},
          uncork() {},
          write: (chunk: string | Buffer, encoding: unknown, done?: () => void) => {
            written.push(Buffer.from(chunk as string, typeof encoding === 'string' ? (encoding as 'utf8') : 'utf8'));
            (typeof encoding === 'function' ? (encoding as () => void) : done)?.();
            return true;
          },
          _writableState: {},
        } as unknown as net.Socket);
        await proxy(req, res);
        expect((await summary()).outcome).toBe(outcome);
        if (path === '/fine') expect(Buffer.concat(written).toString()).toContain('{"a":1}');
      }
    },
  );
});
