import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import net, { type Socket } from 'node:net';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { createSseProxy } from '../../../lib/index.js';
import { keepAliveAgent, readAll, reader, readText, request } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { FIXTURES } from '../../support/streams/fixtures.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { type Signal, signal } from '../../support/watch/wait.js';

afterEach(async () => {
  jest.restoreAllMocks();
  await closeAll();
});

/** An upstream that hands its next response to the test. */
async function heldUpstream(): Promise<{ url: string; port: number; response: Promise<ServerResponse> }> {
  const held = signal<ServerResponse>();
  const { url, port } = await upstream((_req, res) => held.resolve(res));
  return { url, port, response: held.promise };
}

/** Sends a request without waiting for anything, and answers it upstream with `head`. */
async function headOf(
  head: (res: ServerResponse) => void,
  options: http.RequestOptions = {},
): Promise<[IncomingMessage, ServerResponse]> {
  const held = await heldUpstream();
  const proxy = await proxyApp({ target: held.url });
  const response = request(proxy.url, options);
  const res = await held.response;
  head(res);
  return [await response, res];
}

describe('the head', () => {
  it('headers go out at once: the head leaves before the first byte of an event stream', async () => {
    const [response, res] = await headOf(eventStream);
    expect(response.statusCode).toBe(200);
    res.end('data: 1\n\n');
    expect(await readText(response)).toBe('data: 1\n\n');
  });

  it.each(['text/plain', 'application/json', 'application/octet-stream'])(
    'headers go out at once: the head leaves before the first byte of a body of %s',
    async (type) => {
      const [response, res] = await headOf((res) => res.writeHead(200, { 'content-type': type }).flushHeaders());
      expect(response.headers['content-type']).toBe(type);
      res.end('late');
      expect(await readText(response)).toBe('late');
    },
  );

  it('headers go out at once: the head leaves before the first byte of a body with a Content-Length', async () => {
    const [response, res] = await headOf((res) => res.writeHead(200, { 'content-length': 4 }).flushHeaders());
    expect(response.headers['content-length']).toBe('4');
    res.end('late');
    expect(await readText(response)).toBe('late');
  });

  it('headers go out at once: the head leaves before the first byte of an error response', async () => {
    const [response, res] = await headOf((res) => res.writeHead(429, { 'retry-after': '1' }).flushHeaders());
    expect(response.statusCode).toBe(429);
    res.end('{}');
    expect(await readText(response)).toBe('{}');
  });

  it('headers go out at once: the head of a 204 is whole', async () => {
    const [response] = await headOf((res) => res.writeHead(204).end());
    expect(response.statusCode).toBe(204);
    expect(await readAll(response)).toHaveLength(0);
  });

  it('headers go out at once: the head answers HEAD for an event stream', async () => {
    const [response] = await headOf((res) => res.writeHead(200, { 'content-type': 'text/event-stream' }).end(), {
      method: 'HEAD',
    });
    expect(response.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
    expect(await readAll(response)).toHaveLength(0);
  });

  it('headers go out at once: the head leaves in one write with the first chunk when both are there', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write(
        'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n',
      );
    });
    const proxy = await proxyApp({ target: url });
    const writes: string[] = [];
    proxy.server.on('connection', (socket: Socket) => {
      // Below the corking of `write`: what is one call here is one call to the operating system.
      const { _write, _writev } = socket;
      socket._write = (chunk, encoding, callback) => {
        writes.push(String(chunk));
        _write.call(socket, chunk, encoding, callback);
      };
      socket._writev = (chunks, callback) => {
        writes.push(chunks.map(({ chunk }) => String(chunk)).join(''));
        _writev?.call(socket, chunks, callback);
      };
    });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until('data: 1\n\n\r\n');
    expect(writes).toEqual([expect.stringMatching(/^HTTP\/1\.1 200 OK\r\n(.+\r\n)+\r\n9\r\ndata: 1\n\n\r\n$/)]);
  });
});

describe('an event stream', () => {
  it('event stream: delivers each event before the upstream sends the next', async () => {
    const held = await heldUpstream();
    const proxy = await proxyApp({ target: held.url });
    const response = request(proxy.url);
    const res = eventStream(await held.response);
    const events = reader(await response);
    for (let i = 0; i < 50; i += 1) {
      res.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('event stream: sends each chunk on in the tick in which it came', async () => {
    const held = await heldUpstream();
    const order: string[] = [];
    const proxy = await proxyApp(
      {
        target: held.url,
        on: {
          proxyRes: (proxyRes) => {
            proxyRes.on('data', (chunk) => {
              order.push(`came ${chunk}`);
              queueMicrotask(() => order.push('tick over'));
            });
          },
        },
      },
      (app) => {
        app.use((_req, res, next) => {
          const { write } = res;
          res.write = (chunk: unknown, ...rest: unknown[]) => {
            order.push(`left ${chunk}`);
            return Reflect.apply(write, res, [chunk, ...rest]) as boolean;
          };
          next();
        });
      },
    );
    const response = request(proxy.url);
    const res = eventStream(await held.response);
    const events = reader(await response);
    for (const event of ['1', '2', '3']) {
      res.write(event);
      await events.until(event);
    }
    expect(order).toEqual(['1', '2', '3'].flatMap((event) => [`came ${event}`, `left ${event}`, 'tick over']));
  });

  it('event stream: arrives byte by byte when it is sent byte by byte', async () => {
    const bytes = Buffer.concat(FIXTURES.map((fixture) => fixture.bytes));
    const held = await heldUpstream();
    const proxy = await proxyApp({ target: held.url });
    const coming = request(proxy.url);
    const res = eventStream(await held.response);
    const response = await coming;
    const received: Buffer[] = [];
    for (const byte of bytes) {
      res.write(Uint8Array.of(byte));
      const [chunk] = (await once(response, 'data')) as [Buffer];
      received.push(chunk);
    }
    expect(received.every((chunk) => chunk.length === 1)).toBe(true);
    expect(Buffer.concat(received).equals(bytes)).toBe(true);
  });

  it('event stream: carries an event of 10 MB', async () => {
    const event = Buffer.concat([Buffer.from('data: '), Buffer.alloc(10 * 1024 * 1024, 'ab字'), Buffer.from('\n\n')]);
    const { url } = await upstream((_req, res) => eventStream(res).end(event));
    const proxy = await proxyApp({ target: url });
    const body = await readAll(await request(proxy.url));
    expect(body.equals(event)).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: event.length });
  });

  it('event stream: carries thousands of events in one chunk', async () => {
    const events = Array.from({ length: 5_000 }, (_, i) => `id: ${i}\ndata: {"token":"${i}"}\n\n`).join('');
    const { url } = await upstream((_req, res) => eventStream(res).end(events));
    const proxy = await proxyApp({ target: url });
    expect(await readText(await request(proxy.url))).toBe(events);
  });

  it('event stream: carries hundreds of streams at the same time, each its own bytes', async () => {
    const { url } = await upstream((req, res) => {
      eventStream(res).write(`data: ${req.url}\n\n`);
      setImmediate(() => res.end(`data: end of ${req.url}\n\n`));
    });
    const proxy = await proxyApp({ target: url });
    const agent = keepAliveAgent(100);
    const bodies = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => readAll(await request(`${proxy.url}/${i}`, { agent }))),
    );
    for (const [i, body] of bodies.entries()) expect(body.toString()).toBe(`data: /${i}\n\ndata: end of /${i}\n\n`);
  });

  it('event stream: may be empty', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end());
    const proxy = await proxyApp({ target: url });
    expect(await readAll(await request(proxy.url))).toHaveLength(0);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: 0 });
  });
});

describe('split at every byte, with the client in step', () => {
  it.each(FIXTURES)(
    'event stream split at every byte: $name: the bytes are the same',
    async ({ bytes, contentType }) => {
      /** The client has got all of the first part. */
      const halfway = new Map<string, Signal>();
      const { url } = await upstream((req, res) => {
        const offset = Number(req.url?.slice(1));
        res.writeHead(200, { 'content-type': contentType });
        res.flushHeaders();
        if (offset > 0) res.write(bytes.subarray(0, offset));
        void halfway.get(String(offset))?.promise.then(() => res.end(bytes.subarray(offset)));
      });
      const proxy = await proxyApp({ target: url });
      const agent = keepAliveAgent();
      const differing: number[] = [];

      const check = async (offset: number): Promise<void> => {
        const half = signal();
        halfway.set(String(offset), half);
        const response = await request(`${proxy.url}/${offset}`, { agent });
        if (offset === 0) half.resolve();
        const chunks: Buffer[] = [];
        let received = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          received += chunk.length;
          if (received === offset) half.resolve();
        });
        await once(response, 'end');
        if (!Buffer.concat(chunks).equals(bytes)) differing.push(offset);
      };

      const offsets = Array.from({ length: bytes.length + 1 }, (_, i) => i);
      const worker = async (): Promise<void> => {
        for (let offset = offsets.pop(); offset !== undefined; offset = offsets.pop()) await check(offset);
      };
      await Promise.all(Array.from({ length: 32 }, worker));
      expect(differing).toEqual([]);
      expect(proxy.summaries).toHaveLength(bytes.length + 1);
    },
  );
});

describe('any other body', () => {
  it.each([
    ['text/plain', {}],
    ['application/json', {}],
    ['application/octet-stream', { 'content-length': '20' }],
  ])('streamed body that is no event stream: a body of %s %j is delivered chunk by chunk', async (type, fields) => {
    const held = await heldUpstream();
    const proxy = await proxyApp({ target: held.url });
    const response = request(proxy.url);
    const res = (await held.response).writeHead(200, { 'content-type': type, ...fields });
    res.flushHeaders();
    const chunks = reader(await response);
    for (let i = 10; i < 20; i += 1) {
      res.write(String(i));
      expect(await chunks.until(String(i))).toBe(String(i));
    }
    res.end();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: 20 });
  });

  it('streamed body that is no event stream: a body is asked for before the first byte of the request body', async () => {
    const arrived = signal<ServerResponse>();
    const { url } = await upstream((_req, res) => arrived.resolve(res));
    const proxy = await proxyApp({ target: url });
    const req = http.request(proxy.url, { method: 'POST', agent: false });
    req.flushHeaders();
    (await arrived.promise).end('no body needed');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(await readText(response)).toBe('no body needed');
    req.on('error', () => {});
    req.destroy();
  });

  it('streamed body that is no event stream: a body streams up while it streams down', async () => {
    const { url } = await upstream((req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' });
      res.flushHeaders();
      req.pipe(res);
    });
    const proxy = await proxyApp({ target: url });
    const req = http.request(proxy.url, { method: 'POST', agent: false });
    req.write('first');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const echo = reader(response);
    expect(await echo.until('first')).toBe('first');
    for (let i = 10; i < 30; i += 1) {
      req.write(String(i));
      expect(await echo.until(String(i))).toBe(String(i));
    }
    req.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('streamed body that is no event stream: a body of random bytes is the same at the other end', async () => {
    const bytes = randomBytes(3_000_000);
    const { url } = await upstream((_req, res) => res.end(bytes));
    const proxy = await proxyApp({ target: url });
    const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    expect(hash(await readAll(await request(proxy.url)))).toBe(hash(bytes));
  });
});

describe('what is an event stream', () => {
  const accelBuffering = async (type: string | undefined, options = {}): Promise<string | undefined> => {
    const { url } = await upstream((_req, res) => {
      if (type !== undefined) res.setHeader('content-type', type);
      res.end('{}');
    });
    const proxy = await proxyApp({ target: url, ...options });
    const response = await request(proxy.url);
    await readAll(response);
    // Never altered.
    expect(response.headers['content-type']).toBe(type);
    const { 'cache-control': cacheControl, 'x-accel-buffering': buffering } = response.headers;
    expect(cacheControl).toBe(buffering === 'no' ? 'no-transform' : undefined);
    return buffering === undefined ? undefined : String(buffering);
  };

  it.each([
    'text/event-stream',
    'Text/Event-Stream',
    'TEXT/EVENT-STREAM;CHARSET=UTF-8',
    'text/event-stream; charset=utf-8',
    'text/event-stream ;charset="utf-8"; a=b',
    'text/event-stream;',
    'text/event-stream; ; =broken',
    'application/x-ndjson',
    'application/X-NDJSON; charset=utf-8',
    'application/jsonl',
    'application/stream+json',
  ])('what is an event stream: %s is one', async (type) => {
    expect(await accelBuffering(type)).toBe('no');
  });

  it.each([
    'text/event-streamfoo',
    'text/event-stream-foo',
    'xtext/event-stream',
    'application/json',
    'application/json; note="text/event-stream"',
    'text/plain',
    'text/html, text/event-stream',
    'nonsense',
    undefined,
  ])('what is an event stream: %s is none', async (type) => {
    expect(await accelBuffering(type)).toBeUndefined();
  });

  it('what is an event stream: is what isEventStream says', async () => {
    const isEventStream = ({ headers }: { headers: Record<string, string | string[]> }): boolean =>
      headers['content-type'] === 'application/json';
    expect(await accelBuffering('application/json', { isEventStream })).toBe('no');
    expect(await accelBuffering('text/event-stream', { isEventStream })).toBeUndefined();
  });

  it('what is an event stream: is decided with the whole head of the upstream at hand', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(201, 'Made', { 'X-Thing': 'a', 'set-cookie': ['a=1', 'b=2'] }).end();
    });
    const seen: unknown[] = [];
    const proxy = await proxyApp({
      target: url,
      isEventStream(head) {
        seen.push({ ...head, headers: { ...head.headers } });
        return true;
      },
    });
    await readAll(await request(proxy.url));
    expect(seen).toEqual([
      {
        statusCode: 201,
        statusMessage: 'Made',
        headers: expect.objectContaining({ 'x-thing': 'a', 'set-cookie': ['a=1', 'b=2'] }),
      },
    ]);
  });
});

it('NODELAY: sends small packets at once on both sides, whatever the server was told', async () => {
  const answer: RequestListener = (_req, res) => eventStream(res).end('data: 1\n\n');
  const target = http.createServer({ noDelay: false }, answer);
  const targetPort = await listen(target);
  const proxy = createSseProxy({ target: `http://127.0.0.1:${targetPort}` });
  const server = http.createServer({ noDelay: false }, (req, res) => {
    void proxy(req, res);
  });
  const port = await listen(server);

  // The one place that all ways to set TCP_NODELAY lead to is the handle.
  const probe = net.connect(port, '127.0.0.1');
  await once(probe, 'connect');
  const { _handle } = probe as Socket & { _handle?: TcpHandle };
  probe.destroy();
  const peers: (number | undefined)[] = [];
  jest.spyOn(Object.getPrototypeOf(_handle) as TcpHandle, 'setNoDelay').mockImplementation(function (
    this: TcpHandle,
    on,
  ) {
    if (on) peers.push(peerOf(this));
    return 0;
  });

  const client = await rawClient(port);
  client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  const clientPort = client.socket.localPort;
  await client.closed;
  expect(peers).toEqual(expect.arrayContaining([clientPort, targetPort]));
});

interface TcpHandle {
  setNoDelay(on: boolean): number;
  getpeername(out: { port?: number }): number;
}

function peerOf(handle: TcpHandle): number | undefined {
  const out: { port?: number } = {};
  handle.getpeername(out);
  return out.port;
}
