import { describe, expect, it } from '@jest/globals';
import OpenAI from 'openai';
import { openai } from '../../lib/providers/index.js';
import { testsOfSdk } from '../support/clients/sdk-tests.js';
import { CALLERS_KEY, messages, openaiClient, openaiResponsesSdk, openaiSdk } from '../support/clients/sdks.js';
import { compatible, versionOf } from '../support/programs/compatibility.js';
import { appStack } from '../support/servers/app-stack.js';
import { type ChatProvider, chatProvider } from '../support/servers/chat-provider.js';
import { closedPort } from '../support/servers/listen.js';
import { proxiedProvider } from '../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { openaiChat } from '../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

/** With the caller's own key, which passes. */
async function behindApp(): Promise<{ client: OpenAI; standIn: ChatProvider; proxy: ProxyUnderTest }> {
  const standIn = await chatProvider();
  const proxy = await proxyApp({ target: standIn.url, headers: { 'x-of-the-app': '1' } }, appStack());
  return { client: openaiClient(proxy.url), standIn, proxy };
}

const error = {
  body: { error: { message: 'Too many.', type: 'rate_limit_error', param: null, code: 'rate_limit' } },
  thrown: { status: 429, code: 'rate_limit', type: 'rate_limit_error', message: '429 Too many.' },
};

describe(compatible('client', 'openai', versionOf('openai')), () => {
  describe('chat completions', () => testsOfSdk(openaiSdk, error));
  describe('responses', () => testsOfSdk(openaiResponsesSdk, error));

  it('its own key where the proxy has none', async () => {
    const { client, standIn, proxy } = await behindApp();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    expect(answer.headers).toMatchObject({ authorization: `Bearer ${CALLERS_KEY}`, 'x-of-the-app': '1' });
    expect(answer.body).toEqual({ model: 'm', stream: true, messages });
    const chunks = (await coming)[Symbol.asyncIterator]();
    await chunks.next();
    for (const text of ['Hel', 'lo, ', '世界 🙂']) {
      answer.token(text);
      expect((await chunks.next()).value?.choices[0]?.delta.content).toBe(text);
    }
    answer.end();
    expect((await chunks.next()).value?.choices[0]?.finish_reason).toBe('stop');
    expect((await chunks.next()).done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('answers in one piece', async () => {
    const { client } = await behindApp();
    const answer = await client.chat.completions.create({ model: 'm', messages });
    expect(answer.choices[0]?.message.content).toBe('Hello');
  });

  it('bodies that no parser has read', async () => {
    const standIn = await chatProvider();
    const { url } = await proxyApp({ target: standIn.url });
    const coming = openaiClient(url).chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    answer.end();
    expect(answer.body).toEqual({ model: 'm', stream: true, messages });
    for await (const _chunk of await coming);
  });

  it.each([
    ['limited', 429, OpenAI.RateLimitError, 'Too many.'],
    ['broken', 500, OpenAI.InternalServerError, 'Broken.'],
  ])('errors with their request id: %s', async (model, status, type, message) => {
    const { client } = await behindApp();
    const thrown: unknown = await client.chat.completions.create({ model, stream: true, messages }).catch((e) => e);
    expect(thrown).toBeInstanceOf(type);
    expect(thrown).toMatchObject({
      status,
      requestID: `req_${status}`,
      error: { message, param: null },
      message: expect.stringContaining(message),
    });
  });

  it('Retry-After', async () => {
    const { client } = await behindApp();
    const thrown = await client.chat.completions.create({ model: 'limited', messages }).catch((e) => e);
    expect((thrown as InstanceType<typeof OpenAI.RateLimitError>).headers.get('retry-after')).toBe('7');
  });

  it.each([
    [429, { 'retry-after-ms': '1' }],
    [503, { 'retry-after': '7', 'retry-after-ms': '1' }],
  ])('retries: %i', async (status, fields) => {
    const { upstream, proxy } = await proxiedProvider(openai, {}, appStack());
    const seen: Headers[] = [];
    const client = openaiClient(proxy.url, async (input, init) => {
      const response = await fetch(input, init);
      seen.push(response.headers);
      return response;
    });
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages }, { maxRetries: 1 });
    const first = await upstream.next();
    first.res.writeHead(status, { 'content-type': 'application/json', ...fields }).end('{}');
    const second = await upstream.next();
    expect(second.req.headers['x-stainless-retry-count']).toBe('1');
    expect(second.body).toBe(first.body);
    expect(Object.fromEntries(seen[0] ?? [])).toMatchObject(fields);
    second.give(openaiChat);
    for await (const _chunk of await coming);
    // Whether it reads the body of what it tries again is its own affair.
    expect(await proxy.summary()).toMatchObject({ statusCode: status });
    expect(await proxy.summary()).toMatchObject({ statusCode: 200, outcome: 'completed' });
  });

  it('x-should-retry', async () => {
    const { upstream, proxy } = await proxiedProvider(openai, {}, appStack());
    const client = openaiClient(proxy.url);
    const failed = client.chat.completions.create({ model: 'm', stream: true, messages }, { maxRetries: 1 });
    const { res } = await upstream.next();
    res.writeHead(503, { 'content-type': 'application/json', 'x-should-retry': 'false' }).end('{}');
    await expect(failed).rejects.toMatchObject({ status: 503 });
    expect(proxy.summaries).toHaveLength(1);
  });

  it('an upstream that dies', async () => {
    const { client, standIn, proxy } = await behindApp();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    const texts: (string | null | undefined)[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of await coming) {
        texts.push(chunk.choices[0]?.delta.content);
        if (texts.length === 2) answer.die();
      }
    };
    answer.token('Hel');
    await expect(read()).rejects.toThrow();
    expect(texts).toEqual(['', 'Hel']);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('errors of the proxy', async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}` }, appStack());
    const thrown: unknown = await openaiClient(proxy.url)
      .chat.completions.create({ model: 'm', messages })
      .catch((e) => e);
    expect(thrown).toBeInstanceOf(OpenAI.InternalServerError);
    expect(thrown).toMatchObject({ status: 502, code: 'UPSTREAM_UNREACHABLE', type: 'proxy_error' });
  });

  it('an abort from within', async () => {
    const { client, standIn, proxy } = await behindApp();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    const stream = await coming;
    for await (const _chunk of stream) stream.controller.abort();
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('loops that are left', async () => {
    const { client, standIn, proxy } = await behindApp();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    for await (const _chunk of await coming) break;
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});
