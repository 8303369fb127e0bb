import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import { firstEvent } from '../../../lib/events/first-event.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { openRequest, readAll, readUntilCut } from '../../support/clients/http.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { blocksOf, chunkings, fieldsOf, formatOf, STREAMS } from '../../support/streams/event-streams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const MB = 1024 * 1024;

type Found = Awaited<ReturnType<typeof firstEvent>>;

/** The body of a response, which the test sends. */
function response(): IncomingMessage {
  const socket = new Socket();
  const source = new IncomingMessage(socket);
  onCleanUp(() => {
    source.destroy();
    socket.destroy();
  });
  return source;
}

/** As Node's parser does it. */
function end(source: IncomingMessage): void {
  source.complete = true;
  source.push(null);
}

interface Looked {
  found: Found;
  /** What is there to be read after that. */
  body: Buffer;
}

interface LookOptions {
  format: EventFormat;
  coding: string | undefined;
  limit: number;
  atOnce: boolean;
}

/** Looks for the first event of a body that comes in these chunks: each by itself, or all of them in one tick. */
async function lookAt(
  chunks: readonly Buffer[],
  { format = sse, coding, limit = MB, atOnce = false }: Partial<LookOptions> = {},
): Promise<Looked> {
  const source = response();
  const found = firstEvent(source, format, coding, limit);
  const sent = (async () => {
    for (const chunk of chunks) {
      source.push(chunk);
      if (!atOnce) await turns(1);
    }
    end(source);
  })();
  const result = await found;
  const body = await readAll(source);
  await sent;
  return { found: result, body };
}

const said = (found: Found) => (typeof found === 'string' ? found : fieldsOf(found));

/** What there is to be found in a whole stream. */
function expectedIn(format: EventFormat, bytes: Buffer): ReturnType<typeof said> {
  const events = blocksOf(new EventReader(format, MB), [bytes]).flatMap(({ event }) => event ?? []);
  return said(events[0] ?? 'none');
}

describe.each(STREAMS.map((stream) => [stream.name, stream] as const))('a stream with %s', (_name, stream) => {
  const { bytes } = stream;
  const format = formatOf(stream);
  const expected = expectedIn(format, bytes);

  it.each([
    ['piece by piece', false],
    ['in one tick', true],
  ])(
    'first event: a stream has its first event, and every byte still to come, cut at any place: %s',
    async (_how, atOnce) => {
      expect(expected).toBeInstanceOf(Object);
      for (const chunks of chunkings(bytes)) {
        const { found, body } = await lookAt(chunks, { format, atOnce });
        expect(said(found)).toEqual(expected);
        expect(body.equals(bytes)).toBe(true);
      }
    },
  );

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('first event: a stream has it also in %s, of which every byte is still to come, too', async (coding, encode) => {
    const encoded = encode(bytes);
    const middle = encoded.length >> 1;
    const cuts = [
      [encoded],
      [encoded.subarray(0, middle), encoded.subarray(middle)],
      Array.from(encoded, (_byte, i) => encoded.subarray(i, i + 1)),
    ];
    for (const chunks of cuts) {
      for (const atOnce of [false, true]) {
        const { found, body } = await lookAt(chunks, { format, coding, atOnce });
        expect(said(found)).toEqual(expected);
        expect(body.equals(encoded)).toBe(true);
      }
    }
  });
});

it('first event: finds the event in gzip, cut at any place', async () => {
  const encoded = gzipSync('data: zażółć\n\ndata: 2\n\n');
  for (const chunks of chunkings(encoded)) {
    const { found, body } = await lookAt(chunks, { coding: 'gzip' });
    expect(said(found)).toMatchObject({ data: 'zażółć' });
    expect(body.equals(encoded)).toBe(true);
  }
});

it('first event: has the event as soon as it is there, and does not wait for the next', async () => {
  const source = response();
  const found = firstEvent(source, sse, undefined, MB);
  source.push(Buffer.from('data: 1\n\ndata'));
  expect(said(await found)).toMatchObject({ data: '1' });
  source.push(Buffer.from(': 2\n\n'));
  end(source);
  expect(String(await readAll(source))).toBe('data: 1\n\ndata: 2\n\n');
});

it('first event: has no listener left on the source when it has found one', async () => {
  const source = response();
  const before = source.eventNames().map((name) => [name, source.listenerCount(name)]);
  const found = firstEvent(source, sse, undefined, MB);
  source.push(Buffer.from('data: 1\n\n'));
  await found;
  expect(source.eventNames().map((name) => [name, source.listenerCount(name)])).toEqual(before);
});

describe('a body without an event', () => {
  it.each([
    ['of Server-Sent Events that is empty', sse, ''],
    ['of Server-Sent Events with comments only', sse, ': ping\n\n: ping\n\nretry: 5\n\n'],
    ['of Server-Sent Events whose only event is not finished', sse, 'data: 1\n'],
    ['of NDJSON that is empty', ndjson, ''],
    ['of NDJSON with line ends only', ndjson, '\n\r\n\n'],
  ])('first event: a body without one %s: none', async (_what, format, text) => {
    for (const chunks of chunkings(Buffer.from(text))) {
      for (const atOnce of [false, true]) {
        const { found, body } = await lookAt(chunks, { format, atOnce });
        expect(found).toBe('none');
        expect(String(body)).toBe(text);
      }
    }
  });

  it('first event: a body without one has none in gzip either', async () => {
    const encoded = gzipSync(': ping\n\n');
    const { found, body } = await lookAt([encoded], { coding: 'gzip' });
    expect(found).toBe('none');
    expect(body.equals(encoded)).toBe(true);
  });
});

describe('NDJSON whose only line has no end', () => {
  const line = Buffer.from('{"error":"zażółć"}');

  it('first event: NDJSON whose only line has no end has it for an event when the body has ended', async () => {
    for (const chunks of chunkings(line)) {
      for (const atOnce of [false, true]) {
        const { found, body } = await lookAt(chunks, { format: ndjson, atOnce });
        expect(said(found)).toMatchObject({ data: String(line) });
        expect(body.equals(line)).toBe(true);
      }
    }
  });

  it('first event: NDJSON whose only line has no end has it in gzip, too', async () => {
    const encoded = gzipSync(line);
    for (const atOnce of [false, true]) {
      const { found, body } = await lookAt([encoded], { format: ndjson, coding: 'gzip', atOnce });
      expect(said(found)).toMatchObject({ data: String(line) });
      expect(body.equals(encoded)).toBe(true);
    }
  });
});

describe('what cannot be told', () => {
  it.each(['compress', 'gzip, br', 'x-unknown'])(
    'first event: what cannot be told is what is in a coding that is not known: %s',
    async (coding) => {
      const bytes = Buffer.from('data: 1\n\n');
      const { found, body } = await lookAt([bytes], { coding });
      expect(found).toBe('unknown');
      expect(body.equals(bytes)).toBe(true);
    },
  );

  it.each([
    ['is none of it', Buffer.from('data: 1\n\n')],
    ['is cut', gzipSync('data: 1').subarray(0, -4)],
    ['is damaged', Buffer.concat([gzipSync('').subarray(0, 10), Buffer.alloc(20, 0xff)])],
  ])('first event: what cannot be told is gzip that %s', async (_what, bytes) => {
    for (const atOnce of [false, true]) {
      const { found, body } = await lookAt([bytes], { coding: 'gzip', atOnce });
      expect(found).toBe('unknown');
      expect(body.equals(bytes)).toBe(true);
    }
  });

  const event = 'data: 0123456789\n\n';

  it('first event: what cannot be told is what has no event within the limit, however it is cut', async () => {
    const bytes = Buffer.from(`: x\n\n${event}`);
    for (const chunks of chunkings(bytes)) {
      for (const atOnce of [false, true]) {
        const { found, body } = await lookAt(chunks, { limit: bytes.length - 1, atOnce });
        expect(found).toBe('unknown');
        expect(body.equals(bytes)).toBe(true);
      }
    }
  });

  it('first event: what cannot be told is not what has one within it, however much follows', async () => {
    const bytes = Buffer.from(`: x\n\n${event}${'data: and more\n\n'.repeat(5)}`);
    for (const chunks of chunkings(bytes)) {
      const { found, body } = await lookAt(chunks, { limit: event.length + 5 });
      expect(said(found)).toMatchObject({ data: '0123456789' });
      expect(body.equals(bytes)).toBe(true);
    }
  });

  it('first event: what cannot be told is what begins with an event that is too large when it is decoded', async () => {
    const bytes = gzipSync(`data: ${'x'.repeat(100_000)}\n\n`);
    const { found, body } = await lookAt([bytes], { coding: 'gzip', limit: 10_000 });
    expect(bytes.length).toBeLessThan(10_000);
    expect(found).toBe('unknown');
    expect(body.equals(bytes)).toBe(true);
  });

  it('first event: what cannot be told is known at once: nothing more is waited for', async () => {
    const source = response();
    const found = firstEvent(source, sse, undefined, 10);
    source.push(Buffer.from(`data: ${'x'.repeat(10)}`));
    expect(await found).toBe('unknown');
  });
});

describe('a body that breaks off', () => {
  it.each([
    ['without a coding', undefined, Buffer.from('data: 1\n')],
    ['in gzip', 'gzip', gzipSync('data: 1\n\n').subarray(0, 12)],
    ['before its first byte', undefined, undefined],
  ])('first event: a body that breaks off leaves it at that, and no listener: %s', async (_how, coding, bytes) => {
    const source = response();
    source.on('error', () => {});
    const before = source.eventNames().map((name) => [name, source.listenerCount(name)]);
    const results: Found[] = [];
    void firstEvent(source, sse, coding, MB).then((result) => results.push(result));
    if (bytes !== undefined) source.push(bytes);
    await turns();
    source.destroy(new Error('cut'));
    await closed(source);
    await turns();
    expect(results).toEqual([]);
    expect(source.eventNames().map((name) => [name, source.listenerCount(name)])).toEqual(before);
  });
});

describe('the response of a real server', () => {
  /** Looks as soon as the head is there, in the same tick: the rest may have come with it. */
  async function lookAtServer(bytes: readonly (string | Buffer)[], format: EventFormat, coding?: string) {
    const { url } = await rawUpstream((socket) => {
      socket.end(Buffer.concat(bytes.map((part) => Buffer.from(part))));
    });
    const looked = signal<{ source: IncomingMessage; found: Promise<Found> }>();
    openRequest(url)
      .once('response', (source) => looked.resolve({ source, found: firstEvent(source, format, coding, MB) }))
      .end();
    return looked.promise;
  }

  const line = '{"error":"no"}';
  it.each([
    ['of a known length', `Content-Length: ${line.length}\r\n\r\n${line}`],
    ['in chunks', `Transfer-Encoding: chunked\r\n\r\n${line.length.toString(16)}\r\n${line}\r\n0\r\n\r\n`],
    ['that ends with the connection', `Connection: close\r\n\r\n${line}`],
  ])(
    'first event: the response of a server has its first event and its bytes where all of it comes at once: %s',
    async (_how, rest) => {
      const { source, found } = await lookAtServer([`HTTP/1.1 200 OK\r\n${rest}`], ndjson);
      expect(said(await found)).toMatchObject({ data: line });
      expect(String(await readAll(source))).toBe(line);
      expect(source.complete).toBe(true);
    },
  );

  it.each([
    ['small', 1],
    ['large', 20_000],
  ])('first event: the response of a server has them in gzip that comes at once: %s', async (_size, more) => {
    // Of random text, so that it stays large.
    const rest = Array.from({ length: more }, () => `data: ${Math.random()}\n\n`).join('');
    const encoded = gzipSync(`data: first\n\n${rest}`);
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${encoded.length}\r\n\r\n`;
    const { source, found } = await lookAtServer([head, encoded], sse, 'gzip');
    expect(said(await found)).toMatchObject({ data: 'first' });
    expect((await readAll(source)).equals(encoded)).toBe(true);
  });

  it('first event: the response of a server has none where it is empty', async () => {
    const { found } = await lookAtServer(['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'], sse);
    expect(await found).toBe('none');
  });

  it('first event: the response of a server has what came before it broke off, once its first event was found', async () => {
    const { source, found } = await lookAtServer(['HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: 1\n\ndata'], sse);
    expect(said(await found)).toMatchObject({ data: '1' });
    expect(await readUntilCut(source)).toEqual({ body: Buffer.from('data: 1\n\ndata'), cut: true });
  });
});
