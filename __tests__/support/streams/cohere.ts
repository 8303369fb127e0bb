import { ndjson } from '../../../lib/formats/ndjson.js';
import { data, type Part, type ProviderAnswer, stream, TEXT, type Told, typed, whole } from './dialects.js';

/*
 * Cohere's API, version 2, in the shapes of its reference (docs.cohere.com/v2/reference/chat-stream and /chat).
 */

const CHAT = '/v2/chat';
const ID = '29f14a5a-11de-4cae-9800-25e4747408ea';

const usage = {
  billed_units: { input_tokens: 63, output_tokens: 65 },
  tokens: { input_tokens: 1_028, output_tokens: 66 },
  cached_tokens: 512,
};

const figures: Told = {
  usage: { inputTokens: 1_028, outputTokens: 66, cachedInputTokens: 512 },
  usageComplete: true,
};

const begins = typed({
  type: 'message-start',
  id: ID,
  delta: { message: { role: 'assistant', content: [], tool_plan: '', tool_calls: [], citations: [] } },
});

const text = (part: string, tells?: Told): Part =>
  typed({ type: 'content-delta', index: 0, delta: { message: { content: { text: part } } } }, tells);

const ends = (delta: object, tells: Told): Part =>
  typed({ type: 'message-end', id: ID, delta }, { ended: true, ...tells });

export const cohereChat = stream('a chat', CHAT, [
  begins,
  typed({ type: 'content-start', index: 0, delta: { message: { content: { type: 'text', text: '' } } } }),
  text(TEXT[0], { hasContent: true }),
  text(TEXT[1]),
  typed({ type: 'content-end', index: 0 }),
  ends({ finish_reason: 'COMPLETE', usage }, { ...figures, finishReason: 'COMPLETE' }),
]);

const cohereTools = stream('a chat that calls a tool', CHAT, [
  begins,
  typed({ type: 'tool-plan-delta', delta: { message: { tool_plan: 'I will look.' } } }, { hasContent: true }),
  typed({
    type: 'tool-call-start',
    index: 0,
    delta: { message: { tool_calls: { id: 'w_1', type: 'function', function: { name: 'weather', arguments: '' } } } },
  }),
  typed({ type: 'tool-call-delta', index: 0, delta: { message: { tool_calls: { function: { arguments: '{}' } } } } }),
  typed({ type: 'tool-call-end', index: 0 }),
  ends({ finish_reason: 'TOOL_CALL', usage }, { ...figures, finishReason: 'TOOL_CALL' }),
]);

const cohereFailed = stream('a chat that fails on its way', CHAT, [
  begins,
  text(TEXT[0], { hasContent: true }),
  ends(
    { finish_reason: 'ERROR', error: 'The model is overloaded.', usage },
    { ...figures, usageComplete: false, finishReason: 'ERROR' },
  ),
]);

const cohereWithoutTypes = stream('a chat whose events have no `event`', CHAT, [
  data({ type: 'content-delta', index: 0, delta: { message: { content: { text: TEXT[0] } } } }, { hasContent: true }),
  data(
    {
      type: 'message-end',
      delta: { finish_reason: 'MAX_TOKENS', usage: { billed_units: { input_tokens: 3, output_tokens: 4 } } },
    },
    { usage: { inputTokens: 3, outputTokens: 4 }, usageComplete: true, finishReason: 'MAX_TOKENS', ended: true },
  ),
]);

const cohereWhole = whole(
  'a chat in one piece',
  CHAT,
  {
    id: ID,
    message: { role: 'assistant', content: [{ type: 'text', text: TEXT.join('') }] },
    finish_reason: 'COMPLETE',
    usage,
  },
  { ...figures, hasContent: true, finishReason: 'COMPLETE' },
);

/** Version 1, as LangChain asks for it. What it counts is not read. */
export const cohereChatV1: ProviderAnswer = {
  name: 'a chat of version 1',
  path: '/v1/chat',
  contentType: 'application/stream+json',
  format: ndjson,
  parts: [
    { is_finished: false, event_type: 'stream-start', generation_id: ID },
    ...TEXT.map((part) => ({ is_finished: false, event_type: 'text-generation', text: part })),
    {
      is_finished: true,
      event_type: 'stream-end',
      response: { response_id: ID, text: TEXT.join(''), generation_id: ID, finish_reason: 'COMPLETE' },
      finish_reason: 'COMPLETE',
    },
  ].map((payload) => ({ bytes: `${JSON.stringify(payload)}\n` })),
};

const cohereEmbeddings = whole(
  'embeddings',
  '/v2/embed',
  {
    id: ID,
    embeddings: { float: [[0.1, 0.2]] },
    texts: ['hello'],
    meta: { api_version: { version: '2' }, billed_units: { input_tokens: 2 } },
    response_type: 'embeddings_by_type',
  },
  { usage: { inputTokens: 2 }, usageComplete: true },
);

export const COHERE: readonly ProviderAnswer[] = [
  cohereChat,
  cohereTools,
  cohereFailed,
  cohereWithoutTypes,
  cohereWhole,
  cohereEmbeddings,
];
