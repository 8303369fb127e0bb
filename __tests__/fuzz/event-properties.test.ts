import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { EventReader } from '../../lib/events/event-reader.js';
import { EventTransformer, type EventTransformerHooks } from '../../lib/events/event-transformer.js';
import { createBoundary } from '../../lib/formats/event-boundary.js';
import type { EventFormat, ParsedEvent } from '../../lib/formats/format.js';
import { jsonArray } from '../../lib/formats/json-array.js';
import { ndjson } from '../../lib/formats/ndjson.js';
import { sse } from '../../lib/formats/sse.js';
import type { EventFields, TransformResult } from '../../lib/types/hooks.js';
import { anyCuts, cutAt } from '../support/fuzz/runs.js';
import { blocksOf, fieldsOf, referenceEvents } from '../support/streams/event-streams.js';

const MB = 1024 * 1024;

/** The same runs each time. */
const RUNS = { numRuns: 200, seed: 20_260 };

/** Any characters, and more of those that mean something in a stream than chance would bring. */
const anyText = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 5 }) },
      { weight: 2, arbitrary: fc.constantFrom('\n', '\r', '\r\n', ':', ' ', '\ufeff', '\0', 'data: ', '🙂', '\u2028') },
    ),
    { maxLength: 5 },
  )
  .map((parts) => parts.join(''));
const aLine = anyText.map((text) => text.replace(/[\r\n]/g, ''));

/** With any of the fields, also with none: what has no data is no event, but a comment, an id or a retry on its way. */
const anyFields: fc.Arbitrary<EventFields> = fc.record(
  {
    data: fc.option(anyText, { nil: undefined, freq: 4 }),
    event: aLine,
    id: aLine.map((text) => text.replaceAll('\0', '')),
    retry: fc.maxSafeNat(),
    comment: anyText,
  },
  { requiredKeys: ['data'] },
);
const anyEvents = fc.array(anyFields, { maxLength: 8 });

/** What streams are made of, in any order. */
const byteSoup = fc
  .array(
    fc.constantFrom(
      ...['data: ', 'data:', 'data', 'event: ', 'id: ', 'retry: ', ': ', ':', '7'],
      ...['\n', '\r', '\r\n', '\n\n', '\r\n\r\n', '\r\r', '\ufeff', 'x', 'é', '🙂', '\0'],
    ),
    { maxLength: 40 },
  )
  .map((parts) => Buffer.from(parts.join('')));

function encode(format: EventFormat, list: readonly EventFields[]): string {
  return list.map((fields) => format.encode?.(fields)).join('');
}

function decode(format: EventFormat, chunks: readonly Buffer[]): ParsedEvent[] {
  return blocksOf(new EventReader(format, MB), chunks).flatMap(({ event }) => event ?? []);
}

/** What the format can express: line ends of one kind, and no type that is empty. */
function expressible({ data, event, id, retry, comment }: EventFields): EventFields {
  const normalized = (text: string | undefined) => text?.replace(/\r\n|\r/g, '\n');
  return { data: normalized(data), event: event || undefined, id, retry, comment: normalized(comment) };
}

async function transformed(chunks: readonly Buffer[], transform: EventTransformerHooks['transform']): Promise<Buffer> {
  const transformer = new EventTransformer(sse, MB, { transform, collectsSent: false });
  for (const chunk of chunks) transformer.write(chunk);
  transformer.end();
  return Buffer.concat(await transformer.toArray());
}

/** What one event becomes. */
interface Action {
  kind: 'keep' | 'drop' | 'double' | 'edit' | 'replace' | 'insert before' | 'insert behind';
  other: EventFields;
  async: boolean;
}
const anyActions = fc.array(
  fc.record<Action>({
    kind: fc.constantFrom('keep', 'drop', 'double', 'edit', 'replace', 'insert before', 'insert behind'),
    other: anyFields,
    async: fc.boolean(),
  }),
  { minLength: 1, maxLength: 8 },
);

/** The list of events that an action makes of one. */
function apply({ kind, other }: Action, event: EventFields): EventFields[] {
  switch (kind) {
    case 'keep':
      return [event];
    case 'drop':
      return [];
    case 'double':
      return [event, event];
    case 'edit':
      return [{ ...event, data: `${other.data ?? ''}!` }];
    case 'replace':
      return [other];
    case 'insert before':
      return [other, event];
    case 'insert behind':
      return [event, other];
  }
}

/** Applies an action to each event, round and round. */
function hookOf(actions: readonly Action[]): EventTransformerHooks['transform'] {
  let count = 0;
  return (event) => {
    const action = actions[count % actions.length] as Action;
    count += 1;
    const result: TransformResult = apply(action, event);
    return action.async ? Promise.resolve(result) : result;
  };
}

describe('any events, in any chunks', () => {
  it('any events in any chunks: are read as they were written', () => {
    fc.assert(
      fc.property(anyEvents, anyCuts, (events, cuts) => {
        const read = decode(sse, cutAt(Buffer.from(encode(sse, events)), cuts));
        const written = events.filter(({ data }) => data !== undefined);
        expect(read.map(fieldsOf)).toEqual(written.map(expressible));
      }),
      RUNS,
    );
  });

  it('any events in any chunks: say the same to eventsource-parser', () => {
    fc.assert(
      fc.property(anyEvents, (events) => {
        const written = events.filter(({ data }) => data !== undefined).map(expressible);
        const read = referenceEvents(Buffer.from(encode(sse, events)));
        expect(read).toEqual(written.map(({ data, event, id }) => ({ data, event, id })));
      }),
      RUNS,
    );
  });

  it('any events in any chunks: keep their bytes where nothing is changed', async () => {
    await fc.assert(
      fc.asyncProperty(anyEvents, anyCuts, fc.boolean(), async (events, cuts, isAsync) => {
        const bytes = Buffer.from(encode(sse, events));
        const output = await transformed(cutAt(bytes, cuts), isAsync ? async (event) => event : () => undefined);
        expect(output).toEqual(bytes);
      }),
      RUNS,
    );
  });

  it('any events in any chunks: become exactly what a transform makes of them', async () => {
    await fc.assert(
      fc.asyncProperty(anyEvents, anyCuts, anyActions, fc.boolean(), async (events, cuts, actions, hasMark) => {
        // In front of a blank line there is no event to bring it along.
        const mark = hasMark && events[0]?.data !== undefined ? '\ufeff' : '';
        const output = await transformed(cutAt(Buffer.from(mark + encode(sse, events)), cuts), hookOf(actions));
        let count = 0;
        const expected = events.flatMap((fields) => {
          // Nobody is asked about what is no event.
          if (fields.data === undefined) return [fields];
          count += 1;
          return apply(actions[(count - 1) % actions.length] as Action, fields);
        });
        expect(output.toString()).toBe(mark + encode(sse, expected));
      }),
      RUNS,
    );
  });
});

describe('any bytes, in any chunks', () => {
  it('any bytes in any chunks: have the events that eventsource-parser finds in the whole of them, and none are lost', () => {
    fc.assert(
      fc.property(byteSoup, anyCuts, (bytes, cuts) => {
        const blocks = blocksOf(new EventReader(sse, MB), cutAt(bytes, cuts));
        expect(Buffer.concat(blocks.map((block) => block.bytes))).toEqual(bytes);
        const events = blocks.flatMap(({ event }) => event ?? []);
        expect(events.map(({ data, event, id }) => ({ data, event, id }))).toEqual(referenceEvents(bytes));
      }),
      { ...RUNS, numRuns: 300 },
    );
  });

  it('any bytes in any chunks: keep what an identity passes on: all but the unfinished rest', async () => {
    await fc.assert(
      fc.asyncProperty(byteSoup, anyCuts, async (bytes, cuts) => {
        const rest = blocksOf(new EventReader(sse, MB), [bytes]).at(-1)?.bytes.length ?? 0;
        const output = await transformed(cutAt(bytes, cuts), () => undefined);
        expect(output).toEqual(bytes.subarray(0, bytes.length - rest));
      }),
      RUNS,
    );
  });

  it('any bytes in any chunks: become the same by an edit as they do in one piece', async () => {
    const edit: EventTransformerHooks['transform'] = (event) => {
      if (event.data.includes('x')) return null;
      return event.data.includes('é') ? { data: `${event.data}!` } : event;
    };
    await fc.assert(
      fc.asyncProperty(byteSoup, anyCuts, async (bytes, cuts) => {
        const output = await transformed(cutAt(bytes, cuts), edit);
        expect(output).toEqual(await transformed([bytes], edit));
      }),
      RUNS,
    );
  });

  it('any bytes in any chunks: are at a boundary where no block is unfinished and no CRLF is, and nowhere else', () => {
    fc.assert(
      fc.property(byteSoup, (bytes) => {
        const boundary = createBoundary(sse);
        const scan = sse.scanner();
        for (let i = 0; i < bytes.length; i += 1) {
          const byte = bytes.subarray(i, i + 1);
          boundary.sent(byte);
          // Within the CRLF of a blank line not every client would understand it.
          const isHalf = bytes.toString('latin1', 0, i + 1).endsWith('\r\n\r');
          expect(boundary.isReached).toBe(scan(byte, 0) === 1 && !isHalf);
        }
      }),
      RUNS,
    );
  });
});

describe('any JSON, in any chunks', () => {
  const anyIndent = fc.constantFrom(undefined, 2, '\t');
  const anyValues = fc.array(fc.jsonValue(), { maxLength: 8 });

  it('any JSON in any chunks: is read as it was written in lines', () => {
    fc.assert(
      fc.property(anyValues, anyIndent, anyCuts, (values, indent, cuts) => {
        const bytes = encode(
          ndjson,
          values.map((value) => ({ data: JSON.stringify(value, null, indent) })),
        );
        const read = decode(ndjson, cutAt(Buffer.from(bytes), cuts));
        expect(read.map((event) => JSON.stringify(event.json()))).toEqual(values.map((value) => JSON.stringify(value)));
      }),
      RUNS,
    );
  });

  it('any JSON in any chunks: is read as it was written in an array', () => {
    const anyElements = fc.array(fc.oneof(fc.dictionary(anyText, fc.jsonValue()), anyValues), { maxLength: 8 });
    fc.assert(
      fc.property(anyElements, anyIndent, anyCuts, (values, indent, cuts) => {
        const read = decode(jsonArray, cutAt(Buffer.from(JSON.stringify(values, null, indent)), cuts));
        expect(read.map((event) => JSON.stringify(event.json()))).toEqual(values.map((value) => JSON.stringify(value)));
      }),
      RUNS,
    );
  });
});
