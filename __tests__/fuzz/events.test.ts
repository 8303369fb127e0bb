import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { type Block, EventReader, EventTooLarge } from '../../lib/events/event-reader.js';
import { EventTap, type EventTapHooks } from '../../lib/events/event-tap.js';
import { EventTransformer } from '../../lib/events/event-transformer.js';
import { OwnEdits } from '../../lib/events/own-edits.js';
import type { ParsedEvent } from '../../lib/formats/format.js';
import { json } from '../../lib/formats/json.js';
import { jsonArray } from '../../lib/formats/json-array.js';
import { ndjson } from '../../lib/formats/ndjson.js';
import { sse } from '../../lib/formats/sse.js';
import { createDecoder } from '../../lib/headers/content-coding.js';
import {
  anyCuts,
  bytewise,
  cutAt,
  damaged,
  referenceReading,
  runs,
  someDamage,
  TIMEOUT,
} from '../support/fuzz/runs.js';
import { fieldsOf, formatOf, STREAMS } from '../support/streams/event-streams.js';

afterEach(() => {
  jest.restoreAllMocks();
});

const MB = 1024 * 1024;
const CR = 0x0d;
const LF = 0x0a;
const LINE_FEED = Buffer.from('\n');

const FORMATS = { sse, ndjson, jsonArray, json };
type Name = keyof typeof FORMATS;

/** The grammar of each format, in no order that it would have. */
const WORDS: Record<Name, readonly string[]> = {
  sse: ['data: ', 'data:', 'event: a', 'id: 1', 'retry: 7', ': ', 'x', '🙂', '\ufeff', '\n', '\n\n', '\r', '\r\n\r\n'],
  ndjson: ['{"a":1}', '{', '}', '"\\n"', '\n', '\r\n', ' ', '\t', '🙂', '\ufeff', '[1]'],
  jsonArray: ['[', ']', '{', '}', ',', '"', '\\', '"a":', '1', '{"a":1}', '"]}\\""', '🙂', '\n', ' '],
  json: ['{', '"a":1', '}', '🙂', '\n'],
};

interface Stream {
  format: Name;
  bytes: Buffer;
  /** `null` for bytes that come one by one: all that can come apart does. */
  cuts: number[] | null;
  /** Some that are far too small, and some that a stream may or may not keep. */
  limit: number;
}

/** What a provider may send, and something of that which it never would. */
function streams(...formats: Name[]): fc.Arbitrary<Stream> {
  return fc.constantFrom(...formats).chain((format) => {
    const whole = STREAMS.filter((stream) => formatOf(stream) === FORMATS[format]).map(({ bytes }) => bytes);
    const undamaged = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(Buffer.alloc(0), ...whole) },
      {
        weight: 3,
        arbitrary: fc
          .array(fc.constantFrom(...WORDS[format]), { maxLength: 40 })
          .map((list) => Buffer.from(list.join(''))),
      },
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    );
    return fc.record({
      format: fc.constant(format),
      bytes: fc.tuple(undamaged, someDamage()).map(([bytes, damages]) => damaged(bytes, damages)),
      cuts: fc.option(anyCuts),
      limit: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constant(MB)),
    });
  });
}

const chunksOf = (bytes: Buffer, cuts: number[] | null): Buffer[] =>
  cuts === null ? bytewise(bytes) : cutAt(bytes, cuts);

const anyStream = streams('sse', 'ndjson', 'jsonArray', 'json');

interface Read {
  events: ParsedEvent[];
  blocks: Buffer[];
  bytes: Buffer;
  tooLarge: boolean;
}

/** All that a reader makes of a stream; what it throws but `EventTooLarge` comes out of it. */
function read(format: Name, limit: number, chunks: readonly Buffer[]): Read {
  const reader = new EventReader(FORMATS[format], limit);
  const result: Read = { events: [], blocks: [], bytes: Buffer.alloc(0), tooLarge: false };
  const take = ({ bytes, event }: Block): void => {
    result.bytes = Buffer.concat([result.bytes, bytes]);
    const last = result.blocks.at(-1);
    // The second half of a CRLF that came by itself.
    if (last?.at(-1) === CR && bytes.equals(LINE_FEED))
      result.blocks.push(Buffer.concat([result.blocks.pop() ?? last, bytes]));
    else result.blocks.push(bytes);
    if (event !== undefined) result.events.push(event);
  };
  try {
    for (const chunk of chunks) for (const block of reader.read(chunk)) take(block);
    take(reader.end());
  } catch (error) {
    if (!(error instanceof EventTooLarge)) throw error;
    result.tooLarge = true;
  }
  return result;
}

/** The blocks of a stream and the data in them, by rules that are written down here once more. */
function expectedBlocks({ format, bytes }: Stream): { block: Buffer; data: string | undefined }[] {
  if (format === 'json') return [{ block: bytes, data: bytes.toString() || undefined }];
  if (format === 'ndjson') {
    const lines = bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
    return lines.map((line) => {
      const block = Buffer.from(line, 'latin1');
      return { block, data: block.toString().trim() || undefined };
    });
  }
  if (format === 'jsonArray') return elementsOf(bytes);
  const { blocks, events, rest } = referenceReading(bytes);
  return [...blocks.map((block, i) => ({ block, data: events[i]?.data })), { block: rest, data: undefined }];
}

/** Up to each bracket that closes an element; what is behind the last of them is none. */
function elementsOf(bytes: Buffer): { block: Buffer; data: string | undefined }[] {
  const ends: number[] = [];
  let depth = 0;
  for (const { 0: token, index } of bytes.toString('latin1').matchAll(/"(?:[^"\\]|\\.?)*(?:"|$)|[[{]|[\]}]/gs)) {
    if (token === '[' || token === '{') depth += 1;
    else if (!token.startsWith('"')) {
      depth -= 1;
      if (depth === 1) ends.push(index + 1);
    }
  }
  let before = '[';
  return [...ends, bytes.length].map((end, i) => {
    const block = bytes.subarray(ends[i - 1] ?? 0, end);
    const text = block.toString().trim();
    if (i === ends.length || !text.startsWith(before)) return { block, data: undefined };
    before = ',';
    return { block, data: text.slice(1).trimStart() };
  });
}

function property<T>(name: string, arbitrary: fc.Arbitrary<T>, holds: (value: T) => void | Promise<void>): void {
  it(
    name,
    () =>
      fc.assert(
        fc.asyncProperty(arbitrary, async (value) => holds(value)),
        runs(),
      ),
    TIMEOUT,
  );
}

describe('a reader of anything, in any chunks', () => {
  property(
    'event reader: finds what it finds in one piece, and loses no byte of it',
    anyStream,
    ({ format, bytes, cuts }) => {
      const inOnePiece = read(format, MB, [bytes]);
      const inChunks = read(format, MB, chunksOf(bytes, cuts));
      expect(inChunks.events.map(fieldsOf)).toEqual(inOnePiece.events.map(fieldsOf));
      expect(inChunks.bytes).toEqual(bytes);
      expect(inOnePiece.bytes).toEqual(bytes);
    },
  );

  property('event reader: agrees with the rules of the format', anyStream, (stream) => {
    const { format, bytes, cuts, limit } = stream;
    const { events, blocks, tooLarge } = read(format, limit, chunksOf(bytes, cuts));
    const expected = expectedBlocks(stream);
    // The LF of a CRLF that came by itself does not count for the block that it ends.
    const isOver = ({ block }: { block: Buffer }, spare: number): boolean =>
      block.length - (format === 'sse' && block.subarray(-2).toString() === '\r\n' ? spare : 0) > limit;
    const notEmpty = (list: Buffer[]): string[] => list.map((block) => block.toString('latin1')).filter(Boolean);
    const count = tooLarge ? blocks.length : expected.length;
    expect(expected.slice(0, count).some((block) => isOver(block, 1))).toBe(false);
    expect(expected.slice(count, count + 1).some((block) => isOver(block, 0))).toBe(tooLarge);
    const within = expected.slice(0, count);
    expect(events.map(({ data }) => data)).toEqual(within.flatMap(({ data }) => data ?? []));
    expect(notEmpty(blocks)).toEqual(notEmpty(within.map(({ block }) => block)));
  });

  property(
    'event reader: reads every field of an event as the specification has it',
    streams('sse'),
    ({ format, bytes, cuts }) => {
      const { events } = read(format, MB, chunksOf(bytes, cuts));
      expect(events.map(({ data, event, id }) => ({ data, event, id }))).toEqual(
        referenceReading(bytes).events.filter((event) => event !== undefined),
      );
    },
  );

  property('event reader: holds no more than it may', anyStream, ({ format, bytes, cuts, limit }) => {
    const sizes: number[] = [];
    const allocate = Buffer.allocUnsafeSlow;
    const spy = jest.spyOn(Buffer, 'allocUnsafeSlow').mockImplementation((size) => {
      sizes.push(size);
      return allocate(size);
    });
    try {
      read(format, limit, chunksOf(bytes, cuts));
    } finally {
      spy.mockRestore();
    }
    expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(limit);
  });
});

describe('a tap on anything, in any chunks', () => {
  /** What it tells of a stream, and how often it tells that it cannot. */
  async function tapped(
    tap: { format: Name; limit: number; isCoded?: boolean },
    chunks: readonly Buffer[],
    whole = true,
  ) {
    const events: ParsedEvent[] = [];
    const failures: unknown[] = [];
    let unread = 0;
    const hooks: EventTapHooks = {
      event: (event, part) => {
        expect(failures).toEqual([]);
        if (part === undefined) events.push(event);
      },
      unread: () => {
        unread += 1;
      },
      failed: (cause) => failures.push(cause),
    };
    const decoder = tap.isCoded === true ? createDecoder('gzip') : undefined;
    const tested = new EventTap(FORMATS[tap.format], tap.limit, hooks, decoder);
    for (const chunk of chunks) tested.push(chunk);
    await tested.end(whole);
    return { events: events.map(fieldsOf), unread, failures };
  }

  property('event tap: tells what a reader finds, and goes on behind what is too large', anyStream, async (stream) => {
    const chunks = chunksOf(stream.bytes, stream.cuts);
    const { events, tooLarge } = read(stream.format, stream.limit, chunks);
    const told = await tapped(stream, chunks);
    expect(told.events.slice(0, tooLarge ? events.length : undefined)).toEqual(events.map(fieldsOf));
    expect(told.failures).toEqual([]);
    if (!tooLarge) expect(told.unread).toBe(0);
  });

  property(
    'event tap: tells of a stream that broke off nothing that is not whole',
    anyStream,
    async ({ format, bytes, cuts }) => {
      const whole = await tapped({ format, limit: MB }, [bytes]);
      const cut = await tapped({ format, limit: MB }, chunksOf(bytes, cuts), false);
      const isLastLost = FORMATS[format].endsWithStream && cut.events.length < whole.events.length;
      expect(cut.events).toEqual(whole.events.slice(0, isLastLost ? -1 : undefined));
    },
  );

  const anyCoded = fc.tuple(anyStream, someDamage(1), fc.boolean());
  property(
    'event tap: tells of coded bytes, whole or broken, what it can decode',
    anyCoded,
    async ([stream, damages, whole]) => {
      const { format, bytes, cuts } = stream;
      const isWhole = damages.length === 0 && whole;
      const coded = { format, limit: MB, isCoded: true };
      const told = await tapped(coded, chunksOf(damaged(gzipSync(bytes), damages), cuts), isWhole);
      if (isWhole)
        expect(told).toEqual({ events: read(format, MB, [bytes]).events.map(fieldsOf), unread: 0, failures: [] });
      expect(told.failures.length).toBeLessThanOrEqual(1);
    },
  );
});

describe('an edit of our own of anything, in any chunks', () => {
  const nothing = { event() {}, unread() {}, failed() {} };

  async function edited({ format, limit }: Stream, chunks: readonly Buffer[], isExtra: () => unknown) {
    const options = { format: FORMATS[format], limit, isExtra, hooks: nothing, logError() {} };
    const edits = new OwnEdits(options);
    const output: Buffer[] = [];
    edits.on('data', (chunk: Buffer) => output.push(chunk));
    for (const chunk of chunks) edits.write(chunk);
    edits.end();
    await new Promise((resolve, reject) => edits.once('close', resolve).once('error', reject));
    return Buffer.concat(output);
  }

  property('own edits: keep every byte where nothing is removed, whatever comes', anyStream, async (stream) => {
    const chunks = chunksOf(stream.bytes, stream.cuts);
    expect(await edited(stream, chunks, () => false)).toEqual(stream.bytes);
    const fail = () => {
      throw new Error('of the hook');
    };
    expect(await edited(stream, chunks, fail)).toEqual(stream.bytes);
  });

  property('own edits: remove the same, however the stream is cut', anyStream, async (stream) => {
    const whole = await edited({ ...stream, limit: MB }, [stream.bytes], () => true);
    expect(await edited({ ...stream, limit: MB }, chunksOf(stream.bytes, stream.cuts), () => true)).toEqual(whole);
  });
});

describe('a transformer of anything, in any chunks', () => {
  /** What comes out of one that changes nothing, and with what it failed. */
  async function transformed(
    { format, limit }: Stream,
    chunks: readonly Buffer[],
    isAsync: boolean,
    breaksOff: boolean,
  ) {
    const transform = isAsync ? async () => undefined : () => undefined;
    const transformer = new EventTransformer(FORMATS[format], limit, { transform, collectsSent: false });
    const output: Buffer[] = [];
    let failure: unknown;
    transformer.on('data', (chunk: Buffer) => output.push(chunk));
    transformer.once('error', (error) => {
      failure = error;
    });
    const closed = new Promise((resolve) => transformer.once('close', resolve));
    if (breaksOff) transformer.breakOff();
    for (const chunk of chunks) transformer.write(chunk);
    transformer.end();
    await closed;
    return { output: Buffer.concat(output), failure };
  }

  const anyWritable = fc.tuple(streams('sse', 'ndjson'), fc.boolean(), fc.boolean());
  property(
    'event transformer: keeps every byte of what is whole',
    anyWritable,
    async ([stream, isAsync, breaksOff]) => {
      const { format, bytes, cuts, limit } = stream;
      const chunks = chunksOf(bytes, cuts);
      const { output, failure } = await transformed(stream, chunks, isAsync, breaksOff);
      const { tooLarge, bytes: passed } = read(format, limit, chunks);
      expect(failure).toEqual(tooLarge ? expect.any(EventTooLarge) : undefined);
      const last = expectedBlocks(stream).at(-1)?.block ?? Buffer.alloc(0);
      const isUnfinished = format === 'sse' || (breaksOff && last.at(-1) !== LF);
      expect(output).toEqual(tooLarge ? passed : bytes.subarray(0, bytes.length - (isUnfinished ? last.length : 0)));
    },
  );
});
