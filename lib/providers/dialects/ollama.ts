import type { StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { isMoreOfTheSame, readChat } from './chat.js';
import type { Dialect } from './dialect.js';
import { figures, hasFigures, isCount, member, noteContent, word } from './figures.js';
import { errorStatus } from './openai-errors.js';

/** Ollama's own API, which streams NDJSON. */
export const ollamaDialect: Dialect = {
  read,
  errorEvent: (failure) => ({ data: JSON.stringify(errorBody(failure)) }),
  errorBody,
  errorStatus,
};

function read(event: StreamEvent, reading: Reading): void {
  if (isMoreOfTheSame(event, reading)) return;
  const payload = event.json();
  const done = member(payload, 'done');
  // Embeddings come in one piece, without it.
  if (typeof done !== 'boolean' && !isCount(member(payload, 'prompt_eval_count'))) {
    readChat(event, reading);
    return;
  }
  const model = word(member(payload, 'model'));
  if (model !== undefined) reading.model = model;
  const { content, thinking, tool_calls } = (member(payload, 'message') ?? {}) as Record<string, unknown>;
  const pieces = [member(payload, 'response'), member(payload, 'thinking'), content, thinking, tool_calls];
  noteContent(pieces, reading);
  if (done === false) return;
  reading.ended = true;
  const reason = word(member(payload, 'done_reason'));
  if (reason !== undefined) reading.finishReason = reason;
  readCounts(payload as object, reading);
}

/** The last line has the figures among its own members. */
function readCounts(line: object, reading: Reading): void {
  const reported = Object.entries(line).filter(([name, value]) => /_(count|duration)$/.test(name) && isCount(value));
  if (reported.length === 0) return;
  const values = { inputTokens: member(line, 'prompt_eval_count'), outputTokens: member(line, 'eval_count') };
  reading.usage = figures(values, Object.fromEntries(reported));
  reading.usageComplete = hasFigures(reading.usage);
}

function errorBody({ message }: ProviderFailure): { error: string } {
  return { error: message };
}
