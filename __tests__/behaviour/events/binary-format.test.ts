import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import { adoptFormat } from '../../../lib/formats/adopt-format.js';
import { createBoundary } from '../../../lib/formats/event-boundary.js';
import type { SseProxyOptions, Usage } from '../../../lib/index.js';
import type { EventFormat } from '../../../lib/types/format.js';
import type { EventFields, StreamEvent } from '../../../lib/types/hooks.js';
import type { Provider } from '../../../lib/types/provider.js';
import { readAll, readUntilCut, request } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream } from '../../support/servers/upstreams.js';
import { blocksOf, chunkings, fieldsOf } from '../../support/streams/event-streams.js';
import { commentFrame, eventFrame, FRAMES, FRAMES_TYPE, frames } from '../../support/streams/frames.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const STREAM = Buffer.concat(FRAMES);
const EVENTS = [
  { event: 'delta', data: '{"text":"zażółć\\n🙂"}' },
  { event: undefined, data: '\ufeffdata: 1\n\n\r\n\r\n' },
  { event: 'ping', data: '' },
  { event: 'end', data: '{"usage":{"in":1,"out":2}}' },
];

const nameAndData = ({ event, data }: EventFields) => ({ event, data });

function providerAt(target: string, members: Partial<Provider> = {}): Provider {
  return {
    name: 'framed',
    target,
    formatOf: ({ headers }) => (headers['content-type'] === FRAMES_TYPE ? frames : undefined),
    read({ event, ...fields }, reading) {
      if (event === 'delta') reading.hasContent = true;
      if (event !== 'end') return;
      const { usage } = JSON.parse(fields.data);
      reading.usage = { inputTokens: usage.in, outputTokens: usage.out };
      reading.usageComplete = true;
      reading.ended = true;
    },
    errorEvent: ({ code }) => ({ event: 'error', data: code }),
    errorBody: () => ({}),
    ...members,
  };
}

/** The proxy in front of an upstream that the test answers, and a request to it. */
async function asked(options: SseProxyOptions = {}, members: Partial<Provider> = {}) {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ provider: providerAt(url, members), ...options });
  const response = request(proxy.url);
  const { res } = await requests.next();
  res.writeHead(200, { 'content-type': FRAMES_TYPE }).flushHeaders();
  return { proxy, res, response: await response };
}

describe('a binary format of length-prefixed frames', () => {
  it('binary format: a stream has the same bytes and events, split at every byte', () => {
    for (const chunks of chunkings(STREAM)) {
      const blocks = blocksOf(new EventReader(adoptFormat(frames), 1000), chunks);
      expect(Buffer.concat(blocks.map(({ bytes }) => bytes))).toEqual(STREAM);
      expect(blocks.flatMap(({ event }) => (event === undefined ? [] : [nameAndData(fieldsOf(event))]))).toEqual(
        EVENTS,
      );
    }
  });

  it('binary format: a boundary is where a frame ends, and nowhere else', () => {
    const ends = FRAMES.map((_frame, i) => Buffer.concat(FRAMES.slice(0, i + 1)).length);
    const boundary = createBoundary(adoptFormat(frames));
    expect(boundary.isReached).toBe(true);
    for (let i = 0; i < STREAM.length; i += 1) {
      boundary.sent(STREAM.subarray(i, i + 1));
      expect(boundary.isReached).toBe(ends.includes(i + 1));
    }
    for (const chunks of chunkings(STREAM)) {
      const other = createBoundary(adoptFormat(frames));
      for (const chunk of chunks) other.sent(chunk);
      expect(other.isReached).toBe(true);
    }
  });

  it('binary format: a stream is relayed as it came, observed, and read for usage', async () => {
    const seen: StreamEvent[] = [];
    const usages: Usage[] = [];
    const { proxy, res, response } = await asked({
      onEvent: (event) => void seen.push(event),
      onUsage: (usage) => void usages.push(usage),
    });
    const body = readAll(response);
    for (const byte of STREAM) {
      res.write(Buffer.from([byte]));
      await turns(1);
    }
    res.end();
    expect(await body).toEqual(STREAM);
    // An event stream, which no compression is to hold back.
    expect(response.headers['x-accel-buffering']).toBe('no');
    await proxy.summary();
    expect(seen.map(nameAndData)).toEqual(EVENTS);
    expect(usages).toEqual([{ inputTokens: 1, outputTokens: 2, totalTokens: 3, complete: true }]);
  });

  it('binary format: a stream is read in a content coding, too', async () => {
    const target = await answeringUpstream(gzipSync(STREAM), {
      'content-type': FRAMES_TYPE,
      'content-encoding': 'gzip',
    });
    const usages: Usage[] = [];
    const proxy = await proxyApp({ provider: providerAt(target), onUsage: (usage) => void usages.push(usage) });
    expect(await readAll(await request(proxy.url))).toEqual(STREAM);
    await proxy.summary();
    expect(usages).toMatchObject([{ outputTokens: 2, complete: true }]);
  });

  it('binary format: a stream is transformed event by event: what is not changed keeps its bytes, comments included', async () => {
    const transformEvent: SseProxyOptions['transformEvent'] = (event) => {
      if (event.event === 'ping') return null;
      return event.event === 'delta' ? [event, { event: 'more', data: '\n' }] : undefined;
    };
    const [delta, text, comment, , end] = FRAMES as [Buffer, Buffer, Buffer, Buffer, Buffer];
    for (const cut of [1, 5, 20, 60, STREAM.length - 1]) {
      const { res, response } = await asked({ transformEvent });
      const body = readAll(response);
      res.write(STREAM.subarray(0, cut));
      await turns(2);
      res.end(STREAM.subarray(cut));
      expect(await body).toEqual(Buffer.concat([delta, eventFrame('\n', 'more'), text, comment, end]));
    }
  });

  it.each([
    ['behind a frame', 2, true],
    ['behind a comment', 3, true],
    ['within a frame', 2.5, false],
  ])(
    'binary format: a stream tells of an answer that breaks off by an error event %s, or not',
    async (_where, count, expected) => {
      const { res, response } = await asked();
      const whole = Buffer.concat(FRAMES.slice(0, Math.floor(count)));
      const sent = count % 1 === 0 ? whole : Buffer.concat([whole, eventFrame('half').subarray(0, 7)]);
      await new Promise((resolve) => res.write(sent, resolve));
      const reading = readUntilCut(response);
      await turns();
      res.destroy();
      const { body, cut } = await reading;
      expect(cut).toBe(true);
      expect(body).toEqual(Buffer.concat([sent, ...(expected ? [eventFrame('UPSTREAM_TRUNCATED', 'error')] : [])]));
    },
  );

  it('binary format: a stream has heartbeats between two frames only', async () => {
    const chunks = new Queue<Buffer>();
    let received = Buffer.alloc(0);
    const { res, response } = await asked({ heartbeat: { interval: 5, comment: 'beat' } });
    response.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      chunks.push(chunk);
    });
    const beat = commentFrame('beat');
    await until(() => received.includes(beat));
    const [first] = FRAMES as [Buffer];
    res.write(first.subarray(0, 9));
    await until(() => received.subarray(-9).equals(first.subarray(0, 9)));
    const silent = received.length;
    // Another proxy's heartbeats tell the time.
    const clock = await asked({ heartbeat: { interval: 5, comment: 'tick' } });
    let ticks = 0;
    clock.response.on('data', () => {
      ticks += 1;
    });
    await until(() => ticks > 10);
    expect(received).toHaveLength(silent);
    res.write(first.subarray(9));
    await until(() => received.indexOf(beat, silent) >= 0);
    expect(received.subarray(silent, silent + first.length - 9)).toEqual(first.subarray(9));
    clock.res.end();
    res.end();
    await once(response, 'end');
  });
});

describe('formatOf', () => {
  it.each(['sse', 'ndjson', 'json-array'] as const)(
    'formatOf: may name a format that is built in: %s',
    async (name) => {
      const text = { sse: 'data: {"a":1}\n\n', ndjson: '{"a":1}\n', 'json-array': '[{"a":1}]' }[name];
      const seen: unknown[] = [];
      const target = await answeringUpstream(text, { 'content-type': 'text/x-other' });
      const proxy = await proxyApp({
        provider: providerAt(target, { formatOf: () => name }),
        onEvent: (event) => void seen.push(event.json()),
      });
      expect(String(await readAll(await request(proxy.url)))).toBe(text);
      await proxy.summary();
      expect(seen).toEqual([{ a: 1 }]);
    },
  );

  it.each<[string, unknown]>([
    ['an unknown name', 'yaml'],
    ['an object that is no format', {}],
    ['a format without a parser', { ...frames, parser: undefined }],
    ['a number', 5],
    ['a promise', Promise.resolve('sse')],
  ])('formatOf that gives %s is a 502', async (_what, given) => {
    const target = await answeringUpstream('x', { 'content-type': FRAMES_TYPE });
    const formatOf = (() => given) as unknown as NonNullable<Provider['formatOf']>;
    const proxy = await proxyApp({ provider: providerAt(target, { formatOf }) });
    const response = await request(proxy.url);
    await readAll(response);
    expect(response.statusCode).toBe(502);
    expect(await proxy.summary()).toMatchObject({ error: { code: 'HOOK_FAILED', hook: 'formatOf' } });
  });

  it.each<[string, Partial<EventFormat>]>([
    ['whose scanner does not lead on', { scanner: () => (_chunk, from) => from }],
    ['whose scanner leaves the chunk', { scanner: () => (chunk) => chunk.length + 1 }],
    ['whose scanner throws', { scanner: () => () => JSON.parse('{') }],
    ['whose parser throws', { parser: () => () => JSON.parse('{') }],
  ])('formatOf with a format %s costs the client nothing', async (_what, members) => {
    const target = await answeringUpstream(STREAM, { 'content-type': FRAMES_TYPE });
    const broken = { ...frames, ...members };
    const proxy = await proxyApp({
      provider: providerAt(target, { formatOf: () => broken }),
      heartbeat: { interval: 1 },
      onUsage() {},
    });
    expect(await readAll(await request(proxy.url))).toEqual(STREAM);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', usage: { complete: false } });
  });
});
