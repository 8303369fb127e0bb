import type { StreamEvent } from '../../types/hooks.js';
import type { Reading } from '../../types/provider.js';
import type { Usage } from '../../types/summary.js';

/** What OpenAI's Chat Completions and their many relatives answer with: a chunk of a stream, or the whole. */
interface ChatPayload {
  model?: unknown;
  usage?: unknown;
  choices?: unknown;
}

interface Choice {
  delta?: object | null;
  message?: object | null;
  text?: unknown;
  finish_reason?: unknown;
}

/** What a chunk may tell in the middle of an answer, by its looks: figures, an end, a response, an error. */
const NEWS =
  /"(?:usage|response|error)"\s*:\s*\{|"finish_reason"\s*:\s*"|"done"\s*:\s*true|"response\.(?:completed|incomplete|failed)"/;

/**
 * Whether a chunk only goes on with an answer that is known to have begun: there is nothing to learn from it but its text.
 * Most are such, and parsing them would be most of the cost of reading a stream. In a text itself the quotation marks of
 * such names are escaped.
 */
export function isMoreOfTheSame({ data }: StreamEvent, { hasContent, model }: Reading): boolean {
  return hasContent && model !== undefined && data.startsWith('{') && !NEWS.test(data);
}

/**
 * Reads Chat Completions, legacy Completions, and JSON answers with a `usage` object, such as embeddings. In a stream the
 * usage comes last: with the last choice, or in a chunk of its own without choices (`stream_options.include_usage`).
 */
export function readChat(event: StreamEvent, reading: Reading): void {
  if (event.data === '[DONE]') {
    reading.ended = true;
    return;
  }
  if (isMoreOfTheSame(event, reading)) return;
  const payload = event.json<ChatPayload | null>();
  if (typeof payload !== 'object' || payload === null) return;
  const { model, usage, choices } = payload;
  if (typeof model === 'string' && model !== '') reading.model = model;

  const list: Choice[] = Array.isArray(choices) ? choices : [];
  const finishReason = list.map((choice) => choice?.finish_reason).find((reason) => typeof reason === 'string');
  if (typeof finishReason === 'string') reading.finishReason = finishReason;
  if (list.some(hasContent)) reading.hasContent = true;

  if (typeof usage !== 'object' || usage === null) return;
  reading.usage = readUsage(usage as Record<string, unknown>);
  // Some servers report the figures so far in every chunk.
  reading.usageComplete = list.length === 0 || finishReason !== undefined;
}

/** Whether there is a part of the answer in it, and not only a role. */
function hasContent(choice: Choice | null): boolean {
  if (typeof choice?.text === 'string' && choice.text !== '') return true;
  return Object.entries(choice?.delta ?? choice?.message ?? {}).some(
    ([name, value]) =>
      name !== 'role' && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0),
  );
}

/** OpenAI's usage object, under the names of Chat Completions or of Responses. */
export function readUsage(usage: Record<string, unknown>): Omit<Usage, 'complete'> {
  const ofInput = usage.prompt_tokens_details ?? usage.input_tokens_details;
  return counts({
    inputTokens: usage.prompt_tokens ?? usage.input_tokens,
    outputTokens: usage.completion_tokens ?? usage.output_tokens,
    totalTokens: usage.total_tokens,
    cachedInputTokens: member(ofInput, 'cached_tokens'),
    cacheCreationInputTokens: member(ofInput, 'cache_write_tokens'),
    reasoningTokens: member(usage.completion_tokens_details ?? usage.output_tokens_details, 'reasoning_tokens'),
  });
}

export function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** Only what is a count: whatever else was not reported. */
export function counts(values: Record<string, unknown>): Omit<Usage, 'complete'> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => Number.isSafeInteger(value) && Number(value) >= 0),
  ) as Omit<Usage, 'complete'>;
}
