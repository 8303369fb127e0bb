import { describe, expect, it, jest } from '@jest/globals';
import { EventReader, EventTooLarge } from '../../../lib/events/event-reader.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import {
  blocksOf,
  chunkings,
  fieldsOf,
  formatOf,
  referenceEvents,
  STREAMS,
} from '../../support/streams/event-streams.js';
import { buffersInUse } from '../../support/watch/memory.js';

const MB = 1024 * 1024;

const eventsOf = (blocks: ReturnType<typeof blocksOf>) =>
  blocks.flatMap(({ event }) => (event === undefined ? [] : [fieldsOf(event)]));

/** How many events of these chunks were read until one was too large. */
function readUntilTooLarge(reader: EventReader, chunks: readonly Buffer[]): number {
  let events = 0;
  expect(() => {
    for (const chunk of chunks) for (const { event } of reader.read(chunk)) events += event === undefined ? 0 : 1;
  }).toThrow(EventTooLarge);
  return events;
}

describe.each(STREAMS.map((fixture) => [fixture.name, fixture] as const))('a stream with %s', (_name, fixture) => {
  const { bytes } = fixture;
  const format = formatOf(fixture);
  const expected = eventsOf(blocksOf(new EventReader(format, MB), [bytes]));

  it('event reader: a stream has the same bytes and events, cut at any place', () => {
    expect(expected).not.toEqual([]);
    for (const chunks of chunkings(bytes)) {
      const blocks = blocksOf(new EventReader(format, MB), chunks);
      expect(Buffer.concat(blocks.map((block) => block.bytes)).equals(bytes)).toBe(true);
      expect(eventsOf(blocks)).toEqual(expected);
    }
  });

  if (format === sse) {
    it('event reader: a stream has the events that eventsource-parser finds in it', () => {
      expect(expected.map(({ data, event, id }) => ({ data, event, id }))).toEqual(referenceEvents(bytes));
    });
  } else {
    it('event reader: a stream has events of JSON', () => {
      for (const { data } of expected) expect(JSON.parse(data)).toBeInstanceOf(Object);
    });
  }
});

describe('reading', () => {
  it('event reader: hands on an event as soon as its last byte is there', () => {
    const reader = new EventReader(sse, MB);
    expect([...reader.read(Buffer.from('data: 1\n'))]).toEqual([]);
    expect(Array.from(reader.read(Buffer.from('\ndata: 2\n\ndata:')), ({ event }) => event?.data)).toEqual(['1', '2']);
    expect(reader.end()).toEqual({ bytes: Buffer.from('data:'), event: undefined });
  });

  it('event reader: does not depend on a chunk that is used again', () => {
    const reader = new EventReader(sse, MB);
    const chunk = Buffer.from('data: first');
    expect([...reader.read(chunk)]).toEqual([]);
    chunk.fill('x');
    expect(Array.from(reader.read(Buffer.from('\n\n')), ({ event }) => event?.data)).toEqual(['first']);
  });

  it('event reader: takes an empty chunk for nothing', () => {
    const reader = new EventReader(sse, MB);
    const none = Buffer.alloc(0);
    const chunks = [none, Buffer.from('data: 1\r\n\r'), none, Buffer.from('\n'), none];
    expect(blocksOf(reader, chunks).map(({ bytes }) => String(bytes))).toEqual(['data: 1\r\n\r', '\n', '']);
  });

  it.each([
    ['Server-Sent Events', sse, undefined],
    ['a JSON array', jsonArray, undefined],
    ['NDJSON', ndjson, '[{"a":1}'],
    ['JSON', json, '[{"a":1}'],
  ])('event reader: takes what the stream ends in for an event where it can be one: %s', (_name, format, expected) => {
    const reader = new EventReader(format, MB);
    const text = format === sse ? 'data: 1\n' : format === jsonArray ? '[{"a":' : '[{"a":1}';
    expect([...reader.read(Buffer.from(text))]).toEqual([]);
    const { bytes, event } = reader.end();
    expect(String(bytes)).toBe(text);
    expect(event?.data).toBe(expected);
  });
});

describe('json() of an event', () => {
  it('event.json(): is parsed once, and anew where the data was changed', () => {
    const [block] = new EventReader(sse, MB).read(Buffer.from('data: {"a":1}\n\n'));
    const event = block?.event;
    expect(event?.json()).toEqual({ a: 1 });
    expect(event?.json()).toBe(event?.json());
    if (event !== undefined) event.data = '{"a":2}';
    expect(event?.json()).toEqual({ a: 2 });
  });

  it.each(['[DONE]', '', '{"a":'])('event.json(): is undefined for %j', (data) => {
    const [block] = new EventReader(sse, MB).read(Buffer.from(`data: ${data}\n\n`));
    expect(block?.event).toBeDefined();
    expect(block?.event?.json()).toBeUndefined();
  });
});

describe('the limit', () => {
  const second = 'data: 0123456789\n\n';
  const stream = Buffer.from(`: x\n\n${second}data: 3\n\n`);

  it('event reader, limits.eventSize: the limit is one of bytes, for each event by itself: as many are read, however they are cut', () => {
    for (const chunks of chunkings(stream)) {
      const blocks = blocksOf(new EventReader(sse, second.length), chunks);
      expect(eventsOf(blocks).map(({ data }) => data)).toEqual(['0123456789', '3']);
    }
  });

  it('event reader, limits.eventSize: the limit is passed by one byte more, however that is cut', () => {
    for (const chunks of chunkings(stream)) {
      expect(readUntilTooLarge(new EventReader(sse, second.length - 1), chunks)).toBe(0);
    }
  });

  it.each([
    ['NDJSON', ndjson, '{"a":1}\n', '{"a":12}\n'],
    ['a JSON array', jsonArray, '[{"a":1}', ',{"a":123}'],
    ['comments', sse, ': 12\n\n', ': 12345\n\n'],
  ])('event reader, limits.eventSize: the limit holds for %s, too', (_name, format, small, large) => {
    const limit = large.length - 1;
    for (const chunks of chunkings(Buffer.from(small + large))) {
      readUntilTooLarge(new EventReader(format, limit), chunks);
      expect(blocksOf(new EventReader(format, limit + 1), chunks).at(-2)?.bytes).toHaveLength(large.length);
    }
  });

  it('event reader, limits.eventSize: the limit holds for a whole JSON body', () => {
    const chunks = [Buffer.from('{"a":'), Buffer.from('1}')];
    expect(blocksOf(new EventReader(json, 7), chunks)[0]?.event?.data).toBe('{"a":1}');
    readUntilTooLarge(new EventReader(json, 6), chunks);
  });

  it('event reader, limits.eventSize: the limit leaves what was read in front of the event that is too large', () => {
    const text = `data: 1\n\ndata: 2\n\ndata: ${'x'.repeat(100)}\n\n`;
    expect(readUntilTooLarge(new EventReader(sse, 50), [Buffer.from(text)])).toBe(2);
  });

  it('event reader, limits.eventSize: the limit is in the message', () => {
    expect(new EventTooLarge(50).message).toBe('An event has more than 50 bytes (`limits.eventSize`)');
  });
});

describe('memory', () => {
  // To collect garbage until nothing moves any more takes a while on a busy machine.
  jest.setTimeout(120_000);

  it('event reader, memory: stays bounded with a line that never ends', async () => {
    const reader = new EventReader(sse, MB);
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const before = await buffersInUse();
    let most = 0;
    let read = 0;
    expect(() => {
      // 200 MB
      for (; read < 3200; read += 1) {
        expect([...reader.read(chunk)]).toEqual([]);
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      }
    }).toThrow(EventTooLarge);
    // 1 MB is held, not the next chunk.
    expect(read).toBe(16);
    expect(most).toBeGreaterThanOrEqual(MB);
    // At most what was grown out of on the way, if nothing of it was collected yet.
    expect(most).toBeLessThan(4 * MB);
  });

  it('event reader, memory: is set free when an event was too large', async () => {
    const reader = new EventReader(sse, 32 * MB);
    const chunk = Buffer.alloc(MB, 'x');
    const before = await buffersInUse();
    for (let i = 0; i < 32; i += 1) expect([...reader.read(chunk)]).toEqual([]);
    expect((await buffersInUse()) - before).toBeGreaterThan(31 * MB);
    readUntilTooLarge(reader, [chunk]);
    expect((await buffersInUse()) - before).toBeLessThan(MB);
    // Still in use: it is not the reader itself that went.
    expect(reader).toBeInstanceOf(EventReader);
  });

  it('event reader, memory: is taken for what is held of an event, not for the buffer that it came in', async () => {
    const reader = new EventReader(sse, MB);
    const before = await buffersInUse();
    for (let i = 0; i < 20; i += 1) {
      expect([...reader.read(Buffer.alloc(MB, 'x').subarray(0, 10))]).toEqual([]);
    }
    // Of the 20 buffers, the last may still be in use somewhere.
    expect((await buffersInUse()) - before).toBeLessThan(3 * MB);
    expect(reader.end().bytes).toHaveLength(200);
  });
});
