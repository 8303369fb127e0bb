import { type Below, pick } from '../fuzz/random.js';
import type { Dialect, Form } from './account-reader.js';
import { BEDROCK_TYPE, event as frame, exception as frameException } from './bedrock.js';

/*
 * Answers of every dialect that the package reads, drawn at random in the shapes that vendors document and that were seen in real
 * traffic. Nothing here says what is to be told of them: `account-reader.ts` does.
 */

/** The providers of the package, by the names of their functions; `compatible` is `openaiCompatible`. */
export type Vendor =
  | 'openai'
  | 'azureOpenAI'
  | 'compatible'
  | 'openrouter'
  | 'deepseek'
  | 'groq'
  | 'xai'
  | 'together'
  | 'fireworks'
  | 'perplexity'
  | 'cerebras'
  | 'moonshot'
  | 'huggingface'
  | 'mistral'
  | 'cohere'
  | 'anthropic'
  | 'gemini'
  | 'vertex'
  | 'bedrock'
  | 'ollama'
  | 'vllm'
  | 'llamaCpp'
  | 'lmStudio';

/** An exchange's request, and the whole answer to it. */
export interface DrawnAnswer {
  /** For the report: the dialect, and where it is another's than the vendor's own, whose it is. */
  name: string;
  dialect: Dialect;
  form: Form;
  vendor: Vendor;
  path: string;
  request: object;
  contentType: string;
  parts: readonly Buffer[];
  /** What the upstream sends instead of what would follow, where it fails inside a 200; absent where it cannot. */
  failure?: Buffer;
}

interface Figures {
  input: number;
  output: number;
  cached: number;
  written: number;
  reasoning: number;
  audioIn: number;
  audioOut: number;
  imageIn: number;
  imageOut: number;
}

/** Now and then none, or as many as all. */
const share = (below: Below, of: number): number => pick(below, [0, of, below(of + 1), below(of + 1), below(of + 1)]);

function drawFigures(below: Below): Figures {
  const input = pick(below, [1, 1 + below(900), 1 + below(200_000)]);
  const output = pick(below, [1, 1 + below(900), 1 + below(30_000)]);
  const cached = share(below, input);
  const isMedial = below(4) === 0;
  const medium = (of: number): number => (isMedial ? below(of + 1) : 0);
  return {
    input,
    output,
    cached,
    written: share(below, input - cached),
    reasoning: share(below, output - 1),
    audioIn: medium(input),
    audioOut: medium(output),
    imageIn: medium(input),
    imageOut: medium(output),
  };
}

/** Looks like what is read, is split by chunks, and grows in other codings. */
const TEXTS = [
  'Zürich 🙂',
  '"usage":{"prompt_tokens":1,"completion_tokens":2}',
  'data: [DONE]\n\n',
  'event: message_stop',
  '}]\n[',
];

const TIERS = [undefined, undefined, 'default', 'flex', 'priority'] as const;

/** Members that some servers send, others leave out, and others send as `null`. */
const maybe = (below: Below, members: object): object =>
  pick(below, [members, members, {}, Object.fromEntries(Object.keys(members).map((name) => [name, null]))]);

const sse = (payload: unknown): Buffer => Buffer.from(`data: ${JSON.stringify(payload)}\n\n`);
const typed = (payload: { type: string; [member: string]: unknown }): Buffer =>
  Buffer.from(`event: ${payload.type}\ndata: ${JSON.stringify(payload)}\n\n`);
const line = (payload: unknown): Buffer => Buffer.from(`${JSON.stringify(payload)}\n`);
const done = Buffer.from('data: [DONE]\n\n');

const SSE = { form: 'sse', contentType: 'text/event-stream; charset=utf-8' } as const;
const JSON_FORM = { form: 'json', contentType: 'application/json' } as const;

type Drawn = Omit<DrawnAnswer, 'request'> & { request?: object };

/** In one piece, laid out in one of two ways. */
const piece = (below: Below, payload: object): Pick<DrawnAnswer, 'form' | 'contentType' | 'parts'> => ({
  ...JSON_FORM,
  parts: [Buffer.from(JSON.stringify(payload, null, below(2) * 2))],
});

// --- chat completions and their like ----------------------------------------------------------------------------------

/** Where a server puts the usage of a stream. */
const PLACES = [
  'extra',
  'null choices',
  'finish',
  'empty choice',
  'choice',
  'x_groq',
  'continuous',
  'no choices',
] as const;
type Place = (typeof PLACES)[number];

interface ChatVendor {
  vendor: Vendor;
  paths: readonly string[];
  places: readonly Place[];
  usage(figures: Figures, below: Below): object;
}

const bare = ({ input, output }: Figures): object => ({
  prompt_tokens: input,
  completion_tokens: output,
  total_tokens: input + output,
});

const promptDetails = (figures: Figures): object => ({
  cached_tokens: figures.cached,
  cache_write_tokens: figures.written,
  audio_tokens: figures.audioIn,
  image_tokens: figures.imageIn,
});

const full = (figures: Figures, below: Below): object => ({
  ...bare(figures),
  ...maybe(below, { prompt_tokens_details: promptDetails(figures) }),
  ...maybe(below, {
    completion_tokens_details: {
      reasoning_tokens: figures.reasoning,
      audio_tokens: figures.audioOut,
      image_tokens: figures.imageOut,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 3,
    },
  }),
});

/** The reasoning is counted beside the completion, and only in the total with it. */
const reasoningBeside = (figures: Figures): object => ({
  ...bare(figures),
  completion_tokens: figures.output - figures.reasoning,
  prompt_tokens_details: {
    text_tokens: figures.input,
    cached_tokens: figures.cached,
    audio_tokens: 0,
    image_tokens: 0,
  },
  completion_tokens_details: { reasoning_tokens: figures.reasoning, audio_tokens: 0 },
  num_sources_used: 0,
});

/** What was cached is counted beside the prompt, and only in the total with it. */
const cachedBeside = (figures: Figures): object => ({
  ...bare(figures),
  prompt_tokens: figures.input - figures.cached,
  prompt_tokens_details: { cached_tokens: figures.cached },
});

const cachedAtTheTop = (figures: Figures): object => ({ ...bare(figures), cached_tokens: figures.cached });

/** Figures that cannot be right. */
const contradictory = (figures: Figures): object => ({
  prompt_tokens: figures.input,
  completion_tokens: figures.output,
  total_tokens: figures.input,
  prompt_tokens_details: { cached_tokens: figures.input + figures.output + 1 },
  completion_tokens_details: { reasoning_tokens: figures.output + 1 },
});

const STANDARD: readonly Place[] = ['extra', 'finish'];

const CHAT_VENDORS: readonly ChatVendor[] = [
  { vendor: 'openai', paths: ['/v1/chat/completions'], places: ['extra'], usage: full },
  {
    vendor: 'azureOpenAI',
    paths: ['/openai/v1/chat/completions', '/openai/deployments/asked-model/chat/completions?api-version=2024-10-21'],
    places: ['extra', 'null choices', 'no choices'],
    usage: (figures, below) => pick(below, [full, full, cachedBeside])(figures, below),
  },
  {
    vendor: 'openrouter',
    paths: ['/v1/chat/completions'],
    places: ['empty choice', 'extra'],
    usage: (figures, below) => ({
      ...full(figures, below),
      cost: 0.0042,
      is_byok: false,
      cost_details: { upstream_inference_cost: null },
    }),
  },
  {
    vendor: 'groq',
    paths: ['/openai/v1/chat/completions'],
    places: ['x_groq', 'extra'],
    usage: (figures) => ({ ...bare(figures), queue_time: 0.03, prompt_time: 0.01, total_time: 0.5 }),
  },
  { vendor: 'xai', paths: ['/v1/chat/completions'], places: ['continuous', 'finish'], usage: reasoningBeside },
  {
    vendor: 'deepseek',
    paths: ['/chat/completions', '/v1/chat/completions'],
    places: STANDARD,
    usage: (figures) => ({
      ...bare(figures),
      prompt_cache_hit_tokens: figures.cached,
      prompt_cache_miss_tokens: figures.input - figures.cached,
      completion_tokens_details: { reasoning_tokens: figures.reasoning },
    }),
  },
  { vendor: 'moonshot', paths: ['/v1/chat/completions'], places: ['choice', 'extra'], usage: cachedAtTheTop },
  { vendor: 'together', paths: ['/v1/chat/completions'], places: STANDARD, usage: cachedAtTheTop },
  { vendor: 'huggingface', paths: ['/v1/chat/completions'], places: STANDARD, usage: cachedAtTheTop },
  { vendor: 'fireworks', paths: ['/v1/chat/completions'], places: STANDARD, usage: full },
  {
    vendor: 'perplexity',
    paths: ['/chat/completions'],
    places: ['continuous'],
    usage: (figures) => ({
      ...bare(figures),
      search_context_size: 'low',
      citation_tokens: 7,
      cost: { total_cost: 0.006 },
    }),
  },
  { vendor: 'cerebras', paths: ['/v1/chat/completions'], places: STANDARD, usage: full },
  {
    vendor: 'mistral',
    paths: ['/v1/chat/completions', '/v1/fim/completions', '/v1/agents/completions'],
    places: ['finish'],
    usage: (figures, below) => ({
      ...bare(figures),
      ...pick(below, [
        { num_cached_tokens: figures.cached },
        { prompt_tokens_details: { cached_tokens: figures.cached } },
        { prompt_audio_seconds: null },
        { prompt_audio_seconds: 12 },
      ]),
    }),
  },
  { vendor: 'vllm', paths: ['/v1/chat/completions'], places: ['continuous', 'extra'], usage: full },
  { vendor: 'llamaCpp', paths: ['/v1/chat/completions'], places: STANDARD, usage: bare },
  { vendor: 'lmStudio', paths: ['/v1/chat/completions'], places: STANDARD, usage: bare },
  // Providers that have a dialect of their own, at their endpoints of OpenAI's.
  { vendor: 'gemini', paths: ['/v1beta/openai/chat/completions'], places: ['finish', 'continuous'], usage: full },
  {
    vendor: 'vertex',
    paths: ['/v1/projects/p/locations/l/endpoints/openapi/chat/completions'],
    places: ['finish', 'continuous'],
    usage: full,
  },
  { vendor: 'anthropic', paths: ['/v1/chat/completions'], places: ['extra'], usage: bare },
  { vendor: 'ollama', paths: ['/v1/chat/completions'], places: ['extra'], usage: bare },
  { vendor: 'cohere', paths: ['/compatibility/v1/chat/completions'], places: ['extra', 'finish'], usage: bare },
  { vendor: 'bedrock', paths: ['/openai/v1/chat/completions'], places: ['extra'], usage: full },
];

const FINISHES = ['stop', 'length', 'tool_calls', 'content_filter'] as const;

function chatDeltas(below: Below): object[] {
  const text = (): object => ({ content: pick(below, TEXTS) });
  const reasoning = (): object => pick(below, [{ reasoning_content: 'Hm.' }, { reasoning: 'Hm.', content: null }]);
  const tool = (): object => ({
    tool_calls: [
      { index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: pick(below, TEXTS) } },
    ],
  });
  return Array.from({ length: 1 + below(3) }, () => pick(below, [text, text, reasoning, tool])());
}

function chatAnswer(below: Below): Drawn {
  const { vendor, paths, places, usage: usageOf } = pick(below, CHAT_VENDORS);
  const figures = drawFigures(below);
  const isWrong = below(20) === 0;
  const usage = isWrong ? contradictory(figures) : usageOf(figures, below);
  const place = pick(below, places);
  const tier = pick(below, TIERS);
  const model = 'answering-model';
  const head = { id: 'chatcmpl-1', created: 1, model, ...(tier !== undefined && { service_tier: tier }) };
  const path = pick(below, paths);
  const common = { name: `Chat Completions: ${vendor}`, dialect: 'chat' as const, vendor, path };
  const n = place === 'choice' || place === 'empty choice' ? 1 : pick(below, [1, 1, 1, 2, 3]);
  const reasons = Array.from({ length: n }, () => pick(below, FINISHES));
  if (below(3) === 0) {
    const choices = reasons.map((finish_reason, index) => ({
      index,
      message: { role: 'assistant', ...Object.assign({}, ...chatDeltas(below)) },
      finish_reason,
    }));
    return { ...common, ...piece(below, { ...head, object: 'chat.completion', choices, usage }) };
  }
  const asked = below(8) > 0;
  const chunk = (choices: unknown, more: object = {}): object => ({
    ...head,
    object: 'chat.completion.chunk',
    choices,
    ...more,
  });
  const isNulled = place === 'extra' && below(2) === 0;
  const isEmptied = below(6) === 0;
  const choice = (index: number, delta: object, finish_reason: string | null = null, more: object = {}): object => ({
    index,
    delta,
    finish_reason: finish_reason ?? (isEmptied ? '' : null),
    ...more,
  });
  const events: object[] = [];
  const push = (choices: unknown, more: object = {}): void => void events.push(chunk(choices, more));
  const soFar = (): object =>
    asked && place === 'continuous'
      ? { usage: { ...bare({ ...figures, output: Math.min(events.length, figures.output) }) } }
      : isNulled
        ? { usage: null }
        : {};
  for (const index of reasons.keys()) push([choice(index, { role: 'assistant', content: '' })], soFar());
  for (const index of reasons.keys()) for (const delta of chatDeltas(below)) push([choice(index, delta)], soFar());
  for (const [index, reason] of reasons.entries()) {
    const isLast = index === n - 1;
    const own = asked && isLast;
    if (own && place === 'finish') push([choice(index, {}, reason)], { usage });
    else if (own && place === 'continuous') push([choice(index, { content: '' }, reason)], { usage });
    else if (own && place === 'choice') push([choice(index, {}, reason, { usage })]);
    else if (own && place === 'x_groq') push([choice(index, {}, reason)], { x_groq: { id: 'req_1', usage } });
    else push([choice(index, {}, reason)], soFar());
  }
  if (asked && place === 'extra') push([], { usage });
  if (asked && place === 'null choices') push(null, { usage });
  if (asked && place === 'empty choice') push([choice(0, { role: 'assistant', content: '' }, null)], { usage });
  if (asked && place === 'no choices') events.push({ ...head, object: 'chat.completion.chunk', usage });
  const filters = {
    id: '',
    object: '',
    created: 0,
    model: '',
    choices: [],
    prompt_filter_results: [{ prompt_index: 0 }],
  };
  const parts = [
    ...(vendor === 'openrouter' ? [Buffer.from(': OPENROUTER PROCESSING\n\n')] : []),
    ...(vendor === 'azureOpenAI' ? [sse(filters)] : []),
    ...events.map(sse),
    ...(below(10) === 0 ? [] : [done]),
  ];
  const error = { error: { message: 'The server had an error.', type: 'server_error', param: null, code: null } };
  const bareError = {
    object: 'error',
    message: 'The engine is dead.',
    type: 'InternalServerError',
    param: null,
    code: 500,
  };
  const failure = Buffer.concat([
    sse(vendor === 'vllm' && below(2) === 0 ? bareError : error),
    pick(below, [Buffer.alloc(0), done]),
  ]);
  return { ...common, ...SSE, parts, failure };
}

function completionAnswer(below: Below): Drawn {
  const vendor = pick(below, ['openai', 'vllm', 'together', 'fireworks', 'openrouter', 'deepseek'] as const);
  const figures = drawFigures(below);
  const head = { id: 'cmpl-1', object: 'text_completion', created: 1, model: 'answering-model' };
  const common = { name: 'Completions', dialect: 'chat' as const, vendor, path: '/v1/completions' };
  const finish_reason = pick(below, FINISHES);
  const usage = full(figures, below);
  if (below(3) === 0) {
    return {
      ...common,
      ...piece(below, { ...head, choices: [{ index: 0, text: pick(below, TEXTS), finish_reason }], usage }),
    };
  }
  const parts = [
    sse({
      ...head,
      choices: [{ index: 0, text: pick(below, TEXTS), finish_reason: null, logprobs: null }],
      usage: null,
    }),
    sse({ ...head, choices: [{ index: 0, text: '', finish_reason, logprobs: null }], usage: null }),
    sse({ ...head, choices: [], usage }),
    done,
  ];
  return { ...common, ...SSE, parts, failure: sse({ error: { message: 'No.', type: 'server_error' } }) };
}

function embeddingAnswer(below: Below): Drawn {
  const vendor = pick(below, ['openai', 'mistral', 'together', 'vllm', 'azureOpenAI', 'ollama'] as const);
  const { input } = drawFigures(below);
  const path = vendor === 'azureOpenAI' ? '/openai/v1/embeddings' : '/v1/embeddings';
  const usage = { prompt_tokens: input, total_tokens: input, ...(below(2) === 0 && { completion_tokens: 0 }) };
  const embedding = Array.from({ length: 30 }, () => below(1_000) / 1_000);
  const payload = {
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding }],
    model: 'answering-model',
    usage,
  };
  return { name: 'embeddings', dialect: 'chat', vendor, path, ...piece(below, payload) };
}

// --- Responses --------------------------------------------------------------------------------------------------------

const RESPONSES_PATHS: readonly (readonly [Vendor, string])[] = [
  ['openai', '/v1/responses'],
  ['openai', '/v1/responses'],
  ['azureOpenAI', '/openai/v1/responses'],
  ['xai', '/v1/responses'],
  ['groq', '/openai/v1/responses'],
  ['openrouter', '/v1/responses'],
  ['vllm', '/v1/responses'],
  ['lmStudio', '/v1/responses'],
];

const responsesUsage = (figures: Figures, below: Below): object => ({
  input_tokens: figures.input,
  output_tokens: figures.output,
  total_tokens: figures.input + figures.output,
  ...maybe(below, {
    input_tokens_details: {
      cached_tokens: figures.cached,
      cache_write_tokens: figures.written,
      audio_tokens: figures.audioIn,
      image_tokens: figures.imageIn,
    },
  }),
  ...maybe(below, {
    output_tokens_details: {
      reasoning_tokens: figures.reasoning,
      audio_tokens: figures.audioOut,
      image_tokens: figures.imageOut,
    },
  }),
});

function responsesAnswer(below: Below): Drawn {
  const [vendor, path] = pick(below, RESPONSES_PATHS);
  const usage = responsesUsage(drawFigures(below), below);
  const tier = pick(below, TIERS);
  const ending = pick(below, ['completed', 'completed', 'incomplete', 'failed'] as const);
  const response = (status: string, members: object = {}): object => ({
    id: 'resp_1',
    object: 'response',
    status,
    model: 'answering-model',
    error: null,
    incomplete_details: null,
    output: [],
    usage: null,
    ...(tier !== undefined && { service_tier: status === 'in_progress' ? 'auto' : tier }),
    ...members,
  });
  const ended = response(ending, {
    output: [
      {
        type: 'message',
        role: 'assistant',
        content: [{ type: 'output_text', text: pick(below, TEXTS), annotations: [] }],
      },
    ],
    usage: ending === 'failed' ? pick(below, [null, usage]) : usage,
    ...(ending === 'incomplete' && {
      incomplete_details: { reason: pick(below, ['max_output_tokens', 'content_filter']) },
    }),
    ...(ending === 'failed' && { error: { code: 'server_error', message: 'The model failed.' } }),
  });
  const common = { name: 'Responses', dialect: 'responses' as const, vendor, path };
  if (below(3) === 0) return { ...common, ...piece(below, ended) };
  const inItem = { item_id: 'msg_1', output_index: 0, content_index: 0 };
  const deltas = Array.from({ length: 1 + below(3) }, () =>
    pick(below, [
      { type: 'response.output_text.delta', ...inItem, delta: pick(below, TEXTS) },
      {
        type: 'response.reasoning_summary_text.delta',
        item_id: 'rs_1',
        output_index: 0,
        summary_index: 0,
        delta: 'Hm.',
      },
      { type: 'response.function_call_arguments.delta', item_id: 'fc_1', output_index: 1, delta: '{"city":' },
    ]),
  );
  const events = [
    { type: 'response.created', response: response('in_progress') },
    { type: 'response.in_progress', response: response('in_progress') },
    ...deltas,
    { type: `response.${ending}`, response: ended },
  ];
  const parts = events.map((event, sequence_number) => typed({ ...event, sequence_number }));
  const failure = typed({ type: 'error', code: 'server_error', message: 'No.', param: null, sequence_number: 9 });
  return { ...common, ...SSE, parts: below(4) === 0 ? [...parts, done] : parts, failure };
}

// --- images, speech, transcriptions -----------------------------------------------------------------------------------

function mediaAnswer(below: Below): Drawn {
  const figures = drawFigures(below);
  const totals = {
    input_tokens: figures.input,
    output_tokens: figures.output,
    total_tokens: figures.input + figures.output,
  };
  const failure = sse({ type: 'error', error: { message: 'No.', type: 'server_error', code: null, param: null } });
  const kind = pick(below, ['image', 'speech', 'transcription', 'Mistral transcription'] as const);
  const stream = (...events: { type: string; [member: string]: unknown }[]): object => ({
    ...SSE,
    failure,
    parts: events.map(typed),
  });
  switch (kind) {
    case 'image': {
      const path = `/v1/images/${pick(below, ['generations', 'edits'])}`;
      const name = path.endsWith('edits') ? 'image_edit' : 'image_generation';
      const usage = {
        ...totals,
        input_tokens_details: { text_tokens: figures.input - figures.imageIn, image_tokens: figures.imageIn },
        ...maybe(below, {
          output_tokens_details: { text_tokens: figures.output - figures.imageOut, image_tokens: figures.imageOut },
        }),
      };
      const common = { name: 'images', dialect: 'media' as const, vendor: 'openai' as const, path };
      const b64_json = 'iVBORw0KGgo'.repeat(1 + below(60));
      if (below(2) === 0) return { ...common, ...piece(below, { created: 1, data: [{ b64_json }], usage }) };
      return {
        ...common,
        ...stream(
          { type: `${name}.partial_image`, b64_json, partial_image_index: 0 },
          { type: `${name}.completed`, b64_json, usage },
        ),
      } as Drawn;
    }
    case 'speech':
      return {
        ...{ name: 'speech', dialect: 'media', vendor: 'openai', path: '/v1/audio/speech' },
        ...stream({ type: 'speech.audio.delta', audio: 'UklGRg==' }, { type: 'speech.audio.done', usage: totals }),
      } as Drawn;
    case 'transcription': {
      const usage = pick(below, [
        {
          type: 'tokens',
          ...totals,
          input_token_details: { text_tokens: figures.input - figures.audioIn, audio_tokens: figures.audioIn },
        },
        { type: 'duration', seconds: 9 },
      ]);
      const path = '/v1/audio/transcriptions';
      const common = { name: 'transcriptions', dialect: 'media' as const, vendor: 'openai' as const, path };
      if (below(2) === 0) return { ...common, ...piece(below, { text: pick(below, TEXTS), usage }) };
      return {
        ...common,
        ...stream(
          { type: 'transcript.text.delta', delta: 'Hm.' },
          { type: 'transcript.text.done', text: pick(below, TEXTS), usage },
        ),
      } as Drawn;
    }
    case 'Mistral transcription': {
      const usage = { ...bare(figures), prompt_audio_seconds: 12 };
      const path = '/v1/audio/transcriptions';
      const common = { name: 'transcriptions: mistral', dialect: 'media' as const, vendor: 'mistral' as const, path };
      const ended = { model: 'answering-model', text: pick(below, TEXTS), language: null, segments: [], usage };
      if (below(2) === 0) return { ...common, ...piece(below, ended) };
      return {
        ...common,
        ...stream({ type: 'transcription.text.delta', text: 'Hm.' }, { type: 'transcription.done', ...ended }),
      } as Drawn;
    }
  }
}

// --- Anthropic's Messages ---------------------------------------------------------------------------------------------

const MESSAGES_PATHS: readonly (readonly [Vendor, string, string?])[] = [
  ['anthropic', '/v1/messages'],
  ['anthropic', '/v1/messages?beta=true'],
  ['anthropic', '/v1/messages'],
  [
    'vertex',
    '/v1/projects/p/locations/l/publishers/anthropic/models/asked-model:streamRawPredict',
    '/v1/projects/p/locations/l/publishers/anthropic/models/asked-model:rawPredict',
  ],
  [
    'vertex',
    '/v1/projects/p/locations/l/publishers/anthropic/models/asked-model:streamRawPredict',
    '/v1/projects/p/locations/l/publishers/anthropic/models/asked-model:rawPredict',
  ],
  ['openrouter', '/v1/messages'],
  ['deepseek', '/anthropic/v1/messages'],
  ['moonshot', '/anthropic/v1/messages'],
  ['ollama', '/v1/messages'],
];

/** What is from a cache, and what was written to one, is counted beside the input. */
const inputUsage = ({ input, cached, written }: Figures, below: Below): object => ({
  input_tokens: input - cached - written,
  ...maybe(below, { cache_read_input_tokens: cached }),
  ...maybe(below, {
    cache_creation_input_tokens: written,
    cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 },
  }),
});

function messageEvents(below: Below): { whole: object; events: { type: string; [member: string]: unknown }[] } {
  const figures = drawFigures(below);
  const begun = inputUsage(figures, below);
  const tier = pick(below, [{}, { service_tier: 'standard' }, { service_tier: 'priority' }]);
  const stop = { stop_reason: pick(below, ['end_turn', 'max_tokens', 'tool_use', 'refusal']), stop_sequence: null };
  const compaction = below(6) === 0;
  const ended = {
    output_tokens: figures.output,
    ...maybe(below, { output_tokens_details: { thinking_tokens: figures.reasoning } }),
    ...(below(4) === 0 && { server_tool_use: { web_search_requests: 1 } }),
    ...(compaction && {
      iterations: [
        { type: 'compaction', input_tokens: 1 + below(9_000), output_tokens: 1 + below(900) },
        { type: 'message', input_tokens: figures.input, output_tokens: figures.output },
      ],
    }),
  };
  const message = {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'answering-model',
    content: [],
    stop_reason: null,
  };
  const index = 0;
  const deltas = Array.from({ length: 1 + below(3) }, () =>
    pick(below, [
      { type: 'text_delta', text: pick(below, TEXTS) },
      { type: 'text_delta', text: pick(below, TEXTS) },
      { type: 'thinking_delta', thinking: 'Hm.' },
      { type: 'input_json_delta', partial_json: '{"city":' },
    ]),
  );
  const ping = (): { type: string }[] => (below(3) === 0 ? [{ type: 'ping' }] : []);
  return {
    whole: {
      ...message,
      ...stop,
      content: [{ type: 'text', text: pick(below, TEXTS) }],
      usage: { ...begun, ...tier, ...ended },
    },
    events: [
      ...ping(),
      { type: 'message_start', message: { ...message, usage: { ...begun, ...tier, output_tokens: 1 } } },
      { type: 'content_block_start', index, content_block: { type: 'text', text: '' } },
      ...ping(),
      ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
      { type: 'content_block_stop', index },
      // A relay repeats the input, or has no figures at all behind the first.
      { type: 'message_delta', delta: stop, usage: { ...pick(below, [{}, {}, begun]), ...ended } },
      { type: 'message_stop' },
    ],
  };
}

function messagesAnswer(below: Below): Drawn {
  const [vendor, path, unstreamed = path] = pick(below, MESSAGES_PATHS);
  const { whole, events } = messageEvents(below);
  const common = { name: `Messages: ${vendor}`, dialect: 'messages' as const, vendor };
  if (below(3) === 0) return { ...common, path: unstreamed, ...piece(below, whole) };
  const failure = typed({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } });
  return { ...common, path, ...SSE, parts: events.map(typed), failure };
}

// --- Google -----------------------------------------------------------------------------------------------------------

const modalities = (figures: { all: number; audio: number; image: number }): object[] =>
  [
    { modality: 'TEXT', tokenCount: Math.max(0, figures.all - figures.audio - figures.image) },
    { modality: 'AUDIO', tokenCount: figures.audio },
    { modality: 'IMAGE', tokenCount: figures.image },
  ].filter(({ tokenCount }) => tokenCount > 0);

function geminiAnswer(below: Below): Drawn {
  const vendor = pick(below, ['gemini', 'gemini', 'vertex'] as const);
  const figures = drawFigures(below);
  const { input, output, cached, reasoning } = figures;
  const toolUse = below(4) === 0 ? below(500) : 0;
  const usageOf = (written: number): object => ({
    promptTokenCount: input,
    ...(cached > 0 && {
      cachedContentTokenCount: cached,
      cacheTokensDetails: [{ modality: 'TEXT', tokenCount: cached }],
    }),
    ...(written > 0 && { candidatesTokenCount: written }),
    ...(reasoning > 0 && { thoughtsTokenCount: reasoning }),
    ...(toolUse > 0 && {
      toolUsePromptTokenCount: toolUse,
      toolUsePromptTokensDetails: [{ modality: 'TEXT', tokenCount: toolUse }],
    }),
    totalTokenCount: input + toolUse + written + reasoning,
    promptTokensDetails: modalities({ all: input, audio: figures.audioIn, image: figures.imageIn }),
    ...(figures.audioOut + figures.imageOut > 0 &&
      written === output - reasoning && {
        candidatesTokensDetails: modalities({
          all: written,
          audio: Math.min(written, figures.audioOut),
          image: Math.min(written, figures.imageOut),
        }),
      }),
    ...(vendor === 'vertex' && { trafficType: 'ON_DEMAND' }),
  });
  const n = pick(below, [1, 1, 1, 2]);
  const part = (): object =>
    pick(below, [
      { text: pick(below, TEXTS) },
      { text: 'Hm.', thought: true },
      { functionCall: { name: 'f', args: {} } },
    ]);
  const candidate = (index: number, finishReason?: string | number): object => ({
    content: { role: 'model', parts: [part()] },
    ...(n > 1 || below(2) === 0 ? { index } : {}),
    ...(finishReason !== undefined && { finishReason }),
  });
  const chunk = (candidates: object[], usageMetadata: object | undefined): object => ({
    candidates,
    ...(usageMetadata !== undefined && { usageMetadata }),
    modelVersion: 'answering-model',
    responseId: 'r1',
  });
  const reason = pick(below, ['STOP', 'STOP', 'MAX_TOKENS', 'SAFETY', 1, 2] as const);
  const indexes = Array.from({ length: n }, (_none, index) => index);
  const base =
    vendor === 'vertex' && below(2) === 0
      ? '/v1/projects/p/locations/l/publishers/google/models/asked-model'
      : `/${pick(below, ['v1beta', 'v1'])}/models/asked-model`;
  const last = chunk(
    indexes.map((index) => candidate(index, reason)),
    usageOf(output - reasoning),
  );
  const common = { name: `Gemini: ${vendor}`, dialect: 'gemini' as const, vendor };
  const failure = { error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } };
  if (below(3) === 0) return { ...common, path: `${base}:generateContent`, ...piece(below, last) };
  const blocked = {
    promptFeedback: { blockReason: 'SAFETY' },
    usageMetadata: { promptTokenCount: input, totalTokenCount: input },
    modelVersion: 'answering-model',
  };
  const so = (count: number): object | undefined =>
    below(4) === 0 ? undefined : usageOf(Math.min(count, output - reasoning));
  const before = Array.from({ length: below(4) }, (_none, count) =>
    chunk(
      indexes.map((index) => candidate(index)),
      so(count + 1),
    ),
  );
  const chunks = below(15) === 0 ? [blocked] : [...before, last];
  if (below(2) === 0) {
    const parts = chunks.map((payload) => Buffer.from(`data: ${JSON.stringify(payload)}\r\n\r\n`));
    return { ...common, path: `${base}:streamGenerateContent?alt=sse`, ...SSE, parts, failure: sse(failure) };
  }
  const separated = chunks.map((payload, i) =>
    Buffer.from(`${i === 0 ? '[' : ',\r\n'}${JSON.stringify(payload, null, 2)}`),
  );
  return {
    ...{ ...common, name: `${common.name}, array`, path: `${base}:streamGenerateContent` },
    ...{ form: 'array', contentType: 'application/json; charset=UTF-8' },
    parts: [...separated, Buffer.from('\n]\n')],
    failure: Buffer.from(`,\n${JSON.stringify(failure)}\n]\n`),
  };
}

function interactionsAnswer(below: Below): Drawn {
  const figures = drawFigures(below);
  const { input, output, cached, reasoning } = figures;
  const tools = below(3) === 0 ? below(500) : 0;
  const apart = pick(below, ['all', 'none', 'thoughts', 'tools', 'unsaid'] as const);
  const total = {
    all: input + output + tools + reasoning,
    none: input + output,
    thoughts: input + output + reasoning,
    tools: input + output + tools,
    unsaid: undefined,
  }[apart];
  const usage = {
    total_input_tokens: input,
    input_tokens_by_modality: [
      { modality: 'text', tokens: input },
      { modality: 'audio', tokens: figures.audioIn },
    ],
    total_cached_tokens: cached,
    total_output_tokens: output,
    output_tokens_by_modality: [{ modality: 'image', tokens: figures.imageOut }],
    total_tool_use_tokens: tools,
    total_thought_tokens: reasoning,
    ...(total !== undefined && { total_tokens: total }),
  };
  const status = pick(below, ['completed', 'completed', 'incomplete', 'failed', 'requires_action']);
  const interaction = (members: object): object => ({
    id: 'v1_a',
    object: 'interaction',
    model: 'answering-model',
    ...members,
  });
  const common = {
    name: 'Interactions',
    dialect: 'interactions' as const,
    vendor: 'gemini' as const,
    path: '/v1beta/interactions',
  };
  if (below(3) === 0) {
    return {
      ...common,
      ...piece(below, interaction({ status, steps: [{ type: 'model_output', content: [] }], usage })),
    };
  }
  const event = (payload: { event_type: string; [member: string]: unknown }): Buffer =>
    Buffer.from(`event: ${payload.event_type}\ndata: ${JSON.stringify(payload)}\n\n`);
  const soFar = below(2) === 0 && {
    metadata: { total_usage: { total_input_tokens: input, total_output_tokens: 1, total_tokens: input + 1 } },
  };
  const parts = [
    event({ event_type: 'interaction.created', interaction: interaction({ status: 'in_progress' }) }),
    event({ event_type: 'step.start', index: 0, step: { type: 'model_output' } }),
    event({ event_type: 'step.delta', index: 0, delta: { type: 'text', text: pick(below, TEXTS) }, ...soFar }),
    event({ event_type: 'step.stop', index: 0 }),
    event({ event_type: 'interaction.completed', interaction: interaction({ status, usage }) }),
    Buffer.from('event: done\ndata: [DONE]\n\n'),
  ];
  const failure = event({ event_type: 'error', error: { code: 'resource_exhausted', message: 'Slow down.' } });
  return { ...common, ...SSE, parts, failure };
}

// --- Ollama, Cohere, Bedrock ------------------------------------------------------------------------------------------

function ollamaAnswer(below: Below): Drawn {
  const { input, output } = drawFigures(below);
  const kind = pick(below, ['chat', 'chat', 'generate', 'embed'] as const);
  const head = { model: 'answering-model', created_at: '2023-08-04T08:52:19.385406455-07:00' };
  const common = {
    name: `Ollama: ${kind}`,
    dialect: 'ollama' as const,
    vendor: 'ollama' as const,
    path: `/api/${kind}`,
  };
  if (kind === 'embed') {
    const payload = { model: head.model, embeddings: [[0.1, 0.2]], total_duration: 9, prompt_eval_count: input };
    return { ...common, ...piece(below, payload) };
  }
  const content = (text: string): object =>
    kind === 'chat'
      ? { message: { role: 'assistant', content: text, ...(below(3) === 0 && { thinking: 'Hm.' }) } }
      : { response: text };
  const end = {
    ...{ done: true, done_reason: pick(below, ['stop', 'length']), total_duration: 9, load_duration: 1 },
    // A prompt that was in the cache is not counted.
    ...(below(8) > 0 && { prompt_eval_count: input }),
    eval_count: output,
  };
  if (below(3) === 0) return { ...common, ...piece(below, { ...head, ...content(pick(below, TEXTS)), ...end }) };
  const lines = Array.from({ length: 1 + below(3) }, () =>
    line({ ...head, ...content(pick(below, TEXTS)), done: false }),
  );
  return {
    ...{ ...common, form: 'lines', contentType: 'application/x-ndjson' },
    parts: [...lines, line({ ...head, ...content(''), ...end })],
    failure: line({ error: 'an error was encountered while running the model' }),
  };
}

function cohereAnswer(below: Below): Drawn {
  const { input, output, cached } = drawFigures(below);
  const billed = { billed_units: { input_tokens: input, output_tokens: output } };
  const usage = pick(below, [
    billed,
    {
      billed_units: { input_tokens: 1, output_tokens: 1, search_units: 1 },
      tokens: { input_tokens: input, output_tokens: output },
      ...(below(2) === 0 && { cached_tokens: cached }),
    },
  ]);
  const finish_reason = pick(below, ['COMPLETE', 'COMPLETE', 'MAX_TOKENS', 'TOOL_CALL', 'STOP_SEQUENCE']);
  const common = { name: 'Cohere', dialect: 'cohere' as const, vendor: 'cohere' as const, path: '/v2/chat' };
  if (below(3) === 0) {
    const message = { role: 'assistant', content: [{ type: 'text', text: pick(below, TEXTS) }] };
    return { ...common, ...piece(below, { id: 'c1', message, finish_reason, usage }) };
  }
  const delta = (): { type: string; [member: string]: unknown } => ({
    type: 'content-delta',
    index: 0,
    delta: { message: { content: pick(below, [{ text: pick(below, TEXTS) }, { thinking: 'Hm.' }]) } },
  });
  const parts = [
    typed({ type: 'message-start', id: 'c1', delta: { message: { role: 'assistant', content: [] } } }),
    ...Array.from({ length: 1 + below(3) }, () => typed(delta())),
    typed({ type: 'content-end', index: 0 }),
    typed({ type: 'message-end', delta: { finish_reason, usage } }),
  ];
  const error = { finish_reason: 'ERROR', error: 'The model is overloaded.', usage: billed };
  return { ...common, ...SSE, parts, failure: typed({ type: 'message-end', delta: error }) };
}

const FRAMES = { form: 'frames', contentType: BEDROCK_TYPE } as const;
const BEDROCK_FAILURE = frameException('throttlingException', { message: 'Too many requests.' }).bytes;

function converseAnswer(below: Below): Drawn {
  const { input, output, cached, written } = drawFigures(below);
  const usage = {
    ...{ inputTokens: input - cached - written, outputTokens: output, totalTokens: input + output },
    ...(cached + written > 0 && { cacheReadInputTokens: cached, cacheWriteInputTokens: written }),
  };
  const stopReason = pick(below, ['end_turn', 'tool_use', 'max_tokens', 'guardrail_intervened']);
  const common = { name: 'Converse', dialect: 'converse' as const, vendor: 'bedrock' as const };
  if (below(3) === 0) {
    const message = { role: 'assistant', content: [{ text: pick(below, TEXTS) }] };
    const payload = { output: { message }, stopReason, usage, metrics: { latencyMs: 5 } };
    return { ...common, path: '/model/asked-model/converse', ...piece(below, payload) };
  }
  const delta = (): object =>
    pick(below, [{ text: pick(below, TEXTS) }, { reasoningContent: { text: 'Hm.' } }, { toolUse: { input: '{' } }]);
  const frames = [
    frame('messageStart', { role: 'assistant' }),
    ...Array.from({ length: 1 + below(3) }, () => frame('contentBlockDelta', { contentBlockIndex: 0, delta: delta() })),
    frame('contentBlockStop', { contentBlockIndex: 0 }),
    frame('messageStop', { stopReason }),
    frame('metadata', { usage, metrics: { latencyMs: 5 } }),
  ];
  const parts = frames.map(({ bytes }) => bytes);
  return { ...common, path: '/model/asked-model/converse-stream', ...FRAMES, parts, failure: BEDROCK_FAILURE };
}

/** Claude's events in Amazon's frames. */
function invocationAnswer(below: Below): Drawn {
  const { whole, events } = messageEvents(below);
  const common = { name: 'Claude on Bedrock', dialect: 'messages' as const, vendor: 'bedrock' as const };
  const model = '/model/anthropic.asked-model';
  if (below(3) === 0) return { ...common, path: `${model}/invoke`, ...piece(below, whole) };
  const parts = events.map(
    (payload) => frame('chunk', { bytes: Buffer.from(JSON.stringify(payload)).toString('base64') }).bytes,
  );
  return { ...common, path: `${model}/invoke-with-response-stream`, ...FRAMES, parts, failure: BEDROCK_FAILURE };
}

// --- all --------------------------------------------------------------------------------------------------------------

const DRAWS: readonly (readonly [weight: number, draw: (below: Below) => Drawn])[] = [
  [12, chatAnswer],
  [2, completionAnswer],
  [1, embeddingAnswer],
  [4, responsesAnswer],
  [2, mediaAnswer],
  [4, messagesAnswer],
  [4, geminiAnswer],
  [2, interactionsAnswer],
  [2, ollamaAnswer],
  [2, cohereAnswer],
  [2, converseAnswer],
  [1, invocationAnswer],
];

const WEIGHTED = DRAWS.flatMap(([weight, draw]) => Array.from({ length: weight }, () => draw));

export function drawAnswer(below: Below): DrawnAnswer {
  const drawn = pick(below, WEIGHTED)(below);
  const isInPath = drawn.path.includes('asked-model');
  const isStream = drawn.form !== 'json';
  const asksByPath = drawn.dialect === 'gemini' || drawn.path.startsWith('/model/');
  const request = {
    messages: [{ role: 'user', content: pick(below, TEXTS) }],
    ...(!isInPath && { model: 'asked-model' }),
    ...(!asksByPath && { stream: isStream }),
  };
  return { ...drawn, request };
}
