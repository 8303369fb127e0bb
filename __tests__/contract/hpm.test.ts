/**
 * What this package relies on in http-proxy-middleware. A failure here after an update says which assumption has gone.
 */
import { once } from 'node:events';
import http, { IncomingMessage, type ServerResponse } from 'node:http';
import net from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import express from 'express';
import {
  createProxyMiddleware,
  debugProxyErrorsPlugin,
  errorResponsePlugin,
  fixRequestBody,
  loggerPlugin,
  type Options,
  type Plugin,
  proxyEventsPlugin,
  responseInterceptor,
} from 'http-proxy-middleware';
import { exchange, readAll, readUntilCut, request } from '../support/clients/http.js';
import { rawExchange } from '../support/clients/raw.js';
import { runModule } from '../support/programs/run.js';
import { PlainResponse } from '../support/servers/bare-http.js';
import { listen } from '../support/servers/listen.js';
import { hpmApp } from '../support/servers/proxies.js';
import { rawUpstream, recorder, upstream } from '../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';
import { until } from '../support/watch/wait.js';

afterEach(closeAll);

type ProxyServer = Parameters<Plugin>[0];

/** Serves with the listener, and requests it once. */
async function serveOnce(
  listener: (req: IncomingMessage, res: ServerResponse) => void,
  path = '/',
): Promise<{ status: number | undefined; body: string }> {
  const port = await listen(http.createServer(listener));
  return exchange(`http://127.0.0.1:${port}${path}`);
}

/** The event emitter behind a middleware with these options. */
function serverOf(options: Options): ProxyServer {
  let found: ProxyServer | undefined;
  createProxyMiddleware({
    target: 'http://127.0.0.1:9',
    ...options,
    plugins: [
      ...(options.plugins ?? []),
      (server) => {
        found = server;
      },
    ],
  });
  if (found === undefined) throw new Error('plugins are not called at construction');
  return found;
}

describe('the exports', () => {
  it("HPM's exports: the package has every plugin and helper by name", () => {
    for (const item of [
      createProxyMiddleware,
      proxyEventsPlugin,
      loggerPlugin,
      errorResponsePlugin,
      debugProxyErrorsPlugin,
      fixRequestBody,
      responseInterceptor,
    ]) {
      expect(item).toBeInstanceOf(Function);
    }
  });
});

describe('plugins', () => {
  it('HPM plugins: are registered at construction, in order, each with the server and the very options', () => {
    const calls: unknown[][] = [];
    const options: Options = {
      target: 'http://127.0.0.1:9',
      plugins: [(...args) => calls.push(['first', ...args]), (...args) => calls.push(['second', ...args])],
    };
    createProxyMiddleware(options);
    expect(calls.map(([name]) => name)).toEqual(['first', 'second']);
    expect(calls[0]?.[1]).toBe(calls[1]?.[1]);
    expect(calls[0]?.[2]).toBe(options);
  });

  it('HPM plugins: has none of its own with ejectPlugins, not even the one behind `on`', () => {
    const server = serverOf({ ejectPlugins: true, on: { proxyReq: () => {} } });
    expect(server.eventNames()).toEqual([]);
  });

  it('HPM plugins: registers `on` by the events plugin alone', () => {
    const proxyReq = (): void => {};
    const server = serverOf({ ejectPlugins: true, on: { proxyReq }, plugins: [proxyEventsPlugin] });
    expect(server.eventNames()).toEqual(['proxyReq']);
    expect(server.rawListeners('proxyReq')).toEqual([proxyReq]);
  });

  it('HPM plugins: logs by the logger plugin alone', () => {
    const server = serverOf({ ejectPlugins: true, plugins: [loggerPlugin] });
    expect(server.eventNames().sort()).toEqual(['close', 'error', 'open', 'proxyRes']);
  });

  it('HPM plugins: leaves its error response out where on.error is given', () => {
    const count = (on: Options['on']) => serverOf(on === undefined ? {} : { on }).listenerCount('error');
    // The user's own takes its place.
    expect(count({ error: () => {} })).toBe(count(undefined));
    expect(
      serverOf({ on: { error: () => {} } })
        .rawListeners('error')
        .map(String)
        .join(),
    ).not.toContain('Error occurred while trying to proxy');
    expect(serverOf({}).rawListeners('error').map(String).join()).toContain('Error occurred while trying to proxy');
  });

  it('HPM plugins: sends every event of a request through server.emit, which may be replaced', async () => {
    const { url } = await recorder();
    const events: string[] = [];
    await serveOnce(
      createProxyMiddleware({
        target: url,
        ejectPlugins: true,
        plugins: [
          (server) => {
            server.emit = ((event: string) => events.push(event) > 0) as typeof server.emit;
          },
        ],
      }),
    );
    expect(events).toEqual(['start', 'proxyReq', 'proxyRes', 'end']);
  });
});

describe('pathFilter', () => {
  it('HPM pathFilter: calls next at once, without an error, where it does not match', async () => {
    const { url } = await recorder();
    const middleware = createProxyMiddleware({ target: url, pathFilter: '/api' });
    let synchronously: unknown[] | undefined;
    const { body } = await serveOnce((req, res) => {
      let args: unknown[] | undefined;
      void middleware(req, res, (...given: unknown[]) => {
        args = given;
      });
      synchronously = args;
      res.end('next');
    }, '/other');
    expect(body).toBe('next');
    expect(synchronously).toEqual([]);
  });

  it('HPM pathFilter: calls next for a filter that throws, too', async () => {
    const { url } = await recorder();
    const error = jest.fn();
    const middleware = createProxyMiddleware({
      target: url,
      pathFilter: () => {
        throw new Error('filter');
      },
      logger: { info: () => {}, warn: () => {}, error },
    });
    const next = jest.fn();
    await serveOnce((req, res) => {
      void middleware(req, res, next);
      res.end();
    });
    expect(next.mock.calls).toEqual([[]]);
    expect(error).toHaveBeenCalledTimes(1);
  });
});

describe('router and pathRewrite', () => {
  it('HPM router and pathRewrite: are both given the same copy of the options, a new one for each request', async () => {
    const { url } = await recorder();
    const seen: (Options | undefined)[] = [];
    const options: Options = {
      target: url,
      router: (_req, _res, own) => {
        seen.push(own);
        return url;
      },
      pathRewrite: (path, _req, _res, own) => {
        seen.push(own);
        return path;
      },
    };
    const { url: proxy } = await hpmApp(options);
    await exchange(proxy);
    await exchange(proxy);
    expect(seen).toHaveLength(4);
    expect(seen[0]).toBe(seen[1]);
    expect(seen[2]).toBe(seen[3]);
    expect(seen[0]).not.toBe(seen[2]);
    for (const own of seen) expect(own).not.toBe(options);
  });

  it('HPM router and pathRewrite: are given the response object that the middleware was given', async () => {
    const { url } = await recorder();
    const seen: unknown[] = [];
    const middleware = createProxyMiddleware({
      target: url,
      router: (_req, res) => {
        seen.push(res);
        return url;
      },
      pathRewrite: (path, _req, res) => {
        seen.push(res);
        return path;
      },
    });
    const given = new PlainResponse();
    await serveOnce((req, res) => {
      void middleware(req, given.asServerResponse).then(() => res.end());
    });
    expect(seen).toHaveLength(2);
    expect(seen[0]).toBe(given);
    expect(seen[1]).toBe(given);
  });

  it('HPM router and pathRewrite: may set `buffer` and `agent` for that one request', async () => {
    const { url, received } = await recorder();
    const agents: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      agent: new http.Agent({ keepAlive: true }),
      pathRewrite: async (path, _req, _res, options) => {
        if (path !== '/replaced' || options === undefined) return path;
        options.buffer = Readable.from([Buffer.from('other')]);
        options.agent = false;
        return path;
      },
      on: {
        proxyReq: (proxyReq, _req, _res, options) => {
          agents.push(options.agent);
          proxyReq.setHeader('content-length', 5);
        },
      },
    });
    await exchange(`${proxy}/replaced`, { method: 'POST', body: 'first' });
    await exchange(`${proxy}/`, { method: 'POST', body: 'again' });
    expect(received.map(({ body }) => body.toString())).toEqual(['other', 'again']);
    expect(received.map(({ headers }) => headers.connection)).toEqual(['close', 'close']);
    expect(agents[0]).toBe(false);
    expect(agents[1]).toBeInstanceOf(http.Agent);
  });

  it('HPM router and pathRewrite: runs pathRewrite for every request, after router, with the path as it came in', async () => {
    const { url, received } = await recorder();
    const order: string[] = [];
    const { url: proxy } = await hpmApp({
      target: 'http://127.0.0.1:9',
      router: async (req) => {
        order.push(`router ${req.url}`);
        return url;
      },
      pathRewrite: async (path) => {
        order.push(`pathRewrite ${path}`);
        return '/new';
      },
    });
    await exchange(`${proxy}/old?a=1`);
    expect(order).toEqual(['router /old?a=1', 'pathRewrite /old?a=1']);
    expect(received[0]?.url).toBe('/new');
  });

  it('HPM router and pathRewrite: may change the headers that are sent upstream', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      pathRewrite: (path, req) => {
        delete req.headers['x-secret'];
        req.headers['x-added'] = 'yes';
        return path;
      },
    });
    await exchange(proxy, { headers: { 'x-secret': '1' } });
    expect(received[0]?.headers).toMatchObject({ 'x-added': 'yes' });
    expect(received[0]?.headers).not.toHaveProperty('x-secret');
  });

  it('HPM router and pathRewrite: rewrites by the first pattern of a table that matches, once', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      pathRewrite: { '^/a': '/b', '^/b': '/c', '/v(\\d)': '/version-$1' },
    });
    for (const path of ['/a/b', '/b/a', '/x/v1/v2', '/none']) await exchange(proxy + path);
    expect(received.map((item) => item.url)).toEqual(['/b/b', '/c/a', '/x/version-1/v2', '/none']);
  });

  it.each(['router', 'pathRewrite'])(
    'HPM router and pathRewrite: hands what %s rejects with to next, without an error event',
    async (name) => {
      const { url } = await recorder();
      const failure = new Error('refused');
      const onError = jest.fn();
      const middleware = createProxyMiddleware({
        target: url,
        [name]: async () => Promise.reject(failure),
        on: { error: onError },
      });
      let reported: unknown;
      await serveOnce((req, res) => {
        void middleware(req, res, (error) => {
          reported = error;
          res.end();
        });
      });
      expect(reported).toBe(failure);
      expect(onError).not.toHaveBeenCalled();
    },
  );

  it('HPM router and pathRewrite: hands a missing target to next', async () => {
    const middleware = createProxyMiddleware({ router: { '/api': 'http://127.0.0.1:9' } });
    let reported: unknown;
    await serveOnce((req, res) => {
      void middleware(req, res, (error) => {
        reported = error;
        res.end();
      });
    });
    expect(String(reported)).toContain('target');
  });
});

describe('failures', () => {
  it('HPM failures: come as an event, and not through next, where somebody listens for it', async () => {
    const onError = jest.fn((_error: Error, _req: IncomingMessage, res: ServerResponse | net.Socket) => res.end());
    const middleware = createProxyMiddleware({ target: 'http://127.0.0.1:9', on: { error: onError } });
    const next = jest.fn();
    await serveOnce((req, res) => void middleware(req, res, next));
    expect(onError).toHaveBeenCalledTimes(1);
    expect(onError.mock.calls[0]?.[0]).toMatchObject({ code: 'ECONNREFUSED' });
    expect(next).not.toHaveBeenCalled();
  });

  it('HPM failures: come through next as well where nobody listens', async () => {
    const middleware = createProxyMiddleware({
      target: 'http://127.0.0.1:9',
      ejectPlugins: true,
      plugins: [ignoreOnce],
    });
    let reported: unknown;
    await serveOnce((req, res) => {
      void middleware(req, res, (error) => {
        reported = error;
        res.end();
      });
    });
    expect(reported).toMatchObject({ code: 'ECONNREFUSED' });
  });

  /** http-proxy-middleware emits `error` in any case, and an emitter without a listener throws. */
  function ignoreOnce(server: ProxyServer): void {
    server.emit = (() => true) as typeof server.emit;
  }

  it('HPM failures: reports a start listener that throws as an error, and makes no request', async () => {
    const { url, received } = await recorder();
    const failure = new Error('not this one');
    const seen: unknown[] = [];
    await serveOnce(
      createProxyMiddleware({
        target: url,
        on: {
          start: () => {
            throw failure;
          },
          error: (error, _req, res) => {
            seen.push(error);
            res.end();
          },
        },
      }),
    );
    expect(seen).toEqual([failure]);
    expect(received).toEqual([]);
  });
});

describe('WebSockets', () => {
  it('HPM WebSockets: subscribes to the upgrades of a server with its first request, once', async () => {
    const { url } = await recorder();
    const app = express().use(createProxyMiddleware({ target: url, ws: true }));
    const server = http.createServer(app);
    const port = await listen(server);
    expect(server.listenerCount('upgrade')).toBe(0);
    for (let i = 0; i < 2; i += 1) {
      await exchange(`http://127.0.0.1:${port}`);
      await until(() => server.listenerCount('upgrade') > 0);
    }
    expect(server.listenerCount('upgrade')).toBe(1);
  });

  it('HPM WebSockets: subscribes when its first request has ended: an open event stream keeps WebSockets waiting', async () => {
    let stream: ServerResponse | undefined;
    const { url } = await upstream((_req, res) => {
      stream = res;
      res.writeHead(200).write('data: 1\n\n');
    });
    const server = http.createServer(createProxyMiddleware({ target: url, ws: true }));
    const port = await listen(server);
    const response = await request(`http://127.0.0.1:${port}`);
    await once(response, 'data');
    expect(server.listenerCount('upgrade')).toBe(0);
    stream?.end();
    await readAll(response);
    await until(() => server.listenerCount('upgrade') === 1);
  });

  it('HPM WebSockets: asks `router` in the tick of the upgrade, and only where pathFilter lets it pass', () => {
    const asked: (string | undefined)[] = [];
    const { upgrade } = createProxyMiddleware({
      pathFilter: ['/a', '/b'],
      router: (req) => {
        asked.push(req.url);
        throw new Error('no further');
      },
      ejectPlugins: true,
      plugins: [(server) => void server.on('error', () => {})],
    });
    const socket = Object.assign(new net.Socket(), { server: http.createServer() });
    for (const url of ['/a/x?y', '/c', '/b']) {
      upgrade(Object.assign(new IncomingMessage(socket), { url }), socket, Buffer.alloc(0));
    }
    expect(asked).toEqual(['/a/x?y', '/b']);
  });

  it('HPM WebSockets: hands the options of the one upgrade to pathRewrite, and emits what it throws with the socket', async () => {
    const target = 'http://127.0.0.1:9';
    const failure = new Error('mine');
    const emitted = new Promise<unknown[]>((resolve) => {
      const { upgrade } = createProxyMiddleware({
        target,
        pathRewrite: (path, _req, res, options) => {
          expect([path, res, options?.target]).toEqual(['/a', undefined, target]);
          throw failure;
        },
        ejectPlugins: true,
        plugins: [(server) => void server.on('error', (...args) => resolve(args))],
      });
      const socket = Object.assign(new net.Socket(), { server: http.createServer() });
      const req = Object.assign(new IncomingMessage(socket), { url: '/a' });
      upgrade(req, 'a stand-in' as never, Buffer.alloc(0));
    });
    expect(await emitted).toEqual([failure, expect.any(IncomingMessage), 'a stand-in']);
  });

  it('HPM WebSockets: has an upgrade function', () => {
    expect(createProxyMiddleware({ target: 'http://127.0.0.1:9' }).upgrade).toBeInstanceOf(Function);
  });
});

// Each of these documents what this package works around. When one fails, look whether the workaround can go.
describe('defects that are worked around', () => {
  /** A proxy with a raw upstream and a client, in a process of its own that http-proxy-middleware may end. */
  function crashTest(options: { answer: string; requestFields?: string; proxyOptions?: string }): string {
    const { answer, requestFields = '', proxyOptions = '' } = options;
    return `
      import http from 'node:http';
      import net from 'node:net';
      import { createProxyMiddleware } from 'http-proxy-middleware';
      const upstream = net.createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.end(${JSON.stringify(answer)}, 'latin1'));
      });
      upstream.listen(0, '127.0.0.1', () => {
        const target = 'http://127.0.0.1:' + upstream.address().port;
        const proxy = http.createServer(createProxyMiddleware({ target, ${proxyOptions} }));
        proxy.listen(0, '127.0.0.1', () => {
          const client = net.connect(proxy.address().port, '127.0.0.1');
          client.on('error', () => {});
          client.on('close', () => process.exit(0));
          client.resume();
          client.write('GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n' + ${JSON.stringify(requestFields)} + '\\r\\n');
        });
      });
    `;
  }

  it('HPM defect that is worked around: lives through an ordinary request (the test of these tests)', async () => {
    const result = await runModule(crashTest({ answer: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' }));
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  });

  it.each([
    {
      what: 'a Trailer request header',
      answer: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      requestFields: 'Trailer: X\r\n',
      code: 'ERR_HTTP_TRAILER_INVALID',
    },
    {
      what: 'an upstream status of 000',
      answer: 'HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n',
      code: 'ERR_HTTP_INVALID_STATUS_CODE',
    },
    {
      what: 'control bytes in the reason phrase',
      answer: 'HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n',
      code: 'ERR_INVALID_CHAR',
    },
    {
      what: 'a malformed Location under autoRewrite',
      answer: 'HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n',
      proxyOptions: 'autoRewrite: true',
      code: 'ERR_INVALID_URL',
    },
    {
      what: 'a malformed Location under followRedirects',
      answer: 'HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n',
      proxyOptions: 'followRedirects: true',
      code: 'ERR_INVALID_URL',
    },
    {
      what: 'a proxyRes listener that throws',
      answer: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      proxyOptions: "on: { proxyRes() { throw Object.assign(new Error('mine'), { code: 'ERR_MINE' }); } }",
      code: 'ERR_MINE',
    },
  ])('HPM defect that is worked around: ends the process on $what', async ({ code, ...options }) => {
    const { exitCode, stderr } = await runModule(crashTest(options));
    expect(stderr).toContain(code);
    expect(exitCode).not.toBe(0);
  });

  it('HPM defect that is worked around: never answers after a 101 that nobody asked for', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
    let upstreamRequest: http.ClientRequest | undefined;
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (proxyReq) => {
          upstreamRequest = proxyReq;
        },
      },
    });
    const client = http.get(proxy, { agent: false });
    const heard = jest.fn();
    client.on('response', heard).on('error', heard).on('close', heard);
    await until(() => upstreamRequest?.closed === true);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(heard).not.toHaveBeenCalled();
    client
      .off('error', heard)
      .on('error', () => {})
      .destroy();
  });

  it('HPM defect that is worked around: writes its error text into a stream that broke off, and ends it cleanly', async () => {
    const { url, sockets } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    });
    const { url: proxy } = await hpmApp({ target: url });
    const response = await request(proxy);
    const [hello] = (await once(response, 'data')) as [Buffer];
    expect(hello.toString()).toBe('hello');
    for (const socket of sockets) socket.write('not a chunk\r\n');
    const { body, cut } = await readUntilCut(response);
    expect(body.toString()).toMatch(/^Error occurred while trying to proxy/);
    expect(cut).toBe(false);
  });

  it('HPM defect that is worked around: copies Connection: close in both directions', async () => {
    const { url, received } = await recorder((_req, res) => res.setHeader('connection', 'close').end());
    const { url: proxy } = await hpmApp({ target: url });
    await exchange(proxy, { headers: { connection: 'close' } });
    expect(received[0]?.headers.connection).toBe('close');

    const agent = new http.Agent({ keepAlive: true });
    onCleanUp(() => agent.destroy());
    expect((await exchange(proxy, { agent })).headers.connection).toBe('close');
  });

  it('HPM defect that is worked around: lets the client hide its address from xfwd', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({ target: url, xfwd: true });
    await exchange(proxy, { headers: { 'x-forwarded-for': '203.0.113.9' } });
    expect(received[0]?.headers['x-forwarded-for']).toBe('203.0.113.9');
  });

  it('HPM defect that is worked around: answers a refused connection with 504 and an untyped text that names the host', async () => {
    const { url: proxy } = await hpmApp({ target: 'http://127.0.0.1:9' });
    const { status, headers, body } = await exchange(`${proxy}/path`);
    expect(status).toBe(504);
    expect(headers).not.toHaveProperty('content-type');
    expect(body).toBe(`Error occurred while trying to proxy: ${proxy.replace('http://', '')}/path`);
  });

  it('HPM defect that is worked around: replaces the Vary, CORS and cookie headers that the app has set', async () => {
    const { url } = await recorder((_req, res) => {
      res.writeHead(200, { vary: 'accept', 'access-control-allow-origin': '*', 'set-cookie': 'theirs=1' }).end();
    });
    const { url: proxy } = await hpmApp({ target: url }, (app) =>
      app.use((_req, res, next) => {
        res.vary('origin').cookie('own', '1').setHeader('access-control-allow-origin', 'https://app.test');
        next();
      }),
    );
    const { headers } = await exchange(proxy);
    expect(headers).toMatchObject({ vary: 'accept', 'access-control-allow-origin': '*', 'set-cookie': ['theirs=1'] });
  });

  it('HPM defect that is worked around: withholds the head until the body begins', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    });
    let copied = false;
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyRes: (proxyRes) => {
          proxyRes.once('resume', () => {
            copied = true;
          });
        },
      },
    });
    const client = http.get(proxy, { agent: false });
    const heard = jest.fn();
    client.on('response', heard);
    await until(() => copied);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(heard).not.toHaveBeenCalled();
    client.on('error', () => {}).destroy();
  });

  it('HPM defect that is worked around: forwards neither Early Hints nor trailers that were announced to it in HTTP', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeEarlyHints({ link: '</a.css>; rel=preload' });
      res.writeHead(200, { trailer: 'x-sum' });
      res.write('body');
      res.addTrailers({ 'x-sum': '1' });
      res.end();
    });
    const { url: proxy } = await hpmApp({ target: url });
    const information = jest.fn();
    const client = http.get(proxy, { agent: false });
    client.on('information', information);
    const [response] = (await once(client, 'response')) as [IncomingMessage];
    await readAll(response);
    expect(information).not.toHaveBeenCalled();
    expect(response.trailers).toEqual({});
  });

  it('HPM defect that is worked around: leaves a request whose body was parsed waiting', async () => {
    const { url } = await recorder();
    const { url: proxy } = await hpmApp({ target: url }, (app) => app.use(express.json()));
    let answered = false;
    const client = http.request(proxy, {
      agent: false,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    client.on('response', () => {
      answered = true;
    });
    client.on('error', () => {}).end('{"a":1}');
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(answered).toBe(false);
    client.destroy();
  });

  it('HPM defect that is worked around: never sends a POST with a body where there is `forward`, too', async () => {
    const copy = await recorder();
    const main = await recorder();
    const { url: proxy } = await hpmApp({ target: main.url, forward: copy.url });
    const client = http.request(proxy, { agent: false, method: 'POST' });
    client.on('error', () => {}).end('body');
    await until(() => copy.received.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(main.received).toEqual([]);
    client.destroy();
  });

  it('HPM defect that is worked around: ignores prependPath: false', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({ target: `${url}/base`, prependPath: false });
    await exchange(`${proxy}/path`);
    expect(received[0]?.url).toBe('/base/path');
  });

  it('HPM defect that is worked around: carries an Authorization of `headers` in capitals to another host', async () => {
    const other = await recorder();
    const { url } = await recorder((_req, res) => res.writeHead(302, { location: other.url }).end());
    const { url: proxy } = await hpmApp({ target: url, followRedirects: true, headers: { Authorization: 'Bearer k' } });
    await exchange(proxy);
    expect(other.received[0]?.headers.authorization).toBe('Bearer k');
  });

  it('HPM defect that is worked around: gives an HTTP/1.0 client a clean end for a body that was cut', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', () => socket.destroy());
    });
    const { port } = await hpmApp({ target: url });
    const { text, reset } = await rawExchange(port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect(text).toMatch(/hello/);
    expect(reset).toBe(false);
  });
});
