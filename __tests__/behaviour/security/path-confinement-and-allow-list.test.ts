import { once } from 'node:events';
import http from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import supertest from 'supertest';
import { WebSocket, WebSocketServer } from 'ws';
import { createSseProxy, type SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { closing } from '../../support/clients/http2.js';
import { rawExchange } from '../../support/clients/raw.js';
import { listen } from '../../support/servers/listen.js';
import { http2Proxy, proxyApp } from '../../support/servers/proxies.js';
import { type RecordedRequest, rawUpstream, recorder, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

/** What the upstream gets of a request with this head, byte for byte; and what the client is answered. */
async function asked(
  head: string,
  { base = '', ...options }: SseProxyOptions & { base?: string } = {},
): Promise<{ received: RecordedRequest[]; answer: string; port: number }> {
  const { url, port, received } = await recorder();
  const proxy = await proxyApp({ target: url + base, ...options });
  const { text } = await rawExchange(proxy.port, `${head}\r\nConnection: close\r\n\r\n`);
  return { received, answer: text, port };
}

describe('a client chooses no host', () => {
  it.each([
    'http://evil.example/v1/models',
    'https://evil.example:8443/v1/models',
    'http://user:secret@evil.example/v1/models',
  ])('path confinement: a client chooses no host by an absolute request target: %s', async (target) => {
    const { received, port } = await asked(`GET ${target} HTTP/1.1\r\nHost: evil.example`);
    expect(received).toMatchObject([{ url: '/v1/models', headers: { host: `127.0.0.1:${port}` } }]);
  });

  it('path confinement: a client chooses no host by an absolute request target behind a mount path', async () => {
    const { url, received } = await recorder();
    const app = express().use('/openai', createSseProxy({ target: url }));
    const port = await listen(http.createServer(app));
    await rawExchange(port, 'GET http://evil.example/openai/v1?a=b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(received).toMatchObject([{ url: '/v1?a=b' }]);
  });

  it.each([
    '//evil.example/v1',
    '/@evil.example/v1',
    '/http://evil.example/',
    '/evil.example:80/%40',
    '/%2f%2fevil.example',
  ])('path confinement: a client chooses no host by a path that looks like one: %s', async (path) => {
    const { received, port } = await asked(`GET ${path} HTTP/1.1\r\nHost: a`, { base: '/base' });
    expect(received).toMatchObject([{ url: `/base${path}`, headers: { host: `127.0.0.1:${port}` } }]);
  });

  it.each([
    'Host: evil.example',
    'X-Forwarded-Host: evil.example',
    'Forwarded: host=evil.example',
    'X-Original-URL: /admin',
  ])('path confinement: a client chooses no host by %s', async (field) => {
    const host = field.startsWith('Host') ? '' : 'Host: a\r\n';
    const { received, port } = await asked(`GET /v1 HTTP/1.1\r\n${host}${field}`);
    expect(received).toMatchObject([{ url: '/v1', headers: { host: `127.0.0.1:${port}` } }]);
  });

  it('path confinement: a client chooses no host by the authority of an HTTP/2 request', async () => {
    const { url, port, received } = await recorder();
    const { session, summary } = await http2Proxy({ target: `${url}/base` });
    const stream = session.request({ ':path': '/v1', ':authority': 'evil.example' });
    await closing(stream);
    expect(await summary).toMatchObject({ outcome: 'completed', target: url });
    expect(received).toMatchObject([{ url: '/base/v1', headers: { host: `127.0.0.1:${port}` } }]);
  });
});

describe("a client does not leave the target's base path", () => {
  it.each([
    '/../admin',
    '/v1/../../admin',
    '/%2e%2e/admin',
    '/..%2fadmin',
    '/%252e%252e%252fadmin',
    '/v1\\..\\..\\admin',
    '/..;/admin',
  ])("path traversal: a client does not leave the target's base path by %s", async (path) => {
    const { received, answer } = await asked(`GET ${path} HTTP/1.1\r\nHost: a`, { base: '/base' });
    expect(received).toEqual([]);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"code":"PATH_OUTSIDE_TARGET"');
  });

  it("path traversal: a client does not leave the target's base path over HTTP/2", async () => {
    const { url, received } = await recorder();
    const { session, summary } = await http2Proxy({ target: url });
    const stream = session.request({ ':path': '/v1/%2e%2e/%2e%2e/admin' });
    await closing(stream);
    expect(await summary).toMatchObject({ outcome: 'refused', statusCode: 400, attempts: [] });
    expect(received).toEqual([]);
  });

  it("path traversal: a client does not leave the target's base path through a rewrite that undoes its disguise", async () => {
    const { received, answer } = await asked('GET /files?name=..%2f..%2fadmin HTTP/1.1\r\nHost: a', {
      base: '/base',
      pathRewrite: (path) => `/files/${new URL(path, 'http://a').searchParams.get('name')}`,
    });
    expect(received).toEqual([]);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("path traversal: a client does not leave the target's base path and no retry is spent on it, nor is anything told that the provider was reached", async () => {
    const { url, received } = await recorder();
    const usages: unknown[] = [];
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: 'sk-servers' }),
      retry: {},
      fallbacks: [url],
      onUsage: (usage) => usages.push(usage),
    });
    await rawExchange(proxy.port, 'GET /%2e%2e/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(await proxy.summary()).toMatchObject({
      outcome: 'refused',
      statusCode: 400,
      attempts: [],
      error: { code: 'PATH_OUTSIDE_TARGET' },
    });
    expect([received, usages]).toEqual([[], []]);
  });
});

/** The lines with which requests begin, as they are on the wire to an upstream. */
async function requestLines(): Promise<{ url: string; lines: string[] }> {
  const lines: string[] = [];
  const { url } = await rawUpstream((socket, text) => {
    lines.push(text.slice(0, text.indexOf('\r\n')));
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  });
  return { url, lines };
}

const FRAGMENTS = ['/x#/../../admin', '/#/../admin', '/x#', '/x?a=b#c', '/x?#/..', '/x#?a', '/v1/models#/../../admin'];

describe('a request target with a fragment is refused before anything is sent:', () => {
  const refused = { outcome: 'refused', statusCode: 400, attempts: [], error: { code: 'PATH_OUTSIDE_TARGET' } };

  it.each(FRAGMENTS)(
    'path confinement: a request target with a fragment is refused before anything is sent: %s',
    async (target) => {
      const { url, lines } = await requestLines();
      const asked: string[] = [];
      const proxy = await proxyApp({ target: `${url}/base`, pathRewrite: (path) => void asked.push(path) });
      for (const form of [target, `http://evil.example${target}`]) {
        const { text } = await rawExchange(proxy.port, `GET ${form} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
        expect(text).toMatch(/^HTTP\/1\.1 400 /);
        expect(await proxy.summary()).toMatchObject(refused);
      }
      expect([lines, asked]).toEqual([[], []]);
    },
  );

  it.each(FRAGMENTS)(
    'path confinement: a request target with a fragment is refused before anything is sent: %s, behind a mount path, whatever `allow` makes of it',
    async (target) => {
      const { url, lines } = await requestLines();
      const app = express().use('/ai', createSseProxy({ target: `${url}/base`, allow: ['GET /x', 'GET /v1/models'] }));
      const port = await listen(http.createServer(app));
      const { text } = await rawExchange(port, `GET /ai${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      expect(text).toMatch(/^HTTP\/1\.1 400 /);
      expect(lines).toEqual([]);
    },
  );

  it.each(['http', 'other'])(
    'path confinement: a request target with a fragment is refused before anything is sent: over HTTP/2, with the scheme %s',
    async (scheme) => {
      for (const path of [...FRAGMENTS, ...(scheme === 'http' ? [] : ['#/../admin', 'x#', 'http://evil.example#/x'])]) {
        const { url, lines } = await requestLines();
        const { session, summary } = await http2Proxy({ target: url });
        const stream = session.request({ ':path': path, ':scheme': scheme });
        await closing(stream);
        expect(await summary).toMatchObject(refused);
        expect(lines).toEqual([]);
      }
    },
  );

  it('path confinement: a request target with a fragment is refused before anything is sent: of a handshake', async () => {
    const { url, lines } = await requestLines();
    const proxy = await proxyApp({
      target: url,
      ws: true,
      on: { error: (_error, _req, socket) => void (socket as Socket).destroy() },
    });
    proxy.server.on('upgrade', proxy.proxy.upgrade);
    for (const target of FRAGMENTS) {
      const { text } = await rawExchange(
        proxy.port,
        `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      );
      expect(text).not.toMatch(/^HTTP\/1\.1 [23]/);
    }
    expect(lines).toEqual([]);
  });

  it.each<[string, SseProxyOptions]>([
    ['a function', { pathRewrite: (path) => `${path}#/../..` }],
    ['a table', { pathRewrite: { '^/y': '/x#z' } }],
    ['a router that writes it', { router: (req) => void Object.assign(req, { url: '/x#y' }) as never }],
    ['a function that writes it', { pathRewrite: (_path, req) => void Object.assign(req, { url: '/x#y' }) }],
    ['text that is no path', { pathRewrite: () => '/x HTTP/1.1\r\nX: 1' }],
  ])(
    'path confinement: a request target with a fragment is refused before anything is sent: made by a rewrite: %s',
    async (_name, options) => {
      const { url, lines } = await requestLines();
      const proxy = await proxyApp({ target: url, retry: {}, ...options });
      await rawExchange(proxy.port, 'GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      expect(await proxy.summary()).toMatchObject(refused);
      expect(lines).toEqual([]);
    },
  );

  it('path confinement: a request target with a fragment is refused before anything is sent: made by the rewrite of a fallback', async () => {
    const { url, lines } = await requestLines();
    const { url: failing } = await recorder((_req, res) => res.writeHead(503).end());
    const proxy = await proxyApp({
      target: failing,
      fallbacks: [{ target: url, pathRewrite: (path) => `${path}#/../admin` }],
    });
    await rawExchange(proxy.port, 'GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(await proxy.summary()).toMatchObject({ statusCode: 400, attempts: [{ statusCode: 503 }] });
    expect(lines).toEqual([]);
  });
});

describe('what is sent is what was checked:', () => {
  it.each<[string, string, string, SseProxyOptions]>([
    ['/a?b=c', '/base', '/base/a?b=c', {}],
    ['/a%23b', '/base', '/base/a%23b', {}],
    ['//evil.example/a', '/base', '/base//evil.example/a', {}],
    ['//evil.example/a', '/base/', '/base//evil.example/a', {}],
    ['/a;b=c\\d', '/base', '/base/a;b=c\\d', {}],
    ['http://evil.example', '/base', '/base', {}],
    ['http://evil.example?a=b', '/base', '/base/?a=b', {}],
    ['/?/../..', '/base', '/base/?/../..', {}],
    ['/a/../b', '/base', '/base/a/../b', {}],
    ['/a', '/base?key=1', '/base/a?key=1', {}],
    ['/a?b', '/base?key=1', '/base/a?key=1&b', {}],
    ['/a', '/base', '/base', { ignorePath: true }],
    ['/a', '/base', '/base//a', { toProxy: true }],
    ['/a', '/base', '/base/b', { pathRewrite: () => 'b' }],
    ['/a', '/base', '/base/?b', { pathRewrite: () => '?b' }],
    ['/a', '/base', '/base', { pathRewrite: () => '' }],
    ['/a', '/base', '/base/b', { router: (req) => void Object.assign(req, { url: '/b' }) as never }],
    ['/a', '/base', '/base', { router: (req) => void Object.assign(req, { url: '' }) as never }],
    ['/a', '/base', '/base/b', { pathRewrite: (_path, req) => void Object.assign(req, { url: '/b' }) }],
  ])('path confinement: what is sent is what was checked: %s below %s', async (target, base, expected, options) => {
    const { url, lines } = await requestLines();
    const proxy = await proxyApp({ target: url + base, requestHeaders: { set: { 'x-own': '1' } }, ...options });
    await rawExchange(proxy.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(lines).toEqual([`GET ${expected} HTTP/1.1`]);
  });

  it.each([
    ['a', '/base/a'],
    ['?a', '/base/?a'],
    ['*', '/base/*'],
    ['http://evil.example/a', '/base/a'],
    ['\\a', '/base/\\a'],
  ])(
    'path confinement: what is sent is what was checked: %s over HTTP/2, where the scheme is none that nghttp2 knows, also by `allow`',
    async (path, expected) => {
      const { url, lines } = await requestLines();
      const target = `${url}/base`;
      const { session } = await http2Proxy({ target });
      await closing(session.request({ ':path': path, ':scheme': 'other' }));
      expect(lines).toEqual([`GET ${expected} HTTP/1.1`]);
      const allowing = await http2Proxy({ target, allow: ['GET /a'] });
      await closing(allowing.session.request({ ':path': path, ':scheme': 'other' }));
      expect(lines.slice(1)).toEqual(expected === '/base/a' ? ['GET /base/a HTTP/1.1'] : []);
    },
  );

  it.each(['..', '\\..\\admin', 'http://evil.example/../x', 'a/../..'])(
    'path confinement: what is sent is what was checked: nothing, of %s over HTTP/2, where the scheme is none that nghttp2 knows',
    async (path) => {
      const { url, lines } = await requestLines();
      const { session, summary } = await http2Proxy({ target: `${url}/base` });
      await closing(session.request({ ':path': path, ':scheme': 'other' }));
      expect(await summary).toMatchObject({ outcome: 'refused', statusCode: 400 });
      expect(lines).toEqual([]);
    },
  );

  it.each([
    ['a tab', '/a\tb'],
    ['bytes that are not ASCII', '/\xc3\xa4'],
    ['a form feed', '/a\fb'],
  ])(
    'path confinement: what is sent is what was checked: a lenient parser lets pass what is no target, and the proxy does not: %s',
    async (_name, target) => {
      const { url, lines } = await requestLines();
      const server = http.createServer({ insecureHTTPParser: true }, createSseProxy({ target: `${url}/base` }));
      const port = await listen(server);
      const { text } = await rawExchange(port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      if (/^HTTP\/1\.1 200 /.test(text)) expect(lines).toEqual([`GET /base${target} HTTP/1.1`]);
      else expect([text.slice(0, 13), lines]).toEqual(['HTTP/1.1 400 ', []]);
    },
  );

  it('path confinement: what is sent is what was checked: `allow` sees what the client has asked for, whatever a hook makes of `req.url`', async () => {
    const { url, lines } = await requestLines();
    const proxy = await proxyApp({
      target: url,
      allow: ['GET /allowed'],
      router: (req) => void Object.assign(req, { url: '/allowed' }) as never,
    });
    const { text } = await rawExchange(proxy.port, 'GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 404 /);
    expect(lines).toEqual([]);
  });

  it('path confinement: what is sent is what was checked: nothing of a path that a hook has taken away, with no policy applied to it', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      provider: openai({ target: url, apiKey: 'sk-servers' }),
      router: (req) => void Object.assign(req, { url: '' }) as never,
    });
    await rawExchange(proxy.port, 'GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(received).toMatchObject([{ url: '/', headers: { authorization: 'Bearer sk-servers' } }]);
    const filtered = await proxyApp({
      target: url,
      pathFilter: (_path, req) => Boolean(Object.assign(req, { url: '' })),
    });
    await rawExchange(filtered.port, 'GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect((await filtered.summary()).outcome).toBe('failed');
    expect(received).toHaveLength(1);
  });
});

describe('`allow`', () => {
  const allow = ['POST /v1/chat/completions', 'GET /v1/models/:model'];

  it('allow list: `allow` forwards what it names, by the path that is left behind the mount path', async () => {
    const { url, received } = await recorder();
    const app = express().use(
      '/openai',
      createSseProxy({ target: `${url}/base`, allow, pathRewrite: { '^/v1': '/v2' } }),
    );
    await supertest(app).post('/openai/v1/chat/completions?a=b').send({}).expect(200);
    await supertest(app).get('/openai/v1/models/gpt-5').expect(200);
    await supertest(app).head('/openai/v1/models/gpt-5').expect(200);
    expect(received.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /base/v2/chat/completions?a=b',
      'GET /base/v2/models/gpt-5',
      'HEAD /base/v2/models/gpt-5',
    ]);
  });

  it('allow list: `allow` answers everything else before anything is sent or asked for', async () => {
    const { url, received } = await recorder();
    let asked = 0;
    const apiKey = (): string => {
      asked += 1;
      return 'sk-servers';
    };
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey }), allow });
    await supertest(proxy.app)
      .get('/v1/files')
      .expect(404)
      .expect(/"code":"NOT_FOUND"/);
    await supertest(proxy.app).get('/v1/models/a%2f..%2f..%2ffiles').expect(404);
    await supertest(proxy.app).delete('/v1/models/gpt-5').expect(405).expect('allow', 'GET, HEAD');
    await supertest(proxy.app)
      .get('/v1/chat/completions')
      .expect(405)
      .expect('allow', 'POST')
      .expect(/"METHOD_NOT_ALLOWED"/);
    expect(proxy.summaries.map(({ outcome, attempts }) => [outcome, attempts.length])).toEqual(
      Array(4).fill(['refused', 0]),
    );
    expect([received, asked]).toEqual([[], 0]);
  });

  it('allow list: `allow` leaves the answer to the app where it wants it', async () => {
    const { url } = await upstream(() => {});
    const app = express().use(createSseProxy({ target: url, allow, onError: 'next' }));
    app.use(((error, _req, res, _next) =>
      res.status(error.status).set(error.headers).send(error.code)) as express.ErrorRequestHandler);
    await supertest(app).put('/v1/models/gpt-5').expect(405, 'METHOD_NOT_ALLOWED').expect('allow', 'GET, HEAD');
  });

  it.each([
    ['/v1/realtime', true],
    ['/v1/files', false],
    ['/v1/realtime/%2e%2e/files', false],
  ])('allow list: `allow` is asked for WebSockets, too: %s', async (path, isAllowed) => {
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(sockets, 'listening');
    onCleanUp(() => sockets.close());
    const { port } = sockets.address() as { port: number };
    const proxy = await proxyApp({ target: `http://127.0.0.1:${port}`, ws: true, allow: ['GET /v1/realtime'] });
    // Its upgrades are taken with the first request.
    await supertest(proxy.url).get('/').expect(404);
    const client = new WebSocket(`ws://127.0.0.1:${proxy.port}${path}`);
    const opened = await once(client, 'open').then(
      () => true,
      () => false,
    );
    client.terminate();
    expect(opened).toBe(isAllowed);
  });
});

describe('a path filter', () => {
  it('pathFilter: sees the path of an absolute request target, and the app gets it back as it was', async () => {
    const seen: (string | undefined)[] = [];
    const { url } = await upstream(() => {});
    const app = express();
    app.use(
      createSseProxy({
        target: url,
        pathFilter: (path) => {
          seen.push(path);
          return false;
        },
      }),
    );
    app.use((req, res) => void res.send(req.url));
    const port = await listen(http.createServer(app));
    const { text } = await rawExchange(
      port,
      'GET http://a.example/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(seen).toEqual(['/x']);
    expect(text).toMatch(/http:\/\/a\.example\/x\?y$/);
  });
});
