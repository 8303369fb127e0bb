import { describe, expect, it } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { blocksOf, chunkings } from '../../support/streams/event-streams.js';

/** The data of the events of a stream, however it is cut. */
function events(format: EventFormat, text: string): string[] {
  const bytes = Buffer.from(text);
  const results = Array.from(chunkings(bytes), (chunks) => {
    const blocks = blocksOf(new EventReader(format, 1000), chunks);
    expect(Buffer.concat(blocks.map((block) => block.bytes))).toEqual(bytes);
    return blocks.flatMap(({ event }) => (event === undefined ? [] : [event.data]));
  });
  for (const result of results) expect(result).toEqual(results[0]);
  return results[0] ?? [];
}

describe('a JSON body', () => {
  it('JSON format: a body is one event, once it is whole', () => {
    const reader = new EventReader(json, 100);
    expect([...reader.read(Buffer.from('{"a":\n\n'))]).toEqual([]);
    expect([...reader.read(Buffer.from('1}\n'))]).toEqual([]);
    expect(reader.end().event?.json()).toEqual({ a: 1 });
  });

  it('JSON format: a body keeps its characters however it is cut', () => {
    expect(events(json, '{"text":"zażółć 🙂"}')).toEqual(['{"text":"zażółć 🙂"}']);
  });

  it('JSON format: a body that is empty is none', () => {
    expect(events(json, '')).toEqual([]);
  });
});

describe('a JSON array that is sent element by element', () => {
  it('JSON array format: an array has an event per element, as soon as that is there', () => {
    const reader = new EventReader(jsonArray, 100);
    const told = ['[{"a":', '1}', '\n,\n', '{"b":2', '}', '\n]'].map((chunk) =>
      Array.from(reader.read(Buffer.from(chunk)), ({ event }) => event?.data),
    );
    expect(told).toEqual([[], ['{"a":1}'], [], [], ['{"b":2}'], []]);
    expect(reader.end()).toEqual({ bytes: Buffer.from('\n]'), event: undefined });
  });

  it.each([
    ['as Gemini sends it', '[{\n  "a": 1\n}\n,\r\n{\n  "a": 2\n}\n]\n', ['{\n  "a": 1\n}', '{\n  "a": 2\n}']],
    ['brackets in strings', '[{"a":"}]{["},{"[":"]"}]', ['{"a":"}]{["}', '{"[":"]"}']],
    [
      'escaped quotes',
      String.raw`[{"a":"\"}]"},{"b":"\\"},{"c":"\\\"]"}]`,
      [String.raw`{"a":"\"}]"}`, String.raw`{"b":"\\"}`, String.raw`{"c":"\\\"]"}`],
    ],
    ['nested arrays and objects', '[{"a":[{"b":[]}]},[[1],[2]]]', ['{"a":[{"b":[]}]}', '[[1],[2]]']],
    ['characters of several bytes', '[{"a":"zażółć 🙂"} , {"b":"你"}]', ['{"a":"zażółć 🙂"}', '{"b":"你"}']],
    ['a byte order mark', '\ufeff[{"a":1}]', ['{"a":1}']],
    ['white space in front', ' \n[ {"a":1}]', ['{"a":1}']],
    ['one element', '[{}]', ['{}']],
    ['an element that was not finished', '[{"a":1},{"b":', ['{"a":1}']],
    ['no element', '[]', []],
    ['no element, and white space', '[\n]\n', []],
    ['nothing at all', '', []],
    ['an object in its place', '{"a":{"b":1},"c":{"d":[2]},"e":[3]}', []],
    ['a string in its place', '"[{}]"', []],
  ])('JSON array format: an array with %s', (_what, text, expected) => {
    expect(events(jsonArray, text)).toEqual(expected);
  });
});

it('JSON formats: neither has room for anything of ours: no single event could be written into it', () => {
  expect([json.encode, json.encodeComment, jsonArray.encode, jsonArray.encodeComment]).toEqual(
    Array(4).fill(undefined),
  );
});
