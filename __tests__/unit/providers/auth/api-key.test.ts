import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../../lib/credentials/resolve-credentials.js';
import { SseProxyError } from '../../../../lib/errors.js';
import { keyIn } from '../../../../lib/providers/auth/api-key.js';
import {
  type ApiKey,
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  openaiCompatible,
  type Provider,
} from '../../../../lib/providers/index.js';
import type { Exchange } from '../../../../lib/types/hooks.js';
import { exchangeFor } from '../../../support/streams/dialects.js';

const SECRET = 'sk-ant-very-secret';

const exchange = exchangeFor('/v1/models');

const PROVIDERS: [string, (apiKey: ApiKey) => Provider, (key: string) => Record<string, string>][] = [
  ['openai', (apiKey) => openai({ apiKey }), (key) => ({ authorization: `Bearer ${key}` })],
  ['anthropic', (apiKey) => anthropic({ apiKey }), (key) => ({ 'x-api-key': key })],
  ['gemini', (apiKey) => gemini({ apiKey }), (key) => ({ 'x-goog-api-key': key })],
  ['mistral', (apiKey) => mistral({ apiKey }), (key) => ({ authorization: `Bearer ${key}` })],
  ['ollama', (apiKey) => ollama({ apiKey }), (key) => ({ authorization: `Bearer ${key}` })],
  [
    'openaiCompatible',
    (apiKey) => openaiCompatible({ name: 'vllm', target: 'http://127.0.0.1:8000', apiKey }),
    (key) => ({ authorization: `Bearer ${key}` }),
  ],
];

/** What an action throws. */
async function failureOf(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  throw new Error('Nothing was thrown');
}

describe.each(PROVIDERS)('the key of %s()', (name, create, fieldsWith) => {
  it('API key: is put in its header', async () => {
    expect(await credentialsOf(create(SECRET), exchange)).toEqual(fieldsWith(SECRET));
  });

  it.each<[string, ApiKey]>([
    ['a function', () => SECRET],
    ['an async function', async () => SECRET],
  ])('API key: may come from %s', async (_kind, apiKey) => {
    expect(await credentialsOf(create(apiKey), exchange)).toEqual(fieldsWith(SECRET));
  });

  it('API key: may depend on the exchange, and is asked for with each', async () => {
    const asked: Exchange[] = [];
    const provider = create((about) => `${SECRET}-${asked.push(about)}`);
    expect(await credentialsOf(provider, exchange)).toEqual(fieldsWith(`${SECRET}-1`));
    expect(await credentialsOf(provider, exchange)).toEqual(fieldsWith(`${SECRET}-2`));
    expect(asked).toEqual([exchange, exchange]);
  });

  it.each<[string, ApiKey]>([
    ['undefined', () => undefined],
    ['a promise of undefined', async () => undefined],
    ['an empty string', () => ''],
  ])('API key: fails the exchange where its function gives %s', async (_what, apiKey) => {
    const error = await failureOf(() => credentialsOf(create(apiKey), exchange));
    expect(error).toBeInstanceOf(SseProxyError);
    expect(error).toMatchObject({ code: 'CREDENTIALS_MISSING', statusCode: 500 });
  });

  it.each<[string, (cause: Error) => ApiKey]>([
    [
      'throws',
      (cause) => () => {
        throw cause;
      },
    ],
    ['rejects', (cause) => () => Promise.reject(cause)],
  ])('API key: fails the exchange where its function %s', async (_how, apiKey) => {
    const cause = new Error('The vault is closed');
    const error = await failureOf(() => credentialsOf(create(apiKey(cause)), exchange));
    expect(error).toBeInstanceOf(SseProxyError);
    expect(error).toMatchObject({ code: 'HOOK_FAILED', cause });
  });

  it('API key: is left to the caller with false', async () => {
    expect(create(false)).not.toHaveProperty('credentials');
    expect(await credentialsOf(create(false), exchange)).toBeUndefined();
  });

  it.each([`${SECRET}\n`, `${SECRET}\r\nx-injected: 1`, `${SECRET}\0`, `${SECRET} 🙂`])(
    'API key: is not taken where a header cannot have it (%j), and is not told',
    async (key) => {
      const atOnce = await failureOf(() => create(key));
      expect(atOnce).toBeInstanceOf(TypeError);
      expect(atOnce).toMatchObject({ message: expect.stringContaining(`\`apiKey\` of ${name}()`) });
      expect(inspect(atOnce)).not.toContain(SECRET);

      const later = await failureOf(() =>
        credentialsOf(
          create(() => key),
          exchange,
        ),
      );
      expect(later).toMatchObject({ code: 'HOOK_FAILED', cause: { message: expect.stringContaining(name) } });
      expect(inspect(later)).not.toContain(SECRET);
    },
  );

  it('API key: does not show in the provider', () => {
    const provider = create(SECRET);
    expect(inspect(provider, { depth: null, showHidden: true })).not.toContain(SECRET);
    expect(JSON.stringify(provider)).not.toContain(SECRET);
  });
});

describe('a missing key', () => {
  // As plain JavaScript may call it, with an environment variable that is not set.
  const missing = [undefined, null, '', 0, 12345, true, { key: SECRET }, [SECRET]];

  it.each(missing)('missing API key: is an error at once that says what is needed: %j', async (given) => {
    const error = await failureOf(() => keyIn('openai', (key) => ({ authorization: key }), given as ApiKey));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ message: expect.stringMatching(/^openai\(\) needs `apiKey`: a string, a function/) });
    expect(inspect(error)).not.toMatch(/12345|secret/);
  });

  it.each([
    ['openai', openai],
    ['anthropic', anthropic],
    ['gemini', gemini],
    ['mistral', mistral],
  ])('missing API key: is an error of %s(), with empty options and without any', (name, create) => {
    const untyped: (options?: unknown) => Provider = create as (options: unknown) => Provider;
    for (const options of [{}, undefined, { apiKey: undefined }]) {
      expect(() => untyped(options)).toThrow(new RegExp(`^${name}\\(\\) needs \`apiKey\``));
    }
  });
});
