import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { SseProxyError } from '../../../lib/errors.js';
import { Summary } from '../../../lib/observe/summary.js';
import type { Reading } from '../../../lib/types/provider.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function reading(rest: Partial<Reading> = {}): Reading {
  return { usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false, ...rest };
}

describe('the usage', () => {
  it.each<[string, Partial<Reading> | undefined, object]>([
    ['is nothing without a reading', undefined, { complete: false }],
    ['is nothing where nothing was reported', {}, { complete: false }],
    [
      'is the sum where no total was reported',
      { usage: { inputTokens: 3, outputTokens: 4 }, usageComplete: true },
      { inputTokens: 3, outputTokens: 4, totalTokens: 7, complete: true },
    ],
    [
      'is the total that was reported, even where that is no sum',
      { usage: { inputTokens: 3, outputTokens: 4, totalTokens: 9 }, usageComplete: true },
      { inputTokens: 3, outputTokens: 4, totalTokens: 9, complete: true },
    ],
    ['has no total where half of it is unknown', { usage: { inputTokens: 3 } }, { inputTokens: 3, complete: false }],
    [
      'may be zero',
      { usage: { inputTokens: 0, outputTokens: 0 }, usageComplete: true },
      { inputTokens: 0, outputTokens: 0, totalTokens: 0, complete: true },
    ],
    [
      'has whatever else was reported',
      { usage: { cachedInputTokens: 1, cacheCreationInputTokens: 2, reasoningTokens: 3 } },
      { cachedInputTokens: 1, cacheCreationInputTokens: 2, reasoningTokens: 3, complete: false },
    ],
  ])('summary: the usage %s', (_what, given, expected) => {
    const summary = new Summary();
    if (given !== undefined) summary.reading = reading(given);
    summary.isWhole = true;
    // Not `toEqual`: what was not reported is absent, not undefined.
    expect(summary.usage()).toStrictEqual(expected);
  });
});

describe('the summary', () => {
  it('summary: has nothing that is not known', () => {
    const report = new Summary().report('client-closed', undefined, undefined);
    expect(report).toStrictEqual({ outcome: 'client-closed', attempts: [], bytes: 0, timings: { total: 0 } });
  });

  it('summary: has all that is', () => {
    const summary = new Summary();
    const error = new SseProxyError('UPSTREAM_TRUNCATED');
    summary.attempt('https://down.example', 'openai');
    summary.attemptFailed('UPSTREAM_UNREACHABLE');
    summary.attempt('https://api.example', 'ollama');
    summary.bytes = 100;
    summary.events = 0;
    summary.reading = reading({ usage: { inputTokens: 1 }, model: 'm', finishReason: 'stop' });
    jest.advanceTimersByTime(10);
    summary.head(200);
    jest.advanceTimersByTime(10);
    summary.firstByte();
    jest.advanceTimersByTime(10);
    summary.firstToken();
    jest.advanceTimersByTime(10);
    summary.stopClock();
    jest.advanceTimersByTime(10);
    expect(summary.report('upstream-truncated', 200, error)).toStrictEqual({
      outcome: 'upstream-truncated',
      statusCode: 200,
      attempts: [
        { target: 'https://down.example', provider: 'openai', duration: 0, error: 'UPSTREAM_UNREACHABLE' },
        { target: 'https://api.example', provider: 'ollama', duration: 10, statusCode: 200 },
      ],
      target: 'https://api.example',
      provider: 'ollama',
      bytes: 100,
      events: 0,
      usage: { inputTokens: 1, complete: false },
      model: 'm',
      finishReason: 'stop',
      timings: { headers: 10, firstByte: 20, firstToken: 30, total: 40 },
      error,
    });
  });

  it('summary: has the time of the first token, not of a later one', () => {
    const summary = new Summary();
    jest.advanceTimersByTime(10);
    summary.firstToken();
    jest.advanceTimersByTime(10);
    summary.firstToken();
    expect(summary.report('completed', 200, undefined).timings.firstToken).toBe(10);
  });

  it('summary: has no first token after the end: what is read late has come before', () => {
    const summary = new Summary();
    jest.advanceTimersByTime(10);
    summary.stopClock();
    jest.advanceTimersByTime(10);
    summary.firstToken();
    expect(summary.report('completed', 200, undefined).timings).toStrictEqual({ firstToken: 10, total: 10 });
  });
});
