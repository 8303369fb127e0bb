import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Fixture } from '@copilotkit/aimock';
import { describe, expect, it } from '@jest/globals';
import {
  anthropic,
  azureOpenAI,
  bedrock,
  cerebras,
  cohere,
  deepseek,
  fireworks,
  gemini,
  groq,
  huggingface,
  llamaCpp,
  lmStudio,
  mistral,
  moonshot,
  ollama,
  openai,
  openaiCompatible,
  openrouter,
  type Provider,
  perplexity,
  together,
  type Usage,
  vertex,
  vllm,
  xai,
} from '../../lib/providers/index.js';
import { readAll } from '../support/clients/http.js';
import { post } from '../support/servers/provider.js';
import { proxyApp } from '../support/servers/proxies.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { Queue } from '../support/watch/wait.js';

// A stand-in for the providers that others have written, behind each preset whose API it speaks.

closeAndWatchEachTest();

/** The figures under all of the names that aimock takes them by. */
const usage = {
  ...{ prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
  ...{ input_tokens: 11, output_tokens: 7 },
  ...{ promptTokenCount: 11, candidatesTokenCount: 7, totalTokenCount: 18 },
  // Only OpenRouter says so.
  cost: 0.25,
};

const FIXTURES: Fixture[] = [
  { match: { userMessage: 'Hello' }, response: { content: 'Good morning 🙂, and welcome to all of you.', usage } },
  {
    match: { userMessage: 'Weather' },
    response: { toolCalls: [{ name: 'weather', arguments: '{"city":"Zürich"}' }], usage },
  },
  {
    match: { userMessage: 'Too many' },
    response: { error: { message: 'Too many.', type: 'rate_limit_error', code: 'rate_limited' }, status: 429 },
  },
];

/** An answer as aimock has sent it. */
interface Sent {
  status: number;
  headers: Record<string, unknown>;
  body: Buffer;
}

/** Its ids are new in each answer: what is compared with the client's is what it has sent to the proxy. */
async function aimock(): Promise<{ url: string; sent: Queue<Sent> }> {
  const { server, url } = await createServer(FIXTURES, { port: 0, host: '127.0.0.1', logLevel: 'silent' });
  onCleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const sent = new Queue<Sent>();
  server.prependListener('request', (_req, res: ServerResponse) => {
    const chunks: Buffer[] = [];
    const keep = (chunk: unknown): void => {
      if (typeof chunk === 'string' || chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk as string));
    };
    const { write, end } = res;
    res.write = (...given: unknown[]) => {
      keep(given[0]);
      return Reflect.apply(write, res, given);
    };
    res.end = (...given: unknown[]) => {
      keep(given[0]);
      return Reflect.apply(end, res, given);
    };
    res.once('finish', () =>
      sent.push({ status: res.statusCode, headers: { ...res.getHeaders() }, body: Buffer.concat(chunks) }),
    );
  });
  return { url, sent };
}

interface Asked {
  /** What is asked for, for the title. */
  name: string;
  provider(target: string): Provider;
  path: string;
  /** The body of a request that says this. */
  body(text: string): object;
  /** Generations call no tools. */
  callsTools?: boolean;
  /** What aimock says of usage. */
  figures?: Partial<Usage>;
}

const FIGURES = { inputTokens: 11, outputTokens: 7, totalTokens: 18 };

/** Each API, in one piece and streamed. */
const twice = (
  name: string,
  provider: Asked['provider'],
  path: string,
  body: Asked['body'],
  asStream: object,
  asWhole: object = {},
): Asked[] => [
  { name: `${name}, streamed`, provider, path, body: (text) => ({ ...body(text), ...asStream }) },
  { name: `${name}, in one piece`, provider, path, body: (text) => ({ ...body(text), ...asWhole }) },
];

const key = { apiKey: 'sk-servers' };
const chat = (content: string): object => ({ model: 'm', messages: [{ role: 'user', content }] });
const streamed = { stream: true, stream_options: { include_usage: true } };
const claude = (content: string): object => ({ ...chat(content), max_tokens: 10 });
const gem = (text: string): object => ({ contents: [{ role: 'user', parts: [{ text }] }] });
const inResponses = (input: string): object => ({ model: 'm', input });
const converse = (text: string): object => ({ messages: [{ role: 'user', content: [{ text }] }] });
const prompt = (text: string): object => ({ model: 'm', prompt: text });

const GEMINI = '/v1beta/models/gemini-2.5-flash:';
const VERTEX = '/v1/publishers/google/models/gemini-2.5-flash:';
const CLAUDE_ON_BEDROCK = '/model/anthropic.claude-haiku-4-5/';
const DEPLOYMENT = '/openai/deployments/m/chat/completions';

const toVertex = (target: string): Provider =>
  vertex({ project: 'p', location: 'global', token: () => 'a-token', target });
const toAzure = (target: string): Provider => azureOpenAI({ target, apiVersion: '2024-10-21', ...key });
const toBedrock = (target: string): Provider => bedrock({ region: 'us-east-1', target, ...key });

/** For Ollama aimock counts nothing, whatever its fixture says. */
const uncounted = (asked: Asked): Asked => ({
  ...asked,
  figures: { inputTokens: 0, outputTokens: 0, totalTokens: 0 },
});

/** What Claude streams aimock frames as it is. In Amazon's frames it is in Base64, in `bytes`: there is nothing here that can be read. */
const unread = (asked: Asked): Asked => ({ ...asked, figures: {} });

const APIS: Asked[] = [
  ...twice(
    'openai(), chat completions',
    (target) => openai({ target, ...key }),
    '/v1/chat/completions',
    chat,
    streamed,
  ),
  ...twice('openai(), responses', (target) => openai({ target, ...key }), '/v1/responses', inResponses, {
    stream: true,
  }),
  ...twice('anthropic()', (target) => anthropic({ target, ...key }), '/v1/messages', claude, { stream: true }),
  {
    name: 'gemini(), streamed',
    provider: (target) => gemini({ target, ...key }),
    path: `${GEMINI}streamGenerateContent?alt=sse`,
    body: gem,
  },
  {
    name: 'gemini(), in one piece',
    provider: (target) => gemini({ target, ...key }),
    path: `${GEMINI}generateContent`,
    body: gem,
  },
  ...twice(
    'gemini(), interactions',
    (target) => gemini({ target, ...key }),
    '/v1beta/interactions',
    inResponses,
    { stream: true },
    { stream: false },
  ),
  { name: 'vertex(), streamed', provider: toVertex, path: `${VERTEX}streamGenerateContent?alt=sse`, body: gem },
  { name: 'vertex(), in one piece', provider: toVertex, path: `${VERTEX}generateContent`, body: gem },
  ...twice('azureOpenAI(), a deployment', toAzure, DEPLOYMENT, chat, streamed),
  ...twice('azureOpenAI(), chat completions', toAzure, '/openai/v1/chat/completions', chat, streamed),
  ...twice('azureOpenAI(), responses', toAzure, '/openai/v1/responses', inResponses, { stream: true }),
  ...twice('bedrock(), chat completions', toBedrock, '/openai/v1/chat/completions', chat, streamed),
  {
    name: 'bedrock(), Converse, streamed',
    provider: toBedrock,
    path: `${CLAUDE_ON_BEDROCK}converse-stream`,
    body: converse,
  },
  {
    name: 'bedrock(), Converse, in one piece',
    provider: toBedrock,
    path: `${CLAUDE_ON_BEDROCK}converse`,
    body: converse,
  },
  unread({
    name: 'bedrock(), an invocation, streamed',
    provider: toBedrock,
    path: `${CLAUDE_ON_BEDROCK}invoke-with-response-stream`,
    body: claude,
  }),
  {
    name: 'bedrock(), an invocation, in one piece',
    provider: toBedrock,
    path: `${CLAUDE_ON_BEDROCK}invoke`,
    body: claude,
  },
  ...twice('cohere()', (target) => cohere({ target, ...key }), '/v2/chat', chat, { stream: true }),
  ...twice('ollama()', (target) => ollama({ target }), '/api/chat', chat, {}, { stream: false }).map(uncounted),
  ...twice('ollama(), generations', (target) => ollama({ target }), '/api/generate', prompt, {}, { stream: false }).map(
    (asked) => ({ ...uncounted(asked), callsTools: false }),
  ),
  ...twice('ollama(), chat completions', (target) => ollama({ target }), '/v1/chat/completions', chat, streamed),
  ...twice(
    'openrouter()',
    (target) => openrouter({ target: `${target}/api`, ...key }),
    '/v1/chat/completions',
    chat,
    streamed,
  ),
];

/** The others whose API is OpenAI's, each at its own path. */
const COMPATIBLE: Asked[] = Object.entries({
  mistral,
  deepseek,
  xai,
  together,
  cerebras,
  moonshot,
  huggingface,
  fireworks,
  perplexity,
  groq,
  vllm,
  llamaCpp,
  lmStudio,
  openaiCompatible: (options: { target: string }) => openaiCompatible({ name: 'other', ...options, ...key }),
}).map(([name, create]) => ({
  name: `${name}(), streamed`,
  provider: (target) => create({ target, ...key }),
  path: { groq: '/openai/v1/chat/completions', perplexity: '/chat/completions' }[name] ?? '/v1/chat/completions',
  body: (text) => ({ ...chat(text), ...streamed }),
}));

/** Fields of one connection, and those that a client of the proxy has no use for, or no right to. */
const WITHHELD = /^(connection|keep-alive|transfer-encoding|access-control-.*|x-ratelimit-.*)$/;

/** What the client gets of the fields: event streams are neither kept nor changed on their way. */
function fieldsOf({ headers }: Sent): object {
  const passed = Object.fromEntries(Object.entries(headers).filter(([name]) => !WITHHELD.test(name)));
  const isStream = /event-?stream|ndjson/.test(String(headers['content-type']));
  const cacheControl = [headers['cache-control'] ?? [], 'no-transform'].flat().join(', ');
  return { ...passed, ...(isStream && { 'cache-control': cacheControl, 'x-accel-buffering': 'no' }) };
}

/** Without those of the connection and of the app. */
function ownFieldsOf({ headers }: IncomingMessage): object {
  const { date, connection, 'keep-alive': _, 'transfer-encoding': __, 'x-powered-by': ___, ...fields } = headers;
  return fields;
}

/** aimock behind the proxy, asked once. */
async function answerTo({ provider, path, body }: Asked, text: string) {
  const { url, sent } = await aimock();
  const usages = new Queue<Usage>();
  const proxy = await proxyApp({ provider: provider(url), onUsage: (told) => usages.push(told) });
  const response = await post(proxy.url + path, JSON.stringify(body(text)));
  const bytes = await readAll(response);
  return {
    response,
    bytes,
    sent: await sent.next(),
    told: await usages.next(),
    summary: await proxy.summary(),
    usages,
  };
}

describe.each([...APIS, ...COMPATIBLE])('aimock behind $name', (asked) => {
  const { figures = FIGURES, callsTools = true } = asked;
  const isKnown = Object.keys(figures).length > 0;

  it.each(callsTools ? ['Hello', 'Weather'] : ['Hello'])(
    'aimock: what it sends passes byte by byte, and its figures are told: %s',
    async (text) => {
      const { response, bytes, sent, told, summary, usages } = await answerTo(asked, text);
      expect(sent.body.length).toBeGreaterThan(100);
      expect(bytes).toEqual(sent.body);
      expect(response.statusCode).toBe(200);
      expect(ownFieldsOf(response)).toEqual(fieldsOf(sent));
      expect(told).toEqual({ ...figures, ...(isKnown && { reported: expect.any(Object) }), complete: isKnown });
      expect(summary).toMatchObject({ outcome: 'completed', statusCode: 200, usage: told });
      if (isKnown) {
        expect(summary.finishReason).toMatch(/./);
        expect(summary.timings.firstToken).toBeGreaterThan(0);
      }
      expect(usages.count).toBe(1);
    },
  );

  it('aimock: an error passes byte by byte, and has no figures', async () => {
    const { response, bytes, sent, told, summary } = await answerTo(asked, 'Too many');
    expect(bytes).toEqual(sent.body);
    expect(bytes.toString()).toContain('Too many.');
    expect(response.statusCode).toBe(429);
    expect(ownFieldsOf(response)).toEqual(fieldsOf(sent));
    expect(told).toEqual({ complete: false });
    expect(summary).toMatchObject({ outcome: 'completed', statusCode: 429 });
  });
});
