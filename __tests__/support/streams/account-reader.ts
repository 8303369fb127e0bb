import { EventStreamCodec } from '@smithy/eventstream-codec';
import { referenceReading } from '../fuzz/runs.js';

/*
 * A second reader of answers, against which the package's own is held. It was written from docs/count-the-tokens.md and from the
 * documentation of the vendors by somebody who had not read `lib/providers/`, and shares no code with `lib/`: keep it like that. It has
 * all of an answer before it, is slow, and need not be anything else.
 */

export type Dialect =
  | 'chat'
  | 'responses'
  | 'media'
  | 'messages'
  | 'gemini'
  | 'interactions'
  | 'ollama'
  | 'cohere'
  | 'converse';

/** How the payloads of an answer are told apart. */
export type Form = 'sse' | 'json' | 'array' | 'lines' | 'frames';

/** Numbers by the names of `Usage`. */
export type Figures = Partial<Record<string, number>>;

/** What is to be told of an answer. */
export interface ReadAccount {
  figures: Figures;
  /** The provider's own object. */
  reported?: Json;
  complete: boolean;
  model?: string;
  finishReason?: string;
  serviceTier?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: payloads of nine vendors, read as they came
type Json = any;

/** What the payloads of an answer have said. */
interface Said {
  figures: Figures;
  reported?: Json;
  model?: string;
  finishReason?: string;
  serviceTier?: string;
  /** The last word of its dialect has come. */
  ended?: boolean;
  /** It has come to its end where nothing follows. */
  finished?: boolean;
  failed?: boolean;
}

/** The end of a stream of chat completions is no JSON. */
const DONE = Symbol('[DONE]');

// --- payloads ---------------------------------------------------------------------------------------------------------

function parsed(text: string): Json[] {
  if (text.trim() === '[DONE]') return [DONE];
  try {
    return [JSON.parse(text)];
  } catch {
    return [];
  }
}

function ofEvents(bytes: Buffer, isWhole: boolean): Json[] {
  const { events, rest } = referenceReading(bytes);
  const last = isWhole ? referenceReading(Buffer.concat([rest, Buffer.from('\n\n')])).events : [];
  return [...events, ...last].flatMap((event) => (event === undefined ? [] : parsed(event.data)));
}

function ofLines(bytes: Buffer, isWhole: boolean): Json[] {
  const lines = bytes.toString().split('\n');
  return (isWhole ? lines : lines.slice(0, -1)).flatMap(parsed);
}

/** The elements that are whole: as many as can be read once the array is closed behind one of them. */
function ofArray(bytes: Buffer): Json[] {
  const text = bytes.toString();
  for (let end = text.length; end > 0; end = text.lastIndexOf('}', end - 2) + 1) {
    const [elements] = parsed(text.endsWith(']') && end === text.length ? text : `${text.slice(0, end)}]`);
    if (Array.isArray(elements)) return elements;
  }
  return [];
}

const utf8 = (bytes: Uint8Array | string): string => Buffer.from(bytes as Uint8Array).toString();
const codec = new EventStreamCodec(utf8 as never, (text) => Buffer.from(text));

function ofFrames(bytes: Buffer): Json[] {
  const payloads: Json[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    const { headers, body } = codec.decode(bytes.subarray(at, end));
    const payload = JSON.parse(utf8(body));
    const type = headers[':event-type']?.value;
    if (headers[':message-type']?.value === 'exception') payloads.push({ error: payload });
    else if (type === 'chunk') payloads.push(JSON.parse(Buffer.from(payload.bytes, 'base64').toString()));
    else payloads.push({ ...payload, event: type });
    at = end;
  }
  return payloads;
}

function payloadsOf(form: Form, bytes: Buffer, isWhole: boolean): Json[] {
  switch (form) {
    case 'sse':
      return ofEvents(bytes, isWhole);
    case 'json':
      return isWhole ? parsed(bytes.toString()) : [];
    case 'lines':
      return ofLines(bytes, isWhole);
    case 'array':
      return ofArray(bytes);
    case 'frames':
      return ofFrames(bytes);
  }
}

// --- figures ----------------------------------------------------------------------------------------------------------

const isCount = (value: unknown): value is number => typeof value === 'number' && value >= 0;

/** Those that are there; of sound and images, those that are any. */
function counted(figures: Record<string, unknown>): Figures {
  const isTold = ([name, value]: [string, unknown]): boolean =>
    isCount(value) && (value > 0 || !/^(audio|image)/.test(name));
  return Object.fromEntries(Object.entries(figures).filter(isTold)) as Figures;
}

/** The sum of what is there of these; absent where nothing is. */
function sum(...values: unknown[]): number | undefined {
  const counts = values.filter(isCount);
  return counts.length === 0 ? undefined : counts.reduce((a, b) => a + b);
}

const PARTS = {
  inputTokens: ['cachedInputTokens', 'cacheCreationInputTokens', 'audioInputTokens', 'imageInputTokens'],
  outputTokens: ['reasoningTokens', 'audioOutputTokens', 'imageOutputTokens'],
};

/** Without what contradicts itself, and with the total. */
function consistent(figures: Figures): Figures {
  const told = { ...figures };
  for (const [name, parts] of Object.entries(PARTS)) {
    const all = told[name];
    for (const part of parts) if (all !== undefined && (told[part] ?? 0) > all) delete told[part];
  }
  const both = sum(told.inputTokens, told.outputTokens) ?? 0;
  if (told.totalTokens === undefined) {
    if (told.inputTokens !== undefined && told.outputTokens !== undefined) told.totalTokens = both;
  } else if (told.totalTokens < both) {
    delete told.totalTokens;
  }
  return told;
}

function ofChatUsage(usage: Json): Figures {
  const into = usage.prompt_tokens_details ?? {};
  const outOf = usage.completion_tokens_details ?? {};
  const cached = into.cached_tokens ?? usage.cached_tokens ?? usage.prompt_cache_hit_tokens ?? usage.num_cached_tokens;
  const reasoning = outOf.reasoning_tokens;
  let { prompt_tokens: input, completion_tokens: output } = usage;
  const total = usage.total_tokens;
  // What is counted beside the prompt or the completion makes up the total only with it.
  if (isCount(total) && isCount(input) && isCount(output) && total > input + output) {
    if (total === input + output + (reasoning ?? 0)) output += reasoning;
    else if (total === input + output + (cached ?? 0)) input += cached;
    else if (total === input + output + (cached ?? 0) + (reasoning ?? 0))
      [input, output] = [input + cached, output + reasoning];
  }
  return counted({
    inputTokens: input,
    outputTokens: output,
    totalTokens: total,
    cachedInputTokens: cached,
    cacheCreationInputTokens: into.cache_write_tokens,
    reasoningTokens: reasoning,
    audioInputTokens: into.audio_tokens,
    imageInputTokens: into.image_tokens,
    audioOutputTokens: outOf.audio_tokens,
    imageOutputTokens: outOf.image_tokens,
  });
}

/** Of Responses, images, speech and transcriptions, the last of which have another name for the details. */
function ofResponsesUsage(usage: Json): Figures {
  const into = usage.input_tokens_details ?? usage.input_token_details ?? {};
  const outOf = usage.output_tokens_details ?? {};
  return counted({
    inputTokens: usage.input_tokens ?? usage.prompt_tokens,
    outputTokens: usage.output_tokens ?? usage.completion_tokens,
    totalTokens: usage.total_tokens,
    cachedInputTokens: into.cached_tokens,
    cacheCreationInputTokens: into.cache_write_tokens,
    reasoningTokens: outOf.reasoning_tokens,
    audioInputTokens: into.audio_tokens,
    imageInputTokens: into.image_tokens,
    audioOutputTokens: outOf.audio_tokens,
    imageOutputTokens: outOf.image_tokens,
  });
}

function ofMessagesUsage(usage: Json): Figures {
  const compactions = (usage.iterations ?? []).filter(({ type }: Json) => type === 'compaction');
  const of = (name: string): unknown[] => compactions.map((iteration: Json) => iteration[name]);
  const { cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  return counted({
    inputTokens: sum(usage.input_tokens, read, written, ...of('input_tokens')),
    outputTokens: sum(usage.output_tokens, ...of('output_tokens')),
    cachedInputTokens: read,
    cacheCreationInputTokens: written,
    reasoningTokens: usage.output_tokens_details?.thinking_tokens,
  });
}

function ofGeminiUsage(usage: Json): Figures {
  const of = (modality: string, ...lists: Json[]): number | undefined =>
    sum(
      ...lists
        .flatMap((list) => list ?? [])
        .filter((entry: Json) => entry.modality === modality)
        .map((entry: Json) => entry.tokenCount),
    );
  const into = [usage.promptTokensDetails, usage.toolUsePromptTokensDetails];
  return counted({
    inputTokens: sum(usage.promptTokenCount, usage.toolUsePromptTokenCount),
    outputTokens: sum(usage.candidatesTokenCount, usage.thoughtsTokenCount),
    totalTokens: usage.totalTokenCount,
    cachedInputTokens: usage.cachedContentTokenCount,
    reasoningTokens: usage.thoughtsTokenCount,
    audioInputTokens: of('AUDIO', ...into),
    imageInputTokens: of('IMAGE', ...into),
    audioOutputTokens: of('AUDIO', usage.candidatesTokensDetails),
    imageOutputTokens: of('IMAGE', usage.candidatesTokensDetails),
  });
}

/** Thoughts and prompts of tools are counted apart, unless the total says that one of them, or both, is not. */
function ofInteractionUsage(usage: Json): Figures {
  const { total_input_tokens: input, total_output_tokens: output, total_tokens: total } = usage;
  const tools = usage.total_tool_use_tokens ?? 0;
  const thoughts = usage.total_thought_tokens ?? 0;
  const more = isCount(total) ? total - input - output : tools + thoughts;
  const [addsTools, addsThoughts] = [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ].find(([ofTools, ofThoughts]) => more === (ofTools ? tools : 0) + (ofThoughts ? thoughts : 0)) ?? [true, true];
  const of = (modality: string, list: Json): number | undefined =>
    sum(...(list ?? []).filter((entry: Json) => entry.modality === modality).map((entry: Json) => entry.tokens));
  return counted({
    inputTokens: addsTools ? input + tools : input,
    outputTokens: addsThoughts ? output + thoughts : output,
    totalTokens: total,
    cachedInputTokens: usage.total_cached_tokens,
    reasoningTokens: usage.total_thought_tokens,
    audioInputTokens: of('audio', usage.input_tokens_by_modality),
    imageInputTokens: of('image', usage.input_tokens_by_modality),
    audioOutputTokens: of('audio', usage.output_tokens_by_modality),
    imageOutputTokens: of('image', usage.output_tokens_by_modality),
  });
}

// --- dialects ---------------------------------------------------------------------------------------------------------

const hasError = (payload: Json): boolean =>
  (payload.error !== undefined && payload.error !== null) || payload.type === 'error' || payload.object === 'error';

/** What a payload says under its own names, where it does. */
function takeCommon(said: Said, payload: Json): void {
  if (typeof payload.model === 'string' && payload.model !== '') said.model = payload.model;
  if (typeof payload.service_tier === 'string') said.serviceTier = payload.service_tier;
}

function take(said: Said, usage: Json, read: (usage: Json) => Figures): void {
  if (typeof usage !== 'object' || usage === null) return;
  said.figures = read(usage);
  said.reported = usage;
}

type Reader = (payloads: readonly Json[], form: Form) => Said;

/** Each choice that has begun has to finish. */
function allFinish(finished: Map<number, unknown>): boolean {
  return finished.size > 0 && [...finished.values()].every(Boolean);
}

const readChat: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  const finished = new Map<number, unknown>();
  for (const payload of payloads) {
    if (payload === DONE) {
      said.ended = true;
      break;
    }
    if (hasError(payload)) {
      said.failed = true;
      continue;
    }
    takeCommon(said, payload);
    const choices: Json[] = payload.choices ?? [];
    for (const { index, finish_reason } of choices) {
      finished.set(index, finished.get(index) || finish_reason);
      if (finish_reason) said.finishReason = finish_reason;
    }
    take(said, payload.usage ?? payload.x_groq?.usage ?? choices[0]?.usage, ofChatUsage);
  }
  said.finished = form === 'json' || allFinish(finished);
  return said;
};

const readResponses: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    if (payload === DONE) break;
    if (payload.type === 'error') said.failed = true;
    const response = payload.object === 'response' ? payload : payload.response;
    if (response === undefined) continue;
    takeCommon(said, response);
    take(said, response.usage, ofResponsesUsage);
    if (response.status === 'in_progress') continue;
    said.ended = said.finished = true;
    // A response in one piece is no error, even where it says that it has failed: those figures are its last.
    said.failed ||= response.status === 'failed' && form !== 'json';
    said.finishReason = response.status === 'incomplete' ? response.incomplete_details.reason : response.status;
  }
  return said;
};

const readMedia: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    if (hasError(payload)) said.failed = true;
    takeCommon(said, payload);
    take(said, payload.usage, ofResponsesUsage);
    if (form === 'json' || /\.(completed|done)$/.test(payload.type)) said.ended = said.finished = true;
  }
  return said;
};

const readMessages: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  const usage: Json = {};
  for (const payload of payloads) {
    if (hasError(payload)) said.failed = true;
    const message = payload.message ?? payload;
    takeCommon(said, message);
    const told = Object.entries(message.usage ?? {}).filter(([, value]) => value !== null);
    Object.assign(usage, Object.fromEntries(told));
    if (message.usage !== undefined) take(said, usage, ofMessagesUsage);
    if (typeof usage.service_tier === 'string') said.serviceTier = usage.service_tier;
    const reason = payload.delta?.stop_reason ?? message.stop_reason;
    if (reason) [said.finishReason, said.finished] = [reason, true];
    if (payload.type === 'message_stop') said.ended = true;
  }
  if (form === 'json') said.finished = true;
  return said;
};

/** By their numbers in Google's protocol buffers, which some answers have in the place of the names. */
const GEMINI_REASONS = ['FINISH_REASON_UNSPECIFIED', 'STOP', 'MAX_TOKENS', 'SAFETY'];

const readGemini: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  const finished = new Map<number, unknown>();
  for (const payload of payloads) {
    if (hasError(payload)) said.failed = true;
    if (typeof payload.modelVersion === 'string') said.model = payload.modelVersion;
    take(said, payload.usageMetadata, ofGeminiUsage);
    if (payload.promptFeedback?.blockReason !== undefined) finished.set(-1, true);
    for (const { index = 0, finishReason } of payload.candidates ?? []) {
      finished.set(index, finished.get(index) || finishReason);
      if (finishReason !== undefined) said.finishReason = GEMINI_REASONS[finishReason as number] ?? finishReason;
    }
  }
  said.finished = form === 'json' || allFinish(finished);
  return said;
};

const readInteractions: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    if (payload === DONE) break;
    if (hasError(payload)) said.failed = true;
    take(said, payload.metadata?.total_usage, ofInteractionUsage);
    const interaction = payload.object === 'interaction' ? payload : payload.interaction;
    if (interaction === undefined) continue;
    takeCommon(said, interaction);
    take(said, interaction.usage, ofInteractionUsage);
    if (interaction.status === 'in_progress') continue;
    said.ended = said.finished = true;
    said.failed ||= interaction.status === 'failed' && form !== 'json';
    said.finishReason = interaction.status;
  }
  return said;
};

const readOllama: Reader = (payloads, form) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    if (hasError(payload)) said.failed = true;
    takeCommon(said, payload);
    if (payload.prompt_eval_count !== undefined || payload.eval_count !== undefined) {
      take(said, payload, (usage) => counted({ inputTokens: usage.prompt_eval_count, outputTokens: usage.eval_count }));
    }
    if (payload.done_reason !== undefined) said.finishReason = payload.done_reason;
    if (payload.done === true || form === 'json') said.ended = said.finished = true;
  }
  return said;
};

const readCohere: Reader = (payloads) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    const end = payload.type === 'message-end' ? payload.delta : payload;
    if (end.finish_reason === undefined) continue;
    take(said, end.usage, ({ tokens, billed_units: billed, cached_tokens: cached }) =>
      counted({
        inputTokens: (tokens ?? billed).input_tokens,
        outputTokens: (tokens ?? billed).output_tokens,
        cachedInputTokens: cached,
      }),
    );
    said.finishReason = end.finish_reason;
    said.failed ||= end.finish_reason === 'ERROR';
    said.ended = said.finished = true;
  }
  return said;
};

const readConverse: Reader = (payloads) => {
  const said: Said = { figures: {} };
  for (const payload of payloads) {
    if (hasError(payload)) said.failed = true;
    if (payload.stopReason !== undefined) said.finishReason = payload.stopReason;
    if (payload.usage === undefined) continue;
    take(said, payload.usage, (usage) =>
      counted({
        inputTokens: sum(usage.inputTokens, usage.cacheReadInputTokens, usage.cacheWriteInputTokens),
        outputTokens: usage.outputTokens,
        totalTokens: usage.totalTokens,
        cachedInputTokens: usage.cacheReadInputTokens,
        cacheCreationInputTokens: usage.cacheWriteInputTokens,
      }),
    );
    said.ended = said.finished = true;
  }
  return said;
};

const READERS: Record<Dialect, Reader> = {
  chat: readChat,
  responses: readResponses,
  media: readMedia,
  messages: readMessages,
  gemini: readGemini,
  interactions: readInteractions,
  ollama: readOllama,
  cohere: readCohere,
  converse: readConverse,
};

/**
 * What is to be told of an answer of which these bytes have come.
 *
 * @param isWhole it has ended as HTTP has it, and did not break off
 */
export function readAccount(dialect: Dialect, form: Form, bytes: Buffer, isWhole: boolean): ReadAccount {
  const { figures, reported, ended, finished, failed, serviceTier, ...said } = READERS[dialect](
    payloadsOf(form, bytes, isWhole),
    form,
  );
  const isTold = Object.keys(figures).length > 0;
  return {
    ...said,
    figures: consistent(figures),
    ...(reported !== undefined && { reported }),
    ...(isTold && serviceTier !== undefined && { serviceTier }),
    complete: isTold && failed !== true && (ended === true || (isWhole && finished === true)),
  };
}
