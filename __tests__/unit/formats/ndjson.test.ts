import { describe, expect, it } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import type { EventFields } from '../../../lib/types/hooks.js';
import { blocksOf, chunkings } from '../../support/streams/event-streams.js';

/** The blocks of a stream, each with its data, however it is cut. */
function blocks(text: string): [bytes: string, data: string | undefined][] {
  const results = Array.from(chunkings(Buffer.from(text)), (chunks) =>
    blocksOf(new EventReader(ndjson, 1000), chunks).map(({ bytes, event }) => [String(bytes), event?.data]),
  );
  for (const result of results) expect(result).toEqual(results[0]);
  return results[0] as [string, string | undefined][];
}

const encode = (fields: unknown): string => String(ndjson.encode?.(fields as EventFields));

describe('an event', () => {
  it('NDJSON: an event is a line, without its line end', () => {
    expect(blocks('{"a":1}\n{"b":2}\r\n')).toEqual([
      ['{"a":1}\n', '{"a":1}'],
      ['{"b":2}\r\n', '{"b":2}'],
      ['', undefined],
    ]);
  });

  it('NDJSON: an event is the last line, too, where that lacks its line end', () => {
    expect(blocks('{"a":"é"}\n {"b":2} ')).toEqual([
      ['{"a":"é"}\n', '{"a":"é"}'],
      [' {"b":2} ', '{"b":2}'],
    ]);
  });

  it('NDJSON: an event is not a blank line', () => {
    expect(blocks('\n \r\n1\n\t')).toEqual([
      ['\n', undefined],
      [' \r\n', undefined],
      ['1\n', '1'],
      ['\t', undefined],
    ]);
  });

  it('NDJSON: an event has nothing but data', () => {
    expect(ndjson.parser()(Buffer.from('{"event":"a","id":"1"}\n'))).toMatchObject({ event: undefined, id: undefined });
  });

  it('NDJSON: an event does not end where a character has the byte of a line end in it, or at another separator', () => {
    // U+010A ends in 0A as a code point, but not in UTF-8; U+2028 and U+0085 end lines elsewhere.
    expect(blocks('"\u010a\u2028\u0085"\n')).toEqual([
      ['"\u010a\u2028\u0085"\n', '"\u010a\u2028\u0085"'],
      ['', undefined],
    ]);
  });
});

describe('encode', () => {
  it('NDJSON encode: writes a line', () => {
    expect(encode({ data: '{"a":1}' })).toBe('{"a":1}\n');
  });

  it.each(['\n', '\r', '\r\n', '\n\n'])('NDJSON encode: writes %j between two tokens as a space', (end) => {
    expect(encode({ data: `{${end}"a":1${end}}` })).toBe('{ "a":1 }\n');
  });

  it.each([{}, { data: '' }, { comment: 'ping', event: 'a', id: '1', retry: 5 }])(
    'NDJSON encode: writes nothing for %j: only data can be expressed',
    (fields) => {
      expect(encode(fields)).toBe('');
    },
  );

  it('NDJSON encode: refuses data that is no string, and says why', () => {
    const message = '`data` of an event must be a string, got object. Write it with JSON.stringify()';
    expect(() => encode({ data: { a: 1 } })).toThrow(new TypeError(message));
  });
});

it('NDJSON: something else may follow after a line end, or at the start', () => {
  const isBoundary = (text: string): boolean | undefined => {
    const boundary = ndjson.boundary?.();
    boundary?.sent(Buffer.from(text));
    return boundary?.isReached;
  };
  expect(['', '}\r\n', '}}}\n'].map(isBoundary)).toEqual([true, true, true]);
  expect(['\n\n\n}', '\n\n\n\r'].map(isBoundary)).toEqual([false, false]);
});
