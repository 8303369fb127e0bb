import type { RetryConfig } from '../types/config.js';
import type { HeaderFields } from '../types/http.js';

/** Why an attempt is not the answer: a response with such a status, or an error. */
export interface AttemptFailure {
  statusCode?: number;
  /** The response's, by lower-case name. */
  headers?: HeaderFields;
  /** The error's own code, and that of its cause. */
  errorCodes?: readonly (string | undefined)[];
  /** The upstream may have seen the request, and acted on it. */
  reached: boolean;
}

/** Whether the failure is one of those that another attempt may mend, whatever the method. */
export function isRetryable({ statusCode, headers, errorCodes }: AttemptFailure, config: RetryConfig): boolean {
  if (statusCode === undefined) return errorCodes?.some((code) => config.errorCodes.includes(code ?? '')) ?? false;
  // The SDKs of OpenAI and Anthropic obey it where a response is an error, so providers mean it.
  const advice = statusCode < 400 ? undefined : value(headers, 'x-should-retry');
  if (advice === 'true' || advice === 'false') return advice === 'true';
  return config.statusCodes.includes(statusCode);
}

/** Whether to try the same target again. What the upstream cannot have seen is safe to send again by any method. */
export function shouldRetry(
  failure: AttemptFailure,
  { method, retries }: { method: string | undefined; retries: number },
  config: RetryConfig,
): boolean {
  if (retries >= config.maxRetries || !isRetryable(failure, config)) return false;
  return !failure.reached || config.methods.includes(method ?? 'GET');
}

/**
 * Milliseconds to wait before the next attempt: what the upstream asks for, or exponential backoff with full jitter.
 * `undefined` where the upstream asks for more than `maxTimeout`.
 */
export function retryDelay(
  { headers }: AttemptFailure,
  retries: number,
  config: RetryConfig,
  now: () => number = Date.now,
  random: () => number = Math.random,
): number | undefined {
  const asked = config.retryAfter ? retryAfter(headers, now) : undefined;
  if (asked !== undefined) return asked <= config.maxTimeout ? asked : undefined;
  return random() * Math.min(config.maxTimeout, config.minTimeout * config.timeoutFactor ** retries);
}

/** RFC 9110 10.2.3: seconds or a date; OpenAI and Anthropic also send milliseconds. */
function retryAfter(headers: HeaderFields | undefined, now: () => number): number | undefined {
  const milliseconds = value(headers, 'retry-after-ms');
  if (milliseconds !== undefined && /^\d+(\.\d+)?$/.test(milliseconds)) return Number(milliseconds);
  const after = value(headers, 'retry-after');
  if (after === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(after)) return Number(after) * 1000;
  // `Date.parse` makes a date of almost anything with a number in it, and one of local time where there is no zone (asctime).
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(after)) return undefined;
  const date = Date.parse(/ \d{4}$/.test(after) ? `${after} GMT` : after);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now());
}

function value(headers: HeaderFields | undefined, name: string): string | undefined {
  const found = headers?.[name];
  return (Array.isArray(found) ? found[0] : found)?.trim();
}
