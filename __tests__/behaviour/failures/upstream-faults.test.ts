import { once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { SseProxyErrorCode, SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { rawClient, rawExchange } from '../../support/clients/raw.js';
import { certificate } from '../../support/servers/certificate.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

// --- before the head ------------------------------------------------------------------------------------------------

/** A raw upstream that answers the first bytes of every connection like this. */
const raw = (answer: (socket: Socket) => void) => async (): Promise<string> => {
  const { url } = await rawUpstream((socket) => answer(socket));
  return url;
};
const bytes = (text: string) => raw((socket) => socket.write(text, 'latin1'));

/** A server with a certificate that nobody else has signed. */
async function selfSigned(): Promise<string> {
  const { key, cert } = await certificate();
  const server = https.createServer({ key, cert }, (_req, res) => res.end('secret'));
  return `https://localhost:${await listen(server)}`;
}

const FAULTS: [name: string, makeTarget: () => Promise<string>, code: SseProxyErrorCode][] = [
  ['refuses the connection', async () => `http://127.0.0.1:${await closedPort()}`, 'UPSTREAM_UNREACHABLE'],
  ['has a name that does not exist', async () => 'http://nowhere.invalid', 'UPSTREAM_UNREACHABLE'],
  ['resets the connection', raw((socket) => socket.resetAndDestroy()), 'UPSTREAM_CLOSED'],
  ['closes the connection without a byte', raw((socket) => socket.end()), 'UPSTREAM_CLOSED'],
  [
    'closes the connection in the middle of the head',
    raw((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Ty')),
    'UPSTREAM_CLOSED',
  ],
  ['sends something that is not HTTP', bytes('SSH-2.0-OpenSSH_9.6\r\n\r\n'), 'UPSTREAM_INVALID_RESPONSE'],
  [
    'sends a head that is too large',
    bytes(`HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(100_000)}\r\n\r\n`),
    'UPSTREAM_INVALID_RESPONSE',
  ],
  ['sends status 000', bytes('HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n'), 'UPSTREAM_INVALID_RESPONSE'],
  [
    'sends control bytes in a header value',
    bytes('HTTP/1.1 200 OK\r\nX-Bad: a\x01b\r\nContent-Length: 0\r\n\r\n'),
    'UPSTREAM_INVALID_RESPONSE',
  ],
  [
    'switches protocols without being asked',
    bytes('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    'UPSTREAM_INVALID_RESPONSE',
  ],
  [
    'switches protocols without being asked and goes on in the new one',
    bytes('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello'),
    'UPSTREAM_INVALID_RESPONSE',
  ],
  [
    'sends Content-Length and Transfer-Encoding',
    bytes('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'),
    'UPSTREAM_INVALID_RESPONSE',
  ],
  [
    'does not speak TLS',
    async () => (await upstream((_req, res) => res.end('secret'))).url.replace('http:', 'https:'),
    'UPSTREAM_TLS_FAILED',
  ],
  ['has a certificate that nobody vouches for', selfSigned, 'UPSTREAM_TLS_FAILED'],
];

const PATH = '/secret-path?key=sk-secret';

/** The response of the proxy itself: JSON that tells nothing about the upstream. */
async function expectErrorResponse(response: IncomingMessage, target: string, code: string): Promise<void> {
  expect(response.statusCode).toBe(502);
  expect(response.headers['content-type']).toMatch(/^application\/json\b/);
  expect(response.headers['cache-control']).toBe('no-store');
  const body = await readText(response);
  expect(JSON.parse(body)).toEqual({ error: { message: expect.any(String), type: 'proxy_error', code } });
  const { hostname, port } = new URL(target);
  const text = JSON.stringify(response.rawHeaders) + body;
  expect(body).not.toMatch(/127\.0\.0\.1|localhost|invalid"/);
  for (const secret of [`//${hostname}`, `${hostname}:`, 'secret', ...(port === '' ? [] : [`:${port}`])]) {
    expect(text).not.toContain(secret);
  }
}

describe.each(FAULTS)('an upstream that %s', (_, makeTarget, code) => {
  const summary = (target: string): object => ({
    outcome: 'upstream-error',
    statusCode: 502,
    attempts: { length: 1 },
    target,
    bytes: 0,
    error: { name: 'SseProxyError', code, statusCode: 502 },
  });

  it.each([
    ['GET', undefined],
    ['HEAD', undefined],
    ['POST', '{"stream":true}'],
  ])('upstream fault before the head: is a 502 for %s', async (method, body) => {
    const target = await makeTarget();
    const proxy = await proxyApp({ target });

    const response = await request(proxy.url + PATH, { method, ...(body !== undefined && { body }) });
    if (method === 'HEAD') expect(response.statusCode).toBe(502);
    else await expectErrorResponse(response, target, code);
    await expectOneSummary(proxy, summary(target));
  });

  it.each(['Content-Length', 'chunks'])(
    'upstream fault before the head: is a 502 in the middle of an upload (%s), and the connection goes on',
    async (framing) => {
      const target = await makeTarget();
      const proxy = await proxyApp({ target }, (app) => app.get('/own', (_req, res) => res.send('own')));
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      onCleanUp(() => agent.destroy());

      const chunk = Buffer.alloc(64 * 1024, 'x');
      const headers = framing === 'chunks' ? {} : { 'content-length': 20 * chunk.length };
      const req = openRequest(proxy.url + PATH, { method: 'POST', headers, agent });
      req.write(chunk);
      await expectErrorResponse(await responseTo(req), target, code);
      for (let i = 1; i < 20; i += 1) req.write(chunk);
      req.end();
      await once(req, 'finish');
      await expectOneSummary(proxy, summary(target));

      const second = openRequest(`${proxy.url}/own`, { agent });
      second.end();
      expect(await readText(await responseTo(second))).toBe('own');
      expect(second.reusedSocket).toBe(true);
    },
  );
});

describe('a head with something wrong that does no harm', () => {
  it('response head with a harmless fault: is sent on without control bytes in the reason phrase', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.write('HTTP/1.1 200 Fi\x01ne\r\nContent-Length: 2\r\n\r\nok', 'latin1'),
    );
    const proxy = await proxyApp({ target: url });

    const response = await request(proxy.url);
    expect(response.statusMessage).toBe('OK');
    expect(await readText(response)).toBe('ok');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('response head with a harmless fault: is sent on with bytes above ASCII in a header value', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.write('HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 2\r\n\r\nok', 'latin1'),
    );
    const proxy = await proxyApp({ target: url });

    const response = await request(proxy.url);
    expect(response.headers['x-name']).toBe('caf\xe9');
    expect(await readText(response)).toBe('ok');
  });
});

describe('proxyTimeout', () => {
  it.each(['GET', 'POST'])(
    'proxyTimeout: is a 504 that SDKs do not repeat, where the head does not come: %s',
    async (method) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, proxyTimeout: 50 });

      const response = await request(proxy.url + PATH, { method, ...(method === 'POST' && { body: '{}' }) });
      expect(response.statusCode).toBe(504);
      expect(response.headers['content-type']).toMatch(/^application\/json\b/);
      expect(response.headers['x-should-retry']).toBe('false');
      const { error } = JSON.parse(await readText(response));
      expect(error).toEqual({ message: expect.any(String), type: 'proxy_error', code: 'UPSTREAM_TIMEOUT' });
      await (await requests.next()).closed;
      await expectOneSummary(proxy, {
        outcome: 'timeout',
        statusCode: 504,
        attempts: { length: 1 },
        error: { code: 'UPSTREAM_TIMEOUT' },
      });
    },
  );

  it('proxyTimeout: cuts a stream that stalls', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, proxyTimeout: 50 });

    const req = openRequest(proxy.url);
    req.end();
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    const { body, cut } = await readUntilCut(await responseTo(req));
    expect(body.toString()).toBe('data: 1\n\n');
    expect(cut).toBe(true);
    await received.closed;
    await expectOneSummary(proxy, { outcome: 'timeout', statusCode: 200, error: { code: 'UPSTREAM_TIMEOUT' } });
  });
});

// --- after the head -------------------------------------------------------------------------------------------------

const DATA = 'data: {"n":1}\n\ndata: {"n":2}\n\n';
const FRAMED = {
  chunked: { head: 'Transfer-Encoding: chunked\r\n', body: `${DATA.length.toString(16)}\r\n${DATA}\r\n` },
  'content-length': { head: `Content-Length: ${DATA.length + 1000}\r\n`, body: DATA },
  'close-delimited': { head: 'Connection: close\r\n', body: DATA },
};
type Framing = keyof typeof FRAMED;

interface Truncation {
  name: string;
  framing: Framing;
  /** The fault comes in one packet with the good data; otherwise when the client has got that. */
  samePacket: boolean;
  fault(socket: Socket, good: string): void;
}

const TRUNCATIONS: Truncation[] = [
  { name: 'closes early', framing: 'chunked', samePacket: true, fault: (socket, good) => socket.end(good) },
  { name: 'closes early', framing: 'chunked', samePacket: false, fault: (socket) => socket.end() },
  { name: 'closes early', framing: 'content-length', samePacket: true, fault: (socket, good) => socket.end(good) },
  { name: 'closes early', framing: 'content-length', samePacket: false, fault: (socket) => socket.end() },
  { name: 'resets', framing: 'chunked', samePacket: false, fault: (socket) => socket.resetAndDestroy() },
  { name: 'resets', framing: 'content-length', samePacket: false, fault: (socket) => socket.resetAndDestroy() },
  { name: 'resets', framing: 'close-delimited', samePacket: false, fault: (socket) => socket.resetAndDestroy() },
  ...[true, false].flatMap((samePacket): Truncation[] => [
    {
      name: 'sends a malformed chunk',
      framing: 'chunked',
      samePacket,
      fault: (socket, good) => socket.write(`${good}ZZ\r\nnot a chunk\r\n`),
    },
    {
      name: 'sends a chunk size that overflows',
      framing: 'chunked',
      samePacket,
      fault: (socket, good) => socket.write(`${good}FFFFFFFFFFFFFFFFF\r\n`),
    },
    {
      name: 'sends a chunk that is longer than its size',
      framing: 'chunked',
      samePacket,
      fault: (socket, good) => socket.write(`${good}0\r\nX: y`, () => socket.end()),
    },
  ]),
  {
    name: 'sends bytes after the end',
    framing: 'chunked',
    samePacket: true,
    fault: (socket, good) => socket.write(`${good}0\r\n\r\nHTTP? No.`),
  },
];

const CASES = TRUNCATIONS.flatMap((truncation) =>
  ['text/event-stream', 'text/plain'].map((type): [string, string, string, string, Truncation] => [
    truncation.name,
    truncation.framing,
    type,
    truncation.samePacket ? 'in one packet with good data' : 'after good data',
    truncation,
  ]),
);

/** An upstream with this fault; `release` lets it happen where it does not come with the good data. */
async function truncatingUpstream(type: string, truncation: Truncation): Promise<{ url: string; release(): void }> {
  const released = signal();
  const { head, body } = FRAMED[truncation.framing];
  const { url } = await rawUpstream((socket) => {
    const start = `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\n${head}\r\n${body}`;
    if (truncation.samePacket) {
      truncation.fault(socket, start);
      return;
    }
    socket.write(start);
    void released.promise.then(() => truncation.fault(socket, ''));
  });
  return { url, release: () => released.resolve() };
}

const TRUNCATED = {
  outcome: 'upstream-truncated',
  statusCode: 200,
  attempts: { length: 1 },
  error: { code: 'UPSTREAM_TRUNCATED' },
};

describe.each(CASES)('an upstream that %s (%s, %s, %s)', (...[, , type, , truncation]) => {
  it('upstream fault in the body: is cut for an HTTP/1.1 client, after all that came before', async () => {
    const { url, release } = await truncatingUpstream(type, truncation);
    const errors: unknown[] = [];
    const proxy = await proxyApp({ target: url, on: { error: (error) => errors.push(error) } });

    const response = await request(proxy.url);
    response.once('data', release);
    const { body, cut } = await readUntilCut(response);
    expect(body.toString()).toBe(DATA);
    expect(cut).toBe(true);
    await expectOneSummary(proxy, { ...TRUNCATED, bytes: DATA.length });
    expect(errors.length).toBeLessThanOrEqual(1);
  });

  it('upstream fault in the body: is a reset for an HTTP/1.0 client', async () => {
    const { url, release } = await truncatingUpstream(type, truncation);
    const proxy = await proxyApp({ target: url });
    let resets = 0;
    proxy.server.on('connection', (socket) => {
      const { resetAndDestroy } = socket;
      socket.resetAndDestroy = () => {
        resets += 1;
        return resetAndDestroy.call(socket);
      };
    });

    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    if (!truncation.samePacket) await client.until(DATA);
    release();
    const { text, reset } = await client.end();
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text.endsWith(`\r\n\r\n${DATA}`)).toBe(true);
    if (/content-length/i.test(text)) {
      // Such a body shows by itself that it was cut.
      expect(truncation.framing).toBe('content-length');
    } else {
      expect(resets).toBe(1);
      // libuv tells a client that finds data and a reset in one poll of the data and of an end.
      if (!truncation.samePacket) expect(reset).toBe(true);
    }
    await expectOneSummary(proxy, TRUNCATED);
  });

  it('upstream fault in the body: is cut behind compression()', async () => {
    const { url, release } = await truncatingUpstream(type, truncation);
    const proxy = await proxyApp({ target: url }, (app) => app.use(compression({ threshold: 0 })));

    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n');
    if (!truncation.samePacket) await client.until(type === 'text/plain' ? 'gzip' : 'data: ');
    release();
    const { text } = await client.end();
    if (type === 'text/event-stream') expect(text).toContain(DATA.slice(0, 13));
    if (!/content-length/i.test(text)) expect(text.endsWith('0\r\n\r\n')).toBe(false);
    await expectOneSummary(proxy, TRUNCATED);
  });

  it('upstream fault in the body: is cut although a listener of `on.error` ends the response', async () => {
    const { url, release } = await truncatingUpstream(type, truncation);
    const proxy = await proxyApp({
      target: url,
      on: {
        error: (_error, _req, res) => {
          if (!('writeHead' in res)) return;
          res.write('data: written by on.error\n\n');
          res.end('data: [DONE]\n\n');
        },
      },
    });

    const response = await request(proxy.url);
    response.once('data', release);
    const { body, cut } = await readUntilCut(response);
    expect(body.toString()).toBe(DATA);
    expect(cut).toBe(true);
    await expectOneSummary(proxy, TRUNCATED);
  });
});

describe('a close-delimited response', () => {
  const answer = `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n${DATA}`;

  it('close-delimited response: is complete when the upstream closes', async () => {
    const { url } = await rawUpstream((socket) => socket.end(answer));
    const proxy = await proxyApp({ target: url });

    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect(body.toString()).toBe(DATA);
    expect(cut).toBe(false);
    await expectOneSummary(proxy, { outcome: 'completed', statusCode: 200, bytes: DATA.length });
  });

  it('close-delimited response: is complete for an HTTP/1.0 client, too', async () => {
    const { url } = await rawUpstream((socket) => socket.end(answer));
    const proxy = await proxyApp({ target: url });

    const { text, reset } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text.endsWith(`\r\n\r\n${DATA}`)).toBe(true);
    expect(reset).toBe(false);
    await expectOneSummary(proxy, { outcome: 'completed' });
  });

  it('close-delimited response from an HTTP/1.0 upstream is complete', async () => {
    const { url } = await rawUpstream((socket) => socket.end(`HTTP/1.0 200 OK\r\n\r\n${DATA}`));
    const proxy = await proxyApp({ target: url });

    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect(body.toString()).toBe(DATA);
    expect(cut).toBe(false);
  });
});

describe('bytes after the end of a response with Content-Length', () => {
  it.each(['keep-alive', 'close'])(
    'bytes after the end of a response with Content-Length: are never a clean end (Connection: %s)',
    async (connection) => {
      const { url } = await rawUpstream((socket) =>
        socket.write(
          `HTTP/1.1 200 OK\r\nConnection: ${connection}\r\nContent-Length: ${DATA.length}\r\n\r\n${DATA}data: more\n\n`,
        ),
      );
      const proxy = await proxyApp({ target: url });

      const { body, cut } = await readUntilCut(await request(proxy.url));
      expect(DATA.startsWith(body.toString())).toBe(true);
      expect(cut).toBe(true);
      await expectOneSummary(proxy, TRUNCATED);
    },
  );
});

describe('an upstream that dies in the body', () => {
  it('upstream dies in the body: the response is cut for a client that reads late, after all that came before', async () => {
    const size = 16 * 1024 * 1024;
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(Buffer.alloc(size, 'x'));
      setImmediate(() => res.socket?.end());
    });
    const proxy = await proxyApp({ target: url });

    const response = await request(proxy.url);
    response.pause();
    await turns(50);
    const { body, cut } = await readUntilCut(response);
    expect(body.length).toBe(size);
    expect(cut).toBe(true);
    await expectOneSummary(proxy, { ...TRUNCATED, bytes: size });
  });

  it('upstream dies in the body: closes the connection where the upload still goes on', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('up');
    const { res } = await requests.next();
    eventStream(res).write(DATA);
    const response = await responseTo(req);
    response.once('data', () => res.destroy());
    const { body, cut } = await readUntilCut(response);
    expect(body.toString()).toBe(DATA);
    expect(cut).toBe(true);
    await expectOneSummary(proxy, TRUNCATED);
  });

  it.each([
    ['with a head', (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')],
    ['without', () => {}],
  ])(
    'upstream dies in the body: the response behind another, pipelined response does not disturb that: %s',
    async (_, begin) => {
      const first = signal<Socket>();
      const second = signal<Socket>();
      const { url } = await rawUpstream((socket, text) => (text.startsWith('GET /1') ? first : second).resolve(socket));
      const proxy = await proxyApp({ target: url });

      const client = await rawClient(proxy.port);
      client.socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
      const [one, two] = await Promise.all([first.promise, second.promise]);
      one.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst');
      await client.until('first');
      begin(two);
      two.end();
      await turns();
      one.write('-done');
      await client.until('first-done');
      await client.until('UPSTREAM_CLOSED');
      // Nothing was sent of it before its turn, so that it can be answered honestly.
      expect(client.text()).not.toContain('half');
      expect((await proxy.summary()).outcome).toBe('completed');
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', statusCode: 502 });
    },
  );

  it('upstream dies in the body: the response is a visible failure where its event stream is being decoded', async () => {
    // A gzip member that breaks off is an upstream that ends cleanly.
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
      res.end(Buffer.from('1f8b0800000000000003', 'hex'));
    });
    const proxy = await proxyApp({ target: url });

    expect((await readUntilCut(await request(proxy.url))).cut).toBe(true);
    await expectOneSummary(proxy, TRUNCATED);
  });

  it('upstream dies in the body: the response is a visible failure where its event stream is not in the coding that it names', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'br' });
      res.end('data: this is not brotli\n\n');
    });
    const proxy = await proxyApp({ target: url });

    expect((await readUntilCut(await request(proxy.url))).cut).toBe(true);
    await expectOneSummary(proxy, TRUNCATED);
  });

  it('upstream dies in the body: the response still calls the listeners of `on.error`, once, when the response has ended', async () => {
    const { url, requests } = await manualUpstream();
    const errors = new Queue<{ error: Error; closed: boolean }>();
    const proxy = await proxyApp({
      target: url,
      on: {
        error: (error, _req, res) => errors.push({ error, closed: 'writeHead' in res ? res.closed : false }),
      },
    });

    const req: ClientRequest = openRequest(proxy.url);
    req.end();
    const { res } = await requests.next();
    eventStream(res).write(DATA);
    (await responseTo(req)).once('data', () => res.destroy());
    expect(await errors.next()).toMatchObject({ error: { code: 'ECONNRESET' }, closed: true });
    await expectOneSummary(proxy, TRUNCATED);
    expect(errors.count).toBe(1);
  });
});

describe('a request that the upstream must not see as it is', () => {
  it('malformed request: a request does not end the process: `Trailer`', async () => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const proxy = await proxyApp({ target: url });

    const { text } = await rawExchange(
      proxy.port,
      'GET / HTTP/1.1\r\nHost: x\r\nTrailer: X\r\nConnection: close\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).toContain('fine');
  });

  it('malformed request: a request that breaks off in the middle of a chunk aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const client = await rawClient(proxy.port);
    client.socket.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n');
    const received = await requests.next();
    await once(received.req, 'data');
    client.socket.write('ZZ\r\n');
    await received.closed;
    expect(received.req.complete).toBe(false);
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });
});

describe('the proxy goes on after every fault', () => {
  it('upstream fault: the proxy goes on after every fault with the same upstream', async () => {
    let faulty = true;
    const options: SseProxyOptions = {};
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        if (faulty) socket.write('garbage\r\n\r\n');
        else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine');
      });
    });
    const proxy = await proxyApp({ ...options, target: `http://127.0.0.1:${await listen(server)}` });

    for (let i = 0; i < 5; i += 1) expect((await request(proxy.url)).statusCode).toBe(502);
    faulty = false;
    expect(await readText(await request(proxy.url))).toBe('fine');
  });
});
