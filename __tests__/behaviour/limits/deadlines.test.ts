import { once } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it, jest } from '@jest/globals';
import type { SseProxyErrorCode, SseProxyOptions } from '../../../lib/index.js';
import { openRequest, reader, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { stuckClient } from '../../support/clients/raw.js';
import { closedPort } from '../../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { closed, Queue, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** What a deadline of a test has: short, and awaited by what comes of it. Milliseconds. */
const SHORT = 40;
const DAY = 86_400_000;

/** More than a response takes in before it has its source wait. */
const MUCH = Buffer.alloc(256 * 1024, 'x');

/** The URL of an upstream that accepts connections and never shakes hands. */
async function unconnectable(): Promise<{ url: string; sockets: Set<Socket> }> {
  const { url, sockets } = await rawUpstream(() => {});
  return { url: url.replace('http:', 'https:'), sockets };
}

async function expectTimeout(response: IncomingMessage, code: SseProxyErrorCode, mayRetry: boolean): Promise<void> {
  expect(response.statusCode).toBe(504);
  expect(response.headers['content-type']).toMatch(/^application\/json\b/);
  expect(response.headers['x-should-retry']).toBe(mayRetry ? undefined : 'false');
  const { error } = JSON.parse(await readText(response));
  expect(error).toEqual({ message: expect.any(String), type: 'proxy_error', code });
}

const timeout = (code: SseProxyErrorCode): object => ({ outcome: 'timeout', error: { code } });

// --- how long each one is ---------------------------------------------------------------------------------------------

/** Brings an exchange to where only this deadline is left to end it, and returns what ends it otherwise. */
type Waiting = (options: SseProxyOptions) => Promise<{ proxy: ProxyUnderTest; release: () => void }>;

const untilConnected: Waiting = async (options) => {
  const { url, sockets } = await unconnectable();
  const proxy = await proxyApp({ target: url, ...options });
  openRequest(proxy.url).end();
  while (sockets.size === 0) await turns(1);
  return { proxy, release: () => [...sockets].map((socket) => socket.destroy()) };
};

const untilHead: Waiting = async (options) => {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  openRequest(proxy.url).end();
  const { res } = await requests.next();
  await turns();
  return { proxy, release: () => res.destroy() };
};

const untilNextByte: Waiting = async (options) => {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  const req = openRequest(proxy.url).end();
  const { res } = await requests.next();
  eventStream(res).write('data: 1\n\n');
  await once(await responseTo(req), 'data');
  return { proxy, release: () => res.destroy() };
};

const untilRead: Waiting = async (options) => {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  const { socket, taken } = stuckClient(proxy.server);
  const { res } = await requests.next();
  eventStream(res).write(MUCH);
  await taken.next();
  await turns();
  return { proxy, release: () => socket.destroy() };
};

const PHASES: [name: keyof NonNullable<SseProxyOptions['timeouts']>, Waiting, number, SseProxyErrorCode][] = [
  ['connect', untilConnected, 10_000, 'UPSTREAM_CONNECT_TIMEOUT'],
  ['headers', untilHead, 120_000, 'UPSTREAM_TIMEOUT'],
  ['idle', untilNextByte, 120_000, 'UPSTREAM_TIMEOUT'],
  ['drain', untilRead, 120_000, 'CLIENT_TIMEOUT'],
  ['total', untilHead, 60_000, 'TOTAL_TIMEOUT'],
];

describe.each(PHASES)('timeouts.%s', (name, wait, length, code) => {
  const asTotal = name === 'total';

  it(`timeouts.${name}: is ${asTotal ? 'as long as is said' : `${length} ms by default`}`, async () => {
    stopTheClock();
    const { proxy } = await wait(asTotal ? { timeouts: { total: length } } : {});
    jest.advanceTimersByTime(length - 1);
    await turns();
    expect(proxy.summaries).toEqual([]);
    expect(proxy.proxy.active).toBe(1);

    jest.advanceTimersByTime(1);
    await expectOneSummary(proxy, timeout(code));
  });

  it(`timeouts.${name}: is switched off by ${asTotal ? 'default' : '`false`'}`, async () => {
    stopTheClock();
    // Of the same exchange, the other deadlines may be what ends it.
    const off = { connect: false, headers: false, idle: false, drain: false } as const;
    const { proxy, release } = await wait({ timeouts: asTotal ? off : { [name]: false } });
    jest.advanceTimersByTime(DAY);
    await turns();
    expect(proxy.summaries).toEqual([]);
    expect(proxy.proxy.active).toBe(1);

    release();
    expect((await proxy.summary()).outcome).not.toBe('timeout');
  });
});

// --- before the head --------------------------------------------------------------------------------------------------

describe('an upstream that is not connected in time', () => {
  it('timeouts.connect: an upstream that is not connected in time is a 504 that may be tried again, since the request was not sent', async () => {
    const { url, sockets } = await unconnectable();
    const proxy = await proxyApp({ target: url, timeouts: { connect: SHORT } });

    await expectTimeout(await request(proxy.url), 'UPSTREAM_CONNECT_TIMEOUT', true);
    await expectOneSummary(proxy, {
      ...timeout('UPSTREAM_CONNECT_TIMEOUT'),
      statusCode: 504,
      attempts: [{ target: url, error: 'UPSTREAM_CONNECT_TIMEOUT', duration: expect.any(Number) }],
    });
    await Promise.all([...sockets].map(closed));
  });

  it('timeouts.connect: does not count once the upstream is connected', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { connect: 1_000 } });
    const req = openRequest(proxy.url).end();
    const { res } = await requests.next();
    jest.advanceTimersByTime(100_000);
    res.end('late');
    expect(await readText(await responseTo(req))).toBe('late');
  });
});

describe('an upstream that does not answer in time', () => {
  it('timeouts.headers: an upstream that does not answer in time is a 504 that must not be tried again, since the request may have been served', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { headers: SHORT } });

    const response = request(proxy.url, { method: 'POST', body: '{}' });
    const received = await requests.next();
    await expectTimeout(await response, 'UPSTREAM_TIMEOUT', false);
    await received.closed;
    await expectOneSummary(proxy, {
      ...timeout('UPSTREAM_TIMEOUT'),
      statusCode: 504,
      attempts: [{ target: url, error: 'UPSTREAM_TIMEOUT' }],
    });
  });

  it('timeouts.headers: run from the end of the request on: the upload of a slow client does not count', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('half');
    const received = await requests.next();
    const upload = reader(received.req);
    await upload.until('half');
    jest.advanceTimersByTime(DAY);
    expect(proxy.proxy.active).toBe(1);

    req.end('-done');
    await upload.until('-done');
    jest.advanceTimersByTime(119_000);
    received.res.end('fine');
    expect(await readText(await responseTo(req))).toBe('fine');
  });

  it('timeouts.headers: an upload that the upstream takes slowly, but takes, does not count', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    let upstreamRequest: ClientRequest | undefined;
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyReq: (proxyReq) => {
          upstreamRequest = proxyReq;
        },
      },
    });
    const client = openRequest(proxy.url, { method: 'POST' });
    const size = upload(client);
    const { req, res } = await requests.next();
    let received = 0;
    req.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    req.pause();
    for (let i = 0; i < 5; i += 1) {
      while (upstreamRequest?.writableNeedDrain !== true) await turns(1);
      jest.advanceTimersByTime(100_000);
      const drained = once(upstreamRequest, 'drain');
      req.resume();
      await drained;
      req.pause();
    }
    client.end();
    req.resume();
    await once(req, 'end');
    expect(received).toBe(size.written);
    res.end('fine');
    expect(await readText(await responseTo(client))).toBe('fine');
  });

  it('timeouts.headers: an upstream that does not take the upload is one that does not answer in time', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { headers: SHORT } });
    const req = openRequest(proxy.url, { method: 'POST' });
    upload(req);
    const received = await requests.next();
    await expectTimeout(await responseTo(req), 'UPSTREAM_TIMEOUT', false);
    received.req.resume();
    await received.closed;
    expect(received.req.complete).toBe(false);
    await expectOneSummary(proxy, timeout('UPSTREAM_TIMEOUT'));
  });
});

/** Writes as much as is taken, and so does not end. */
function upload(req: ClientRequest): { written: number } {
  const size = { written: 0 };
  const write = (): void => {
    let more = !req.writableEnded && !req.destroyed;
    while (more) {
      size.written += MUCH.length;
      more = req.write(MUCH);
    }
  };
  req.on('drain', write);
  write();
  return size;
}

// --- behind the head --------------------------------------------------------------------------------------------------

describe('an upstream that falls silent behind the head', () => {
  it('timeouts.idle: an upstream that falls silent has its response cut, visibly, and its connection closed', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { idle: SHORT } });
    const response = request(proxy.url);
    const { res, closed } = await requests.next();
    eventStream(res).write('data: 1\n\n');
    const { body, cut } = await readUntilCut(await response);
    expect(body.toString()).toBe('data: 1\n\n');
    expect(cut).toBe(true);
    await closed;
    await expectOneSummary(proxy, {
      ...timeout('UPSTREAM_TIMEOUT'),
      statusCode: 200,
      bytes: 9,
      attempts: [{ target: url, statusCode: 200, error: 'UPSTREAM_TIMEOUT' }],
    });
  });

  it('timeouts.idle: an upstream that falls silent has its response cut even if not a byte of the body came', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { idle: SHORT } });
    const response = request(proxy.url);
    eventStream((await requests.next()).res);
    expect(await readUntilCut(await response)).toEqual({ body: Buffer.alloc(0), cut: true });
    await expectOneSummary(proxy, timeout('UPSTREAM_TIMEOUT'));
  });

  it('timeouts.idle: an upstream that falls silent is told of in an error event, where `truncation` says so', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { idle: SHORT }, truncation: 'event' });
    const response = request(proxy.url);
    eventStream((await requests.next()).res).write('data: 1\n\n');
    const { body, cut } = await readUntilCut(await response);
    expect(body.toString()).toMatch(/^data: 1\n\nevent: error\ndata: .*"UPSTREAM_TIMEOUT"/);
    expect(cut).toBe(true);
  });

  it('timeouts.idle: an upstream that falls silent is not hidden by heartbeats', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { idle: 10 * SHORT }, heartbeat: { interval: SHORT / 4 } });
    const response = request(proxy.url);
    eventStream((await requests.next()).res).write('data: 1\n\n');
    const { body, cut } = await readUntilCut(await response);
    expect(body.toString()).toMatch(/^data: 1\n\n(: ping\n\n)+$/);
    expect(cut).toBe(true);
    await expectOneSummary(proxy, timeout('UPSTREAM_TIMEOUT'));
  });

  it.each<[string, SseProxyOptions]>([
    ['', {}],
    [' in front of a transform', { transformEvent: () => {} }],
    [' in front of a transform that drops everything', { transformEvent: () => null }],
  ])('timeouts.idle: an upstream that falls silent is heard again with each chunk%s', async (_, options) => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const read = new Queue<Buffer>();
    const proxy = await proxyApp({
      target: url,
      timeouts: { idle: 1_000 },
      on: { proxyRes: (proxyRes) => void proxyRes.on('data', (chunk: Buffer) => read.push(chunk)) },
      ...options,
    });
    const req = openRequest(proxy.url).end();
    const { res } = await requests.next();
    eventStream(res);
    (await responseTo(req)).resume();
    for (let i = 0; i < 5; i += 1) {
      jest.advanceTimersByTime(900);
      res.write(`data: ${i}\n\n`);
      await read.next();
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('timeouts.idle: an upstream that falls silent is another than one whose client does not read (backpressure)', async () => {
    stopTheClock();
    const { proxy, release } = await untilRead({ timeouts: { idle: 1_000, drain: false } });
    jest.advanceTimersByTime(DAY);
    await turns();
    expect(proxy.summaries).toEqual([]);
    release();
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });
});

describe('a client that takes nothing', () => {
  it('timeouts for a client that does not read: a client that takes nothing is cut off, and so is the upstream', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { drain: SHORT } });
    const { socket } = stuckClient(proxy.server);
    const { res, closed: upstreamClosed } = await requests.next();
    eventStream(res).write(MUCH);
    await closed(socket as Socket);
    await upstreamClosed;
    await expectOneSummary(proxy, { ...timeout('CLIENT_TIMEOUT'), statusCode: 200 });
  });

  it('timeouts for a client that does not read: a client that takes nothing is cut off, too, where all that it has not taken is the rest of a response that has ended', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
    const proxy = await proxyApp({ target: url, timeouts: { drain: SHORT } });
    const { socket, taken } = stuckClient(proxy.server);
    expect(await taken.next()).toContain('data: 1\n\n');
    await closed(socket as Socket);
    await expectOneSummary(proxy, timeout('CLIENT_TIMEOUT'));
  });

  it('timeouts for a client that does not read: one over a real connection, too', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { drain: 10 * SHORT } });
    const req = openRequest(proxy.url).end();
    const { res, closed: upstreamClosed } = await requests.next();
    eventStream(res);
    const write = (): void => {
      let more = !res.destroyed;
      while (more) more = res.write(MUCH);
    };
    res.on('drain', write);
    const response = await responseTo(req);
    write();
    await upstreamClosed;
    await expectOneSummary(proxy, timeout('CLIENT_TIMEOUT'));
    expect((await readUntilCut(response)).cut).toBe(true);
  });
});

describe('timeouts.total', () => {
  it('timeouts.total: is a 504 before the head', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { total: SHORT } });
    const response = request(proxy.url);
    const { closed } = await requests.next();
    await expectTimeout(await response, 'TOTAL_TIMEOUT', false);
    await closed;
    await expectOneSummary(proxy, timeout('TOTAL_TIMEOUT'));
  });

  it('timeouts.total: cuts a stream that goes on', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: { total: 5 * SHORT } });
    const response = request(proxy.url);
    const { res, closed } = await requests.next();
    eventStream(res);
    const send = (): void => {
      if (!res.destroyed) res.write('data: 1\n\n', () => setImmediate(send));
    };
    send();
    const { body, cut } = await readUntilCut(await response);
    expect(body.toString()).toMatch(/^(data: 1\n\n)+/);
    expect(cut).toBe(true);
    await closed;
    await expectOneSummary(proxy, timeout('TOTAL_TIMEOUT'));
  });

  it('timeouts.total: ends the wait for a retry, and nothing more is sent', async () => {
    let requests = 0;
    const { url } = await upstream((_req, res) => {
      requests += 1;
      res.writeHead(503, { 'retry-after': '20' }).end('busy');
    });
    const proxy = await proxyApp({ target: url, timeouts: { total: 5 * SHORT }, retry: {} });
    await expectTimeout(await request(proxy.url), 'TOTAL_TIMEOUT', false);
    await expectOneSummary(proxy, { ...timeout('TOTAL_TIMEOUT'), attempts: [{ target: url, statusCode: 503 }] });
    expect(requests).toBe(1);
  });

  it('timeouts.total: is not started anew by a retry', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    const proxy = await proxyApp({
      target,
      timeouts: { total: 5 * SHORT },
      retry: { maxRetries: 1_000_000, minTimeout: 20, maxTimeout: 20 },
    });
    await expectTimeout(await request(proxy.url), 'TOTAL_TIMEOUT', false);
    expect((await proxy.summary()).attempts.length).toBeGreaterThan(1);
  });
});

describe('with selfHandleResponse', () => {
  it('timeouts with selfHandleResponse: no deadline cuts what is the user’s', async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      timeouts: { connect: 1_000, headers: 1_000, idle: 1_000, drain: 1_000, total: 1_000 },
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    const req = openRequest(proxy.url).end();
    const { res } = await requests.next();
    eventStream(res).write('first');
    const client = reader(await responseTo(req));
    await client.until('first');
    jest.advanceTimersByTime(DAY);
    res.end('last');
    await client.until('last');
    await expectOneSummary(proxy, { outcome: 'completed' });
  });

  it.each([
    ['headers', 'UPSTREAM_TIMEOUT'],
    ['total', 'TOTAL_TIMEOUT'],
  ] as const)(
    'timeouts with selfHandleResponse: an upstream that does not answer is a 504 all the same: %s',
    async (name, code) => {
      const { url } = await manualUpstream();
      const proxy = await proxyApp({ target: url, selfHandleResponse: true, timeouts: { [name]: SHORT } });
      await expectTimeout(await request(proxy.url), code, false);
      await expectOneSummary(proxy, timeout(code));
    },
  );
});
