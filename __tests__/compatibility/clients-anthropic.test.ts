import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, it } from '@jest/globals';
import { providerBehindApp, testsOfSdk } from '../support/clients/sdk-tests.js';
import {
  anthropicClient,
  anthropicRawSdk,
  anthropicStreamSdk,
  CALLERS_KEY,
  anthropicParams as params,
} from '../support/clients/sdks.js';
import { compatible, versionOf } from '../support/programs/compatibility.js';
import { appStack } from '../support/servers/app-stack.js';
import { type ChatProvider, chatProvider } from '../support/servers/chat-provider.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { ANTHROPIC, type ProviderAnswer } from '../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

/** With the caller's own key, which passes. */
async function behindApp(): Promise<{ client: Anthropic; standIn: ChatProvider; proxy: ProxyUnderTest }> {
  const standIn = await chatProvider();
  const proxy = await proxyApp({ target: standIn.url }, appStack());
  return { client: anthropicClient(proxy.url), standIn, proxy };
}

function answerNamed(name: string): ProviderAnswer {
  const answer = ANTHROPIC.find((each) => each.name === name);
  if (answer === undefined) throw new Error(`There is no answer ${name}`);
  return answer;
}

const error = {
  body: { type: 'error', error: { type: 'rate_limit_error', message: 'Too many.' } },
  thrown: { status: 429, error: { error: { type: 'rate_limit_error', message: 'Too many.' } } },
};

describe(compatible('client', '@anthropic-ai/sdk', versionOf('@anthropic-ai/sdk')), () => {
  describe('raw', () => testsOfSdk(anthropicRawSdk, error));
  describe('.stream()', () => testsOfSdk(anthropicStreamSdk, error));

  it('its own key where the proxy has none', async () => {
    const { client, standIn, proxy } = await behindApp();
    const coming = client.messages.create({ ...params, stream: true });
    const answer = await standIn.nextStream();
    expect(answer.headers).toMatchObject({
      authorization: `Bearer ${CALLERS_KEY}`,
      'anthropic-version': expect.any(String),
    });
    const events = (await coming)[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ type: 'message_start' });
    expect((await events.next()).value).toMatchObject({ type: 'content_block_start' });
    for (const text of ['Hel', 'lo, ', '世界 🙂']) {
      answer.token(text);
      expect((await events.next()).value).toMatchObject({ type: 'content_block_delta', delta: { text } });
    }
    answer.end();
    for (const type of ['content_block_stop', 'message_delta', 'message_stop']) {
      expect((await events.next()).value).toMatchObject({ type });
    }
    expect((await events.next()).done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('messages put together', async () => {
    const { client, standIn } = await behindApp();
    const stream = client.messages.stream(params);
    const answer = await standIn.nextStream();
    for (const text of ['Hel', 'lo']) {
      const seen = stream.emitted('text');
      answer.token(text);
      await seen;
    }
    answer.end();
    expect(await stream.finalMessage()).toMatchObject({
      content: [{ type: 'text', text: 'Hello' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 3, output_tokens: 2 },
    });
  });

  it('tool use', async () => {
    const { upstream, proxy } = await providerBehindApp(anthropicStreamSdk);
    const stream = anthropicClient(proxy.url).messages.stream(params);
    const inputs: unknown[] = [];
    stream.on('inputJson', (_delta, input) => inputs.push(input));
    const asked = await upstream.next();
    const tools = answerNamed('a message that calls tools');
    const untilInput = tools.parts.findIndex(({ bytes }) => bytes.includes('Zürich')) + 1;
    asked.start(tools);
    const seen = new Promise((resolve) => {
      stream.on('inputJson', () => inputs.length === 2 && resolve(undefined));
    });
    asked.send(tools.parts.slice(0, untilInput));
    await seen;
    expect(inputs.at(-1)).toEqual({ location: 'Zürich' });
    asked.send(tools.parts.slice(untilInput));
    asked.end();
    expect(await stream.finalMessage()).toMatchObject({
      content: [{ type: 'tool_use', name: 'get_weather', input: { location: 'Zürich' } }],
      stop_reason: 'tool_use',
      usage: { input_tokens: 10682, output_tokens: 510 },
    });
  });

  it.each([
    ['raw', anthropicRawSdk],
    ['.stream()', anthropicStreamSdk],
  ])('an error event inside a 200: %s', async (_name, sdk) => {
    const { upstream, proxy } = await providerBehindApp(sdk);
    const failed = sdk.stream(proxy.url).then((stream) => stream.toEnd());
    (await upstream.next()).give(answerNamed('a message that fails on its way'));
    const thrown: unknown = await failed.catch((reason) => reason);
    expect(thrown).toBeInstanceOf(Anthropic.APIError);
    expect(thrown).toMatchObject({ error: { error: { type: 'overloaded_error', message: 'Overloaded' } } });
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', statusCode: 200 });
  });

  it('answers in one piece', async () => {
    const { client } = await behindApp();
    expect(await client.messages.create(params)).toMatchObject({ content: [{ text: 'Hello' }] });
  });

  it.each([
    ['limited', 429, Anthropic.RateLimitError, 'rate_limit_error'],
    ['broken', 500, Anthropic.InternalServerError, 'api_error'],
  ])('errors with their request id: %s', async (model, status, type, errorType) => {
    const { client } = await behindApp();
    const thrown: unknown = await client.messages.create({ ...params, model, stream: true }).catch((e) => e);
    expect(thrown).toBeInstanceOf(type);
    expect(thrown).toMatchObject({ status, requestID: `req_${status}`, error: { error: { type: errorType } } });
  });

  it('an upstream that dies', async () => {
    const { client, standIn, proxy } = await behindApp();
    const raw = client.messages.create({ ...params, stream: true });
    const first = await standIn.nextStream();
    const read = async (): Promise<void> => {
      for await (const event of await raw) if (event.type === 'content_block_start') first.die();
    };
    await expect(read()).rejects.toThrow();

    const stream = client.messages.stream(params);
    const second = await standIn.nextStream();
    stream.on('text', () => second.die());
    second.token('Hel');
    await expect(stream.finalMessage()).rejects.toThrow();
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('an abort from within', async () => {
    const { client, standIn, proxy } = await behindApp();
    const stream = client.messages.stream(params);
    const answer = await standIn.nextStream();
    stream.on('text', () => stream.abort());
    answer.token('Hel');
    await expect(stream.done()).rejects.toBeInstanceOf(Anthropic.APIUserAbortError);
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});
