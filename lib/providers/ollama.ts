import type { Exchange, StreamEvent } from '../types/hooks.js';
import type { Provider, ProviderFailure, Reading } from '../types/provider.js';
import { ACCOUNT_HEADERS } from './auth/account-headers.js';
import { type ApiKey, bearer, keyIn } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { isMoreOfTheSame, readChat } from './dialects/chat.js';
import { figures, hasContent, hasFigures, isCount, member, word } from './dialects/figures.js';
import * as openai from './openai.js';

/** Options of {@link ollama}. */
export interface OllamaOptions {
  /** Where Ollama is. Default: `http://127.0.0.1:11434`. */
  target?: string;
  /** An Ollama of one's own asks for none; the caller's does not travel either, unless this is `false`. */
  apiKey?: ApiKey | undefined;
}

/**
 * Ollama: its own API, which streams NDJSON, and the one below `/v1` that is OpenAI's.
 *
 * @throws {TypeError} for an `apiKey` that is empty, or that cannot be in a header field
 */
export function ollama(options: OllamaOptions = {}): Provider {
  checkProviderOptions('ollama', options);
  const { target = 'http://127.0.0.1:11434', apiKey } = options;
  return {
    ...(apiKey === undefined ? { credentials: () => ({}) } : keyIn('ollama', bearer, apiKey)),
    name: 'ollama',
    target,
    read,
    errorEvent: (failure, exchange) =>
      isCompatible(exchange) ? openai.errorEvent(failure, exchange) : { data: JSON.stringify(ownError(failure)) },
    errorBody: (failure, exchange) => (isCompatible(exchange) ? openai.errorBody(failure) : ownError(failure)),
    errorStatus: openai.errorStatus,
    retryMethods: ['POST'],
    withheld: { response: ACCOUNT_HEADERS },
  };
}

function isCompatible({ path }: Exchange): boolean {
  return /^\/v1\//.test(path);
}

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
  if (hasContent(pieces)) reading.hasContent = true;
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

function ownError({ message }: ProviderFailure): { error: string } {
  return { error: message };
}
