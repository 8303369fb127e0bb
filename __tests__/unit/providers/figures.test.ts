import { describe, expect, it } from '@jest/globals';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { usageOf } from '../../../lib/observe/usage.js';
import { anthropic, gemini, mistral, ollama, openai } from '../../../lib/providers/index.js';
import type { Provider, Reading } from '../../../lib/types/provider.js';
import type { Usage } from '../../../lib/types/summary.js';
import { exchangeFor } from '../../support/streams/dialects.js';

const PROVIDERS = {
  openai: openai({ apiKey: 'sk' }),
  anthropic: anthropic({ apiKey: 'sk' }),
  gemini: gemini({ apiKey: 'sk' }),
  mistral: mistral({ apiKey: 'sk' }),
  ollama: ollama(),
} satisfies Record<string, Provider>;

const exchange = exchangeFor('/');

type Dialect = keyof typeof PROVIDERS;

/** An answer: a stream of events, or JSON in one piece where it is no list. A text stands for itself. */
type Answer = readonly unknown[] | Record<string, unknown>;

function readingOf(dialect: Dialect, answer: Answer): Reading {
  const streamed = Array.isArray(answer);
  const events: readonly unknown[] = streamed ? answer : [answer];
  const reading: Reading = { streamed, usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false };
  for (const event of events) {
    const text = typeof event === 'string' ? event : JSON.stringify(event);
    PROVIDERS[dialect].read(new ParsedEvent(text, typeOf(event)), reading, exchange);
  }
  return reading;
}

const typeOf = (event: unknown): string | undefined => (event as { type?: string } | undefined)?.type;

/** Without the provider's own object. */
function figuresOf(dialect: Dialect, answer: Answer, isWhole = true): Omit<Usage, 'reported'> {
  const { reported, ...figures } = usageOf(readingOf(dialect, answer), isWhole);
  return figures;
}

const choice = (delta: object, finish_reason: string | null = null, more: object = {}) => ({
  index: 0,
  delta,
  finish_reason,
  ...more,
});
const chunk = (choices: readonly object[] | null | undefined, more: object = {}) => ({ model: 'm', choices, ...more });
const hello = chunk([choice({ content: 'Hello' })]);
const bye = chunk([choice({}, 'stop')]);
const DONE = '[DONE]';
const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const figures = { inputTokens: 9, outputTokens: 3, totalTokens: 12 };
const whole = { ...figures, complete: true };
const soFar = { ...figures, complete: false };

describe('usage of chat completions: where it is', () => {
  it.each<[string, Answer]>([
    ['a chunk without choices, as OpenAI', [hello, bye, chunk([], { usage }), DONE]],
    ['a chunk whose choices are absent, as Azure', [hello, bye, chunk(undefined, { usage }), DONE]],
    ['a chunk whose choices are null, as Azure', [hello, bye, chunk(null, { usage }), DONE]],
    ['the chunk that finishes', [hello, chunk([choice({}, 'stop')], { usage }), DONE]],
    ['the chunk that finishes, and the stream ends without a word', [hello, chunk([choice({}, 'stop')], { usage })]],
    [
      'behind the finish, with an empty choice, as OpenRouter',
      [hello, bye, chunk([choice({ content: '' })], { usage }), DONE],
    ],
    ['with an empty choice, and no finish at all', [hello, chunk([choice({ content: '' })], { usage }), DONE]],
    ['in the choice, as Moonshot', [hello, chunk([choice({}, 'stop', { usage })]), DONE]],
    ['in `x_groq`', [hello, chunk([choice({}, 'stop')], { x_groq: { id: 'req', usage } }), DONE]],
    [
      'in every chunk, as vLLM',
      [chunk([choice({ content: 'H' })], { usage }), chunk([choice({}, 'stop')], { usage }), DONE],
    ],
    ['before an object that has costs only', [hello, chunk([], { usage }), chunk([], { usage: { cost: 1 } }), DONE]],
    ['before an empty object', [hello, chunk([], { usage }), chunk([], { usage: {} }), DONE]],
    ['JSON', { ...chunk([{ index: 0, message: { content: 'Hello' }, finish_reason: 'stop' }]), usage }],
    [
      'JSON that has not finished',
      { ...chunk([{ index: 0, message: { content: 'Hello' }, finish_reason: null }]), usage },
    ],
    ['a legacy completion', { choices: [{ index: 0, text: 'Hello', finish_reason: null }], usage }],
    ['the completion of a batch', { object: 'batch', status: 'completed', usage }],
    ['a run that has ended', [{ object: 'thread.run', status: 'completed', usage }, DONE]],
    [
      'a transcription',
      [
        { type: 'transcript.text.delta', delta: 'H' },
        { type: 'transcript.text.done', text: 'H', usage },
      ],
    ],
    [
      'speech',
      [
        { type: 'speech.audio.delta', audio: 'AA' },
        { type: 'speech.audio.done', usage },
      ],
    ],
    ['an image', [{ type: 'image_generation.completed', b64_json: 'AA', usage }]],
  ])('usage of chat completions: %s', (_where, answer) => {
    expect(figuresOf('openai', answer)).toEqual(whole);
  });
});

describe('usage of chat completions: is not complete', () => {
  const begun = chunk([choice({ content: 'H' })], { usage });
  const finished = chunk([choice({}, 'stop')], { usage });
  it.each<[string, Answer, boolean, object?]>([
    ['the figures so far, and a cut', [begun, begun], false],
    ['the figures so far, and an end without a finish', [begun, begun], true],
    ['the finish, and a cut', [begun, finished], false],
    [
      'one choice of two, and a cut',
      [begun, chunk([choice({ content: 'H' }, null, { index: 1 })], { usage }), finished],
      false,
    ],
    [
      'one choice of two, and an end',
      [begun, chunk([choice({ content: 'H' }, null, { index: 1 })], { usage }), finished],
      true,
    ],
    ['a finish reason that is empty', [chunk([choice({ content: 'H' }, '')], { usage })], true],
    ['figures that came before the rest of the text', [begun, hello, bye, DONE], true],
    ['an error', [begun, { error: { message: 'No.' } }, DONE], true],
    ['an error behind the finish', [begun, finished, { error: 'No.' }], true],
    ['a run that goes on', [{ object: 'thread.run', status: 'in_progress', usage }], true],
    ['an empty object', { choices: [], usage: {} }, true, {}],
    ['counts that are text', { choices: [], usage: { prompt_tokens: '9', completion_tokens: '3' } }, true, {}],
    [
      "Cohere's own shape",
      { finish_reason: 'COMPLETE', usage: { tokens: { input_tokens: 9, output_tokens: 3 } } },
      true,
      {},
    ],
    ['what is billed by its duration', { text: 'H', usage: { type: 'duration', seconds: 9 } }, true, {}],
    ['a list', { choices: [], usage: [usage] }, true, {}],
    [
      'the usage of one choice of two',
      [
        chunk([choice({ content: 'H' }), choice({ content: 'H' }, null, { index: 1 })]),
        chunk([choice({}, 'stop', { usage })]),
        chunk([choice({}, 'stop', { index: 1, usage })]),
        DONE,
      ],
      true,
      {},
    ],
  ])('usage of chat completions: not complete: %s', (_what, answer, isWhole, expected = figures) => {
    expect(figuresOf('openai', answer, isWhole)).toEqual({ ...expected, complete: false });
  });
});

it('usage: an answer that is cut behind its end is complete', () => {
  expect(figuresOf('openai', [hello, bye, chunk([], { usage }), DONE], false)).toEqual(whole);
});

describe('finish reasons', () => {
  it.each<[string, Dialect, Answer, string | undefined]>([
    ['an empty one is none', 'openai', [chunk([choice({}, '')])], undefined],
    ['an empty one replaces none', 'openai', [bye, chunk([choice({}, '')])], 'stop'],
    ['an empty one is none', 'anthropic', [{ type: 'message_delta', delta: { stop_reason: '' } }], undefined],
    ['an empty one is none', 'ollama', [{ model: 'm', done: true, done_reason: '' }], undefined],
    ['an empty one is none', 'gemini', [{ candidates: [{ finishReason: '' }] }], undefined],
    ['unspecified is none', 'gemini', [{ candidates: [{ finishReason: 'FINISH_REASON_UNSPECIFIED' }] }], undefined],
    ['unspecified by its number is none', 'gemini', [{ candidates: [{ finishReason: 0 }] }], undefined],
    ['a number by its name', 'gemini', [{ candidates: [{ finishReason: 1 }] }], 'STOP'],
    ['a number by its name', 'gemini', [{ candidates: [{ finishReason: 5 }] }], 'OTHER'],
    // From here on Gemini's API and Vertex AI differ.
    ['a number that has two names', 'gemini', [{ candidates: [{ finishReason: 6 }] }], '6'],
    ['cancelled', 'openai', { object: 'response', status: 'cancelled' }, 'cancelled'],
  ])('finish reason: %s: %s', (_what, dialect, answer, expected) => {
    expect(readingOf(dialect, answer).finishReason).toBe(expected);
  });
});

describe('usage of chat completions: under which names', () => {
  const of = (members: object) => ({ choices: [], usage: { ...usage, ...members } });
  it.each<[string, object, object]>([
    ['cached, as OpenAI', of({ prompt_tokens_details: { cached_tokens: 8 } }), { cachedInputTokens: 8 }],
    ['cached, as Realtime', of({ input_token_details: { cached_tokens: 8 } }), { cachedInputTokens: 8 }],
    ['cached, as Moonshot and Together', of({ cached_tokens: 8 }), { cachedInputTokens: 8 }],
    ['cached, as DeepSeek', of({ prompt_cache_hit_tokens: 8, prompt_cache_miss_tokens: 1 }), { cachedInputTokens: 8 }],
    ['cached, as Mistral', of({ num_cached_tokens: 8 }), { cachedInputTokens: 8 }],
    [
      'cached, where the details are null',
      of({ prompt_tokens_details: null, cached_tokens: 8 }),
      { cachedInputTokens: 8 },
    ],
    ['none cached', of({ prompt_tokens_details: { cached_tokens: 0 } }), { cachedInputTokens: 0 }],
    ['written to a cache', of({ prompt_tokens_details: { cache_write_tokens: 8 } }), { cacheCreationInputTokens: 8 }],
    ['reasoning', of({ completion_tokens_details: { reasoning_tokens: 2 } }), { reasoningTokens: 2 }],
    // xAI.
    [
      'reasoning that is left out of the completion',
      of({
        prompt_tokens: 12,
        completion_tokens: 2,
        total_tokens: 354,
        completion_tokens_details: { reasoning_tokens: 340 },
      }),
      { inputTokens: 12, outputTokens: 342, totalTokens: 354, reasoningTokens: 340 },
    ],
    // Its Responses.
    [
      'reasoning that is not',
      {
        choices: [],
        usage: {
          input_tokens: 12,
          output_tokens: 342,
          total_tokens: 354,
          output_tokens_details: { reasoning_tokens: 340 },
        },
      },
      { inputTokens: 12, outputTokens: 342, totalTokens: 354, reasoningTokens: 340 },
    ],
    // Grok on Azure.
    [
      'cached tokens that are left out of the prompt',
      of({ prompt_tokens: 4, total_tokens: 15, prompt_tokens_details: { cached_tokens: 8 } }),
      { inputTokens: 12, outputTokens: 3, totalTokens: 15, cachedInputTokens: 8 },
    ],
    [
      'cached tokens, and reasoning, that are left out',
      of({
        prompt_tokens: 4,
        total_tokens: 17,
        prompt_tokens_details: { cached_tokens: 8 },
        completion_tokens_details: { reasoning_tokens: 2 },
      }),
      { inputTokens: 12, outputTokens: 5, totalTokens: 17, cachedInputTokens: 8, reasoningTokens: 2 },
    ],
    // Mistral, of audio.
    [
      'cached tokens that are no part of the prompt, whatever the total is',
      of({ prompt_tokens: 4, total_tokens: 400, num_cached_tokens: 300, prompt_audio_seconds: 30 }),
      { inputTokens: 4, outputTokens: 3, totalTokens: 400 },
    ],
    ['reasoning that the total does not tell of', of({ completion_tokens_details: { reasoning_tokens: 5 } }), {}],
  ])('usage of chat completions: under which names: %s', (_what, answer, expected) => {
    expect(figuresOf('openai', answer as Answer)).toEqual({ ...whole, ...expected });
    expect(figuresOf('mistral', answer as Answer)).toEqual({ ...whole, ...expected });
  });
});

describe("usage of Anthropic's messages", () => {
  const start = (members: object) => ({ type: 'message_start', message: { model: 'm', usage: members } });
  const delta = (members: object | undefined, stop_reason: string | null = 'end_turn') => ({
    type: 'message_delta',
    delta: { stop_reason },
    usage: members,
  });
  const stop = { type: 'message_stop' };
  const input = { input_tokens: 25, cache_creation_input_tokens: 0, cache_read_input_tokens: 100, output_tokens: 1 };
  const read = { inputTokens: 125, cachedInputTokens: 100, cacheCreationInputTokens: 0 };
  const compaction = { type: 'compaction', input_tokens: 60_385, output_tokens: 522 };
  const iterations = [
    compaction,
    { type: 'message', input_tokens: 612, output_tokens: 2_819 },
    { type: 'advisor_message', model: 'other', input_tokens: 5, output_tokens: 5 },
  ];

  it.each<[string, Answer, object, boolean?]>([
    [
      'the last figures',
      [start(input), delta({ output_tokens: 15 }), stop],
      { ...read, outputTokens: 15, totalTokens: 140, complete: true },
    ],
    [
      'zeros where a relay has left out the input',
      [start(input), delta({ input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 15 }), stop],
      { ...read, outputTokens: 15, totalTokens: 140, complete: true },
    ],
    [
      'all of it at the end, where a relay begins with zeros',
      [start({ input_tokens: 0, output_tokens: 0 }), delta({ input_tokens: 25, output_tokens: 15 }), stop],
      { inputTokens: 25, outputTokens: 15, totalTokens: 40, complete: true },
    ],
    [
      'no figures at the end',
      [start(input), delta(undefined), stop],
      { ...read, outputTokens: 1, totalTokens: 126, complete: false },
    ],
    [
      'no end',
      [start(input), delta({ output_tokens: 15 })],
      { ...read, outputTokens: 15, totalTokens: 140, complete: true },
    ],
    [
      'a cut before the end',
      [start(input), delta({ output_tokens: 15 })],
      { ...read, outputTokens: 15, totalTokens: 140, complete: false },
      false,
    ],
    [
      'a cut before the reason to stop',
      [start(input), delta({ output_tokens: 15 }, null)],
      { ...read, outputTokens: 15, totalTokens: 140, complete: false },
    ],
    [
      'an error behind the figures',
      [start(input), delta({ output_tokens: 15 }), { type: 'error', error: { type: 'overloaded_error' } }],
      { ...read, outputTokens: 15, totalTokens: 140, complete: false },
    ],
    [
      'the compaction of the context',
      { type: 'message', usage: { input_tokens: 612, output_tokens: 2_819, iterations } },
      {
        inputTokens: 60_997,
        outputTokens: 3_341,
        totalTokens: 64_338,
        complete: true,
      },
    ],
    [
      'the compaction of the context, in a stream',
      [start({ input_tokens: 612, output_tokens: 1 }), delta({ output_tokens: 2_819, iterations }), stop],
      { inputTokens: 60_997, outputTokens: 3_341, totalTokens: 64_338, complete: true },
    ],
    [
      'a compaction with a cache',
      {
        type: 'message',
        usage: {
          ...input,
          iterations: [{ ...compaction, cache_read_input_tokens: 50, cache_creation_input_tokens: 7 }],
        },
      },
      {
        inputTokens: 125 + 60_385 + 57,
        outputTokens: 523,
        totalTokens: 125 + 60_385 + 57 + 523,
        cachedInputTokens: 150,
        cacheCreationInputTokens: 7,
        complete: true,
      },
    ],
    [
      'iterations that are none',
      { type: 'message', usage: { input_tokens: 1, output_tokens: 2, iterations: [null, 'x', [compaction]] } },
      {
        inputTokens: 1,
        outputTokens: 2,
        totalTokens: 3,
        complete: true,
      },
    ],
    ['an empty object', { type: 'message', usage: {} }, { complete: false }],
  ])("usage of Anthropic's messages: %s", (_what, answer, expected, isWhole = true) => {
    expect(figuresOf('anthropic', answer, isWhole)).toEqual(expected);
  });
});

describe("usage of Gemini's chunks", () => {
  const usageMetadata = { promptTokenCount: 9, candidatesTokenCount: 3, totalTokenCount: 12 };
  const part = (text: string, finishReason?: unknown, index = 0) => ({
    content: { parts: [{ text }] },
    index,
    finishReason,
  });
  it.each<[string, Answer, object, boolean?]>([
    ['with the finish', [{ candidates: [part('H', 'STOP')], usageMetadata }], whole],
    ['with a finish by its number', [{ candidates: [part('H', 1)], usageMetadata }], whole],
    ['JSON with a finish by its number', { candidates: [part('H', 1)], usageMetadata }, whole],
    ['JSON without a finish', { candidates: [part('H')], usageMetadata }, whole],
    ['behind the finish, without candidates', [{ candidates: [part('H', 'STOP')] }, { usageMetadata }], whole],
    ['a prompt that was blocked', [{ promptFeedback: { blockReason: 'SAFETY' }, usageMetadata }], whole],
    ['without candidates in the middle', [{ candidates: [part('H')] }, { usageMetadata }], soFar],
    ['with the finish, and a cut', [{ candidates: [part('H', 'STOP')], usageMetadata }], soFar, false],
    ['one candidate of two', [{ candidates: [part('H'), part('H', 'STOP', 1)], usageMetadata }], soFar],
    [
      'before the last of the text',
      [{ candidates: [part('H')], usageMetadata }, { candidates: [part('i', 'STOP')] }],
      soFar,
    ],
    ['and an error', [{ candidates: [part('H', 'STOP')], usageMetadata }, { error: { code: 503 } }], soFar],
    ['an empty object', [{ candidates: [part('H', 'STOP')], usageMetadata: {} }], { complete: false }],
  ])("usage of Gemini's chunks: %s", (_what, answer, expected, isWhole = true) => {
    expect(figuresOf('gemini', answer, isWhole)).toEqual(expected);
  });
});

describe("usage of Ollama's lines", () => {
  const last = { model: 'm', done: true, prompt_eval_count: 9, eval_count: 3 };
  it.each<[string, Answer, object, boolean?]>([
    ['the last line', [{ model: 'm', response: 'H', done: false }, last], whole],
    ['the last line, and a cut behind it', [last], whole, false],
    ['embeddings', { model: 'm', embeddings: [[1]], prompt_eval_count: 9 }, { inputTokens: 9, complete: true }],
    ['a model that is only loaded', [{ model: 'm', done: true, load_duration: 5 }], { complete: false }],
    ['counts that are text', [{ model: 'm', done: true, eval_count: '3' }], { complete: false }],
  ])("usage of Ollama's lines: %s", (_what, answer, expected, isWhole = true) => {
    const { complete, ...rest } = expected as Usage;
    const sum = rest.outputTokens === undefined ? {} : { totalTokens: 12 };
    expect(figuresOf('ollama', answer, isWhole)).toEqual({ ...sum, ...rest, complete });
  });
});

describe("usage of OpenAI's responses", () => {
  const response = (status: string | undefined, given: object | null) => ({ object: 'response', status, usage: given });
  const own = { input_tokens: 9, output_tokens: 3, total_tokens: 12 };
  it.each<[string, Answer, object, boolean?]>([
    ['completed', [{ type: 'response.completed', response: response('completed', own) }], whole, false],
    ['without a status', [{ type: 'response.completed', response: response(undefined, own) }], whole, false],
    ['failed', [{ type: 'response.failed', response: response('failed', own) }], whole, false],
    ['JSON', response('completed', own), whole],
    ['JSON that was cancelled', response('cancelled', own), whole],
    ['in the background', response('queued', null), { complete: false }],
    ['figures so far', [{ type: 'response.in_progress', response: response('in_progress', own) }], soFar],
  ])("usage of OpenAI's responses: %s", (_what, answer, expected, isWhole = true) => {
    expect(figuresOf('openai', answer, isWhole)).toEqual(expected);
  });
});

describe("usage: the provider's own object", () => {
  it.each<[Dialect, Answer, object]>([
    [
      'openai',
      [hello, chunk([], { usage: { ...usage, cost: 0.5, details: { a: [1] } } })],
      { ...usage, cost: 0.5, details: { a: [1] } },
    ],
    ['openai', { choices: [], usage: { type: 'duration', seconds: 9 } }, { type: 'duration', seconds: 9 }],
    ['mistral', { choices: [], usage: { ...usage, prompt_audio_seconds: 3 } }, { ...usage, prompt_audio_seconds: 3 }],
    [
      'anthropic',
      [
        { type: 'message_start', message: { usage: { input_tokens: 5, output_tokens: 1, service_tier: 'standard' } } },
        {
          type: 'message_delta',
          delta: {},
          usage: { input_tokens: null, output_tokens: 7, iterations: [{ type: 'message' }] },
        },
      ],
      { input_tokens: 5, output_tokens: 7, service_tier: 'standard', iterations: [{ type: 'message' }] },
    ],
    [
      'gemini',
      [{ usageMetadata: { promptTokenCount: 4, trafficType: 'ON_DEMAND' } }],
      { promptTokenCount: 4, trafficType: 'ON_DEMAND' },
    ],
    [
      'ollama',
      [{ model: 'm', done: true, eval_count: 3, prompt_eval_count: 4, total_duration: 5 }],
      { eval_count: 3, prompt_eval_count: 4, total_duration: 5 },
    ],
  ])("usage, the provider's own object: %s: %j", (dialect, answer, expected) => {
    const { reported } = usageOf(readingOf(dialect, answer), true);
    expect(reported).toEqual(expected);
    expect(Object.isFrozen(reported)).toBe(true);
    for (const value of Object.values(reported ?? {})) expect(Object.isFrozen(value)).toBe(true);
  });

  const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });
  it.each<[string, unknown]>([
    ['members', Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`m${i}`, i]))],
    ['items', Array.from({ length: 2_000 }, (_, i) => i)],
    ['text', 'x'.repeat(2_000)],
    ['depth', nested(20)],
  ])("usage, the provider's own object: is left out where it has too much: %s", (_what, extra) => {
    const told = usageOf(readingOf('openai', [{ choices: [], usage: { ...usage, extra } }]), true);
    expect(told).toMatchObject({ inputTokens: 9 });
    expect(told).not.toHaveProperty('reported');
  });

  it("usage, the provider's own object: is not the one that hooks are handed", () => {
    const event = new ParsedEvent(JSON.stringify({ choices: [], usage }));
    const reading = readingOf('openai', []);
    PROVIDERS.openai.read(event, reading, exchange);
    (event.json() as { usage: { prompt_tokens: number } }).usage.prompt_tokens = 1;
    expect(usageOf(reading, true)).toMatchObject({ inputTokens: 9, reported: usage });
  });
});

describe('the first piece of content', () => {
  const item = (type: string, members: object) => ({ type, item: members });
  const block = (content_block: object) => ({ type: 'content_block_start', content_block });
  const parts = (...list: object[]) => ({ candidates: [{ content: { parts: list } }] });
  const reasoning = (members: object) =>
    item('response.output_item.added', { type: 'reasoning', id: 'rs', ...members });

  it.each<[boolean, Dialect, unknown]>([
    [true, 'openai', hello],
    [true, 'openai', chunk([choice({ refusal: 'No' })])],
    [true, 'openai', chunk([choice({ reasoning_content: 'Hm' })])],
    [true, 'openai', chunk([choice({ reasoning_details: [{ type: 'reasoning.text', text: 'Hm' }] })])],
    [
      true,
      'openai',
      chunk([choice({ tool_calls: [{ index: 0, id: 'c', function: { name: 'now', arguments: '' } }] })]),
    ],
    [true, 'openai', chunk([choice({ tool_calls: [{ index: 0, function: { arguments: '{' } }] })])],
    [true, 'openai', chunk([choice({ audio: { id: 'audio', data: 'AA' } })])],
    [true, 'openai', chunk([choice({ images: [{ image_url: { url: 'data:' } }] })])],
    [false, 'openai', chunk([choice({ role: 'assistant', content: '' })])],
    [false, 'openai', chunk([choice({ role: 'assistant', content: null, refusal: null })])],
    [false, 'openai', chunk([choice({ content: [{ type: 'text', text: '' }] })])],
    [false, 'openai', chunk([choice({ audio: { id: 'audio' } })])],
    [false, 'openai', chunk([choice({ tool_calls: [] })])],
    [
      false,
      'openai',
      chunk([choice({ reasoning_details: [{ type: 'reasoning.text', text: '', format: 'f', index: 0 }] })]),
    ],
    [true, 'openai', { type: 'response.output_text.delta', delta: 'H' }],
    [false, 'openai', { type: 'response.output_text.delta', delta: '' }],
    [true, 'openai', { type: 'response.refusal.delta', delta: 'No' }],
    [true, 'openai', { type: 'response.reasoning_summary_text.delta', delta: 'Hm' }],
    [true, 'openai', { type: 'response.function_call_arguments.delta', delta: '{' }],
    [true, 'openai', { type: 'response.audio.delta', delta: 'AA' }],
    [true, 'openai', { type: 'response.image_generation_call.partial_image', partial_image_b64: 'AA' }],
    [true, 'openai', item('response.output_item.added', { type: 'function_call', name: 'now', arguments: '' })],
    [true, 'openai', item('response.output_item.added', { type: 'web_search_call', id: 'ws', status: 'in_progress' })],
    [true, 'openai', item('response.output_item.done', { type: 'mcp_call', id: 'mcp' })],
    [
      true,
      'openai',
      item('response.output_item.done', { type: 'message', content: [{ type: 'output_text', text: 'H' }] }),
    ],
    [
      false,
      'openai',
      item('response.output_item.added', { type: 'message', id: 'msg', role: 'assistant', content: [] }),
    ],
    [false, 'openai', reasoning({ summary: [] })],
    [false, 'openai', reasoning({ summary: [], encrypted_content: 'gAAAA' })],
    [false, 'openai', { type: 'response.content_part.added', part: { type: 'output_text', text: '' } }],
    [false, 'openai', { type: 'response.created', response: { output: [] } }],
    [true, 'openai', { type: 'image_generation.partial_image', b64_json: 'AA' }],
    [true, 'openai', { type: 'speech.audio.delta', audio: 'AA' }],
    [true, 'openai', { type: 'transcript.text.delta', delta: 'H' }],
    [true, 'openai', { data: [{ b64_json: 'AA' }] }],
    [true, 'openai', { data: [{ url: 'https://images.example/1' }] }],
    [true, 'openai', { text: 'H' }],
    [false, 'openai', { data: [{ object: 'embedding', embedding: [1] }] }],
    [true, 'mistral', chunk([choice({ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'Hm' }] }] })])],
    [true, 'mistral', { type: 'transcription.text.delta', text: 'H' }],
    [true, 'anthropic', { type: 'content_block_delta', delta: { type: 'text_delta', text: 'H' } }],
    [true, 'anthropic', { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'Hm' } }],
    [true, 'anthropic', block({ type: 'tool_use', id: 'toolu', name: 'now', input: {} })],
    [true, 'anthropic', block({ type: 'redacted_thinking', data: 'AA' })],
    [false, 'anthropic', block({ type: 'text', text: '' })],
    [false, 'anthropic', block({ type: 'thinking', thinking: '', signature: 'AA' })],
    [false, 'anthropic', { type: 'content_block_delta', delta: { type: 'text_delta', text: '' } }],
    [false, 'anthropic', { type: 'ping' }],
    [false, 'anthropic', { type: 'message', content: [] }],
    [true, 'gemini', parts({ text: 'H' })],
    [true, 'gemini', parts({ text: 'Hm', thought: true })],
    [true, 'gemini', parts({ functionCall: { name: 'now', args: {} } })],
    [true, 'gemini', parts({ inlineData: { mimeType: 'image/png', data: 'AA' } })],
    [false, 'gemini', parts({ text: '' })],
    [false, 'gemini', parts({ thoughtSignature: 'AA', text: '' })],
    [false, 'gemini', parts({ inlineData: { mimeType: 'image/png', data: '' } })],
    [true, 'ollama', { done: false, response: 'H' }],
    [true, 'ollama', { done: false, message: { role: 'assistant', content: '', thinking: 'Hm' } }],
    [true, 'ollama', { done: false, message: { tool_calls: [{ function: { name: 'now', arguments: {} } }] } }],
    [false, 'ollama', { done: false, message: { role: 'assistant', content: '', tool_calls: [] } }],
  ])('first piece of content: %s: %s %j', (expected, dialect, event) => {
    expect(readingOf(dialect, [event]).hasContent).toBe(expected);
  });
});
