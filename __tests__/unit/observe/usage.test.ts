import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { usageOf } from '../../../lib/observe/usage.js';
import type { Reading } from '../../../lib/types/provider.js';

const reading = (rest: object): Partial<Reading> => ({ usage: {}, usageComplete: true, ended: false, ...rest });

describe('usage: its parts are not more than the whole', () => {
  it.each<[string, object, object]>([
    ['cached', { inputTokens: 4, cachedInputTokens: 5 }, { inputTokens: 4 }],
    ['written to a cache', { inputTokens: 4, cacheCreationInputTokens: 5 }, { inputTokens: 4 }],
    ['reasoning', { outputTokens: 4, reasoningTokens: 5 }, { outputTokens: 4 }],
    ['all of it', { inputTokens: 4, cachedInputTokens: 4 }, { inputTokens: 4, cachedInputTokens: 4 }],
    ['a total below the sum', { inputTokens: 4, outputTokens: 3, totalTokens: 6 }, { inputTokens: 4, outputTokens: 3 }],
    ['a total below one of both', { outputTokens: 3, totalTokens: 2 }, { outputTokens: 3 }],
    ['a total above the sum', { inputTokens: 1, totalTokens: 9 }, { inputTokens: 1, totalTokens: 9 }],
    ['what is no count', { inputTokens: '4', outputTokens: -1, reasoningTokens: 1.5 }, {}],
  ])('usage, parts are not more than the whole: %s', (_what, usage, expected) => {
    const { complete, ...figures } = usageOf(reading({ usage }), true);
    expect(figures).toStrictEqual(expected);
  });
});

describe('usage: complete', () => {
  const usage = { inputTokens: 1 };
  it.each<[string, object, boolean, boolean]>([
    ['final figures of an answer that came to its end', { usage }, true, true],
    ['final figures of an answer that was cut', { usage }, false, false],
    ['final figures of an answer that was cut behind the end of its dialect', { usage, ended: true }, false, true],
    ['figures so far of an answer that came to its end', { usage, usageComplete: false }, true, false],
    ['no figures', { usage: {} }, true, false],
    ['no figures but parts', { usage: { cachedInputTokens: 3 } }, true, false],
    ['no counts', { usage: { inputTokens: '1' } }, true, false],
    ['no object', { usage: [1] }, true, false],
  ])('usage, complete: %s', (_what, given, isWhole, expected) => {
    expect(usageOf(reading(given), isWhole).complete).toBe(expected);
  });
});

describe('usage: whatever a provider puts there', () => {
  const count = fc.oneof(fc.nat({ max: 10 }), fc.jsonValue());
  const names = ['inputTokens', 'outputTokens', 'totalTokens', 'cachedInputTokens', 'cacheCreationInputTokens'];
  const figures = fc.dictionary(fc.constantFrom(...names, 'reasoningTokens', 'reported', 'other'), count);

  it('usage: whatever a provider puts there, its figures do not contradict each other', () => {
    fc.assert(
      fc.property(fc.oneof(figures, fc.jsonValue()), fc.boolean(), fc.boolean(), (usage, usageComplete, isWhole) => {
        const told = usageOf({ usage, usageComplete } as Partial<Reading>, isWhole);
        expectInvariants(told);
        if (!isWhole || !usageComplete) expect(told.complete).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });
});

function expectInvariants(usage: ReturnType<typeof usageOf>): void {
  const { inputTokens, outputTokens, totalTokens, cachedInputTokens = 0, cacheCreationInputTokens = 0 } = usage;
  const { reported, complete, ...counts } = usage;
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
  expect(Object.values(counts).every(isCount)).toBe(true);
  expect(cachedInputTokens).toBeLessThanOrEqual(inputTokens ?? Number.POSITIVE_INFINITY);
  expect(cacheCreationInputTokens).toBeLessThanOrEqual(inputTokens ?? Number.POSITIVE_INFINITY);
  expect(usage.reasoningTokens ?? 0).toBeLessThanOrEqual(outputTokens ?? Number.POSITIVE_INFINITY);
  if (totalTokens !== undefined) expect(totalTokens).toBeGreaterThanOrEqual((inputTokens ?? 0) + (outputTokens ?? 0));
  if (complete) expect(inputTokens ?? outputTokens ?? totalTokens).toBeDefined();
}
