import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../../lib/errors.js';
import { type ErrorFailure, isRetryable, type ResponseFailure } from '../../../lib/failover/failure.js';
import { retryDelay, shouldRetry } from '../../../lib/failover/retry-policy.js';
import { resolveOptions } from '../../../lib/options/resolve.js';
import type { RetryConfig } from '../../../lib/types/config.js';
import type { SseProxyOptions } from '../../../lib/types/options.js';

/** The defaults, unless something else is asked for. */
function configOf(retry: Exclude<SseProxyOptions['retry'], false> = {}): RetryConfig {
  return resolveOptions({ target: 'http://127.0.0.1:1', retry }).retry;
}
const config = configOf();

const answered = (statusCode: number, headers: ResponseFailure['headers'] = {}): ResponseFailure => ({
  kind: 'response',
  statusCode,
  headers,
  reached: true,
});
/** An error of ours, with that of Node as its cause. */
const failedWith = (code: SseProxyErrorCode, cause?: string): ErrorFailure => ({
  kind: 'error',
  error: new SseProxyError(code, { cause: Object.assign(new Error(), cause !== undefined && { code: cause }) }),
  reached: false,
});

describe('isRetryable', () => {
  it.each([
    [429, true],
    [500, true],
    [502, true],
    [503, true],
    [504, true],
    [529, true],
    [200, false],
    [204, false],
    [301, false],
    [400, false],
    [401, false],
    [404, false],
    [408, false],
    [501, false],
  ])('isRetryable: by default, status %d: %p', (statusCode, expected) => {
    expect(isRetryable(answered(statusCode), config)).toBe(expected);
  });

  it('isRetryable: goes by the statuses that are configured, and by no others', () => {
    const own = configOf({ statusCodes: [408] });
    expect(isRetryable(answered(408), own)).toBe(true);
    expect(isRetryable(answered(503), own)).toBe(false);
    expect(isRetryable(answered(503), configOf({ statusCodes: [] }))).toBe(false);
  });

  it.each([
    [503, 'true', true],
    [503, 'false', false],
    [429, ' false ', false],
    [409, 'true', true],
    [404, 'true', true],
    [503, 'maybe', true],
    [404, 'maybe', false],
    [404, '', false],
  ])(
    'isRetryable: status %d with `x-should-retry: %s`, which has the last word: %p',
    (statusCode, advice, expected) => {
      expect(isRetryable(answered(statusCode, { 'x-should-retry': advice }), config)).toBe(expected);
    },
  );

  it('isRetryable: takes the first of several `x-should-retry`', () => {
    expect(isRetryable(answered(503, { 'x-should-retry': ['false', 'true'] }), config)).toBe(false);
  });

  it.each([200, 304])(
    'isRetryable: does not take the answer %d for a failure, whatever `x-should-retry` says',
    (statusCode) => {
      expect(isRetryable(answered(statusCode, { 'x-should-retry': 'true' }), config)).toBe(false);
    },
  );

  it.each([
    ['refused', ['UPSTREAM_UNREACHABLE', 'ECONNREFUSED'], true],
    ['no such name', ['UPSTREAM_UNREACHABLE', 'ENOTFOUND'], true],
    ['a name server that does not answer', ['UPSTREAM_UNREACHABLE', 'EAI_AGAIN'], true],
    ['no route', ['UPSTREAM_UNREACHABLE', 'EHOSTUNREACH'], true],
    ['reset', ['UPSTREAM_CLOSED', 'ECONNRESET'], true],
    ['closed before the head, without a code of Node', ['UPSTREAM_CLOSED', undefined], true],
    ['a broken pipe', ['UPSTREAM_CLOSED', 'EPIPE'], true],
    ['the deadline of the connection', ['UPSTREAM_CONNECT_TIMEOUT', undefined], true],
    ["the system's own deadline", ['UPSTREAM_TIMEOUT', 'ETIMEDOUT'], true],
    ['no head in time', ['UPSTREAM_TIMEOUT', undefined], false],
    ['TLS', ['UPSTREAM_TLS_FAILED', 'DEPTH_ZERO_SELF_SIGNED_CERT'], false],
    ['not HTTP', ['UPSTREAM_INVALID_RESPONSE', 'HPE_INVALID_CONSTANT'], false],
    ['no permission', ['UPSTREAM_UNREACHABLE', 'EACCES'], false],
    ['without a code of Node', ['UPSTREAM_UNREACHABLE', undefined], false],
    ['a code that is empty', ['UPSTREAM_UNREACHABLE', ''], false],
    ['a hook, whatever it has thrown', ['HOOK_FAILED', 'ECONNRESET'], false],
    ['all of the time is over', ['TOTAL_TIMEOUT', 'ETIMEDOUT'], false],
  ] as [string, [SseProxyErrorCode, string?], boolean][])(
    'isRetryable: an error, %s: %j -> %p',
    (_what, codes, expected) => {
      expect(isRetryable(failedWith(...codes), config)).toBe(expected);
    },
  );

  it('isRetryable: goes by the error codes that are configured: those of Node, and our own', () => {
    const own = configOf({ errorCodes: ['UPSTREAM_TIMEOUT', 'EACCES'] });
    expect(isRetryable(failedWith('UPSTREAM_TIMEOUT'), own)).toBe(true);
    expect(isRetryable(failedWith('UPSTREAM_UNREACHABLE', 'EACCES'), own)).toBe(true);
    expect(isRetryable(failedWith('UPSTREAM_UNREACHABLE', 'ECONNREFUSED'), own)).toBe(false);
  });

  it('isRetryable: takes an error without a cause for one that nothing mends, unless its own code is configured', () => {
    const failure: ErrorFailure = { kind: 'error', error: new SseProxyError('UPSTREAM_TLS_FAILED'), reached: false };
    expect(isRetryable(failure, config)).toBe(false);
    expect(isRetryable(failure, configOf({ errorCodes: ['UPSTREAM_TLS_FAILED'] }))).toBe(true);
  });

  it('isRetryable: does not retry what another attempt would not mend, whatever error codes are configured', () => {
    const own = configOf({ errorCodes: ['HOOK_FAILED', 'TOTAL_TIMEOUT', 'PROXY_FAILED'] });
    for (const code of own.errorCodes) expect(isRetryable(failedWith(code as SseProxyErrorCode), own)).toBe(false);
  });
});

describe('shouldRetry', () => {
  const get = (retries: number): { method: string; retries: number } => ({ method: 'GET', retries });

  it.each(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])(
    'shouldRetry: tries %s again, wherever it has got to',
    (method) => {
      expect(shouldRetry(answered(503), { method, retries: 0 }, config)).toBe(true);
      expect(shouldRetry(failedWith('UPSTREAM_UNREACHABLE', 'ECONNREFUSED'), { method, retries: 0 }, config)).toBe(
        true,
      );
    },
  );

  it.each(['POST', 'PATCH', 'QUERY'])(
    'shouldRetry: tries %s again only where the upstream cannot have seen it',
    (method) => {
      const reset = failedWith('UPSTREAM_CLOSED', 'ECONNRESET');
      expect(shouldRetry(answered(503), { method, retries: 0 }, config)).toBe(false);
      expect(shouldRetry({ ...reset, reached: true }, { method, retries: 0 }, config)).toBe(false);
      expect(shouldRetry({ ...reset, reached: false }, { method, retries: 0 }, config)).toBe(true);
    },
  );

  it('shouldRetry: tries POST again where the methods have it', () => {
    const own = configOf({ methods: ['POST'] });
    expect(shouldRetry(answered(503), { method: 'POST', retries: 0 }, own)).toBe(true);
    expect(shouldRetry(answered(503), { method: 'GET', retries: 0 }, own)).toBe(false);
  });

  it('shouldRetry: takes a request without a method for a GET', () => {
    expect(shouldRetry(answered(503), { method: undefined, retries: 0 }, config)).toBe(true);
    const own = configOf({ methods: ['POST'] });
    expect(shouldRetry(answered(503), { method: undefined, retries: 0 }, own)).toBe(false);
  });

  it('shouldRetry: stops after `maxRetries`', () => {
    expect([0, 1, 2, 3].map((retries) => shouldRetry(answered(503), get(retries), config))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(shouldRetry(answered(503), get(0), configOf({ maxRetries: 0 }))).toBe(false);
    expect(shouldRetry(answered(503), get(9), configOf({ maxRetries: 10 }))).toBe(true);
  });

  it('shouldRetry: does not try what another attempt would not mend', () => {
    expect(shouldRetry(answered(400), get(0), config)).toBe(false);
    expect(shouldRetry(failedWith('UPSTREAM_TLS_FAILED'), get(0), config)).toBe(false);
    expect(shouldRetry(answered(503, { 'x-should-retry': 'false' }), get(0), config)).toBe(false);
  });

  it('shouldRetry: tries by no method what the upstream asks for and may have acted on, unless the methods have it', () => {
    const conflict = answered(409, { 'x-should-retry': 'true' });
    expect(shouldRetry(conflict, get(0), config)).toBe(true);
    expect(shouldRetry(conflict, { method: 'POST', retries: 0 }, config)).toBe(false);
  });
});

describe('retryDelay, where the upstream says how long', () => {
  const NOW = Date.UTC(2026, 0, 1, 12, 0, 0);
  /** Half of the backoff of the first retry where the upstream's word does not count: 250 ms. */
  const delay = (headers: ResponseFailure['headers'], own: RetryConfig = config): number | undefined =>
    retryDelay(
      answered(429, headers),
      0,
      own,
      () => NOW,
      () => 0.5,
    );
  const BACKOFF = 250;

  it.each([
    ['seconds', { 'retry-after': '7' }, 7000],
    ['no time at all', { 'retry-after': '0' }, 0],
    ['a part of a second', { 'retry-after': '0.25' }, 250],
    ['spaces around it', { 'retry-after': ' 2 ' }, 2000],
    ['a date', { 'retry-after': 'Thu, 01 Jan 2026 12:00:05 GMT' }, 5000],
    ['a date of RFC 850', { 'retry-after': 'Thursday, 01-Jan-26 12:00:05 GMT' }, 5000],
    ['a date of asctime, which is one of GMT', { 'retry-after': 'Thu Jan  1 12:00:05 2026' }, 5000],
    ['a date that has passed', { 'retry-after': 'Thu, 01 Jan 2026 11:59:00 GMT' }, 0],
    ['milliseconds', { 'retry-after-ms': '1500' }, 1500],
    ['a part of a millisecond', { 'retry-after-ms': '0.5' }, 0.5],
    ['both, of which the finer one counts', { 'retry-after-ms': '1500', 'retry-after': '2' }, 1500],
    ['milliseconds that are junk, and seconds', { 'retry-after-ms': 'soon', 'retry-after': '2' }, 2000],
    ['it twice', { 'retry-after': ['3', '9'] }, 3000],
    ['exactly `maxTimeout`', { 'retry-after': '30' }, 30_000],
  ])('retryDelay with Retry-After: obeys %s: %j', (_what, headers, expected) => {
    expect(delay(headers)).toBe(expected);
  });

  it.each([
    ['a word', 'soon'],
    ['a word and a number', 'soon 3'],
    ['nothing', ''],
    ['a negative number', '-5'],
    ['a number with a unit', '5s'],
    ['a number with a comma', '1,5'],
    ['hexadecimal', '0x10'],
    ['an exponent', '1e3'],
    ['infinity', 'Infinity'],
    ['a date that is none', 'Thu, 99 Foo 2026 12:00:05 GMT'],
  ])('retryDelay with Retry-After: backs off by itself where it is %s: %j', (_what, value) => {
    expect(delay({ 'retry-after': value })).toBe(BACKOFF);
    if (value !== '1e3') expect(delay({ 'retry-after-ms': value })).toBe(BACKOFF);
  });

  it.each([
    { 'retry-after': '30.001' },
    { 'retry-after': '3600' },
    { 'retry-after': '9'.repeat(400) },
    { 'retry-after-ms': '30001' },
    { 'retry-after': 'Thu, 01 Jan 2026 12:00:31 GMT' },
  ])('retryDelay with Retry-After: does not wait where it is longer than `maxTimeout`: %j', (headers) => {
    expect(delay(headers)).toBeUndefined();
  });

  it('retryDelay with Retry-After: is bounded by the `maxTimeout` that is configured', () => {
    expect(delay({ 'retry-after': '2' }, configOf({ maxTimeout: 2000 }))).toBe(2000);
    expect(delay({ 'retry-after': '2' }, configOf({ maxTimeout: 1999 }))).toBeUndefined();
  });

  it('retryDelay with Retry-After: ignores it where it is told to', () => {
    const own = configOf({ retryAfter: false });
    expect(delay({ 'retry-after': '2', 'retry-after-ms': '1500' }, own)).toBe(BACKOFF);
    expect(delay({ 'retry-after': '3600' }, own)).toBe(BACKOFF);
  });
});

describe('retryDelay, where the upstream says nothing', () => {
  const refused = failedWith('UPSTREAM_UNREACHABLE', 'ECONNREFUSED');
  const delays = (own: RetryConfig, random: number, count = 9): (number | undefined)[] =>
    Array.from({ length: count }, (_, retries) => retryDelay(refused, retries, own, undefined, () => random));

  it('retryDelay without Retry-After: grows by the factor, up to `maxTimeout`', () => {
    // As `Math.random()` never is, to see the bound itself.
    expect(delays(config, 1)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    const own = configOf({ minTimeout: 10, maxTimeout: 1000, timeoutFactor: 3 });
    expect(delays(own, 1, 6)).toEqual([10, 30, 90, 270, 810, 1000]);
  });

  it('retryDelay without Retry-After: is anywhere between nothing and that: full jitter', () => {
    expect(delays(config, 0)).toEqual(Array(9).fill(0));
    expect(delays(config, 0.5, 3)).toEqual([250, 500, 1000]);
  });

  it('retryDelay without Retry-After: does not grow with a factor of 1', () => {
    expect(delays(configOf({ timeoutFactor: 1 }), 1, 3)).toEqual([500, 500, 500]);
  });

  it('retryDelay without Retry-After: does not exceed `maxTimeout` where `minTimeout` does', () => {
    expect(delays(configOf({ minTimeout: 5000, maxTimeout: 100 }), 1, 2)).toEqual([100, 100]);
  });

  it('retryDelay without Retry-After: stays a number, however often it has tried', () => {
    expect(retryDelay(refused, 100_000, config, undefined, () => 1)).toBe(30_000);
  });

  it('retryDelay without Retry-After: is drawn by chance, within its bounds', () => {
    const drawn = Array.from({ length: 200 }, () => retryDelay(refused, 1, config) ?? Number.NaN);
    for (const delay of drawn) expect(delay >= 0 && delay < 1000).toBe(true);
    expect(new Set(drawn).size).toBeGreaterThan(100);
  });
});
