import Anthropic from '@anthropic-ai/sdk';
import type { GoogleGenAI } from '@google/genai';
import type { Mistral } from '@mistralai/mistralai';
import OpenAI from 'openai';
import {
  anthropic,
  gemini,
  mistral,
  openai,
  type Provider,
  type ProviderOptions,
  type Usage,
} from '../../../lib/providers/index.js';
import {
  anthropicText,
  anthropicWhole,
  geminiSse,
  geminiWhole,
  mistralChat,
  mistralWhole,
  openaiChat,
  openaiChatWhole,
  openaiResponses,
  openaiResponsesWhole,
  type ProviderAnswer,
} from '../streams/dialects.js';

/** What an SDK says of an answer, usage under our names. */
interface Said {
  text: string;
  usage: Omit<Usage, 'complete'>;
}

/** An answer that an SDK reads. */
export interface SdkStream {
  /** So far. */
  readonly said: Said;
  /** Reads on until the text includes this. */
  untilText(text: string): Promise<void>;
  /** Reads to the end; rejects where the SDK throws. */
  toEnd(): Promise<void>;
  /** By the means of the SDK. */
  abort(): void;
}

export interface Sdk {
  name: string;
  provider(options: ProviderOptions): Provider;
  /** What is sent while its streams are silent. */
  heartbeat: string;
  /** It throws what an error event says, and is sent one. */
  showsErrors: boolean;
  /** An answer as the provider streams it, and one in one piece. */
  streamed: ProviderAnswer;
  whole: ProviderAnswer;
  /** Asks for a stream; resolves with its head. It never tries again by itself. */
  stream(url: string, tap?: typeof fetch): Promise<SdkStream>;
  ask(url: string): Promise<Said>;
}

/** The key that the SDKs are given: nobody but the proxy may see it. */
export const CALLERS_KEY = 'sk-callers';

/** What is asked does not matter, but has to be well-formed. */
export const PROMPT = 'Hi';

export const messages = [{ role: 'user' as const, content: PROMPT }];

/** @param take adds what a chunk says */
export function reading<T>(
  chunks: AsyncIterable<T>,
  take: (chunk: T, said: Said) => void,
  abort: () => void,
): SdkStream {
  const iterator = chunks[Symbol.asyncIterator]();
  const said: Said = { text: '', usage: {} };
  const next = async (): Promise<boolean> => {
    const { done, value } = await iterator.next();
    if (done !== true) take(value, said);
    return done !== true;
  };
  return {
    said,
    async untilText(text) {
      while (!said.text.includes(text)) if (!(await next())) throw new Error(`The stream ended without ${text}`);
    },
    async toEnd() {
      while (await next());
    },
    abort,
  };
}

// --- OpenAI -----------------------------------------------------------------------------------------------------------

/** Whatever the environment holds. */
export const openaiClient = (url: string, tap = fetch): OpenAI =>
  new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: CALLERS_KEY,
    organization: null,
    project: null,
    maxRetries: 0,
    fetch: tap,
  });

function chatUsage(usage: OpenAI.CompletionUsage): Said['usage'] {
  const { prompt_tokens_details: ofInput, completion_tokens_details: ofOutput } = usage;
  return defined({
    inputTokens: usage.prompt_tokens,
    outputTokens: usage.completion_tokens,
    totalTokens: usage.total_tokens,
    cachedInputTokens: ofInput?.cached_tokens,
    cacheCreationInputTokens: ofInput?.cache_write_tokens,
    reasoningTokens: ofOutput?.reasoning_tokens,
  });
}

export const openaiSdk: Sdk = {
  name: 'openai, chat completions',
  heartbeat: ': ping\n\n',
  showsErrors: true,
  provider: openai,
  streamed: openaiChat,
  whole: openaiChatWhole,
  async stream(url, tap) {
    const stream_options = { include_usage: true };
    const params = { model: 'm', messages, stream: true as const, stream_options };
    const stream = await openaiClient(url, tap).chat.completions.create(params);
    return reading(
      stream,
      ({ choices, usage }, said) => {
        said.text += choices[0]?.delta.content ?? '';
        if (usage != null) said.usage = chatUsage(usage);
      },
      () => stream.controller.abort(),
    );
  },
  async ask(url) {
    const { choices, usage } = await openaiClient(url).chat.completions.create({ model: 'm', messages });
    return { text: choices[0]?.message.content ?? '', usage: usage === undefined ? {} : chatUsage(usage) };
  },
};

function responsesUsage(usage: OpenAI.Responses.ResponseUsage): Said['usage'] {
  return {
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
    totalTokens: usage.total_tokens,
    cachedInputTokens: usage.input_tokens_details.cached_tokens,
    cacheCreationInputTokens: usage.input_tokens_details.cache_write_tokens,
    reasoningTokens: usage.output_tokens_details.reasoning_tokens,
  };
}

export const openaiResponsesSdk: Sdk = {
  name: 'openai, responses',
  heartbeat: ': ping\n\n',
  showsErrors: true,
  provider: openai,
  streamed: openaiResponses,
  whole: openaiResponsesWhole,
  async stream(url, tap) {
    const stream = await openaiClient(url, tap).responses.create({ model: 'm', input: PROMPT, stream: true });
    return reading(
      stream,
      (event, said) => {
        if (event.type === 'response.output_text.delta') said.text += event.delta;
        if (event.type === 'response.completed' && event.response.usage !== undefined) {
          said.usage = responsesUsage(event.response.usage);
        }
      },
      () => stream.controller.abort(),
    );
  },
  async ask(url) {
    const { output_text, usage } = await openaiClient(url).responses.create({ model: 'm', input: PROMPT });
    return { text: output_text, usage: usage === undefined ? {} : responsesUsage(usage) };
  },
};

// --- Anthropic --------------------------------------------------------------------------------------------------------

export const anthropicClient = (url: string, tap = fetch): Anthropic =>
  new Anthropic({ baseURL: url, apiKey: CALLERS_KEY, authToken: null, maxRetries: 0, fetch: tap });

export const anthropicParams = { model: 'm', max_tokens: 10, messages };

/** Anthropic gives no total, and counts apart what a cache had to do with. */
function messageUsage(usage: Anthropic.Usage): Said['usage'] {
  const { input_tokens, output_tokens, cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  const inputTokens = input_tokens + (read ?? 0) + (written ?? 0);
  return defined({
    inputTokens,
    outputTokens: output_tokens,
    totalTokens: inputTokens + output_tokens,
    cachedInputTokens: read ?? undefined,
    cacheCreationInputTokens: written ?? undefined,
  });
}

export const anthropicRawSdk: Sdk = {
  name: 'anthropic, raw',
  heartbeat: ': ping\n\n',
  showsErrors: true,
  provider: anthropic,
  streamed: anthropicText,
  whole: anthropicWhole,
  async stream(url, tap) {
    const stream = await anthropicClient(url, tap).messages.create({ ...anthropicParams, stream: true });
    let usage: Anthropic.Usage;
    return reading(
      stream,
      (event, said) => {
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') said.text += event.delta.text;
        if (event.type === 'message_start') usage = event.message.usage;
        if (event.type === 'message_delta') usage = { ...usage, output_tokens: event.usage.output_tokens };
        said.usage = messageUsage(usage);
      },
      () => stream.controller.abort(),
    );
  },
  async ask(url) {
    const { content, usage } = await anthropicClient(url).messages.create(anthropicParams);
    return {
      text: content.map((block) => (block.type === 'text' ? block.text : '')).join(''),
      usage: messageUsage(usage),
    };
  },
};

export const anthropicStreamSdk: Sdk = {
  ...anthropicRawSdk,
  name: 'anthropic, .stream()',
  async stream(url, tap) {
    const stream = anthropicClient(url, tap).messages.stream(anthropicParams);
    return reading(
      stream,
      (event, said) => {
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') said.text += event.delta.text;
        // Put together by the SDK; with the end it is handed out.
        const message = stream.currentMessage ?? stream.receivedMessages.at(-1);
        if (message !== undefined) said.usage = messageUsage(message.usage);
      },
      () => stream.abort(),
    );
  },
};

// --- Google -----------------------------------------------------------------------------------------------------------

async function geminiClient(url: string, tap = fetch): Promise<GoogleGenAI> {
  const { GoogleGenAI } = await import('@google/genai');
  return new GoogleGenAI({ apiKey: CALLERS_KEY, vertexai: false, httpOptions: { baseUrl: url, fetch: tap } });
}

interface GeminiUsage {
  promptTokenCount?: number;
  candidatesTokenCount?: number;
  thoughtsTokenCount?: number;
  toolUsePromptTokenCount?: number;
  cachedContentTokenCount?: number;
  totalTokenCount?: number;
}

function geminiUsage(usage: GeminiUsage): Said['usage'] {
  return defined({
    inputTokens: (usage.promptTokenCount ?? 0) + (usage.toolUsePromptTokenCount ?? 0),
    outputTokens: (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0),
    totalTokens: usage.totalTokenCount,
    cachedInputTokens: usage.cachedContentTokenCount,
    reasoningTokens: usage.thoughtsTokenCount,
  });
}

/** The version of the API that the SDK asks for, unless it is told of another one, since its version 3. */
function stable(answer: ProviderAnswer): ProviderAnswer {
  return { ...answer, path: answer.path.replace('/v1beta/', '/v1/') };
}

export const geminiSdk: Sdk = {
  name: 'google genai',
  heartbeat: 'data: {}\n\n',
  showsErrors: true,
  provider: gemini,
  streamed: stable(geminiSse),
  whole: stable(geminiWhole),
  async stream(url, tap) {
    const controller = new AbortController();
    const stream = await (await geminiClient(url, tap)).models.generateContentStream({
      model: 'gemini-2.5-flash',
      contents: PROMPT,
      config: { abortSignal: controller.signal },
    });
    return reading(
      stream,
      (chunk, said) => {
        said.text += chunk.text ?? '';
        if (chunk.usageMetadata !== undefined) said.usage = geminiUsage(chunk.usageMetadata);
      },
      () => controller.abort(),
    );
  },
  async ask(url) {
    const model = 'gemini-2.5-flash';
    const { text = '', usageMetadata = {} } = await (await geminiClient(url)).models.generateContent({
      model,
      contents: PROMPT,
    });
    return { text, usage: geminiUsage(usageMetadata) };
  },
};

// --- Mistral ----------------------------------------------------------------------------------------------------------

/** Loaded when it is asked: it takes seconds, and most files have no need for it. */
async function mistralClient(url: string, tap = fetch): Promise<Mistral> {
  const { HTTPClient, Mistral } = await import('@mistralai/mistralai');
  return new Mistral({
    apiKey: CALLERS_KEY,
    serverURL: url,
    retryConfig: { strategy: 'none' },
    httpClient: new HTTPClient({ fetcher: (input, init) => tap(input, init) }),
  });
}

interface MistralUsage {
  promptTokens?: number | undefined;
  completionTokens?: number | undefined;
  totalTokens?: number | undefined;
}

const mistralUsage = (usage: MistralUsage): Said['usage'] =>
  defined({
    inputTokens: usage.promptTokens,
    outputTokens: usage.completionTokens,
    totalTokens: usage.totalTokens,
  });

export const mistralSdk: Sdk = {
  name: 'mistral',
  heartbeat: ': ping\n\n',
  showsErrors: false,
  provider: mistral,
  streamed: mistralChat,
  whole: mistralWhole,
  async stream(url, tap) {
    const controller = new AbortController();
    const request = { model: 'm', messages };
    const stream = await (await mistralClient(url, tap)).chat.stream(request, { signal: controller.signal });
    return reading(
      stream,
      ({ data: { choices, usage } }, said) => {
        const content = choices[0]?.delta.content;
        if (typeof content === 'string') said.text += content;
        if (usage !== undefined) said.usage = mistralUsage(usage);
      },
      () => controller.abort(),
    );
  },
  async ask(url) {
    const { choices, usage } = await (await mistralClient(url)).chat.complete({ model: 'm', messages });
    return { text: String(choices[0]?.message?.content), usage: mistralUsage(usage) };
  },
};

export const SDKS: readonly Sdk[] = [
  openaiSdk,
  openaiResponsesSdk,
  anthropicRawSdk,
  anthropicStreamSdk,
  geminiSdk,
  mistralSdk,
];

function defined(usage: { [name in keyof Said['usage']]: number | undefined }): Said['usage'] {
  return Object.fromEntries(Object.entries(usage).filter(([, count]) => count !== undefined));
}

/** A `fetch` that keeps a copy of what the SDK was sent. */
export function tappedFetch(): { fetch: typeof fetch; readonly wire: string; until(is: () => boolean): Promise<void> } {
  let wire = '';
  let notify = (): void => {};
  const tapped: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const decoder = new TextDecoder();
    const copy = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        wire += decoder.decode(chunk, { stream: true });
        controller.enqueue(chunk);
        notify();
      },
    });
    const { status, headers } = response;
    return new Response(response.body?.pipeThrough(copy) ?? null, { status, headers });
  };
  return {
    fetch: tapped,
    get wire() {
      return wire;
    },
    async until(is) {
      while (!is()) {
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
    },
  };
}
