import { once } from 'node:events';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import http2 from 'node:http2';
import { describe, expect, it, jest } from '@jest/globals';
import { responseInterceptor } from 'http-proxy-middleware';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import {
  keepAliveAgent,
  openRequest,
  readText,
  readUntilCut,
  request,
  responseTo,
} from '../../support/clients/http.js';
import { answersIn, rawClient } from '../../support/clients/raw.js';
import { runModule } from '../../support/programs/run.js';
import { certificate } from '../../support/servers/certificate.js';
import { connections } from '../../support/servers/listen.js';
import { SERVERS_KEY } from '../../support/servers/provider.js';
import { listenHttp2, type ProxyUnderTest, proxyApp, recordedProxy } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { bytesOf, openaiChat, toldBy, usageFrom } from '../../support/streams/dialects.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** A grace period that a test awaits the end of, and one that no test awaits. Milliseconds. */
const SHORT = 30;
const LONG = 60_000;

interface Running {
  proxy: ProxyUnderTest;
  /** The upstream's response: nothing was sent of it. */
  res: ServerResponse;
  client: ClientRequest;
  upstreamClosed: Promise<void>;
  /** How many requests the upstream has got. */
  requests(): number;
}

/** An exchange whose request has reached the upstream. */
async function running(options: SseProxyOptions = {}, headers: Record<string, string> = {}): Promise<Running> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  const client = openRequest(proxy.url, { headers }).end();
  const { res, closed } = await requests.next();
  return { proxy, res, client, upstreamClosed: closed, requests: () => requests.count };
}

/** Whether it has resolved, and what it has resolved to is of no matter. */
function watch(promise: Promise<unknown>): { readonly isDone: boolean } {
  const state = { isDone: false };
  void promise.then(() => {
    state.isDone = true;
  });
  return state;
}

describe('drain()', () => {
  it('drain(): resolves at once where nothing runs, and leaves no timer', async () => {
    stopTheClock();
    const { proxy } = await proxyApp({ target: 'http://127.0.0.1:9' });
    await proxy.drain();
    expect(proxy.active).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('drain(): answers new requests with a 503, sends nothing of them, and closes their connections', async () => {
    const { proxy, res, client, requests } = await running();
    const drained = proxy.proxy.drain({ grace: LONG });
    const agent = keepAliveAgent();
    const response = await request(proxy.url, { agent });
    expect([response.statusCode, response.headers.connection]).toEqual([503, 'close']);
    expect(response.headers['retry-after']).toBe('1');
    expect(JSON.parse(await readText(response)).error.code).toBe('DRAINING');
    expect(await proxy.summary()).toMatchObject({
      outcome: 'refused',
      statusCode: 503,
      attempts: { length: 0 },
      error: { code: 'DRAINING' },
    });

    res.end('fine');
    expect(await readText(await responseTo(client))).toBe('fine');
    await drained;
    expect(requests()).toBe(1);
  });

  it.each([Number.POSITIVE_INFINITY, 2 ** 40])(
    'drain(): waits for as long as it takes with a grace of %d',
    async (grace) => {
      const { proxy, res, client } = await running();
      const drained = proxy.proxy.drain({ grace });
      // A timer that Node has cut to a millisecond would have fired.
      await new Promise((resolve) => setTimeout(resolve, SHORT));
      res.end('fine');
      expect(await readText(await responseTo(client))).toBe('fine');
      await drained;
      expect(proxy.summaries).toMatchObject([{ outcome: 'completed' }]);
    },
  );

  it('drain(): lets running exchanges complete within the grace period, and resolves when the last was accounted for', async () => {
    const finished: string[] = [];
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, onFinish: ({ outcome }) => void finished.push(outcome) });
    const read = async (): Promise<string> => readText(await request(proxy.url));
    const bodies = Promise.all([read(), read()]);
    const [one, two] = [await requests.next(), await requests.next()];
    eventStream(one.res).write('data: 1\n\n');
    const drained = proxy.proxy.drain({ grace: LONG });
    const state = watch(drained);

    one.res.end('data: 2\n\n');
    await proxy.summary();
    await turns();
    expect([state.isDone, proxy.proxy.active]).toEqual([false, 1]);
    two.res.end('late');
    await drained;
    expect(finished).toEqual(['completed', 'completed']);
    expect(proxy.proxy.active).toBe(0);
    expect((await bodies).sort()).toEqual(['data: 1\n\ndata: 2\n\n', 'late']);
  });

  it('drain(): cuts what runs on after the grace period, as drained', async () => {
    const { proxy, res, client, upstreamClosed } = await running();
    eventStream(res).write('data: 1\n\n');
    const response = await responseTo(client);
    await once(response, 'readable');
    const drained = proxy.proxy.drain({ grace: SHORT });
    const { body, cut } = await readUntilCut(response);
    expect([body.toString(), cut]).toEqual(['data: 1\n\n', true]);
    await upstreamClosed;
    await drained;
    expect(proxy.summaries).toMatchObject([{ outcome: 'drained', statusCode: 200, error: { code: 'DRAINED' } }]);
    expect(proxy.proxy.active).toBe(0);
  });

  it('drain(): answers what has no head yet after the grace period with a 503', async () => {
    const { proxy, client, upstreamClosed } = await running();
    const drained = proxy.proxy.drain({ grace: SHORT });
    const response = await responseTo(client);
    expect([response.statusCode, response.headers.connection]).toEqual([503, 'close']);
    expect(JSON.parse(await readText(response)).error.code).toBe('DRAINED');
    await upstreamClosed;
    await drained;
    expect(proxy.summaries).toMatchObject([
      { outcome: 'drained', statusCode: 503, attempts: [{ error: 'DRAINED' }], error: { code: 'DRAINED' } },
    ]);
  });

  it('drain(): accounts for what a cut stream has used', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }) });
    const client = openRequest(proxy.url + openaiChat.path).end();
    const { res } = await requests.next();
    eventStream(res).write(bytesOf(openaiChat.parts.slice(0, 5)));
    const response = await responseTo(client);
    await once(response, 'readable');
    await proxy.proxy.drain({ grace: SHORT });
    expect(proxy.summaries).toMatchObject([
      { outcome: 'drained', usage: usageFrom(toldBy(openaiChat.parts.slice(0, 5)), false) },
    ]);
    expect((await readUntilCut(response)).cut).toBe(true);
  });

  it('drain(): waits for a client that does not read for five seconds more', async () => {
    stopTheClock();
    const { proxy, res, client, upstreamClosed } = await running();
    const chunk = Buffer.alloc(1024 * 1024);
    const write = (): void => {
      let more = !res.destroyed;
      while (more) more = res.write(chunk);
    };
    const responded = responseTo(client);
    eventStream(res).on('drain', write);
    const response = await responded;
    write();
    await turns(200);
    expect(res.writableNeedDrain).toBe(true);

    const drained = proxy.proxy.drain();
    jest.advanceTimersByTime(30_000);
    await upstreamClosed;
    expect(proxy.proxy.active).toBe(1);
    jest.advanceTimersByTime(5_000);
    await drained;
    expect(proxy.summaries).toMatchObject([{ outcome: 'drained' }]);
    expect((await readUntilCut(response)).cut).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('drain(): resolves five seconds later, too, where a client pipelines and reads nothing', async () => {
    const { url } = await upstream((_req, res) => void res.end(Buffer.alloc(16 * 1024 * 1024)));
    const proxy = await proxyApp({ target: url, timeouts: { drain: false } });
    const connected = once(proxy.server, 'connection');
    const { socket } = await rawClient(proxy.port);
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(8));
    const [served] = await connected;
    await until(() => served.writableNeedDrain);
    stopTheClock();
    const drained = proxy.proxy.drain({ grace: 30_000 });
    jest.advanceTimersByTime(30_000);
    await turns(20);
    expect(proxy.proxy.active).toBeGreaterThan(0);
    jest.advanceTimersByTime(5_000);
    await drained;
    expect(proxy.proxy.active).toBe(0);
  });

  it('drain(): resolves although requests come without end, and are refused', async () => {
    stopTheClock();
    const { proxy, client } = await running();
    const state = watch(proxy.proxy.drain());
    let refused = 0;
    // One more before each is answered: there is never none.
    const ask = (): void => {
      if (state.isDone) return;
      openRequest(proxy.url)
        .end()
        .once('response', (response: IncomingMessage) => {
          refused += 1;
          ask();
          response.resume();
        });
    };
    for (let i = 0; i < 5; i += 1) ask();
    while (refused < 20) await turns();
    expect(state.isDone).toBe(false);
    jest.advanceTimersByTime(30_000);
    expect((await responseTo(client)).statusCode).toBe(503);
    while (!state.isDone) await turns();
  });

  it('drain(): called twice resolves twice, and the shorter grace period counts', async () => {
    const { proxy, client } = await running();
    const drains = [proxy.proxy.drain({ grace: LONG }), proxy.proxy.drain({ grace: SHORT })];
    expect((await responseTo(client)).statusCode).toBe(503);
    await Promise.all(drains);
    expect(proxy.summaries).toHaveLength(1);
    await proxy.proxy.drain();
  });

  it('drain(): ends the proxy’s own connections with the server: `server.close()`', async () => {
    const { proxy, res, client } = await running({}, { connection: 'keep-alive' });
    const closed = once(proxy.server, 'close');
    proxy.server.close();
    const drained = proxy.proxy.drain({ grace: LONG });
    const state = watch(closed);
    await turns();
    expect(state.isDone).toBe(false);
    res.end('fine');
    expect(await readText(await responseTo(client))).toBe('fine');
    await drained;
    proxy.server.closeIdleConnections();
    await closed;
    expect(await connections(proxy.server)).toBe(0);
  });
});

describe('a stream that is drained', () => {
  const RETRY = 'retry: 1000\n\n';
  const EVENT_SOURCE = { accept: 'text/event-stream' };

  async function drainedBody(options: SseProxyOptions, headers: Record<string, string>, sent: string): Promise<string> {
    const { proxy, res, client } = await running(options, headers);
    eventStream(res).write(sent);
    const response = await responseTo(client);
    await once(response, 'readable');
    void proxy.proxy.drain({ grace: SHORT });
    const { body, cut } = await readUntilCut(response);
    expect(cut).toBe(true);
    expect((await proxy.summary()).bytes).toBe(body.length);
    return body.toString();
  }

  it('drain(): a stream tells an EventSource when to come back', async () => {
    expect(await drainedBody({}, EVENT_SOURCE, 'data: 1\n\n')).toBe(`data: 1\n\n${RETRY}`);
  });

  it('drain(): a stream that only breaks off tells an EventSource nothing of the kind', async () => {
    const { proxy, res, client } = await running({}, EVENT_SOURCE);
    eventStream(res).write('data: 1\n\n', () => res.destroy());
    expect((await readUntilCut(await responseTo(client))).body.toString()).toBe('data: 1\n\n');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('drain(): a stream tells an EventSource nothing in the middle of an event', async () => {
    expect(await drainedBody({}, EVENT_SOURCE, 'data: 1\n\ndata: hal')).toBe('data: 1\n\ndata: hal');
  });

  it('drain(): a stream tells a client that is no EventSource nothing', async () => {
    expect(await drainedBody({}, { accept: '*/*' }, 'data: 1\n\n')).toBe('data: 1\n\n');
  });

  it('drain(): a stream with a provider says so in its dialect, behind that', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }) });
    const read = async (headers: Record<string, string>, client = openRequest(proxy.url, { headers }).end()) => {
      eventStream((await requests.next()).res).write('data: {}\n\n');
      const response = await responseTo(client);
      await once(response, 'readable');
      return response;
    };
    const [plain, eventSource] = [await read({}), await read(EVENT_SOURCE)];
    const drained = proxy.proxy.drain({ grace: SHORT });
    const error =
      'data: {"error":{"message":"The proxy was shut down.","type":"proxy_error","param":null,"code":"DRAINED"}}\n\n';
    const bodies = await Promise.all([readUntilCut(plain), readUntilCut(eventSource)]);
    expect(bodies.map(({ body }) => body.toString())).toEqual([`data: {}\n\n${error}`, `data: {}\n\n${RETRY}${error}`]);
    await drained;
  });

  it('drain(): a stream with a provider is not called failed where it had said its end', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }) });
    const client = openRequest(proxy.url + openaiChat.path).end();
    eventStream((await requests.next()).res).write(bytesOf(openaiChat.parts));
    const response = await responseTo(client);
    await once(response, 'readable');
    const drained = proxy.proxy.drain({ grace: SHORT });
    expect((await readUntilCut(response)).body).toEqual(bytesOf(openaiChat.parts));
    await drained;
  });
});

describe('an exchange that waits while the proxy is drained', () => {
  it('drain(): an exchange that waits for its turn still gets it within the grace period', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    openRequest(proxy.url)
      .end()
      .once('response', (response) => response.resume());
    const first = await requests.next();
    const waiting = openRequest(`${proxy.url}/waiting`).end();
    await until(() => proxy.proxy.active === 2);
    const drained = proxy.proxy.drain({ grace: LONG });
    first.res.end();
    const { req, res } = await requests.next();
    expect(req.url).toBe('/waiting');
    res.end('fine');
    expect(await readText(await responseTo(waiting))).toBe('fine');
    await drained;
  });

  it('drain(): an exchange that waits for its turn is answered with a 503 after it', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1 } } });
    const clients = [openRequest(proxy.url).end()];
    await requests.next();
    clients.push(openRequest(proxy.url).end());
    await until(() => proxy.proxy.active === 2);
    const drained = proxy.proxy.drain({ grace: SHORT });
    for (const client of clients) expect((await responseTo(client)).statusCode).toBe(503);
    await drained;
    expect(proxy.summaries.map(({ outcome, attempts }) => [outcome, attempts.length])).toEqual([
      ['drained', 1],
      ['drained', 0],
    ]);
    expect(requests.count).toBe(1);
  });

  it('drain(): an exchange that waits for a retry is answered with a 503 after it, and nothing more is sent', async () => {
    const { proxy, res, client, upstreamClosed, requests } = await running({ retry: {} });
    res.writeHead(503, { 'retry-after': '20' }).end();
    await upstreamClosed;
    const drained = proxy.proxy.drain({ grace: SHORT });
    const response = await responseTo(client);
    expect(JSON.parse(await readText(response)).error.code).toBe('DRAINED');
    await drained;
    expect(proxy.summaries).toMatchObject([{ outcome: 'drained', attempts: [{ statusCode: 503 }] }]);
    expect(requests()).toBe(1);
  });

  it('drain(): an exchange that waits for a retry still gets it within the grace period', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, retry: {} });
    const client = openRequest(proxy.url).end();
    (await requests.next()).res.writeHead(503, { 'retry-after-ms': '50' }).end();
    const drained = proxy.proxy.drain({ grace: LONG });
    (await requests.next()).res.end('fine');
    expect(await readText(await responseTo(client))).toBe('fine');
    await drained;
  });

  it('drain(): an exchange that waits for its first event is answered with a 503 after it', async () => {
    const { proxy, res, client } = await running({ commit: 'first-event' });
    eventStream(res).write('data: hal');
    const drained = proxy.proxy.drain({ grace: SHORT });
    expect((await responseTo(client)).statusCode).toBe(503);
    await drained;
    expect(proxy.summaries).toMatchObject([{ outcome: 'drained', statusCode: 503 }]);
  });

  it.each<[string, (drained: Promise<void>, late: () => void) => NonNullable<SseProxyOptions['on']>['proxyRes']]>([
    [
      'by hand',
      (drained, late) => (_proxyRes, _req, res) =>
        void drained.then(() => {
          (res as ServerResponse).writeHead(200).end('late');
          late();
        }),
    ],
    [
      'by responseInterceptor',
      (drained, late) =>
        responseInterceptor(async () => {
          await drained;
          setImmediate(late);
          return 'late';
        }) as NonNullable<SseProxyOptions['on']>['proxyRes'],
    ],
  ])(
    'drain(): an exchange that waits is the answer where selfHandleResponse is not done, which may go on: %s',
    async (_name, create) => {
      const { promise: late, resolve } = signal();
      const drained = signal();
      const handedOver = signal();
      const { url } = await upstream((_req, res) => res.end('whole'));
      const listener = create(drained.promise, resolve);
      const { port, proxy } = await proxyApp({
        target: url,
        selfHandleResponse: true,
        on: {
          proxyRes(...args) {
            handedOver.resolve();
            return listener?.(...args);
          },
        },
      });
      const client = await rawClient(port);
      client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await handedOver.promise;
      await turns();
      await proxy.drain({ grace: 0 });
      drained.resolve();
      await late;
      await turns();
      expect(answersIn((await client.end()).text)).toMatchObject([
        { status: 503, body: expect.stringContaining('DRAINED') },
      ]);
    },
  );

  it('drain(): an exchange that waits for the rest of an answer whose client has left is ended after it', async () => {
    const { proxy, res, client, upstreamClosed } = await running({ onClientClose: 'continue' });
    eventStream(res).write('data: 1\n\n');
    await once(await responseTo(client), 'readable');
    client.destroy();
    await until(async () => (await connections(proxy.server)) === 0);
    expect(proxy.proxy.active).toBe(1);
    await proxy.proxy.drain({ grace: SHORT });
    await upstreamClosed;
    expect(proxy.summaries).toMatchObject([{ outcome: 'client-closed' }]);
  });
});

describe('drain() and answers over HTTP/2 that were written to their end', () => {
  /** A proxy that a client asks, which goes on to send its upload, or takes no more than this many bytes of an answer that it does not read. */
  async function asked(answer: string, initialWindowSize = 65_535, options: SseProxyOptions = {}) {
    const { url } = await upstream((_req, res) => res.end(answer));
    const { proxy, summaries } = recordedProxy({ target: url, ...options });
    const port = await listenHttp2((req, res) => void proxy(req, res));
    const { cert } = await certificate();
    const session = http2.connect(`https://localhost:${port}`, { ca: cert, settings: { initialWindowSize } });
    onCleanUp(() => session.destroy());
    const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: false });
    stream.write('more is to come');
    await once(stream, 'response');
    return { proxy, summaries, stream };
  }

  it('drain(): an answer that the client has is completed, although its upload goes on', async () => {
    const { proxy, summaries, stream } = await asked('whole');
    await once(stream.resume(), 'end');
    await proxy.drain({ grace: 0 });
    expect(await summaries.next()).toMatchObject({ outcome: 'completed', bytes: 5 });
  });

  it('timeouts.total: an answer that the client has is completed, although its upload goes on', async () => {
    const { summaries, stream } = await asked('whole', undefined, { timeouts: { total: 300 } });
    await once(stream.resume(), 'end');
    expect(await summaries.next()).toMatchObject({ outcome: 'completed', bytes: 5 });
  });

  it('drain(): a client is given the moment that it takes to read an answer that was written to its end', async () => {
    const { proxy, summaries, stream } = await asked('a'.repeat(1_000), 10);
    stream.end();
    await turns();
    const drained = proxy.drain({ grace: 0 });
    await turns();
    expect(await readText(stream as unknown as IncomingMessage)).toHaveLength(1_000);
    await drained;
    expect(await summaries.next()).toMatchObject({ outcome: 'completed', bytes: 1_000 });
  });
});

it('drain(): a process whose proxy is drained ends by itself: nothing is left that keeps it', async () => {
  const { exitCode, stdout, stderr } = await runModule(`
    import { once } from 'node:events';
    import http from 'node:http';
    import { createSseProxy } from 'express-sse-proxy';

    const listen = async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      return 'http://127.0.0.1:' + server.address().port;
    };
    const upstream = http.createServer((req, res) => {
      if (req.url === '/waits') return;
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\\n\\n');
      if (req.url === '/ends') res.end();
    });
    const proxy = createSseProxy({
      target: await listen(upstream),
      retry: {},
      heartbeat: {},
      timeouts: { total: 600_000 },
      limits: { concurrency: 3, queue: { size: 1, timeout: 600_000 } },
      onFinish: ({ outcome }) => console.log(outcome),
    });
    const server = http.createServer(proxy);
    const url = await listen(server);
    const get = (path) => new Promise((resolve) => {
      const req = http.get(url + path, (res) => res.on('error', () => {}).on('close', resolve).resume());
      req.on('error', resolve);
    });
    const clients = ['/ends', '/runs-on', '/runs-on', '/waits', '/queued'].map(get);
    await clients[0];
    while (proxy.active < 4) await new Promise((resolve) => setImmediate(resolve));

    server.close();
    await proxy.drain({ grace: 100 });
    console.log('active', proxy.active);
    await Promise.all(clients);
    upstream.close();
    upstream.closeAllConnections();
    server.closeIdleConnections();
  `);
  expect(stderr).toBe('');
  expect(stdout.split('\n')).toEqual(['completed', ...Array(4).fill('drained'), 'active 0', '']);
  expect(exitCode).toBe(0);
});
