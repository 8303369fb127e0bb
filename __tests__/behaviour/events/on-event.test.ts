import { Worker } from 'node:worker_threads';
import zlib from 'node:zlib';
import { describe, expect, it, jest } from '@jest/globals';
import type { EventFields, StreamEvent } from '../../../lib/index.js';
import {
  openRequest,
  readAll,
  reader,
  readText,
  readUntilCut,
  request,
  responseTo,
} from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, upstream } from '../../support/servers/upstreams.js';
import { FIXTURES, type Fixture } from '../../support/streams/fixtures.js';
import { everyOffset, openStream, piecewise } from '../../support/streams/open-streams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** What a client takes the fixtures for, by the rules of the specification. */
const EVENTS: Record<string, EventFields[]> = {
  'OpenAI chunks': [
    { data: '{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}' },
    { data: '{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}' },
    {
      data: '{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    },
    { data: '[DONE]' },
  ],
  'Anthropic events': [
    { event: 'message_start', data: '{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":9}}}' },
    { event: 'ping', data: '{"type":"ping"}' },
    {
      event: 'content_block_delta',
      data: '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}',
    },
    {
      event: 'message_delta',
      data: '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}',
    },
    { event: 'message_stop', data: '{"type":"message_stop"}' },
  ],
  'a byte order mark': [{ data: 'after the mark' }, { data: '\ufeffnot at the start' }],
  comments: [{ data: '1\n2', comment: 'between the lines' }],
  LF: [{ event: 'a', data: '1', id: '1' }, { data: '2' }],
  CR: [{ event: 'a', data: '1', id: '1' }, { data: '2' }],
  CRLF: [{ event: 'a', data: '1', id: '1' }, { data: '2' }],
  'mixed line ends': [{ data: '1\n2\n3' }, { data: '4' }, { data: '5' }],
  'several data lines': [{ data: 'first\nsecond\n\n\n two spaces' }],
  emoji: [{ data: '🙂 👩‍👩‍👧‍👦 🇩🇪' }, { data: 'e\u0301 \u{1f468}\u{1f3fd}\u200d\u{1f680}' }],
  CJK: [{ event: '消息', data: '你好，世界。こんにちは。안녕하세요', id: '序号一' }],
  'an unfinished last event': [{ data: 'whole' }],
  'bytes that are not UTF-8': [{ data: '\0' }],
  NDJSON: [{ data: '{"response":"Hé","done":false}' }, { data: '{"response":"🙂","done":true}' }],
};

/** The fields of an event, as they are now. */
const fieldsOf = (event: StreamEvent): EventFields => ({ ...event });

describe('onEvent sees every event in order', () => {
  it.each(FIXTURES)('onEvent: sees every event in order, of $name, sent byte by byte', async (fixture) => {
    const seen: EventFields[] = [];
    const { proxy, get } = await piecewise(fixture, { onEvent: (event) => void seen.push(fieldsOf(event)) });
    const bytes = await get(everyOffset(fixture.bytes));
    expect(bytes.equals(fixture.bytes)).toBe(true);
    const { events } = await proxy.summary();
    expect(seen).toEqual(EVENTS[fixture.name]);
    expect(events).toBe(seen.length);
  });

  const small = FIXTURES.filter(({ name }) => ['a byte order mark', 'mixed line ends', 'CJK'].includes(name));

  it.each(small)('onEvent: sees every event in order, of $name, split anywhere', async (fixture: Fixture) => {
    const seen = new Map<string, EventFields[]>();
    const { proxy, get } = await piecewise(fixture, {
      onEvent: (event, { path }) => void seen.set(path, [...(seen.get(path) ?? []), fieldsOf(event)]),
    });
    const offsets = everyOffset(fixture.bytes);
    const bodies = await Promise.all(offsets.map((offset) => get([offset])));
    for (const body of bodies) expect(body.equals(fixture.bytes)).toBe(true);
    await until(() => proxy.summaries.length === offsets.length);
    expect(seen.size).toBe(offsets.length);
    for (const events of seen.values()) expect(events).toEqual(EVENTS[fixture.name]);
  });

  it('onEvent: sees every event in order, before onFinish, the last line of NDJSON without its line end included', async () => {
    const seen: string[] = [];
    const proxy = await proxyApp({
      target: await answeringUpstream('{"i":1}\n{"i":2}', { 'content-type': 'application/x-ndjson' }),
      onEvent: ({ data }) => void seen.push(data),
      onFinish: () => void seen.push('the end'),
    });
    await readAll(await request(proxy.url));
    expect((await proxy.summary()).events).toBe(2);
    expect(seen).toEqual(['{"i":1}', '{"i":2}', 'the end']);
  });

  it('onEvent: sees every event in order, that came before the upstream died', async () => {
    const seen: string[] = [];
    const { proxy, res, response } = await openStream({ onEvent: ({ data }) => void seen.push(data) });
    const body = readUntilCut(response);
    res.write('data: 1\n\ndata: 2\n\ndata: hal', () => res.destroy());
    expect(await body).toEqual({ body: Buffer.from('data: 1\n\ndata: 2\n\ndata: hal'), cut: true });
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', events: 2 });
    expect(seen).toEqual(['1', '2']);
  });

  it('onEvent: sees every event in order, that came before the client left', async () => {
    const seen: string[] = [];
    const { proxy, res, response } = await openStream({ onEvent: ({ data }) => void seen.push(data) });
    const client = reader(response);
    res.write('data: 1\n\ndata: 2\n\n');
    await client.until('data: 2\n\n');
    response.destroy();
    expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed', events: 2 });
    expect(seen).toEqual(['1', '2']);
  });
});

describe('onEvent', () => {
  it('onEvent: is called when the client has the event already', async () => {
    const count = 20;
    const received = new Int32Array(new SharedArrayBuffer(4));
    const waits: string[] = [];
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 0\n\n');
      observed = (data) => {
        if (data === count - 1) res.end();
        else res.write(`data: ${data + 1}\n\n`);
      };
    });
    let observed = (_data: number): void => {};
    const proxy = await proxyApp({
      target: url,
      onEvent({ data }) {
        // Blocks this thread, where nothing more can be sent meanwhile.
        waits.push(Atomics.wait(received, 0, Number(data), 5_000));
        observed(Number(data));
      },
    });
    // A client in a thread of its own: it counts the events that it has got.
    const client = new Worker(
      `const { workerData: { url, received } } = require('node:worker_threads');
       require('node:http').get(url, (response) => {
         response.on('data', (chunk) => {
           Atomics.add(received, 0, String(chunk).split('\\n\\n').length - 1);
           Atomics.notify(received, 0);
         });
       });`,
      { eval: true, workerData: { url: proxy.url, received } },
    );
    onCleanUp(async () => void (await client.terminate()));
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: count });
    expect(waits).toHaveLength(count);
    expect(waits).not.toContain('timed-out');
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('of the hook');
      },
    ],
    ['rejects', async () => Promise.reject(new Error('of the hook'))],
  ])('onEvent that %s is logged, and the stream goes on', async (_name, fail) => {
    const { logger, errors } = logbook();
    const seen: string[] = [];
    const { proxy, res, response } = await openStream({
      logger,
      onEvent: ({ data }) => {
        seen.push(data);
        return fail();
      },
    });
    const client = reader(response);
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      res.write(event);
      expect(await client.until('\n\n')).toBe(event);
    }
    res.end();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: 2, bytes: 18 });
    expect(seen).toEqual(['1', '2']);
    expect(errors).toEqual([expect.stringContaining('onEvent failed: Error: of the hook')]);
  });

  it('onEvent that never settles holds up nothing', async () => {
    const { proxy, res, response } = await openStream({ onEvent: () => new Promise<void>(() => {}) });
    const client = reader(response);
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      res.write(event);
      expect(await client.until('\n\n')).toBe(event);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('onEvent: cannot change what the client gets', async () => {
    const proxy = await proxyApp({
      target: await answeringUpstream('data: 1\n\ndata: 2\n\n'),
      onEvent: (event) => {
        event.data = 'changed';
        event.id = 'changed';
      },
    });
    expect(await readText(await request(proxy.url))).toBe('data: 1\n\ndata: 2\n\n');
  });

  it('onEvent: has an event as JSON: parsed when it is asked for, and once', async () => {
    const parse = jest.spyOn(JSON, 'parse');
    onCleanUp(() => parse.mockRestore());
    const parsed = (text: string): number => parse.mock.calls.filter(([given]) => given === text).length;
    const events: StreamEvent[] = [];
    const proxy = await proxyApp({
      target: await answeringUpstream('data: {"a":[1]}\n\ndata: [DONE]\n\n'),
      onEvent: (event) => void events.push(event),
    });
    await readAll(await request(proxy.url));
    await proxy.summary();
    expect(parsed('{"a":[1]}')).toBe(0);
    const [json, done] = events;
    expect(json?.json()).toEqual({ a: [1] });
    expect(json?.json()).toBe(json?.json());
    expect(parsed('{"a":[1]}')).toBe(1);
    expect(done?.json()).toBeUndefined();
  });

  it('onEvent: misses an event beyond limits.eventSize, which is logged once, and the bytes stay the same', async () => {
    const { logger, errors } = logbook();
    const seen: string[] = [];
    const { proxy, res, response } = await openStream({
      logger,
      limits: { eventSize: 100 },
      onEvent: ({ data }) => void seen.push(data),
    });
    const client = reader(response);
    const large = `data: ${'x'.repeat(1_000)}\n\n`;
    for (const event of ['data: 1\n\n', large, 'data: 2\n\n', large, 'data: 3\n\n']) {
      res.write(event);
      expect(await client.until('\n\n')).toBe(event);
    }
    res.end();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: 3, bytes: 2 * large.length + 27 });
    expect(seen).toEqual(['1', '2', '3']);
    expect(errors).toEqual([expect.stringContaining('it has more than 100 bytes')]);
  });

  it('onEvent: sees what the client was sent, where transformEvent changes it', async () => {
    const seen: EventFields[] = [];
    const proxy = await proxyApp({
      target: await answeringUpstream('data: keep\n\ndata: drop\n\nid: 3\ndata: edit\n\n: note\n\ndata: split\n\n'),
      transformEvent: (event) => {
        if (event.data === 'drop') return null;
        if (event.data === 'edit') event.data = 'edited';
        return event.data === 'split' ? [{ data: 'a' }, { event: 'second', data: 'b' }] : event;
      },
      onEvent: (event) => void seen.push(fieldsOf(event)),
    });
    const body = await readText(await request(proxy.url));
    expect(body).toBe('data: keep\n\nid: 3\ndata: edited\n\n: note\n\ndata: a\n\nevent: second\ndata: b\n\n');
    // Of the upstream's.
    expect((await proxy.summary()).events).toBe(4);
    expect(seen).toEqual([
      { data: 'keep' },
      { id: '3', data: 'edited' },
      { data: 'a' },
      { event: 'second', data: 'b' },
    ]);
  });
});

describe('a compressed stream', () => {
  it('onEvent: a compressed stream stays so for a client that accepts it, byte for byte, and is observed', async () => {
    const seen: string[] = [];
    const zipped = zlib.gzipSync('data: 1\n\ndata: 2\n\n');
    const proxy = await proxyApp({
      target: await answeringUpstream(zipped, { 'content-encoding': 'gzip' }),
      onEvent: ({ data }) => void seen.push(data),
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
    expect(response.headers['content-encoding']).toBe('gzip');
    expect((await readAll(response)).equals(zipped)).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: 2, bytes: zipped.length });
    expect(seen).toEqual(['1', '2']);
  });

  it.each(['gzip', 'identity'])(
    'onEvent: a compressed stream is observed event by event, for a client that accepts %s',
    async (accepted) => {
      const seen = new Queue<string>();
      const { proxy, res, response } = await openStream(
        { onEvent: ({ data }) => seen.push(data) },
        { head: { 'content-encoding': 'gzip' }, client: { headers: { 'accept-encoding': accepted } } },
      );
      response.resume();
      const zip = zlib.createGzip({ flush: zlib.constants.Z_SYNC_FLUSH });
      zip.pipe(res);
      for (const data of ['1', '2', '3']) {
        zip.write(`data: ${data}\n\n`);
        expect(await seen.next()).toBe(data);
      }
      zip.end();
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: 3 });
    },
  );

  it('onEvent: a compressed stream in a coding that is not known passes unobserved, and that is logged', async () => {
    const { logger, errors } = logbook();
    const onEvent = jest.fn();
    const proxy = await proxyApp({
      target: await answeringUpstream('data: 1\n\n', { 'content-encoding': 'unheard-of' }),
      logger,
      onEvent,
    });
    expect(await readText(await request(proxy.url))).toBe('data: 1\n\n');
    expect((await proxy.summary()).outcome).toBe('completed');
    expect(onEvent).not.toHaveBeenCalled();
    expect(errors).toEqual([expect.stringContaining('unheard-of')]);
  });

  it("onEvent: a compressed stream that is broken is the client's as it came, and is observed no more", async () => {
    const { logger, errors } = logbook();
    const onEvent = jest.fn();
    const proxy = await proxyApp({
      target: await answeringUpstream('not gzip at all', { 'content-encoding': 'gzip' }),
      logger,
      onEvent,
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
    expect(await readText(response)).toBe('not gzip at all');
    expect((await proxy.summary()).outcome).toBe('completed');
    expect(onEvent).not.toHaveBeenCalled();
    expect(errors).toHaveLength(1);
  });
});

describe('nothing is observed', () => {
  it.each([
    ['HEAD', { method: 'HEAD' }, 200, { 'content-type': 'text/event-stream' }],
    ['204', {}, 204, { 'content-type': 'text/event-stream' }],
    ['JSON', {}, 200, { 'content-type': 'application/json' }],
    ['text', {}, 200, { 'content-type': 'text/plain' }],
  ])('onEvent: nothing is observed of %s', async (_name, options, status, head) => {
    const onEvent = jest.fn();
    const { url } = await upstream((_req, res) => res.writeHead(status, head).end('data: 1\n\n'));
    const proxy = await proxyApp({ target: url, onEvent });
    const response = await request(proxy.url, options);
    expect(response.statusCode).toBe(status);
    await readAll(response);
    expect((await proxy.summary()).events).toBeUndefined();
    expect(onEvent).not.toHaveBeenCalled();
  });

  it.each([
    ['without a hook', undefined, 0],
    ['with one, which is what this test would notice', () => {}, 1],
  ])('onEvent: nothing is observed %s', async (_name, onEvent, readings) => {
    const { proxy, res, response } = await openStream({ ...(onEvent !== undefined && { onEvent }) });
    const client = reader(response);
    res.write('data: 1\n\n');
    await client.until('data: 1\n\n');
    // What is read of a stream is read by one.
    const immediate = jest.spyOn(globalThis, 'setImmediate');
    res.write('data: 2\n\n');
    await client.until('data: 2\n\n');
    expect(immediate).toHaveBeenCalledTimes(readings);
    immediate.mockRestore();
    res.end();
    const { events } = await proxy.summary();
    expect(events).toBe(onEvent && 2);
  });
});

it.each([
  ['identity', 'onEvent', { onEvent: () => {} }],
  ['identity', 'transformEvent', { transformEvent: () => {} }],
  ['identity', 'heartbeat', { heartbeat: {} }],
  ['gzip', 'neither', {}],
])('onEvent and transformEvent: the upstream is asked for %s with %s', async (expected, _name, options) => {
  const asked = new Queue<string | string[] | undefined>();
  const { url } = await upstream((req, res) => {
    asked.push(req.headers['accept-encoding']);
    res.end();
  });
  const proxy = await proxyApp({ target: url, ...options });
  const req = openRequest(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
  req.end();
  await readAll(await responseTo(req));
  expect(await asked.next()).toBe(expected);
});
