import { Transform } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { EventTooLarge } from '../../../lib/events/event-reader.js';
import { EventTap, type EventTapHooks } from '../../../lib/events/event-tap.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { createDecoder } from '../../../lib/headers/content-coding.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const MB = 1024 * 1024;

interface Tapped {
  tap: EventTap;
  /** The data of the events that were read. */
  seen: string[];
  /** The data of those that are for the account only. */
  parts: string[];
  /** How many events could not be read. */
  unread(): number;
  failures: unknown[];
}

function tapped({
  format = sse,
  limit = MB,
  decoder,
}: {
  format?: EventFormat;
  limit?: number;
  decoder?: Transform;
} = {}): Tapped {
  const seen: string[] = [];
  const parts: string[] = [];
  const failures: unknown[] = [];
  let unread = 0;
  onCleanUp(() => {
    decoder?.destroy();
  });
  const hooks: EventTapHooks = {
    event: ({ data }, part) => (part === undefined ? seen : parts).push(data),
    unread: () => {
      unread += 1;
    },
    failed: (cause) => failures.push(cause),
  };
  const tap = new EventTap(format, limit, hooks, decoder);
  return { tap, seen, parts, unread: () => unread, failures };
}

const text = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, i) => `data: ${from + i}\n\n`).join('');

describe('a tap', () => {
  it('event tap: reads when the event loop has turned: after promises and ticks, and in order', async () => {
    const { tap, seen } = tapped();
    tap.push(Buffer.from('data: 1\n\nda'));
    expect(seen).toEqual([]);
    tap.push(Buffer.from('ta: 2\n\ndata: 3\n\n'));
    await Promise.resolve();
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(seen).toEqual([]);
    await turns(1);
    expect(seen).toEqual(['1', '2', '3']);
    tap.push(Buffer.from('data: 4\n\n'));
    expect(seen).toEqual(['1', '2', '3']);
    await turns(1);
    expect(seen).toEqual(['1', '2', '3', '4']);
    expect(tap.end(true)).toBeUndefined();
  });

  it('event tap: reads at once where it is told to', async () => {
    const { tap, seen } = tapped();
    tap.push(Buffer.from(text(1, 2)));
    expect(tap.flush()).toBeUndefined();
    expect(seen).toEqual(['1', '2']);
    await turns(1);
    expect(seen).toEqual(['1', '2']);
  });

  it('event tap: reads at the end what came in the same tick', async () => {
    const { tap, seen } = tapped();
    tap.push(Buffer.from(text(1, 3)));
    expect(tap.end(true)).toBeUndefined();
    expect(seen).toEqual(['1', '2', '3']);
    await turns(1);
    expect(seen).toEqual(['1', '2', '3']);
  });

  it.each([
    ['the end', true, ['1', '2']],
    ['a cut', false, ['1']],
  ])('event tap: takes a last line without its end for a whole one at %s: %p', (_where, whole, expected) => {
    const { tap, seen, failures } = tapped({ format: ndjson });
    tap.push(Buffer.from('1\n2'));
    expect(tap.end(whole)).toBeUndefined();
    expect(seen).toEqual(expected);
    expect(failures).toEqual([]);
  });

  it.each([
    ['data: 2', true, ['2']],
    ['data: 2\n', true, ['2']],
    ['data: 2\r\n', true, ['2']],
    ['event: x\r', true, []],
    [': x', true, []],
    ['data: 2\n', false, []],
  ])('event tap: reads an event without its blank line for the account: %j, whole: %p', (rest, whole, expected) => {
    const { tap, seen, parts, failures } = tapped();
    tap.push(Buffer.from(`data: 1\n\n${rest}`));
    expect(tap.end(whole)).toBeUndefined();
    expect(seen).toEqual(['1']);
    expect(parts).toEqual(expected);
    expect(failures).toEqual([]);
  });

  it('event tap: reads nothing after its end', async () => {
    const { tap, seen } = tapped();
    expect(tap.end(true)).toBeUndefined();
    tap.push(Buffer.from(text(1, 1)));
    await turns(1);
    expect(seen).toEqual([]);
  });
});

describe('an event that is too large', () => {
  it('event tap: an event that is too large is skipped, and the small ones behind it are read', async () => {
    const { tap, seen, parts, unread, failures } = tapped({ limit: 20 });
    tap.push(Buffer.from(`${text(1, 2)}data: ${'x'.repeat(20)}\n\n${text(3, 3)}`));
    tap.push(Buffer.from(text(4, 4)));
    await turns(1);
    tap.push(Buffer.from(`data: ${'x'.repeat(20)}`));
    tap.push(Buffer.from(`\n\n${text(5, 5)}`));
    await turns(1);
    expect(tap.end(true)).toBeUndefined();
    expect(seen).toEqual(['1', '2', '3', '4', '5']);
    expect(parts).toEqual([]);
    expect(unread()).toBe(2);
    expect(failures).toEqual([]);
  });

  const image = 'A'.repeat(2 * MB);
  const large = JSON.stringify({ a: 1, image, usage: { tokens: 7 }, id: 'x' });
  it.each<[string, EventFormat, string, string[]]>([
    ['Server-Sent Events', sse, `event: big\r\ndata: ${large}\r\n\r\n${text(1, 1)}`, ['1']],
    ['NDJSON', ndjson, `${large}\n{"b":1}\n`, ['{"b":1}']],
    ['the last line of NDJSON', ndjson, `{"b":1}\n${large}`, ['{"b":1}']],
    ['a JSON array, first', jsonArray, `[${large},{"b":1}]`, ['{"b":1}']],
    ['a JSON array, last', jsonArray, `[{"b":1},${large}]`, ['{"b":1}']],
    ['JSON', json, large, []],
  ])(
    'event tap: an event that is too large is read without its long strings: %s',
    async (_name, format, stream, small) => {
      for (const size of [1_000, 64 * 1024, stream.length]) {
        const { tap, seen, parts, unread, failures } = tapped({ format });
        const bytes = Buffer.from(stream);
        for (let i = 0; i < bytes.length; i += size) tap.push(bytes.subarray(i, i + size));
        expect(tap.end(true)).toBeUndefined();
        expect(seen).toEqual(small);
        expect(parts.map((part) => JSON.parse(part))).toEqual([
          { a: 1, image: expect.stringMatching(/^A+$/), usage: { tokens: 7 }, id: 'x' },
        ]);
        expect(parts[0]?.length).toBeLessThan(2_000);
        expect([unread(), failures]).toEqual([0, []]);
      }
    },
  );

  it('event tap: of a JSON array whose first element cannot be read, the others are', () => {
    const members = Array.from({ length: 30_000 }, (_, i) => `"member ${i}":"${'x'.repeat(40)}"`).join(',');
    const { tap, seen, parts, unread } = tapped({ format: jsonArray });
    tap.push(Buffer.from(`[{${members}},{"b":1}\n, {"c":1}]`));
    expect(tap.end(true)).toBeUndefined();
    expect([seen, parts, unread()]).toEqual([['{"b":1}', '{"c":1}'], [], 1]);
  });

  it('event tap: an event that is too large, and never ends, is one that could not be read', () => {
    const { tap, seen, parts, unread } = tapped();
    tap.push(Buffer.from(`${text(1, 1)}data: ${large}\n`));
    expect(tap.end(true)).toBeUndefined();
    expect([seen, parts, unread()]).toEqual([['1'], [], 1]);
  });

  it('event tap: an event that is too large costs no memory, however much there is of it', async () => {
    const { tap, seen, failures } = tapped();
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    // 1 GB
    for (let i = 0; i < 16 * 1024; i += 1) {
      tap.push(chunk);
      if (i % 16 === 0) await turns(1);
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(failures).toEqual([new EventTooLarge(MB)]);
    expect(seen).toEqual([]);
    // What else the process has freed by then is not known.
    expect(most).toBeLessThan(16 * MB);
  });
});

describe('bytes in a content coding', () => {
  const events = text(1, 500);
  const coded = gzipSync(events);
  const all = Array.from({ length: 500 }, (_, i) => String(i + 1));

  it('event tap: compressed bytes are decoded, and all read by the end', async () => {
    const { tap, seen, failures } = tapped({ decoder: createDecoder('gzip') });
    for (let i = 0; i < coded.length; i += 7) tap.push(coded.subarray(i, i + 7));
    const end = tap.end(true);
    expect(end).toBeInstanceOf(Promise);
    await end;
    expect(seen).toEqual(all);
    expect(failures).toEqual([]);
  });

  it('event tap: compressed bytes are read before the end, too', async () => {
    const decoder = createDecoder('gzip');
    const { tap, seen } = tapped({ decoder });
    const read = new Promise((resolve) => decoder.once('data', resolve));
    tap.push(coded.subarray(0, coded.length - 8));
    await read;
    expect(seen.length).toBeGreaterThan(0);
    tap.push(coded.subarray(coded.length - 8));
    await tap.end(true);
    expect(seen).toEqual(all);
  });

  it('event tap: compressed bytes that were cut give what can be decoded, and nobody is told twice that they were', async () => {
    const { tap, seen, failures } = tapped({ decoder: createDecoder('gzip') });
    tap.push(coded.subarray(0, coded.length - 20));
    await tap.end(false);
    expect(seen.length).toBeGreaterThan(0);
    expect(seen).toEqual(all.slice(0, seen.length));
    expect(failures).toEqual([]);
  });

  it('event tap: compressed bytes that end too early in a body that is whole are told of', async () => {
    const { tap, seen, failures } = tapped({ decoder: createDecoder('gzip') });
    tap.push(coded.subarray(0, coded.length - 20));
    await tap.end(true);
    expect(seen).toEqual(all.slice(0, seen.length));
    expect(failures).toEqual([expect.objectContaining({ code: 'Z_BUF_ERROR' })]);
  });

  it('event tap: compressed bytes that end too early have no last line', async () => {
    const { tap, seen } = tapped({ format: ndjson, decoder: createDecoder('gzip') });
    tap.push(gzipSync('1\n2').subarray(0, -8));
    await tap.end(true);
    expect(seen).toEqual(['1']);
  });

  it('event tap: compressed bytes that are none are told of once, and nothing is read any more', async () => {
    const { tap, seen, failures } = tapped({ decoder: createDecoder('gzip') });
    tap.push(Buffer.from(events));
    await turns(1);
    tap.push(coded);
    await tap.end(true);
    expect(seen).toEqual([]);
    expect(failures).toEqual([expect.objectContaining({ code: 'Z_DATA_ERROR' })]);
  });

  it('event tap: compressed bytes that hold an event without end are not decoded any further', async () => {
    const decoder = createDecoder('gzip');
    const { tap, seen, failures } = tapped({ limit: 100, decoder });
    const closed = new Promise((resolve) => decoder.once('close', resolve));
    tap.push(gzipSync(`${text(1, 1)}data: ${'x'.repeat(33 * MB)}`));
    await closed;
    expect(seen).toEqual(['1']);
    expect(failures).toEqual([new EventTooLarge(100)]);
    tap.push(coded);
    expect(tap.end(true)).toBeUndefined();
    expect(seen).toEqual(['1']);
  });

  it('event tap: compressed bytes of which there are none are no failure at a cut', async () => {
    const { tap, failures } = tapped({ decoder: createDecoder('gzip') });
    await tap.end(false);
    expect(failures).toEqual([]);
  });

  it('event tap: compressed bytes do not pile up in front of a decoder that cannot keep up', async () => {
    let release = (): void => {};
    const decoder = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        release = () => done(null, gunzipSync(chunk));
      },
    });
    const { tap, seen, failures } = tapped({ decoder, limit: MB / 2 });
    tap.push(coded);
    await turns(1);
    release();
    await turns(1);
    expect(seen).toEqual(all);
    const chunk = Buffer.alloc(64 * 1024);
    let waiting = 0;
    for (let i = 0; i < 100; i += 1) {
      tap.push(chunk);
      await turns(1);
      waiting = Math.max(waiting, decoder.writableLength);
    }
    expect(waiting).toBeLessThanOrEqual(MB / 2 + chunk.length);
    expect(failures).toEqual([new Error('The decoder cannot keep up with the stream')]);
    expect(decoder.destroyed).toBe(true);
    expect(tap.end(true)).toBeUndefined();
  });
});
