/** `router` and `pathRewrite` are handed the options of their one request, and may change any of them for it, as in HPM. */
import fs from 'node:fs';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import type { Options } from 'http-proxy-middleware';
import type { SseProxyOptions } from '../../lib/index.js';
import { openai } from '../../lib/providers/index.js';
import { exchange, openRequest, readAll, readUntilCut, request } from '../support/clients/http.js';
import { closing } from '../support/clients/http2.js';
import { hpmApp, http2Proxy, proxyApp } from '../support/servers/proxies.js';
import { type RecordedRequest, recorder, secureUpstream, upstream } from '../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { closed, until } from '../support/watch/wait.js';

closeAndWatchEachTest();

/** What a hook does to the options of its request. */
type Change = (options: Options) => void;

const JSON_TYPE = { 'content-type': 'application/json' };

/** The hooks that are handed the options, each with one that changes them. */
const HOOKS: [string, (change: Change) => SseProxyOptions][] = [
  ['router', (change) => ({ router: (_req, _res, options) => change(options as Options) as undefined as never })],
  ['an async router', (change) => ({ router: async (_req, _res, options) => change(options as Options) as never })],
  ['pathRewrite', (change) => ({ pathRewrite: (_path, _req, _res, options) => void change(options as Options) })],
];

/** Redirects once; the second answer says what came. */
const redirecting: RequestListener = (req, res) => {
  if (req.url === '/there') res.end('there');
  else res.writeHead(307, { location: '/there', 'set-cookie': 'a=b; Domain=upstream.example' }).end('redirected');
};

const summaryOf = ({ method, url, headers, body }: RecordedRequest): object => {
  const { host: _host, connection: _connection, ...rest } = headers;
  return { method, url, headers: rest, body: body.toString() };
};

const setFailing: Change = (options) => {
  options.buffer = fs.createReadStream('/there/is/none');
};

interface Case {
  change: Change;
  request?: http.RequestOptions & { body?: string };
  /** What must have become of it. */
  expected: { status?: number; body?: string; received?: object[]; headers?: object };
}

const there = { status: 200, body: 'there' };

const CASES: Record<string, Case> = {
  'followRedirects, GET': {
    change: (options) => {
      options.followRedirects = true;
    },
    expected: { ...there, received: [{ method: 'GET' }, { method: 'GET', url: '/there' }] },
  },
  'followRedirects, a number': {
    change: (options) => {
      options.followRedirects = 1;
    },
    expected: there,
  },
  'followRedirects, POST with a body': {
    change: (options) => {
      options.followRedirects = true;
    },
    request: { method: 'POST', body: 'the body' },
    expected: { ...there, received: [{ body: 'the body' }, { method: 'POST', url: '/there', body: 'the body' }] },
  },
  'followRedirects, POST with an empty body': {
    change: (options) => {
      options.followRedirects = true;
    },
    request: { method: 'POST', headers: { 'content-length': '0' } },
    expected: { ...there, received: [{ body: '' }, { method: 'POST', url: '/there', body: '' }] },
  },
  'followRedirects, DELETE': {
    change: (options) => {
      options.followRedirects = true;
    },
    request: { method: 'DELETE' },
    expected: { ...there, received: [{ method: 'DELETE' }, { method: 'DELETE' }] },
  },
  headers: {
    change: (options) => {
      options.headers = { 'X-Own': 'one', 'X-List': ['1', '2'] as unknown as string };
    },
    expected: { received: [{ headers: { 'x-own': 'one', 'x-list': '1, 2' } }] },
  },
  auth: {
    change: (options) => {
      options.auth = 'user:word';
    },
    expected: { received: [{ headers: { authorization: `Basic ${btoa('user:word')}` } }] },
  },
  'another method': {
    change: (options) => {
      Object.assign(options, { method: 'PUT' });
    },
    expected: { received: [{ method: 'PUT' }] },
  },
  ignorePath: {
    change: (options) => {
      options.ignorePath = true;
    },
    expected: { received: [{ url: '/' }] },
  },
  toProxy: {
    change: (options) => {
      options.toProxy = true;
    },
    expected: { received: [{ url: '//a?b=c' }] },
  },
  cookieDomainRewrite: {
    change: (options) => {
      options.cookieDomainRewrite = 'client.example';
    },
    expected: { headers: { 'set-cookie': ['a=b; Domain=client.example'] } },
  },
  'hostRewrite and protocolRewrite': {
    change: (options) => {
      options.hostRewrite = 'client.example';
      options.protocolRewrite = 'https';
    },
    expected: {},
  },
};

describe.each(HOOKS)('%s may set, for one request,', (_name, hook) => {
  it.each(Object.entries(CASES))(
    'HPM options per request: a hook may set %s',
    async (_option, { change, request: asked = {}, expected }) => {
      const { url, received } = await recorder(redirecting);
      const options = { target: url, changeOrigin: true, ...hook(change) };
      const ofReference = await exchange(`${(await hpmApp(options as Options)).url}/a?b=c`, asked);
      const reference = received.splice(0).map(summaryOf);
      const proxy = await proxyApp(options);
      const answer = await exchange(`${proxy.url}/a?b=c`, asked);
      const { received: wanted, ...rest } = expected;
      expect(answer).toMatchObject(rest);
      if (wanted !== undefined) expect(received.map(summaryOf)).toMatchObject(wanted);
      expect([answer.status, answer.body, answer.headers['set-cookie'], answer.headers.location]).toEqual([
        ofReference.status,
        ofReference.body,
        ofReference.headers['set-cookie'],
        ofReference.headers.location,
      ]);
      expect(received.map(summaryOf)).toEqual(reference);
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: answer.status });
    },
  );

  it('HPM options per request: a hook may set followRedirects, over HTTP/2', async () => {
    const { url, received } = await recorder(redirecting);
    const { session, summary } = await http2Proxy({
      target: url,
      ...hook((options) => {
        options.followRedirects = true;
      }),
    });
    for (const headers of [{}, { ':method': 'POST' }]) {
      const stream = session.request({ ':path': '/a', ...headers }, { endStream: true });
      expect((await closing(stream)).body).toBe('there');
    }
    const upload = session.request({ ':path': '/a', ':method': 'POST' });
    upload.end('the body');
    expect((await closing(upload)).body).toBe('there');
    expect(received.map(({ method, body }) => [method, body.toString()])).toEqual([
      ...[1, 2].map(() => ['GET', '']),
      ...[1, 2].map(() => ['POST', '']),
      ...[1, 2].map(() => ['POST', 'the body']),
    ]);
    expect((await summary).outcome).toBe('completed');
  });

  it('HPM options per request: a hook may set that redirects are not followed', async () => {
    const { url, received } = await recorder(redirecting);
    const proxy = await proxyApp({
      target: url,
      followRedirects: true,
      ...hook((options) => {
        options.followRedirects = false;
      }),
    });
    expect((await exchange(proxy.url, { method: 'POST', body: 'x' })).status).toBe(307);
    expect(received).toHaveLength(1);
  });

  it.each([{}, { followRedirects: true }])(
    'HPM options per request: a hook may set a buffer that fails, which ends one exchange only: %j',
    async (options) => {
      const { url } = await upstream((req, res) => void req.pipe(res));
      const proxy = await proxyApp({ target: url, ...options, ...hook(setFailing) });
      const response = await request(proxy.url, { method: 'POST', body: 'x' });
      expect(response.statusCode).toBe(500);
      await readAll(response);
      expect(await proxy.summary()).toMatchObject({
        outcome: 'failed',
        error: { code: 'PROXY_FAILED', cause: { code: 'ENOENT' } },
      });
    },
  );

  it.each([
    ['own', {}],
    [Buffer.from('own'), {}],
    [{ pipe() {} }, { followRedirects: true }],
  ])(
    'HPM options per request: a hook may set a buffer that is no stream, which ends one exchange only: %p %j',
    async (buffer, options) => {
      const { url } = await upstream((req, res) => void req.pipe(res));
      const set = hook((own) => void Object.assign(own, { buffer }));
      const proxy = await proxyApp({ target: url, ...options, ...set });
      const response = await request(proxy.url, { method: 'POST', body: 'x' });
      expect(response.statusCode).toBe(500);
      await readAll(response);
      expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'PROXY_FAILED' } });
    },
  );

  it('HPM options per request: a hook may set a buffer that has nothing but a pipe', async () => {
    const { url } = await upstream((req, res) => void req.pipe(res));
    const buffer = { pipe: (request: http.ClientRequest) => request.end('own') };
    const proxy = await proxyApp({ target: url, ...hook((options) => void Object.assign(options, { buffer })) });
    const response = await request(proxy.url, { method: 'POST', headers: { 'content-length': 3 }, body: 'x.y' });
    expect(String(await readAll(response))).toBe('own');
  });

  it('HPM options per request: a hook may set a buffer in the place of a body, which a provider does not edit', async () => {
    const { url, received } = await recorder();
    const own = '{"model":"own","stream":true}';
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: 'key', includeUsage: true }),
      ...hook((options) => {
        options.buffer = Readable.from([Buffer.from(own)]);
      }),
    });
    const body = '{"model":"the","stream":true}';
    await exchange(`${proxy.url}/v1/chat/completions`, { method: 'POST', headers: JSON_TYPE, body });
    expect(received.map((item) => item.body.toString())).toEqual([own]);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('HPM options per request: a hook may set selfHandleResponse', async () => {
    const { url } = await recorder((_req, res) => res.end('theirs'));
    const proxy = await proxyApp({
      target: url,
      timeouts: { headers: 200, idle: 200 },
      ...hook((options) => {
        options.selfHandleResponse = true;
      }),
      on: {
        proxyRes: (proxyRes, _req, res) => {
          void readAll(proxyRes).then((body) => res.writeHead(201).end(`mine: ${body}`));
        },
      },
    });
    expect(await exchange(proxy.url)).toMatchObject({ status: 201, body: 'mine: theirs' });
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 201 });
    expect(proxy.proxy.active).toBe(0);
  });

  it('HPM options per request: a hook may set that a response is not self-handled', async () => {
    const { url } = await recorder((_req, res) =>
      res.writeHead(200, { 'keep-alive': 'x', 'x-own': '1' }).end('theirs'),
    );
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      ...hook((options) => {
        options.selfHandleResponse = false;
      }),
    });
    const { status, body, headers } = await exchange(proxy.url);
    expect([status, body, headers['x-own'], headers['keep-alive']]).toEqual([200, 'theirs', '1', undefined]);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: 6 });
  });

  it.each([
    [true, false],
    [false, true],
  ])('HPM options per request: a hook may set xfwd: %p', async (isOn, before) => {
    const { url, received } = await recorder();
    const seen: unknown[] = [];
    const proxy = await proxyApp({
      target: url,
      xfwd: before,
      ...hook((options) => {
        seen.push(options.xfwd);
        options.xfwd = isOn;
      }),
    });
    await exchange(proxy.url);
    expect(seen).toEqual([before]);
    expect(received[0]?.headers['x-forwarded-for']).toBe(isOn ? '127.0.0.1' : undefined);
  });

  it('HPM options per request: a hook may set an agent, which may be the only way out, so that no other connection is tried', async () => {
    const { url, server } = await upstream((req, res) => {
      if (req.url === '/stale') req.socket.destroy();
      else res.end('ok');
    });
    const agent = new http.Agent({ keepAlive: true });
    let asked = 0;
    agent.createConnection = (
      (original) =>
      (...args: Parameters<typeof original>) => {
        asked += 1;
        return original.apply(agent, args);
      }
    )(agent.createConnection);
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.agent = agent;
      }),
    });
    let connections = 0;
    server.on('connection', () => {
      connections += 1;
    });
    await exchange(proxy.url);
    await exchange(`${proxy.url}/stale`);
    expect(asked).toBe(2);
    expect(connections).toBe(2);
    agent.destroy();
  });

  it('HPM options per request: a hook may set no agent at all', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.agent = false;
      }),
    });
    await exchange(proxy.url);
    await exchange(proxy.url);
    expect(received[0]?.clientPort).not.toBe(received[1]?.clientPort);
  });

  it('HPM options per request: a hook may set the target of a mirror', async () => {
    const mirror = await recorder();
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.forward = mirror.url;
      }),
    });
    await exchange(proxy.url);
    await exchange(proxy.url, { method: 'POST' });
    await exchange(proxy.url, { method: 'POST', body: 'x' });
    await until(() => mirror.received.length === 3);
    const bodies = [
      ['GET', ''],
      ['POST', ''],
      ['POST', 'x'],
    ];
    expect(received.map(({ method, body }) => [method, body.toString()])).toEqual(bodies);
    expect(mirror.received.map(({ method, body }) => [method, body.toString()]).sort()).toEqual(bodies);
  });

  it('HPM options per request: a hook may set how long the client may be silent, with one listener on its connection', async () => {
    const { url } = await upstream((req) => void req.resume());
    const listeners: number[] = [];
    const proxy = await proxyApp({
      target: url,
      timeout: 60_000,
      ...hook((options) => {
        expect(options.timeout).toBe(60_000);
        options.timeout = 100;
      }),
      on: { proxyReq: (_request, req) => void listeners.push(req.socket.listenerCount('timeout')) },
    });
    const req = openRequest(proxy.url);
    req.end();
    await closed(req);
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect(listeners).toEqual([1]);
  });

  it('HPM options per request: a hook may set proxyTimeout', async () => {
    const { url } = await upstream((req) => void req.resume());
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.proxyTimeout = 100;
      }),
    });
    expect((await exchange(proxy.url)).status).toBe(504);
  });

  it('HPM options per request: a hook may set secure: false', async () => {
    const { url } = await secureUpstream((_req, res) => res.end('secure'));
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.secure = false;
      }),
    });
    expect((await exchange(proxy.url)).body).toBe('secure');
  });

  it('HPM options per request: a hook may set changeOrigin: false', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.changeOrigin = false;
      }),
    });
    await exchange(proxy.url, { headers: { host: 'client.example' } });
    expect(received[0]?.headers.host).toBe('client.example');
  });

  it('HPM options per request: a hook may set preserveHeaderKeyCase', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'X-OWN': '1' }).end());
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.preserveHeaderKeyCase = true;
      }),
    });
    const response = await request(proxy.url);
    response.resume();
    expect(response.rawHeaders).toContain('X-OWN');
  });

  it('HPM options per request: a hook may set headers that another host is not told after a redirect, in whatever letter case', async () => {
    const other = await recorder();
    const { url } = await upstream((_req, res) => res.writeHead(302, { location: other.url }).end());
    const proxy = await proxyApp({
      target: url,
      ...hook((options) => {
        options.followRedirects = true;
        options.headers = { Authorization: 'Bearer secret', 'X-API-Key': 'secret', Cookie: 'secret' };
      }),
    });
    await exchange(proxy.url);
    expect(other.received).toHaveLength(1);
    expect(JSON.stringify(other.received[0]?.rawHeaders)).not.toContain('secret');
  });

  it.each([
    ['headers', { headers: { 'x-all': '1' } }],
    ['ssl', { ssl: {} }],
  ])(
    'HPM options per request: a hook may set what the next request does not have, in an object of the options: %s',
    async (_option, shared) => {
      const { url, received } = await recorder();
      let request = 0;
      const proxy = await proxyApp({
        target: url,
        ...shared,
        ...hook((options) => {
          request += 1;
          if (request > 1) return;
          options.auth = 'first:secret';
          if (options.headers) options.headers['x-secret'] = 'secret';
        }),
      });
      await exchange(proxy.url);
      await exchange(proxy.url);
      expect(received[0]?.headers.authorization).toBe(`Basic ${btoa('first:secret')}`);
      expect(received[1]?.headers).not.toHaveProperty('authorization');
      expect(received[1]?.headers).not.toHaveProperty('x-secret');
    },
  );
});

describe('on.proxyReq may still set', () => {
  it('HPM options per request: on.proxyReq may still set a buffer that fails, which ends one exchange only', async () => {
    const { url } = await upstream((req, res) => void req.pipe(res));
    const proxy = await proxyApp({
      target: url,
      on: { proxyReq: (_proxyReq, _req, _res, options) => setFailing(options as Options) },
    });
    const response = await request(proxy.url, { method: 'POST', body: 'x' });
    expect(response.statusCode).toBe(500);
    await readAll(response);
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { cause: { code: 'ENOENT' } } });
  });

  it('HPM options per request: on.proxyReq may still set selfHandleResponse', async () => {
    const { url } = await recorder((_req, res) => res.end('theirs'));
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyReq: (_request, _req, _res, options) => {
          options.selfHandleResponse = true;
        },
        proxyRes: (proxyRes, _req, res) => {
          proxyRes.resume();
          (res as ServerResponse).writeHead(202).end('mine');
        },
      },
    });
    expect(await exchange(proxy.url)).toMatchObject({ status: 202, body: 'mine' });
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('HPM options per request: on.proxyReq may still set a buffer, also where the body is lost', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp(
      {
        target: url,
        on: {
          proxyReq: (_request, _req, _res, options) => {
            options.buffer = Readable.from([Buffer.from('other')]);
          },
        },
      },
      (app) =>
        app.use(async (req, _res, next) => {
          await readAll(req);
          next();
        }),
    );
    expect((await exchange(proxy.url, { method: 'POST', body: 'body.' })).status).toBe(200);
    expect(String(received[0]?.body)).toBe('other');
  });
});

it('HPM options per request: a response that was handed over for one request ends with the upstream’s', async () => {
  const { url } = await upstream((_req, res) => {
    res.writeHead(200, { 'content-length': '10' });
    res.write('part');
    setImmediate(() => res.destroy());
  });
  const proxy = await proxyApp({
    target: url,
    pathRewrite: (_path, _req, _res, options) => {
      (options as Options).selfHandleResponse = true;
    },
    on: { proxyRes: (proxyRes: IncomingMessage, _req, res) => void proxyRes.pipe(res as ServerResponse) },
  });
  expect(await readUntilCut(await request(proxy.url))).toEqual({ body: Buffer.from('part'), cut: true });
  expect((await proxy.summary()).outcome).toBe('upstream-truncated');
});
