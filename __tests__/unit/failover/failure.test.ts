import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../../lib/errors.js';
import { allowsAnotherAttempt, type Failure, headerOf, toAttemptFailed } from '../../../lib/failover/failure.js';

const config = { statusCodes: [503] };
const error = (code: SseProxyErrorCode): Failure => ({ kind: 'error', error: new SseProxyError(code), reached: false });
const response = (statusCode: number, headers = {}): Failure => ({
  kind: 'response',
  statusCode,
  headers,
  reached: true,
});
const event = (statusCode: number): Failure => ({ kind: 'event', statusCode, event: undefined, reached: true });

describe('a failure and another attempt', () => {
  it.each([
    'UPSTREAM_UNREACHABLE',
    'UPSTREAM_TLS_FAILED',
    'UPSTREAM_CLOSED',
    'UPSTREAM_INVALID_RESPONSE',
    'UPSTREAM_ERROR_EVENT',
    'UPSTREAM_CONNECT_TIMEOUT',
    'UPSTREAM_TIMEOUT',
  ] as const)('failure: %s is the target, and another attempt may be made', (code) => {
    expect(allowsAnotherAttempt(error(code), config)).toBe(true);
  });

  it.each([
    'UPSTREAM_TRUNCATED',
    'TOTAL_TIMEOUT',
    'CLIENT_TIMEOUT',
    'CONCURRENCY_LIMIT',
    'REQUEST_BODY_TOO_LARGE',
    'DRAINING',
    'DRAINED',
    'PATH_OUTSIDE_TARGET',
    'NOT_FOUND',
    'METHOD_NOT_ALLOWED',
    'UPGRADE_NOT_SUPPORTED',
    'TARGET_MISSING',
    'REQUEST_BODY_CONSUMED',
    'CREDENTIALS_MISSING',
    'EVENTS_UNREADABLE',
    'EVENT_TOO_LARGE',
    'HOOK_FAILED',
    'PROXY_FAILED',
  ] as const)('failure: %s is not the target, and no other attempt is made', (code) => {
    expect(allowsAnotherAttempt(error(code), config)).toBe(false);
  });

  it('failure: a response goes by its status, and by `x-should-retry` where it is an error', () => {
    expect(allowsAnotherAttempt(response(503), config)).toBe(true);
    expect(allowsAnotherAttempt(response(404), config)).toBe(false);
    expect(allowsAnotherAttempt(response(503, { 'x-should-retry': 'false' }), config)).toBe(false);
    expect(allowsAnotherAttempt(response(404, { 'x-should-retry': 'true' }), config)).toBe(true);
    expect(allowsAnotherAttempt(response(200, { 'x-should-retry': 'true' }), config)).toBe(false);
  });

  it('failure: an error event goes by the status that it stands for', () => {
    expect(allowsAnotherAttempt(event(503), config)).toBe(true);
    expect(allowsAnotherAttempt(event(400), config)).toBe(false);
  });
});

describe('what `fallbacks` is handed of a failure', () => {
  it('failure: an error, or the status, and nothing else', () => {
    const failure = error('UPSTREAM_CLOSED');
    expect(toAttemptFailed(failure)).toEqual({ error: failure.kind === 'error' && failure.error });
    expect(toAttemptFailed(response(503, { a: 'b' }))).toEqual({ statusCode: 503 });
    expect(toAttemptFailed(event(529))).toEqual({ statusCode: 529 });
  });
});

describe('a header of a failure', () => {
  it('failure: is the first line, trimmed; an error and an event have none', () => {
    expect(headerOf(response(503, { a: [' 1 ', '2'], b: ' 3' }), 'a')).toBe('1');
    expect(headerOf(response(503, { a: [' 1 ', '2'], b: ' 3' }), 'b')).toBe('3');
    expect(headerOf(response(503), 'a')).toBeUndefined();
    expect(headerOf(event(503), 'a')).toBeUndefined();
    expect(headerOf(error('UPSTREAM_CLOSED'), 'a')).toBeUndefined();
  });
});
