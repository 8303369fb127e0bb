import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import {
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  type Provider,
  type ProviderOptions,
} from '../../../lib/providers/index.js';
import { readText, readUntilCut } from '../../support/clients/http.js';
import { post, proxiedProvider } from '../../support/servers/provider.js';
import {
  anthropicText,
  bytesOf,
  geminiArray,
  geminiSse,
  mistralChat,
  ollamaChat,
  ollamaCompatible,
  openaiChat,
  openaiResponses,
  type ProviderAnswer,
  toldBy,
  usageFrom,
} from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

type Create = (options: ProviderOptions) => Provider;

const MESSAGE = 'The upstream closed the connection before its response was complete.';
const ERROR = `{"message":"${MESSAGE}","type":"proxy_error","param":null,"code":"UPSTREAM_TRUNCATED"}`;
const CHUNK = `data: {"error":${ERROR}}\n\n`;

/** For the SDKs and for agents; `count` events were sent, and have numbers. */
const failedResponse = (count: number): string =>
  `event: error\ndata: {"type":"error","sequence_number":${count},"code":"UPSTREAM_TRUNCATED","message":"${MESSAGE}",` +
  `"param":null,"error":${ERROR}}\n\n` +
  `event: response.failed\ndata: {"type":"response.failed","sequence_number":${count + 1},"response":{"object":"response",` +
  `"status":"failed","error":{"code":"UPSTREAM_TRUNCATED","message":"${MESSAGE}"},"output":[]}}\n\n`;

/** Provider, answer, and the events that say that it broke off. */
const DIALECTS: [string, Create, ProviderAnswer, string | ((count: number) => string)][] = [
  ['openai, chat completions', openai, openaiChat, CHUNK],
  ['openai, responses', openai, openaiResponses, failedResponse],
  [
    'anthropic',
    anthropic,
    anthropicText,
    `event: error\ndata: {"type":"error","error":{"type":"api_error","message":"${MESSAGE}"}}\n\n`,
  ],
  ['gemini', gemini, geminiSse, `data: {"error":{"code":502,"message":"${MESSAGE}","status":"UNAVAILABLE"}}\n\n`],
  ['ollama', ollama, ollamaChat, `{"error":"${MESSAGE}"}\n`],
  ["ollama, at OpenAI's endpoint", ollama, ollamaCompatible, CHUNK],
];

const errorAfter = (error: string | ((count: number) => string), count: number): string =>
  typeof error === 'string' ? error : error(count);

/** What the client gets of an answer of which the provider sends this much, and then dies. */
async function cutAfter(
  create: Create,
  answer: ProviderAnswer,
  bytes: Buffer,
  options: SseProxyOptions = {},
): Promise<{ body: string; cut: boolean }> {
  const { upstream, proxy } = await proxiedProvider(create, options);
  const coming = post(proxy.url + answer.path);
  const asked = await upstream.next();
  asked.start(answer);
  if (bytes.length > 0) asked.res.write(bytes);
  asked.die();
  const { body, cut } = await readUntilCut(await coming);
  const summary = await proxy.summary();
  expect(summary).toMatchObject({
    outcome: 'upstream-truncated',
    error: { code: 'UPSTREAM_TRUNCATED' },
    bytes: body.length,
  });
  return { body: body.toString(), cut };
}

describe('an answer that breaks off', () => {
  it.each(DIALECTS)(
    "truncation, provider's error event: an answer that breaks off says so last, in its dialect, after any of its events: %s",
    async (_name, create, answer, error) => {
      for (let count = 0; count < answer.parts.length; count += 1) {
        const bytes = bytesOf(answer.parts.slice(0, count));
        expect(await cutAfter(create, answer, bytes)).toEqual({ body: bytes + errorAfter(error, count), cut: true });
      }
    },
  );

  it.each(DIALECTS)(
    "truncation, provider's error event: an answer that breaks off in the middle of an event says so behind the last whole one: %s",
    async (_name, create, answer, error) => {
      const whole = bytesOf(answer.parts);
      const first = bytesOf(answer.parts.slice(0, 1));
      const lastOfSecond = Buffer.byteLength(bytesOf(answer.parts.slice(0, 2)).toString().trimEnd());
      for (const at of [1, 10, lastOfSecond - 1, lastOfSecond]) {
        const isBehindFirst = at > first.length;
        const said = (isBehindFirst ? first : '') + errorAfter(error, isBehindFirst ? 1 : 0);
        expect(await cutAfter(create, answer, whole.subarray(0, at))).toEqual({ body: said, cut: true });
      }
    },
  );

  // Gemini has nothing that says that it was the last event.
  it.each(DIALECTS.filter(([name]) => name !== 'gemini'))(
    "truncation, provider's error event: an answer that breaks off does not say so where it had come to its end: %s",
    async (_name, create, answer) => {
      const bytes = bytesOf(answer.parts);
      expect(await cutAfter(create, answer, bytes)).toEqual({ body: bytes.toString(), cut: true });
    },
  );

  it("truncation, provider's error event: an answer of Mistral's that breaks off is cut only: its clients show no such event", async () => {
    const begun = bytesOf(mistralChat.parts.slice(0, 2)) as Buffer;
    expect(await cutAfter(mistral, mistralChat, begun)).toEqual({ body: begun.toString(), cut: true });
    expect(await cutAfter(mistral, mistralChat, begun, { truncation: 'event' })).toEqual({
      body: begun + CHUNK,
      cut: true,
    });
  });

  it("truncation, provider's error event: an answer that breaks off does not say so in a JSON array, which has no place for it; its usage is told", async () => {
    const { upstream, proxy, usages } = await proxiedProvider(gemini);
    const coming = post(proxy.url + geminiArray.path);
    const asked = await upstream.next();
    const begun = geminiArray.parts.slice(0, 2);
    asked.start(geminiArray);
    asked.send(begun);
    asked.die();
    expect(await readUntilCut(await coming)).toEqual({ body: bytesOf(begun), cut: true });
    expect(await usages.next()).toEqual(usageFrom(toldBy(begun)));
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });
});

describe('a provider that dies before it answers', () => {
  it.each<[string, Create, object]>([
    ['openai', openai, { error: { message: expect.any(String), type: 'proxy_error', param: null } }],
    ['anthropic', anthropic, { type: 'error', error: { type: 'api_error', message: expect.any(String) } }],
    ['gemini', gemini, { error: { code: 502, message: expect.any(String), status: 'UNAVAILABLE' } }],
    ['mistral', mistral, { object: 'error', message: expect.any(String), type: 'proxy_error', param: null }],
    ['ollama', ollama, { error: expect.any(String) }],
  ])('a provider that dies before it answers: is answered for as by itself: %s', async (_name, create, expected) => {
    const { upstream, proxy, usages } = await proxiedProvider(create);
    const coming = post(proxy.url);
    (await upstream.next()).res.destroy();
    const response = await coming;
    expect(response.statusCode).toBe(502);
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    const body: unknown = JSON.parse(await readText(response));
    expect(body).toMatchObject(expected);
    expect(JSON.stringify(body)).toContain('The upstream closed the connection before it answered.');
    // It had the request, and may charge for it.
    expect(await usages.next()).toEqual({ complete: false });
  });
});
