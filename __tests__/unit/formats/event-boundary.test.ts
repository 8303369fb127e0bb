import { describe, expect, it } from '@jest/globals';
import { createBoundary } from '../../../lib/formats/event-boundary.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { chunkings } from '../../support/streams/event-streams.js';

/** Whether a stream that was sent in these chunks has reached a boundary. */
function isReached(format: EventFormat, chunks: readonly Buffer[]): boolean {
  const boundary = createBoundary(format);
  for (const chunk of chunks) boundary.sent(chunk);
  return boundary.isReached;
}

describe('a boundary', () => {
  it.each<[string, EventFormat, string, boolean]>([
    ['before anything was sent', sse, '', true],
    ['behind an event', sse, 'data: 1\n\n', true],
    ['behind an event in CRLF', sse, 'data: 1\r\n\r\n', true],
    ['behind an event in CR', sse, 'data: 1\r\r', true],
    ['within the CRLF that ends an event', sse, 'data: 1\r\n\r', false],
    ['behind a comment', sse, 'data: 1\n\n: ping\n\n', true],
    ['behind a blank line only', sse, '\r\n', true],
    ['within a line', sse, 'data: 1\n\ndata: 2', false],
    ['behind a line', sse, 'data: 1\n\ndata: 2\n', false],
    ['behind a line in CRLF', sse, 'data: 1\r\n\r\ndata: 2\r\n', false],
    ['within a character', sse, 'data: \n\n\xf0\x9f', false],
    ['before anything was sent', ndjson, '', true],
    ['behind a line', ndjson, '{"a":1}\n{"b":2}\r\n', true],
    ['within a line', ndjson, '{"a":1}\n{', false],
    ['before anything was sent', jsonArray, '', false],
    ['behind an element', jsonArray, '[{"a":1}\n', false],
    ['before anything was sent', json, '', false],
  ])('event boundary: a boundary %s is one or not, however it was cut', (_where, format, text, expected) => {
    for (const chunks of chunkings(Buffer.from(text, 'latin1'))) expect(isReached(format, chunks)).toBe(expected);
  });

  it('event boundary: a boundary is the same after chunks without bytes', () => {
    const none = Buffer.alloc(0);
    expect(isReached(sse, [none])).toBe(true);
    expect(isReached(sse, [Buffer.from('data: 1'), none])).toBe(false);
    expect(isReached(sse, [Buffer.from('data: 1\n\n'), none])).toBe(true);
  });

  it('event boundary: a boundary is left and reached as the stream goes on', () => {
    const boundary = createBoundary(sse);
    const states = ['data: 1', '\n', '\n', 'd', 'ata: \xff\xff\xff\xff\n\n'].map((text) => {
      boundary.sent(Buffer.from(text, 'latin1'));
      return boundary.isReached;
    });
    expect(states).toEqual([false, false, true, false, true]);
  });
});
