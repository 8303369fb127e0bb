import { once } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import type { Express, Response } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { closing } from '../../support/clients/http2.js';
import { answersIn, rawClient } from '../../support/clients/raw.js';
import { http2Proxy, proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** What a client would take for an answer of its own where it stands behind another. */
const FORGED = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';

/** Upstream: bodies in several reads, each of which looks like an answer; and one that is none. */
async function forger() {
  return upstream(async (req, res) => {
    if (req.url === '/next') return res.end('the answer to the next request');
    if (req.url === '/redirect') return res.writeHead(302, { location: '/chunked' }).end();
    const sized = req.url === '/sized';
    res.writeHead(200, { 'content-type': 'text/plain', ...(sized && { 'content-length': 3 * FORGED.length }) });
    for (let i = 0; i < 3; i += 1) {
      await new Promise((resolve) => res.write(FORGED, resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    return res.end();
  });
}

interface Case {
  name: string;
  method?: string;
  path?: string;
  options: SseProxyOptions;
  before?: (app: Express) => void;
  status?: number;
}

const asGet = (app: Express) =>
  void app.use((req, _res, next) => {
    req.method = 'GET';
    next();
  });

const WITHOUT_CONTENT: Case[] = [
  {
    name: 'a HEAD that is redirected to a body',
    method: 'HEAD',
    path: '/redirect',
    options: { followRedirects: true },
  },
  { name: 'a HEAD that middleware has made a GET', method: 'HEAD', options: {}, before: asGet },
  { name: 'the same with a length', method: 'HEAD', path: '/sized', options: {}, before: asGet },
  ...[204, 304].flatMap((status): Case[] => [
    {
      name: `a ${status} of rewriteHeaders`,
      options: {
        rewriteHeaders: (head, { path }) => {
          if (path !== '/next') head.statusCode = status;
        },
      },
      status,
    },
    {
      name: `a ${status} of on.proxyRes`,
      path: '/sized',
      options: {
        on: {
          proxyRes: (proxyRes, req) => {
            if (req.url !== '/next') proxyRes.statusCode = status;
          },
        },
      },
      status,
    },
    {
      name: `an event stream that becomes a ${status}, with its events observed and transformed`,
      options: {
        isEventStream: ({ headers }) => headers['content-length'] === undefined,
        onEvent() {},
        transformEvent: (event) => event,
        heartbeat: { interval: 1 },
        rewriteHeaders: (head, { path }) => {
          if (path !== '/next') head.statusCode = status;
        },
      },
      status,
    },
  ]),
];

describe('nothing is written behind the head of an answer without content (RFC 9110 6.4.1)', () => {
  it.each(WITHOUT_CONTENT)(
    'response framing: nothing behind an answer without content, HTTP/1.1: $name',
    async ({ method = 'GET', path = '/chunked', options, before, status }) => {
      const { url } = await forger();
      const proxy = await proxyApp({ target: url, ...options }, before);
      const client = await rawClient(proxy.port);
      client.socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.until('\r\n\r\n');
      const summary = await proxy.summary();
      client.socket.write('GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const { text } = await client.end();
      const [first, second = '', ...rest] = text.split('\r\n\r\n');
      expect(first).toMatch(new RegExp(`^HTTP/1.1 ${status ?? 200} [^\r]*\r\n`));
      expect(second).toMatch(/^HTTP\/1.1 200 OK\r\n/);
      expect(rest.join('\r\n\r\n')).toContain('the answer to the next request');
      expect(text).not.toContain('forged');
      expect(summary).toMatchObject({ outcome: 'completed', statusCode: status ?? 200, bytes: 0 });
    },
  );

  it.each(WITHOUT_CONTENT.filter(({ before }) => before === undefined))(
    'response framing: nothing behind an answer without content, HTTP/2: $name',
    async ({ method = 'GET', path = '/chunked', options, status }) => {
      const { url } = await forger();
      const { session, summary } = await http2Proxy({ target: url, ...options });
      const stream = session.request({ ':method': method, ':path': path });
      const [headers] = await once(stream, 'response');
      expect(headers[':status']).toBe(status ?? 200);
      expect(await closing(stream.resume())).toEqual({ body: '', code: 0 });
      expect(await summary).toMatchObject({ outcome: 'completed', bytes: 0 });
    },
  );
});

it('response framing: nothing is read on of an answer without content whose client has left (onClientClose: continue)', async () => {
  const { url } = await upstream(async (_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
  });
  const proxy = await proxyApp({
    target: url,
    onClientClose: 'continue',
    rewriteHeaders: (head) => {
      head.statusCode = 204;
    },
  });
  const client = await rawClient(proxy.port);
  client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.until('\r\n\r\n');
  client.socket.destroy();
  await until(() => proxy.proxy.active === 0);
  expect(proxy.summaries).toHaveLength(1);
});

/** What hooks may say of a length, or of a transfer coding, that is not the body's. */
const MISFRAMED: { name: string; path: string; headers: Record<string, string | string[]> }[] = [
  { name: 'a length that is too small', path: '/chunked', headers: { 'content-length': '5' } },
  { name: 'the same in the place of the right one', path: '/sized', headers: { 'content-length': '5' } },
  { name: 'a length of 0', path: '/chunked', headers: { 'content-length': '0' } },
  { name: 'a length that is too large', path: '/chunked', headers: { 'content-length': '10000' } },
  { name: 'the same in the place of the right one', path: '/sized', headers: { 'content-length': '10000' } },
  { name: 'a length that is none', path: '/chunked', headers: { 'content-length': 'many' } },
  { name: 'two lengths', path: '/sized', headers: { 'content-length': ['5', '141'] } },
  { name: 'a transfer coding that nobody applies', path: '/chunked', headers: { 'transfer-encoding': 'gzip' } },
  {
    name: 'a transfer coding beside a length',
    path: '/sized',
    headers: { 'transfer-encoding': 'chunked', 'content-length': '5' },
  },
  // Names in the case in which hooks write them.
  { name: 'a Content-Length that is too small', path: '/sized', headers: { 'Content-Length': '5' } },
  { name: 'a Content-Length that is none', path: '/chunked', headers: { 'Content-Length': 'many' } },
  { name: 'a Transfer-Encoding that is none', path: '/chunked', headers: { 'Transfer-Encoding': 'identity' } },
];

const asSaid = (headers: Record<string, string | string[]>): SseProxyOptions => ({
  rewriteHeaders: (head, { path }) => {
    if (path !== '/next') Object.assign(head.headers, headers);
  },
});

describe('an answer ends where its head says, or its connection does', () => {
  it.each(MISFRAMED)(
    'response framing: an answer over HTTP/1.1 ends where its head says, with $name that rewriteHeaders has set on $path',
    async ({ path, headers }) => {
      const { url } = await forger();
      const proxy = await proxyApp({ target: url, ...asSaid(headers) });
      const client = await rawClient(proxy.port);
      client.socket.write(
        `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      );
      const { text } = await client.end();
      const end = text.indexOf('\r\n\r\n') + 4;
      const head = text.slice(0, end).toLowerCase();
      const body = text.slice(end);
      const length = /\r\ncontent-length: (.*)\r\n/.exec(head)?.[1];
      const whole = FORGED.repeat(3);
      if (length === undefined) {
        expect(head).toContain('transfer-encoding: chunked\r\n');
        expect(body.slice(body.indexOf('\r\n0\r\n\r\n') + 7)).toMatch(
          /^HTTP\/1.1 200 OK\r\n[\s\S]*the answer to the next request/,
        );
        expect((await proxy.summary()).outcome).toBe('completed');
      } else {
        expect(head).not.toContain('transfer-encoding');
        // Cut: there is nothing that could be taken for another answer.
        expect(whole.slice(0, Number(length))).toContain(body);
        const code = Number(length) < whole.length ? 'HOOK_FAILED' : 'UPSTREAM_TRUNCATED';
        expect((await proxy.summary()).error?.code).toBe(code);
      }
    },
  );

  it.each(MISFRAMED)(
    'response framing: an answer over HTTP/2 ends where its head says, with $name that rewriteHeaders has set on $path',
    async ({ path, headers }) => {
      const { url } = await forger();
      const { session, summary } = await http2Proxy({ target: url, ...asSaid(headers) });
      const stream = session.request({ ':path': path });
      const { body, code } = await closing(stream);
      expect(FORGED.repeat(3)).toContain(body);
      const { outcome } = await summary;
      if (code !== 0) expect(['failed', 'upstream-truncated']).toContain(outcome);
      else expect(outcome).toBe('completed');
      if (code === 0) expect(body).toBe(FORGED.repeat(3));
    },
  );

  it.each([
    { 'content-length': '3', 'transfer-encoding': 'gzip' },
    { 'Content-Length': '3', 'Transfer-Encoding': 'gzip' },
  ])(
    "response framing: an error of the proxy's own has the length of its body, whatever rewriteHeaders says: %j",
    async (said) => {
      const proxy = await proxyApp({
        target: 'http://127.0.0.1:1',
        rewriteHeaders: ({ headers }) => Object.assign(headers, said),
      });
      const client = await rawClient(proxy.port);
      client.socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const { text } = await client.end();
      const [head = '', body = ''] = text.split('\r\n\r\n');
      expect(head).toMatch(new RegExp(`content-length: ${body.length}(\r\n|$)`, 'i'));
      expect(head).not.toMatch(/transfer-encoding/i);
      expect(JSON.parse(body)).toHaveProperty('error.code', 'UPSTREAM_UNREACHABLE');
    },
  );

  it('response framing: heartbeats keep out of a body with a length that rewriteHeaders has promised', async () => {
    const events = 'data: 1\n\ndata: 2\n\n';
    const { url } = await upstream(async (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(events.slice(0, 9));
      await new Promise((resolve) => setTimeout(resolve, 20));
      res.end(events.slice(9));
    });
    const proxy = await proxyApp({
      target: url,
      heartbeat: { interval: 1 },
      rewriteHeaders: ({ headers }) => Object.assign(headers, { 'content-length': String(events.length) }),
    });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const { text } = await client.end();
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe(events);
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe("guards of Node's own that an app has turned on", () => {
  const strict = (app: Express) =>
    void app.use((_req, res, next) => {
      res.strictContentLength = true;
      next();
    });

  it.each(['/sized', '/chunked'])(
    "response framing, Node's guards: strictContentLength: an answer in several reads is whole (%s)",
    async (path) => {
      const { url } = await forger();
      const proxy = await proxyApp({ target: url }, strict);
      const client = await rawClient(proxy.port);
      client.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const { text } = await client.end();
      expect(text.split('forged')).toHaveLength(4);
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: 3 * FORGED.length });
    },
  );

  it.each(MISFRAMED)(
    "response framing, Node's guards: strictContentLength: nothing ends the process with $name on $path",
    async ({ path, headers }) => {
      const { url } = await forger();
      const proxy = await proxyApp({ target: url, ...asSaid(headers) }, strict);
      const client = await rawClient(proxy.port);
      client.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      await client.end();
      expect(['completed', 'failed', 'upstream-truncated']).toContain((await proxy.summary()).outcome);
      expect(proxy.proxy.active).toBe(0);
    },
  );

  it.each([
    ['a HEAD', 'HEAD', '/next'],
    ['a HEAD that fails', 'HEAD', '/fail'],
    ['a 204', 'GET', '/204'],
  ])("response framing, Node's guards: rejectNonStandardBodyWrites: %s is answered", async (_name, method, path) => {
    const { url } = await upstream((req, res) => {
      if (req.url === '/fail') req.socket.destroy();
      else res.end('a body');
    });
    const proxy = await proxyApp(
      {
        target: url,
        rewriteHeaders: (head) => {
          if (path === '/204') head.statusCode = 204;
        },
      },
      (app) =>
        app.use((_req, res, next) => {
          // As the server's option of this name has it.
          const symbol = Object.getOwnPropertySymbols(res).find((key) =>
            String(key).includes('ejectNonStandardBodyWrites'),
          );
          if (symbol !== undefined) Object.assign(res, { [symbol]: true });
          next();
        }),
    );
    const client = await rawClient(proxy.port);
    client.socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const { text } = await client.end();
    expect(text).toMatch(
      path === '/fail' ? /^HTTP\/1.1 502 / : path === '/204' ? /^HTTP\/1.1 204 / : /^HTTP\/1.1 200 /,
    );
    expect(text).toMatch(/\r\n\r\n$/);
    await until(() => proxy.proxy.active === 0);
  });

  it("response framing, Node's guards: a response that is corked by the app keeps its order", async () => {
    const { url } = await forger();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use((_req, res, next) => {
        res.cork();
        next();
      }),
    );
    const client = await rawClient(proxy.port);
    client.socket.write('GET /chunked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const { text } = await client.end();
    expect(answersIn(text)).toEqual([{ informational: [], status: 200, body: FORGED.repeat(3) }]);
  });
});

describe("other people's methods on the response", () => {
  const BROKEN: [name: string, break_: (res: Response) => void][] = [
    [
      'a `write` that throws',
      (res) => {
        res.write = () => {
          throw new Error('no');
        };
      },
    ],
    [
      'an `end` that throws',
      (res) => {
        res.end = () => {
          throw new Error('no');
        };
      },
    ],
    [
      'a `flush` that throws',
      (res) =>
        void Object.assign(res, {
          flush() {
            throw new Error('no');
          },
        }),
    ],
    [
      'a `flushHeaders` that throws',
      (res) => {
        res.flushHeaders = () => {
          throw new Error('no');
        };
      },
    ],
  ];

  it.each(BROKEN)(
    'response framing, wrapped methods: %s fails its exchange, and not the process',
    async (_name, break_) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.flushHeaders();
        // The head goes in front, by itself.
        setTimeout(() => res.end('data: 1\n\n'), 20);
      });
      const proxy = await proxyApp({ target: url, heartbeat: { interval: 1 } }, (app) =>
        app.use((_req, res, next) => {
          break_(res);
          next();
        }),
      );
      const client = await rawClient(proxy.port);
      client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.end();
      expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED' } });
      expect(proxy.proxy.active).toBe(0);
    },
  );

  it.each([undefined, null])(
    'response framing, wrapped methods: a `write` that returns %s is not waited for',
    async (nothing) => {
      const { url } = await forger();
      const proxy = await proxyApp({ target: url }, (app) =>
        app.use((_req, res, next) => {
          const { write } = res;
          res.write = ((...args: Parameters<typeof write>) => {
            write.apply(res, args);
            return nothing;
          }) as unknown as typeof write;
          next();
        }),
      );
      const client = await rawClient(proxy.port);
      client.socket.write('GET /sized HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const { text } = await client.end();
      expect(text.split('forged')).toHaveLength(4);
    },
  );
});
