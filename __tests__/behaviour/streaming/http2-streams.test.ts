import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { describe, expect, it } from '@jest/globals';
import { createSseProxy, type SseProxy, type SseProxyOptions, type StreamSummary } from '../../../lib/index.js';
import { closing, sendFramesInTheClear } from '../../support/clients/http2.js';
import { listen } from '../../support/servers/listen.js';
import { eventStream, manualUpstream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** The proxy as the listener of an HTTP/2 server, and a session with it. */
async function front(
  options: SseProxyOptions,
  settings: http2.Settings = {},
  next: (req: unknown, res: unknown) => void = () => {},
): Promise<{ session: ClientHttp2Session; port: number; proxy: SseProxy; summaries: StreamSummary[] }> {
  const summaries: StreamSummary[] = [];
  const proxy = createSseProxy({ ...options, onFinish: (summary) => void summaries.push(summary) });
  const server = http2.createServer((req, res) => void proxy(req as never, res as never, () => next(req, res)));
  server.on('session', (session) => onCleanUp(() => session.destroy()));
  const port = await listen(server);
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings });
  session.on('error', () => {});
  onCleanUp(() => session.destroy());
  await once(session, 'connect');
  return { session, port, proxy, summaries };
}

describe('fields that HTTP/2 does not have (RFC 9113 8.2.2)', () => {
  const FORBIDDEN = [
    'Connection',
    'HTTP2-Settings',
    'Keep-Alive',
    'Proxy-Connection',
    'TE',
    'Transfer-Encoding',
    'Upgrade',
  ];

  const sending = (raw: string) => rawUpstream((socket) => void socket.write(raw));

  it.each(FORBIDDEN)(
    'headers that HTTP/2 does not have (RFC 9113 8.2.2): %s is left out as a trailer',
    async (name) => {
      const { url } = await sending(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n${name}: x\r\nX-Sum: 1\r\n\r\n`,
      );
      const { session, summaries } = await front({ target: url });
      const stream = session.request({ ':path': '/' });
      const trailers = once(stream, 'trailers');
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
      const [fields] = await trailers;
      expect(Object.keys(fields)).toEqual(['x-sum']);
      await until(() => summaries.length === 1);
      expect(summaries[0]?.outcome).toBe('completed');
    },
  );

  it.each(FORBIDDEN.filter((name) => name !== 'Transfer-Encoding'))(
    'headers that HTTP/2 does not have (RFC 9113 8.2.2): %s is left out as a header',
    async (name) => {
      const { url } = await sending(`HTTP/1.1 200 OK\r\n${name}: x\r\nContent-Length: 4\r\nX-Kept: 1\r\n\r\nbody`);
      const { session } = await front({ target: url });
      const stream = session.request({ ':path': '/' });
      const [headers] = await once(stream, 'response');
      expect(headers).toMatchObject({ ':status': 200, 'x-kept': '1' });
      expect(headers).not.toHaveProperty(name.toLowerCase());
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
    },
  );

  it.each(FORBIDDEN)(
    'headers that HTTP/2 does not have (RFC 9113 8.2.2): %s is left out where rewriteHeaders or the app sets it',
    async (name) => {
      const { url } = await sending('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody');
      const { session } = await front({
        target: url,
        rewriteHeaders: ({ headers }) =>
          Object.assign(headers, { [name.toLowerCase()]: 'x', ':status': '500', 'a b': '1' }),
        on: { proxyRes: (_proxyRes, _req, res) => void res.setHeader('x-nul', ['a']) },
      });
      const stream = session.request({ ':path': '/' });
      const [headers] = await once(stream, 'response');
      expect(headers).toMatchObject({ ':status': 200, 'x-nul': 'a' });
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
    },
  );

  it.each(FORBIDDEN)(
    'headers that HTTP/2 does not have (RFC 9113 8.2.2): %s is left out of early hints',
    async (name) => {
      const { url } = await sending(
        `HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n${name}: x\r\nX-Kept: 1\r\n\r\n` +
          'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody',
      );
      const { session } = await front({ target: url });
      const stream = session.request({ ':path': '/' });
      const [hints] = await once(stream, 'headers');
      expect(hints).toMatchObject({ ':status': 103, link: '</a.css>; rel=preload', 'x-kept': '1' });
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
    },
  );

  it.each([
    ['\0', 'NUL'],
    ['a\r\nb', 'CRLF'],
    ['\u2603', 'no latin1'],
  ])(
    'headers that HTTP/2 does not have (RFC 9113 8.2.2): a value with %j in it (%s) is left out, and the response is there',
    async (value) => {
      const { url } = await sending('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody');
      const { session } = await front({
        target: url,
        rewriteHeaders: ({ headers }) =>
          Object.assign(headers, { 'x-bad': value, 'x-list': ['1', value], 'x-ok': '1' }),
      });
      const stream = session.request({ ':path': '/' });
      const [headers] = await once(stream, 'response');
      expect(headers).toMatchObject({ ':status': 200, 'x-ok': '1' });
      expect(headers).not.toHaveProperty('x-bad');
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
    },
  );
});

/** Response fields of RFC 9110, 9111, Fetch and common practice. */
const RESPONSE_FIELDS = [
  ...[
    'accept-ranges',
    'access-control-allow-credentials',
    'access-control-allow-headers',
    'access-control-allow-methods',
  ],
  ...[
    'access-control-allow-origin',
    'access-control-expose-headers',
    'access-control-max-age',
    'age',
    'allow',
    'alt-svc',
  ],
  ...[
    'authorization',
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'content-location',
  ],
  ...[
    'content-md5',
    'content-range',
    'content-security-policy',
    'content-type',
    'cookie',
    'date',
    'dnt',
    'etag',
    'expires',
  ],
  ...[
    'from',
    'host',
    'if-match',
    'if-modified-since',
    'if-none-match',
    'if-range',
    'if-unmodified-since',
    'last-modified',
  ],
  ...['link', 'location', 'max-forwards', 'origin', 'pragma', 'priority', 'range', 'referer', 'refresh', 'retry-after'],
  ...[
    'server',
    'server-timing',
    'set-cookie',
    'strict-transport-security',
    'tk',
    'upgrade-insecure-requests',
    'user-agent',
  ],
  ...[
    'vary',
    'via',
    'warning',
    'www-authenticate',
    'x-content-type-options',
    'x-frame-options',
    'x-request-id',
    'x-powered-by',
  ],
];

describe('fields that the upstream has sent twice (RFC 9110 5.3)', () => {
  it.each(RESPONSE_FIELDS)('HTTP/2, repeated headers (RFC 9110 5.3): %s: the response is there', async (name) => {
    const value = name === 'content-encoding' ? 'x-none' : 'a';
    const { url } = await rawUpstream((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${name}: ${value}\r\n${name}: b\r\nContent-Length: 4\r\n\r\nbody`);
    });
    const { session } = await front({ target: url });
    const stream = session.request({ ':path': '/' });
    const [headers] = await once(stream, 'response');
    expect(headers[':status']).toBe(200);
    // Joined, or the first of them.
    expect(String(headers[name])).toMatch(new RegExp(`^${value}([,;] ?b)?$`));
    expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
  });

  it.each(RESPONSE_FIELDS)(
    'HTTP/2, repeated headers (RFC 9110 5.3): %s: so are trailers and early hints',
    async (name) => {
      const { url } = await rawUpstream((socket) => {
        socket.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n${name}: a\r\n${name}: b\r\n\r\n`);
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n');
        socket.write(`${name}: a\r\n${name}: b\r\nX-Sum: 1\r\n\r\n`);
      });
      const { session } = await front({ target: url });
      const stream = session.request({ ':path': '/' });
      const trailers = once(stream, 'trailers');
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
      expect((await trailers)[0]).toMatchObject({ 'x-sum': '1' });
    },
  );
});

/** What a client sends without end. */
function upload(session: ClientHttp2Session, path = '/'): ClientHttp2Stream {
  const stream = session.request({ ':path': path, ':method': 'POST', 'content-type': 'text/plain' });
  stream.on('error', () => {});
  stream.write('the beginning');
  return stream;
}

describe('every exchange over HTTP/2 ends', () => {
  it.each([
    ['a 413', { limits: { requestBody: 4 } }, 413],
    ['a 404', { allow: ['GET /other'] }, 404],
    ['a 502', { target: 'http://127.0.0.1:1' }, 502],
  ])(
    'HTTP/2, uploads without an end: %s to an upload that is never ended: the client has it, and is told to stop',
    async (_name, options, status) => {
      const { url } = await upstream(() => {});
      const { session, proxy, summaries } = await front({ target: url, ...options });
      const stream = upload(session);
      const [headers] = await once(stream, 'response');
      expect(headers[':status']).toBe(status);
      const { body, code } = await closing(stream);
      expect(JSON.parse(body)).toHaveProperty('error.code');
      expect(code).toBe(0);
      await until(() => proxy.active === 0);
      expect(summaries).toHaveLength(1);
      await proxy.drain();
    },
  );

  const answer = (_req: unknown, res: unknown): void => void (res as ServerResponse).writeHead(202).end('mine');

  it.each<[string, SseProxyOptions]>([
    ['a listener of on.error', { target: 'http://127.0.0.1:1', on: { error: (_error, req, res) => answer(req, res) } }],
    ["error middleware (onError: 'next')", { target: 'http://127.0.0.1:1', onError: 'next' }],
    ['on.proxyReq', { on: { proxyReq: (_proxyReq, req, res) => answer(req, res) } }],
    [
      'selfHandleResponse',
      { selfHandleResponse: true, on: { proxyRes: (proxyRes, req, res) => answer(req, proxyRes.resume() && res) } },
    ],
  ])('HTTP/2, uploads without an end: %s that answers an upload, ended or not', async (_name, options) => {
    const { url } = await upstream((req, res) => {
      req.resume();
      if (req.url === '/ended') req.once('end', () => res.end('enough'));
      else res.end('enough');
    });
    const { session, proxy } = await front({ target: url, ...options }, {}, answer);
    const [open, ended] = [upload(session), upload(session, '/ended')];
    // More than a window has room for: it must be read, or thrown away.
    ended.end(Buffer.alloc(200_000));
    expect(await Promise.all([closing(open), closing(ended)])).toMatchObject([
      { body: 'mine', code: 0 },
      { body: 'mine', code: 0 },
    ]);
    await until(() => proxy.active === 0);
  });

  it('HTTP/2, uploads without an end: a 413 to an upload that nobody reads, and that its client resets when it has that', async () => {
    const { url } = await upstream(() => {});
    const { session, proxy, summaries } = await front({ target: url, limits: { requestBody: 4 } });
    const stream = upload(session);
    stream.end(Buffer.alloc(70_000));
    expect(await closing(stream)).toMatchObject({ code: 0 });
    await until(() => proxy.active === 0);
    expect(summaries).toMatchObject([{ outcome: 'refused', statusCode: 413 }]);
  });

  it('HTTP/2, uploads without an end: the answer of an upstream to an upload that is never ended', async () => {
    const { url } = await upstream((_req, res) => void res.end('enough'));
    const { session, proxy, summaries } = await front({ target: url });
    expect(await closing(upload(session))).toEqual({ body: 'enough', code: 0 });
    await until(() => proxy.active === 0);
    expect(summaries).toMatchObject([{ outcome: 'completed', statusCode: 200 }]);
  });

  it('HTTP/2, uploads without an end: the trailers of an answer to an upload that is never ended arrive', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { trailer: 'x-sum' });
      res.write('enough');
      res.addTrailers({ 'x-sum': '1' });
      res.end();
    });
    const { session } = await front({ target: url });
    const stream = upload(session);
    const trailers = once(stream, 'trailers');
    expect(await closing(stream)).toEqual({ body: 'enough', code: 0 });
    expect((await trailers)[0]).toMatchObject({ 'x-sum': '1' });
  });

  it('HTTP/2, uploads without an end: an error that a window of 0 does not let through ends after five seconds', async () => {
    const { session, proxy, summaries } = await front({ target: 'http://127.0.0.1:1' }, { initialWindowSize: 0 });
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => {});
    await once(stream, 'response');
    await until(() => proxy.active === 0).catch(() => {});
    await until(() => proxy.active === 0);
    expect(summaries).toMatchObject([{ outcome: 'upstream-error', statusCode: 502 }]);
  }, 15_000);

  it.each([http2.constants.NGHTTP2_CANCEL, http2.constants.NGHTTP2_NO_ERROR])(
    'HTTP/2, uploads without an end: a HEAD that its client resets with code %d is over at once, upstream and all',
    async (code) => {
      const { url, requests } = await manualUpstream();
      const { session, proxy, summaries } = await front({ target: url, limits: { concurrency: 1 } });
      const stream = session.request({ ':path': '/', ':method': 'HEAD' });
      stream.on('error', () => {});
      const { closed } = await requests.next();
      stream.close(code);
      await closed;
      await until(() => proxy.active === 0);
      expect(summaries).toMatchObject([{ outcome: 'client-closed' }]);
      // Its place is free.
      const next = session.request({ ':path': '/' });
      (await requests.next()).res.end('next');
      expect((await closing(next)).body).toBe('next');
    },
  );

  it.each([
    ['CANCEL', 'abort', http2.constants.NGHTTP2_CANCEL],
    ['NO_ERROR', 'abort', http2.constants.NGHTTP2_NO_ERROR],
    ['CANCEL', 'continue', http2.constants.NGHTTP2_CANCEL],
    ['NO_ERROR', 'continue', http2.constants.NGHTTP2_NO_ERROR],
  ] as const)(
    'HTTP/2, uploads without an end: an upload that is reset half-way with %s (onClientClose: %s) is over at once, and the upstream is not told that it is whole',
    async (_name, onClientClose, code) => {
      const { url, requests } = await manualUpstream();
      const { port, proxy, summaries } = await front({ target: url, onClientClose });
      const fields = [
        [':method', 'POST'],
        [':scheme', 'http'],
        [':authority', 'x'],
        [':path', '/'],
      ] as const;
      const reset = sendFramesInTheClear(port, { fields, data: ['the beginning'], isOpen: true });
      const { req, closed } = await requests.next();
      await once(req, 'data');
      reset(code);
      await closed;
      expect(req.complete).toBe(false);
      await until(() => proxy.active === 0);
      expect(summaries).toMatchObject([{ outcome: 'client-closed' }]);
    },
  );
});

describe('an upstream that breaks off', () => {
  /** Sends so much, and then breaks off. */
  const breakOff = (size: number) => (_req: unknown, res: ServerResponse) => {
    eventStream(res).write(`data: ${'x'.repeat(size)}\n\n`, () => setImmediate(() => res.destroy()));
  };

  it.each([1_000, 20_000, 60_000])(
    'HTTP/2 truncation: an upstream that breaks off after %d bytes never looks whole',
    async (size) => {
      const { url } = await upstream(breakOff(size));
      const { session, proxy, summaries } = await front({ target: url });
      for (let i = 0; i < 50; i += 1) {
        const streams = Array.from({ length: 4 }, () => session.request({ ':path': '/' }));
        for (const { body, code } of await Promise.all(streams.map(closing))) {
          expect([body.length, code]).toEqual([size + 8, http2.constants.NGHTTP2_INTERNAL_ERROR]);
        }
      }
      await until(() => proxy.active === 0);
      expect(new Set(summaries.map(({ outcome }) => outcome))).toEqual(new Set(['upstream-truncated']));
    },
  );

  it('HTTP/2 truncation: a client whose window is small has all that came before the upstream broke off', async () => {
    const { url } = await upstream(breakOff(20_000));
    const { session } = await front({ target: url }, { initialWindowSize: 100 });
    const { body, code } = await closing(session.request({ ':path': '/' }));
    expect([body.length, code]).toEqual([20_008, http2.constants.NGHTTP2_INTERNAL_ERROR]);
  });
});
