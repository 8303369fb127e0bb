import { once } from 'node:events';
import type http from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import https from 'node:https';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { readAll, reader, readText } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { certificate } from '../../support/servers/certificate.js';
import { type Http2Proxy, http2Proxy } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal } from '../../support/watch/wait.js';

closeAndWatchEachTest();

async function serve(listener: RequestListener, options: SseProxyOptions = {}): Promise<Http2Proxy> {
  const { url } = await upstream(listener);
  return http2Proxy({ target: url, ...options });
}

interface Answer {
  stream: ClientHttp2Stream;
  headers: IncomingHttpHeaders;
}

async function ask(session: ClientHttp2Session, headers: http2.OutgoingHttpHeaders = {}, body = ''): Promise<Answer> {
  const stream = session.request({ ':path': '/', ...headers }, { endStream: body === '' });
  if (body !== '') stream.end(body);
  const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return { stream, headers: answer };
}

describe('an HTTP/2 client', () => {
  it('HTTP/2 client: gets the head first, then each event before the upstream sends the next', async () => {
    const held = signal<ServerResponse>();
    const { session, summary } = await serve((_req, res) => held.resolve(eventStream(res)));
    const { stream, headers } = await ask(session);
    expect(headers).toMatchObject({
      ':status': 200,
      'content-type': 'text/event-stream',
      'cache-control': 'no-transform',
      'x-accel-buffering': 'no',
    });
    const events = reader(stream);
    const res = await held.promise;
    for (let i = 0; i < 20; i += 1) {
      res.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res.end();
    expect(await closing(stream)).toMatchObject({ code: 0 });
    expect(await summary).toMatchObject({ outcome: 'completed', statusCode: 200 });
  });

  it('HTTP/2 client: sends bodies up', async () => {
    const { session } = await serve(async (req, res) => res.end(`${req.method} ${req.url} ${await readText(req)}`));
    const { stream } = await ask(session, { ':method': 'POST', ':path': '/p?q=1' }, 'the body');
    expect((await closing(stream)).body).toBe('POST /p?q=1 the body');
  });

  it('HTTP/2 client: is asked for no more than the upstream takes, and streams up while it streams down', async () => {
    const { session } = await serve((req, res) => {
      res.writeHead(200);
      req.pipe(res);
    });
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    const echo = reader(stream);
    for (let i = 10; i < 20; i += 1) {
      stream.write(String(i));
      expect(await echo.until(String(i))).toBe(String(i));
    }
    stream.end();
    expect(await closing(stream)).toMatchObject({ code: 0 });
  });

  it('HTTP/2 client: is forwarded with ordinary headers only', async () => {
    const { session, port } = await serve((req, res) => res.end(JSON.stringify(req.headers)));
    const { stream } = await ask(session, { cookie: ['a=1', 'b=2'], te: 'trailers', 'x-kept': '1' });
    const headers = JSON.parse((await closing(stream)).body) as http.IncomingHttpHeaders;
    expect(headers).toMatchObject({ 'x-kept': '1', cookie: 'a=1; b=2' });
    expect(headers).not.toHaveProperty('te');
    expect(headers.host).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(headers.host).not.toContain(String(port));
    for (const name of Object.keys(headers)) expect(name).not.toMatch(/^:/);
  });

  it('HTTP/2 client: has the Host that it asked for with changeOrigin: false', async () => {
    const { session, port } = await serve((req, res) => res.end(req.headers.host), { changeOrigin: false });
    const { stream } = await ask(session);
    expect((await closing(stream)).body).toBe(`localhost:${port}`);
  });

  it('HTTP/2 client: is named by xfwd', async () => {
    const { session, port } = await serve((req, res) => res.end(JSON.stringify(req.headers)), { xfwd: true });
    const { stream } = await ask(session);
    expect(JSON.parse((await closing(stream)).body)).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': `localhost:${port}`,
      'x-forwarded-port': String(port),
    });
  });

  it('HTTP/2 client: gets no hop-by-hop headers, and every cookie', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.end(
        [
          'HTTP/1.1 299 My Reason',
          'Connection: close, x-mine',
          'Keep-Alive: timeout=5',
          'Proxy-Connection: close',
          'Transfer-Encoding: chunked',
          'Upgrade: h2c',
          'X-Mine: 1',
          'X-Kept: 2',
          'Set-Cookie: a=1',
          'Set-Cookie: b=2',
          '\r\n2\r\nok\r\n0\r\n\r\n',
        ].join('\r\n'),
      );
    });
    const { session } = await http2Proxy({ target: url });
    const { stream, headers } = await ask(session);
    expect(headers[':status']).toBe(299);
    expect(headers).toMatchObject({ 'x-kept': '2', 'set-cookie': ['a=1', 'b=2'] });
    for (const name of ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'x-mine']) {
      expect(headers).not.toHaveProperty(name);
    }
    expect(await closing(stream)).toEqual({ body: 'ok', code: 0 });
  });

  it("HTTP/2 client: gets the app's headers as well", async () => {
    const { url } = await upstream((_req, res) => res.setHeader('set-cookie', 'b=2').end('{}'));
    const { session } = await http2Proxy({ target: url }, (res) => {
      res.setHeader('set-cookie', 'a=1');
      res.setHeader('x-app', '1');
    });
    const { stream, headers } = await ask(session);
    expect(headers).toMatchObject({ 'set-cookie': ['a=1', 'b=2'], 'x-app': '1' });
    await closing(stream);
  });

  it.each([204, 304])('HTTP/2 client: gets a %i', async (status) => {
    const { session, summary } = await serve((_req, res) => res.writeHead(status).end());
    const { stream, headers } = await ask(session);
    expect(headers[':status']).toBe(status);
    expect(await closing(stream)).toEqual({ body: '', code: 0 });
    expect((await summary).outcome).toBe('completed');
  });

  it('HTTP/2 client: gets an answer to HEAD', async () => {
    const { session, summary } = await serve((_req, res) => res.setHeader('content-length', 5).end());
    const { stream, headers } = await ask(session, { ':method': 'HEAD' });
    expect(headers['content-length']).toBe('5');
    expect(await closing(stream)).toEqual({ body: '', code: 0 });
    expect((await summary).outcome).toBe('completed');
  });

  it('HTTP/2 client: gets trailers', async () => {
    const { session } = await serve((_req, res) => {
      res.writeHead(200, { trailer: 'X-Sum' });
      res.write('body');
      res.addTrailers({ 'X-Sum': 'abc' });
      res.end();
    });
    const { stream } = await ask(session);
    const trailers = once(stream, 'trailers');
    expect((await closing(stream)).body).toBe('body');
    expect((await trailers)[0]).toMatchObject({ 'x-sum': 'abc' });
  });

  it.each(['Connection: close', 'Transfer-Encoding: chunked', 'Keep-Alive: a', 'TE: gzip', '__proto__: x', 'Host: a'])(
    'HTTP/2 client: is not harmed by a trailer that HTTP/2 forbids: %s',
    async (field) => {
      const { url } = await rawUpstream((socket) => {
        socket.write(
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n${field}\r\nX-Sum: 1\r\n\r\n`,
        );
      });
      const { session } = await http2Proxy({ target: url });
      const { stream } = await ask(session);
      expect(await closing(stream)).toEqual({ body: 'body', code: 0 });
    },
  );

  it('HTTP/2 client: gets Early Hints', async () => {
    const { session } = await serve((_req, res) => {
      res.writeEarlyHints({ link: '</a>; rel=preload' });
      res.end('body');
    });
    const stream = session.request({ ':path': '/' });
    const [hints] = (await once(stream, 'headers')) as [IncomingHttpHeaders];
    expect(hints).toMatchObject({ ':status': 103, link: '</a>; rel=preload' });
    expect(await closing(stream)).toMatchObject({ body: 'body', code: 0 });
  });

  it('HTTP/2 client: gets Early Hints without hop-by-hop headers', async () => {
    const { url } = await rawUpstream((socket) => {
      const hints = 'HTTP/1.1 103 Early Hints\r\nConnection: x-a\r\nX-A: 1\r\nLink: </a>; rel=preload\r\n\r\n';
      socket.write(`${hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}`);
    });
    const { session } = await http2Proxy({ target: url });
    const stream = session.request({ ':path': '/' });
    const [hints] = (await once(stream, 'headers')) as [IncomingHttpHeaders];
    expect(hints).toMatchObject({ ':status': 103, link: '</a>; rel=preload' });
    expect(hints).not.toHaveProperty('x-a');
    expect(await closing(stream)).toMatchObject({ body: '{}', code: 0 });
  });

  it('HTTP/2 client: shares the pool of upstream connections', async () => {
    const ports: (number | undefined)[] = [];
    const { session } = await serve((req, res) => {
      ports.push(req.socket.remotePort);
      res.end('body');
    });
    for (let i = 0; i < 3; i += 1) await closing((await ask(session)).stream);
    expect(new Set(ports).size).toBe(1);
  });

  it('HTTP/2 client: gets a large body whole', async () => {
    const bytes = Buffer.alloc(5 * 1024 * 1024, 'abc字');
    const { session } = await serve((_req, res) => res.end(bytes));
    const { stream } = await ask(session);
    expect((await readAll(stream)).equals(bytes)).toBe(true);
  });
});

describe('the end of an HTTP/2 stream', () => {
  // Browsers say why they reset a stream; Node's own client does not, unless it is told to.
  it.each(['NGHTTP2_CANCEL', 'NGHTTP2_NO_ERROR'] as const)(
    "HTTP/2 stream's end: a reset by its client aborts the upstream: %s",
    async (code) => {
      const closed = signal();
      const { session, summary } = await serve((_req, res) => {
        res.once('close', closed.resolve);
        eventStream(res).write('data: 1\n\n');
      });
      const { stream } = await ask(session);
      await reader(stream).until('data: 1\n\n');
      stream.close(http2.constants[code]);
      await closed.promise;
      expect((await summary).outcome).toBe('client-closed');
    },
  );

  it("HTTP/2 stream's end: a reset by its client before the head aborts the upstream", async () => {
    const arrived = signal();
    const closed = signal();
    const { session, summary } = await serve((_req, res) => {
      res.once('close', closed.resolve);
      arrived.resolve();
    });
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => {});
    await arrived.promise;
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await closed.promise;
    expect((await summary).outcome).toBe('client-closed');
  });

  it("HTTP/2 stream's end: aborts the upstream when the whole session goes", async () => {
    const closed = signal();
    const { session, summary } = await serve((_req, res) => {
      res.once('close', closed.resolve);
      eventStream(res).write('data: 1\n\n');
    });
    const { stream } = await ask(session);
    stream.on('error', () => {});
    session.destroy();
    await closed.promise;
    expect((await summary).outcome).toBe('client-closed');
  });

  it("HTTP/2 stream's end: is a reset, and no clean end, where the upstream dies", async () => {
    const held = signal<ServerResponse>();
    const { session, summary } = await serve((_req, res) => held.resolve(eventStream(res)));
    const { stream } = await ask(session);
    const closed = closing(stream);
    const res = await held.promise;
    res.write('data: 1\n\n', () => res.destroy());
    const { code, body } = await closed;
    expect(code).toBe(http2.constants.NGHTTP2_INTERNAL_ERROR);
    expect('data: 1\n\n'.startsWith(body)).toBe(true);
    expect((await summary).outcome).toBe('upstream-truncated');
    // The session is fit for the next.
    expect(session.destroyed).toBe(false);
  });

  it("HTTP/2 stream's end: keeps what had come before the upstream died", async () => {
    const held = signal<ServerResponse>();
    const { session } = await serve((_req, res) => held.resolve(eventStream(res)));
    const { stream } = await ask(session);
    const closed = closing(stream);
    const events = reader(stream);
    const res = await held.promise;
    res.write('data: 1\n\n');
    await events.until('data: 1\n\n');
    res.destroy();
    expect((await closed).code).toBe(http2.constants.NGHTTP2_INTERNAL_ERROR);
  });

  it("HTTP/2 stream's end: is 502 JSON where there was no upstream", async () => {
    const { url } = await rawUpstream((socket) => socket.destroy());
    const { session, summary } = await http2Proxy({ target: url });
    const { stream, headers } = await ask(session);
    expect(headers).toMatchObject({ ':status': 502, 'content-type': 'application/json; charset=utf-8' });
    const { body, code } = await closing(stream);
    expect(JSON.parse(body)).toEqual({
      error: { message: expect.any(String), type: 'proxy_error', code: 'UPSTREAM_CLOSED' },
    });
    expect(code).toBe(0);
    expect((await summary).outcome).toBe('upstream-error');
  });

  it("HTTP/2 stream's end: is a summary each for streams that end together", async () => {
    const waiting: ServerResponse[] = [];
    const all = signal();
    const { session, summaries } = await serve((_req, res) => {
      waiting.push(eventStream(res));
      if (waiting.length === 20) all.resolve();
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(session)));
    await all.promise;
    const ends = answers.map(({ stream }) => closing(stream));
    for (const res of waiting) res.end('data: last\n\n');
    expect(await Promise.all(ends)).toEqual(Array.from({ length: 20 }, () => ({ body: 'data: last\n\n', code: 0 })));
    // The summary of the last may come after its client has seen the end.
    while (summaries.length < 20) await new Promise((resolve) => setImmediate(resolve));
    expect(new Set(summaries.map(({ outcome }) => outcome))).toEqual(new Set(['completed']));
  });
});

describe('an HTTP/1.1 client of the same server', () => {
  async function get(url: string): Promise<IncomingMessage> {
    const { cert: ca } = await certificate();
    const req = https.get(url, { ca, agent: false });
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    return response;
  }

  it('HTTP/1.1 client of an HTTP/2 server: gets events one by one', async () => {
    const held = signal<ServerResponse>();
    const { url, session } = await serve((_req, res) => held.resolve(eventStream(res)));
    session.destroy();
    const response = await get(url);
    expect(response.httpVersion).toBe('1.1');
    const events = reader(response);
    const res = await held.promise;
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      res.write(event);
      expect(await events.until('\n\n')).toBe(event);
    }
    res.end();
    await once(response, 'end');
  });

  it('HTTP/1.1 client of an HTTP/2 server: gets trailers', async () => {
    const { url } = await serve((_req, res) => {
      res.writeHead(200, { trailer: 'X-Sum' });
      res.write('body');
      res.addTrailers({ 'X-Sum': 'abc' });
      res.end();
    });
    const response = await get(url);
    expect(await readText(response)).toBe('body');
    expect(response.trailers).toEqual({ 'x-sum': 'abc' });
  });

  it('HTTP/1.1 client of an HTTP/2 server: is cut off where the upstream dies', async () => {
    const held = signal<ServerResponse>();
    const { url, summary } = await serve((_req, res) => held.resolve(eventStream(res)));
    const response = await get(url);
    (await held.promise).destroy();
    await expect(readAll(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect((await summary).outcome).toBe('upstream-truncated');
  });

  it('HTTP/1.1 client of an HTTP/2 server: aborts the upstream when it leaves', async () => {
    const closed = signal();
    const { url, summary } = await serve((_req, res) => {
      res.once('close', closed.resolve);
      eventStream(res);
    });
    (await get(url)).destroy();
    await closed.promise;
    expect((await summary).outcome).toBe('client-closed');
  });
});
