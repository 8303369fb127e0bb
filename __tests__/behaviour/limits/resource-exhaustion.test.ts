import { type EventEmitter, once } from 'node:events';
import http, { type ClientRequest, IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import http2 from 'node:http2';
import { Socket } from 'node:net';
import type { Transform, Writable } from 'node:stream';
import zlib from 'node:zlib';
import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import { retryDelay } from '../../../lib/failover/retry-policy.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { acceptsEventStream } from '../../../lib/formats/stream-formats.js';
import { isAccepted } from '../../../lib/headers/content-coding.js';
import { setForwarded } from '../../../lib/headers/forwarded.js';
import { isJsonType } from '../../../lib/headers/media-type.js';
import { applyResponsePasses } from '../../../lib/headers/response-passes.js';
import { endToEndTrailers } from '../../../lib/headers/trailers.js';
import type { SseProxyOptions } from '../../../lib/index.js';
import { gemini, ollama, openai } from '../../../lib/providers/index.js';
import type { RetryConfig } from '../../../lib/types/config.js';
import { withoutParameter } from '../../../lib/util/request-target.js';
import { openRequest, readAll, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { rawClient, rawExchange } from '../../support/clients/raw.js';
import { connections, listen } from '../../support/servers/listen.js';
import { SERVERS_KEY } from '../../support/servers/provider.js';
import { http2Proxy, type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import {
  answeringUpstream,
  eventStream,
  manualUpstream,
  type PendingRequest,
  rawUpstream,
  upstream,
} from '../../support/servers/upstreams.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { isEventStreamType } from '../../support/streams/event-streams.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { logbook } from '../../support/watch/log.js';
import { collectGarbage } from '../../support/watch/memory.js';
import { closeAndWatchEachTest, realProcess } from '../../support/watch/process.js';
import { closed, type Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const JSON_HEAD = { statusCode: 200, statusMessage: '', headers: { 'content-type': 'application/json' } };

// All of it is a matter of moments, where nobody else is at work.
jest.setTimeout(30_000);

const MB = 1024 * 1024;

/** What is sent where much is sent: without line ends, quotes and brackets, and of a length that no buffer has. */
const FILLER = Buffer.from(Array.from({ length: 65_521 }, (_, i) => 0x61 + ((i * 7 + (i >> 8)) % 26)));

/** How much a process may take more that holds nothing of a stream. */
const FLAT = 128 * MB;

/** Larger than that, by far. */
const MUCH = 256 * MB;

/** More than it takes, and less than it would take if the time were the square of the length: minutes. */
const LONG = 15_000;

/** What was taken of memory since this was called, at the most of all samples. */
function memory(): { sample(): void; readonly grown: number } {
  const used = (): number => {
    const { arrayBuffers, heapUsed } = process.memoryUsage();
    return arrayBuffers + heapUsed;
  };
  const before = used();
  let most = 0;
  return {
    sample: () => {
      // Garbage is collected when it likes: what looks like much may be held by nobody.
      if (used() - before > FLAT / 4) collectGarbage();
      most = Math.max(most, used() - before);
    },
    get grown() {
      return most;
    },
  };
}

/** Sends filler at the pace of the reader. */
function fill(to: Writable, size: number): void {
  let left = size;
  const pump = (): void => {
    while (left > 0 && !to.destroyed) {
      const chunk = FILLER.subarray(0, left);
      left -= chunk.length;
      if (!to.write(chunk)) return void to.once('drain', pump);
    }
    to.end();
  };
  pump();
}

/** Reads a body that is this opening and then nothing but filler; resolves with its length, and what memory it took. */
async function readFilled(response: IncomingMessage, opening: string): Promise<{ length: number; grown: number }> {
  const used = memory();
  let length = 0;
  let start = Buffer.from(opening);
  for await (const part of response as AsyncIterable<Buffer>) {
    let chunk = part;
    const head = chunk.subarray(0, start.length);
    if (!start.subarray(0, head.length).equals(head)) throw new Error(`Not what was sent: ${head}`);
    start = start.subarray(head.length);
    length += head.length;
    chunk = chunk.subarray(head.length);
    while (chunk.length > 0) {
      const expected = FILLER.subarray((length - opening.length) % FILLER.length).subarray(0, chunk.length);
      if (!chunk.subarray(0, expected.length).equals(expected)) throw new Error(`Other bytes behind ${length}`);
      length += expected.length;
      chunk = chunk.subarray(expected.length);
    }
    if (length % (8 * MB) < part.length) used.sample();
  }
  return { length, grown: used.grown };
}

/** Asks for the usage in the requests that it forwards. */
const editing = openai({ apiKey: SERVERS_KEY, includeUsage: true });
const provider = { openai: openai({ apiKey: SERVERS_KEY }), gemini: gemini({ apiKey: SERVERS_KEY }) };
const [SSE, NDJSON, JSON_TYPE] = ['text/event-stream', 'application/x-ndjson', 'application/json'] as const;

describe('256 MB without the end of an event', () => {
  const EVENTS = { sse: 'data: 1\n\n', lines: '{"n":1}\n', elements: '[{"n":1}' };

  interface Body {
    what: string;
    type: string;
    opening: string;
    options: SseProxyOptions;
    /** How many events are counted. */
    events?: number;
    path?: string;
  }
  const observed = { onEvent() {} };
  const read = { provider: provider.openai, onUsage() {} };
  const arrays = { provider: provider.gemini, onEvent() {} };
  const path = '/v1beta/models/gemini-3:streamGenerateContent';

  it.each<Body>([
    { what: 'Server-Sent Events', type: SSE, opening: `${EVENTS.sse}data: `, options: {} },
    { what: 'Server-Sent Events for onEvent', type: SSE, opening: `${EVENTS.sse}data: `, options: observed, events: 1 },
    { what: 'a comment for a provider', type: SSE, opening: `${EVENTS.sse}: `, options: read, events: 1 },
    { what: 'NDJSON for onEvent', type: NDJSON, opening: `${EVENTS.lines}{"n":"`, options: observed, events: 1 },
    { what: 'a JSON array', type: JSON_TYPE, opening: `${EVENTS.elements},{"n":"`, options: arrays, events: 1, path },
    { what: 'a JSON answer for a provider', type: JSON_TYPE, opening: '{"n":"', options: read },
  ])(
    'endless event: 256 MB without the end of an event pass byte for byte, and are held nowhere: $what',
    async ({ type, opening, options, events, path = '/' }) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': type }).write(opening);
        fill(res, MUCH);
      });
      const { logger, errors } = logbook();
      const proxy = await proxyApp({ target: url, logger, ...aimedAt(url, options) });
      const { length, grown } = await readFilled(await request(proxy.url + path), opening);
      expect(length).toBe(opening.length + MUCH);
      expect(grown).toBeLessThan(FLAT);
      const summary = await proxy.summary();
      expect(summary).toMatchObject({ outcome: 'completed', bytes: length });
      expect(summary.events).toBe(events);
      expect(errors).toEqual(
        'onEvent' in options || 'onUsage' in options ? [expect.stringContaining('EventTooLarge')] : [],
      );
    },
  );

  it.each([
    ['Server-Sent Events', SSE, EVENTS.sse, 'data: '],
    ['NDJSON', NDJSON, EVENTS.lines, '{"n":"'],
  ])(
    'endless event: 256 MB without the end of an event are EVENT_TOO_LARGE where they were to be edited, and the upstream is stopped: %s',
    async (_what, type, whole, half) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, transformEvent: async (event) => event });
      const req = openRequest(proxy.url).end();
      const { res, closed: upstreamClosed } = await requests.next();
      const { socket } = res;
      res.writeHead(200, { 'content-type': type }).write(whole + half);
      fill(res, MUCH);
      expect(String(await readAll(await responseTo(req)).catch(() => 'cut'))).toBe('cut');
      await upstreamClosed;
      expect(socket?.bytesWritten).toBeLessThan(MUCH / 4);
      const summary = await proxy.summary();
      expect(summary).toMatchObject({ outcome: 'failed', bytes: whole.length, error: { code: 'EVENT_TOO_LARGE' } });
    },
  );
});

/** The options, with the upstream in the place of the provider's own address. */
function aimedAt(target: string, options: SseProxyOptions): SseProxyOptions {
  return options.provider === undefined ? options : { ...options, provider: { ...options.provider, target } };
}

const { constants } = zlib;
const repeat = (unit: Buffer, times: number): Buffer => Buffer.concat(Array.from({ length: times }, () => unit));

/** Something, and then a megabyte again and again: in the coding hardly more than nothing. */
type Bomb = (opening: string, unit: Buffer, times: number) => Buffer | Promise<Buffer>;

// There may be many members.
const gzip: Bomb = (opening, unit, times) =>
  Buffer.concat([zlib.gzipSync(opening), repeat(zlib.gzipSync(unit), times)]);

/** Without an end. */
const deflate: Bomb = (opening, unit, times) => {
  const block = (data: string | Buffer): Buffer => zlib.deflateRawSync(data, { finishFlush: constants.Z_FULL_FLUSH });
  return Buffer.concat([Buffer.from([0x78, 0x9c]), block(opening), repeat(block(unit), times)]);
};

/** In one piece, which is made bit by bit. */
const streamed =
  (create: () => Transform): Bomb =>
  async (opening, unit, times) => {
    const encoder = create();
    const bytes = readAll(encoder);
    encoder.write(opening);
    for (let i = 0; i < times; i += 1) if (!encoder.write(unit)) await once(encoder, 'drain');
    encoder.end();
    return bytes;
  };

const brotli = streamed(() => zlib.createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 3 } }));

const BOMBS: [coding: string, bomb: Bomb][] = [
  ['gzip', gzip],
  ['deflate', deflate],
  ['br', brotli],
];
// Node has it from 22.15 on, and notices a cut from 24 on: before, zstd passes undecoded.
if (typeof zlib.createZstdCompress === 'function' && Number.parseInt(process.versions.node, 10) >= 24) {
  BOMBS.push(['zstd', streamed(zlib.createZstdCompress)]);
}

describe.each(BOMBS)('1 GB in a few bytes of %s', (coding, bomb) => {
  const opening = 'data: 1\n\ndata: ';
  /** Of the coded bytes, to be more than is skipped of one event. */
  const ENOUGH = 64 * 1024;
  let bytes: Buffer;
  beforeAll(async () => {
    bytes = await bomb(opening, Buffer.alloc(MB, 'x'), 1024);
  });

  async function serve(options: SseProxyOptions, type = 'text/event-stream', isTapped = false) {
    const { logger, errors } = logbook();
    const { url } = await upstream(async (_req, res) => {
      res.writeHead(200, { 'content-type': type, 'content-encoding': coding }).write(bytes.subarray(0, ENOUGH));
      // All at once would be more than can wait to be decoded, for a tap.
      if (isTapped) await until(() => errors.length > 0);
      res.end(bytes.subarray(ENOUGH));
    });
    return { proxy: await proxyApp({ target: url, logger, ...aimedAt(url, options) }), errors };
  }

  it.each([
    ['an event', SSE, 1],
    ['a JSON answer', JSON_TYPE, undefined],
  ])(
    'decompression bomb: 1 GB in a few bytes pass as they are, and are read no further than an event may be skipped: %s',
    async (_what, type, events) => {
      const usages: unknown[] = [];
      const used = memory();
      const { proxy, errors } = await serve(
        { provider: provider.openai, onEvent: () => used.sample(), onUsage: (usage) => void usages.push(usage) },
        type,
        true,
      );
      const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
      expect((await readAll(response)).equals(bytes)).toBe(true);
      const summary = await proxy.summary();
      used.sample();
      expect(summary).toMatchObject({ outcome: 'completed', bytes: bytes.length });
      expect(summary.events).toBe(events);
      expect(usages).toEqual([{ complete: false }]);
      expect(errors).toEqual([expect.stringContaining('EventTooLarge')]);
      expect(used.grown).toBeLessThan(FLAT);
    },
  );

  it('decompression bomb: 1 GB in a few bytes are EVENT_TOO_LARGE where they were to be edited', async () => {
    const used = memory();
    const { proxy } = await serve({ transformEvent: (event) => event });
    await expect(readAll(await request(proxy.url))).rejects.toThrow();
    used.sample();
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', bytes: 9, error: { code: 'EVENT_TOO_LARGE' } });
    expect(used.grown).toBeLessThan(FLAT);
  });

  it('decompression bomb: 1 GB in a few bytes are decoded no faster than they are read, and no further when the reader has left', async () => {
    const { proxy } = await serve({ heartbeat: { interval: 60_000 } });
    const connected = once(proxy.server, 'connection');
    const used = memory();
    const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
    const [socket] = (await connected) as [Socket];
    const taken = await atRest(() => socket.bytesWritten);
    expect(taken).toBeLessThan(IN_ALL);
    response.destroy();
    expect((await proxy.summary()).outcome).toBe('client-closed');
    used.sample();
    expect(socket.bytesWritten).toBeLessThanOrEqual(taken);
    expect(used.grown).toBeLessThan(FLAT);
  });
});

describe('what stands for a thousand times as much', () => {
  it('decompression bomb: what stands for a thousand times as much is decoded whole for a client that reads it, and held nowhere', async () => {
    const members = Math.ceil(MUCH / FILLER.length);
    const url = await answeringUpstream(repeat(zlib.gzipSync(FILLER), members), { 'content-encoding': 'gzip' });
    const proxy = await proxyApp({ target: url, onEvent() {} });
    const { length, grown } = await readFilled(await request(proxy.url), '');
    expect(length).toBe(members * FILLER.length);
    expect(grown).toBeLessThan(FLAT);
  });

  /** Comments, or events, of a kilobyte each. */
  const unit = (start: string): Buffer => Buffer.from(`${start.padEnd(1022, 'x')}\n\n`.repeat(1024));

  it('decompression bomb: what stands for a thousand times as much is read no further than 64 MB when its exchange is over, and is no work for drain()', async () => {
    const bytes = await brotli(': \n\n', unit('data: '), 512);
    const url = await answeringUpstream(bytes, { 'content-encoding': 'br' });
    const { logger, errors } = logbook();
    const proxy = await proxyApp({ target: url, logger, onEvent() {} });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'br' } });
    expect((await readAll(response)).equals(bytes)).toBe(true);
    await proxy.proxy.drain({ grace: 0 });
    const { outcome, events } = await proxy.summary();
    expect(outcome).toBe('completed');
    // A part may have been read before the end.
    expect(events).toBeLessThan(2 * 64 * 1024);
    expect(errors).toEqual([expect.stringContaining('The rest of the stream')]);
  });

  it.each([
    ['gzip', gzip],
    ['br', brotli],
  ])(
    'decompression bomb: what stands for a thousand times as much is searched for the first event no further than limits.eventSize: %s',
    async (coding, bomb) => {
      const bytes = await bomb(': \n\n', unit(': '), 8);
      const url = await answeringUpstream(bytes, { 'content-encoding': coding });
      let asked = 0;
      const proxy = await proxyApp({
        target: url,
        commit: () => {
          asked += 1;
          return true;
        },
      });
      const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
      expect(response.statusCode).toBe(200);
      expect((await readAll(response)).equals(bytes)).toBe(true);
      expect(asked).toBe(0);
      expect((await proxy.summary()).outcome).toBe('completed');
    },
  );
});

/** Nothing announces that no more is taken: it is when nothing has moved for a while. */
async function atRest(count: () => number): Promise<number> {
  let before = -1;
  let still = 0;
  await until(() => {
    const now = count();
    still = now === before ? still + 1 : 0;
    before = now;
    return still === 30;
  });
  return before;
}

/** What a stream may take that nobody reads. The most of it are the kernel's buffers, on both sides of the proxy. */
const IN_ALL = 64 * MB;

if (BOMBS.some(([coding]) => coding === 'zstd')) {
  // RFC 9659: 8 MiB. What is larger may be 128 MiB, and they are held as long as the stream.
  describe.each([
    [2 ** 23, 'completed'],
    [2 ** 24, 'upstream-truncated'],
  ])('zstd with a window of %i bytes', (window, outcome) => {
    it(`zstd window: is ${outcome}`, async () => {
      const params = { [constants.ZSTD_c_windowLog]: Math.log2(window) };
      // Without its size in front, as of a stream: for less the window would be smaller.
      const encoder = zlib.createZstdCompress({ params });
      const coming = readAll(encoder);
      encoder.write('data: 1\n\n');
      encoder.end('data: 2\n\n');
      const url = await answeringUpstream(await coming, { 'content-encoding': 'zstd' });
      const proxy = await proxyApp({ target: url });
      const { body, cut } = await readUntilCut(await request(proxy.url));
      const isFine = outcome === 'completed';
      expect([String(body), cut]).toEqual([isFine ? 'data: 1\n\ndata: 2\n\n' : '', !isFine]);
      expect((await proxy.summary()).outcome).toBe(outcome);
    });
  });
}

describe('a burst of tiny events', () => {
  const COUNT = 200_000;
  const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
  const events = (from: number, to: number): string =>
    numbers(from, to)
      .map((n) => `data: ${n}\n\n`)
      .join('');

  it.each<[string, SseProxyOptions]>([
    ['observed', {}],
    ['edited', { transformEvent: (event) => event }],
    ['edited by and by', { transformEvent: async (event) => event }],
  ])('burst of tiny events: is in order, and held nowhere: %s', async (_how, options) => {
    const { url, requests } = await manualUpstream();
    const used = memory();
    let next = 0;
    const proxy = await proxyApp({
      target: url,
      onEvent({ data }) {
        if (Number(data) !== next) throw new Error(`${data} in the place of ${next}`);
        next += 1;
        if (next % 10_000 === 0) used.sample();
      },
      ...options,
    });
    const req = openRequest(proxy.url).end();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let n = 0; n < COUNT; n += COUNT / 4) res.write(events(n, n + COUNT / 4));
    res.end();
    const body = await readText(await responseTo(req));
    expect(body === events(0, COUNT)).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', events: COUNT });
    expect(next).toBe(COUNT);
    expect(used.grown).toBeLessThan(FLAT);
  });
});

describe('a reader that stops', () => {
  /** Event after event, of a kilobyte each. */
  const flood = (to: Writable): void => {
    const event = `data: ${'x'.repeat(1016)}\n\n`;
    const pump = (): void => {
      while (!to.destroyed && to.write(event));
    };
    to.on('drain', pump);
    pump();
  };

  /** An upstream that sends as much as is taken; resolves for each request with its connection. */
  async function flooding(coding: 'gzip' | undefined) {
    const { url, requests } = await manualUpstream();
    const next = async () => {
      const { res, closed: upstreamClosed } = await requests.next();
      const { socket } = res;
      if (socket === null) throw new Error('It has left already');
      res.writeHead(200, { 'content-type': 'text/event-stream', ...(coding && { 'content-encoding': coding }) });
      res.flushHeaders();
      if (coding === undefined) {
        flood(res);
      } else {
        // Not smaller than what it stands for.
        const encoder = zlib.createGzip({ level: 0 });
        encoder.pipe(res).once('close', () => encoder.destroy());
        flood(encoder);
      }
      return { socket, upstreamClosed };
    };
    return { url, next };
  }

  async function expectStopped(socket: Socket): Promise<void> {
    const taken = await atRest(() => socket.bytesWritten);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(IN_ALL);
    await turns(100);
    expect(socket.bytesWritten).toBe(taken);
  }

  interface Stream {
    that: string;
    options: SseProxyOptions;
    coding?: 'gzip';
    accepts?: 'gzip';
  }
  it.each<Stream>([
    { that: 'passes as it is', options: {} },
    { that: 'is observed', options: { onEvent() {} } },
    { that: 'is edited', options: { transformEvent: (event) => event } },
    { that: 'is edited by and by', options: { transformEvent: async (event) => event, onEvent() {} } },
    { that: 'is read by a provider', options: { provider: provider.openai, onUsage() {}, heartbeat: {} } },
    { that: 'is decoded', options: {}, coding: 'gzip' },
    { that: 'is decoded and edited', options: { transformEvent: async (event) => event }, coding: 'gzip' },
    { that: 'is decoded aside', options: { onEvent() {} }, coding: 'gzip', accepts: 'gzip' },
  ])(
    'backpressure: a reader that stops stops the upstream of a stream that $that, and ends it when it leaves',
    async ({ options, coding, accepts }) => {
      const { url, next } = await flooding(coding);
      let source: Socket | undefined;
      const on: SseProxyOptions['on'] = {
        proxyRes: (response) => {
          source = response.socket;
        },
      };
      const proxy = await proxyApp({ target: url, on, ...aimedAt(url, options) });
      const used = memory();
      for (const leave of ['destroy', 'resetAndDestroy'] as const) {
        const connected = once(proxy.server, 'connection');
        const req = openRequest(proxy.url, { headers: { 'accept-encoding': accepts ?? 'identity' } }).end();
        const { socket, upstreamClosed } = await next();
        const [client] = (await connected) as [Socket];
        const response = await responseTo(req);
        await expectStopped(socket);
        // What the kernel has taken is not held by the proxy.
        expect((source?.bytesRead ?? MUCH) - (client.bytesWritten - client.writableLength)).toBeLessThan(MB);
        response.socket[leave]();
        await upstreamClosed;
        expect((await proxy.summary()).outcome).toBe('client-closed');
      }
      used.sample();
      expect(used.grown).toBeLessThan(FLAT);
    },
  );

  it('backpressure: a reader that stops stops the upstream over HTTP/2, too, and ends it when it resets its stream', async () => {
    const { url, next } = await flooding(undefined);
    const { session, summary } = await http2Proxy({ target: url });
    const stream = session.request({ ':path': '/' }).on('error', () => {});
    const { socket, upstreamClosed } = await next();
    await once(stream, 'response');
    await expectStopped(socket);
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await upstreamClosed;
    expect((await summary).outcome).toBe('client-closed');
  });
});

describe('an upload that does not end', () => {
  const chat = '/v1/chat/completions';
  const UPLOADS: { that: string; options: SseProxyOptions; reaches: boolean }[] = [
    { that: 'streams', options: {}, reaches: true },
    { that: 'is read before it is sent', options: { provider: editing }, reaches: false },
    { that: 'is kept for a retry', options: { retry: { methods: ['POST'] } }, reaches: true },
  ];

  /** Sends a part of a body, byte by byte, each when the one before has come. */
  async function trickle(proxy: ProxyUnderTest, requests: Queue<PendingRequest>, reaches: boolean) {
    const connected = once(proxy.server, 'connection');
    const headers = { 'content-type': 'application/json', 'content-length': 100 };
    const req = openRequest(proxy.url + chat, { method: 'POST', headers });
    req.flushHeaders();
    const [socket] = (await connected) as [Socket];
    const received = reaches ? await requests.next() : undefined;
    for (const byte of '{"stream"') {
      const { bytesRead } = socket;
      const came = received === undefined ? undefined : once(received.req, 'data');
      req.write(byte);
      await (came ?? until(() => socket.bytesRead > bytesRead));
    }
    return { req, received };
  }

  async function expectNothingWhole(received: PendingRequest | undefined): Promise<void> {
    await received?.closed;
    expect(received?.req.complete ?? false).toBe(false);
  }

  it.each(UPLOADS)(
    'endless upload: gives its place back when its client leaves: one that $that',
    async ({ options, reaches }) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url, limits: { concurrency: 3 }, ...aimedAt(url, options) });
      const uploads = [];
      for (let i = 0; i < 3; i += 1) uploads.push(await trickle(proxy, requests, reaches));
      expect((await request(proxy.url)).statusCode).toBe(503);
      await proxy.summary();

      for (const { req, received } of uploads) {
        req.destroy();
        expect((await proxy.summary()).outcome).toBe('client-closed');
        await expectNothingWhole(received);
      }
      expect(requests.count).toBe(reaches ? 3 : 0);
      for (let i = 0; i < 3; i += 1) {
        openRequest(proxy.url).end();
        await requests.next();
      }
      expect((await request(proxy.url)).statusCode).toBe(503);
    },
  );

  it.each(UPLOADS)('endless upload: is ended by timeouts.total: one that $that', async ({ options, reaches }) => {
    const { url, requests } = await manualUpstream();
    stopTheClock();
    const timeouts = { total: 60_000 };
    const proxy = await proxyApp({ target: url, timeouts, limits: { concurrency: 1 }, ...aimedAt(url, options) });
    const headers = { 'content-type': 'application/json', 'content-length': 100 };
    const req = openRequest(proxy.url + chat, { method: 'POST', headers });
    const arrived = once(proxy.server, 'request');
    req.write('{"stream"');
    await arrived;
    const received = reaches ? await requests.next() : undefined;
    jest.advanceTimersByTime(60_000);
    const response = await responseTo(req);
    // As long as it has to read that before its connection is closed.
    jest.advanceTimersByTime(1_000);
    expect(response.statusCode).toBe(504);
    expect(await readText(response)).toContain('TOTAL_TIMEOUT');
    expect(requests.count).toBe(reaches ? 1 : 0);
    await expectNothingWhole(received);
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', error: { code: 'TOTAL_TIMEOUT' } });
    // Nothing is left of its place.
    openRequest(proxy.url).end();
    await requests.next();
  });
});

describe('a client that has closed its half of the connection', () => {
  async function halfClosed(allowHalfOpen: boolean) {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });
    Object.assign(proxy.server, { httpAllowHalfOpen: allowHalfOpen });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    await client.until('data: 1');
    client.socket.end();
    return { proxy, client, received };
  }

  it('half-closed client: has left, as Node has it, and the upstream is stopped', async () => {
    const { proxy, client, received } = await halfClosed(false);
    await received.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect((await client.end()).text).not.toContain('0\r\n\r\n');
  });

  it('half-closed client: gets its whole answer where the server has `httpAllowHalfOpen`', async () => {
    const { proxy, client, received } = await halfClosed(true);
    for (const data of ['2', '3']) {
      received.res.write(`data: ${data}\n\n`);
      await client.until(`data: ${data}`);
    }
    received.res.end();
    expect((await client.end()).text.endsWith('0\r\n\r\n')).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('1,000 streams at a time that are given up at random points', () => {
  const POINTS = ['connect', 'upload', 'head', 'events', 'half an event'] as const;
  interface Plan {
    id: number;
    at: (typeof POINTS)[number];
    events: number;
    reset: boolean;
    /** By a client of OpenAI's, whose request and answer are edited. */
    chat: boolean;
  }

  /** The same plans in every run. */
  let seed = 20261125;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (seed >>> 8) % below;
  };
  const plan = (id: number): Plan => ({
    id,
    at: POINTS[random(POINTS.length)] ?? 'head',
    events: 1 + random(5),
    reset: random(2) === 0,
    chat: random(2) === 0,
  });

  const pathOf = ({ chat, ...rest }: Plan): string =>
    `${chat ? '/v1/chat/completions' : '/other'}?${encodeURIComponent(JSON.stringify(rest))}`;
  const planOf = (path = ''): Plan => JSON.parse(decodeURIComponent(path.slice(path.indexOf('?') + 1)));

  const listeners = (emitter: EventEmitter): number[] =>
    emitter.eventNames().map((name) => emitter.listenerCount(name));
  const active = (resource: string): number =>
    realProcess.getActiveResourcesInfo().filter((name) => name === resource).length;

  it('1,000 streams given up at random points: leave nothing behind, and have one summary each', async () => {
    /** By the number of the stream: how often each has come to the proxy, and been told of. */
    const arrived = new Map<number, number>();
    const [finished, used] = [new Map<number, number>(), new Map<number, number>()];
    const count = (map: Map<number, number>, path: string | undefined): void => {
      const { id } = planOf(path);
      map.set(id, (map.get(id) ?? 0) + 1);
    };
    const reached = new Map<number, () => void>();
    const up = await upstream((req, res) => {
      const { id, at, events } = planOf(req.url);
      req.resume();
      if (at === 'head') reached.get(id)?.();
      if (at === 'upload' || at === 'head') return;
      const event = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x'.repeat(500) } }] })}\n\n`;
      eventStream(res).write(event.repeat(events) + (at === 'events' ? ': \n\n' : `${event.slice(0, 100)}\n: `));
    });
    const proxy = await proxyApp(
      {
        provider: openai({ target: up.url, apiKey: SERVERS_KEY, includeUsage: true }),
        onEvent() {},
        heartbeat: {},
        retry: {},
        timeouts: { total: 60_000 },
        limits: { concurrency: 2_000 },
        onUsage: (_usage, { req }) => count(used, req.url),
        onFinish: (_summary, { req }) => count(finished, req.url),
      },
      (app) =>
        app.use((req, _res, next) => {
          count(arrived, req.url);
          const { id, at } = planOf(req.url);
          if (at === 'upload') reached.get(id)?.();
          next();
        }),
    );

    /** Resolves with what gives the stream up, when it has come to that point. */
    async function open(plan: Plan): Promise<() => Promise<void>> {
      const headers = { 'content-type': 'application/json', 'content-length': 100 };
      const start = () => openRequest(proxy.url + pathOf(plan), { method: 'POST', headers });
      const leave = async (req: ClientRequest): Promise<void> => {
        if (plan.reset && req.socket?.connecting === false) req.socket.resetAndDestroy();
        else req.destroy();
        await closed(req);
      };
      if (plan.at === 'connect') return () => leave(start().end());
      const req = start();
      const there = new Promise<void>((resolve) => reached.set(plan.id, resolve));
      const body = '{"stream":true}'.padEnd(100);
      if (plan.at === 'upload') req.write(body.slice(0, 50));
      else req.end(body);
      if (plan.at === 'upload' || plan.at === 'head') {
        await there;
      } else {
        const response = await responseTo(req);
        await once(response, 'data');
      }
      return () => leave(req);
    }

    async function run(from: number, to: number): Promise<void> {
      const leaves: (() => Promise<void>)[] = [];
      // Not all in one tick: a server has a backlog of 511.
      for (let id = from; id < to; id += 100) {
        const some = Array.from({ length: Math.min(100, to - id) }, (_, i) => open(plan(id + i)));
        leaves.push(...(await Promise.all(some)));
      }
      await Promise.all(leaves.map((leave) => leave()));
      await until(() => proxy.proxy.active === 0 && finished.size === arrived.size);
      await until(async () => (await connections(proxy.server)) === 0 && (await connections(up.server)) === 0);
      await until(() => active('TCPSocketWrap') === 0);
    }

    // What is made once, is made by these.
    await run(0, 50);
    const emitters = [realProcess, proxy.server, up.server];
    const before = emitters.map(listeners);
    const timers = active('Timeout');
    await run(50, 1_050);
    expect(emitters.map(listeners)).toEqual(before);
    // Jest has some of its own, which come and go.
    expect(active('Timeout')).toBeLessThan(timers + 10);
    expect([...arrived.values(), ...finished.values()].every((times) => times === 1)).toBe(true);
    expect([...finished.keys()].sort()).toEqual([...arrived.keys()].sort());
    expect([...used.values()].every((times) => times === 1)).toBe(true);
    expect(used.size).toBeGreaterThan(500);
    expect(new Set(proxy.summaries.map(({ outcome }) => outcome))).toEqual(new Set(['client-closed']));
  }, 60_000);
});

describe('a head that is too large', () => {
  const query = (size: number): string => `/v1/models?q=${'x'.repeat(size)}`;
  const cookies = (count: number): string => Array.from({ length: count }, (_, i) => `c${i}=${i}`).join('; ');
  const MAX = { maxHeaderSize: 8 * MB };

  /** The proxy behind a server that lets larger heads in. */
  async function spacious(options: SseProxyOptions): Promise<ProxyUnderTest> {
    const proxy = await proxyApp(options);
    const port = await listen(http.createServer(MAX, proxy.app));
    return { ...proxy, port, url: `http://127.0.0.1:${port}` };
  }

  // Above the 16 KB that Node takes, and no larger than what is written at once.
  describe.each([
    ['a query', query(32_768), {}],
    ['cookies', '/', { cookie: cookies(3_000) }],
  ])('%s', (_what, path, headers: OutgoingHttpHeaders) => {
    it('oversized request head: is a 431 of Node, and is not for the proxy', async () => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url });
      const response = await responseTo(openRequest(proxy.url + path, { headers }).end());
      expect(response.statusCode).toBe(431);
      expect([requests.count, proxy.summaries.length, proxy.proxy.active]).toEqual([0, 0, 0]);
    });

    it('oversized request head: is the 431 of an upstream that takes less than the server', async () => {
      const { url } = await upstream((_req, res) => res.end());
      const proxy = await spacious({ target: url });
      const response = await responseTo(openRequest(proxy.url + path, { headers }).end());
      expect(response.statusCode).toBe(431);
      await readAll(response);
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 431 });
    });
  });

  it.each<[what: string, path: string, headers: OutgoingHttpHeaders, lost?: string]>([
    ['a query of 1 MB', query(MB), {}, ''],
    ['10,000 cookies', '/', { cookie: cookies(10_000) }, ''],
    [
      '1,000,000 names in Connection',
      '/',
      { connection: 'x-a,'.repeat(1_000_000), 'x-a': Array(900).fill('1') },
      'x-a',
    ],
  ])(
    'oversized head: a large head arrives whole, where both let it in: %s',
    async (_what, path, headers, lost) => {
      const asked = signal<IncomingMessage>();
      const server = http.createServer(MAX, (req, res) => {
        asked.resolve(req);
        res.end('fine');
      });
      const proxy = await spacious({ target: `http://127.0.0.1:${await listen(server)}` });
      const response = await responseTo(openRequest(proxy.url + path, { headers }).end());
      expect(String(await readAll(response))).toBe('fine');
      const { url, headers: came } = await asked.promise;
      // Not in the message of a failure.
      expect(url === path).toBe(true);
      expect(came.cookie === headers.cookie).toBe(true);
      expect(came).not.toHaveProperty([String(lost)]);
    },
    LONG,
  );

  const line = (name: string): string => `${name}: ${'x'.repeat(50)}=1\r\n`;
  it.each([
    ['10,000 cookies', `HTTP/1.1 200 OK\r\n${line('Set-Cookie').repeat(10_000)}Content-Length: 0\r\n\r\n`],
    ['a name of 1 MB', `HTTP/1.1 200 OK\r\n${'x'.repeat(MB)}: 1\r\n\r\n`],
    ['a reason of 1 MB', `HTTP/1.1 200 ${'x'.repeat(MB)}\r\nContent-Length: 0\r\n\r\n`],
    ['a hint of 1 MB', `HTTP/1.1 103 Early Hints\r\nLink: <${'x'.repeat(MB)}>\r\n\r\n`],
  ])(
    'oversized head: a large head is a 502 where it is a response, and its connection is closed: %s',
    async (_what, head) => {
      const { url, sockets } = await rawUpstream((socket) => socket.write(head));
      const proxy = await proxyApp({ target: url });
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(JSON.parse(String(await readAll(response))).error.code).toBe('UPSTREAM_INVALID_RESPONSE');
      expect((await proxy.summary()).outcome).toBe('upstream-error');
      await until(() => sockets.size === 0);
    },
  );

  it('oversized head: a large head is a cut where it is that of the trailers', async () => {
    const { url, sockets } = await rawUpstream((socket) => {
      const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n';
      socket.write(`${head}${line('X').repeat(10_000)}\r\n`);
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(text).toContain('fine');
    expect(text).not.toContain('\r\n0\r\n');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
    await until(() => sockets.size === 0);
  });

  it('oversized head: a large head is not made of hints without end, of which only a hundred are passed on', async () => {
    const hint = `HTTP/1.1 103 Early Hints\r\nLink: </${'x'.repeat(1000)}>\r\n\r\n`;
    const { url } = await rawUpstream((socket) => {
      socket.write(hint.repeat(1_000));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine');
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(text.split('HTTP/1.1 103').length - 1).toBe(100);
    expect(text).toMatch(/HTTP\/1\.1 200 OK\r\n(.*\r\n)+\r\nfine$/);
  });
});

/** So long, and made of this. */
const long = (unit: string, size = MB): string => unit.repeat(Math.ceil(size / unit.length)).slice(0, size);

/** Lets Jest see, before it goes on, that something has taken too long. */
async function inTime<T>(run: () => T): Promise<T> {
  const result = run();
  await new Promise((resolve) => setTimeout(resolve));
  return result;
}

/** Counts the blocks in a stream that comes in pieces of so many bytes. */
function blocks(format: EventFormat, text: string, size: number): number {
  const reader = new EventReader(format, 2 * MB);
  const bytes = Buffer.from(text);
  let count = 0;
  for (let i = 0; i < bytes.length; i += size) for (const _ of reader.read(bytes.subarray(i, i + size))) count += 1;
  return count;
}

const requestWith = (headers: Record<string, string>): IncomingMessage =>
  Object.assign(new IncomingMessage(new Socket()), { headers });

const RETRY: RetryConfig = {
  maxRetries: 2,
  methods: [],
  statusCodes: [],
  errorCodes: [],
  minTimeout: 1,
  maxTimeout: 1,
  timeoutFactor: 1,
  retryAfter: true,
  maxBodySize: 0,
};

describe('what takes a megabyte of malice in its stride:', () => {
  const cacheControl = (value: string): string => {
    const headers: Record<string, string> = { 'cache-control': value };
    const context = { method: 'GET', httpVersion: '1.1', statusCode: 200, decoded: false, transformed: false };
    applyResponsePasses(headers, { ...context, eventStream: true, withholds: undefined, own: {}, app: {} });
    return String(headers['cache-control']);
  };
  const accepts = (codings: string): boolean => isAccepted(requestWith({ 'accept-encoding': codings }), 'gzip');
  const chat = exchangeFor('/v1/chat/completions');
  const isEdited = (body: string, exchange = chat): boolean => editing.editRequest?.(body, exchange) !== undefined;
  const failure = { message: 'm', code: 'UPSTREAM_TRUNCATED', statusCode: 502 } as const;
  const forwarded = (host: string): string => {
    const fields: Record<string, unknown> = {};
    const upstreamRequest = { setHeader: (name: string, value: unknown) => Object.assign(fields, { [name]: value }) };
    setForwarded(upstreamRequest as unknown as ClientRequest, { req: requestWith({ host }), isForwarded: true });
    return String(fields['x-forwarded-port']);
  };
  const OPTIONS = '{"stream_options": {"a":1 ,"b":[]}},';
  const body = (member: string, options: string): string => `{"stream":true,${member},"stream_options":${options}}`;
  const openaiError = (path: string): boolean =>
    [provider.openai.errorEvent?.(failure, exchangeFor(path)) ?? []].flat().some(({ event }) => event === 'error');
  const ollamaError = (path: string): string => JSON.stringify(ollama().errorBody?.(failure, exchangeFor(path)));
  const retryAfter = (value: string): number | undefined => {
    const headers = { 'retry-after': value };
    return retryDelay({ kind: 'response', statusCode: 429, headers, reached: true }, 0, RETRY, Date.now, () => 1);
  };

  it.each<[what: string, run: () => unknown, result: unknown]>([
    ['a type with white space in it', () => isEventStreamType(`text/event-stream${long(' ')}x`), false],
    ['a type with white space behind it', () => isEventStreamType(`text/event-stream${long('\t')}`), true],
    ['a parameter with white space in it', () => isEventStreamType(`text/event-stream;a=${long(' ')}x`), true],
    ['a parameter that does not end', () => isEventStreamType(`text/event-stream;a="${long('\\')}`), true],
    ['many parameters', () => isEventStreamType(`text/event-stream${long(';a="b"')}`), true],
    ['many suffixes', () => isJsonType(`application/${long('+json')}x`), false],
    ['nothing but suffixes', () => isJsonType(`application/${long('+')}json`), true],
    ['an Accept of commas', () => acceptsEventStream(long(',', 4 * MB)), false],
    ['an Accept of white space', () => acceptsEventStream(`a/b${long(' ')}x`), false],
    ['an Accept of half a type', () => acceptsEventStream(long('text/,')), false],
    ['an Accept of parameters', () => acceptsEventStream(`text/event-stream${long(';')}`), true],
    ['an Accept-Encoding of commas', () => accepts(long(',')), false],
    ['an Accept-Encoding of white space', () => accepts(`a${long(' ')}b`), false],
    ['an Accept-Encoding of many', () => accepts(long('gzip;q=0.1,')), true],
    ['a Host of ports', () => forwarded(long(':1')), '1'],
    ['a Host with a long port', () => forwarded(`a:${long('1')}x`), '80'],
    ['a query of ampersands', () => withoutParameter(`/?${long('&')}`, 'key').length, MB + 2],
    ['a query of keys', () => withoutParameter(`/?${long('key=1&')}`, 'key'), '/'],
    ['a query of percent signs', () => withoutParameter(`/?${long('%6bey&')}`, 'key'), '/?%6be'],
    ['directives of white space', () => cacheControl(`,${long(' ')}x`), `,${long(' ')}x, no-transform`],
    ['directives nearly right', () => cacheControl(long('no-transform x,')).slice(-12), 'no-transform'],
    ['many trailers', () => Object.keys(endToEndTrailers(long('x-a 1 ').split(' '))).includes('x-a'), true],
    ['a Retry-After of digits', () => retryAfter(`${long('1')}x`), 1],
    ['a Retry-After of points', () => retryAfter(long('1.')), 1],
    ['a Retry-After of days', () => retryAfter(long('Mon, ')), 1],
    ['a path of chats', () => isEdited('{}', exchangeFor(`${long('/chat/completions')}x`)), false],
    ['a path of slashes', () => isEdited('{}', exchangeFor(long('/'))), false],
    ['a path of responses', () => openaiError(`${long('/responses')}x`), false],
    [
      'a path of streams',
      () => provider.gemini.formatOf?.(JSON_HEAD, exchangeFor(long(':streamGenerateContent/'))),
      undefined,
    ],
    ['a path of versions', () => ollamaError(`x${long('/v1/')}`), '{"error":"m"}'],
    ['options that look like it', () => isEdited(body(`"m":"${long('\\"stream_options\\":{')}"`, '{"a":{}}')), true],
    ['options in white space', () => isEdited(body('"m":1', `${long(' ')}{"a":{}}`)), true],
    ['options behind white space', () => isEdited(`{"stream":true,"stream_options"${long(' ')}:{"a":{}}}`), true],
    ['options in options', () => isEdited(body(`"m":[${OPTIONS.repeat(29_000)}1]`, '{"a":{}}')), true],
  ])(
    'a megabyte of malice in linear time: %s',
    async (_what, run, result) => {
      const got = await inTime(run);
      // Not a megabyte in the message of a failure.
      expect(got === result ? result : String(got).slice(0, 100)).toBe(result);
    },
    LONG,
  );

  const ROWS: [what: string, format: EventFormat, text: string][] = [
    ...['data:\n', 'data:\r', 'data:\r\n', ':\n', ':\r', 'id\n', 'retry:1\n', 'x\n', 'x\ry\n', ':', '\0'].map(
      (unit): [string, EventFormat, string] => [`lines of ${JSON.stringify(unit)}`, sse, `${long(unit)}\n\n`],
    ),
    ['a retry of digits', sse, `retry:${long('1')}\n\n`],
    ['an array in an array', jsonArray, `${long('[')}${long(']')}`],
    ['a string of escapes', jsonArray, `[{"a":"${long('\\\\')}"}]`],
    ['white space in an array', jsonArray, `[${long(' ')}{}]`],
    ['white space in a line', ndjson, `${long(' ')}x${long(' ', 1000)}\n`],
    ['JSON in JSON', json, `${long('[', MB / 2)}${long(']', MB / 2)}`],
  ];
  it.each(ROWS)(
    'a megabyte of malice in linear time: %s',
    async (_what, format, text) => {
      const count = await inTime(() => blocks(format, text, 2 * MB));
      expect(await inTime(() => blocks(format, text, MB / 2))).toBe(count);
    },
    LONG,
  );

  it.each([
    ['an event stream', sse, 'data: '],
    ['a line', ndjson, ''],
    ['a JSON array', jsonArray, '[{"a":"'],
  ])(
    'a megabyte of malice in linear time: %s without an end, byte by byte',
    async (_what, format, opening) => {
      expect(await inTime(() => blocks(format, opening + long('x'), 1))).toBe(0);
    },
    LONG,
  );
});
