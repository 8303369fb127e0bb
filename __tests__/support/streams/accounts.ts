/*
 * Answers in the shapes that providers publish, made of figures that are known: what is to be told of them is known by construction,
 * and by no code of the package.
 */

/** The figures of one answer: `cached` and `written` are parts of `input`, `reasoning` is one of `output`. */
export interface Account {
  input: number;
  output: number;
  cached: number;
  written: number;
  reasoning: number;
}

/** By the names of `Usage`. */
export type Expected = Record<string, number>;

/** A part of an answer, and the figures that are known behind it; those of the part before, where it tells none. */
interface AccountPart {
  text: string;
  figures?: Expected;
  /** From here on they are final. */
  isEnd?: boolean;
}

export interface Shape {
  dialect: 'openai' | 'compatible' | 'mistral' | 'anthropic' | 'gemini' | 'ollama';
  name: string;
  path: string;
  contentType: string;
  parts(account: Account): AccountPart[];
}

const TEXT = 'Zürich 🙂 "usage":{"prompt_tokens":1}';

/** The most that an event has that is held, and a text that is longer. */
export const EVENT_SIZE = 4_096;
const LARGE = TEXT.repeat(200);

const data = (payload: unknown): string => `data: ${JSON.stringify(payload)}\n\n`;
const typed = (payload: { type: string }): string => `event: ${payload.type}\r\n${data(payload)}`;
const line = (payload: unknown): string => `${JSON.stringify(payload)}\n`;

const all = ({ input, output, cached, written, reasoning }: Account): Expected => ({
  inputTokens: input,
  outputTokens: output,
  totalTokens: input + output,
  cachedInputTokens: cached,
  cacheCreationInputTokens: written,
  reasoningTokens: reasoning,
});
const plain = ({ input, output }: Account): Expected => ({
  inputTokens: input,
  outputTokens: output,
  totalTokens: input + output,
});
const without = (figures: Expected, ...names: string[]): Expected =>
  Object.fromEntries(Object.entries(figures).filter(([name]) => !names.includes(name)));

// --- chat completions -------------------------------------------------------------------------------------------------

const chunk = (choices: unknown, more: object = {}): string =>
  data({ id: 'chatcmpl-1', object: 'chat.completion.chunk', model: 'm', choices, ...more });
const choice = (delta: object, finish_reason: string | null = null, more: object = {}): object => ({
  index: 0,
  delta,
  finish_reason,
  ...more,
});
const text = chunk([choice({ content: TEXT })]);
const finish = chunk([choice({}, 'stop')]);
const done = (figures: Expected): AccountPart => ({ text: 'data: [DONE]\n\n', figures, isEnd: true });

const openaiUsage = ({ input, output, cached, written, reasoning }: Account): object => ({
  prompt_tokens: input,
  completion_tokens: output,
  total_tokens: input + output,
  prompt_tokens_details: { cached_tokens: cached, cache_write_tokens: written },
  completion_tokens_details: { reasoning_tokens: reasoning },
});
const bareUsage = ({ input, output }: Account): object => ({
  prompt_tokens: input,
  completion_tokens: output,
  total_tokens: input + output,
});

const chat = (name: string, dialect: Shape['dialect'], parts: Shape['parts']): Shape => ({
  dialect,
  name,
  path: '/v1/chat/completions',
  contentType: 'text/event-stream',
  parts,
});

/** The chunks of an answer, the last of which has the usage. */
const chatOf = (
  name: string,
  dialect: Shape['dialect'],
  last: (account: Account) => string,
  expected: (account: Account) => Expected,
): Shape =>
  chat(name, dialect, (account) => {
    const figures = expected(account);
    return [{ text }, { text: last(account), figures }, done(figures)];
  });

const json = (
  name: string,
  dialect: Shape['dialect'],
  path: string,
  payload: (account: Account) => object,
  expected: (account: Account) => Expected,
): Shape => ({
  dialect,
  name,
  path,
  contentType: 'application/json',
  parts: (account) => [{ text: JSON.stringify(payload(account)), figures: expected(account), isEnd: true }],
});

/** Only the total has what was cached. */
const cachedBeside = (name: string, cachedOf: (account: Account) => number): Shape =>
  chatOf(
    name,
    'compatible',
    (a) => {
      const usage = { ...bareUsage(a), prompt_tokens: a.input - cachedOf(a) };
      return chunk([choice({}, 'stop')], {
        usage: { ...usage, prompt_tokens_details: { cached_tokens: cachedOf(a) } },
      });
    },
    (a) => ({ ...plain(a), cachedInputTokens: cachedOf(a) }),
  );

const CHATS: readonly Shape[] = [
  chatOf('a chunk without choices', 'openai', (a) => finish + chunk([], { usage: openaiUsage(a) }), all),
  chatOf('choices that are null', 'compatible', (a) => finish + chunk(null, { usage: openaiUsage(a) }), all),
  chatOf('the chunk that finishes', 'mistral', (a) => chunk([choice({}, 'stop')], { usage: bareUsage(a) }), plain),
  chatOf('an empty choice', 'compatible', (a) => chunk([choice({ content: '' })], { usage: openaiUsage(a) }), all),
  chatOf('the choice', 'compatible', (a) => chunk([choice({}, 'stop', { usage: bareUsage(a) })]), plain),
  chatOf('x_groq', 'compatible', (a) => chunk([choice({}, 'stop')], { x_groq: { usage: bareUsage(a) } }), plain),
  chatOf(
    'cached tokens at the top',
    'compatible',
    (a) => chunk([choice({}, 'stop')], { usage: { ...bareUsage(a), cached_tokens: a.cached } }),
    (a) => ({ ...plain(a), cachedInputTokens: a.cached }),
  ),
  chatOf(
    'hits and misses',
    'compatible',
    (a) =>
      finish +
      chunk([], {
        usage: {
          ...bareUsage(a),
          prompt_cache_hit_tokens: a.cached,
          prompt_cache_miss_tokens: a.input - a.cached,
        },
      }),
    (a) => ({ ...plain(a), cachedInputTokens: a.cached }),
  ),
  chatOf(
    'num_cached_tokens',
    'mistral',
    (a) => chunk([choice({}, 'stop')], { usage: { ...bareUsage(a), num_cached_tokens: a.cached } }),
    (a) => ({ ...plain(a), cachedInputTokens: a.cached }),
  ),
  chatOf(
    'reasoning beside the completion',
    'compatible',
    (a) =>
      chunk([choice({}, 'stop')], {
        usage: { ...openaiUsage(a), completion_tokens: a.output - a.reasoning, total_tokens: a.input + a.output },
      }),
    all,
  ),
  cachedBeside('many cached tokens beside the prompt', (a) => a.cached),
  cachedBeside('few cached tokens beside the prompt', (a) => a.written),
  chat('the figures so far in every chunk', 'compatible', (account) => {
    const soFar = { ...account, output: 1, reasoning: 0 };
    return [
      { text: chunk([choice({ content: TEXT })], { usage: openaiUsage(soFar) }), figures: all(soFar) },
      { text: chunk([choice({}, 'stop')], { usage: openaiUsage(account) }), figures: all(account) },
      done(all(account)),
    ];
  }),
  chat('a chunk that is too large', 'openai', (account) => [
    { text },
    { text: chunk([choice({ content: LARGE })]) + finish },
    { text: chunk([], { usage: openaiUsage(account) }), figures: all(account) },
    done(all(account)),
  ]),
  chat('figures in a chunk that is too large', 'compatible', (account) => [
    { text },
    { text: chunk([choice({ content: LARGE }, 'stop')], { usage: openaiUsage(account) }), figures: all(account) },
    done(all(account)),
  ]),
  json(
    'JSON that is too large',
    'openai',
    '/v1/chat/completions',
    (a) => ({ object: 'chat.completion', choices: [{ index: 0, message: { content: LARGE } }], usage: openaiUsage(a) }),
    all,
  ),
  json(
    'JSON',
    'openai',
    '/v1/chat/completions',
    (a) => ({ object: 'chat.completion', choices: [{ index: 0, message: { content: TEXT } }], usage: openaiUsage(a) }),
    all,
  ),
];

// --- the others -------------------------------------------------------------------------------------------------------

const responsesUsage = ({ input, output, cached, written, reasoning }: Account): object => ({
  input_tokens: input,
  output_tokens: output,
  total_tokens: input + output,
  input_tokens_details: { cached_tokens: cached, cache_write_tokens: written },
  output_tokens_details: { reasoning_tokens: reasoning },
});
const response = (status: string, usage: object | null): object => ({ object: 'response', model: 'm', status, usage });

const RESPONSES: readonly Shape[] = [
  {
    dialect: 'openai',
    name: 'a response',
    path: '/v1/responses',
    contentType: 'text/event-stream',
    parts: (account) => [
      { text: typed({ type: 'response.created', ...{ response: response('in_progress', null) } }) },
      { text: typed({ type: 'response.output_text.delta', ...{ delta: TEXT } }) },
      {
        text: typed({ type: 'response.completed', ...{ response: response('completed', responsesUsage(account)) } }),
        figures: all(account),
        isEnd: true,
      },
    ],
  },
  json('a response in JSON', 'openai', '/v1/responses', (a) => response('completed', responsesUsage(a)), all),
];

/** What is not from a cache, nor written to one, is counted apart. */
const anthropicUsage = ({ input, output, cached, written, reasoning }: Account): object => ({
  input_tokens: input - cached - written,
  cache_read_input_tokens: cached,
  cache_creation_input_tokens: written,
  output_tokens: output,
  output_tokens_details: { thinking_tokens: reasoning },
});

const ANTHROPIC: readonly Shape[] = [
  {
    dialect: 'anthropic',
    name: 'a message',
    path: '/v1/messages',
    contentType: 'text/event-stream',
    parts: (account) => {
      const begun = { ...account, output: 1, reasoning: 0 };
      return [
        { text: typed({ type: 'ping' }) },
        {
          text: typed({ type: 'message_start', ...{ message: { model: 'm', usage: anthropicUsage(begun) } } }),
          figures: all(begun),
        },
        { text: typed({ type: 'content_block_delta', ...{ delta: { type: 'text_delta', text: TEXT } } }) },
        {
          text: typed({
            type: 'message_delta',
            ...{
              delta: { stop_reason: 'end_turn' },
              usage: {
                output_tokens: account.output,
                output_tokens_details: { thinking_tokens: account.reasoning },
              },
            },
          }),
          figures: all(account),
        },
        { text: typed({ type: 'message_stop' }), isEnd: true },
      ];
    },
  },
  json(
    'a message that was compacted',
    'anthropic',
    '/v1/messages',
    (a) => ({
      type: 'message',
      content: [{ type: 'text', text: TEXT }],
      usage: { ...anthropicUsage(a), iterations: [{ type: 'compaction', input_tokens: 1_000, output_tokens: 100 }] },
    }),
    (a) => all({ ...a, input: a.input + 1_000, output: a.output + 100 }),
  ),
];

const geminiUsage = ({ input, output, cached, reasoning }: Account): object => ({
  promptTokenCount: input,
  cachedContentTokenCount: cached,
  candidatesTokenCount: output - reasoning,
  thoughtsTokenCount: reasoning,
  totalTokenCount: input + output,
});
const geminiFigures = (account: Account): Expected => without(all(account), 'cacheCreationInputTokens');
const geminiChunk = (account: Account, finishReason?: string | number): object => ({
  candidates: [{ content: { parts: [{ text: TEXT }] }, index: 0, finishReason }],
  usageMetadata: geminiUsage(account),
});
const geminiParts =
  (write: (payload: object, isFirst: boolean) => string, end: string): Shape['parts'] =>
  (account) => {
    const soFar = { ...account, output: account.reasoning + 1 };
    return [
      { text: write(geminiChunk(soFar), true), figures: geminiFigures(soFar) },
      { text: write(geminiChunk(account, 'STOP'), false), figures: geminiFigures(account) },
      { text: end, isEnd: true },
    ];
  };

const GEMINI: readonly Shape[] = [
  {
    dialect: 'gemini',
    name: 'chunks in Server-Sent Events',
    path: '/v1beta/models/m:streamGenerateContent?alt=sse',
    contentType: 'text/event-stream',
    parts: geminiParts(data, ': end\n\n'),
  },
  {
    dialect: 'gemini',
    name: 'chunks in an array',
    path: '/v1beta/models/m:streamGenerateContent',
    contentType: 'application/json',
    parts: geminiParts((payload, isFirst) => `${isFirst ? '[' : ',\r\n'}${JSON.stringify(payload)}`, ']'),
  },
  json('chunks in one piece', 'gemini', '/v1beta/models/m:generateContent', (a) => geminiChunk(a, 1), geminiFigures),
];

const OLLAMA: readonly Shape[] = [
  {
    dialect: 'ollama',
    name: 'lines',
    path: '/api/chat',
    contentType: 'application/x-ndjson',
    parts: (account) => [
      { text: line({ model: 'm', message: { content: TEXT }, done: false }) },
      {
        text: line({ model: 'm', done: true, prompt_eval_count: account.input, eval_count: account.output }),
        figures: plain(account),
        isEnd: true,
      },
    ],
  },
];

export const SHAPES: readonly Shape[] = [...CHATS, ...RESPONSES, ...ANTHROPIC, ...GEMINI, ...OLLAMA];

/** Answers whose last event lacks its end: where one is cut behind that, nobody knows that it is all. */
export const UNFINISHED: readonly Shape[] = [
  chat('an end without its blank line', 'openai', (account) => [
    { text: text + finish },
    { text: chunk([choice({ content: TEXT })]) },
    {
      text: chunk([], { usage: openaiUsage(account) }).trimEnd(),
      figures: all(account),
      isEnd: true,
    },
  ]),
];

/** What is to be told of the first `count` parts of an answer. */
export function expectedOf(parts: readonly AccountPart[], count: number): Expected & { complete: boolean } {
  const sent = parts.slice(0, count);
  const figures = sent.findLast((part) => part.figures !== undefined)?.figures ?? {};
  return { ...figures, complete: sent.at(-1)?.isEnd === true } as Expected & { complete: boolean };
}

/** Where an answer may be cut. JSON in one piece has no parts, and Gemini's array has its last byte only. */
export const cutsOf = (parts: readonly AccountPart[]): number[] =>
  parts.map((_part, i) => i).filter((count) => count > 0);
