import { once } from 'node:events';
import http, { type IncomingMessage, type InformationEvent, type RequestListener } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import cors from 'cors';
import type { Express } from 'express';
import { SseProxyError, type SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { exchange, readAll, request } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream, recorder, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const SENT = {
  accept: '*/*',
  cookie: 'session=1',
  origin: 'https://app.example',
  referer: 'https://app.example/chat',
  forwarded: 'for=10.0.0.1',
  via: '1.1 edge',
  'x-forwarded-for': '10.0.0.1',
  'x-forwarded-host': 'app.example',
  'x-real-ip': '10.0.0.1',
  'cf-connecting-ip': '10.0.0.1',
  'x-tenant': 'acme',
};

/** The trace of a client, in the headers of all who have some. */
const TRACE = {
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'rojo=00f067aa0ba902b7',
  baggage: 'userId=alice',
  b3: '80f198ee56343ba8-e457b5a2e4d86bd1-1',
  'x-b3-traceid': '80f198ee56343ba8',
  'uber-trace-id': '1:2:0:1',
  'uberctx-user': 'alice',
  'x-amzn-trace-id': 'Root=1-5759e988-bd862e3fe1be46a994272793',
  'x-cloud-trace-context': '105445aa7843bc8bf206b12000100000/1;o=1',
  'x-datadog-trace-id': '1234',
  'sentry-trace': '771a43a4192642f0b136d5159a501700-a',
};

/** The fields that an upstream gets of a request with {@link SENT}. */
async function sent(
  options: SseProxyOptions,
  isProvider = true,
  headers: Record<string, string> = SENT,
): Promise<Record<string, unknown>> {
  const { url, received } = await recorder();
  const provider = openai({ target: url, apiKey: 'sk-servers' });
  const proxy = await proxyApp({ ...(isProvider ? { provider } : { target: url }), ...options });
  await readAll(await request(proxy.url, { headers }));
  const { host: _host, connection: _connection, 'accept-encoding': _coding, ...fields } = received[0]?.headers ?? {};
  return fields;
}

describe('the fields of a request', () => {
  it("header policy: request headers to a provider are without the app's, its visitors' and the proxies' in front", async () => {
    expect(await sent({})).toEqual({ accept: '*/*', 'x-tenant': 'acme', authorization: 'Bearer sk-servers' });
  });

  it('header policy: request headers to a target without a provider pass', async () => {
    expect(await sent({}, false)).toEqual(SENT);
  });

  it("header policy: a caller's trace context and baggage do not reach a provider", async () => {
    const authorization = 'Bearer sk-servers';
    expect(await sent({}, true, { ...TRACE, accept: '*/*' })).toEqual({ accept: '*/*', authorization });
  });

  it("header policy: a caller's trace context and baggage do not reach a provider that is sent the caller's own key", async () => {
    const provider = openai({ target: 'http://127.0.0.1:2', apiKey: false });
    expect(await sent({ provider }, false, { ...TRACE, authorization: 'Bearer sk-callers' })).toEqual({
      authorization: 'Bearer sk-callers',
    });
  });

  it("header policy: a caller's trace context and baggage reach a target without a provider", async () => {
    expect(await sent({}, false, TRACE)).toEqual(TRACE);
  });

  it("header policy: a caller's trace context reaches a provider where `pass` says so", async () => {
    const { traceparent, tracestate } = TRACE;
    expect(await sent({ requestHeaders: { pass: ['trace*'] } }, true, TRACE)).toEqual({
      traceparent,
      tracestate,
      authorization: 'Bearer sk-servers',
    });
  });

  it("header policy: the app's own trace context reaches a provider, in the place of the caller's", async () => {
    const own = '00-11111111111111111111111111111111-2222222222222222-01';
    const options: SseProxyOptions = {
      requestHeaders: { set: { traceparent: () => own } },
      on: { proxyReq: (proxyReq) => void proxyReq.setHeader('baggage', 'tenant=1') },
    };
    expect(await sent(options, true, TRACE)).toEqual({
      traceparent: own,
      baggage: 'tenant=1',
      authorization: 'Bearer sk-servers',
    });
  });

  it('header policy: request headers are as the policy says', async () => {
    const requestHeaders: SseProxyOptions['requestHeaders'] = {
      pass: ['origin', 'x-forwarded-*'],
      remove: [/^x-tenant$/, 'X-Forwarded-Host'],
      set: { 'X-Gateway': 'g1', 'x-path': ({ path }) => path, accept: 'text/event-stream', 'x-none': () => undefined },
    };
    expect(await sent({ requestHeaders })).toEqual({
      accept: 'text/event-stream',
      authorization: 'Bearer sk-servers',
      origin: SENT.origin,
      'x-forwarded-for': SENT['x-forwarded-for'],
      'x-gateway': 'g1',
      'x-path': '/',
    });
  });

  it('header policy: request headers may be removed and set without a provider, too', async () => {
    const { cookie: _cookie, ...others } = SENT;
    expect(await sent({ requestHeaders: { remove: ['cookie'], set: { 'x-a': '1' } } }, false)).toEqual({
      ...others,
      'x-a': '1',
    });
  });

  it('header policy: request headers tell of the way where `xfwd` is asked for', async () => {
    expect(await sent({ xfwd: true })).toMatchObject({ 'x-forwarded-for': '10.0.0.1, 127.0.0.1' });
  });

  it('header policy: request headers that cannot be said fail the request, and nothing is sent', async () => {
    const { url, received } = await recorder();
    const cause = new Error('no tenant');
    const set = {
      'x-a': () => {
        throw cause;
      },
    };
    const proxy = await proxyApp({ target: url, requestHeaders: { set } });
    expect(await exchange(proxy.url)).toMatchObject({ status: 500 });
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED', cause } });
    expect(received).toEqual([]);
  });

  it('header policy: request headers are right again with each attempt', async () => {
    let asked = 0;
    const { url, received } = await recorder((_req, res) => {
      asked += 1;
      res.writeHead(asked === 1 ? 503 : 200).end();
    });
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: 'sk-servers' }),
      retry: { minTimeout: 1 },
      requestHeaders: { set: { 'x-attempt': ({ attempts }) => String(attempts.length) } },
    });
    await exchange(proxy.url, { headers: SENT });
    expect(received.map(({ headers }) => [headers['x-attempt'], headers.cookie])).toEqual([
      ['0', undefined],
      ['1', undefined],
    ]);
  });
});

const ANSWERED = {
  'content-type': 'application/json',
  'x-request-id': 'req_1',
  'retry-after': '7',
  'x-should-retry': 'false',
  'openai-processing-ms': '12',
  'openai-organization': 'org-secret',
  'x-ratelimit-remaining-tokens': '10',
  'set-cookie': ['__cf_bm=1', '_cfuvid=2'],
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'x-request-id',
  'strict-transport-security': 'max-age=1',
  'clear-site-data': '"*"',
  'alt-svc': 'h3=":443"',
  server: 'cloudflare',
  'cf-ray': '1',
  via: '1.1 google',
};

/** The fields that a client gets of an answer with {@link ANSWERED}. */
async function answered(
  options: SseProxyOptions,
  { isProvider = true, before }: { isProvider?: boolean; before?: (app: Express) => void } = {},
): Promise<Record<string, unknown>> {
  const answer: RequestListener = (_req, res) => {
    res.sendDate = false;
    res.writeHead(200, ANSWERED).end('{}');
  };
  const { url } = await upstream(answer);
  const provider = openai({ target: url, apiKey: 'sk-servers' });
  const proxy = await proxyApp({ ...(isProvider ? { provider } : { target: url }), ...options }, (app) => {
    app.disable('x-powered-by');
    before?.(app);
  });
  const { headers } = await exchange(proxy.url, { headers: { origin: 'https://app.example' } });
  const { connection: _connection, date: _date, 'transfer-encoding': _coding, ...others } = headers;
  return others;
}

const KEPT = {
  'content-type': 'application/json',
  'x-request-id': 'req_1',
  'retry-after': '7',
  'x-should-retry': 'false',
  'openai-processing-ms': '12',
};

describe('the fields of a response', () => {
  it("header policy: response headers of a provider are without the account's and its site's", async () => {
    expect(await answered({})).toEqual(KEPT);
  });

  it('header policy: response headers of a target without a provider pass', async () => {
    expect(await answered({}, { isProvider: false })).toEqual(ANSWERED);
  });

  it("header policy: response headers do not replace the app's CORS and cookies", async () => {
    const before = (app: Express): void => {
      app.use(cors({ origin: 'https://app.example', credentials: true }));
      app.use((_req, res, next) => {
        res.cookie('session', '1');
        next();
      });
    };
    expect(await answered({}, { before })).toEqual({
      ...KEPT,
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-credentials': 'true',
      'set-cookie': ['session=1; Path=/'],
      vary: 'Origin',
    });
  });

  it('header policy: response headers are as the policy says', async () => {
    const responseHeaders: SseProxyOptions['responseHeaders'] = {
      pass: ['*ratelimit*', 'Via'],
      remove: [/^openai-/],
      set: { 'X-Gateway': 'g1', 'x-target': ({ target }) => target?.slice(0, 7) },
    };
    const { 'openai-processing-ms': _removed, ...kept } = KEPT;
    expect(await answered({ responseHeaders })).toEqual({
      ...kept,
      'x-ratelimit-remaining-tokens': '10',
      via: '1.1 google',
      'x-gateway': 'g1',
      'x-target': 'http://',
    });
  });

  it('header policy: response headers are seen by rewriteHeaders as they will be sent', async () => {
    const seen: object[] = [];
    const rewriteHeaders: SseProxyOptions['rewriteHeaders'] = ({ headers }) => void seen.push({ ...headers });
    await answered({ responseHeaders: { set: { 'x-gateway': 'g1' } }, rewriteHeaders });
    expect(seen[0]).toMatchObject({ ...KEPT, 'x-gateway': 'g1' });
  });

  it('header policy: response headers of an answer of our own have what the policy sets', async () => {
    const { url, server } = await upstream(() => {});
    server.close();
    const proxy = await proxyApp({ target: url, responseHeaders: { set: { 'x-gateway': 'g1' } } });
    expect(await exchange(proxy.url)).toMatchObject({ status: 502, headers: { 'x-gateway': 'g1' } });
  });

  it.each([false, true])(
    'header policy: response headers that cannot be said make it a 502, also where there was to be one (%s)',
    async (isDead) => {
      const { url, server } = await upstream((_req, res) => res.end('secret'));
      if (isDead) server.close();
      const set = {
        'x-a': () => {
          throw new Error('no');
        },
      };
      const proxy = await proxyApp({ target: url, responseHeaders: { set } });
      const { status, headers, body } = await exchange(proxy.url);
      expect([status, headers['x-a'], JSON.parse(body).error.code]).toEqual([
        502,
        undefined,
        isDead ? 'UPSTREAM_UNREACHABLE' : 'HOOK_FAILED',
      ]);
      expect((await proxy.summary()).error).toBeInstanceOf(SseProxyError);
    },
  );

  it('header policy: response headers of 103 Early Hints are under the same policy', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nSet-Cookie: a=1\r\nX-A: 1\r\nServer: s\r\n\r\n',
      );
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
    const provider = openai({ target: url, apiKey: 'sk-servers' });
    const proxy = await proxyApp({ provider, responseHeaders: { remove: ['x-a'] } });
    const req = http.get(proxy.url, { agent: false });
    const [[info], [response]] = (await Promise.all([once(req, 'information'), once(req, 'response')])) as [
      [InformationEvent],
      [IncomingMessage],
    ];
    expect({ ...info.headers }).toEqual({ link: '</a>; rel=preload' });
    expect(response.statusCode).toBe(200);
  });
});
