/** Trailers (RFC 9110 6.5): what the policy, the provider and RFC 9110 keep out of a head must not come behind the body. */
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import http2 from 'node:http2';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { keepAliveAgent, readAll, readText, request } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { http2Proxy, proxyApp, proxyTo, proxyToRaw } from '../../support/servers/proxies.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

type Fields = Record<string, string>;

/** The URL of an upstream that sends these trailers, and announces them. */
async function trailing(trailers: Fields): Promise<string> {
  const { url } = await upstream((_req, res) => {
    res.writeHead(200, { trailer: Object.keys(trailers).join(', ') });
    res.write('body');
    res.addTrailers(trailers);
    res.end();
  });
  return url;
}

interface Got {
  announced: string | undefined;
  trailers: Fields;
}

async function overHttp1(options: SseProxyOptions): Promise<Got> {
  const response = await request((await proxyApp(options)).url);
  await readAll(response);
  return { announced: response.headers.trailer, trailers: { ...response.trailers } as Fields };
}

async function overHttp2(options: SseProxyOptions): Promise<Got> {
  const { session } = await http2Proxy(options);
  const stream = session.request({ [http2.constants.HTTP2_HEADER_PATH]: '/' });
  let trailers: Fields = {};
  stream.on('trailers', (fields: Fields) => {
    // Without Node's symbol.
    trailers = Object.fromEntries(Object.entries(fields));
  });
  const [head] = await once(stream, 'response');
  stream.resume();
  await once(stream, 'close');
  return { announced: head.trailer, trailers };
}

describe.each([
  ['HTTP/1.1', overHttp1],
  ['HTTP/2', overHttp2],
])('trailers to a client of %s', (version, get) => {
  const announcedIn = (names: string | undefined) => (version === 'HTTP/2' ? undefined : names);

  it('trailers: are passed on', async () => {
    const target = await trailing({ 'X-Sum': 'abc', ETag: '"a"', 'Server-Timing': 'a;dur=1' });
    expect(await get({ target })).toEqual({
      announced: announcedIn('X-Sum, ETag, Server-Timing'),
      trailers: { 'x-sum': 'abc', etag: '"a"', 'server-timing': 'a;dur=1' },
    });
  });

  it('trailers that responseHeaders.remove names are left out, by name and by pattern', async () => {
    const target = await trailing({ 'X-Sum': 'abc', 'X-Inner-Id': '1', 'X-Secret': '2' });
    const responseHeaders = { remove: ['x-inner-*', /secret/] };
    expect(await get({ target, responseHeaders })).toEqual({
      announced: announcedIn('X-Sum'),
      trailers: { 'x-sum': 'abc' },
    });
  });

  it('trailers that a provider withholds are left out, unless they are let pass', async () => {
    const target = await trailing({
      'X-Sum': 'abc',
      'OpenAI-Organization': 'org',
      'X-RateLimit-Remaining': '5',
      'Access-Control-Allow-Origin': '*',
      'CF-Ray': '1',
    });
    const responseHeaders = { pass: ['*ratelimit*'] };
    expect(await get({ target, provider: openai({ apiKey: 'sk-1234567890' }), responseHeaders })).toEqual({
      announced: announcedIn('X-Sum, X-RateLimit-Remaining'),
      trailers: { 'x-sum': 'abc', 'x-ratelimit-remaining': '5' },
    });
  });

  it.each([
    ['of framing and routing', { Host: 'a', 'Keep-Alive': 'timeout=5', TE: 'trailers' }],
    ['of authentication', { 'Set-Cookie': 'a=1', 'WWW-Authenticate': 'Basic', Authorization: 'Basic a' }],
    ['of caching and control', { 'Cache-Control': 'public', Age: '1', Vary: 'a', Location: '/', 'Retry-After': '1' }],
    ['of the content', { 'Content-Encoding': 'gzip', 'Content-Type': 'text/html', 'Content-Range': 'bytes 0-1/2' }],
    ['of requests', { 'Max-Forwards': '1', Range: 'bytes=0-1', 'If-Match': '"a"', Expect: '100-continue' }],
  ])('trailers that RFC 9110 6.5.1 forbids are left out: %s', async (_what, fields: object) => {
    const target = await trailing({ ...fields, 'X-Sum': 'abc' });
    expect(await get({ target })).toEqual({ announced: announcedIn('X-Sum'), trailers: { 'x-sum': 'abc' } });
  });

  it('trailers: no Trailer header announces them where none is left', async () => {
    const target = await trailing({ 'Set-Cookie': 'a=1' });
    expect(await get({ target })).toEqual({ announced: undefined, trailers: {} });
  });
});

describe('trailers', () => {
  const withTrailers: RequestListener = (_req, res) => {
    res.writeHead(200, { trailer: 'X-Sum, X-Other', 'content-type': 'text/plain' });
    res.write('body');
    res.addTrailers({ 'X-Sum': 'abc', 'X-Other': '1' });
    res.end();
  };

  it('trailers: are announced and passed on', async () => {
    const response = await request((await proxyTo(withTrailers)).url);
    expect(response.headers.trailer).toBe('X-Sum, X-Other');
    expect(await readText(response)).toBe('body');
    expect(response.trailers).toEqual({ 'x-sum': 'abc', 'x-other': '1' });
  });

  it('trailers: follow an event stream', async () => {
    const proxy = await proxyTo((_req, res) => {
      res.setHeader('trailer', 'x-usage');
      eventStream(res).write('data: 1\n\n');
      res.addTrailers({ 'x-usage': '5' });
      res.end();
    });
    const response = await request(proxy.url);
    await readAll(response);
    expect(response.trailers).toEqual({ 'x-usage': '5' });
  });

  it('trailers that were not announced are passed on as well', async () => {
    const proxy = await proxyToRaw(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: abc\r\nX-Sum: def\r\n\r\n',
    );
    const response = await request(proxy.url);
    expect(await readText(response)).toBe('body');
    expect(response.trailers).toEqual({ 'x-sum': 'abc, def' });
  });

  it('trailers: are dropped for HTTP/1.0', async () => {
    const { text } = await rawExchange((await proxyTo(withTrailers)).port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/\r\n\r\nbody$/);
    expect(text).not.toMatch(/x-sum|trailer/i);
  });

  it('trailers: are not announced where none can come', async () => {
    const proxy = await proxyTo((req, res) => {
      res.setHeader('trailer', 'X-Sum');
      res.setHeader('transfer-encoding', 'chunked');
      if (req.url === '/304') res.statusCode = 304;
      res.end();
    });
    const head = await request(proxy.url, { method: 'HEAD' });
    await readAll(head);
    expect(head.headers).not.toHaveProperty('trailer');
    expect(head.statusCode).toBe(200);
  });

  it('trailers of a body with a length are not announced', async () => {
    const proxy = await proxyToRaw('HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 4\r\n\r\nbody');
    const response = await request(proxy.url);
    expect(response.headers).not.toHaveProperty('trailer');
    expect(await readText(response)).toBe('body');
  });

  it.each(['Transfer-Encoding: chunked', 'Connection: close', 'Set-Cookie: a=1', '__proto__: x'])(
    'trailers that make no sense do no harm: %s',
    async (field) => {
      const proxy = await proxyToRaw(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n${field}\r\nX-Sum: abc\r\n\r\n`,
      );
      const agent = keepAliveAgent(1);
      for (let i = 0; i < 2; i += 1) {
        const response = await request(proxy.url, { agent });
        expect(await readText(response)).toBe('body');
        expect(response.trailers['x-sum']).toBe('abc');
      }
    },
  );
});
