import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { describe, expect, it } from '@jest/globals';
import { streamText } from 'ai';
import { Ollama } from 'ollama';
import { ollama, openaiCompatible } from '../../lib/providers/index.js';
import { reader } from '../support/clients/http.js';
import {
  type ClientSdk,
  providerBehindApp,
  testsOfErrors,
  testsOfSdk,
  testsOfStreams,
} from '../support/clients/sdk-tests.js';
import { CALLERS_KEY, geminiSdk, messages, mistralSdk, PROMPT, reading, tappedFetch } from '../support/clients/sdks.js';
import { compatible, HEARTBEATS, PING, versionOf } from '../support/programs/compatibility.js';
import { post } from '../support/servers/provider.js';
import { bytesOf, OLLAMA, ollamaChat, ollamaCompatible, openaiChat, TEXT } from '../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

describe(compatible('client', '@google/genai', versionOf('@google/genai')), () => {
  testsOfSdk(geminiSdk, {
    body: { error: { code: 429, message: 'Too many.', status: 'RESOURCE_EXHAUSTED' } },
    thrown: { name: 'ApiError', status: 429, message: expect.stringContaining('Too many.') },
  });
});

describe(compatible('client', '@mistralai/mistralai', versionOf('@mistralai/mistralai')), () => {
  testsOfSdk(mistralSdk, {
    body: { object: 'error', message: 'Too many.', type: 'rate_limited', code: '1300' },
    thrown: { statusCode: 429, message: expect.stringContaining('Too many.') },
  });
});

const ollamaSdk: ClientSdk = {
  provider: ollama,
  streamed: ollamaChat,
  async stream(url, tap = fetch) {
    const client = new Ollama({ host: url, fetch: tap });
    const stream = await client.chat({ model: 'llama3.2', messages, stream: true });
    return reading(
      stream,
      ({ message }, said) => {
        said.text += message.content;
      },
      () => stream.abort(),
    );
  },
};

describe(compatible('client', 'ollama', versionOf('ollama')), () => {
  testsOfStreams(ollamaSdk);
  testsOfErrors(ollamaSdk, {
    body: { error: 'Too many.' },
    thrown: { name: 'ResponseError', status_code: 429, message: 'Too many.' },
  });

  // No comment can stand in NDJSON: none may come in a silence in which another stream gets several.
  it(HEARTBEATS, async () => {
    const { upstream, proxy } = await providerBehindApp(ollamaSdk, { heartbeat: { interval: 10 } });
    const tap = tappedFetch();
    const coming = ollamaSdk.stream(proxy.url, tap.fetch);
    const asked = await upstream.next();
    asked.start(ollamaChat);
    const stream = await coming;
    const another = post(proxy.url + ollamaCompatible.path);
    (await upstream.next()).start(ollamaCompatible);
    const { until } = reader(await another);
    for (const part of ollamaChat.parts) {
      await until(PING.repeat(2));
      asked.send([part]);
    }
    asked.end();
    await stream.toEnd();
    expect(stream.said.text).toBe(TEXT.join(''));
    expect(tap.wire).toBe(bytesOf(ollamaChat.parts).toString());
  });

  it('an error on its way', async () => {
    const { upstream, proxy } = await providerBehindApp(ollamaSdk);
    const failed = ollamaSdk.stream(proxy.url).then((stream) => stream.toEnd());
    const failing = OLLAMA.find(({ name }) => name === 'a generation that fails on its way');
    const asked = await upstream.next();
    asked.start(ollamaChat);
    asked.send(failing?.parts.slice(-1) ?? []);
    asked.end();
    await expect(failed).rejects.toThrow('an error was encountered while running the model');
  });
});

const aiSdk: ClientSdk = {
  provider: ({ target = '', apiKey }) => openaiCompatible({ name: 'compatible', target, apiKey }),
  streamed: openaiChat,
  async stream(url, tap = fetch) {
    const provider = createOpenAICompatible({
      name: 'compatible',
      baseURL: `${url}/v1`,
      apiKey: CALLERS_KEY,
      fetch: tap,
    });
    const controller = new AbortController();
    const { fullStream } = streamText({
      model: provider('m'),
      prompt: PROMPT,
      maxRetries: 0,
      abortSignal: controller.signal,
      onError: () => {},
    });
    return reading(
      fullStream,
      (part, said) => {
        if (part.type === 'text-delta') said.text += part.text;
        if (part.type === 'error') throw part.error;
      },
      () => controller.abort(),
    );
  },
};

describe(compatible('client', 'ai with @ai-sdk/openai-compatible', versionOf('ai')), () => {
  testsOfSdk(aiSdk, {
    body: { error: { message: 'Too many.', type: 'rate_limit_error', param: null, code: 'rate_limit' } },
    thrown: { name: 'AI_APICallError', statusCode: 429, message: 'Too many.' },
  });
});
