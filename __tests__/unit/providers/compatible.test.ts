import { afterEach, describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import * as providers from '../../../lib/providers/index.js';
import { anthropic, openai, openaiCompatible, type Provider } from '../../../lib/providers/index.js';
import { exchangeFor, openaiChat, reads, toldBy } from '../../support/streams/dialects.js';

const exchange = exchangeFor('/v1/chat/completions');

type Preset = (options?: { apiKey?: string; target?: string; includeUsage?: boolean }) => Provider;

/** The call, its name in telemetry, its address, and the variable of its key. */
const PRESETS: [string, Preset, string, string, string][] = [
  ['openrouter', providers.openrouter, 'openrouter', 'https://openrouter.ai/api', 'OPENROUTER_API_KEY'],
  ['deepseek', providers.deepseek, 'deepseek', 'https://api.deepseek.com', 'DEEPSEEK_API_KEY'],
  ['groq', providers.groq, 'groq', 'https://api.groq.com', 'GROQ_API_KEY'],
  ['xai', providers.xai, 'x_ai', 'https://api.x.ai', 'XAI_API_KEY'],
  ['together', providers.together, 'together', 'https://api.together.xyz', 'TOGETHER_API_KEY'],
  ['fireworks', providers.fireworks, 'fireworks', 'https://api.fireworks.ai/inference', 'FIREWORKS_API_KEY'],
  ['perplexity', providers.perplexity, 'perplexity', 'https://api.perplexity.ai', 'PERPLEXITY_API_KEY'],
  ['cerebras', providers.cerebras, 'cerebras', 'https://api.cerebras.ai', 'CEREBRAS_API_KEY'],
  ['moonshot', providers.moonshot, 'moonshot', 'https://api.moonshot.ai', 'MOONSHOT_API_KEY'],
  ['huggingface', providers.huggingface, 'huggingface', 'https://router.huggingface.co', 'HF_TOKEN'],
];

/** Those that are read before a test changes them. */
const before = { ...process.env };
afterEach(() => {
  process.env = { ...before };
});

describe('providers whose API is OpenAI’s', () => {
  it.each(PRESETS)(
    '%s(): has its name and its address, sends its key, and reads usage',
    async (_call, preset, name, target) => {
      const provider = preset({ apiKey: 'sk' });
      expect(provider).toMatchObject({ name, target });
      expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer sk' });
      expect(preset({ apiKey: 'sk', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
      const bytes = Buffer.from(openaiChat.parts.map((part) => part.bytes).join(''));
      expect(reads(provider, openaiChat, [bytes])).toEqual(toldBy(openaiChat.parts));
      expect(preset({ apiKey: 'sk', includeUsage: true }).editRequest).toBeInstanceOf(Function);
      expect(provider.editRequest).toBeUndefined();
    },
  );

  it.each(PRESETS)(
    '%s(): takes its key from its environment variable, as it was at its making',
    async (_call, preset, _n, _t, variable) => {
      process.env[variable] = 'sk-of-the-environment';
      const provider = preset();
      process.env[variable] = 'another';
      expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer sk-of-the-environment' });
      delete process.env[variable];
      expect(() => preset()).toThrow(`Is the environment variable ${variable} set?`);
      process.env[variable] = '';
      expect(() => preset()).toThrow(variable);
    },
  );

  it('openai(), anthropic(): take their keys from the environment, and the options go before it', async () => {
    process.env.OPENAI_API_KEY = 'sk-a';
    process.env.ANTHROPIC_API_KEY = 'sk-b';
    expect(await credentialsOf(openai(), exchange)).toEqual({ authorization: 'Bearer sk-a' });
    expect(await credentialsOf(anthropic(), exchange)).toEqual({ 'x-api-key': 'sk-b' });
    expect(await credentialsOf(openai({ apiKey: 'sk-c' }), exchange)).toEqual({ authorization: 'Bearer sk-c' });
    expect(openai({ apiKey: false }).credentials).toBeUndefined();
    expect(() => openai({ apiKey: '' })).toThrow('OPENAI_API_KEY');
  });

  it.each<[string, Preset, string]>([
    ['vllm', providers.vllm, 'http://127.0.0.1:8000'],
    ['llama.cpp', providers.llamaCpp, 'http://127.0.0.1:8080'],
    ['lm_studio', providers.lmStudio, 'http://127.0.0.1:1234'],
  ])('%s: needs no key, keeps the caller’s, and sends the one that it is given', async (name, preset, target) => {
    expect(preset()).toMatchObject({ name, target });
    expect(await credentialsOf(preset(), exchange)).toEqual({});
    expect(await credentialsOf(preset({ apiKey: 'sk' }), exchange)).toEqual({ authorization: 'Bearer sk' });
  });
});

describe('openaiCompatible(), auth', () => {
  const options = { name: 'gateway', target: 'http://127.0.0.1:4000', apiKey: 'sk' };

  it.each([
    [{}, { authorization: 'Bearer sk' }],
    [{ scheme: 'Key' }, { authorization: 'Key sk' }],
    [{ header: 'X-Api-Key' }, { 'x-api-key': 'sk' }],
    [{ header: 'x-auth', scheme: 'Token' }, { 'x-auth': 'Token sk' }],
  ])('openaiCompatible(), auth: %j', async (auth, expected) => {
    expect(await credentialsOf(openaiCompatible({ ...options, auth }), exchange)).toEqual(expected);
  });

  it.each([{ auth: 'x-api-key' }, { auth: { name: 'x' } }, { auth: { header: 'x y' } }, { auth: { scheme: '' } }])(
    'openaiCompatible(), auth: refuses %j',
    (given) => {
      const untyped = openaiCompatible as (options: unknown) => unknown;
      expect(() => untyped({ ...options, ...given })).toThrow('`auth` of openaiCompatible() must be');
    },
  );
});
