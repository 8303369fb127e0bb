import type { SseProxyError, SseProxyErrorCode } from '../errors.js';
import type { ParsedEvent } from '../formats/format.js';
import type { RetryConfig } from '../types/config.js';
import type { AttemptFailed } from '../types/hooks.js';
import type { HeaderFields } from '../types/http.js';
import { memberOf } from '../util/member-of.js';

/** Why an attempt did not bring the answer: an error, a response with an error status, or a stream that begins with an error. */
export type Failure = ErrorFailure | ResponseFailure | EventFailure;

/** The attempt brought no response, or none that can be used. */
export interface ErrorFailure {
  readonly kind: 'error';
  readonly error: SseProxyError;
  /** The upstream may have seen the request, and acted on it. */
  readonly reached: boolean;
}

/** The upstream has answered with a status that another attempt may mend, such as 503. */
export interface ResponseFailure {
  readonly kind: 'response';
  readonly statusCode: number;
  /** By lower-case name. */
  readonly headers: HeaderFields;
  readonly reached: true;
}

/** The first event of the stream is an error. */
export interface EventFailure {
  readonly kind: 'event';
  /** The status that the event stands for. */
  readonly statusCode: number;
  /** `undefined` where the stream ended without one. */
  readonly event: ParsedEvent | undefined;
  readonly reached: true;
}

/**
 * The errors of a target that has not answered. After any other error another attempt would fail in the same way, or is not
 * wanted: a hook failed, the request was refused, `timeouts.total` has passed.
 */
const OF_TARGET: ReadonlySet<SseProxyErrorCode> = new Set([
  'UPSTREAM_UNREACHABLE',
  'UPSTREAM_TLS_FAILED',
  'UPSTREAM_CLOSED',
  'UPSTREAM_INVALID_RESPONSE',
  'UPSTREAM_ERROR_EVENT',
  'UPSTREAM_CONNECT_TIMEOUT',
  'UPSTREAM_TIMEOUT',
]);

/**
 * Whether another attempt, with this target or another one, may bring an answer. This is the only place that says so, by what kind
 * of failure it is.
 */
export function allowsAnotherAttempt(failure: Failure, config: Pick<RetryConfig, 'statusCodes'>): boolean {
  return failure.kind === 'error' ? OF_TARGET.has(failure.error.code) : isRetryableStatus(failure, config);
}

/** Whether another attempt with the same target may bring an answer, whatever the request's method. */
export function isRetryable(failure: Failure, config: RetryConfig): boolean {
  if (failure.kind !== 'error') return isRetryableStatus(failure, config);
  const { code, cause } = failure.error;
  if (!OF_TARGET.has(code)) return false;
  const causeCode = memberOf(cause, 'code');
  return config.errorCodes.includes(code) || (typeof causeCode === 'string' && config.errorCodes.includes(causeCode));
}

function isRetryableStatus(
  failure: ResponseFailure | EventFailure,
  { statusCodes }: Pick<RetryConfig, 'statusCodes'>,
): boolean {
  const { statusCode } = failure;
  // The SDKs of OpenAI and Anthropic obey it where a response is an error, so providers mean it.
  const advice = statusCode < 400 ? undefined : headerOf(failure, 'x-should-retry');
  if (advice === 'true' || advice === 'false') return advice === 'true';
  return statusCodes.includes(statusCode);
}

/** A header of the response that is the failure, trimmed; the first line where it has several. */
export function headerOf(failure: Failure, name: string): string | undefined {
  const value = failure.kind === 'response' ? failure.headers[name] : undefined;
  return (Array.isArray(value) ? value[0] : value)?.trim();
}

/** The failure as `fallbacks` is handed it. */
export function toAttemptFailed(failure: Failure): AttemptFailed {
  return failure.kind === 'error' ? { error: failure.error } : { statusCode: failure.statusCode };
}
