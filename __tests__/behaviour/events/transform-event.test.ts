import type { ServerResponse } from 'node:http';
import zlib from 'node:zlib';
import { describe, expect, it, jest } from '@jest/globals';
import compression from 'compression';
import type { SseProxyOptions, StreamEvent, TransformResult } from '../../../lib/index.js';
import { readAll, reader, readText, readUntilCut, request } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { rawClient } from '../../support/clients/raw.js';
import { http2Proxy, proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { FIXTURES } from '../../support/streams/fixtures.js';
import { everyOffset, openStream, piecewise } from '../../support/streams/open-streams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

type Transform = NonNullable<SseProxyOptions['transformEvent']>;

/** What the client gets of a whole stream. */
async function transformed(body: string, transformEvent: Transform, type = 'text/event-stream'): Promise<string> {
  const proxy = await proxyApp({ target: await answeringUpstream(body, { 'content-type': type }), transformEvent });
  const bytes = await readAll(await request(proxy.url));
  expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: bytes.length });
  return bytes.toString();
}

/** Upper case, by changing the event in place. */
const shout: Transform = (event) => {
  event.data = event.data.toUpperCase();
};
const shoutLater: Transform = async (event) => ({ ...event, data: event.data.toUpperCase() });

describe('transformEvent', () => {
  const STREAM = 'data: a\n\ndata: b\n\ndata: c\n\n';
  const on = (
    data: string,
    result: (event: StreamEvent) => TransformResult,
  ): ((event: StreamEvent) => TransformResult) => {
    return (event) => (event.data === data ? result(event) : event);
  };

  it.each<[string, (event: StreamEvent) => TransformResult, string]>([
    ['edits in place', on('b', (event) => Object.assign(event, { data: 'B' })), 'data: a\n\ndata: B\n\ndata: c\n\n'],
    ['replaces', on('b', () => ({ event: 'x', data: 'B' })), 'data: a\n\nevent: x\ndata: B\n\ndata: c\n\n'],
    ['drops', on('b', () => null), 'data: a\n\ndata: c\n\n'],
    ['drops by none', on('b', () => []), 'data: a\n\ndata: c\n\n'],
    ['splits', on('b', () => [{ data: 'b1' }, { data: 'b2' }]), 'data: a\n\ndata: b1\n\ndata: b2\n\ndata: c\n\n'],
    ['inserts', on('b', (event) => [{ comment: 'new' }, event]), 'data: a\n\n: new\n\ndata: b\n\ndata: c\n\n'],
    ['keeps', (event) => event, STREAM],
    [
      'writes several lines',
      on('b', () => ({ data: 'x\r\ny\rz\n' })),
      'data: a\n\ndata: x\ndata: y\ndata: z\ndata: \n\ndata: c\n\n',
    ],
  ])('transformEvent: %s, sync as well as async', async (_name, transformEvent, expected) => {
    expect(await transformed(STREAM, transformEvent)).toBe(expected);
    expect(await transformed(STREAM, async (event) => transformEvent(event))).toBe(expected);
  });

  it('transformEvent that returns nothing keeps the event as it is', async () => {
    expect(await transformed(STREAM, () => {})).toBe(STREAM);
    expect(await transformed(STREAM, async () => {})).toBe(STREAM);
  });

  it('transformEvent: is called with one event after the other, also where the first takes longer', async () => {
    const order: string[] = [];
    const first = signal();
    const { proxy, res, response } = await openStream({
      transformEvent: async (event) => {
        order.push(`${event.data} in`);
        if (event.data === 'a') await first.promise;
        else await Promise.resolve();
        order.push(`${event.data} out`);
        event.data += event.data;
      },
    });
    const client = reader(response);
    res.write('data: a\n\ndata: b\n\n');
    res.end('data: c\n\n');
    await until(() => order.length === 1);
    await turns();
    expect(order).toEqual(['a in']);
    first.resolve();
    expect(await client.until('cc\n\n')).toBe('data: aa\n\ndata: bb\n\ndata: cc\n\n');
    expect(order).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('transformEvent: has each event at the client before the upstream sends the next', async () => {
    const { proxy, res, response } = await openStream({ transformEvent: shout });
    const client = reader(response);
    for (const data of ['a', 'b', 'c']) {
      res.write(`data: ${data}\n\n`);
      expect(await client.until('\n\n')).toBe(`data: ${data.toUpperCase()}\n\n`);
    }
    res.end();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: 3 });
  });

  it('transformEvent: edits the lines of NDJSON', async () => {
    const lines = '{"i":1}\r\n{"i":2}\n\n{"i":3}';
    const edit: Transform = (event) =>
      event.json<{ i: number }>()?.i === 2 ? [{ data: '{"two":\n2}' }, { data: '{"and":"a half"}' }] : event;
    expect(await transformed(lines, edit, 'application/x-ndjson')).toBe(
      '{"i":1}\r\n{"two": 2}\n{"and":"a half"}\n\n{"i":3}',
    );
  });

  it('transformEvent: is not called for what is no event stream, and leaves its head alone', async () => {
    const transformEvent = jest.fn<Transform>();
    const body = 'data: 1\n\n';
    const proxy = await proxyApp({
      target: await answeringUpstream(body, {
        'content-type': 'text/plain',
        'content-length': body.length,
        etag: '"1"',
      }),
      transformEvent,
    });
    const response = await request(proxy.url);
    expect(response.headers).toMatchObject({ 'content-length': '9', etag: '"1"' });
    expect(await readText(response)).toBe(body);
    expect(transformEvent).not.toHaveBeenCalled();
  });

  it('transformEvent: works on the answer to a POST with a body', async () => {
    const { url } = await upstream(async (req, res) => {
      const body = await readAll(req);
      res.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${body}\n\n`);
    });
    const proxy = await proxyApp({ target: url, transformEvent: shout });
    const response = await request(proxy.url, { method: 'POST', body: 'the prompt' });
    expect(await readText(response)).toBe('data: THE PROMPT\n\n');
  });

  it('transformEvent: has one `locals` per exchange, which concurrent streams do not share', async () => {
    const { url, requests } = await manualUpstream();
    const seen = new Set<object>();
    const proxy = await proxyApp({
      target: url,
      transformEvent: (event, { locals }) => {
        seen.add(locals);
        locals.all = `${locals.all ?? ''}${event.data}`;
        event.data = String(locals.all);
      },
    });
    const responses = ['/1', '/2'].map((path) => request(proxy.url + path));
    const upstreams: ServerResponse[] = [];
    for (const _ of responses) {
      const { req, res } = await requests.next();
      upstreams[Number(req.url?.slice(1)) - 1] = res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.flushHeaders();
    }
    const clients = (await Promise.all(responses)).map((response) => reader(response));
    for (const expected of [
      ['a', 'x'],
      ['ab', 'xy'],
      ['abc', 'xyz'],
    ]) {
      for (const [i, all] of expected.entries()) {
        upstreams[i]?.write(`data: ${all.slice(-1)}\n\n`);
        expect(await clients[i]?.until('\n\n')).toBe(`data: ${all}\n\n`);
      }
    }
    expect(seen.size).toBe(2);
    for (const res of upstreams) res.end();
    await Promise.all([proxy.summary(), proxy.summary()]);
  });
});

describe('what was not edited keeps its bytes', () => {
  it.each(FIXTURES)(
    'transformEvent: what was not edited keeps its bytes: $name, byte by byte, sync as well as async',
    async (fixture) => {
      // Half an event is for nobody.
      const expected = fixture.name === 'an unfinished last event' ? Buffer.from('data: whole\n\n') : fixture.bytes;
      for (const transformEvent of [(event: StreamEvent) => event, async (event: StreamEvent) => ({ ...event })]) {
        const { get } = await piecewise(fixture, { transformEvent });
        expect((await get(everyOffset(fixture.bytes))).toString('latin1')).toBe(expected.toString('latin1'));
      }
    },
  );

  it('transformEvent: what was not edited keeps its bytes beside what was: comments, retry lines, ids, line ends of any kind', async () => {
    const before = [': hello\n\n', 'retry: 10\n\n', 'id:7\r\ndata:kept  \r\n\r\n', 'id\r\r', 'data: a\rdata: b\r\r'];
    const after = [':\n\n', '\n', 'unknown: field\ndata: edit \n\n', 'data: {"a" : 1}\r\n: inside\r\n\r\n'];
    const stream = [...before, 'event: e\r\nid: 8\r\ndata: edit\r\n\r\n', ...after].join('');
    const edit: Transform = (event) => {
      if (event.data === 'edit') event.data = 'edited';
    };
    expect(await transformed(stream, edit)).toBe([...before, 'event: e\nid: 8\ndata: edited\n\n', ...after].join(''));
  });

  it('transformEvent: keeps comment, id and retry of an event that was edited', async () => {
    expect(await transformed(': c\nevent: e\nid: 1\nretry: 5\ndata: a\n\n', shout)).toBe(
      ': c\nevent: e\nid: 1\nretry: 5\ndata: A\n\n',
    );
  });
});

describe('a client that does not read', () => {
  it.each<[string, Transform]>([
    ['sync', shout],
    ['async', shoutLater],
  ])(
    'transformEvent, backpressure: a client that does not read holds the upstream back, and gets every event later: %s',
    async (_name, transformEvent) => {
      const count = 2_000;
      const event = (i: number, letter = 'x'): string => `data: ${String(i).padEnd(16_000, letter)}\n\n`;
      const { proxy, res, response } = await openStream({ transformEvent });
      let sent = 0;
      const pump = (): void => {
        while (sent < count) {
          const more = res.write(event(sent));
          sent += 1;
          if (!more) return void res.once('drain', pump);
        }
        res.end();
      };
      pump();
      // Nothing announces that no more is taken: it is when nothing has moved for a while.
      let before = -1;
      let still = 0;
      await until(() => {
        still = sent === before ? still + 1 : 0;
        before = sent;
        return still === 20;
      });
      expect(res.writableNeedDrain).toBe(true);
      expect(sent).toBeLessThan(count / 2);

      const expected = Array.from({ length: count }, (_, i) => event(i, 'X')).join('');
      // Not `toBe`: it would print 32 MB.
      expect((await readText(response)) === expected).toBe(true);
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: count });
    },
  );
});

describe('the head of a stream that is transformed', () => {
  it('transformEvent: the head says nothing of the very bytes that the upstream sent', async () => {
    const body = 'data: a\n\n';
    const proxy = await proxyApp({
      target: await answeringUpstream(body, {
        'content-length': body.length,
        etag: '"1"',
        digest: 'x',
        'content-digest': 'x',
        'repr-digest': 'x',
        'content-md5': 'x',
        'accept-ranges': 'bytes',
        'x-kept': '1',
      }),
      transformEvent: () => ({ data: 'longer than before' }),
    });
    const response = await request(proxy.url);
    expect(response.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-kept': '1' });
    for (const name of [
      'content-length',
      'etag',
      'digest',
      'content-digest',
      'repr-digest',
      'content-md5',
      'accept-ranges',
    ]) {
      expect(response.headers).not.toHaveProperty(name);
    }
    expect(await readText(response)).toBe('data: longer than before\n\n');
  });
});

describe('no-transform of the upstream', () => {
  const head = { 'cache-control': 'no-cache, No-Transform', etag: '"1"', 'content-length': 18 };

  it('transformEvent: no-transform of the upstream is respected: the bytes are the same, and that is logged once', async () => {
    const { logger, errors } = logbook();
    const transformEvent = jest.fn<Transform>();
    const body = 'data: a\n\ndata: b\n\n';
    const proxy = await proxyApp({ target: await answeringUpstream(body, head), logger, transformEvent });
    const response = await request(proxy.url);
    expect(response.headers).toMatchObject({ etag: '"1"', 'content-length': '18' });
    expect(await readText(response)).toBe(body);
    expect((await proxy.summary()).outcome).toBe('completed');
    expect(transformEvent).not.toHaveBeenCalled();
    expect(errors).toEqual([expect.stringContaining('no-transform')]);
  });

  it("transformEvent: no-transform of the upstream is ignored with `noTransform: 'ignore'`", async () => {
    const { logger, errors } = logbook();
    const proxy = await proxyApp({
      target: await answeringUpstream('data: a\n\ndata: b\n\n', head),
      logger,
      transformEvent: shout,
      noTransform: 'ignore',
    });
    expect(await readText(await request(proxy.url))).toBe('data: A\n\ndata: B\n\n');
    expect(errors).toEqual([]);
  });
});

describe('a compressed stream', () => {
  it.each([
    ['gzip', zlib.gzipSync],
    ['br', zlib.brotliCompressSync],
    ['deflate', zlib.deflateSync],
  ] as const)(
    'transformEvent: a compressed stream is decoded, though the client accepts %s',
    async (coding, compress) => {
      const proxy = await proxyApp({
        target: await answeringUpstream(compress('data: a\n\ndata: b\n\n'), { 'content-encoding': coding }),
        transformEvent: shout,
      });
      const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
      expect(response.headers['content-encoding']).toBeUndefined();
      expect(await readText(response)).toBe('data: A\n\ndata: B\n\n');
    },
  );

  it.each(['unheard-of', 'gzip, br'])(
    'transformEvent: a compressed stream in a coding that cannot be undone is 502: %s',
    async (coding) => {
      const transformEvent = jest.fn<Transform>();
      const proxy = await proxyApp({
        target: await answeringUpstream('bytes', { 'content-encoding': coding }),
        transformEvent,
      });
      const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
      expect(response.statusCode).toBe(502);
      expect(response.headers).not.toHaveProperty('content-encoding');
      expect(JSON.parse(await readText(response))).toMatchObject({ error: { code: 'EVENTS_UNREADABLE' } });
      expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'EVENTS_UNREADABLE' } });
      expect(transformEvent).not.toHaveBeenCalled();
    },
  );
});

describe('a transform that fails', () => {
  /** The second event is beyond it. */
  const failing = (fail: () => unknown): Transform => ((event) => (event.data === 'bad' ? fail() : event)) as Transform;
  const cause = new Error('of the hook');

  const failures: [string, () => unknown, unknown][] = [
    [
      'throws',
      () => {
        throw cause;
      },
      cause,
    ],
    ['rejects', () => Promise.reject(cause), cause],
    ['returns a string', () => 'data', expect.objectContaining({ message: expect.stringContaining('got string') })],
    [
      'resolves with a number',
      async () => 1,
      expect.objectContaining({ message: expect.stringContaining('got number') }),
    ],
    [
      'returns an object as data',
      () => ({ data: {} }),
      expect.objectContaining({ message: expect.stringContaining('JSON.stringify') }),
    ],
    ['returns a type of two lines', () => ({ event: 'a\nb', data: '' }), expect.any(TypeError)],
    ['returns a retry that is no number', () => ({ data: '', retry: '5' }), expect.any(TypeError)],
  ];

  it.each(failures)(
    'transformEvent: a failure because it %s cuts the connection, behind what was whole',
    async (_name, fail, expected) => {
      for (const write of [
        // In one chunk, and in chunks of their own.
        async (res: ServerResponse, _next: () => Promise<void>) =>
          void res.write('data: good\n\ndata: bad\n\ndata: more\n\n'),
        async (res: ServerResponse, next: () => Promise<void>) => {
          res.write('data: good\n\n');
          await next();
          res.write('data: bad\n\ndata: more\n\n');
        },
      ]) {
        const { url, requests } = await manualUpstream();
        const proxy = await proxyApp({ target: url, transformEvent: failing(fail) });
        const client = await rawClient(proxy.port);
        client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        const { res, closed } = await requests.next();
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        await write(res, async () => void (await client.until('data: good\n\n')));
        const { text } = await client.end();
        // One chunk, and no last one.
        expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('c\r\ndata: good\n\n\r\n');
        await closed;
        const { outcome, error } = await proxy.summary();
        expect(outcome).toBe('failed');
        expect(error).toMatchObject({ code: 'HOOK_FAILED', cause: expected });
        expect(proxy.proxy.active).toBe(0);
      }
    },
  );

  it('transformEvent: a failure at the last event of an answer that has ended cuts the connection, too', async () => {
    const proxy = await proxyApp({
      target: await answeringUpstream('data: good\n\ndata: bad\n\n'),
      transformEvent: failing(() => Promise.reject(cause)),
    });
    expect(await readUntilCut(await request(proxy.url))).toEqual({ body: Buffer.from('data: good\n\n'), cut: true });
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED', cause } });
  });

  it('transformEvent: a promise that never settles is given up when the client leaves', async () => {
    const called = signal();
    const { proxy, res, response, upstreamClosed } = await openStream({
      transformEvent: failing(() => {
        called.resolve();
        return new Promise(() => {});
      }),
    });
    const client = reader(response);
    res.write('data: good\n\ndata: bad\n\ndata: more\n\n');
    expect(await client.until('\n\n')).toBe('data: good\n\n');
    await called.promise;
    response.destroy();
    await upstreamClosed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect(proxy.proxy.active).toBe(0);
  });

  it.each<[string, (settled: ReturnType<typeof signal>) => Promise<TransformResult>]>([
    ['resolves', async ({ promise }) => promise.then(() => ({ data: 'late' }))],
    [
      'rejects',
      async ({ promise }) =>
        promise.then(() => {
          throw cause;
        }),
    ],
  ])('transformEvent: may fail when the client has left, and is not called any more: %s', async (_name, wait) => {
    const calls: string[] = [];
    const called = signal();
    const settled = signal();
    const { proxy, res, response } = await openStream({
      transformEvent: (event) => {
        calls.push(event.data);
        called.resolve();
        return wait(settled);
      },
    });
    res.write('data: pending\n\ndata: more\n\n');
    await called.promise;
    response.destroy();
    expect((await proxy.summary()).outcome).toBe('client-closed');
    settled.resolve();
    await turns();
    expect(calls).toEqual(['pending']);
    expect(proxy.summaries).toHaveLength(1);
  });

  it('transformEvent: a failure because an event is beyond limits.eventSize is EVENT_TOO_LARGE', async () => {
    for (const end of ['\n\n', '']) {
      const { proxy, res, response } = await openStream({ transformEvent: shout, limits: { eventSize: 100 } });
      const body = readUntilCut(response);
      res.write(`data: good\n\ndata: ${'x'.repeat(200)}${end}`);
      expect(await body).toEqual({ body: Buffer.from('data: GOOD\n\n'), cut: true });
      expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'EVENT_TOO_LARGE' } });
    }
  });
});

describe('an upstream that dies while its stream is transformed', () => {
  it.each<[string, Transform]>([
    ['sync', shout],
    ['async', shoutLater],
  ])(
    'transformEvent: an upstream that dies has its whole events delivered, and nothing of half a one: %s',
    async (_name, transformEvent) => {
      const { proxy, res, response } = await openStream({ transformEvent });
      const body = readUntilCut(response);
      res.write('data: a\n\ndata: b\n\ndata: hal', () => res.destroy());
      expect(await body).toEqual({ body: Buffer.from('data: A\n\ndata: B\n\n'), cut: true });
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', events: 2 });
    },
  );

  it('transformEvent: an upstream that dies has no half line of NDJSON delivered', async () => {
    const { proxy, res, response } = await openStream(
      { transformEvent: (event) => event },
      { head: { 'content-type': 'application/x-ndjson' } },
    );
    const body = readUntilCut(response);
    res.write('{"a":1}\n{"b":', () => res.destroy());
    expect(await body).toEqual({ body: Buffer.from('{"a":1}\n'), cut: true });
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('transformEvent: an upstream that dies is known by a hook that is still at work, which comes to its end', async () => {
    const called = signal();
    const go = signal();
    const { proxy, res, response, upstreamClosed } = await openStream({
      transformEvent: async (event) => {
        called.resolve();
        await go.promise;
        event.data = 'done';
      },
    });
    const body = readUntilCut(response);
    res.write('data: a\n\ndata: hal');
    await called.promise;
    res.destroy();
    await upstreamClosed;
    go.resolve();
    expect(await body).toEqual({ body: Buffer.from('data: done\n\n'), cut: true });
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });
});

describe('on every way to the client', () => {
  it('transformEvent: on every way to the client behind compression(), event by event and uncompressed', async () => {
    const { proxy, res, response } = await openStream(
      { transformEvent: shout },
      { client: { headers: { 'accept-encoding': 'gzip' } }, before: (app) => app.use(compression({ threshold: 0 })) },
    );
    expect(response.headers['content-encoding']).toBeUndefined();
    const client = reader(response);
    for (const data of ['a', 'b', 'c']) {
      res.write(`data: ${data}\n\n`);
      expect(await client.until('\n\n')).toBe(`data: ${data.toUpperCase()}\n\n`);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('transformEvent: on every way to the client over HTTP/2, event by event', async () => {
    const { url, requests } = await manualUpstream();
    const { session, summary } = await http2Proxy({ target: url, transformEvent: shout });
    const stream = session.request({ ':path': '/' });
    const closed = closing(stream);
    const client = reader(stream);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const data of ['a', 'b', 'c']) {
      res.write(`data: ${data}\n\n`);
      expect(await client.until('\n\n')).toBe(`data: ${data.toUpperCase()}\n\n`);
    }
    res.end();
    expect(await closed).toEqual({ body: 'data: A\n\ndata: B\n\ndata: C\n\n', code: 0 });
    expect((await summary).outcome).toBe('completed');
  });

  it('transformEvent: on every way to the client over HTTP/2, as a reset where it fails', async () => {
    const { url, requests } = await manualUpstream();
    const { session, summary } = await http2Proxy({
      target: url,
      transformEvent: (event) => {
        if (event.data === 'bad') throw new Error('of the hook');
      },
    });
    const stream = session.request({ ':path': '/' });
    const closed = closing(stream);
    const client = reader(stream);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: good\n\n');
    await client.until('data: good\n\n');
    res.write('data: bad\n\n');
    expect(await closed).toEqual({ body: 'data: good\n\n', code: 2 });
    expect(await summary).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED' } });
  });

  it('transformEvent: on every way to the client to an HTTP/1.0 client', async () => {
    const proxy = await proxyApp({ target: await answeringUpstream('data: a\n\ndata: b\n\n'), transformEvent: shout });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    const { text, reset } = await client.end();
    expect(text).toMatch(/\r\n\r\ndata: A\n\ndata: B\n\n$/);
    expect(reset).toBe(false);
  });
});
