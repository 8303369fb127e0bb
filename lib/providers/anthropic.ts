import type { StreamEvent } from '../types/hooks.js';
import type { Provider, ProviderFailure, Reading } from '../types/provider.js';
import { keyIn, type ProviderOptions } from './auth/api-key.js';
import { counts, member } from './dialects/chat.js';

/** Options of {@link anthropic}. */
export interface AnthropicOptions extends ProviderOptions {
  /** `anthropic-version` of requests that name none. Default: `2023-06-01`. */
  version?: string;
}

/**
 * Anthropic's Messages. The key is sent as `x-api-key`.
 *
 * @throws {TypeError} without `apiKey`, or for one that cannot be in a header field
 */
export function anthropic(options: AnthropicOptions): Provider {
  const { target = 'https://api.anthropic.com', apiKey, version = '2023-06-01' } = options ?? {};
  return {
    ...keyIn('anthropic', (key) => ({ 'x-api-key': key }), apiKey),
    name: 'anthropic',
    target,
    headers: { 'anthropic-version': version },
    read,
    errorEvent: (failure) => ({ event: 'error', data: JSON.stringify(errorBody(failure)) }),
    errorBody,
    errorStatus,
    retryMethods: ['POST'],
  };
}

/** The status that an error has where it is not inside a 200. */
const STATUSES = new Map<unknown, number>([
  ['invalid_request_error', 400],
  ['authentication_error', 401],
  ['billing_error', 402],
  ['permission_error', 403],
  ['not_found_error', 404],
  ['request_too_large', 413],
  ['rate_limit_error', 429],
  ['api_error', 500],
  ['timeout_error', 504],
  ['overloaded_error', 529],
]);

function errorStatus(event: StreamEvent): number | undefined {
  const payload = event.json();
  if (event.event !== 'error' && member(payload, 'type') !== 'error') return undefined;
  return STATUSES.get(member(member(payload, 'error'), 'type')) ?? 502;
}

function read(event: StreamEvent, reading: Reading): void {
  // Most events are such. There is nothing to learn from another one but its text.
  if (event.event === 'content_block_delta' && reading.hasContent) return;
  const payload = event.json();
  switch (member(payload, 'type')) {
    case 'message_start':
      readMessage(member(payload, 'message'), reading);
      break;
    case 'content_block_delta':
      reading.hasContent = true;
      break;
    case 'message_delta':
      readFinish(member(payload, 'delta'), reading);
      readUsage(member(payload, 'usage'), reading);
      reading.usageComplete = reading.usage.outputTokens !== undefined;
      break;
    case 'message_stop':
      reading.ended = true;
      break;
    case 'message':
      readMessage(payload, reading);
      readFinish(payload, reading);
      reading.hasContent = true;
      reading.usageComplete = reading.usage.outputTokens !== undefined;
      break;
  }
}

function readMessage(message: unknown, reading: Reading): void {
  const model = member(message, 'model');
  if (typeof model === 'string') reading.model = model;
  readUsage(member(message, 'usage'), reading);
}

function readFinish(from: unknown, reading: Reading): void {
  const reason = member(from, 'stop_reason');
  if (typeof reason === 'string') reading.finishReason = reason;
}

/** The figures of `message_delta` are cumulative: each replaces the one before, and what it leaves out stands. */
function readUsage(usage: unknown, reading: Reading): void {
  if (typeof usage !== 'object' || usage === null) return;
  const { reported } = reading;
  for (const [name, value] of Object.entries(usage)) if (value !== null) reported[name] = value;
  const { input_tokens: uncached, cache_creation_input_tokens: written, cache_read_input_tokens: read } = reported;
  const withCache = [written, read].filter((count) => typeof count === 'number');
  reading.usage = counts({
    // What a cache had to do with is counted apart.
    inputTokens: typeof uncached === 'number' ? withCache.reduce((sum, count) => sum + count, uncached) : undefined,
    outputTokens: reported.output_tokens,
    cachedInputTokens: read,
    cacheCreationInputTokens: written,
    reasoningTokens: member(reported.output_tokens_details, 'thinking_tokens'),
  });
}

const ERROR_TYPES: Record<number, string> = { 500: 'api_error', 502: 'api_error', 504: 'timeout_error' };

function errorBody({ message, statusCode }: ProviderFailure): {
  type: 'error';
  error: { type: string; message: string };
} {
  return { type: 'error', error: { type: ERROR_TYPES[statusCode] ?? 'api_error', message } };
}
