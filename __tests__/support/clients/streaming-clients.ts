import {
  anthropic,
  cohere,
  gemini,
  groq,
  mistral,
  ollama,
  openai,
  openaiCompatible,
  type Provider,
  type ProviderOptions,
} from '../../../lib/providers/index.js';
import { COHERE, cohereChat, cohereChatV1 } from '../streams/cohere.js';
import {
  ANTHROPIC,
  anthropicText,
  GEMINI,
  geminiSse,
  mistralChat,
  OLLAMA,
  OPENAI,
  ollamaChat,
  openaiChat,
  openaiResponses,
  type Part,
  type ProviderAnswer,
} from '../streams/dialects.js';
import { INTERACTIONS, interactionStream } from '../streams/interactions.js';
import { CALLERS_KEY, messages, PROMPT } from './sdks.js';

/** What a client asks, and what it is answered. */
interface Api {
  provider(options: ProviderOptions): Provider;
  streamed: ProviderAnswer;
  /** An event by which the API says that it has failed, the status that it stands for, and what the client's user is to read. */
  failed: { part: Part; status: number; message: string };
}

/** Where a stream breaks off, the user of a client sees what the proxy says of it, or only that the connection was cut. */
type Shown = 'message' | 'cut';

/** One API of a client library. */
export interface StreamingClient {
  /** The package, or what the README calls it. */
  name: string;
  /** Whose version is that of the client. */
  versionOf?: string;
  /** Which of its APIs, where it has several. */
  part?: string;
  api: Api;
  shows: Shown;
  /** It notices an abort with the next event only. */
  abortsLate?: boolean;
  /** Asks the proxy at `url` for a stream, and yields its text as it comes. Throws what the client's user would catch. */
  text(url: string, signal: AbortSignal): AsyncGenerator<string>;
}

const failing = (answers: readonly ProviderAnswer[], name: string): Part => {
  const part = answers.find((answer) => answer.name === name)?.parts.at(-1);
  if (part === undefined) throw new Error(`There is no answer ${name}`);
  return part;
};

const chat: Api = {
  provider: openai,
  streamed: openaiChat,
  failed: {
    part: failing(OPENAI, 'a chat completion that fails on its way'),
    status: 500,
    message: 'The server had an error.',
  },
};

const responses: Api = {
  provider: openai,
  streamed: openaiResponses,
  failed: { part: failing(OPENAI, 'a response that failed'), status: 500, message: 'The model failed.' },
};

const messagesApi: Api = {
  provider: anthropic,
  streamed: anthropicText,
  failed: { part: failing(ANTHROPIC, 'a message that fails on its way'), status: 529, message: 'Overloaded' },
};

const generateContent: Api = {
  provider: gemini,
  streamed: geminiSse,
  failed: { part: failing(GEMINI, 'chunks, and then an error'), status: 503, message: 'The model is overloaded.' },
};

const interactions: Api = {
  provider: gemini,
  streamed: interactionStream,
  failed: { part: failing(INTERACTIONS, 'an interaction that fails on its way'), status: 429, message: 'Slow down.' },
};

const mistralApi: Api = {
  provider: mistral,
  streamed: mistralChat,
  failed: {
    part: {
      bytes: 'data: {"object":"error","message":"Too many.","type":"rate_limited","param":null,"code":"1300"}\n\n',
    },
    status: 429,
    message: 'Too many.',
  },
};

const cohereApi: Api = {
  provider: cohere,
  streamed: cohereChat,
  failed: { part: failing(COHERE, 'a chat that fails on its way'), status: 502, message: 'The model is overloaded.' },
};

const ollamaApi: Api = {
  provider: ollama,
  streamed: ollamaChat,
  failed: {
    part: failing(OLLAMA, 'a generation that fails on its way'),
    status: 502,
    message: 'an error was encountered while running the model',
  },
};

// Each package is loaded when its client asks for the first time: together they take seconds, and a test of one needs no other.

// --- the vendors' own -------------------------------------------------------------------------------------------------

const VENDOR_CLIENTS: readonly StreamingClient[] = [
  {
    name: 'openai',
    part: 'chat completions',
    api: chat,
    shows: 'message',
    async *text(url, signal) {
      const { default: OpenAI } = await import('openai');
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: CALLERS_KEY, maxRetries: 0 });
      const stream = await client.chat.completions.create({ model: 'm', messages, stream: true }, { signal });
      for await (const { choices } of stream) yield choices[0]?.delta.content ?? '';
    },
  },
  {
    name: 'openai',
    part: 'responses',
    api: responses,
    shows: 'message',
    async *text(url, signal) {
      const { default: OpenAI } = await import('openai');
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: CALLERS_KEY, maxRetries: 0 });
      const stream = await client.responses.create({ model: 'm', input: PROMPT, stream: true }, { signal });
      for await (const event of stream) if (event.type === 'response.output_text.delta') yield event.delta;
    },
  },
  {
    name: '@anthropic-ai/sdk',
    api: messagesApi,
    shows: 'message',
    async *text(url, signal) {
      const { default: Anthropic } = await import('@anthropic-ai/sdk');
      const client = new Anthropic({ baseURL: url, apiKey: CALLERS_KEY, authToken: null, maxRetries: 0 });
      const stream = await client.messages.create({ model: 'm', max_tokens: 10, messages, stream: true }, { signal });
      for await (const event of stream) {
        if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') yield event.delta.text;
      }
    },
  },
  {
    name: '@google/genai',
    part: 'generateContentStream',
    api: generateContent,
    shows: 'message',
    async *text(url, signal) {
      const client = await googleClient(url);
      const stream = await client.models.generateContentStream({
        model: 'gemini-2.5-flash',
        contents: PROMPT,
        config: { abortSignal: signal },
      });
      for await (const chunk of stream) yield chunk.text ?? '';
    },
  },
  {
    name: '@google/genai',
    part: 'interactions',
    api: interactions,
    shows: 'message',
    async *text(url, signal) {
      const client = await googleClient(url);
      const stream = await client.interactions.create(
        { model: 'gemini-2.5-flash', input: PROMPT, stream: true },
        { maxRetries: 0, signal },
      );
      for await (const event of stream) {
        if (event.event_type === 'step.delta' && event.delta.type === 'text') yield event.delta.text ?? '';
        // It is an event as any other, which the user has to look for.
        if (event.event_type === 'error') throw new Error(event.error?.message);
      }
    },
  },
  {
    name: '@mistralai/mistralai',
    api: mistralApi,
    shows: 'cut',
    async *text(url, signal) {
      const { Mistral } = await import('@mistralai/mistralai');
      const client = new Mistral({ apiKey: CALLERS_KEY, serverURL: url, retryConfig: { strategy: 'none' } });
      const stream = await client.chat.stream({ model: 'm', messages }, { signal });
      for await (const { data } of stream) yield String(data.choices[0]?.delta.content ?? '');
    },
  },
  {
    name: 'cohere-ai',
    api: cohereApi,
    shows: 'cut',
    async *text(url, signal) {
      const { CohereClientV2 } = await import('cohere-ai');
      const client = new CohereClientV2({ token: CALLERS_KEY, environment: url });
      const stream = await client.chatStream({ model: 'm', messages }, { maxRetries: 0, abortSignal: signal });
      for await (const event of stream) {
        if (event.type === 'content-delta') yield event.delta?.message?.content?.text ?? '';
      }
    },
  },
  {
    name: 'groq-sdk',
    api: { ...chat, provider: groq, streamed: { ...openaiChat, path: '/openai/v1/chat/completions' } },
    shows: 'message',
    async *text(url, signal) {
      const { default: Groq } = await import('groq-sdk');
      const client = new Groq({ baseURL: url, apiKey: CALLERS_KEY, maxRetries: 0 });
      const stream = await client.chat.completions.create({ model: 'm', messages, stream: true }, { signal });
      for await (const { choices } of stream) yield choices[0]?.delta.content ?? '';
    },
  },
  {
    name: 'ollama',
    api: ollamaApi,
    shows: 'message',
    async *text(url, signal) {
      const { Ollama } = await import('ollama');
      const stream = await new Ollama({ host: url }).chat({ model: 'm', messages, stream: true });
      signal.addEventListener('abort', () => stream.abort());
      for await (const { message } of stream) yield message.content;
    },
  },
];

async function googleClient(url: string) {
  const { GoogleGenAI } = await import('@google/genai');
  return new GoogleGenAI({
    apiKey: CALLERS_KEY,
    vertexai: false,
    // By itself it looks for a dispatcher of Node's that Jest's global object does not have.
    httpOptions: { baseUrl: url, apiVersion: 'v1beta', fetch },
  });
}

// --- the AI SDK -------------------------------------------------------------------------------------------------------

type Model = Parameters<typeof import('ai').streamText>[0]['model'];

async function* textByAiSdk(model: Model, abortSignal: AbortSignal): AsyncGenerator<string> {
  const { streamText } = await import('ai');
  const { fullStream } = streamText({
    model,
    prompt: PROMPT,
    maxOutputTokens: 10,
    maxRetries: 0,
    abortSignal,
    onError: () => {},
  });
  for await (const part of fullStream) {
    if (part.type === 'text-delta') yield part.text;
    if (part.type === 'error') throw part.error;
  }
}

const aiSdk = (
  name: string,
  { part, api, shows }: Pick<StreamingClient, 'part' | 'api' | 'shows'>,
  model: (url: string) => Promise<Model>,
): StreamingClient => ({
  name: `ai with ${name}`,
  versionOf: 'ai',
  ...(part !== undefined && { part }),
  api,
  shows,
  async *text(url, signal) {
    yield* textByAiSdk(await model(url), signal);
  },
});

const apiKey = CALLERS_KEY;

const compatibleApi: Api = {
  ...chat,
  provider: ({ target = '', apiKey }) => openaiCompatible({ name: 'compatible', target, apiKey }),
};

const AI_SDK_CLIENTS: readonly StreamingClient[] = [
  aiSdk('@ai-sdk/openai', { part: 'chat completions', api: chat, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/openai')).createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat('m'),
  ),
  aiSdk('@ai-sdk/openai', { part: 'responses', api: responses, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/openai')).createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses('m'),
  ),
  aiSdk('@ai-sdk/anthropic', { api: messagesApi, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/anthropic')).createAnthropic({ baseURL: `${url}/v1`, apiKey })('m'),
  ),
  aiSdk('@ai-sdk/google', { part: 'generateContent', api: generateContent, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/google')).createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })('gemini-2.5-flash'),
  ),
  aiSdk('@ai-sdk/google', { part: 'interactions', api: interactions, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/google'))
      .createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })
      .interactions('gemini-2.5-flash'),
  ),
  aiSdk('@ai-sdk/mistral', { api: mistralApi, shows: 'cut' }, async (url) =>
    (await import('@ai-sdk/mistral')).createMistral({ baseURL: `${url}/v1`, apiKey })('m'),
  ),
  aiSdk('@ai-sdk/cohere', { api: cohereApi, shows: 'cut' }, async (url) =>
    (await import('@ai-sdk/cohere')).createCohere({ baseURL: `${url}/v2`, apiKey })('m'),
  ),
  aiSdk('@ai-sdk/openai-compatible', { api: compatibleApi, shows: 'message' }, async (url) =>
    (await import('@ai-sdk/openai-compatible')).createOpenAICompatible({
      name: 'compatible',
      baseURL: `${url}/v1`,
      apiKey,
    })('m'),
  ),
];

// --- LangChain --------------------------------------------------------------------------------------------------------

interface ChatModel {
  stream(prompt: string, options: { signal: AbortSignal }): Promise<AsyncIterable<{ text: string }>>;
}

const langChain = (
  name: string,
  { part, api, shows, abortsLate = false }: Pick<StreamingClient, 'part' | 'api' | 'shows' | 'abortsLate'>,
  model: (url: string) => Promise<ChatModel>,
): StreamingClient => ({
  name,
  ...(part !== undefined && { part }),
  api,
  shows,
  abortsLate,
  async *text(url, signal) {
    for await (const { text } of await (await model(url)).stream(PROMPT, { signal })) yield text;
  },
});

/** Its API of version 1, which streams NDJSON. */
const cohereV1: Api = {
  provider: cohere,
  streamed: cohereChatV1,
  failed: { part: { bytes: '{"type":"error","message":"No."}\n' }, status: 502, message: 'No.' },
};

/**
 * `@google/generative-ai` makes a second promise of each stream, for the whole of it, and LangChain has no use for it: where the stream breaks
 * off, its rejection is one that nobody handles, which ends a process of Node's.
 */
function handleResponses(model: object): void {
  const { client } = model as {
    client: { generateContentStream(...given: unknown[]): Promise<{ response: Promise<unknown> }> };
  };
  const ask = client.generateContentStream.bind(client);
  client.generateContentStream = async (...given) => {
    const result = await ask(...given);
    result.response.catch(() => {});
    return result;
  };
}

const settings = { apiKey, model: 'm', maxRetries: 0 };

const LANGCHAIN_CLIENTS: readonly StreamingClient[] = [
  langChain('@langchain/openai', { part: 'chat completions', api: chat, shows: 'message' }, async (url) => {
    const { ChatOpenAI } = await import('@langchain/openai');
    return new ChatOpenAI({ ...settings, configuration: { baseURL: `${url}/v1` } });
  }),
  langChain('@langchain/openai', { part: 'responses', api: responses, shows: 'message' }, async (url) => {
    const { ChatOpenAI } = await import('@langchain/openai');
    return new ChatOpenAI({ ...settings, useResponsesApi: true, configuration: { baseURL: `${url}/v1` } });
  }),
  langChain('@langchain/anthropic', { api: messagesApi, shows: 'message' }, async (url) => {
    const { ChatAnthropic } = await import('@langchain/anthropic');
    return new ChatAnthropic({ ...settings, anthropicApiUrl: url });
  }),
  langChain('@langchain/google-genai', { api: generateContent, shows: 'cut' }, async (url) => {
    const { ChatGoogleGenerativeAI } = await import('@langchain/google-genai');
    const model = new ChatGoogleGenerativeAI({ ...settings, model: 'gemini-2.5-flash', baseUrl: url });
    handleResponses(model);
    return model;
  }),
  langChain('@langchain/mistralai', { api: mistralApi, shows: 'cut', abortsLate: true }, async (url) => {
    const { ChatMistralAI } = await import('@langchain/mistralai');
    return new ChatMistralAI({ ...settings, serverURL: url });
  }),
  langChain('@langchain/cohere', { api: cohereV1, shows: 'cut', abortsLate: true }, async (url) => {
    const [{ ChatCohere }, { CohereClient }] = await Promise.all([import('@langchain/cohere'), import('cohere-ai')]);
    // It takes the client of an earlier major, whose API of version 1 is the same.
    const client = new CohereClient({ token: CALLERS_KEY, environment: url, maxRetries: 0 });
    return new ChatCohere({ ...settings, client: client as never });
  }),
  langChain('@langchain/ollama', { api: ollamaApi, shows: 'message', abortsLate: true }, async (url) => {
    const { ChatOllama } = await import('@langchain/ollama');
    return new ChatOllama({ model: 'm', maxRetries: 0, baseUrl: url });
  }),
];

export const STREAMING_CLIENTS: readonly StreamingClient[] = [
  ...VENDOR_CLIENTS,
  ...AI_SDK_CLIENTS,
  ...LANGCHAIN_CLIENTS,
];
