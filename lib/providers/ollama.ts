import type { Exchange, StreamEvent } from '../types/hooks.js';
import type { Provider, ProviderFailure, Reading } from '../types/provider.js';
import { type ApiKey, bearer, keyIn } from './auth/api-key.js';
import { counts, isMoreOfTheSame, member, readChat } from './dialects/chat.js';
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
  };
}

function isCompatible({ path }: Exchange): boolean {
  return /^\/v1\//.test(path);
}

function read(event: StreamEvent, reading: Reading): void {
  if (isMoreOfTheSame(event, reading)) return;
  const payload = event.json();
  const done = member(payload, 'done');
  if (typeof done !== 'boolean') {
    readChat(event, reading);
    return;
  }
  const model = member(payload, 'model');
  if (typeof model === 'string') reading.model = model;
  const message = member(payload, 'message');
  const pieces = [
    member(payload, 'response'),
    member(payload, 'thinking'),
    member(message, 'content'),
    member(message, 'thinking'),
  ];
  if (
    pieces.some((piece) => typeof piece === 'string' && piece !== '') ||
    Array.isArray(member(message, 'tool_calls'))
  ) {
    reading.hasContent = true;
  }
  if (!done) return;
  reading.ended = true;
  const reason = member(payload, 'done_reason');
  if (typeof reason === 'string') reading.finishReason = reason;
  reading.usage = counts({
    inputTokens: member(payload, 'prompt_eval_count'),
    outputTokens: member(payload, 'eval_count'),
  });
  reading.usageComplete = reading.usage.outputTokens !== undefined;
}

function ownError({ message }: ProviderFailure): { error: string } {
  return { error: message };
}
