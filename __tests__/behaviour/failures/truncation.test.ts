import { once } from 'node:events';
import http, { type ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import { describe, expect, it, jest } from '@jest/globals';
import { createSseProxy, type Provider, type SseProxyOptions } from '../../../lib/index.js';
import { reader } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { type RawClient, rawClient } from '../../support/clients/raw.js';
import { listen } from '../../support/servers/listen.js';
import { http2Proxy, type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream } from '../../support/servers/upstreams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const SSE = { 'content-type': 'text/event-stream' };
const NDJSON = { 'content-type': 'application/x-ndjson' };

const TRUNCATED = {
  error: {
    message: 'The upstream closed the connection before its response was complete.',
    type: 'proxy_error',
    code: 'UPSTREAM_TRUNCATED',
  },
};
const ERROR_EVENT = `event: error\ndata: ${JSON.stringify(TRUNCATED)}\n\n`;

/** A provider of the test's own: its answers end with `bye`. */
const mine: Provider = {
  name: 'mine',
  target: 'http://127.0.0.1',
  read: (event, reading) => {
    if (event.data === 'bye') reading.ended = true;
  },
  errorEvent: ({ code, statusCode }, { path }) => ({ event: 'oops', data: `${code} ${statusCode} of ${path}` }),
  errorBody: ({ code }) => ({ oops: code }),
};

interface Stream {
  proxy: ProxyUnderTest;
  res: ServerResponse;
  client: RawClient;
  /** The client's connection, at the proxy. */
  socket: Socket;
  /** Resolves with what came behind the head once the connection has closed. */
  rest(): Promise<{ body: string; reset: boolean }>;
}

/** A stream to a client that speaks raw bytes. */
async function stream(options: SseProxyOptions, head = {}, version = '1.1'): Promise<Stream> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  const connected = once(proxy.server, 'connection');
  const client = await rawClient(proxy.port);
  const [socket] = (await connected) as [Socket];
  client.socket.write(`GET /stream HTTP/${version}\r\nHost: a\r\n\r\n`);
  const { res } = await requests.next();
  res.writeHead(200, { ...SSE, ...head }).flushHeaders();
  await client.until('\r\n\r\n');
  return {
    proxy,
    res,
    client,
    socket,
    rest: async () => {
      const { text, reset } = await client.end();
      return { body: text.slice(text.indexOf('\r\n\r\n') + 4), reset };
    },
  };
}

/** As chunks of HTTP/1.1, without a last one. */
const chunks = (...texts: string[]): string =>
  texts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('');

describe("truncation: 'event'", () => {
  it("truncation 'event': says in an error event that the upstream died, and then cuts the connection", async () => {
    const { proxy, res, client, rest } = await stream({ truncation: 'event' });
    res.write('data: 1\n\n');
    await client.until('data: 1\n\n');
    res.destroy();
    expect(await rest()).toEqual({ body: chunks('data: 1\n\n', ERROR_EVENT), reset: false });
    expect(await proxy.summary()).toMatchObject({
      outcome: 'upstream-truncated',
      error: { code: 'UPSTREAM_TRUNCATED' },
      bytes: 9 + ERROR_EVENT.length,
    });
  });

  it("truncation 'event': says so in one read with the last event, too", async () => {
    const { res, rest } = await stream({ truncation: 'event' });
    res.write('data: 1\n\n', () => res.destroy());
    expect((await rest()).body).toBe(chunks('data: 1\n\n', ERROR_EVENT));
  });

  it("truncation 'event': says so before the first event", async () => {
    const { res, rest } = await stream({ truncation: 'event' });
    res.destroy();
    expect((await rest()).body).toBe(chunks(ERROR_EVENT));
  });

  it.each(['data: 1\r\r', 'data: 1\r\n\r\n', ': only a comment\n\n'])(
    "truncation 'event': says so behind %j",
    async (event) => {
      const { res, rest } = await stream({ truncation: 'event' });
      res.write(event, () => res.destroy());
      expect((await rest()).body).toBe(chunks(event, ERROR_EVENT));
    },
  );

  it.each([
    ['data: 1\n\ndata: hal', 'data: 1\n\n'],
    ['data: 1\n\ndata: half\n', 'data: 1\n\n'],
    ['data: 1\r\n', ''],
    ['\n\n:', '\n\n'],
  ])("truncation 'event': is sent behind the last whole event, without the rest: %j", async (sent, whole) => {
    const { proxy, res, rest } = await stream({ truncation: 'event' });
    res.write(sent, () => res.destroy());
    expect((await rest()).body).toBe(whole === '' ? chunks(ERROR_EVENT) : chunks(whole, ERROR_EVENT));
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it("truncation 'event': only cuts the connection where Content-Length counts the bytes", async () => {
    const { res, rest } = await stream({ truncation: 'event' }, { 'content-length': 1_000 });
    res.write('data: 1\n\n', () => res.destroy());
    expect((await rest()).body).toBe('data: 1\n\n');
  });

  it("truncation 'event': only cuts the connection in a stream that stays compressed", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, truncation: 'event' });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n');
    const { res } = await requests.next();
    res.writeHead(200, { ...SSE, 'content-encoding': 'gzip' }).write('coded', () => res.destroy());
    expect((await client.end()).text.endsWith(`\r\n\r\n${chunks('coded')}`)).toBe(true);
  });

  it.each(['application/json', 'text/plain'])("truncation 'event': only cuts the connection in %s", async (type) => {
    const { res, rest } = await stream({ truncation: 'event' }, { 'content-type': type });
    res.write('[1,\n\n', () => res.destroy());
    expect((await rest()).body).toBe(chunks('[1,\n\n'));
  });

  it("truncation 'event': is a line of NDJSON", async () => {
    const { res, rest } = await stream({ truncation: 'event' }, NDJSON);
    res.write('{"i":1}\n', () => res.destroy());
    expect((await rest()).body).toBe(chunks('{"i":1}\n', `${JSON.stringify(TRUNCATED)}\n`));
  });

  it("truncation 'event': is sent behind the last whole line of NDJSON, without the rest", async () => {
    const { res, rest } = await stream({ truncation: 'event' }, NDJSON);
    res.write('{"i":1}\n{"i":', () => res.destroy());
    expect((await rest()).body).toBe(chunks('{"i":1}\n', `${JSON.stringify(TRUNCATED)}\n`));
  });

  it("truncation 'event': is sent to an HTTP/1.0 client, whose connection is reset", async () => {
    const { proxy, res, client, rest, socket } = await stream({ truncation: 'event' }, {}, '1.0');
    // Clients on Node take a reset that comes together with the last bytes for an end: it is the proxy that is asked.
    const reset = jest.spyOn(socket, 'resetAndDestroy');
    res.write('data: 1\n\n');
    await client.until('data: 1\n\n');
    res.destroy();
    expect((await rest()).body).toBe(`data: 1\n\n${ERROR_EVENT}`);
    expect(reset).toHaveBeenCalledTimes(1);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it.each([
    ['in a read of its own', false],
    ['in one read with the last event', true],
  ])("truncation 'event': is sent over HTTP/2, where the stream is reset: %s", async (_name, together) => {
    const { url, requests } = await manualUpstream();
    const { session, summary } = await http2Proxy({ target: url, truncation: 'event' });
    const request = session.request({ ':path': '/' });
    const closed = closing(request);
    const client = reader(request);
    const { res } = await requests.next();
    res.writeHead(200, SSE);
    if (together) {
      res.write('data: 1\n\n', () => res.destroy());
    } else {
      res.write('data: 1\n\n');
      await client.until('data: 1\n\n');
      res.destroy();
    }
    expect(await closed).toEqual({ body: `data: 1\n\n${ERROR_EVENT}`, code: 2 });
    expect((await summary).outcome).toBe('upstream-truncated');
    expect(session.destroyed).toBe(false);
  });

  it("truncation 'event': is sent over HTTP/2 behind more than the client's window lets through at once", async () => {
    const { url, requests } = await manualUpstream();
    const large = 'x'.repeat(500_000);
    const { session, summary } = await http2Proxy({
      target: url,
      truncation: 'event',
      transformEvent: (event) => {
        if (event.data === 'bad') throw new Error('of the hook');
        return { data: large };
      },
    });
    const closed = closing(session.request({ ':path': '/' }));
    const { res } = await requests.next();
    res.writeHead(200, SSE).write('data: good\n\ndata: bad\n\n');
    const { body, code } = await closed;
    expect(body.startsWith(`data: ${large}\n\nevent: error\ndata: {`)).toBe(true);
    expect(body.endsWith('}\n\n')).toBe(true);
    expect(code).toBe(2);
    expect((await summary).outcome).toBe('failed');
  });

  it("truncation 'event': waits for no HTTP/2 client that leaves instead of reading", async () => {
    const { url, requests } = await manualUpstream();
    const { session, summary } = await http2Proxy({ target: url, truncation: 'event', proxyTimeout: 50 });
    const request = session.request({ ':path': '/' });
    const { res, closed } = await requests.next();
    res.writeHead(200, SSE).write('data: 1\n\n'.repeat(100_000));
    await once(request, 'response');
    await closed;
    request.close(constants.NGHTTP2_CANCEL);
    expect((await summary).outcome).toBe('timeout');
  });

  it("truncation 'event': is sent after a proxyTimeout", async () => {
    const { proxy, res, rest } = await stream({ truncation: 'event', proxyTimeout: 100 });
    res.write('data: 1\n\n');
    const { body } = await rest();
    expect(body).toMatch(
      /^9\r\ndata: 1\n\n\r\n[0-9a-f]+\r\nevent: error\ndata: .*"code":"UPSTREAM_TIMEOUT".*\n\n\r\n$/,
    );
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', error: { code: 'UPSTREAM_TIMEOUT' } });
  });

  it("truncation 'event': is sent after a transform that threw, behind what it had let through", async () => {
    const { proxy, res, rest } = await stream({
      truncation: 'event',
      transformEvent: ({ data }) => {
        if (data === '2') throw new Error('a secret of the hook');
      },
    });
    res.write('data: 1\n\ndata: 2\n\ndata: 3\n\n');
    const { body } = await rest();
    expect(body).toMatch(/^9\r\ndata: 1\n\n\r\n[0-9a-f]+\r\nevent: error\ndata: .*"code":"HOOK_FAILED".*\n\n\r\n$/);
    expect(body).not.toContain('secret');
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED' } });
  });

  it("truncation 'event': is sent in the middle of an event of the upstream, where the client gets whole ones only", async () => {
    const { res, rest } = await stream({ truncation: 'event', transformEvent: (event) => event });
    res.write('data: 1\n\ndata: hal', () => res.destroy());
    expect((await rest()).body).toBe(chunks('data: 1\n\n', ERROR_EVENT));
  });

  it("truncation 'event': is not sent where the answer is complete", async () => {
    const { proxy, res, client } = await stream({ truncation: 'event' });
    res.end('data: 1\n\n');
    await client.until('0\r\n\r\n');
    expect(client.text()).not.toContain('event: error');
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('with a provider', () => {
  it('truncation with a provider: an error event in its dialect is sent by default', async () => {
    const { proxy, res, client, rest } = await stream({ provider: mine });
    res.write('data: 1\n\n');
    await client.until('data: 1\n\n');
    res.destroy();
    expect((await rest()).body).toBe(chunks('data: 1\n\n', 'event: oops\ndata: UPSTREAM_TRUNCATED 502 of /stream\n\n'));
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it("truncation with a provider: none is sent with `truncation: 'destroy'`", async () => {
    const { res, rest } = await stream({ provider: mine, truncation: 'destroy' });
    res.write('data: 1\n\n', () => res.destroy());
    expect((await rest()).body).toBe(chunks('data: 1\n\n'));
  });

  it('truncation with a provider: none is sent behind an answer that has ended by its rules', async () => {
    const { proxy, res, rest } = await stream({ provider: mine });
    res.write('data: bye\n\n', () => res.destroy());
    expect((await rest()).body).toBe(chunks('data: bye\n\n'));
    // The connection was cut all the same.
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('truncation with a provider: an error event is sent also where nobody asks for usage or a summary', async () => {
    const { url, requests } = await manualUpstream();
    const sseProxy = createSseProxy({ provider: mine, target: url });
    const port = await listen(http.createServer((req, res) => void sseProxy(req, res)));
    const client = await rawClient(port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const { res } = await requests.next();
    res.writeHead(200, SSE).write('data: bye\n\n', () => res.destroy());
    const { text } = await client.end();
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe(chunks('data: bye\n\n'));
  });

  it.each<[string, () => never | { data: string; event: string }]>([
    [
      'throws',
      () => {
        throw new Error('of the provider');
      },
    ],
    ['cannot be written', () => ({ event: 'two\nlines', data: '' })],
  ])(
    'truncation with a provider: the connection is only cut where its error event %s, and that is logged',
    async (_name, errorEvent) => {
      const { logger, errors } = logbook();
      const { proxy, res, rest } = await stream({ provider: { ...mine, errorEvent }, logger });
      res.write('data: 1\n\n', () => res.destroy());
      expect((await rest()).body).toBe(chunks('data: 1\n\n'));
      expect((await proxy.summary()).outcome).toBe('upstream-truncated');
      expect(errors).toEqual([expect.stringContaining('errorEvent')]);
    },
  );
});

describe('without a provider', () => {
  it.each([
    ['1.1', chunks('data: 1\n\n'), false],
    ['1.0', 'data: 1\n\n', true],
  ])(
    'truncation without a provider: the default is a cut, and nothing behind what the upstream sent: HTTP/%s',
    async (version, body, reset) => {
      const { proxy, res, client, rest } = await stream({}, {}, version);
      res.write('data: 1\n\n');
      await client.until('data: 1\n\n');
      res.destroy();
      expect(await rest()).toEqual({ body, reset });
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', bytes: 9 });
    },
  );

  it('truncation without a provider: the default is a cut over HTTP/2, too', async () => {
    const { url, requests } = await manualUpstream();
    const { session } = await http2Proxy({ target: url });
    const closed = closing(session.request({ ':path': '/' }));
    const { res } = await requests.next();
    res.writeHead(200, SSE).write('data: 1\n\n', () => res.destroy());
    expect(await closed).toEqual({ body: 'data: 1\n\n', code: 2 });
  });
});
