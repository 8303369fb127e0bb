import { Readable } from 'node:stream';
import Anthropic from '@anthropic-ai/sdk';
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  type TokenUsage,
} from '@aws-sdk/client-bedrock-runtime';
import { GoogleGenAI } from '@google/genai';
import { Mistral } from '@mistralai/mistralai';
import { HTTPClient } from '@mistralai/mistralai/lib/http.js';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import type { Figures } from '../streams/account-reader.js';
import type { DrawnAnswer } from '../streams/drawn-answers.js';

/*
 * What the vendors' own SDKs find in a whole answer, given to them without any network. Of some they say less than was sent: only what
 * they say is compared.
 */

/** What an SDK says of an answer. */
export interface SdkAccount {
  figures?: Figures;
  reported?: unknown;
  model?: string;
  finishReason?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: the answers of seven SDKs, which name what is the same differently
type Said = any;

const BASE = 'http://127.0.0.1:1';
const apiKey = 'sk-callers';
const model = 'asked-model';
const messages = [{ role: 'user' as const, content: 'Hi' }];

const answering =
  ({ parts, contentType }: DrawnAnswer): typeof fetch =>
  () =>
    Promise.resolve(new Response(Buffer.concat(parts), { headers: { 'content-type': contentType } }));

/** All that came, one after the other; an answer in one piece is the only one. */
async function all(answer: Said): Promise<Said[]> {
  if (answer[Symbol.asyncIterator] === undefined) return [answer];
  const chunks: Said[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  return chunks;
}

/** The last of what is there. */
const last = (values: readonly Said[]): Said =>
  values.findLast((value) => value !== undefined && value !== null && value !== '');

const defined = (account: SdkAccount): SdkAccount =>
  Object.fromEntries(Object.entries(account).filter(([, value]) => value !== undefined)) as SdkAccount;

async function ofOpenai(answer: DrawnAnswer): Promise<SdkAccount> {
  const client = new OpenAI({ baseURL: BASE, apiKey, maxRetries: 0, fetch: answering(answer) });
  const stream = answer.form !== 'json';
  const ask = (): Promise<unknown> => {
    if (answer.dialect === 'responses') return client.responses.create({ model, input: 'Hi', stream } as never);
    if (answer.name === 'Completions') return client.completions.create({ model, prompt: 'Hi', stream } as never);
    if (answer.name === 'embeddings') return client.embeddings.create({ model, input: 'Hi', encoding_format: 'float' });
    return client.chat.completions.create({ model, messages, stream } as never);
  };
  const chunks = (await all(await ask())).map((chunk) => chunk.response ?? chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
  const reason = ({ status, incomplete_details: details }: Said): unknown =>
    status === 'in_progress' ? undefined : (details?.reason ?? status);
  return defined({
    reported: last(chunks.map(({ usage }) => usage)),
    model: last(chunks.map((chunk) => chunk.model)),
    finishReason: last([...choices.map(({ finish_reason }) => finish_reason), ...chunks.map(reason)]),
  });
}

async function ofAnthropic(answer: DrawnAnswer): Promise<SdkAccount> {
  const client = new Anthropic({ baseURL: BASE, apiKey, authToken: null, maxRetries: 0, fetch: answering(answer) });
  const request = { model, max_tokens: 1, messages };
  const message = await (answer.form === 'json'
    ? client.messages.create(request)
    : client.messages.stream(request).finalMessage());
  const {
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: read,
    cache_creation_input_tokens: written,
  } = message.usage;
  // Of a stream it keeps no `iterations`, which are billed beside the rest.
  const isCompacted = Buffer.concat(answer.parts).includes('"iterations"');
  const figures = { inputTokens: input + (read ?? 0) + (written ?? 0), outputTokens: output };
  return defined({
    ...(!isCompacted && { figures }),
    model: message.model,
    finishReason: message.stop_reason as string,
  });
}

async function ofGoogle(answer: DrawnAnswer): Promise<SdkAccount> {
  const client = new GoogleGenAI({
    apiKey,
    vertexai: false,
    httpOptions: { baseUrl: BASE, fetch: answering(answer) } as never,
  });
  const request = { model, contents: 'Hi' };
  const chunks = await all(
    await (answer.form === 'json'
      ? client.models.generateContent(request)
      : client.models.generateContentStream(request)),
  );
  return defined({
    // Without its class.
    reported: JSON.parse(JSON.stringify(last(chunks.map(({ usageMetadata }) => usageMetadata)) ?? null)) ?? undefined,
    model: last(chunks.map(({ modelVersion }) => modelVersion)),
  });
}

async function ofMistral(answer: DrawnAnswer): Promise<SdkAccount> {
  const httpClient = new HTTPClient({ fetcher: answering(answer) as never });
  const client = new Mistral({ apiKey, serverURL: BASE, retryConfig: { strategy: 'none' }, httpClient });
  const request = { model, messages };
  const chunks = (
    await all(await (answer.form === 'json' ? client.chat.complete(request) : client.chat.stream(request)))
  ).map((chunk) => chunk.data ?? chunk);
  const { promptTokens, completionTokens, totalTokens } = last(chunks.map(({ usage }) => usage)) ?? {};
  const figures = { inputTokens: promptTokens, outputTokens: completionTokens, totalTokens };
  return defined({
    ...(promptTokens !== undefined && { figures }),
    model: last(chunks.map((chunk) => chunk.model)),
    finishReason: last(chunks.flatMap(({ choices }) => choices).map(({ finishReason }) => finishReason)),
  });
}

async function ofOllama(answer: DrawnAnswer): Promise<SdkAccount> {
  const client = new Ollama({ host: BASE, fetch: answering(answer) });
  const stream = answer.form !== 'json';
  const ask = (): Promise<unknown> => {
    if (answer.path.endsWith('embed')) return client.embed({ model, input: 'Hi' });
    if (answer.path.endsWith('generate')) return client.generate({ model, prompt: 'Hi', stream } as never);
    return client.chat({ model, messages, stream } as never);
  };
  const chunk = last(await all(await ask()));
  const figures = { inputTokens: chunk.prompt_eval_count, outputTokens: chunk.eval_count };
  return defined({ figures, model: chunk.model, finishReason: chunk.done_reason });
}

async function ofAmazon(answer: DrawnAnswer): Promise<SdkAccount> {
  const response = {
    statusCode: 200,
    headers: { 'content-type': answer.contentType },
    body: Readable.from([Buffer.concat(answer.parts)]),
  };
  const requestHandler = { handle: () => Promise.resolve({ response }) };
  const client = new BedrockRuntimeClient({
    region: 'us-east-1',
    credentials: { accessKeyId: apiKey, secretAccessKey: apiKey },
    requestHandler,
  } as never);
  const request = { modelId: model, messages: [] };
  const whole: Said =
    answer.form === 'json'
      ? await client.send(new ConverseCommand(request))
      : Object.assign({}, ...(await all((await client.send(new ConverseStreamCommand(request))).stream)));
  const usage: TokenUsage = (whole.metadata ?? whole).usage;
  return defined({
    figures: {
      inputTokens: (usage.inputTokens ?? 0) + (usage.cacheReadInputTokens ?? 0) + (usage.cacheWriteInputTokens ?? 0),
      outputTokens: usage.outputTokens as number,
      totalTokens: usage.totalTokens as number,
    },
    finishReason: (whole.messageStop ?? whole).stopReason,
  });
}

/** What the vendor's SDK says of a whole answer; `undefined` where there is none that reads it. */
export function sdkAccount(answer: DrawnAnswer): Promise<SdkAccount> | undefined {
  switch (answer.dialect) {
    case 'chat':
      return answer.vendor === 'mistral' && answer.name !== 'embeddings' ? ofMistral(answer) : ofOpenai(answer);
    case 'responses':
      return ofOpenai(answer);
    case 'messages':
      // What is in Amazon's frames is for another SDK.
      return answer.form === 'frames' ? undefined : ofAnthropic(answer);
    case 'gemini':
      return answer.form === 'array' ? undefined : ofGoogle(answer);
    case 'ollama':
      return ofOllama(answer);
    case 'converse':
      return ofAmazon(answer);
    default:
      return undefined;
  }
}
