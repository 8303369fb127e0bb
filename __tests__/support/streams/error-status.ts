import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { EventReader } from '../../../lib/events/event-reader.js';
import { ParsedEvent } from '../../../lib/formats/format.js';
import type { Provider } from '../../../lib/types/provider.js';
import { bytesOf, exchangeFor, type ProviderAnswer } from './dialects.js';
import { blocksOf } from './event-streams.js';

/** An error event, and the status that it stands for. */
export interface ErrorCase {
  data: string | object;
  /** The type of the event, where it has one. */
  event?: string;
  status: number | undefined;
}

/** Names that every object has, and values that cannot be made a string. */
const TRAPS: readonly unknown[] = [
  'constructor',
  'toString',
  '__proto__',
  'hasOwnProperty',
  { toString: 1, valueOf: 1 },
  { error: 'x' },
  ['invalid_request_error'],
  null,
  '',
  0,
  -1,
  399,
  600,
  404.5,
  true,
];

/** What every provider's `errorStatus` is held to: `failing` has the status of those answers that end in an error, by name. */
export function describeErrorStatus(
  provider: Provider,
  {
    answers,
    failing,
    errors,
  }: { answers: readonly ProviderAnswer[]; failing: Record<string, number>; errors: ErrorCase[] },
): void {
  const exchange = exchangeFor(answers[0]?.path ?? '/');
  const statusOf = (data: unknown, event?: string): number | undefined =>
    provider.errorStatus?.(new ParsedEvent(typeof data === 'string' ? data : JSON.stringify(data), event), exchange);

  describe('has the status of', () => {
    const named = errors.map((error) => ({ ...error, text: JSON.stringify(error.data) }));
    it.each(named)('errorStatus: has the status of $text: $status', ({ data, event, status }) => {
      expect(statusOf(data, event)).toBe(status);
    });
  });

  describe('has the status of what is an error in an answer, and of nothing else:', () => {
    it.each(answers)('errorStatus: has the status of what is an error in $name', ({ name, path, format, parts }) => {
      const blocks = blocksOf(new EventReader(format, 1024 * 1024), [bytesOf(parts)]);
      const events = blocks.flatMap(({ event }) => event ?? []);
      const statuses = events
        .map((event) => provider.errorStatus?.(event, exchangeFor(path)))
        .filter((status) => status !== undefined);
      expect(events.length).toBeGreaterThan(0);
      expect(statuses).toEqual(failing[name] === undefined ? [] : [failing[name]]);
    });

    it('errorStatus: among the answers are those that are known to fail', () => {
      expect(answers.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(failing)));
    });
  });

  it.each(['', '[DONE]', 'null', 'true', '0', '"error"', '[]', '[null]', '{}', '{', '{"error":null}', '{"error":'])(
    'errorStatus: has none of what is no error: %j',
    (data) => {
      expect(statusOf(data)).toBeUndefined();
    },
  );

  it('errorStatus: is a status of an error or none, whatever JSON comes', () => {
    const junk = fc.oneof(fc.jsonValue(), fc.constantFrom(...TRAPS));
    const error = fc.oneof(junk, fc.record({ type: junk, code: junk, status: junk }, { requiredKeys: [] }));
    const payload = fc.oneof(
      junk,
      fc.record(
        {
          type: fc.oneof(fc.constant('error'), junk),
          error,
          code: junk,
          response: fc.oneof(junk, fc.record({ error })),
        },
        { requiredKeys: [] },
      ),
    );
    const type = fc.constantFrom(undefined, 'error', 'message');
    fc.assert(
      fc.property(payload, type, (value, event) => {
        const status = statusOf(JSON.stringify(value), event);
        const makesSense = status === undefined || (Number.isInteger(status) && status >= 400 && status <= 599);
        if (!makesSense) expect(status).toBe('a status of an error, or none');
      }),
      { numRuns: 1000 },
    );
  });

  it('retryMethods: has POST sent again where `retry` is on', () => {
    expect(provider.retryMethods).toEqual(['POST']);
  });
}
