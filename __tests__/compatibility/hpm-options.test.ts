/** Every option of http-proxy-middleware works as it does there. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import * as hpm from 'http-proxy-middleware';
import {
  createProxyMiddleware,
  definePlugin,
  fixRequestBody,
  type Options,
  responseInterceptor,
} from 'http-proxy-middleware';
import * as own from '../../lib/index.js';
import { createSseProxy, type SseProxyOptions } from '../../lib/index.js';
import { exchange, readAll, reader, readUntilCut, request } from '../support/clients/http.js';
import { rawExchange } from '../support/clients/raw.js';
import { certificate } from '../support/servers/certificate.js';
import { listen } from '../support/servers/listen.js';
import { hpmApp, proxyApp } from '../support/servers/proxies.js';
import {
  eventStream,
  rawUpstream,
  recorder,
  recording,
  secureUpstream,
  upstream,
} from '../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';
import { signal } from '../support/watch/wait.js';

afterEach(closeAll);

/** What nobody listens on. */
const NOWHERE = 'http://127.0.0.1:9';
const JSON_TYPE = { 'content-type': 'application/json' };

/** A `router` that sets options of one request. */
function setting(target: string, own: object): NonNullable<SseProxyOptions['router']> {
  return (_req, _res, options) => {
    Object.assign(options, own);
    return target;
  };
}

/** Matches an object that has these members, on every level. */
const asMatcher = (members: object): object =>
  Object.fromEntries(
    Object.entries(members).map(([name, value]) => [
      name,
      typeof value === 'object' ? expect.objectContaining(asMatcher(value)) : value,
    ]),
  );

/** Keeps Express's own request and response of the last request. */
function witness(): { before: (app: Express) => void; req(): Request; res(): Response } {
  let last: [Request, Response] | undefined;
  const get = (): [Request, Response] => {
    if (last === undefined) throw new Error('no request yet');
    return last;
  };
  return {
    before(app) {
      app.use((req, res, next) => {
        last = [req, res];
        next();
      });
    },
    req: () => get()[0],
    res: () => get()[1],
  };
}

describe('target', () => {
  it.each<[string, (port: number) => NonNullable<SseProxyOptions['target']>]>([
    ['a string', (port) => `http://127.0.0.1:${port}`],
    ['a URL', (port) => new URL(`http://127.0.0.1:${port}`)],
    ['an object with host and port', (port) => ({ host: '127.0.0.1', port })],
    ['an object with protocol, hostname and port', (port) => ({ protocol: 'http:', hostname: '127.0.0.1', port })],
  ])('target: may be %s', async (_name, target) => {
    const { port, received } = await recorder();
    const proxy = await proxyApp({ target: target(port) });
    expect((await exchange(`${proxy.url}/path?q=1`)).body).toBe('ok');
    expect(received[0]?.url).toBe('/path?q=1');
    expect(received[0]?.headers.host).toBe(`127.0.0.1:${port}`);
    expect((await proxy.summary()).target).toBe(`http://127.0.0.1:${port}`);
  });

  it('target: may be a Unix socket', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sse-'));
    onCleanUp(() => rm(directory, { recursive: true }));
    const socketPath = join(directory, 's');
    const server = http.createServer((req, res) => res.end(req.url));
    server.listen(socketPath);
    await once(server, 'listening');
    onCleanUp(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    const proxy = await proxyApp({ target: { protocol: 'http:', host: 'localhost', socketPath } });
    expect((await exchange(`${proxy.url}/path`)).body).toBe('/path');
    expect((await proxy.summary()).target).toBe('unix:');
  });

  it('target: prepends its path', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: `${url}/base` });
    await exchange(`${proxy.url}/a/b?q=1`);
    expect(received[0]?.url).toBe('/base/a/b?q=1');
  });

  it('target: is the whole path with ignorePath', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: `${url}/base`, ignorePath: true });
    await exchange(`${proxy.url}/a/b?q=1`);
    expect(received[0]?.url).toBe('/base');
  });
});

describe('router', () => {
  it.each<[string, (url: string, host: string) => NonNullable<SseProxyOptions['router']>]>([
    ['a function', (url) => () => url],
    ['an async function', (url) => async () => url],
    ['a function that returns a URL', (url) => () => new URL(url)],
    ['a table by path', (url) => ({ '/other': NOWHERE, '/api': url })],
    ['a table by host', (url, host) => ({ 'else.test': NOWHERE, [host]: url })],
    ['a table by host and path', (url, host) => ({ [`${host}/none`]: NOWHERE, [`${host}/api`]: url })],
  ])('router: may be %s', async (_name, router) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: NOWHERE, router: router(url, 'app.test') });
    const { body } = await exchange(`${proxy.url}/api/x`, { headers: { host: 'app.test' } });
    expect(body).toBe('ok');
    expect(received[0]?.url).toBe('/api/x');
    expect((await proxy.summary()).target).toBe(url);
  });

  it('router: leaves the target where it returns nothing', async () => {
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url, router: { '/other': NOWHERE } });
    expect((await exchange(proxy.url)).body).toBe('ok');
  });

  it('router: is given the request, Express’s own response, and options of this one request', async () => {
    const { url } = await recorder();
    const { before, req, res } = witness();
    const seen: unknown[][] = [];
    const router = async (...args: unknown[]): Promise<string> => {
      seen.push(args);
      return url;
    };
    const proxy = await proxyApp({ router }, before);
    await exchange(proxy.url);
    expect(seen[0]?.[0]).toBe(req());
    expect(seen[0]?.[1]).toBe(res());
    await exchange(proxy.url);
    expect(seen[1]?.[2]).not.toBe(seen[0]?.[2]);
  });

  it('router: is a 500 where it leaves no target', async () => {
    const proxy = await proxyApp({ router: { '/api': NOWHERE } });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(500);
    expect(JSON.parse(body).error.code).toBe('TARGET_MISSING');
  });

  it.each<[string, () => Promise<string>]>([
    [
      'throws',
      () => {
        throw new Error('secret detail');
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret detail'))],
  ])('router: is a 500 where it %s', async (_name, router) => {
    const proxy = await proxyApp({ router });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(500);
    expect(JSON.parse(body).error.code).toBe('HOOK_FAILED');
    expect(body).not.toContain('secret');
    expect((await proxy.summary()).outcome).toBe('failed');
  });

  it.each<[string, RequestHandler | undefined]>([
    ['nobody has read', undefined],
    ['was parsed', express.json()],
    ['was consumed', (req, _res, next) => void req.resume().once('end', next)],
  ])('router: may replace a body that %s by setting `buffer`', async (_name, before) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp(
      {
        target: url,
        router: (_req, _res, options) => {
          options.buffer = Readable.from([Buffer.from('other')]);
          return url;
        },
        on: { proxyReq: (proxyReq) => void proxyReq.setHeader('content-length', 5) },
      },
      (app) => before !== undefined && app.use(before),
    );
    await exchange(proxy.url, { method: 'POST', headers: JSON_TYPE, body: '{"long":"enough"}' });
    expect(received.map(({ body }) => body.toString())).toEqual(['other']);
  });
});

describe('pathRewrite', () => {
  it.each<[string, NonNullable<SseProxyOptions['pathRewrite']>]>([
    ['a table', { '^/none': '/x', '^/old': '/new', '^/new': '/twice' }],
    ['a function', (path) => path.replace('/old', '/new')],
    ['an async function', async (path) => path.replace('/old', '/new')],
  ])('pathRewrite: may be %s', async (_name, pathRewrite) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, pathRewrite });
    await exchange(`${proxy.url}/old/x?q=/old`);
    expect(received[0]?.url).toBe('/new/x?q=/old');
  });

  it('pathRewrite: leaves the path where it returns nothing', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, pathRewrite: () => undefined });
    await exchange(`${proxy.url}/path`);
    expect(received[0]?.url).toBe('/path');
  });

  it('pathRewrite: is given the path below the mount point, the request and Express’s own response', async () => {
    const { url } = await recorder();
    const { before, req, res } = witness();
    const seen: unknown[][] = [];
    const app = express();
    before(app);
    const pathRewrite = (...args: unknown[]): undefined => {
      seen.push(args);
    };
    app.use('/api', createSseProxy({ target: url, pathRewrite }));
    const port = await listen(http.createServer(app));
    await exchange(`http://127.0.0.1:${port}/api/x?q=1`);
    expect(seen[0]?.[0]).toBe('/x?q=1');
    expect(seen[0]?.[1]).toBe(req());
    expect(seen[0]?.[2]).toBe(res());
  });

  it.each<[string, () => string | Promise<string>]>([
    [
      'throws',
      () => {
        throw new Error('secret detail');
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret detail'))],
  ])('pathRewrite: is a 500 where it %s', async (_name, fail) => {
    const proxy = await proxyApp({ target: NOWHERE, pathRewrite: async () => fail() });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(500);
    expect(JSON.parse(body).error.code).toBe('HOOK_FAILED');
  });
});

describe('pathFilter', () => {
  it.each<[string, NonNullable<SseProxyOptions['pathFilter']>]>([
    ['a string', '/api'],
    ['an array', ['/other', '/api']],
    ['a glob', '/api/**'],
    ['an array of globs', ['/api/**', '!**/*.html']],
    ['a function', (path) => path.startsWith('/api')],
  ])('pathFilter: may be %s', async (_name, pathFilter) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, pathFilter });
    proxy.app.use((_req, res) => void res.send('app'));
    expect((await exchange(`${proxy.url}/api/x`)).body).toBe('ok');
    expect((await exchange(`${proxy.url}/x.html`)).body).toBe('app');
    expect(received).toHaveLength(1);
  });

  it('pathFilter: hands a request that is not its own to next as it came, body included', async () => {
    const seen: unknown[] = [];
    const proxy = await proxyApp({ target: NOWHERE, pathFilter: '/api' });
    proxy.app.use(express.text(), (req, res) => {
      seen.push(req.url, req.headers.connection, req.headers.te, req.body, res.getHeaderNames());
      res.send('app');
    });
    const headers = { 'content-type': 'text/plain', connection: 'te', te: 'trailers' };
    await exchange(`${proxy.url}/x?q=1`, { method: 'POST', headers, body: 'text' });
    expect(seen).toEqual(['/x?q=1', 'te', 'trailers', 'text', ['x-powered-by']]);
    expect(proxy.proxy.active).toBe(0);
    expect(proxy.summaries).toEqual([]);
  });
});

describe('the request', () => {
  it('HPM options on the request: the request gets the headers of `headers`, and `auth` as Authorization', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, headers: { 'x-key': 'k', 'x-own': 'proxy' }, auth: 'user:pass' });
    await exchange(proxy.url, { headers: { 'x-own': 'client' } });
    expect(received[0]?.headers).toMatchObject({
      'x-key': 'k',
      'x-own': 'proxy',
      authorization: `Basic ${Buffer.from('user:pass').toString('base64')}`,
    });
  });

  it.each([
    [undefined, 'upstream'],
    [true, 'upstream'],
    [false, 'client'],
  ])(
    'HPM options on the request: the request names with changeOrigin: %s the host of the %s',
    async (changeOrigin, whose) => {
      const { url, port, received } = await recorder();
      const proxy = await proxyApp({ target: url, ...(changeOrigin !== undefined && { changeOrigin }) });
      await exchange(proxy.url, { headers: { host: 'app.test' } });
      expect(received[0]?.headers.host).toBe(whose === 'client' ? 'app.test' : `127.0.0.1:${port}`);
    },
  );

  it('HPM options on the request: the request has no X-Forwarded headers by default, and keeps the client’s', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url });
    await exchange(proxy.url, { headers: { 'x-forwarded-for': '203.0.113.9' } });
    await exchange(proxy.url);
    expect(received[0]?.headers['x-forwarded-for']).toBe('203.0.113.9');
    expect(Object.keys(received[1]?.headers ?? {}).filter((name) => name.startsWith('x-forwarded'))).toEqual([]);
  });

  it('HPM options on the request: the request has the peer appended to X-Forwarded-For with xfwd, and the others where absent', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, xfwd: true });
    await exchange(proxy.url, { headers: { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' } });
    expect(received[0]?.headers).toMatchObject({
      'x-forwarded-for': '203.0.113.9, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': `127.0.0.1:${proxy.port}`,
      'x-forwarded-port': String(proxy.port),
    });
  });

  it('HPM options on the request: the request takes its body from `buffer`', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, buffer: Readable.from([Buffer.from('other')]) });
    await exchange(proxy.url, { method: 'POST', headers: { 'content-length': 5 }, body: 'first' });
    expect(received[0]?.body.toString()).toBe('other');
  });

  it('HPM options on the request: the request is sent from localAddress: not at all where this machine does not have it', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, localAddress: '203.0.113.1' });
    expect((await exchange(proxy.url)).status).toBe(502);
    expect(received).toEqual([]);
    const own = await proxyApp({ target: url, localAddress: '127.0.0.1' });
    expect((await exchange(own.url)).status).toBe(200);
  });

  it('HPM options on the request: the request goes through the agent that the user gives', async () => {
    const { url, received } = await recorder();
    const agent = new http.Agent({ keepAlive: true });
    onCleanUp(() => agent.destroy());
    const used: unknown[] = [];
    const on: Options['on'] = { proxyReq: (proxyReq) => used.push(Reflect.get(proxyReq, 'agent')) };
    const proxy = await proxyApp({ target: url, agent, on });
    await exchange(proxy.url);
    await exchange(proxy.url);
    expect(used).toHaveLength(2);
    for (const one of used) expect(one).toBe(agent);
    expect(received[1]?.clientPort).toBe(received[0]?.clientPort);
  });

  it('HPM options on the request: the request has a connection of its own with agent: false', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, agent: false });
    await exchange(proxy.url);
    await exchange(proxy.url);
    expect(received[0]?.headers.connection).toBe('close');
    expect(received[1]?.clientPort).not.toBe(received[0]?.clientPort);
  });
});

describe('forward', () => {
  it.each([
    ['a GET', { method: 'GET' }, undefined],
    ['a POST', { method: 'POST' }, undefined],
    ['a parsed POST', { method: 'POST', headers: JSON_TYPE }, express.json()],
  ])('forward: sends %s to a second upstream as well', async (_name, init, parser) => {
    const main = await recorder((_req, res) => res.end('main'));
    let arrived = (): void => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const copy = await recorder((_req, res) => {
      arrived();
      res.end('copy');
    });
    const proxy = await proxyApp({ target: main.url, forward: copy.url }, (app) => {
      if (parser !== undefined) app.use(parser);
    });
    const body = init.method === 'POST' ? '{"a":1}' : undefined;
    const answer = await exchange(`${proxy.url}/path`, { ...init, ...(body !== undefined && { body }) });
    await arrival;
    expect(answer.body).toBe('main');
    for (const { received } of [main, copy]) {
      expect(received[0]).toMatchObject({ method: init.method, url: '/path' });
      expect(received[0]?.body.toString()).toBe(body ?? '');
    }
  });
});

describe('the response', () => {
  it.each<[string, SseProxyOptions, string, string]>([
    ['cookieDomainRewrite', { cookieDomainRewrite: 'app.test' }, 'a=1; Domain=up.test', 'a=1; Domain=app.test'],
    ['cookieDomainRewrite that removes', { cookieDomainRewrite: '' }, 'a=1; Domain=up.test; Secure', 'a=1; Secure'],
    [
      'cookieDomainRewrite by a table',
      { cookieDomainRewrite: { 'up.test': 'app.test', '*': 'rest.test' } },
      'a=1; Domain=else.test',
      'a=1; Domain=rest.test',
    ],
    ['cookieDomainRewrite: false', { cookieDomainRewrite: false }, 'a=1; Domain=up.test', 'a=1; Domain=up.test'],
    ['cookiePathRewrite', { cookiePathRewrite: '/new' }, 'a=1; Path=/old', 'a=1; Path=/new'],
    ['cookiePathRewrite by a table', { cookiePathRewrite: { '/old': '/new' } }, 'a=1; Path=/old', 'a=1; Path=/new'],
  ])(
    'HPM options on the response: the response has its cookies rewritten by %s',
    async (_name, options, cookie, expected) => {
      const { url } = await recorder((_req, res) => res.setHeader('set-cookie', ['plain=1', cookie]).end());
      const proxy = await proxyApp({ target: url, ...options });
      expect((await exchange(proxy.url)).headers['set-cookie']).toEqual(['plain=1', expected]);
    },
  );

  it.each<[string, SseProxyOptions, (port: number) => string]>([
    ['nothing', {}, () => 'http://UPSTREAM/there'],
    ['hostRewrite', { hostRewrite: 'app.test:81' }, () => 'http://app.test:81/there'],
    ['autoRewrite', { autoRewrite: true }, (port) => `http://127.0.0.1:${port}/there`],
    ['protocolRewrite', { protocolRewrite: 'https' }, () => 'https://UPSTREAM/there'],
    [
      'hostRewrite and protocolRewrite',
      { hostRewrite: 'app.test', protocolRewrite: 'https' },
      () => 'https://app.test:UPSTREAM_PORT/there',
    ],
  ])('HPM options on the response: the response has its Location rewritten by %s', async (_name, options, expected) => {
    const { url, port } = await recorder((_req, res) => res.writeHead(302, { location: `${url}/there` }).end());
    const proxy = await proxyApp({ target: url, ...options });
    const { status, headers } = await exchange(proxy.url);
    expect(status).toBe(302);
    const wanted = expected(proxy.port).replace('UPSTREAM_PORT', String(port)).replace('UPSTREAM', `127.0.0.1:${port}`);
    expect(headers.location).toBe(wanted);
  });

  it('HPM options on the response: the response keeps the letter case of its headers with preserveHeaderKeyCase', async () => {
    const { url } = await recorder((_req, res) => res.writeHead(200, ['X-MiXed', '1', 'Set-COOKIE', 'a=1']).end());
    const names = async (options: SseProxyOptions): Promise<string[]> => {
      const proxy = await proxyApp({ target: url, ...options });
      const response = await request(proxy.url);
      await readAll(response);
      return response.rawHeaders.filter((_value, index) => index % 2 === 0);
    };
    expect(await names({ preserveHeaderKeyCase: true })).toEqual(expect.arrayContaining(['X-MiXed', 'Set-COOKIE']));
    expect(await names({})).toEqual(expect.arrayContaining(['x-mixed', 'set-cookie']));
  });
});

describe('followRedirects', () => {
  it.each([301, 302, 303, 307, 308])('followRedirects: follows a %i by itself', async (status) => {
    const { url, received } = await recorder((req, res) => {
      if (req.url === '/') res.writeHead(status, { location: '/there' });
      res.end('ok');
    });
    const proxy = await proxyApp({ target: url, followRedirects: true });
    const answer = await exchange(proxy.url, { method: 'POST', body: 'body' });
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    const preserved = status === 307 || status === 308;
    expect(received[1]).toMatchObject({ method: preserved ? 'POST' : 'GET', url: '/there' });
    expect(received[1]?.body.toString()).toBe(preserved ? 'body' : '');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('followRedirects: follows from http to https', async () => {
    const secure = await secureUpstream((_req, res) => eventStream(res).end('data: safe\n\n'));
    const { url } = await recorder((_req, res) => res.writeHead(302, { location: `${secure.url}/there` }).end());
    const proxy = await proxyApp({ target: url, followRedirects: true, secure: false });
    expect(await exchange(proxy.url)).toMatchObject({ status: 200, body: 'data: safe\n\n' });
  });

  it('followRedirects: follows from https to http', async () => {
    const { url } = await recorder((_req, res) => res.end('plain'));
    const secure = await secureUpstream((_req, res) => res.writeHead(302, { location: `${url}/there` }).end());
    const proxy = await proxyApp({ target: secure.url, followRedirects: true, secure: false });
    expect(await exchange(proxy.url)).toMatchObject({ status: 200, body: 'plain' });
  });

  it('followRedirects: stops at its limit, and passes the redirect on', async () => {
    const { url, received } = await recorder((_req, res) => res.writeHead(302, { location: '/again' }).end());
    const proxy = await proxyApp({ target: url, followRedirects: 2 });
    expect((await exchange(proxy.url)).status).toBe(302);
    expect(received).toHaveLength(3);
  });

  it('followRedirects: streams what it ends at', async () => {
    let res: ServerResponse | undefined;
    const { url } = await upstream((req, response) => {
      if (req.url === '/') response.writeHead(302, { location: '/there' }).end();
      else res = eventStream(response);
    });
    const proxy = await proxyApp({ target: url, followRedirects: true });
    const events = reader(await request(proxy.url));
    for (let i = 0; i < 3; i += 1) {
      res?.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res?.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('followRedirects: aborts the request that it ended at when the client leaves', async () => {
    let closed = (): void => {};
    const close = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const { url } = await upstream((req, res) => {
      if (req.url === '/') res.writeHead(302, { location: '/there' }).end();
      else eventStream(res).once('close', closed).write('data: 1\n\n');
    });
    const proxy = await proxyApp({ target: url, followRedirects: true });
    const response = await request(proxy.url);
    await once(response, 'data');
    response.destroy();
    await close;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it.each<[string, SseProxyOptions]>([
    ['followRedirects', { followRedirects: true }],
    ['autoRewrite', { autoRewrite: true }],
    ['hostRewrite', { hostRewrite: 'app.test' }],
  ])('followRedirects: answers a malformed Location with 502 under %s', async (_name, options) => {
    const { url } = await recorder((req, res) => {
      if (req.url === '/') res.writeHead(302, { location: 'http://[' });
      res.end('ok');
    });
    const proxy = await proxyApp({ target: url, ...options });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(502);
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_INVALID_RESPONSE');
    expect((await proxy.summary()).outcome).toBe('upstream-error');
    expect((await exchange(`${proxy.url}/fine`)).body).toBe('ok');
  });

  it('followRedirects: answers with 502 where the redirect leads nowhere', async () => {
    const { url } = await recorder((_req, res) => res.writeHead(302, { location: NOWHERE }).end());
    const proxy = await proxyApp({ target: url, followRedirects: true });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(502);
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_UNREACHABLE');
  });

  it.each([
    ['of the client', {}, { authorization: 'Bearer k', cookie: 'k=1' }],
    ['of `headers`', { headers: { authorization: 'Bearer k' } }, {}],
    ['of `headers`, in capitals', { headers: { Authorization: 'Bearer k' } }, {}],
    ['of `auth`', { auth: 'user:k' }, {}],
  ])('followRedirects: keeps the credentials %s from another host', async (_name, options, headers) => {
    const other = await recorder();
    const { url, received } = await recorder((_req, res) => res.writeHead(302, { location: other.url }).end());
    const proxy = await proxyApp({ target: url, followRedirects: true, ...options });
    expect((await exchange(proxy.url, { headers })).status).toBe(200);
    expect(received[0]?.headers.authorization).toMatch(/^(Bearer|Basic) /);
    expect(other.received[0]?.headers).not.toHaveProperty('authorization');
    expect(other.received[0]?.headers).not.toHaveProperty('cookie');
  });
});

it('HPM options: keeps any header of `headers` from the other host of a redirect, and not from the same one', async () => {
  const other = await recorder();
  const { url, received } = await recorder((req, res) => {
    res.writeHead(302, { location: req.url === '/' ? '/there' : other.url }).end();
  });
  const proxy = await proxyApp({ target: url, followRedirects: true, headers: { 'X-Api-Key': 'k' } });
  expect((await exchange(proxy.url)).status).toBe(200);
  expect(received.map(({ headers }) => headers['x-api-key'])).toEqual(['k', 'k']);
  expect(other.received[0]?.headers).not.toHaveProperty('x-api-key');
});

it('HPM options: does not care whether the target of `forward` can be reached', async () => {
  const { url } = await recorder((_req, res) => res.end('main'));
  const proxy = await proxyApp({ target: url, forward: NOWHERE });
  expect(await exchange(proxy.url, { method: 'POST', body: 'a' })).toMatchObject({ status: 200, body: 'main' });
  expect((await proxy.summary()).outcome).toBe('completed');
});

describe('an https upstream', () => {
  it('HTTPS upstream: is refused where nobody trusts its certificate', async () => {
    const { url } = await secureUpstream((_req, res) => res.end('ok'));
    const proxy = await proxyApp({ target: url });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(502);
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_TLS_FAILED');
  });

  it.each<[string, (url: string, port: number, ca: string) => SseProxyOptions]>([
    ['secure: false', (target) => ({ target, secure: false })],
    ['ca', (target, _port, ca) => ({ target, ca })],
    ['ca in a list of bytes', (target, _port, ca) => ({ target, ca: [Buffer.from(ca)] })],
    ['ca that `router` has set', (target, _port, ca) => ({ router: setting(target, { ca }) })],
    ['ca for a fallback', (target, _port, ca) => ({ target: NOWHERE, fallbacks: [target], ca })],
    ['ssl.ca', (target, _port, ca) => ({ target, ssl: { ca } })],
    ['a target with ca', (_url, port, ca) => ({ target: { protocol: 'https:', host: '127.0.0.1', port, ca } })],
  ])('HTTPS upstream: is reached with %s, over connections that are kept', async (_name, options) => {
    const { listener, received } = recording((_req, res) => res.end('ok'));
    const { url, port } = await secureUpstream(listener);
    const proxy = await proxyApp(options(url, port, (await certificate()).cert));
    expect(await exchange(proxy.url)).toMatchObject({ status: 200, body: 'ok' });
    expect(await exchange(proxy.url)).toMatchObject({ status: 200, body: 'ok' });
    expect(received[1]?.clientPort).toBe(received[0]?.clientPort);
  });
});

describe('timeouts', () => {
  it('HPM timeouts: answers with 504 that is not to be retried where proxyTimeout passes before the head', async () => {
    const { url } = await upstream(() => {});
    const proxy = await proxyApp({ target: url, proxyTimeout: 50 });
    const { status, headers, body } = await exchange(proxy.url);
    expect(status).toBe(504);
    expect(headers).toMatchObject({
      'content-type': expect.stringMatching(/^application\/json/),
      'x-should-retry': 'false',
    });
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_TIMEOUT');
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', statusCode: 504 });
  });

  it('HPM timeouts: cuts the stream where proxyTimeout passes after the head', async () => {
    const { url } = await upstream((_req, res) => void eventStream(res).write('data: 1\n\n'));
    const proxy = await proxyApp({ target: url, proxyTimeout: 100 });
    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect(body.toString()).toBe('data: 1\n\n');
    expect(cut).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', statusCode: 200 });
  });

  it('HPM timeouts: applies proxyTimeout to the request that a redirect leads to', async () => {
    const { url } = await upstream((req, res) => {
      if (req.url === '/') res.writeHead(302, { location: '/silent' }).end();
    });
    const proxy = await proxyApp({ target: url, proxyTimeout: 50, followRedirects: true });
    expect((await exchange(proxy.url)).status).toBe(504);
  });

  it('HPM timeouts: drops a client that `timeout` has passed for', async () => {
    const { url } = await upstream(() => {});
    const proxy = await proxyApp({ target: url, timeout: 50 });
    await expect(exchange(proxy.url)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});

describe('on', () => {
  it('HPM on: hands Express’s own request and response to every listener', async () => {
    const { url } = await recorder();
    const { before, req, res } = witness();
    const calls = new Map<string, unknown[]>();
    const on =
      (event: string) =>
      (...args: unknown[]) =>
        void calls.set(event, args);
    const proxy = await proxyApp(
      { target: url, on: { start: on('start'), proxyReq: on('proxyReq'), proxyRes: on('proxyRes'), end: on('end') } },
      before,
    );
    await exchange(proxy.url);
    await proxy.summary();
    expect([...calls.keys()]).toEqual(['start', 'proxyReq', 'proxyRes', 'end']);
    expect(calls.get('start')).toEqual([expect.anything(), expect.anything(), new URL(url)]);
    expect(calls.get('proxyReq')?.[0]).toBeInstanceOf(http.ClientRequest);
    expect(calls.get('proxyRes')?.[0]).toBeInstanceOf(http.IncomingMessage);
    expect(calls.get('end')?.[2]).toBe(calls.get('proxyRes')?.[0]);
    for (const [event, index] of [
      ['start', 0],
      ['proxyReq', 1],
      ['proxyRes', 1],
      ['end', 0],
    ] as const) {
      expect(calls.get(event)?.[index]).toBe(req());
      expect(calls.get(event)?.[index + 1]).toBe(res());
    }
  });

  it("HPM on: hands Express's own request and response to error", async () => {
    const { before, req, res } = witness();
    let args: unknown[] = [];
    const proxy = await proxyApp(
      {
        target: NOWHERE,
        on: {
          error: (...given) => {
            args = given;
          },
        },
      },
      before,
    );
    expect((await exchange(proxy.url)).status).toBe(502);
    expect(args[0]).toMatchObject({ code: 'ECONNREFUSED' });
    expect(args[1]).toBe(req());
    expect(args[2]).toBe(res());
    expect(String(args[3])).toContain(NOWHERE);
  });

  it("HPM on: hands Express's own request and response to econnreset, where the client has gone", async () => {
    const { before, req, res } = witness();
    let arrived = (): void => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { url } = await upstream(() => arrived());
    let args: unknown[] = [];
    const heard = new Promise<void>((resolve) => {
      void proxyApp(
        {
          target: url,
          on: {
            econnreset: (...given) => {
              args = given;
              resolve();
            },
          },
        },
        before,
      ).then(async (proxy) => {
        const client = http.get(proxy.url, { agent: false }).on('error', () => {});
        await arrival;
        client.destroy();
      });
    });
    await heard;
    expect(args[1]).toBe(req());
    expect(args[2]).toBe(res());
  });

  it.each<[string, (change: () => void) => void | Promise<void>]>([
    ['sync', (change) => change()],
    ['async, in its first tick', async (change) => change()],
  ])('HPM on: lets proxyReq (%s) change the request', async (_name, run) => {
    const { url, received } = await recorder();
    const proxyReq = (request: ClientRequest): void | Promise<void> =>
      run(() => void request.setHeader('x-added', '1'));
    const proxy = await proxyApp({ target: url, on: { proxyReq } });
    await exchange(proxy.url);
    expect(received[0]?.headers['x-added']).toBe('1');
  });

  it.each<[string, (change: () => void) => void | Promise<void>]>([
    ['sync', (change) => change()],
    ['async, in its first tick', async (change) => change()],
  ])('HPM on: lets proxyRes (%s) change the headers of the response', async (_name, run) => {
    const { url } = await recorder((_req, res) => res.setHeader('x-upstream', '1').end());
    const proxyRes = (response: IncomingMessage): void | Promise<void> =>
      run(() => {
        delete response.headers['x-upstream'];
        response.headers['x-added'] = '1';
        response.statusCode = 203;
      });
    const proxy = await proxyApp({ target: url, on: { proxyRes } });
    const { status, headers } = await exchange(proxy.url);
    expect(status).toBe(203);
    expect(headers).toMatchObject({ 'x-added': '1' });
    expect(headers).not.toHaveProperty('x-upstream');
  });

  it.each<[string, Options['on']]>([
    ['start', { start: (_req, res) => void res.setHeader('x-set', '1') }],
    ['proxyReq', { proxyReq: (_proxyReq, _req, res) => void res.setHeader('x-set', '1') }],
    ['proxyRes', { proxyRes: (_proxyRes, _req, res) => void res.setHeader('x-set', '1') }],
  ])('HPM on: keeps what %s sets on the response', async (_name, on) => {
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url, ...(on !== undefined && { on }) });
    expect((await exchange(proxy.url)).headers['x-set']).toBe('1');
  });

  const throwing = (): void => {
    throw new Error('secret detail');
  };
  const rejecting = (): Promise<void> => Promise.reject(new Error('secret detail'));

  it.each([
    ['start', 'throws', throwing],
    ['start', 'rejects', rejecting],
    ['proxyReq', 'throws', throwing],
    ['proxyReq', 'rejects', rejecting],
    ['proxyRes', 'throws', throwing],
  ])('HPM on: answers for a %s that %s', async (event, _how, listener) => {
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url, on: { [event]: listener } });
    const { status, body } = await exchange(proxy.url);
    expect([500, 502]).toContain(status);
    expect(JSON.parse(body).error.code).toBe('HOOK_FAILED');
    expect(body).not.toContain('secret');
    expect((await proxy.summary()).outcome).toBe('failed');
  });

  it('HPM on: ends the response where proxyRes rejects after the head has left', async () => {
    let refuse = (): void => {};
    const refusal = new Promise<void>((_resolve, reject) => {
      refuse = () => reject(new Error('secret detail'));
    });
    const { url } = await upstream((_req, res) => void eventStream(res).write('data: 1\n\n'));
    const proxy = await proxyApp({ target: url, on: { proxyRes: () => refusal } });
    const response = await request(proxy.url);
    await once(response, 'data');
    refuse();
    const { body, cut } = await readUntilCut(response);
    expect(body.toString()).toBe('');
    expect(cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('failed');
  });

  it.each<[string, (answer: () => void) => void | Promise<void>]>([
    ['sync', (answer) => answer()],
    [
      'async',
      async (answer) => {
        await new Promise(setImmediate);
        answer();
      },
    ],
  ])('HPM on: lets error (%s) answer the client', async (_name, run) => {
    const error: NonNullable<Options['on']>['error'] = (_error, _req, res) =>
      run(() => {
        if ('writeHead' in res) res.writeHead(418).end('mine');
      });
    const proxy = await proxyApp({ target: NOWHERE, on: { error } });
    expect(await exchange(proxy.url)).toMatchObject({ status: 418, body: 'mine' });
  });

  it('HPM on: answers in place of an error listener that throws', async () => {
    const proxy = await proxyApp({
      target: NOWHERE,
      on: {
        error: () => {
          throw new Error('mine');
        },
      },
    });
    expect((await exchange(proxy.url)).status).toBe(502);
  });

  it('HPM on: lets a hook answer before the upstream is asked', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      router: (_req, res) => {
        res?.writeHead(403).end('not you');
        return url;
      },
    });
    expect(await exchange(proxy.url)).toMatchObject({ status: 403, body: 'not you' });
    expect(received).toEqual([]);
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('plugins', () => {
  it('HPM plugins: are given a server whose events carry Express’s own response, and the options as the user gave them', async () => {
    const { url } = await recorder();
    const { before, res } = witness();
    const seen: unknown[] = [];
    const logger = { info: jest.fn(), warn: jest.fn(), error: jest.fn() };
    let given: Options | undefined;
    const plugin = definePlugin((server, options) => {
      given = options;
      server.on('proxyRes', (_proxyRes, _req, response) => void seen.push(response));
    });
    const proxy = await proxyApp({ target: url, logger, plugins: [plugin], on: {} }, before);
    await exchange(proxy.url);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toBe(res());
    expect(given).toMatchObject({ target: url, logger, plugins: [plugin] });
    expect(given).not.toHaveProperty('xfwd');
    expect(given).not.toHaveProperty('ejectPlugins');
    expect(given).not.toHaveProperty('agent');
  });

  it("HPM plugins: those of its own are exported, and are http-proxy-middleware's", () => {
    const { debugProxyErrorsPlugin, errorResponsePlugin, loggerPlugin, proxyEventsPlugin } = hpm;
    expect(own).toMatchObject({ debugProxyErrorsPlugin, errorResponsePlugin, loggerPlugin, proxyEventsPlugin });
  });

  it.each<[string, (options: Options, target: string) => void, sees: object]>([
    ['the target', (options, target) => void Object.assign(options, { target: `${target}/api` }), { url: '/api/path' }],
    [
      'the headers',
      (options) => void Object.assign(options, { headers: { 'X-Own': '1' } }),
      { headers: { 'x-own': '1' } },
    ],
    [
      'a header',
      (options) => void Object.assign(options.headers ?? {}, { 'x-given': '2' }),
      { headers: { 'x-given': '2' } },
    ],
    [
      'the router',
      (options, target) => void Object.assign(options, { router: () => `${target}/routed` }),
      { url: '/routed/path' },
    ],
    ['pathRewrite', (options) => void Object.assign(options, { pathRewrite: { '^/path': '/new' } }), { url: '/new' }],
    [
      'pathRewrite, as a function',
      (options) => void Object.assign(options, { pathRewrite: (path: string) => `/f${path}` }),
      { url: '/f/path' },
    ],
    ['prependPath', (options) => void Object.assign(options, { ignorePath: true }), { url: '/' }],
  ])('HPM plugins: what one changes in its options has its effect, as there: %s', async (_what, change, sees) => {
    for (const app of [proxyApp, hpmApp]) {
      const { url, received } = await recorder();
      const plugin = definePlugin((_server, options) => change(options, url));
      const { url: proxy } = await app({ target: url, headers: { 'x-given': '1' }, plugins: [plugin] });
      await exchange(`${proxy}/path`);
      expect(received).toEqual([expect.objectContaining(asMatcher(sees))]);
    }
  });

  it.each<[string, (options: Options) => void]>([
    ['pathFilter', (options) => void Object.assign(options, { pathFilter: '/other' })],
    [
      'pathFilter, as a function',
      (options) => void Object.assign(options, { pathFilter: (path: string) => path === '/other' }),
    ],
  ])('HPM plugins: what one changes in its options has its effect, as there: %s', async (_what, change) => {
    for (const app of [proxyApp, hpmApp]) {
      const { url } = await recorder();
      const proxy = await app({ target: url, plugins: [definePlugin((_server, options) => change(options))] });
      expect([(await exchange(`${proxy.url}/path`)).status, (await exchange(`${proxy.url}/other`)).status]).toEqual([
        404, 200,
      ]);
    }
  });

  it('HPM plugins: what one changes in its options has its effect, as there: also later, and when it is taken away', async () => {
    for (const app of [proxyApp, hpmApp]) {
      const { url, received } = await recorder();
      let given: Options = {};
      const plugin = definePlugin((_server, options) => {
        given = options;
      });
      const { url: proxy } = await app({ target: url, plugins: [plugin] });
      for (const headers of [undefined, { 'x-own': '1' }, undefined]) {
        if (headers === undefined) delete given.headers;
        else given.headers = headers;
        await exchange(proxy);
      }
      expect(received.map(({ headers }) => headers['x-own'])).toEqual([undefined, '1', undefined]);
    }
  });

  it('HPM plugins: run after the listeners of `on`, in order', async () => {
    const { url } = await recorder();
    const order: string[] = [];
    const plugin = (name: string) => definePlugin((server) => void server.on('proxyReq', () => void order.push(name)));
    const proxy = await proxyApp({
      target: url,
      plugins: [plugin('first'), plugin('second')],
      on: { proxyReq: () => order.push('on') },
    });
    await exchange(proxy.url);
    expect(order).toEqual(['on', 'first', 'second']);
  });

  it('HPM plugins: may remove their listeners, and listen once', async () => {
    const { url } = await recorder();
    const removed = jest.fn();
    const onceOnly = jest.fn();
    const proxy = await proxyApp({
      target: url,
      plugins: [
        (server) => {
          server.on('proxyReq', removed).off('proxyReq', removed).once('proxyReq', onceOnly);
        },
      ],
    });
    await exchange(proxy.url);
    await exchange(proxy.url);
    expect(removed).not.toHaveBeenCalled();
    expect(onceOnly).toHaveBeenCalledTimes(1);
  });

  it('HPM plugins: are all there is with ejectPlugins: no `on`, no logging, and failures are answered all the same', async () => {
    const proxyReq = jest.fn();
    const info = jest.fn();
    const plugin = jest.fn();
    const logger = { info, warn: () => {}, error: () => {} };
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url, ejectPlugins: true, plugins: [plugin], on: { proxyReq }, logger });
    expect((await exchange(proxy.url)).body).toBe('ok');
    expect(plugin).toHaveBeenCalledTimes(1);
    expect(proxyReq).not.toHaveBeenCalled();
    expect(info).not.toHaveBeenCalled();
    const broken = await proxyApp({ target: NOWHERE, ejectPlugins: true });
    expect((await exchange(broken.url)).status).toBe(502);
  });
});

describe('logger', () => {
  it('HPM logger: is told each request and each failure', async () => {
    const { url } = await recorder();
    const logger = { info: jest.fn(), warn: jest.fn(), error: jest.fn() };
    const proxy = await proxyApp({ target: url, logger });
    await exchange(`${proxy.url}/path`);
    expect(logger.info).toHaveBeenCalledWith(expect.stringMatching(/GET \/path -> http:\/\/.*\/path \[200\]/));
    const broken = await proxyApp({ target: NOWHERE, logger });
    await exchange(broken.url);
    expect(logger.error).toHaveBeenCalled();
  });

  it('HPM logger: its lines have the port of the target, whichever of several it is', async () => {
    const targets = [(await recorder()).url, (await recorder()).url];
    const logger = { info: jest.fn(), warn: jest.fn(), error: jest.fn() };
    const proxy = await proxyApp({
      target: targets[0] as string,
      router: ({ url }) => targets[Number(url?.[1])] as string,
      logger,
    });
    for (const path of ['/0', '/1', '/0']) await exchange(proxy.url + path);
    expect(logger.info.mock.calls).toEqual(
      [0, 1, 0].map((which) => [`[HPM] GET /${which} -> ${targets[which]}/${which} [200]`]),
    );
  });

  it('HPM logger: its lines have the port also over TLS, and of an upload that cannot be sent again', async () => {
    const logger = { info: jest.fn(), warn: jest.fn(), error: jest.fn() };
    const secure = await secureUpstream((_req, res) => res.end());
    const plain = await upstream((req, res) => void req.resume().on('end', () => res.end()));
    for (const [target, options] of [
      [secure.url, {}],
      [plain.url, { method: 'POST', headers: { 'transfer-encoding': 'chunked' }, body: 'x'.repeat(300_000) }],
    ] as const) {
      await exchange((await proxyApp({ target, secure: false, logger })).url, options);
      expect(logger.info).toHaveBeenLastCalledWith(expect.stringContaining(` -> ${target}/ [200]`));
    }
  });

  it('HPM logger: is told what a hook has thrown', async () => {
    const { url } = await recorder();
    const failure = new Error('detail');
    const logger = { info: jest.fn(), warn: jest.fn(), error: jest.fn() };
    const proxy = await proxyApp({
      target: url,
      logger,
      on: {
        proxyRes: () => {
          throw failure;
        },
      },
    });
    await exchange(proxy.url);
    expect(logger.error.mock.calls).toEqual([[expect.stringContaining(`on.proxyRes failed: ${failure.stack}`)]]);
  });

  it('HPM logger: is silence where none is given', async () => {
    const { url } = await recorder();
    const spies = (['log', 'info', 'warn', 'error'] as const).map((level) =>
      jest.spyOn(console, level).mockReturnValue(),
    );
    onCleanUp(() => {
      for (const spy of spies) spy.mockRestore();
    });
    const proxy = await proxyApp({ target: url });
    const broken = await proxyApp({ target: NOWHERE });
    await exchange(proxy.url);
    await exchange(broken.url);
    for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  });
});

describe('selfHandleResponse', () => {
  it('selfHandleResponse: works with responseInterceptor', async () => {
    const { url } = await recorder((_req, res) => {
      res.writeHead(201, { 'content-encoding': 'gzip', 'x-upstream': '1' }).end(zlib.gzipSync('Hello'));
    });
    const { before, req, res } = witness();
    const seen: unknown[] = [];
    const proxy = await proxyApp(
      {
        target: url,
        selfHandleResponse: true,
        on: {
          proxyRes: responseInterceptor(async (buffer, _proxyRes, request, response) => {
            seen.push(request, response);
            return buffer.toString().replace('Hello', 'Goodbye');
          }),
        },
      },
      before,
    );
    const { status, headers, body } = await exchange(proxy.url);
    expect(status).toBe(201);
    expect(headers).toMatchObject({ 'x-upstream': '1', 'content-length': '7' });
    expect(body).toBe('Goodbye');
    expect(seen[0]).toBe(req());
    expect(seen[1]).toBe(res());
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 201 });
  });

  it('selfHandleResponse: works with a handler that streams', async () => {
    let upstreamResponse: ServerResponse | undefined;
    const { url } = await upstream((_req, res) => {
      upstreamResponse = eventStream(res);
    });
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (proxyRes, _req, res) => {
          res.writeHead(202, { 'content-type': 'text/plain' });
          proxyRes.on('data', (chunk: Buffer) => res.write(chunk.toString().toUpperCase()));
          proxyRes.once('end', () => res.end());
          res.flushHeaders();
        },
      },
    });
    const response = await request(proxy.url);
    const events = reader(response);
    expect(response.statusCode).toBe(202);
    expect(response.headers['content-type']).toBe('text/plain');
    for (const text of ['a', 'b', 'c']) {
      upstreamResponse?.write(`${text}\n`);
      expect(await events.until('\n')).toBe(`${text.toUpperCase()}\n`);
    }
    upstreamResponse?.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('selfHandleResponse: works with a handler that answers without the upstream’s body', async () => {
    const { url } = await recorder((_req, res) => res.end('theirs'));
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (proxyRes, _req, res) => {
          proxyRes.resume();
          res.writeHead(404).end('mine');
        },
      },
    });
    expect(await exchange(proxy.url)).toMatchObject({ status: 404, body: 'mine' });
  });

  it('selfHandleResponse: answers failures itself, before the user could', async () => {
    const proxyRes = jest.fn<() => void>();
    const proxy = await proxyApp({ target: NOWHERE, selfHandleResponse: true, on: { proxyRes } });
    const { status, body } = await exchange(proxy.url);
    expect(status).toBe(502);
    expect(JSON.parse(body).error.code).toBe('UPSTREAM_UNREACHABLE');
    expect(proxyRes).not.toHaveBeenCalled();
  });

  it('selfHandleResponse: aborts the upstream when the client leaves', async () => {
    let closed = (): void => {};
    const close = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const { url } = await upstream((_req, res) => void eventStream(res).once('close', closed).write('data: 1\n\n'));
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    const response = await request(proxy.url);
    await once(response, 'data');
    response.destroy();
    await close;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('selfHandleResponse: cuts the client where the upstream broke off', async () => {
    const { url, sockets } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    });
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    const response = await request(proxy.url);
    await once(response, 'data');
    for (const socket of sockets) socket.destroy();
    expect((await readUntilCut(response)).cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });
});

describe('fixRequestBody', () => {
  it.each([
    ['JSON', express.json(), 'application/json', '{"a":1}'],
    ['a form', express.urlencoded({ extended: false }), 'application/x-www-form-urlencoded', 'a=1&b=2'],
    ['nothing that was parsed', express.json(), 'text/plain', 'text'],
  ])('fixRequestBody: does not send the body twice: %s', async (_name, parser, type, body) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, on: { proxyReq: fixRequestBody } }, (app) => app.use(parser));
    for (let i = 0; i < 2; i += 1) {
      await exchange(proxy.url, { method: 'POST', headers: { 'content-type': type }, body });
    }
    expect(received.map((item) => item.body.toString())).toEqual([body, body]);
  });

  it('fixRequestBody: sends a multipart body that only it knows how to make', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, on: { proxyReq: fixRequestBody } }, (app) =>
      app.use((req, _res, next) => {
        req.resume().once('end', () => {
          req.body = { a: '1' };
          next();
        });
      }),
    );
    const { status } = await exchange(proxy.url, {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary=x' },
      body: '--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
    });
    expect(status).toBe(200);
    expect(received[0]?.body.toString()).toMatch(/name="a"\r\n\r\n1\r\n/);
  });
});

describe('the same requests through http-proxy-middleware', () => {
  interface Case {
    options?: Options;
    path?: string;
    init?: http.RequestOptions & { body?: string | Uint8Array };
    answer?: http.RequestListener;
    before?: (app: Express) => void;
    base?: string;
  }

  const big = Buffer.alloc(300_000, 'abcdefghij');
  const cases: Record<string, Case> = {
    'a GET': {},
    'a query': { path: '/a?b=c&d=%20e&f' },
    'an escaped path': { path: '/a%2Fb/%E2%82%AC/;x=1' },
    'double slashes': { path: '//a//b' },
    'a path with dots': { path: '/a/../b/./c' },
    'a HEAD': { init: { method: 'HEAD' }, answer: (_req, res) => res.setHeader('content-length', 7).end() },
    'an OPTIONS': { init: { method: 'OPTIONS' }, answer: (_req, res) => res.writeHead(204, { allow: 'GET' }).end() },
    'a POST with JSON': { init: { method: 'POST', headers: JSON_TYPE, body: '{"a":1}' } },
    'a POST in chunks': { init: { method: 'POST', headers: { 'transfer-encoding': 'chunked' }, body: 'chunks' } },
    'an empty POST': { init: { method: 'POST' } },
    'a PUT': { init: { method: 'PUT', body: big } },
    'a PATCH': { init: { method: 'PATCH', body: 'patch' } },
    'a DELETE': { init: { method: 'DELETE' } },
    'a DELETE with a body': { init: { method: 'DELETE', headers: { 'content-length': 1 }, body: 'x' } },
    'request fields': {
      init: { headers: { 'x-a': '1', cookie: 'a=1; b=2', authorization: 'Bearer x', 'accept-language': 'de' } },
    },
    'repeated request fields': { init: { headers: { 'x-a': ['1', '2'] } } },
    'bytes beyond ASCII in a field': {
      init: { headers: { 'x-a': 'caf\xe9' } },
      answer: (_req, res) => res.setHeader('x-b', 'th\xe9').end(),
    },
    JSON: { answer: (_req, res) => res.writeHead(200, JSON_TYPE).end('{"a":1}') },
    'a body in chunks': {
      answer: (_req, res) => {
        res.write('one');
        res.end('two');
      },
    },
    'a big body': { answer: (_req, res) => res.setHeader('content-length', big.length).end(big) },
    'a compressed body': {
      init: { headers: { 'accept-encoding': 'gzip' } },
      answer: (_req, res) => res.setHeader('content-encoding', 'gzip').end(zlib.gzipSync('text')),
    },
    '204': { answer: (_req, res) => res.writeHead(204).end() },
    '206': { answer: (_req, res) => res.writeHead(206, { 'content-range': 'bytes 0-1/5' }).end('ab') },
    '304': { answer: (_req, res) => res.writeHead(304, { etag: '"x"' }).end() },
    '301': { answer: (_req, res) => res.writeHead(301, { location: '/there' }).end() },
    '404': { answer: (_req, res) => res.writeHead(404, JSON_TYPE).end('{"error":"none"}') },
    '429': { answer: (_req, res) => res.writeHead(429, { 'retry-after': '2', 'retry-after-ms': '1500' }).end() },
    '503': { answer: (_req, res) => res.writeHead(503).end('down') },
    '599': { answer: (_req, res) => res.writeHead(599).end('odd') },
    'a reason phrase': { answer: (_req, res) => res.writeHead(200, 'All Good').end('ok') },
    'an empty reason phrase': {
      answer: (_req, res) => void res.socket?.end('HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok'),
    },
    'several cookies': { answer: (_req, res) => res.setHeader('set-cookie', ['a=1; Path=/', 'b=2']).end() },
    'caching fields': {
      answer: (_req, res) => {
        res
          .writeHead(200, { 'cache-control': 'max-age=5', etag: 'W/"1"', 'last-modified': 'x', vary: 'accept' })
          .end('a');
      },
    },
    pathRewrite: { path: '/old/x', options: { pathRewrite: { '^/old': '/new' } } },
    'pathRewrite of the whole path': { path: '/old', options: { pathRewrite: { '^/old$': '' } } },
    'headers and auth': { options: { headers: { 'X-Key': 'k' }, auth: 'u:p' } },
    'changeOrigin: false': { options: { changeOrigin: false }, init: { headers: { host: 'app.test' } } },
    'prependPath: false': { path: '/a', options: { prependPath: false }, base: '/base' },
    toProxy: { path: '/a?b', options: { toProxy: true }, base: '/base' },
    'a target with a path and a query': { path: '/a?b', base: '/base?key=1' },
    ignorePath: { path: '/a', options: { ignorePath: true } },
    xfwd: { options: { xfwd: true }, init: { headers: { host: 'app.test:81' } } },
    cookieDomainRewrite: {
      options: { cookieDomainRewrite: { 'up.test': 'app.test' } },
      answer: (_req, res) => res.setHeader('set-cookie', 'a=1; domain=up.test').end(),
    },
    hostRewrite: {
      options: { hostRewrite: 'app.test', protocolRewrite: 'https' },
      answer: (req, res) => res.writeHead(302, { location: `http://${req.headers.host}/x` }).end(),
    },
    followRedirects: {
      options: { followRedirects: true },
      answer: (req, res) => {
        if (req.url !== '/there') res.writeHead(302, { location: '/there' });
        res.end('there');
      },
    },
    'a fixed body': {
      options: { on: { proxyReq: fixRequestBody } },
      before: (app) => app.use(express.json()),
      init: { method: 'POST', headers: JSON_TYPE, body: '{"a":1}' },
    },
    'fields that proxyReq and proxyRes change': {
      options: {
        on: {
          proxyReq: (proxyReq) => void proxyReq.setHeader('x-q', '1'),
          proxyRes: (proxyRes) => {
            proxyRes.headers['x-s'] = '1';
          },
        },
      },
    },
  };

  /** The documented differences: connections are each side's own, and framing is Node's. */
  const CONNECTION = ['connection', 'keep-alive', 'transfer-encoding', 'date'];

  function comparable(headers: http.IncomingHttpHeaders): http.IncomingHttpHeaders {
    return Object.fromEntries(Object.entries(headers).filter(([name]) => !CONNECTION.includes(name)));
  }

  it.each(Object.entries(cases))(
    'the same request through HPM: %s',
    async (_name, { options = {}, path = '/', init = {}, answer, before, base = '' }) => {
      const { url, received } = await recorder(answer);
      const all: Options = { target: url + base, changeOrigin: true, ...options };
      const proxies = [await hpmApp(all, before), await proxyApp(all, before)];
      const answers: unknown[] = [];
      for (const proxy of proxies) {
        const headers = { host: 'app.test', ...init.headers };
        // `http.request` given a URL would normalize the path.
        const answered = await exchange(proxy.url, { path, ...init, headers }).catch(String);
        answers.push(typeof answered === 'string' ? answered : { ...answered, headers: comparable(answered.headers) });
      }
      const requests = received.map(({ method, url: target, headers, body }) => {
        return { method, target, headers: comparable(headers), body: body.toString('latin1') };
      });
      const half = requests.length / 2;
      expect(half).toBeGreaterThanOrEqual(1);
      expect(requests.slice(half)).toEqual(requests.slice(0, half));
      expect(answers[1]).toEqual(answers[0]);
      expect(answers[0]).toMatchObject({ status: expect.any(Number) });
    },
  );
});

describe("what differs from http-proxy-middleware, by README's table", () => {
  /** Asks with a path that clients of URLs would have resolved. */
  async function ask(port: number, path: string): Promise<string> {
    return (await rawExchange(port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).text;
  }

  it.each([
    ['/../admin', '/api/../admin', undefined],
    ['/%2e%2e/admin', '/api/%2e%2e/admin', undefined],
    ['/..%2fadmin', '/api/..%2fadmin', undefined],
    ['/%252e%252e/admin', '/api/%252e%252e/admin', undefined],
    ['/..;/admin', '/api/..;/admin', undefined],
    ['/x#fragment', '/api/x#fragment', undefined],
    ['/a/../b', '/api/a/../b', '/api/a/../b'],
    ['/a/%2e%2e/b', '/api/a/%2e%2e/b', undefined],
    ['http://other.example/x', '/api/http://other.example/x', '/api/x'],
  ])('HPM difference: the path %s is forwarded there as %s, and here as %s', async (path, there, here) => {
    for (const [app, forwarded] of [
      [hpmApp, there],
      [proxyApp, here],
    ] as const) {
      const { url, received } = await recorder();
      const { port } = await app({ target: `${url}/api` });
      expect(await ask(port, path)).toMatch(forwarded === undefined ? /^HTTP\/1\.1 400 / : /^HTTP\/1\.1 200 /);
      expect(received.map((request) => request.url)).toEqual(forwarded === undefined ? [] : [forwarded]);
    }
  });

  const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n';
  it.each<[string, (socket: Socket) => void, cutThere: boolean]>([
    ['resets the connection', (socket) => socket.resetAndDestroy(), false],
    ['breaks its framing', (socket) => void socket.write('no chunk\r\n'), false],
    ['closes too early', (socket) => void socket.end(), true],
  ])('HPM difference: after the head, an upstream that %s is a cut here', async (_what, fail, cutThere) => {
    for (const app of [hpmApp, proxyApp]) {
      const passed = signal();
      const { url } = await rawUpstream((socket) => {
        socket.write(HEAD);
        void passed.promise.then(() => fail(socket));
      });
      const response = await request((await app({ target: url })).url);
      response.once('data', () => passed.resolve());
      const { body, cut } = await readUntilCut(response);
      const isCut = app === proxyApp || cutThere;
      expect([cut, body.toString()]).toEqual([isCut, isCut ? 'hi' : expect.stringMatching(/^hiError occurred/)]);
    }
  });

  it.each<[string, (error: Error) => Options]>([
    ['router', (error) => ({ router: () => Promise.reject(error) })],
    ['pathRewrite', (error) => ({ pathRewrite: () => Promise.reject(error) })],
  ])(
    "HPM difference: what %s throws is given to Express there, and here with onError: 'next', as a cause",
    async (_name, hooks) => {
      const thrown = new Error('of the hook');
      for (const create of [createProxyMiddleware, createSseProxy]) {
        for (const onError of create === createSseProxy ? (['respond', 'next'] as const) : [undefined]) {
          const seen: unknown[] = [];
          const app = express();
          const options = { target: NOWHERE, logger: silent, ...hooks(thrown), ...(onError && { onError }) };
          app.use(create(options));
          app.use(((error, _req, res, _next) => {
            seen.push(error);
            res.sendStatus(500);
          }) as express.ErrorRequestHandler);
          const { status, body } = await exchange(`http://127.0.0.1:${await listen(http.createServer(app))}/path`);
          expect(status).toBe(500);
          if (onError === undefined) expect(seen).toEqual([thrown]);
          else if (onError === 'next')
            expect(seen).toEqual([expect.objectContaining({ code: 'HOOK_FAILED', cause: thrown })]);
          else expect(JSON.parse(body).error.code).toBe('HOOK_FAILED');
        }
      }
    },
  );

  const silent = { info() {}, warn() {}, error() {} };
});
