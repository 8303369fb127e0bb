import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ABRIDGED_SIZE } from '../../../lib/defaults.js';
import { JsonAbridger } from '../../../lib/events/json-abridger.js';

function abridged(text: string, size = 64 * 1024): string | undefined {
  const abridger = new JsonAbridger();
  const bytes = Buffer.from(text);
  for (let i = 0; i < bytes.length; i += size) abridger.write(bytes.subarray(i, i + size));
  return abridger.end()?.toString();
}

const parsed = (value: unknown, size?: number): unknown => JSON.parse(abridged(JSON.stringify(value), size) ?? 'null');

const BASE64 = 'iVBORw0KGgo+/='.repeat(100_000);
const usage = { input_tokens: 1, details: { cached: [1, 2] } };

describe('abridging JSON', () => {
  it.each([1, 7, 1_000, 10_000_000])(
    'JSON abridger: keeps figures at the front and at the end, in pieces of %d',
    (size) => {
      const text = JSON.stringify({ usage, image: BASE64.slice(0, 50_000), after: usage, model: 'm' });
      expect(JSON.parse(abridged(text, size) ?? '')).toEqual({
        usage,
        image: expect.stringMatching(/^iVBOR.{0,2000}$/),
        after: usage,
        model: 'm',
      });
    },
  );

  it.each([
    ['escapes', '\\"'.repeat(5_000)],
    ['an escape where it is cut', `${'x'.repeat(1_023)}${'\\'.repeat(5_000)}`],
    ['a character where it is cut', `${'x'.repeat(1_022)}${'🙂'.repeat(1_000)}`],
    ['what looks like figures', '"usage":{"input_tokens":9},'.repeat(1_000)],
    ['brackets', '[{'.repeat(5_000)],
  ])('JSON abridger: cuts a string with %s', (_what, text) => {
    for (const size of [1, 3, 1_024, 1_000_000]) {
      const result = parsed({ text, usage }, size) as { text: string };
      expect(result).toEqual({ text: expect.any(String), usage });
      expect(text.startsWith(result.text)).toBe(true);
      expect(result.text.length).toBeLessThanOrEqual(1_024);
    }
  });

  it('JSON abridger: keeps the object around a long array: of what is nested, the innermost is emptied', () => {
    const embedding = Array.from({ length: 5_000 }, (_, i) => i / 7);
    expect(parsed({ data: [{ index: 0, embedding }], usage })).toEqual({ data: [{ index: 0, embedding: [] }], usage });
    const data = Array.from({ length: 500 }, (_, index) => ({ index, embedding }));
    expect(parsed({ data, usage })).toMatchObject({ usage });
    expect(parsed([data, usage])).toEqual([[], usage]);
  });

  it('JSON abridger: keeps what is around the JSON', () => {
    const text = `event: it's "big\r\ndata: {"a": [\ndata: "${BASE64}"], "b": 1}\r\n\r\n`;
    expect(abridged(text)).toMatch(/^event: it's "big\r\ndata: \{"a": \[\ndata: "iVBOR[^"]*"\], "b": 1\}\r\n\r\n$/);
  });

  it.each([
    ['members without end', `{${Array.from({ length: 50_000 }, (_, i) => `"${i}":"x"`).join(',')}}`],
    ['text that is no JSON', 'x'.repeat(ABRIDGED_SIZE + 1)],
    ['more depth than anything has', '{"a":'.repeat(2_000)],
  ])('JSON abridger: gives up on %s', (_what, text) => {
    expect(abridged(text)).toBeUndefined();
  });

  it('JSON abridger: changes nothing that is small, in any pieces', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.integer({ min: 1, max: 50 }), (text, size) => {
        if (text.length < 900) expect(abridged(text, size)).toBe(text);
      }),
    );
  });

  it('JSON abridger: is the same in any pieces', () => {
    const large = fc.string({ minLength: 500, maxLength: 3_000, unit: 'grapheme' });
    const anyJson = fc.jsonValue({ maxDepth: 4, noUnicodeString: false });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(large, anyJson), { maxLength: 20 }),
        fc.integer({ min: 1, max: 5_000 }),
        (list, size) => {
          const text = JSON.stringify({ list, object: Object.fromEntries(list.map(([key], i) => [i, key])), usage });
          const whole = abridged(text, text.length * 4);
          expect(JSON.parse(abridged(text, size) ?? '')).toMatchObject({ usage });
          expect(JSON.parse(whole ?? '')).toMatchObject({ usage });
        },
      ),
      { numRuns: 50 },
    );
  });

  it('JSON abridger: is not slowed down by depth, nor by a hundred thousand arrays', () => {
    const text = `{"a":${'['.repeat(900)}${'[1,"x"],'.repeat(100_000)}`;
    const before = performance.now();
    abridged(text);
    expect(performance.now() - before).toBeLessThan(2_000);
  });
});
