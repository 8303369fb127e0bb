import { EventStreamCodec, type MessageHeaders } from '@smithy/eventstream-codec';
import { type ProviderAnswer, TEXT, type Told, whole } from './dialects.js';

/*
 * Amazon Bedrock's answers: its event streams, in frames that AWS's own codec makes, and answers in one piece.
 */

export const BEDROCK_TYPE = 'application/vnd.amazon.eventstream';

/** As the SDK sends it: a colon in a model's id is escaped. */
const MODEL = '/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0';

/** A frame, and what it tells of the answer that the frames before it did not. */
export interface Frame {
  bytes: Buffer;
  tells: Told;
}

/** An answer in frames, one event each. */
export interface FramedAnswer {
  name: string;
  path: string;
  frames: readonly Frame[];
}

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
);

/** A frame of any headers and payload. */
export function frameOf(headers: MessageHeaders, payload: string | Buffer = ''): Buffer {
  return Buffer.from(codec.encode({ headers, body: Buffer.from(payload) }));
}

/** Headers whose values are text. */
export function textHeaders(values: Record<string, string>): MessageHeaders {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { type: 'string', value }]));
}

const JSON_FRAME = { ':content-type': 'application/json' };

export const event = (type: string, payload: object, tells: Told = {}): Frame => ({
  bytes: frameOf(
    textHeaders({ ':event-type': type, ...JSON_FRAME, ':message-type': 'event' }),
    // Padded against those who guess a text by its length.
    JSON.stringify({ ...payload, p: 'abcdefghijklm' }),
  ),
  tells,
});

export const exception = (type: string, payload: object, tells: Told = {}): Frame => ({
  bytes: frameOf(
    textHeaders({ ':exception-type': type, ...JSON_FRAME, ':message-type': 'exception' }),
    JSON.stringify(payload),
  ),
  tells,
});

const chunk = (payload: object, tells: Told = {}): Frame =>
  event('chunk', { bytes: Buffer.from(JSON.stringify(payload)).toString('base64') }, tells);

export const framesOf = (frames: readonly Frame[]): Buffer => Buffer.concat(frames.map(({ bytes }) => bytes));

/** What is known of an answer after so many of its frames. */
export function toldByFrames(frames: readonly Frame[]): Told {
  const nothing: Told = { usage: {}, usageComplete: false, hasContent: false, ended: false };
  return Object.assign(nothing, ...frames.map(({ tells }) => tells));
}

// --- Converse ---------------------------------------------------------------------------------------------------------

/** Apart from the input is what was read from a cache, and written to it. */
export const converseUsage = {
  inputTokens: 18,
  outputTokens: 386,
  totalTokens: 8_006,
  cacheReadInputTokens: 7_502,
  cacheWriteInputTokens: 100,
  cacheDetails: [{ ttl: '5m', inputTokens: 100 }],
};

export const CONVERSE_FIGURES = {
  inputTokens: 7_620,
  outputTokens: 386,
  totalTokens: 8_006,
  cachedInputTokens: 7_502,
  cacheCreationInputTokens: 100,
};

const converseEnds: Told = { usage: CONVERSE_FIGURES, usageComplete: true, ended: true };

const metadata = event('metadata', { usage: converseUsage, metrics: { latencyMs: 5_000 } }, converseEnds);

const delta = (piece: object, tells?: Told): Frame =>
  event('contentBlockDelta', { contentBlockIndex: 0, delta: piece }, tells);

export const converseStream: FramedAnswer = {
  name: 'a conversation',
  path: `${MODEL}/converse-stream`,
  frames: [
    event('messageStart', { role: 'assistant' }),
    delta({ text: TEXT[0] }, { hasContent: true }),
    delta({ text: TEXT[1] }),
    event('contentBlockStop', { contentBlockIndex: 0 }),
    event('messageStop', { stopReason: 'end_turn' }, { finishReason: 'end_turn' }),
    metadata,
  ],
};

const converseTools: FramedAnswer = {
  name: 'a conversation that reasons and calls a tool, by a router',
  path: converseStream.path,
  frames: [
    event('messageStart', { role: 'assistant' }),
    delta({ reasoningContent: { text: '' } }),
    delta({ reasoningContent: { text: 'Hm.' } }, { hasContent: true }),
    delta({ reasoningContent: { signature: 'EqQB' } }),
    event('contentBlockStart', {
      contentBlockIndex: 1,
      start: { toolUse: { toolUseId: 'tooluse_kZJMlvQmRJ6eAyJE5GIl7Q', name: 'weather' } },
    }),
    event('contentBlockDelta', { contentBlockIndex: 1, delta: { toolUse: { input: '{"city":"Zürich"}' } } }),
    event('messageStop', { stopReason: 'tool_use' }, { finishReason: 'tool_use' }),
    event(
      'metadata',
      {
        usage: { inputTokens: 3, outputTokens: 2, totalTokens: 5 },
        metrics: { latencyMs: 5 },
        trace: { promptRouter: { invokedModelId: 'arn:aws:bedrock:us-east-1::foundation-model/m' } },
        serviceTier: { type: 'priority' },
      },
      {
        serviceTier: 'priority',
        usage: { inputTokens: 3, outputTokens: 2, totalTokens: 5 },
        usageComplete: true,
        ended: true,
        model: 'arn:aws:bedrock:us-east-1::foundation-model/m',
      },
    ),
  ],
};

export const converseFailing: FramedAnswer = {
  name: 'a conversation that fails on its way',
  path: converseStream.path,
  frames: [
    ...converseStream.frames.slice(0, 2),
    exception('modelStreamErrorException', { message: 'The model failed.', originalStatusCode: 500 }),
  ],
};

// --- invocations ------------------------------------------------------------------------------------------------------

const INVOKE = '/model/m/invoke-with-response-stream';

const metricsOf = (inputTokenCount: number, outputTokenCount: number, cached: object = {}): object => ({
  'amazon-bedrock-invocationMetrics': {
    inputTokenCount,
    outputTokenCount,
    invocationLatency: 1_574,
    firstByteLatency: 300,
    ...cached,
  },
});

const cachedMetrics = metricsOf(18, 386, { cacheReadInputTokenCount: 7_502, cacheWriteInputTokenCount: 100 });

const { totalTokens: _sum, ...CLAUDE_FIGURES } = CONVERSE_FIGURES;

const claudeModel: Told = { model: 'claude-haiku-4-5-20251001' };

const claudeMessage = (usage: object): object => ({
  id: 'msg_bdrk_01',
  type: 'message',
  role: 'assistant',
  model: claudeModel.model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  usage,
});

const claudeText = (text: string, tells?: Told): Frame =>
  chunk({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }, tells);

export const claudeStream: FramedAnswer = {
  name: 'an invocation of Claude',
  path: `${MODEL}/invoke-with-response-stream`,
  frames: [
    chunk(
      {
        type: 'message_start',
        message: claudeMessage({
          input_tokens: 18,
          cache_creation_input_tokens: 100,
          cache_read_input_tokens: 7_502,
          output_tokens: 1,
        }),
      },
      { ...claudeModel, usage: { ...CLAUDE_FIGURES, outputTokens: 1 } },
    ),
    chunk({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
    claudeText(TEXT[0], { hasContent: true }),
    claudeText(TEXT[1]),
    chunk({ type: 'content_block_stop', index: 0 }),
    chunk(
      { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 386 } },
      { finishReason: 'end_turn', usage: CLAUDE_FIGURES, usageComplete: true },
    ),
    chunk({ type: 'message_stop', ...cachedMetrics }, { ended: true }),
  ],
};

const claudeWithoutCache: FramedAnswer = {
  name: 'an invocation of Claude whose cache only Bedrock counts',
  path: claudeStream.path,
  frames: [
    chunk(
      { type: 'message_start', message: claudeMessage({ input_tokens: 18, output_tokens: 1 }) },
      { ...claudeModel, usage: { inputTokens: 18, outputTokens: 1 } },
    ),
    claudeText(TEXT[0], { hasContent: true }),
    chunk(
      { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 386 } },
      { finishReason: 'end_turn', usage: { inputTokens: 18, outputTokens: 386 }, usageComplete: true },
    ),
    chunk({ type: 'message_stop', ...cachedMetrics }, { ended: true, usage: CLAUDE_FIGURES }),
  ],
};

const counted: Told = { usage: { inputTokens: 3, outputTokens: 21 }, usageComplete: true, ended: true };

const novaStream: FramedAnswer = {
  name: 'an invocation of Nova',
  path: INVOKE,
  frames: [
    chunk({ messageStart: { role: 'assistant' } }),
    chunk({ contentBlockDelta: { delta: { text: TEXT[0] }, contentBlockIndex: 0 } }, { hasContent: true }),
    chunk({ contentBlockStop: { contentBlockIndex: 0 } }),
    chunk({ messageStop: { stopReason: 'end_turn' } }, { finishReason: 'end_turn' }),
    chunk(
      {
        metadata: {
          usage: { inputTokens: 2, outputTokens: 31, cacheReadInputTokenCount: 8, cacheWriteInputTokenCount: 0 },
          metrics: {},
          trace: {},
        },
        ...metricsOf(2, 31, { cacheReadInputTokenCount: 8, cacheWriteInputTokenCount: 0 }),
      },
      {
        usage: { inputTokens: 10, outputTokens: 31, cachedInputTokens: 8, cacheCreationInputTokens: 0 },
        usageComplete: true,
        ended: true,
      },
    ),
  ],
};

const titanStream: FramedAnswer = {
  name: 'an invocation of Titan',
  path: INVOKE,
  frames: [
    chunk(
      { outputText: TEXT[0], index: 0, totalOutputTextTokenCount: null, completionReason: null },
      { hasContent: true },
    ),
    chunk(
      {
        outputText: '',
        index: 0,
        totalOutputTextTokenCount: 21,
        completionReason: 'FINISH',
        inputTextTokenCount: 3,
        ...metricsOf(3, 21),
      },
      { ...counted, finishReason: 'FINISH' },
    ),
  ],
};

const llamaStream: FramedAnswer = {
  name: 'an invocation of Llama',
  path: INVOKE,
  frames: [
    chunk(
      { generation: TEXT[0], prompt_token_count: 3, generation_token_count: 1, stop_reason: null },
      { hasContent: true },
    ),
    chunk(
      {
        generation: '',
        prompt_token_count: null,
        generation_token_count: 21,
        stop_reason: 'stop',
        ...metricsOf(3, 21),
      },
      { ...counted, finishReason: 'stop' },
    ),
  ],
};

const mistralStream: FramedAnswer = {
  name: 'an invocation of Mistral',
  path: INVOKE,
  frames: [
    chunk({ outputs: [{ text: TEXT[0], stop_reason: null }] }, { hasContent: true }),
    chunk(
      { outputs: [{ text: '', stop_reason: 'length' }], ...metricsOf(3, 21) },
      { ...counted, finishReason: 'length' },
    ),
  ],
};

const chatChunk = (members: object): object => ({
  id: 'c',
  object: 'chat.completion.chunk',
  model: 'gpt-oss',
  ...members,
});

const chatStream: FramedAnswer = {
  name: "an invocation of one of OpenAI's",
  path: INVOKE,
  frames: [
    chunk(chatChunk({ choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] }), {
      model: 'gpt-oss',
    }),
    chunk(chatChunk({ choices: [{ index: 0, delta: { content: TEXT[0] }, finish_reason: null }] }), {
      hasContent: true,
    }),
    chunk(chatChunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], ...metricsOf(3, 21) }), {
      ...counted,
      finishReason: 'stop',
    }),
  ],
};

export const FRAMED: readonly FramedAnswer[] = [
  converseStream,
  converseTools,
  converseFailing,
  claudeStream,
  claudeWithoutCache,
  novaStream,
  titanStream,
  llamaStream,
  mistralStream,
  chatStream,
];

// --- in one piece -----------------------------------------------------------------------------------------------------

const converseMembers = {
  output: { message: { role: 'assistant', content: [{ text: TEXT.join('') }] } },
  stopReason: 'end_turn',
  usage: converseUsage,
  metrics: { latencyMs: 551 },
  serviceTier: { type: 'default' },
};

const converseTold: Told = {
  usage: CONVERSE_FIGURES,
  usageComplete: true,
  hasContent: true,
  finishReason: 'end_turn',
  serviceTier: 'default',
};

export const converseWhole = whole('a conversation in one piece', `${MODEL}/converse`, converseMembers, converseTold);

export const claudeWhole = whole(
  'an invocation of Claude in one piece',
  `${MODEL}/invoke`,
  {
    ...claudeMessage({
      input_tokens: 18,
      cache_creation_input_tokens: 100,
      cache_read_input_tokens: 7_502,
      output_tokens: 386,
    }),
    content: [{ type: 'text', text: TEXT.join('') }],
    stop_reason: 'end_turn',
  },
  { ...claudeModel, usage: CLAUDE_FIGURES, usageComplete: true, hasContent: true, finishReason: 'end_turn' },
);

const wholeCounts: Told = { usage: { inputTokens: 3, outputTokens: 21 }, usageComplete: true, hasContent: true };

export const BEDROCK: readonly ProviderAnswer[] = [
  converseWhole,
  claudeWhole,
  whole(
    'an invocation of Nova in one piece',
    '/model/m/invoke',
    {
      ...converseMembers,
      usage: {
        inputTokens: 2,
        outputTokens: 31,
        totalTokens: 41,
        cacheReadInputTokenCount: 8,
        cacheWriteInputTokenCount: 0,
      },
    },
    {
      ...converseTold,
      usage: { inputTokens: 10, outputTokens: 31, totalTokens: 41, cachedInputTokens: 8, cacheCreationInputTokens: 0 },
    },
  ),
  whole(
    'an invocation of Titan in one piece',
    '/model/m/invoke',
    {
      inputTextTokenCount: 3,
      results: [{ tokenCount: 21, outputText: TEXT.join(''), completionReason: 'FINISH' }],
    },
    { ...wholeCounts, finishReason: 'FINISH' },
  ),
  whole(
    'an invocation of Llama in one piece',
    '/model/m/invoke',
    { generation: TEXT.join(''), prompt_token_count: 3, generation_token_count: 21, stop_reason: 'stop' },
    { ...wholeCounts, finishReason: 'stop' },
  ),
  whole(
    'an invocation of Titan for embeddings',
    '/model/m/invoke',
    { embedding: [0.1, 0.2], inputTextTokenCount: 3 },
    { usage: { inputTokens: 3 }, usageComplete: true },
  ),
  whole('a count of tokens', '/model/m/count-tokens', { inputTokens: 15 }, {}),
];
