/** A request that is sent once more, with or without a body, is framed as the first one was, and ends. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { describe, expect, it, jest } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { exchange, openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { rawExchange } from '../../support/clients/raw.js';
import { hpmApp, http2Proxy, proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { passTime, stopTheClock } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const AT_ONCE = { minTimeout: 1, maxTimeout: 1_000, methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'] };

interface Seen {
  method: string | undefined;
  url: string | undefined;
  framing: Pick<IncomingHttpHeaders, 'content-length' | 'transfer-encoding'>;
  body: string;
}

/** An upstream that reads each request to its end, fails the first of a kind, and redirects the second. */
async function failingOnce(fail: (req: IncomingMessage) => boolean): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const { url } = await upstream(async (req, res) => {
    const { method, headers } = req;
    const { 'content-length': length, 'transfer-encoding': coding } = headers;
    const body = await readText(req);
    const framing = {
      ...(length !== undefined && { 'content-length': length }),
      ...(coding !== undefined && { 'transfer-encoding': coding }),
    };
    if (req.url !== '/warm-up') seen.push({ method, url: req.url, framing, body });
    if (req.url === '/warm-up') res.end();
    else if (seen.length === 1 && fail(req)) return;
    else if (seen.length === 1) res.writeHead(503).end();
    else if (req.url === '/there') res.end('there');
    else res.writeHead(307, { location: '/there' }).end();
  });
  return { url, seen };
}

const STATUS = (): boolean => false;
const CLOSED = (req: IncomingMessage): boolean => Boolean(req.socket.destroy());

const WAYS: [string, SseProxyOptions, (req: IncomingMessage) => boolean][] = [
  ['tried again', { retry: AT_ONCE }, STATUS],
  ['sent again on a fresh connection', {}, CLOSED],
  ['mirrored and tried again', { retry: AT_ONCE }, STATUS],
];

describe.each(WAYS)('a request that is %s', (way, options, fail) => {
  async function proxied(followRedirects: boolean) {
    const mirror = await upstream((req, res) => void req.resume().once('end', () => res.end()));
    const { url, seen } = await failingOnce(fail);
    const proxy = await proxyApp({
      target: url,
      followRedirects,
      timeouts: { headers: 2_000 },
      ...(way.startsWith('mirrored') && { forward: mirror.url }),
      ...options,
    });
    await exchange(`${proxy.url}/warm-up`);
    await proxy.summary();
    await turns();
    // Else a POST may have been acted on, and is not sent a second time.
    passTime(1_000);
    return { proxy, seen };
  }

  it.each(['GET', 'HEAD', 'OPTIONS', 'DELETE', 'POST', 'PUT'])(
    'request that is sent again without a body: %s',
    async (method) => {
      for (const followRedirects of [true, false]) {
        const { proxy, seen } = await proxied(followRedirects);
        const headers = `${method} /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
        const { text } = await rawExchange(proxy.port, headers);
        expect(text).toMatch(followRedirects ? /^HTTP\/1.1 200 / : /^HTTP\/1.1 307 /);
        expect(seen).toHaveLength(followRedirects ? 3 : 2);
        const framing = method === 'GET' || method === 'HEAD' ? {} : { 'content-length': '0' };
        for (const one of seen) expect(one).toMatchObject({ method, body: '', framing });
        expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 2 } });
        expect(proxy.proxy.active).toBe(0);
      }
    },
  );

  it.each([
    ['Content-Length', { 'content-length': '8' }],
    ['chunks', { 'transfer-encoding': 'chunked' }],
    ['an empty body', { 'content-length': '0' }],
  ])('request that is sent again with a body: %s', async (_framing, headers) => {
    for (const followRedirects of [true, false]) {
      const { proxy, seen } = await proxied(followRedirects);
      const body = (headers as IncomingHttpHeaders)['content-length'] === '0' ? '' : 'the body';
      const req = openRequest(`${proxy.url}/a`, { method: 'POST', headers });
      req.end(body);
      const response = await responseTo(req);
      expect(response.statusCode).toBe(followRedirects ? 200 : 307);
      await readAll(response);
      expect(seen.map((one) => one.body)).toEqual(followRedirects ? [body, body, body] : [body, body]);
      expect(seen[1]?.framing).toEqual({ 'content-length': String(body.length) });
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 2 } });
    }
  });

  it('request that is sent again over HTTP/2, with a body and without', async () => {
    for (const followRedirects of [true, false]) {
      for (const [method, body] of [
        ['GET', ''],
        ['POST', ''],
        ['POST', 'the body'],
      ] as const) {
        const { url, seen } = await failingOnce(fail);
        const { session } = await http2Proxy({
          target: url,
          followRedirects,
          timeouts: { headers: 2_000 },
          ...options,
        });
        await closing(session.request({ ':path': '/warm-up' }));
        await turns();
        passTime(1_000);
        const stream = session.request({ ':path': '/a', ':method': method }, { endStream: body === '' });
        if (body !== '') stream.end(body);
        expect((await closing(stream)).body).toBe(followRedirects ? 'there' : '');
        expect(seen.map((one) => [one.method, one.body])).toEqual(
          Array.from({ length: followRedirects ? 3 : 2 }, () => [method, body]),
        );
      }
    }
  });
});

it('request that is sent again: an upload that was sent to a dead connection in part is gone on with, and redirected', async () => {
  const { url } = await upstream(async (req, res) => {
    if (req.url === '/warm-up') res.end();
    else if (!isDead) {
      isDead = true;
      req.once('data', () => req.socket.destroy());
    } else {
      const body = await readText(req);
      if (req.url === '/there') res.end(body);
      else res.writeHead(307, { location: '/there' }).end();
    }
  });
  let isDead = false;
  const proxy = await proxyApp({ target: url, followRedirects: true });
  await exchange(`${proxy.url}/warm-up`);
  await turns();
  const req = openRequest(`${proxy.url}/a`, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
  req.write('first,');
  await proxy.summary();
  const response = responseTo(req);
  while (!isDead) await turns(1);
  await turns(10);
  req.end(' last');
  expect(String(await readAll(await response))).toBe('first, last');
});

describe('a stream of the user’s (`buffer`)', () => {
  it('request that is sent again: a stream of the user’s (`buffer`) is not sent twice where no hook makes it anew: the failure is the answer', async () => {
    const { url, seen } = await failingOnce(STATUS);
    const proxy = await proxyApp({
      target: url,
      buffer: Readable.from([Buffer.from('own')]),
      retry: AT_ONCE,
      fallbacks: [url],
    });
    expect((await exchange(proxy.url, { method: 'POST', body: 'the' })).status).toBe(503);
    expect(seen.map(({ body }) => body)).toEqual(['own']);
  });

  it('request that is sent again: a stream of the user’s (`buffer`) is made anew by `router` for each attempt', async () => {
    const { url, seen } = await failingOnce(STATUS);
    const proxy = await proxyApp({
      target: url,
      router: (_req, _res, options) => {
        options.buffer = Readable.from([Buffer.from('own')]);
        return url;
      },
      retry: AT_ONCE,
    });
    expect((await exchange(proxy.url, { method: 'PUT', body: 'the' })).status).toBe(307);
    expect(seen.map(({ body }) => body)).toEqual(['own', 'own']);
  });
});

describe('the deadline for the head of a response passes', () => {
  it.each<[string, string, SseProxyOptions, string]>([
    ['a request without a body', 'GET', {}, ''],
    ['a request without a body, with followRedirects', 'GET', { followRedirects: true }, ''],
    ['a body that was sent', 'POST', {}, 'body'],
    ['a body that was sent, with followRedirects', 'POST', { followRedirects: true }, 'body'],
    ['a body of the user’s', 'POST', { buffer: Readable.from(['own']) }, 'body'],
  ])(
    'request that is sent again: timeouts.headers passes where nothing more is to come from the client: %s',
    async (_name, method, options, body) => {
      stopTheClock();
      const { url, sockets } = await rawUpstream(() => {});
      const proxy = await proxyApp({ target: url, timeouts: { headers: 1_000 }, ...options });
      const response = request(proxy.url, { method, body });
      while (sockets.size === 0) await turns(1);
      await turns(20);
      jest.advanceTimersByTime(1_000);
      expect((await response).statusCode).toBe(504);
    },
  );

  it('request that is sent again: timeouts.headers does not pass as long as the client still sends, with followRedirects as without', async () => {
    for (const followRedirects of [true, false]) {
      stopTheClock();
      const { url } = await upstream(async (req, res) => void res.end(await readAll(req)));
      const proxy = await proxyApp({ target: url, timeouts: { headers: 1_000 }, followRedirects });
      const req = openRequest(proxy.url, { method: 'POST' });
      req.write('first');
      for (let i = 0; i < 5; i += 1) {
        await turns(10);
        jest.advanceTimersByTime(1_000);
      }
      req.end('last');
      expect(String(await readAll(await responseTo(req)))).toBe('firstlast');
    }
  });
});

it('request that is sent again: HPM frames it in the same way', async () => {
  const { url, seen } = await failingOnce(STATUS);
  const { port } = await hpmApp({ target: url });
  for (const method of ['GET', 'DELETE']) {
    await rawExchange(port, `${method} /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  }
  expect(seen.map(({ framing }) => framing)).toEqual([{}, { 'content-length': '0' }]);
});
