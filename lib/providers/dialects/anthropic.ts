import type { StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import type { Dialect } from './dialect.js';
import { figures, hasFigures, isCount, member, noteContent, sumOf, word } from './figures.js';

/** Anthropic's Messages. */
export const anthropicDialect: Dialect = {
  read,
  errorEvent: (failure) => ({ event: 'error', data: JSON.stringify(errorBody(failure)) }),
  errorBody,
  errorStatus,
};

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
  // Every event of a stream is asked, and parsing them would be most of the cost.
  if (event.event !== 'error' && !event.data.includes('"error"')) return undefined;
  const payload = event.json();
  if (event.event !== 'error' && member(payload, 'type') !== 'error') return undefined;
  return STATUSES.get(member(member(payload, 'error'), 'type')) ?? 502;
}

/** What is remembered of a stream, in the reading's `reported`. */
interface AnthropicState {
  /** The usage so far, under the provider's names. */
  usage?: Record<string, unknown>;
  /** The figures of a `message_delta` were there: those of `message_start` are no more than a beginning. */
  isFinal?: boolean;
}

function read(event: StreamEvent, reading: Reading): void {
  // Most events are such. There is nothing to learn from another one but its text.
  if (event.event === 'content_block_delta' && reading.hasContent) return;
  const payload = event.json();
  const state = reading.reported as AnthropicState;
  switch (member(payload, 'type')) {
    case 'message_start':
      readMessage(member(payload, 'message'), reading);
      break;
    case 'content_block_start':
      noteContent(member(payload, 'content_block'), reading);
      break;
    case 'content_block_delta':
      noteContent(member(payload, 'delta'), reading);
      break;
    case 'message_delta':
      readFinish(member(payload, 'delta'), reading);
      readUsage(member(payload, 'usage'), reading);
      if (isCount(member(member(payload, 'usage'), 'output_tokens'))) state.isFinal = true;
      reading.usageComplete = state.isFinal === true && reading.finishReason !== undefined;
      break;
    case 'error':
      state.isFinal = false;
      reading.usageComplete = false;
      break;
    case 'message_stop':
      reading.ended = true;
      reading.usageComplete = state.isFinal === true;
      break;
    case 'message':
      readMessage(payload, reading);
      readFinish(payload, reading);
      noteContent(member(payload, 'content'), reading);
      reading.usageComplete = hasFigures(reading.usage);
      break;
  }
}

function readMessage(message: unknown, reading: Reading): void {
  const model = word(member(message, 'model'));
  if (model !== undefined) reading.model = model;
  readUsage(member(message, 'usage'), reading);
}

function readFinish(from: unknown, reading: Reading): void {
  const reason = word(member(from, 'stop_reason'));
  if (reason !== undefined) reading.finishReason = reason;
}

/** What `message_delta` counts is cumulative: each figure replaces the one before, and what it leaves out stands. */
function readUsage(usage: unknown, reading: Reading): void {
  if (!isObject(usage)) return;
  const state = reading.reported as AnthropicState;
  const known: Record<string, unknown> = state.usage ?? Object.create(null);
  state.usage = known;
  // Relays put zeros where Anthropic leaves out the input that `message_start` has told.
  const leavesOutInput = member(usage, 'input_tokens') === 0 && known.input_tokens !== undefined;
  for (const [name, value] of Object.entries(usage)) {
    if (value === null || (leavesOutInput && value === 0 && name.endsWith('input_tokens'))) continue;
    known[name] = value;
  }
  const tier = word(known.service_tier);
  if (tier !== undefined) reading.serviceTier = tier;
  reading.usage = figures(billed(known), known);
}

/** Anthropic counts apart from the input what a cache had to do with, and apart from the message what compacted its context. */
function billed(usage: Record<string, unknown>): Record<string, unknown> {
  const { iterations } = usage;
  // Advisors, and models that have declined, are billed at prices of their own.
  const compactions = Array.isArray(iterations)
    ? iterations.filter((item) => member(item, 'type') === 'compaction')
    : [];
  const of = (name: string): number | undefined => {
    const counted = compactions.map((item) => member(item, name));
    return isCount(usage[name]) || name !== 'input_tokens' ? sumOf(usage[name], ...counted) : undefined;
  };
  const uncached = of('input_tokens');
  const written = of('cache_creation_input_tokens');
  const read = of('cache_read_input_tokens');
  return {
    inputTokens: uncached === undefined ? undefined : sumOf(uncached, written, read),
    outputTokens: isCount(usage.output_tokens) ? of('output_tokens') : undefined,
    cachedInputTokens: read,
    cacheCreationInputTokens: written,
    reasoningTokens: member(usage.output_tokens_details, 'thinking_tokens'),
  };
}

const ERROR_TYPES: Record<number, string> = { 500: 'api_error', 502: 'api_error', 504: 'timeout_error' };

function errorBody({ message, statusCode }: ProviderFailure): {
  type: 'error';
  error: { type: string; message: string };
} {
  return { type: 'error', error: { type: ERROR_TYPES[statusCode] ?? 'api_error', message } };
}
