import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import type { Exchange } from '../../../lib/types/hooks.js';
import type { Provider, Reading } from '../../../lib/types/provider.js';
import type { Usage } from '../../../lib/types/summary.js';

/** A part of an answer, and what it tells of the answer that the parts before it did not. */
export interface Part {
  bytes: string;
  tells?: Told;
}

/** All of a reading but what a provider keeps there for itself. */
export type Told = Partial<Omit<Reading, 'reported' | 'streamed' | 'id'>>;

/** An answer in one of the providers' dialects, in parts as they are sent: one event each. */
export interface ProviderAnswer {
  name: string;
  /** What was asked for, to be had by `POST`. */
  path: string;
  contentType: string;
  format: EventFormat;
  parts: readonly Part[];
}

/** The text of every answer that has one: it comes in two parts, with a character of four bytes in it. */
export const TEXT = ['Hel', 'lo 🙂'] as const;

/** What is known of an answer after so many of its parts. */
export function toldBy(parts: readonly Part[]): Told {
  const nothing: Told = { usage: {}, usageComplete: false, hasContent: false, ended: false };
  return Object.assign(nothing, ...parts.map(({ tells }) => tells));
}

/** How many parts have come with the first piece of the text. */
export function partsWithText({ parts }: ProviderAnswer): number {
  return parts.findIndex(({ bytes }) => bytes.includes(`"${TEXT[0]}"`)) + 1;
}

export function bytesOf(parts: readonly Part[]): Buffer {
  return Buffer.from(parts.map(({ bytes }) => bytes).join(''));
}

/** What a provider reads in an answer that comes in these chunks; `whole` unless it breaks off there. */
export function reads(
  provider: Provider,
  { format, path }: Pick<ProviderAnswer, 'format' | 'path'>,
  chunks: readonly Buffer[],
  whole = true,
): Told {
  const exchange = exchangeFor(path);
  const reading: Reading = {
    streamed: format !== json,
    usage: {},
    reported: {},
    usageComplete: false,
    hasContent: false,
    ended: false,
  };
  const reader = new EventReader(format, 1024 * 1024);
  for (const chunk of chunks) {
    for (const { event } of reader.read(chunk)) if (event !== undefined) provider.read(event, reading, exchange);
  }
  const last = whole ? reader.end().event : undefined;
  if (last !== undefined) provider.read(last, reading, exchange);
  const { reported, streamed, id, usage, ...told } = reading;
  const { reported: own, ...figures } = usage;
  return { ...told, usage: figures };
}

/** An exchange that asks for this path. */
export function exchangeFor(path: string): Exchange {
  const req = new IncomingMessage(new Socket());
  return { id: 'test', req, res: new ServerResponse(req), attempts: [], target: undefined, path, locals: {} };
}

// --- how answers are made up ------------------------------------------------------------------------------------------

export const data = (payload: unknown, tells: Told = {}): Part => ({
  bytes: `data: ${JSON.stringify(payload)}\n\n`,
  tells,
});

/** With the type of the event in front, as OpenAI's Responses and Anthropic have it. */
export const typed = (payload: { type: string; [field: string]: unknown }, tells: Told = {}): Part => ({
  bytes: `event: ${payload.type}\ndata: ${JSON.stringify(payload)}\n\n`,
  tells,
});

const line = (payload: unknown, tells: Told = {}): Part => ({ bytes: `${JSON.stringify(payload)}\n`, tells });

const done: Part = { bytes: 'data: [DONE]\n\n', tells: { ended: true } };

export const stream = (name: string, path: string, parts: readonly Part[]): ProviderAnswer => ({
  name,
  path,
  contentType: 'text/event-stream; charset=utf-8',
  format: sse,
  parts,
});

const lines = (name: string, path: string, parts: readonly Part[]): ProviderAnswer => ({
  ...stream(name, path, parts),
  contentType: 'application/x-ndjson',
  format: ndjson,
});

/** An answer that is not streamed. Servers differ in how they lay it out. */
export const whole = (name: string, path: string, payload: unknown, tells: Told): ProviderAnswer => ({
  name,
  path,
  contentType: 'application/json; charset=utf-8',
  format: json,
  parts: [{ bytes: `${JSON.stringify(payload, null, 2)}\n`, tells }],
});

// --- OpenAI, Chat Completions -----------------------------------------------------------------------------------------

const CHAT = '/v1/chat/completions';

const chunk = (members: object): object => ({
  id: 'chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT',
  object: 'chat.completion.chunk',
  created: 1741569952,
  model: 'gpt-5-mini-2025-08-07',
  service_tier: 'default',
  system_fingerprint: 'fp_560af6e559',
  ...members,
});

const delta = (part: object, finish_reason: string | null = null): { choices: object[] } => ({
  choices: [{ index: 0, delta: part, logprobs: null, finish_reason }],
});

const responsesModel: Told = { model: 'gpt-5-mini-2025-08-07' };
const openaiModel: Told = { ...responsesModel, serviceTier: 'default' };

const chatUsage = {
  prompt_tokens: 1117,
  completion_tokens: 146,
  total_tokens: 1263,
  prompt_tokens_details: { cached_tokens: 1024, cache_write_tokens: 64, audio_tokens: 0 },
  completion_tokens_details: {
    reasoning_tokens: 128,
    audio_tokens: 0,
    accepted_prediction_tokens: 0,
    rejected_prediction_tokens: 0,
  },
};

const openaiUsage: Told = {
  usage: {
    inputTokens: 1117,
    outputTokens: 146,
    totalTokens: 1263,
    cachedInputTokens: 1024,
    cacheCreationInputTokens: 64,
    reasoningTokens: 128,
  },
  usageComplete: true,
};

/** What is asked for with `stream_options.include_usage`: every chunk has `usage`, and the last one is there for it only. */
export const usageChunk: Part = data(chunk({ choices: [], usage: chatUsage, obfuscation: 'x' }), openaiUsage);

const withUsage = (members: object): object => chunk({ ...members, usage: null });

export const openaiChat = stream('a chat completion with usage', CHAT, [
  data(withUsage(delta({ role: 'assistant', content: '', refusal: null })), openaiModel),
  data(withUsage(delta({ content: TEXT[0] })), { hasContent: true }),
  data(withUsage(delta({ content: TEXT[1] }))),
  data(withUsage(delta({}, 'stop')), { finishReason: 'stop' }),
  usageChunk,
  done,
]);

/** As it comes when nobody asks for usage. */
export const openaiChatUnasked = stream('a chat completion without usage', CHAT, [
  data(chunk(delta({ role: 'assistant', content: '', refusal: null })), openaiModel),
  data(chunk(delta({ content: TEXT[0] })), { hasContent: true }),
  data(chunk(delta({ content: TEXT[1] }))),
  data(chunk(delta({}, 'length')), { finishReason: 'length' }),
  done,
]);

const toolCall = (members: object): { choices: object[] } => delta({ tool_calls: [{ index: 0, ...members }] });

const openaiChatTools = stream('a chat completion that calls a tool', CHAT, [
  data(chunk(delta({ role: 'assistant', content: null })), openaiModel),
  data(chunk(toolCall({ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } })), {
    hasContent: true,
  }),
  data(chunk(toolCall({ function: { arguments: '{"city":"Zürich"}' } }))),
  data(chunk(delta({}, 'tool_calls')), { finishReason: 'tool_calls' }),
  usageChunk,
  done,
]);

/** vLLM with `continuous_usage_stats`, SGLang, xAI: the figures so far in every chunk. */
const openaiChatContinuous = stream('a chat completion with the usage so far in every chunk', CHAT, [
  data(
    chunk({
      ...delta({ role: 'assistant', content: '' }),
      usage: { prompt_tokens: 9, total_tokens: 9, completion_tokens: 0 },
    }),
    { ...openaiModel, usage: { inputTokens: 9, outputTokens: 0, totalTokens: 9 } },
  ),
  data(chunk({ ...delta({ content: TEXT[0] }), usage: { prompt_tokens: 9, total_tokens: 10, completion_tokens: 1 } }), {
    hasContent: true,
    usage: { inputTokens: 9, outputTokens: 1, totalTokens: 10 },
  }),
  data(
    chunk({
      ...delta({ content: TEXT[1] }, 'stop'),
      usage: { prompt_tokens: 9, total_tokens: 12, completion_tokens: 3 },
    }),
    { finishReason: 'stop', usage: { inputTokens: 9, outputTokens: 3, totalTokens: 12 }, usageComplete: true },
  ),
  done,
]);

/** Azure has a chunk about the prompt in front, without a model. */
const openaiChatAzure = stream("a chat completion of Azure's", CHAT, [
  data({ choices: [], created: 0, id: '', model: '', object: '', prompt_filter_results: [{ prompt_index: 0 }] }),
  data(chunk(delta({ role: 'assistant', content: '' })), openaiModel),
  data(chunk(delta({ content: TEXT[0] })), { hasContent: true }),
  data(chunk(delta({}, 'content_filter')), { finishReason: 'content_filter' }),
  done,
]);

/** DeepSeek and others think in a member of its own before they answer. */
const openaiChatReasoning = stream('a chat completion that reasons aloud', CHAT, [
  data(chunk(delta({ role: 'assistant', content: null, reasoning_content: '' })), openaiModel),
  data(chunk(delta({ content: null, reasoning_content: 'Hm.' })), { hasContent: true }),
  data(chunk(delta({ content: TEXT[0], reasoning_content: null }))),
  data(chunk({ ...delta({ content: '', reasoning_content: null }, 'stop'), usage: chatUsage }), {
    ...openaiUsage,
    finishReason: 'stop',
  }),
  done,
]);

const openaiError = stream('a chat completion that fails on its way', CHAT, [
  data(chunk(delta({ role: 'assistant', content: '' })), openaiModel),
  data(chunk(delta({ content: TEXT[0] })), { hasContent: true }),
  data({ error: { message: 'The server had an error.', type: 'server_error', param: null, code: null } }),
]);

/** Earlier versions of vLLM have no `error` around an error, and go on to the end of the stream behind it. */
const openaiBareError = stream('a chat completion that fails on its way, with a bare error', CHAT, [
  data(chunk(delta({ role: 'assistant', content: '' })), openaiModel),
  data(chunk({ ...delta({ content: TEXT[0] }), usage: { prompt_tokens: 9, total_tokens: 10, completion_tokens: 1 } }), {
    hasContent: true,
    usage: { inputTokens: 9, outputTokens: 1, totalTokens: 10 },
  }),
  data({ object: 'error', message: 'The engine is dead.', type: 'InternalServerError', param: null, code: 500 }),
  done,
]);

const message = { role: 'assistant', content: TEXT.join(''), refusal: null, annotations: [] };

export const openaiChatWhole = whole(
  'a chat completion in one piece',
  CHAT,
  chunk({
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
    usage: chatUsage,
  }),
  { ...openaiModel, ...openaiUsage, finishReason: 'stop', hasContent: true },
);

const openaiCompletion = stream('a legacy completion', '/v1/completions', [
  data(chunk({ object: 'text_completion', choices: [{ text: '', index: 0, logprobs: null, finish_reason: null }] }), {
    ...openaiModel,
  }),
  data(chunk({ object: 'text_completion', choices: [{ text: TEXT[0], index: 0, finish_reason: null }] }), {
    hasContent: true,
  }),
  data(chunk({ object: 'text_completion', choices: [{ text: '', index: 0, finish_reason: 'stop' }] }), {
    finishReason: 'stop',
  }),
  done,
]);

const openaiEmbedding = whole(
  'embeddings',
  '/v1/embeddings',
  {
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding: [0.0023064255, -0.009327292] }],
    model: 'text-embedding-3-small',
    usage: { prompt_tokens: 8, total_tokens: 8 },
  },
  { model: 'text-embedding-3-small', usage: { inputTokens: 8, totalTokens: 8 }, usageComplete: true },
);

// --- OpenAI, Responses ------------------------------------------------------------------------------------------------

const RESPONSES = '/v1/responses';

const response = (status: string, members: object = {}): object => ({
  id: 'resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654',
  object: 'response',
  created_at: 1741290958,
  status,
  error: null,
  incomplete_details: null,
  model: 'gpt-5-mini-2025-08-07',
  output: [],
  usage: null,
  ...members,
});

const responsesUsage = {
  input_tokens: 1117,
  input_tokens_details: { cached_tokens: 1024, cache_write_tokens: 64 },
  output_tokens: 146,
  output_tokens_details: { reasoning_tokens: 128 },
  total_tokens: 1263,
};

const item = { id: 'msg_67c9fdcf37fc8190ba82116e33fb28c5', type: 'message', role: 'assistant' };

const inItem = { item_id: item.id, output_index: 0, content_index: 0 };

const outputText = (text: string): object => ({ type: 'output_text', text, annotations: [] });

const output = [{ ...item, status: 'completed', content: [outputText(TEXT.join(''))] }];

function responses(
  name: string,
  events: readonly [{ type: string; [field: string]: unknown }, Told?][],
): ProviderAnswer {
  const parts = events.map(([event, tells], sequence_number) => typed({ ...event, sequence_number }, tells));
  return stream(name, RESPONSES, parts);
}

const responseBegins: [{ type: string; [field: string]: unknown }, Told?][] = [
  [{ type: 'response.created', response: response('in_progress') }, responsesModel],
  [{ type: 'response.in_progress', response: response('in_progress') }],
  [{ type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress', content: [] } }],
  [{ type: 'response.content_part.added', ...inItem, part: outputText('') }],
  [{ type: 'response.output_text.delta', ...inItem, delta: TEXT[0], logprobs: [] }, { hasContent: true }],
];

export const openaiResponses = responses('a response', [
  ...responseBegins,
  [{ type: 'response.output_text.delta', ...inItem, delta: TEXT[1], logprobs: [] }],
  [{ type: 'response.output_text.done', ...inItem, text: TEXT.join(''), logprobs: [] }],
  [{ type: 'response.content_part.done', ...inItem, part: outputText(TEXT.join('')) }],
  [{ type: 'response.output_item.done', output_index: 0, item: output[0] }],
  [
    { type: 'response.completed', response: response('completed', { output, usage: responsesUsage }) },
    { ...openaiUsage, finishReason: 'completed', ended: true },
  ],
]);

const openaiResponsesIncomplete = responses('a response that was cut short', [
  ...responseBegins,
  [
    {
      type: 'response.incomplete',
      response: response('incomplete', {
        output,
        incomplete_details: { reason: 'max_output_tokens' },
        usage: responsesUsage,
      }),
    },
    { ...openaiUsage, finishReason: 'max_output_tokens', ended: true },
  ],
]);

const openaiResponsesFailed = responses('a response that failed', [
  ...responseBegins,
  [
    {
      type: 'response.failed',
      response: response('failed', { error: { code: 'server_error', message: 'The model failed.' } }),
    },
    { finishReason: 'failed', ended: true },
  ],
]);

export const openaiResponsesWhole = whole(
  'a response in one piece',
  RESPONSES,
  response('completed', { output, usage: responsesUsage }),
  { ...responsesModel, ...openaiUsage, finishReason: 'completed', hasContent: true },
);

export const OPENAI: readonly ProviderAnswer[] = [
  openaiChat,
  openaiChatUnasked,
  openaiChatTools,
  openaiChatContinuous,
  openaiChatAzure,
  openaiChatReasoning,
  openaiError,
  openaiBareError,
  openaiChatWhole,
  openaiCompletion,
  openaiEmbedding,
  openaiResponses,
  openaiResponsesIncomplete,
  openaiResponsesFailed,
  openaiResponsesWhole,
];

// --- Anthropic --------------------------------------------------------------------------------------------------------

const MESSAGES = '/v1/messages';

const anthropicMessage = {
  id: 'msg_01XFDUDYJgAACzvnptvVoYEL',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5-20250929',
  content: [],
  stop_reason: null,
  stop_sequence: null,
};

const anthropicModel: Told = { model: 'claude-sonnet-4-5-20250929', serviceTier: 'standard' };

const messageStart = typed(
  {
    type: 'message_start',
    message: {
      ...anthropicMessage,
      usage: {
        input_tokens: 25,
        cache_creation_input_tokens: 248,
        cache_read_input_tokens: 1800,
        cache_creation: { ephemeral_5m_input_tokens: 248, ephemeral_1h_input_tokens: 0 },
        output_tokens: 1,
        service_tier: 'standard',
      },
    },
  },
  {
    ...anthropicModel,
    // The three parts of the input are counted apart.
    usage: { inputTokens: 2073, outputTokens: 1, cachedInputTokens: 1800, cacheCreationInputTokens: 248 },
  },
);

const ping = typed({ type: 'ping' });

const blockStart = (content_block: object, tells: Told = {}): Part =>
  typed({ type: 'content_block_start', index: 0, content_block }, tells);

const blockDelta = (part: object, tells: Told = {}): Part =>
  typed({ type: 'content_block_delta', index: 0, delta: part }, tells);

const blockStop = typed({ type: 'content_block_stop', index: 0 });

const messageStop = typed({ type: 'message_stop' }, { ended: true });

const textDelta = (text: string, tells: Told = {}): Part => blockDelta({ type: 'text_delta', text }, tells);

export const anthropicText = stream('a message', MESSAGES, [
  messageStart,
  blockStart({ type: 'text', text: '' }),
  ping,
  textDelta(TEXT[0], { hasContent: true }),
  textDelta(TEXT[1]),
  blockStop,
  typed(
    { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 15 } },
    {
      finishReason: 'end_turn',
      usage: { inputTokens: 2073, outputTokens: 15, cachedInputTokens: 1800, cacheCreationInputTokens: 248 },
      usageComplete: true,
    },
  ),
  messageStop,
]);

/** With a tool of the server's, which has its results read as input: the last figures replace the first, all of them. */
const anthropicTools = stream('a message that calls tools', MESSAGES, [
  messageStart,
  // The name of the tool is a piece of what the model has written.
  blockStart(
    { type: 'tool_use', id: 'toolu_01T1x1fJ34qAmk2tNTrN7Up6', name: 'get_weather', input: {} },
    { hasContent: true },
  ),
  blockDelta({ type: 'input_json_delta', partial_json: '' }),
  blockDelta({ type: 'input_json_delta', partial_json: '{"location": "Zürich"}' }),
  blockStop,
  typed(
    {
      type: 'message_delta',
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: {
        input_tokens: 10682,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: null,
        output_tokens: 510,
        output_tokens_details: { thinking_tokens: 400 },
        server_tool_use: { web_search_requests: 1 },
      },
    },
    {
      finishReason: 'tool_use',
      usage: {
        inputTokens: 12482,
        outputTokens: 510,
        cachedInputTokens: 1800,
        cacheCreationInputTokens: 0,
        reasoningTokens: 400,
      },
      usageComplete: true,
    },
  ),
  messageStop,
]);

const anthropicOverloaded = stream('a message that fails on its way', MESSAGES, [
  messageStart,
  blockStart({ type: 'text', text: '' }),
  textDelta(TEXT[0], { hasContent: true }),
  typed({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
]);

export const anthropicWhole = whole(
  'a message in one piece',
  MESSAGES,
  {
    ...anthropicMessage,
    content: [{ type: 'text', text: TEXT.join('') }],
    stop_reason: 'max_tokens',
    usage: {
      input_tokens: 2095,
      cache_creation_input_tokens: null,
      cache_read_input_tokens: 100,
      output_tokens: 503,
      service_tier: 'standard',
    },
  },
  {
    ...anthropicModel,
    usage: { inputTokens: 2195, outputTokens: 503, cachedInputTokens: 100 },
    usageComplete: true,
    finishReason: 'max_tokens',
    hasContent: true,
  },
);

export const ANTHROPIC: readonly ProviderAnswer[] = [
  anthropicText,
  anthropicTools,
  anthropicOverloaded,
  anthropicWhole,
];

// --- Gemini -----------------------------------------------------------------------------------------------------------

const GEMINI_STREAM = '/v1beta/models/gemini-2.5-flash:streamGenerateContent';

const geminiChunk = (parts: readonly object[], finishReason: string | undefined, usageMetadata: object): object => ({
  candidates: [{ content: { parts, role: 'model' }, ...(finishReason !== undefined && { finishReason }), index: 0 }],
  usageMetadata,
  modelVersion: 'gemini-2.5-flash',
  responseId: 'rwTsaMKMC9fl7M8P_ob5sAI',
});

const prompt = {
  promptTokenCount: 1200,
  cachedContentTokenCount: 1024,
  promptTokensDetails: [{ modality: 'TEXT', tokenCount: 1200 }],
};

/** What the model has written is counted without what it thought, and what tools have brought apart from the prompt. */
const geminiChunks: readonly [object, Told][] = [
  [
    geminiChunk([{ text: TEXT[0] }], undefined, { ...prompt, thoughtsTokenCount: 60, totalTokenCount: 1260 }),
    {
      model: 'gemini-2.5-flash',
      hasContent: true,
      usage: {
        inputTokens: 1200,
        outputTokens: 60,
        totalTokens: 1260,
        cachedInputTokens: 1024,
        reasoningTokens: 60,
      },
    },
  ],
  [
    geminiChunk([{ text: TEXT[1] }], undefined, {
      ...prompt,
      thoughtsTokenCount: 60,
      candidatesTokenCount: 4,
      totalTokenCount: 1264,
    }),
    {
      usage: {
        inputTokens: 1200,
        outputTokens: 64,
        totalTokens: 1264,
        cachedInputTokens: 1024,
        reasoningTokens: 60,
      },
    },
  ],
  [
    geminiChunk([{ text: '' }], 'STOP', {
      ...prompt,
      toolUsePromptTokenCount: 30,
      thoughtsTokenCount: 60,
      candidatesTokenCount: 5,
      totalTokenCount: 1295,
    }),
    {
      finishReason: 'STOP',
      usage: {
        inputTokens: 1230,
        outputTokens: 65,
        totalTokens: 1295,
        cachedInputTokens: 1024,
        reasoningTokens: 60,
      },
      usageComplete: true,
    },
  ],
];

export const geminiSse = stream(
  'chunks in Server-Sent Events',
  `${GEMINI_STREAM}?alt=sse`,
  geminiChunks.map(([payload, tells]) => ({ bytes: `data: ${JSON.stringify(payload)}\r\n\r\n`, tells })),
);

export const geminiArray: ProviderAnswer = {
  name: 'chunks in a JSON array',
  path: GEMINI_STREAM,
  contentType: 'application/json; charset=UTF-8',
  format: jsonArray,
  parts: [
    ...geminiChunks.map(([payload, tells], i) => ({
      bytes: `${i === 0 ? '[' : ',\r\n'}${JSON.stringify(payload, null, 2)}`,
      tells,
    })),
    { bytes: '\n]\n' },
  ],
};

const geminiBlocked = stream('a prompt that was blocked', `${GEMINI_STREAM}?alt=sse`, [
  data(
    {
      promptFeedback: { blockReason: 'SAFETY' },
      usageMetadata: { promptTokenCount: 7, totalTokenCount: 7 },
      modelVersion: 'gemini-2.5-flash',
    },
    { model: 'gemini-2.5-flash', usage: { inputTokens: 7, totalTokens: 7 }, usageComplete: true },
  ),
]);

const geminiTools = stream('a call of a function', `${GEMINI_STREAM}?alt=sse`, [
  data(
    geminiChunk([{ functionCall: { name: 'weather', args: { city: 'Zürich' } } }], 'STOP', {
      promptTokenCount: 10,
      candidatesTokenCount: 5,
      totalTokenCount: 15,
    }),
    {
      model: 'gemini-2.5-flash',
      finishReason: 'STOP',
      hasContent: true,
      usage: { inputTokens: 10, outputTokens: 5, totalTokens: 15 },
      usageComplete: true,
    },
  ),
]);

const geminiError = stream('chunks, and then an error', `${GEMINI_STREAM}?alt=sse`, [
  data(...(geminiChunks[0] as [object, Told])),
  data({ error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } }),
]);

export const geminiWhole = whole(
  'all in one piece',
  '/v1beta/models/gemini-2.5-flash:generateContent',
  geminiChunk([{ text: TEXT.join('') }], 'MAX_TOKENS', {
    promptTokenCount: 8,
    candidatesTokenCount: 3,
    totalTokenCount: 11,
  }),
  {
    model: 'gemini-2.5-flash',
    finishReason: 'MAX_TOKENS',
    hasContent: true,
    usage: { inputTokens: 8, outputTokens: 3, totalTokens: 11 },
    usageComplete: true,
  },
);

export const GEMINI: readonly ProviderAnswer[] = [
  geminiSse,
  geminiArray,
  geminiBlocked,
  geminiTools,
  geminiError,
  geminiWhole,
];

// --- Mistral ----------------------------------------------------------------------------------------------------------

const mistralChunk = (members: object): object => ({
  id: 'cmpl-e5cc70bb28c444948073e77776eb30ef',
  object: 'chat.completion.chunk',
  created: 1702256327,
  model: 'mistral-small-latest',
  ...members,
});

const mistralDelta = (part: object, finish_reason: string | null = null): { choices: object[] } => ({
  choices: [{ index: 0, delta: part, finish_reason }],
});

const mistralModel: Told = { model: 'mistral-small-latest' };

const mistralUsage = { prompt_tokens: 16, total_tokens: 50, completion_tokens: 34 };

const mistralFigures: Told = {
  usage: { inputTokens: 16, outputTokens: 34, totalTokens: 50 },
  usageComplete: true,
};

export const mistralChat = stream('a chat completion', CHAT, [
  data(mistralChunk(mistralDelta({ role: 'assistant', content: '' })), mistralModel),
  data(mistralChunk(mistralDelta({ content: TEXT[0] })), { hasContent: true }),
  data(mistralChunk(mistralDelta({ content: TEXT[1] }))),
  data(mistralChunk({ ...mistralDelta({ content: '' }, 'stop'), usage: mistralUsage }), {
    finishReason: 'stop',
    ...mistralFigures,
  }),
  done,
]);

/** Magistral's content is a list while it thinks. */
const mistralThinking = stream('a chat completion that thinks', CHAT, [
  data(mistralChunk(mistralDelta({ role: 'assistant', content: '' })), mistralModel),
  data(mistralChunk(mistralDelta({ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] }] })), {
    hasContent: true,
  }),
  data(mistralChunk({ ...mistralDelta({ content: TEXT[0] }, 'length'), usage: mistralUsage }), {
    finishReason: 'length',
    ...mistralFigures,
  }),
  done,
]);

export const mistralWhole = whole(
  'a chat completion in one piece',
  CHAT,
  mistralChunk({
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', tool_calls: null, content: TEXT.join('') },
        finish_reason: 'stop',
      },
    ],
    usage: mistralUsage,
  }),
  { ...mistralModel, ...mistralFigures, finishReason: 'stop', hasContent: true },
);

export const MISTRAL: readonly ProviderAnswer[] = [mistralChat, mistralThinking, mistralWhole];

// --- Ollama -----------------------------------------------------------------------------------------------------------

const ollamaHead = { model: 'llama3.2', created_at: '2023-08-04T08:52:19.385406455-07:00' };

const ollamaEnd = {
  done: true,
  done_reason: 'stop',
  total_duration: 4883583458,
  load_duration: 1334875,
  prompt_eval_count: 26,
  prompt_eval_duration: 342546000,
  eval_count: 282,
  eval_duration: 4535599000,
};

const ollamaFigures: Told = {
  finishReason: 'stop',
  ended: true,
  usage: { inputTokens: 26, outputTokens: 282 },
  usageComplete: true,
};

const ollamaMessage = (members: object): object => ({ message: { role: 'assistant', content: '', ...members } });

export const ollamaChat = lines('a chat', '/api/chat', [
  line({ ...ollamaHead, ...ollamaMessage({}), done: false }, { model: 'llama3.2' }),
  line({ ...ollamaHead, ...ollamaMessage({ content: TEXT[0] }), done: false }, { hasContent: true }),
  line({ ...ollamaHead, ...ollamaMessage({ content: TEXT[1] }), done: false }),
  line({ ...ollamaHead, ...ollamaMessage({}), ...ollamaEnd }, ollamaFigures),
]);

const ollamaThinking = lines('a chat that thinks and calls a tool', '/api/chat', [
  line({ ...ollamaHead, ...ollamaMessage({ thinking: 'Hm.' }), done: false }, { model: 'llama3.2', hasContent: true }),
  line({
    ...ollamaHead,
    ...ollamaMessage({ tool_calls: [{ function: { name: 'weather', arguments: { city: 'Zürich' } } }] }),
    done: false,
  }),
  line({ ...ollamaHead, ...ollamaMessage({}), ...ollamaEnd }, ollamaFigures),
]);

const ollamaTool = lines('a chat that calls a tool at once', '/api/chat', [
  line(
    { ...ollamaHead, ...ollamaMessage({ tool_calls: [{ function: { name: 'now', arguments: {} } }] }), done: false },
    { model: 'llama3.2', hasContent: true },
  ),
  line({ ...ollamaHead, ...ollamaMessage({}), ...ollamaEnd }, ollamaFigures),
]);

const ollamaGenerate = lines('a generation', '/api/generate', [
  line({ ...ollamaHead, response: TEXT[0], done: false }, { model: 'llama3.2', hasContent: true }),
  line({ ...ollamaHead, response: TEXT[1], done: false }),
  line({ ...ollamaHead, response: '', context: [1, 2, 3], ...ollamaEnd }, ollamaFigures),
]);

/** The whole prompt was in the cache: it is not counted. */
const ollamaCached = lines('a generation from a cached prompt', '/api/generate', [
  line({ ...ollamaHead, response: TEXT[0], done: false }, { model: 'llama3.2', hasContent: true }),
  line(
    { ...ollamaHead, response: '', ...ollamaEnd, done_reason: 'length', prompt_eval_count: undefined },
    {
      finishReason: 'length',
      ended: true,
      usage: { outputTokens: 282 },
      usageComplete: true,
    },
  ),
]);

const ollamaLoad = lines('a model that is only loaded', '/api/generate', [
  line(
    { ...ollamaHead, response: '', done: true, done_reason: 'load' },
    {
      model: 'llama3.2',
      finishReason: 'load',
      ended: true,
    },
  ),
]);

const ollamaError = lines('a generation that fails on its way', '/api/generate', [
  line({ ...ollamaHead, response: TEXT[0], done: false }, { model: 'llama3.2', hasContent: true }),
  line({ error: 'an error was encountered while running the model' }),
]);

const ollamaWhole = whole(
  'a chat in one piece',
  '/api/chat',
  { ...ollamaHead, ...ollamaMessage({ content: TEXT.join('') }), ...ollamaEnd },
  { ...ollamaFigures, model: 'llama3.2', hasContent: true },
);

/** The endpoint that is OpenAI's. */
export const ollamaCompatible = stream('a chat completion', CHAT, [
  data(
    {
      id: 'chatcmpl-1',
      object: 'chat.completion.chunk',
      created: 1,
      model: 'llama3.2',
      system_fingerprint: 'fp_ollama',
      ...delta({ role: 'assistant', content: TEXT[0] }),
    },
    { model: 'llama3.2', hasContent: true },
  ),
  data(
    { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'llama3.2', ...delta({}, 'stop') },
    { finishReason: 'stop' },
  ),
  data(
    {
      id: 'chatcmpl-1',
      object: 'chat.completion.chunk',
      created: 1,
      model: 'llama3.2',
      choices: [],
      usage: { prompt_tokens: 26, completion_tokens: 282, total_tokens: 308 },
    },
    { usage: { inputTokens: 26, outputTokens: 282, totalTokens: 308 }, usageComplete: true },
  ),
  done,
]);

export const OLLAMA: readonly ProviderAnswer[] = [
  ollamaChat,
  ollamaThinking,
  ollamaTool,
  ollamaGenerate,
  ollamaCached,
  ollamaLoad,
  ollamaError,
  ollamaWhole,
  ollamaCompatible,
];

/** What of a reading ends up with `onUsage`: of an answer that came to its end, or one that was cut. */
export function usageFrom(
  { usage = {}, usageComplete = false, ended = false, serviceTier }: Told,
  isWhole = true,
): Usage {
  const { inputTokens, outputTokens } = usage;
  const sum = inputTokens !== undefined && outputTokens !== undefined && { totalTokens: inputTokens + outputTokens };
  const own = Object.keys(usage).length > 0 && { reported: expect.any(Object) as unknown as Record<string, unknown> };
  const tier = Object.keys(usage).length > 0 && serviceTier !== undefined && { serviceTier };
  return { ...sum, ...usage, ...tier, ...own, complete: usageComplete && (isWhole || ended) };
}
