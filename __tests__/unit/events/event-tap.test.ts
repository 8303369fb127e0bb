import { Transform } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { EventTooLarge } from '../../../lib/events/event-reader.js';
import { EventTap } from '../../../lib/events/event-tap.js';
import type { EventFormat } from '../../../lib/formats/format.js';
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
  const failures: unknown[] = [];
  onCleanUp(() => {
    decoder?.destroy();
  });
  const tap = new EventTap(
    format,
    limit,
    ({ data }) => seen.push(data),
    (cause) => failures.push(cause),
    decoder,
  );
  return { tap, seen, failures };
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
    tap.flush();
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

  it('event tap: takes half an event of an event stream for none at the end', () => {
    const { tap, seen, failures } = tapped();
    tap.push(Buffer.from('data: 1\n\ndata: 2\n'));
    expect(tap.end(true)).toBeUndefined();
    expect(seen).toEqual(['1']);
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
  it('event tap: an event that is too large is told of once, and nothing is read any more', async () => {
    const { tap, seen, failures } = tapped({ limit: 20 });
    tap.push(Buffer.from(`${text(1, 2)}data: ${'x'.repeat(20)}\n\n${text(3, 3)}`));
    tap.push(Buffer.from(text(4, 4)));
    await turns(1);
    tap.push(Buffer.from(`data: ${'x'.repeat(20)}\n\n${text(5, 5)}`));
    await turns(1);
    expect(tap.end(true)).toBeUndefined();
    expect(seen).toEqual(['1', '2']);
    expect(failures).toEqual([new EventTooLarge(20)]);
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
    expect(most).toBeLessThan(4 * MB);
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

  it('event tap: compressed bytes that hold an event which is too large are not decoded any further', async () => {
    const decoder = createDecoder('gzip');
    const { tap, seen, failures } = tapped({ limit: 100, decoder });
    const closed = new Promise((resolve) => decoder.once('close', resolve));
    tap.push(gzipSync(`${text(1, 1)}data: ${'x'.repeat(MB)}`));
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
