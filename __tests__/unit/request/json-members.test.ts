import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { replaceMembers } from '../../../lib/request/json-members.js';

describe('replaceMembers', () => {
  it.each<[string, string, string]>([
    ['a string', '{"model":"gpt-5-mini","n":1}', '{"model":"m","n":1}'],
    [
      'behind others, with the space around it',
      '{ "n" : 1 ,\n\t"model" : "a" \r\n}',
      '{ "n" : 1 ,\n\t"model" : "m" \r\n}',
    ],
    ['null', '{"model":null}', '{"model":"m"}'],
    ['a number', '{"model":1e400,"n":2}', '{"model":"m","n":2}'],
    ['an object', '{"model":{"a":[{"}":"]"}]},"n":2}', '{"model":"m","n":2}'],
    ['a list', '{"model":["a",["b"]]}', '{"model":"m"}'],
    [
      'each of two, since parsers take one or the other',
      '{"model":"a","n":1,"model":"b"}',
      '{"model":"m","n":1,"model":"m"}',
    ],
    ['a name in escapes', '{"mod\\u0065l":"a"}', '{"mod\\u0065l":"m"}'],
    [
      'a string with quotes and backslashes',
      '{"a\\\\":"\\"model\\":","model":"a\\\\\\"b\\\\"}',
      '{"a\\\\":"\\"model\\":","model":"m"}',
    ],
    [
      'at the top only',
      '{"x":{"model":"a"},"y":["model"],"model":"b"}',
      '{"x":{"model":"a"},"y":["model"],"model":"m"}',
    ],
    [
      'and keeps the digits of numbers',
      '{"seed":12345678901234567890,"t":1.0,"model":"a"}',
      '{"seed":12345678901234567890,"t":1.0,"model":"m"}',
    ],
    ['and keeps the bytes of text', '{"t":"\\u00e9é\\/😀","model":"a"}', '{"t":"\\u00e9é\\/😀","model":"m"}'],
  ])('JSON members: replaces %s', (_what, text, expected) => {
    expect(replaceMembers(text, 'model', '"m"')).toBe(expected);
  });

  it.each([
    ['no JSON', '{"model":"a"'],
    ['nothing', ''],
    ['a list', '[{"model":"a"}]'],
    ['a string', '"model"'],
    ['null', 'null'],
    ['an object without members', ' { } '],
    ['an object without that one', '{"models":"a","x":{"model":"b"},"y":"model"}'],
  ])('JSON members: leaves %s', (_what, text) => {
    expect(replaceMembers(text, 'model', '"m"')).toBeUndefined();
  });

  it('JSON members: replaces nothing but that member, of whatever object, with whatever space', () => {
    const key = fc.oneof(fc.constantFrom('model', 'a', '"', '\\', '}'), fc.string());
    const objects = fc.dictionary(key, fc.jsonValue());
    const mark = 'mark-of-the-value';
    fc.assert(
      fc.property(objects, fc.constantFrom(undefined, 1, '\t'), (object, space) => {
        const text = JSON.stringify(object, null, space);
        const marked = JSON.stringify(
          Object.hasOwn(object, 'model') ? { ...object, model: mark } : object,
          null,
          space,
        );
        expect(replaceMembers(text, 'model', JSON.stringify(mark)) ?? text).toBe(marked);
      }),
    );
  });

  it('JSON members: takes time in proportion to the text, whatever that is made of', () => {
    const hard = [
      `"${'\\\\'.repeat(1_000_000)}"`,
      `"${'\\"'.repeat(1_000_000)}"`,
      `${'['.repeat(2_000)}${']'.repeat(2_000)}`,
    ];
    const text = `{"a":[${hard.join()}],"model":"a"}`;
    const startedAt = performance.now();
    expect(replaceMembers(text, 'model', '"m"')).toHaveLength(text.length);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});
