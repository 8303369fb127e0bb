import { once } from 'node:events';
import type { IncomingMessage, RequestOptions, ServerResponse } from 'node:http';
import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import compression from 'compression';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import type { Express } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { gemini, openai, type Provider } from '../../../lib/providers/index.js';
import { openRequest, readAll, reader, readUntilCut, responseTo } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { rawClient } from '../../support/clients/raw.js';
import { http2Proxy, type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream, type PendingRequest } from '../../support/servers/upstreams.js';
import { FIXTURES } from '../../support/streams/fixtures.js';
import { openStream } from '../../support/streams/open-streams.js';
import { closeAndWatchEachTest, realProcess } from '../../support/watch/process.js';
import { closed, type Queue, signal, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const PING = ': ping\n\n';
const heartbeat = { interval: 15 };
const SSE = { 'content-type': 'text/event-stream' };

/** A stream without its heartbeats, and where in it they were. */
function withoutBeats(body: Buffer, beat = PING): { rest: string; at: number[] } {
  const parts = body.toString('latin1').split(beat);
  let offset = 0;
  const at = parts.slice(0, -1).map((part) => {
    offset += part.length;
    return offset;
  });
  return { rest: parts.join(''), at };
}

/** What a client takes a stream for. */
function eventsOf(stream: Buffer): EventSourceMessage[] {
  const events: EventSourceMessage[] = [];
  createParser({ onEvent: (event) => void events.push(event) }).feed(stream.toString());
  return events;
}

interface Clocked {
  proxy: ProxyUnderTest;
  /** What the upstream is asked. */
  requests: Queue<PendingRequest>;
  /** A request, with the upstream's response to give. */
  open(options?: RequestOptions): Promise<{ res: ServerResponse; response: Promise<IncomingMessage> }>;
  /** Resolves when streams that are silent have had several heartbeats each. */
  silence(): Promise<void>;
}

/** A proxy, and a silent stream through it by whose heartbeats the time is told. */
async function clocked(options: SseProxyOptions = { heartbeat }, before?: (app: Express) => void): Promise<Clocked> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options }, before);
  const open: Clocked['open'] = async (requestOptions) => {
    const req = openRequest(proxy.url, requestOptions);
    const response = responseTo(req);
    req.end();
    return { res: (await requests.next()).res, response };
  };
  const { res, response } = await open();
  res.writeHead(200, SSE).flushHeaders();
  const clock = await response;
  clock.resume();
  return {
    proxy,
    requests,
    open,
    silence: async () => {
      // All timers of one interval fire in turn.
      for (let i = 0; i < 3; i += 1) await once(clock, 'data');
    },
  };
}

describe('a heartbeat', () => {
  it('heartbeat: is sent in every silence, before the first event and between events', async () => {
    const { proxy, res, response } = await openStream({ heartbeat });
    const client = reader(response);
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      for (let i = 0; i < 3; i += 1) expect(await client.until('\n\n')).toBe(PING);
      res.write(event);
      // Some more may have been on their way.
      let got = await client.until('\n\n');
      while (got === PING) got = await client.until('\n\n');
      expect(got).toBe(event);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('heartbeat: has the comment that it is given', async () => {
    const { res, response } = await openStream({ heartbeat: { ...heartbeat, comment: 'still here' } });
    expect(await reader(response).until('\n\n')).toBe(': still here\n\n');
    res.end();
  });

  it.each<[string, string, Provider, Partial<typeof heartbeat & { comment: string }>]>([
    ['is one that Google’s clients read', 'data: {}\n\n', gemini({ apiKey: 'sk' }), {}],
    ['is the comment of the options, if they give one', ': here\n\n', gemini({ apiKey: 'sk' }), { comment: 'here' }],
    ['is a comment at most providers', PING, openai({ apiKey: 'sk' }), {}],
  ])('heartbeat: %s', async (_name, expected, { target, ...provider }, given) => {
    const path = '/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse';
    const { requests, url } = await manualUpstream();
    const proxy = await proxyApp({ provider: { ...provider, target: url }, heartbeat: { ...heartbeat, ...given } });
    const req = openRequest(proxy.url, { path: provider.name === 'openai' ? '/v1/chat/completions' : path });
    req.end();
    const { res } = await requests.next();
    res.writeHead(200, SSE).flushHeaders();
    expect(await reader(await responseTo(req)).until('\n\n')).toBe(expected);
    res.end();
  });

  it('heartbeat: of a provider is a comment at an endpoint that is OpenAI’s, and where it fails', async () => {
    const errors: unknown[] = [];
    const failing = {
      ...gemini({ apiKey: 'sk' }),
      heartbeat: () => {
        throw new Error('no');
      },
    };
    const logger = { info() {}, warn() {}, error: (text: string) => errors.push(text) };
    for (const [path, provider] of [
      ['/v1beta/openai/chat/completions', gemini({ apiKey: 'sk' })],
      ['/v1beta/models/g:streamGenerateContent?alt=sse', failing],
    ] as const) {
      const { requests, url } = await manualUpstream();
      const proxy = await proxyApp({ provider: { ...provider, target: url }, heartbeat, logger });
      const req = openRequest(proxy.url, { path });
      req.end();
      const { res } = await requests.next();
      res.writeHead(200, SSE).flushHeaders();
      expect(await reader(await responseTo(req)).until('\n\n')).toBe(PING);
      res.end();
    }
    expect(errors).toEqual([expect.stringContaining('heartbeat')]);
  });

  it('heartbeat: counts in the bytes of the summary, and not as an event', async () => {
    const { proxy, res, response } = await openStream({ heartbeat, onEvent: () => {} });
    const body = readAll(response);
    await once(response, 'data');
    res.end('data: 1\n\n');
    const bytes = await body;
    expect(withoutBeats(bytes)).toEqual({ rest: 'data: 1\n\n', at: expect.arrayContaining([0]) });
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: bytes.length, events: 1 });
  });

  it('heartbeat: is sent while transformEvent is at work', async () => {
    const decided = signal();
    const { res, response } = await openStream({
      heartbeat,
      transformEvent: async (event) => {
        await decided.promise;
        event.data += '!';
      },
    });
    const client = reader(response);
    res.write('data: 1\n\ndata: hal');
    for (let i = 0; i < 3; i += 1) expect(await client.until('\n\n')).toBe(PING);
    decided.resolve();
    res.end('f\n\n');
    const rest = await client.until('half!\n\n');
    expect(withoutBeats(Buffer.from(rest)).rest).toBe('data: 1!\n\ndata: half!\n\n');
  });

  it('heartbeat: is sent in a stream that the upstream compresses, which is decoded for it', async () => {
    const { res, response } = await openStream(
      { heartbeat },
      { head: { 'content-encoding': 'gzip' }, client: { headers: { 'accept-encoding': 'gzip' } } },
    );
    expect(response.headers['content-encoding']).toBeUndefined();
    const client = reader(response);
    expect(await client.until('\n\n')).toBe(PING);
    res.end(zlib.gzipSync('data: 1\n\n'));
    expect(withoutBeats(Buffer.from(await client.until('data: 1\n\n'))).rest).toBe('data: 1\n\n');
  });

  it('heartbeat: is sent behind compression()', async () => {
    const { response } = await openStream(
      { heartbeat },
      { client: { headers: { 'accept-encoding': 'gzip' } }, before: (app) => app.use(compression({ threshold: 0 })) },
    );
    const client = reader(response);
    for (let i = 0; i < 3; i += 1) expect(await client.until('\n\n')).toBe(PING);
  });

  it('heartbeat: is sent over HTTP/2', async () => {
    const { url, requests } = await manualUpstream();
    const { session, summary } = await http2Proxy({ target: url, heartbeat });
    const stream = session.request({ ':path': '/' });
    const closed = closing(stream);
    const client = reader(stream);
    const { res } = await requests.next();
    res.writeHead(200, SSE).write('data: 1\n\n');
    await client.until('data: 1\n\n');
    for (let i = 0; i < 3; i += 1) expect(await client.until('\n\n')).toBe(PING);
    res.end('data: 2\n\n');
    const { body, code } = await closed;
    expect(withoutBeats(Buffer.from(body)).rest).toBe('data: 1\n\ndata: 2\n\n');
    expect(code).toBe(0);
    expect((await summary).outcome).toBe('completed');
  });

  it('heartbeat: is sent to an HTTP/1.0 client', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, heartbeat });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    const { res } = await requests.next();
    res.writeHead(200, SSE).write('data: 1\n\n');
    await client.until(PING, 3);
    res.end();
    const { text } = await client.end();
    expect(withoutBeats(Buffer.from(text)).rest).toMatch(/\r\n\r\ndata: 1\n\n$/);
  });
});

describe('a heartbeat is sent only between events', () => {
  const comment = 'in no fixture';
  const beat = `: ${comment}\n\n`;

  /** Whether these bytes end with a blank line, and not within its CRLF. What has not begun counts as such. */
  const isBoundary = (bytes: Buffer): boolean => {
    const text = `\n\n${bytes.toString('latin1')}`;
    return text.replace(/\r\n?/g, '\n').endsWith('\n\n') && !text.endsWith('\r\n\r');
  };

  const fixtures = FIXTURES.filter(
    ({ name, contentType, bytes }) =>
      contentType === SSE['content-type'] && name !== 'a byte order mark' && bytes.length < 200,
  );

  it.each(fixtures)('heartbeat: sent only between events, $name, with a silence at every offset', async ({ bytes }) => {
    const { proxy, open, silence } = await clocked({ heartbeat: { ...heartbeat, comment } });
    const offsets = Array.from({ length: bytes.length + 1 }, (_, i) => i);
    const streams = [];
    for (const offset of offsets) {
      const { res, response } = await open();
      res.writeHead(200, SSE).flushHeaders();
      res.write(bytes.subarray(0, offset));
      streams.push({ offset, res, body: readAll(await response) });
    }
    await silence();
    for (const { offset, res } of streams) res.end(bytes.subarray(offset));

    for (const { offset, body } of streams) {
      const stream = await body;
      const { rest, at } = withoutBeats(stream, beat);
      expect(rest).toBe(bytes.toString('latin1'));
      expect(eventsOf(stream)).toEqual(eventsOf(bytes));
      const boundary = isBoundary(bytes.subarray(0, offset));
      expect({ offset, beat: at.includes(offset) }).toEqual({ offset, beat: boundary });
      for (const place of at) expect(isBoundary(bytes.subarray(0, place))).toBe(true);
    }
    await until(() => proxy.summaries.length === offsets.length);
  });

  it('heartbeat: sent only between events, also where an event comes in pieces', async () => {
    const { open, silence } = await clocked();
    const { res, response } = await open();
    res.writeHead(200, SSE).flushHeaders();
    const client = reader(await response);
    for (const piece of ['data: a', 'b\ndata', ': c\n', 'id: 1\n', '\n']) {
      res.write(piece);
      await client.until(piece);
      if (piece !== '\n') await silence();
    }
    expect(await client.until('\n\n')).toBe(PING);
    res.end();
  });
});

describe('a heartbeat before a byte order mark', () => {
  // The second begins like a mark and has none: U+FEC0 is EF BB 80.
  it.each(['\ufeffdata: 1\n\ndata: 2\n\n', '\ufec0: 0\ndata: 1\n\ndata: 2\n\n'])(
    'heartbeat: before a byte order mark leaves the first event whole, wherever %j is split',
    async (text) => {
      const bytes = Buffer.from(text);
      const { open, silence } = await clocked();
      for (const offsets of [[], [1], [2], [3], [4], [1, 2], [1, 2, 3]]) {
        const { res, response } = await open();
        res.writeHead(200, SSE).flushHeaders();
        const client = await response;
        const body = readAll(client);
        await once(client, 'data');
        let from = 0;
        for (const to of offsets) {
          res.write(bytes.subarray(from, to));
          await silence();
          from = to;
        }
        res.end(bytes.subarray(from));
        const stream = await body;
        const { rest, at } = withoutBeats(stream);
        expect(eventsOf(stream).map(({ data }) => data)).toEqual(['1', '2']);
        // The mark is one at the very start only.
        expect(rest).toBe(Buffer.from(text.replace(/^\ufeff/, '')).toString('latin1'));
        expect(new Set(at)).toEqual(new Set([0]));
      }
    },
  );

  it('heartbeat: before a byte order mark leaves the first event of a transformed stream whole, too', async () => {
    const { res, response } = await openStream({ heartbeat, transformEvent: (event) => event });
    const body = readAll(response);
    await once(response, 'data');
    res.end('\ufeffdata: 1\n\ndata: 2\n\n');
    const stream = await body;
    expect(eventsOf(stream).map(({ data }) => data)).toEqual(['1', '2']);
    expect(withoutBeats(stream).rest).toBe('data: 1\n\ndata: 2\n\n');
  });
});

describe('no heartbeat is sent', () => {
  it("heartbeat: none is sent before the upstream's head", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, heartbeat });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const { res } = await requests.next();
    const req = openRequest(proxy.url);
    req.end();
    (await requests.next()).res.writeHead(200, SSE).flushHeaders();
    const clock = await responseTo(req);
    for (let i = 0; i < 3; i += 1) await once(clock, 'data');
    expect(client.text()).toBe('');
    res.writeHead(200, SSE).write('data: 1\n\n');
    await client.until('data: 1\n\n');
    expect(client.text()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it.each([
    ['in NDJSON', { 'content-type': 'application/x-ndjson' }],
    ['in JSON', { 'content-type': 'application/json' }],
    ['in any other body', { 'content-type': 'text/plain' }],
    ['where Content-Length counts the bytes', { ...SSE, 'content-length': 8 }],
    ['in a coding that cannot be undone', { ...SSE, 'content-encoding': 'unheard-of' }],
  ])('heartbeat: none is sent %s', async (_name, head) => {
    const { open, silence } = await clocked();
    const { res, response } = await open();
    res.writeHead(200, head).flushHeaders();
    const body = readAll(await response);
    await silence();
    res.write('[1,\n\n');
    await silence();
    res.end('2]\n');
    expect((await body).toString()).toBe('[1,\n\n2]\n');
  });

  it('heartbeat: none is sent in answer to HEAD', async () => {
    const { proxy, requests, silence } = await clocked();
    const client = await rawClient(proxy.port);
    client.socket.write('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n');
    const { res } = await requests.next();
    res.writeHead(200, SSE).flushHeaders();
    await client.until('\r\n\r\n');
    await silence();
    res.end();
    expect((await proxy.summary()).bytes).toBe(0);
    expect(client.text()).toMatch(/^HTTP\/1\.1 200 OK\r\n(.+\r\n)+\r\n$/);
  });

  it('heartbeat: none is sent to a client that does not read', async () => {
    let beats = 0;
    const slow = signal<ServerResponse>();
    const { open, silence } = await clocked({ heartbeat }, (app) => {
      app.use((req, res, next) => {
        if (req.headers['x-slow'] === undefined) return next();
        const { write } = res;
        res.write = (chunk: Uint8Array, ...rest: unknown[]) => {
          if (chunk.length === PING.length && String(chunk) === PING) beats += 1;
          return Reflect.apply(write, res, [chunk, ...rest]) as boolean;
        };
        slow.resolve(res);
        next();
      });
    });
    const { res, response } = await open({ headers: { 'x-slow': '1' } });
    // Between events everywhere, so that it is not for the place that none is sent.
    const blank = Buffer.alloc(24 * 1024 * 1024, '\n');
    res.writeHead(200, SSE).end(blank);
    const client = await response;
    const proxied = await slow.promise;
    let still = 0;
    let before = -1;
    // Nothing announces that no more is taken: it is when nothing has moved for a while.
    await until(() => {
      const written = proxied.socket?.bytesWritten ?? 0;
      still = proxied.writableNeedDrain && written === before ? still + 1 : 0;
      before = written;
      return still === 20;
    });
    const beatsUntilThen = beats;
    await silence();
    expect(beats).toBe(beatsUntilThen);
    const { rest } = withoutBeats(await readAll(client));
    expect(rest.length).toBe(blank.length);
    expect(rest).not.toMatch(/[^\n]/);
  });
});

describe('the timer of heartbeats', () => {
  const timers = (): number => realProcess.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  /** Jest has some timers of its own, which come and go. */
  const A_FEW = 10;
  const MANY = 50;

  interface Ends {
    res: ServerResponse;
    response: IncomingMessage;
  }

  it.each<[string, string, (stream: Ends) => unknown]>([
    ['completed', 'the answer is complete', ({ res }) => res.end('data: 1\n\n')],
    ['client-closed', 'the client leaves', ({ response }) => response.destroy()],
    ['upstream-truncated', 'the upstream dies', ({ res }) => res.destroy()],
  ])('heartbeat: its timer stops where the exchange is %s: %s', async (outcome, _name, end) => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, heartbeat: { interval: 600_000 } });
    const before = timers();
    const streams: Ends[] = [];
    for (let i = 0; i < MANY; i += 1) {
      const req = openRequest(proxy.url);
      req.end();
      const { res } = await requests.next();
      res.writeHead(200, SSE).flushHeaders();
      streams.push({ res, response: (await responseTo(req)).resume() });
    }
    expect(timers()).toBeGreaterThanOrEqual(before + MANY - A_FEW);
    await Promise.all(
      streams.map(async (stream) => {
        const over = closed(stream.response);
        end(stream);
        await over;
      }),
    );
    await until(() => proxy.summaries.length === MANY);
    expect(new Set(proxy.summaries.map((summary) => summary.outcome))).toEqual(new Set([outcome]));
    await until(() => timers() <= before + A_FEW);
  });

  it('heartbeat: its timer does not keep a dead upstream alive: proxyTimeout still cuts it', async () => {
    const { proxy, response } = await openStream({ heartbeat, proxyTimeout: 250 });
    const { body, cut } = await readUntilCut(response);
    expect(cut).toBe(true);
    expect(body.toString()).toMatch(/^(: ping\n\n)+$/);
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout', error: { code: 'UPSTREAM_TIMEOUT' } });
  });
});
