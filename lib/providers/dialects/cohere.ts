import type { StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import type { Dialect } from './dialect.js';
import { figures, hasFigures, isCount, member, noteContent, word } from './figures.js';

/** Cohere's API, version 2: chat, which streams typed events, and what else answers with `billed_units`. */
export const cohereDialect: Dialect = {
  read,
  errorEvent: (failure) => ({ event: 'error', data: JSON.stringify({ type: 'error', ...errorBody(failure) }) }),
  errorBody,
  errorBodyOf,
  errorStatus,
};

function read(event: StreamEvent, reading: Reading): void {
  const payload = event.json();
  const type = member(payload, 'type');
  const delta = member(payload, 'delta');
  if (typeof type !== 'string') readWhole(payload, reading);
  else if (type === 'message-end') readEnd(delta, reading);
  else noteContent(member(delta, 'message'), reading);
}

/** An answer in one piece: of chat, or of embeddings and rankings, whose figures are in `meta`. */
function readWhole(payload: unknown, reading: Reading): void {
  noteContent([member(payload, 'message'), member(payload, 'embeddings'), member(payload, 'results')], reading);
  noteFinish(member(payload, 'finish_reason'), reading);
  takeUsage(member(payload, 'usage') ?? member(payload, 'meta'), reading);
  reading.usageComplete = hasFigures(reading.usage);
}

function readEnd(delta: unknown, reading: Reading): void {
  reading.ended = true;
  noteFinish(member(delta, 'finish_reason'), reading);
  takeUsage(member(delta, 'usage'), reading);
  reading.usageComplete = hasFigures(reading.usage) && !hasFailed(delta);
}

function hasFailed(delta: unknown): boolean {
  return member(delta, 'finish_reason') === 'ERROR' || word(member(delta, 'error')) !== undefined;
}

function noteFinish(given: unknown, reading: Reading): void {
  const reason = word(given);
  if (reason !== undefined) reading.finishReason = reason;
}

/** `tokens` are those of the model, `billed_units` those that are charged: without what a preamble of the vendor's own adds. */
function takeUsage(usage: unknown, reading: Reading): void {
  if (!isObject(usage)) return;
  const { tokens, billed_units: billed } = usage;
  const of = (name: string): unknown => [member(tokens, name), member(billed, name)].find(isCount);
  reading.usage = figures(
    {
      inputTokens: of('input_tokens'),
      outputTokens: of('output_tokens'),
      cachedInputTokens: member(usage, 'cached_tokens'),
    },
    usage,
  );
}

function errorStatus(event: StreamEvent): number | undefined {
  if (!/"error"|"message-end"/.test(event.data)) return undefined;
  const payload = event.json();
  const type = member(payload, 'type');
  if (type === 'error') return 502;
  return type === 'message-end' && hasFailed(member(payload, 'delta')) ? 502 : undefined;
}

function errorBodyOf(event: StreamEvent): { message: string } | undefined {
  const payload = event.json();
  const message = word(member(member(payload, 'delta'), 'error')) ?? word(member(payload, 'message'));
  return message === undefined ? undefined : { message };
}

function errorBody({ message }: ProviderFailure): { message: string } {
  return { message };
}
