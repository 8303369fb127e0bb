import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { usageOf } from '../../../lib/observe/usage.js';
import type { Exchange } from '../../../lib/types/hooks.js';
import type { Provider, Reading } from '../../../lib/types/provider.js';
import type { Usage } from '../../../lib/types/summary.js';
import { bytesOf, exchangeFor, type ProviderAnswer, reads, toldBy } from './dialects.js';

const RUNS = { numRuns: 200 };

/** What JSON may have anywhere, and code that trusts it falls over. */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  '',
  'text',
  -1,
  1.5,
  1e300,
  [],
  [null],
  [['text']],
  {},
  { toString: 1, valueOf: 1 },
  JSON.parse('{"__proto__":{"input_tokens":5}}'),
];

const junk = fc.oneof(fc.jsonValue(), fc.constantFrom(...HOSTILE));

/** What every provider's `read` is held to, with answers in its dialect. */
export function describeReading(provider: Provider, answers: readonly ProviderAnswer[]): void {
  describe('reads', () => {
    it.each(answers)('read: $name', (answer) => {
      expect(reads(provider, answer, [bytesOf(answer.parts)])).toEqual(toldBy(answer.parts));
    });
  });

  describe('reads the same wherever it is split:', () => {
    it.each(answers)('read: the same wherever it is split: $name', (answer) => {
      const { parts } = answer;
      const bytes = bytesOf(parts);
      const whole = toldBy(parts);
      for (let at = 0; at <= bytes.length; at += 1) {
        const told = reads(provider, answer, [bytes.subarray(0, at), bytes.subarray(at)]);
        // A matcher would take its time, some ten thousand times.
        if (!isDeepStrictEqual(told, whole)) expect({ at, told }).toEqual({ at, told: whole });
      }
    });
  });

  describe('reads no more than has come, event by event:', () => {
    it.each(answers)('read: no more than has come: $name', (answer) => {
      const { parts } = answer;
      for (let count = 0; count < parts.length; count += 1) {
        const soFar = parts.slice(0, count);
        expect(reads(provider, answer, [bytesOf(soFar)], false)).toEqual(toldBy(soFar));
      }
    });
  });

  describe('takes what makes no sense for nothing', () => {
    const exchange = exchangeFor(answers[0]?.path ?? '/');

    it.each(['', '[DONE]x', 'null', 'true', '0', '"text"', '[]', '[[]]', '[null]', '{}', '{', 'undefined', 'NaN'])(
      'read: takes what makes no sense for nothing: %j',
      (text) => {
        const reading = blank();
        provider.read(new ParsedEvent(text), reading, exchange);
        expect(reading).toEqual(blank());
      },
    );

    it('read: takes what makes no sense for nothing: any JSON', () => {
      fc.assert(
        fc.property(fc.array(junk.map((event) => ({ event, exchange }))), (given) =>
          expectSense(readAll(provider, given)),
        ),
        RUNS,
      );
    });

    const events = answers.flatMap(({ path, format, parts }) =>
      dataOf(format.parser(), parts).map((event) => ({ event, exchange: exchangeFor(path) })),
    );

    it('read: takes what makes no sense for nothing: an event with something else in the place of any of its members, or without it', () => {
      for (const { event, exchange } of events) {
        for (const path of paths(event)) {
          for (const value of [undefined, ...HOSTILE]) {
            expectSense(readAll(provider, [{ event: put(event, path, value), exchange }]));
          }
        }
      }
    });

    it('read: takes what makes no sense for nothing: an answer with anything in the place of any of its members', () => {
      const places = events.flatMap(({ event }, i) => paths(event).map((path) => ({ i, path })));
      fc.assert(
        fc.property(fc.constantFrom(...places), junk, ({ i, path }, value) => {
          expectSense(
            readAll(
              provider,
              events.map((given, at) => (at === i ? { ...given, event: put(given.event, path, value) } : given)),
            ),
          );
        }),
        RUNS,
      );
    });
  });
}

function blank(): Reading {
  return { usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false };
}

/** An event in an exchange. */
interface Given {
  event: unknown;
  exchange: Exchange;
}

function readAll(provider: Provider, given: readonly Given[]): Reading {
  const reading = blank();
  for (const { event, exchange } of given) {
    provider.read(new ParsedEvent(JSON.stringify(event) ?? ''), reading, exchange);
  }
  return reading;
}

/** Whatever was read: it is of the types that it is declared with, and what is told of it does not contradict itself. */
function expectSense(reading: Reading): void {
  const { usage, usageComplete, model, finishReason, hasContent, ended } = reading;
  const isCount = (count: unknown): boolean => Number.isSafeInteger(count) && Number(count) >= 0;
  const isWord = (word: unknown): boolean => word === undefined || typeof word === 'string';
  const { reported, ...figures } = usage;
  const makesSense =
    Object.values(figures).every(isCount) &&
    (reported === undefined || (typeof reported === 'object' && isDeepFrozen(reported))) &&
    [usageComplete, hasContent, ended].every((flag) => typeof flag === 'boolean') &&
    [model, finishReason].every(isWord) &&
    addsUp(usageOf(reading, true));
  // A matcher for each would take its time.
  if (!makesSense) expect({ usage, usageComplete, model, finishReason, hasContent, ended }).toBe('of other types');
}

/** Parts are not more than the whole, and what is complete has figures. */
function addsUp(told: Usage): boolean {
  const { inputTokens, outputTokens, totalTokens, complete } = told;
  const { cachedInputTokens = 0, cacheCreationInputTokens = 0, reasoningTokens = 0 } = told;
  const input = inputTokens ?? Number.POSITIVE_INFINITY;
  const hasFigures = (inputTokens ?? outputTokens ?? totalTokens) !== undefined;
  return (
    Math.max(cachedInputTokens, cacheCreationInputTokens) <= input &&
    reasoningTokens <= (outputTokens ?? Number.POSITIVE_INFINITY) &&
    (totalTokens ?? Number.POSITIVE_INFINITY) >= (inputTokens ?? 0) + (outputTokens ?? 0) &&
    (hasFigures || !complete)
  );
}

/** Whether nobody can change anything in it. */
function isDeepFrozen(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return Object.isFrozen(value) && Object.values(value).every(isDeepFrozen);
}

function dataOf(parse: (block: Buffer) => ParsedEvent | undefined, parts: ProviderAnswer['parts']): unknown[] {
  return parts.map(({ bytes }) => parse(Buffer.from(bytes))?.json()).filter((event) => event !== undefined);
}

type Path = readonly string[];

/** The ways to all that is in a value, and the value itself. */
function paths(value: unknown): Path[] {
  if (typeof value !== 'object' || value === null) return [[]];
  return [[], ...Object.entries(value).flatMap(([name, inner]) => paths(inner).map((path) => [name, ...path]))];
}

/** A copy with something else at the end of a way; `undefined` takes it out. */
function put(value: unknown, [name, ...rest]: Path, replacement: unknown): unknown {
  if (name === undefined) return replacement;
  const copy: unknown = structuredClone(value);
  const inner = (value as Record<string, unknown>)[name];
  (copy as Record<string, unknown>)[name] = put(inner, rest, replacement);
  return copy;
}
