import type { IncomingMessage } from 'node:http';
import { DEFAULT_RETRY } from '../defaults.js';
import type { RetryConfig } from '../types/config.js';
import { type Failure, headerOf, isRetryable } from './failure.js';

/** RFC 9110 9.2.2: whether a request may be sent twice, by its method, by its key, or since the user has said so. */
export function isIdempotent(
  { method = 'GET', headers }: Pick<IncomingMessage, 'headers'> & { method?: string | undefined },
  { maxRetries, methods }: RetryConfig,
): boolean {
  if (DEFAULT_RETRY.methods.includes(method) || headers['idempotency-key'] !== undefined) return true;
  return maxRetries > 0 && methods.includes(method);
}

/** Whether to try the same target again. A request that the upstream cannot have seen may be sent again whatever its method. */
export function shouldRetry(
  failure: Failure,
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
  failure: Failure,
  retries: number,
  config: RetryConfig,
  now: () => number = Date.now,
  random: () => number = Math.random,
): number | undefined {
  const asked = config.retryAfter ? retryAfter(failure, now) : undefined;
  if (asked !== undefined) return asked <= config.maxTimeout ? asked : undefined;
  return random() * Math.min(config.maxTimeout, config.minTimeout * config.timeoutFactor ** retries);
}

/** RFC 9110 10.2.3: seconds or a date; OpenAI and Anthropic also send milliseconds. */
function retryAfter(failure: Failure, now: () => number): number | undefined {
  const milliseconds = headerOf(failure, 'retry-after-ms');
  if (milliseconds !== undefined && /^\d+(\.\d+)?$/.test(milliseconds)) return Number(milliseconds);
  const after = headerOf(failure, 'retry-after');
  if (after === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(after)) return Number(after) * 1000;
  // `Date.parse` makes a date of almost anything with a number in it, and one of local time where there is no zone (asctime).
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(after)) return undefined;
  const date = Date.parse(/ \d{4}$/.test(after) ? `${after} GMT` : after);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now());
}
