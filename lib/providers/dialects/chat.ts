import type { StreamEvent } from '../../types/hooks.js';
import type { Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import {
  allFinished,
  figures,
  hasContent,
  hasFigures,
  isCount,
  keepFigures,
  member,
  noteFinished,
  word,
} from './figures.js';

/** What OpenAI's Chat Completions and their many relatives answer with: a chunk of a stream, or the whole. */
interface ChatPayload {
  id?: unknown;
  object?: unknown;
  model?: unknown;
  usage?: unknown;
  choices?: unknown;
  error?: unknown;
  x_groq?: unknown;
  service_tier?: unknown;
  /** Of events that are no chunks, and of answers that are no completions. */
  type?: unknown;
  status?: unknown;
  delta?: unknown;
  text?: unknown;
  audio?: unknown;
  b64_json?: unknown;
  data?: unknown;
}

interface Choice {
  index?: unknown;
  delta?: unknown;
  message?: unknown;
  text?: unknown;
  finish_reason?: unknown;
  usage?: unknown;
}

/** What {@link readChat} remembers of a stream, in the reading's `reported`. */
interface ChatState {
  /** Whether each choice that was seen has finished, by its index. */
  finished?: Map<unknown, boolean>;
  /** A part of the answer came after the figures, which do not count it. */
  isStale?: boolean;
  /** The figures came by themselves, or with the whole answer: they are no figures so far. */
  isLast?: boolean;
  /** There was an error in the stream: whatever ends it, it is not whole. */
  hasFailed?: boolean;
}

/** The events that end what OpenAI and Mistral stream of speech. Images may be several. */
const LAST_EVENTS = new Set<unknown>(['speech.audio.done', 'transcript.text.done', 'transcription.done']);

/** How what goes on in the background ends. */
const LAST_STATUSES = new Set(['completed', 'incomplete', 'failed', 'cancelled', 'expired']);

/** What a chunk may tell in the middle of an answer, by its looks: figures, an end, another choice, a response, an error. */
const NEWS =
  /"(?:usage|response)"\s*:\s*\{|"error"\s*:\s*["{]|"object"\s*:\s*"error"|"finish_reason"\s*:\s*"[^"]|"index"\s*:\s*[1-9]|"done"\s*:\s*true|"response\.(?:completed|incomplete|failed)"/;

/**
 * Whether a chunk only goes on with an answer that is known to have begun: there is nothing to learn from it but its text.
 * Most are such, and parsing them would be most of the cost of reading a stream. In a text itself the quotation marks of
 * such names are escaped. Behind figures every chunk is read: they may not be the last.
 */
export function isMoreOfTheSame({ data }: StreamEvent, reading: Reading): boolean {
  const hasBegun = reading.hasContent && reading.model !== undefined && !hasFigures(reading.usage);
  return hasBegun && data.startsWith('{') && !NEWS.test(data);
}

/**
 * Reads Chat Completions, legacy Completions, and JSON answers with a `usage` object, such as embeddings. In a stream the
 * usage comes last: with the last choice, behind it, or in a chunk of its own without choices (`stream_options.include_usage`).
 */
export function readChat(event: StreamEvent, reading: Reading): void {
  const state = reading.reported as ChatState;
  if (event.data === '[DONE]') {
    reading.ended = true;
    reading.usageComplete = areFinal(reading, state);
    return;
  }
  if (isMoreOfTheSame(event, reading)) return;
  const payload = event.json<ChatPayload | null>();
  if (typeof payload !== 'object' || payload === null) return;
  const choices: Choice[] = Array.isArray(payload.choices) ? payload.choices.filter(isChoice) : [];
  const model = word(payload.model);
  if (model !== undefined) reading.model = model;
  const tier = word(payload.service_tier);
  if (tier !== undefined) reading.serviceTier = tier;
  const id = word(payload.id);
  if (id !== undefined && isStored(payload)) reading.id = id;
  noteChoices(choices, reading, state);
  if (payload.error || payload.object === 'error') state.hasFailed = true;
  if (LAST_EVENTS.has(payload.type)) reading.ended = true;

  const brings = bringsContent(payload, choices);
  if (brings) reading.hasContent = true;
  const usage = usageIn(payload, choices, state);
  if (usage !== undefined) {
    takeFigures(usage, reading);
    state.isStale = false;
    const isWhole = reading.streamed === false || choices.some(({ message }) => message);
    state.isLast = (isWhole || choices.length === 0) && !isPending(payload);
  } else if (brings && hasFigures(reading.usage)) {
    state.isStale = true;
  }
  reading.usageComplete = areFinal(reading, state);
}

const isChoice = (choice: unknown): choice is Choice => isObject(choice);

/** In a choice; or, where there is none, in an event or the whole of an answer in text, images or sound. */
function bringsContent({ delta, text, audio, b64_json, data }: ChatPayload, choices: readonly Choice[]): boolean {
  if (choices.length > 0) return choices.some((choice) => hasContent([choice.delta, choice.message, choice.text]));
  const images = Array.isArray(data) ? data.map((item) => [member(item, 'b64_json'), member(item, 'url')]) : [];
  return hasContent([delta, text, audio, b64_json, images]);
}

/** What a later request can ask for: a completion that is not streamed, a run, a batch. Chunks are many, and are read without it. */
function isStored({ object }: ChatPayload): boolean {
  return object === 'chat.completion' || object === 'thread.run' || object === 'batch';
}

/** An object that goes on in the background: a run, or a batch. */
function isPending({ status }: ChatPayload): boolean {
  return typeof status === 'string' && !LAST_STATUSES.has(status);
}

function noteChoices(choices: readonly Choice[], reading: Reading, state: ChatState): void {
  for (const { index, finish_reason } of choices) {
    const reason = word(finish_reason);
    if (reason !== undefined) reading.finishReason = reason;
    state.finished = noteFinished(state.finished, index, reason !== undefined);
  }
}

/** At the top, or where some put it: Groq in `x_groq`, Moonshot in the choice. That of one choice of several is not all of it. */
function usageIn(payload: ChatPayload, choices: readonly Choice[], { finished }: ChatState): object | undefined {
  const ofChoice = finished?.size === 1 ? choices.find(({ usage }) => isFilled(usage))?.usage : undefined;
  return [payload.usage, member(payload.x_groq, 'usage'), ofChoice].find(isFilled);
}

function isFilled(usage: unknown): usage is object {
  return isObject(usage) && Object.keys(usage).length > 0;
}

/**
 * Whether the figures are the last: with the end of the stream, when each choice has finished, or where they came by themselves. Some
 * servers report the figures so far in every chunk.
 */
function areFinal({ usage, ended }: Reading, { finished, isStale, isLast, hasFailed }: ChatState): boolean {
  if (!hasFigures(usage) || isStale || hasFailed) return false;
  return ended || isLast === true || allFinished(finished);
}

export function takeFigures(usage: object, reading: Reading): void {
  keepFigures(figures(chatFigures(usage), usage), reading);
}

/** OpenAI's usage object, under the names of Chat Completions or of Responses, and under those of its relatives. */
function chatFigures(usage: object): Record<string, unknown> {
  const of = (name: string): unknown => member(usage, name);
  const ofInput = of('prompt_tokens_details') ?? of('input_tokens_details') ?? of('input_token_details');
  const ofOutput = of('completion_tokens_details') ?? of('output_tokens_details');
  const prompt = firstCount(of('prompt_tokens'), of('input_tokens'));
  const completion = firstCount(of('completion_tokens'), of('output_tokens'));
  const total = firstCount(of('total_tokens'));
  const reasoning = firstCount(member(ofOutput, 'reasoning_tokens'));
  const cached = firstCount(
    member(ofInput, 'cached_tokens'),
    of('cached_tokens'),
    of('prompt_cache_hit_tokens'),
    of('num_cached_tokens'),
  );
  return {
    ...addedUp({ prompt, completion, total, reasoning, cached }),
    totalTokens: total,
    cachedInputTokens: cached,
    cacheCreationInputTokens: member(ofInput, 'cache_write_tokens'),
    reasoningTokens: reasoning,
    audioInputTokens: member(ofInput, 'audio_tokens'),
    audioOutputTokens: member(ofOutput, 'audio_tokens'),
    imageInputTokens: member(ofInput, 'image_tokens'),
    imageOutputTokens: member(ofOutput, 'image_tokens'),
  };
}

function firstCount(...values: unknown[]): number | undefined {
  return values.find(isCount);
}

type Parts = Record<'prompt' | 'completion' | 'total' | 'reasoning' | 'cached', number | undefined>;

/**
 * Input and output. xAI leaves the reasoning out of `completion_tokens`, and Grok on Azure what was cached out of `prompt_tokens`: the
 * total tells, of which both are a part.
 */
function addedUp({ prompt, completion, total, reasoning = 0, cached = 0 }: Parts): Record<string, number | undefined> {
  const reported = { inputTokens: prompt, outputTokens: completion };
  if (prompt === undefined || completion === undefined || total === undefined) return reported;
  for (const inputTokens of [prompt, prompt + cached]) {
    for (const outputTokens of [completion, completion + reasoning]) {
      if (inputTokens + outputTokens === total) return { inputTokens, outputTokens };
    }
  }
  return reported;
}
