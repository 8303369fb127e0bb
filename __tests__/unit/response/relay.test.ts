import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { Transform } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { createClientResponse } from '../../../lib/client/create-client-response.js';
import { Deadlines } from '../../../lib/exchange/deadlines.js';
import { createDecoder } from '../../../lib/headers/content-coding.js';
import { ExchangeObservers } from '../../../lib/observe/exchange-observers.js';
import type { Summary } from '../../../lib/observe/summary.js';
import { Relay } from '../../../lib/response/relay.js';
import { receive } from '../../support/servers/bare-http.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { chunkings } from '../../support/streams/event-streams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();
afterEach(() => {
  jest.useRealTimers();
});

interface Relayed {
  /** What the upstream sends. */
  source: IncomingMessage;
  relay: Relay;
  summary: Summary;
  /** What has happened: `ended`, or what a stage has failed with. */
  events: unknown[];
  ended: Promise<void>;
  /** The body that the client gets; ends its response first. */
  body(): Promise<string>;
}

async function relayed({ stages = [], headers = {} }: { stages?: Transform[]; headers?: Record<string, string> } = {}) {
  // HTTP/1.0: the body is sent as it is.
  const { req, res, closed } = await receive('GET / HTTP/1.0\r\nHost: x\r\n\r\n');
  const client = createClientResponse(req, res);
  client.commit({ statusCode: 200, statusMessage: '', headers }, { eventStream: true, nameOf: (name) => name });
  const socket = new Socket();
  const source = new IncomingMessage(socket);
  const observers = new ExchangeObservers(exchangeFor('/'));
  const { summary } = observers;
  const off = { connect: false, headers: false, idle: false, drain: false, total: false } as const;
  const deadlines = new Deadlines(off, () => {});
  const events: unknown[] = [];
  const ended = signal();
  const relay = new Relay({
    source,
    stages,
    client,
    observers,
    deadlines,
    ended() {
      events.push('ended');
      ended.resolve();
    },
    failed: (_stage, cause) => events.push(cause),
  });
  onCleanUp(() => {
    relay.stop();
    for (const stage of stages) stage.destroy();
    source.destroy();
    socket.destroy();
  });
  const result: Relayed = {
    source,
    relay,
    summary,
    events,
    ended: ended.promise,
    async body() {
      res.end();
      const { text } = await closed();
      return text.slice(text.indexOf('\r\n\r\n') + 4);
    },
  };
  return result;
}

describe('skipByteOrderMark', () => {
  const MARK = '\xef\xbb\xbf';

  async function bodyOf(chunks: readonly Buffer[]): Promise<string> {
    const { source, relay, summary, ended, body } = await relayed();
    relay.skipByteOrderMark();
    for (const chunk of chunks) {
      source.push(chunk);
      await turns(1);
    }
    source.push(null);
    await ended;
    const text = await body();
    expect(summary.bytes).toBe(text.length);
    return text;
  }

  it('skipByteOrderMark: takes out a mark at the start, however it is cut, and only that one', async () => {
    for (const chunks of chunkings(Buffer.from(`${MARK}${MARK}data`, 'latin1'))) {
      expect(await bodyOf(chunks)).toBe(`${MARK}data`);
    }
  });

  it.each([
    ['another character', '\xef\xbb\xbedata'],
    ['half of it', '\xef\xbbdata'],
    ['its first byte', '\xef\xef\xbb\xbfdata'],
    ['no byte of it', `data${MARK}`],
    ['nothing behind its first bytes', '\xef\xbb'],
    ['nothing at all', ''],
  ])('skipByteOrderMark: keeps what only begins like one: %s', async (_what, bytes) => {
    for (const chunks of chunkings(Buffer.from(bytes, 'latin1'))) expect(await bodyOf(chunks)).toBe(bytes);
  });

  it('skipByteOrderMark: leaves nothing of a body that is only a mark', async () => {
    for (const chunks of chunkings(Buffer.from(MARK, 'latin1'))) expect(await bodyOf(chunks)).toBe('');
  });

  it('skipByteOrderMark: keeps what only began like one where the body breaks off', async () => {
    const { source, relay, body } = await relayed();
    relay.skipByteOrderMark();
    source.push(Buffer.from('\xef\xbb', 'latin1'));
    await turns(1);
    const cut = signal();
    relay.cut(cut.resolve);
    await cut.promise;
    expect(await body()).toBe('\xef\xbb');
  });
});

describe('cut', () => {
  /** Resolves when the rest of a cut body was handed on. */
  function cutting(relay: Relay): Promise<void> {
    const cut = signal();
    relay.cut(cut.resolve);
    return cut.promise;
  }

  it('cut of a relay: hands on what came in the same read, and then calls back', async () => {
    const { source, relay, events, body } = await relayed();
    source.push('data: 1\n\n');
    await cutting(relay);
    expect(await body()).toBe('data: 1\n\n');
    expect(events).toEqual([]);
  });

  it('cut of a relay: hands on what was not sent yet to a client that did not read', async () => {
    const { source, relay, body } = await relayed();
    source.pause();
    source.push('data: 1\n\n');
    source.push('data: 2\n\n');
    await turns();
    await cutting(relay);
    expect(await body()).toBe('data: 1\n\ndata: 2\n\n');
  });

  it.each([
    ['waits', true],
    ['was about to be sent', false],
  ])(
    'cut of a relay: does not make a broken message look whole: not by the rest of a body with a length that %s',
    async (_how, waits) => {
      const { source, relay, body } = await relayed({ headers: { 'content-length': '9' } });
      if (waits) source.pause();
      source.push('data: 1\n\n');
      source.complete = true;
      await cutting(relay);
      source.destroy();
      expect(await body()).toBe('');
    },
  );

  it('cut of a relay: hands on what a decoder can make of half a body, and takes its complaint for no failure', async () => {
    const { source, relay, events, body } = await relayed({ stages: [createDecoder('gzip')] });
    source.push(gzipSync('data: 1\n\n').subarray(0, -8));
    await cutting(relay);
    expect(await body()).toBe('data: 1\n\n');
    expect(events).toEqual([]);
  });

  it('cut of a relay: waits for a stage that is slow, and for those behind it', async () => {
    const going = signal<() => void>();
    const slow = new Transform({
      transform: (chunk, _encoding, done) => going.resolve(() => done(null, chunk)),
    });
    const last = new Transform({
      transform: (chunk, _encoding, done) => done(null, chunk),
      flush(done) {
        this.push('the end\n');
        done();
      },
    });
    const { source, relay, body } = await relayed({ stages: [slow, last] });
    source.push('data: 1\n\n');
    let isCut = false;
    const cut = cutting(relay).then(() => {
      isCut = true;
    });
    const go = await going.promise;
    await turns();
    expect(isCut).toBe(false);
    go();
    await cut;
    expect(await body()).toBe('data: 1\n\nthe end\n');
  });

  it('cut of a relay: goes on behind a stage that has failed', async () => {
    const decoder = createDecoder('gzip');
    const last = new Transform({
      transform: (chunk, _encoding, done) => done(null, chunk),
      flush(done) {
        this.push('the end\n');
        done();
      },
    });
    const { source, relay, events, body } = await relayed({ stages: [decoder, last] });
    const failed = new Promise((resolve) => decoder.once('close', resolve));
    source.push('this is no gzip');
    await failed;
    expect(events).toEqual([expect.objectContaining({ code: 'Z_DATA_ERROR' })]);
    await cutting(relay);
    expect(await body()).toBe('the end\n');
  });

  it('cut of a relay: does not wait for good where the client does not read', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'performance'] });
    const never = new Transform({ transform() {} });
    const { source, relay } = await relayed({ stages: [never] });
    source.push('data: 1\n\n');
    let calls = 0;
    relay.cut(() => {
      calls += 1;
    });
    await turns();
    jest.advanceTimersByTime(4_999);
    expect(calls).toBe(0);
    jest.advanceTimersByTime(1);
    expect(calls).toBe(1);
    jest.advanceTimersByTime(60_000);
    expect(calls).toBe(1);
  });

  it('cut of a relay that was stopped calls back no more', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'performance'] });
    const never = new Transform({ transform() {} });
    const { relay } = await relayed({ stages: [never] });
    let calls = 0;
    const before = jest.getTimerCount();
    relay.cut(() => {
      calls += 1;
    });
    relay.stop();
    expect(jest.getTimerCount()).toBe(before);
    jest.advanceTimersByTime(60_000);
    expect(calls).toBe(0);
  });
});
