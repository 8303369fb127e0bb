import { describe, expect, it } from '@jest/globals';
import type { Provider, ProviderOptions } from '../../lib/providers/index.js';
import * as providers from '../../lib/providers/index.js';
import { providerBehindApp, testsOfSdk } from '../support/clients/sdk-tests.js';
import { anthropicRawSdk, geminiSdk, mistralSdk, openaiSdk, type Sdk } from '../support/clients/sdks.js';
import { compatible } from '../support/programs/compatibility.js';
import { partsWithText, TEXT, toldBy, usageFrom } from '../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

/** What a provider answers when it is asked too often, and what its SDK throws then. */
interface Refusal {
  body: object;
  thrown: object;
}

const REFUSAL: Refusal = { body: { error: { message: 'Too many.' } }, thrown: { status: 429 } };

type Create = (options: ProviderOptions) => Provider;

/** Asked by OpenAI's SDK, which most of these vendors name as theirs. */
const BY_OPENAIS_SDK: Record<string, Create> = {
  'openai()': providers.openai,
  'azureOpenAI()': (options) => providers.azureOpenAI(options as providers.AzureOpenAIOptions),
  'bedrock()': ({ target = '', apiKey }) => providers.bedrock({ target, apiKey, region: 'eu-central-1' }),
  'cerebras()': providers.cerebras,
  'cohere()': providers.cohere,
  'deepseek()': providers.deepseek,
  'fireworks()': providers.fireworks,
  'groq()': providers.groq,
  'huggingface()': providers.huggingface,
  'llamaCpp()': (options) => providers.llamaCpp(options as providers.LocalOptions),
  'lmStudio()': (options) => providers.lmStudio(options as providers.LocalOptions),
  'moonshot()': providers.moonshot,
  'ollama()': (options) => providers.ollama(options as providers.OllamaOptions),
  'openaiCompatible()': ({ target = '', apiKey }) => providers.openaiCompatible({ name: 'gateway', target, apiKey }),
  'openrouter()': providers.openrouter,
  'perplexity()': providers.perplexity,
  'together()': providers.together,
  'vertex()': ({ target = '', apiKey }) =>
    providers.vertex({ target, project: 'p', location: 'global', token: () => String(apiKey) }),
  'vllm()': (options) => providers.vllm(options as providers.LocalOptions),
  'xai()': providers.xai,
};

const SDKS: [string, Sdk, Refusal][] = [
  ...Object.entries(BY_OPENAIS_SDK).map(([name, provider]): [string, Sdk, Refusal] => [
    name,
    { ...openaiSdk, provider },
    REFUSAL,
  ]),
  [
    'anthropic()',
    anthropicRawSdk,
    { body: { type: 'error', error: { type: 'rate_limit_error' } }, thrown: { status: 429 } },
  ],
  ['gemini()', geminiSdk, { body: { error: { code: 429, message: 'Too many.' } }, thrown: { status: 429 } }],
  ['mistral()', mistralSdk, { body: { message: 'Too many.' }, thrown: { statusCode: 429 } }],
];

for (const [name, sdk, refusal] of SDKS) {
  describe(compatible('provider', name), () => {
    testsOfSdk(sdk, refusal);

    it('usage', async () => {
      const { upstream, proxy, usages } = await providerBehindApp(sdk);
      const reading = sdk.stream(proxy.url).then((stream) => stream.toEnd());
      (await upstream.next()).give(sdk.streamed);
      await reading;
      expect(await usages.next()).toEqual(usageFrom(toldBy(sdk.streamed.parts)));
    });

    it('answers in one piece', async () => {
      const { upstream, proxy, usages } = await providerBehindApp(sdk);
      const asking = sdk.ask(proxy.url);
      (await upstream.next()).give(sdk.whole);
      expect((await asking).text).toBe(TEXT.join(''));
      expect(await usages.next()).toEqual(usageFrom(toldBy(sdk.whole.parts)));
    });

    it('a broken stream', async () => {
      const { upstream, proxy, usages } = await providerBehindApp(sdk);
      const coming = sdk.stream(proxy.url);
      const asked = await upstream.next();
      asked.start(sdk.streamed);
      asked.send(sdk.streamed.parts.slice(0, partsWithText(sdk.streamed)));
      const stream = await coming;
      await stream.untilText(TEXT[0]);
      asked.die();
      await expect(stream.toEnd()).rejects.toThrow();
      expect((await usages.next()).complete).toBe(false);
    });
  });
}
