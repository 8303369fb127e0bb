import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { EventReader, EventTooLarge } from '../../../../lib/events/event-reader.js';
import { EventTap } from '../../../../lib/events/event-tap.js';
import { adoptFormat } from '../../../../lib/formats/adopt-format.js';
import type { ParsedEvent } from '../../../../lib/formats/format.js';
import { amazonEventStream } from '../../../../lib/providers/formats/amazon-event-stream.js';
import { converseStream, event, exception, frameOf, framesOf, textHeaders } from '../../../support/streams/bedrock.js';
import { blocksOf, chunkings } from '../../../support/streams/event-streams.js';

const format = adoptFormat(amazonEventStream);

function eventsOf(chunks: readonly Buffer[]): { event: string | undefined; data: string }[] {
  const blocks = blocksOf(new EventReader(format, 100_000), chunks);
  return blocks.flatMap(({ event: found }) => (found === undefined ? [] : [{ event: found.event, data: found.data }]));
}

/** What a tap reads of bytes, and why it stops. */
function tapped(bytes: Buffer): { events: ParsedEvent[]; cause: unknown } {
  const events: ParsedEvent[] = [];
  let cause: unknown;
  const tap = new EventTap(format, 100_000, {
    event: (found) => void events.push(found),
    unread() {},
    failed(reason) {
      cause = reason;
    },
  });
  tap.push(bytes);
  void tap.end(true);
  return { events, cause };
}

describe("Amazon's event streams", () => {
  it('Amazon event stream: has the same bytes and events, split at every byte', () => {
    const frames = [...converseStream.frames, exception('throttlingException', { message: 'Zu viel 🙂' })];
    const bytes = framesOf(frames);
    const whole = eventsOf([bytes]);
    expect(whole.map((found) => found.event)).toEqual([
      'messageStart',
      'contentBlockDelta',
      'contentBlockDelta',
      'contentBlockStop',
      'messageStop',
      'metadata',
      'throttlingException',
    ]);
    expect(whole.at(-1)?.data).toBe('{"message":"Zu viel 🙂"}');
    for (const chunks of chunkings(bytes)) {
      const blocks = blocksOf(new EventReader(format, 100_000), chunks);
      // The last one is what is left: nothing.
      const found = blocks.map((block) => block.bytes);
      const expected = [...frames.map((frame) => frame.bytes), Buffer.alloc(0)];
      // A matcher would take its time, some thousand times.
      const isSame = isDeepStrictEqual(found, expected) && isDeepStrictEqual(eventsOf(chunks), whole);
      if (!isSame) expect({ at: chunks[0]?.length, found }).toEqual({ at: chunks[0]?.length, found: expected });
      expect(isSame).toBe(true);
    }
  });

  it('Amazon event stream: reads a frame without a payload, and one with headers that it does not know', () => {
    const headers = {
      a: { type: 'boolean', value: true },
      b: { type: 'byte', value: -1 },
      c: { type: 'short', value: -300 },
      d: { type: 'integer', value: 70_000 },
      e: { type: 'binary', value: Buffer.from([0, 255]) },
      f: { type: 'timestamp', value: new Date(0) },
      g: { type: 'uuid', value: '01234567-89ab-cdef-0123-456789abcdef' },
      __proto__: { type: 'string', value: 'x' },
      ':event-type': { type: 'string', value: 'known' },
    } as const;
    expect(eventsOf([frameOf(headers, '{}'), frameOf({})])).toEqual([
      { event: 'known', data: '{}' },
      { event: undefined, data: '' },
    ]);
    // A type that is no text is none.
    expect(eventsOf([frameOf({ ':event-type': { type: 'integer', value: 5 } }, '1')])).toEqual([
      { event: undefined, data: '1' },
    ]);
  });

  it('Amazon event stream: an error without a model is an error event with its code and message', () => {
    const frame = frameOf(
      textHeaders({ ':message-type': 'error', ':error-code': 'InternalFailure', ':error-message': 'Broken.' }),
    );
    expect(eventsOf([frame])).toEqual([{ event: 'error', data: '{"code":"InternalFailure","message":"Broken."}' }]);
  });

  it('Amazon event stream: nothing is read from a frame on whose checksum is not right', () => {
    const [start, delta, stop] = [event('a', {}), event('b', { text: 'x' }), event('c', {})].map(({ bytes }) => bytes);
    const bad = delta as Buffer;
    for (let at = 4; at < bad.length; at += 1) {
      const damaged = Buffer.from(bad);
      damaged[at] = (damaged[at] as number) ^ 1;
      const { events, cause } = tapped(Buffer.concat([start as Buffer, damaged, stop as Buffer]));
      expect(events.map((found) => found.event)).toEqual(['a']);
      expect(cause).toBeInstanceOf(Error);
    }
  });

  it.each([0, 4, 15])('Amazon event stream: a length of %d bytes, which no frame has, ends the reading', (length) => {
    const bytes = Buffer.alloc(20);
    bytes.writeUInt32BE(length);
    expect(tapped(bytes)).toEqual({
      events: [],
      cause: expect.objectContaining({ message: expect.stringContaining(`${length} bytes`) }),
    });
  });

  it('Amazon event stream: no more than limits.eventSize is held of a frame that claims gigabytes', () => {
    const claim = Buffer.alloc(50_000);
    claim.writeUInt32BE(0xffffffff);
    const reader = new EventReader(format, 100_000);
    expect([...reader.read(claim)]).toEqual([]);
    expect([...reader.read(Buffer.alloc(50_000))]).toEqual([]);
    expect(() => [...reader.read(Buffer.alloc(1))]).toThrow(EventTooLarge);
  });

  it('Amazon event stream: a frame that lacks its end is no event', () => {
    const { bytes } = event('metadata', { usage: {} });
    for (let size = 1; size < bytes.length; size += 1) expect(eventsOf([bytes.subarray(0, size)])).toEqual([]);
  });

  it('Amazon event stream: is read and never written', () => {
    expect(format.encode).toBeUndefined();
    expect(format.encodeComment).toBeUndefined();
  });
});
