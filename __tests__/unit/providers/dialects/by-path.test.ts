import { describe, expect, it } from '@jest/globals';
import { anthropic, gemini, mistral, ollama, openai, openaiCompatible } from '../../../../lib/providers/index.js';
import type { Provider } from '../../../../lib/types/provider.js';
import {
  ANTHROPIC,
  exchangeFor,
  OLLAMA,
  OPENAI,
  openaiChat,
  type ProviderAnswer,
} from '../../../support/streams/dialects.js';
import { describeReading } from '../../../support/streams/provider-reading.js';

const at = (path: string, answers: readonly ProviderAnswer[]): ProviderAnswer[] =>
  answers.map((answer) => ({ ...answer, path }));

const chats = OPENAI.filter(({ path }) => path === openaiChat.path);
const apiKey = 'sk';

describe('a provider at an endpoint that speaks another dialect', () => {
  describe('gemini(), OpenAI’s', () => {
    describeReading(gemini({ apiKey }), at('/v1beta/openai/chat/completions', chats));
  });
  describe('anthropic(), OpenAI’s', () => {
    describeReading(anthropic({ apiKey }), at('/v1/chat/completions', chats));
  });
  describe('ollama(), OpenAI’s and Anthropic’s', () => {
    describeReading(ollama(), [...chats, ...ANTHROPIC]);
  });
  describe('openaiCompatible(), Anthropic’s and Ollama’s', () => {
    const gateway = openaiCompatible({ name: 'gateway', target: 'http://127.0.0.1:4000', apiKey });
    describeReading(gateway, [...at('/anthropic/v1/messages?beta=true', ANTHROPIC), ...OLLAMA]);
  });
});

const PROVIDERS: Provider[] = [
  openai({ apiKey }),
  anthropic({ apiKey }),
  gemini({ apiKey }),
  mistral({ apiKey }),
  ollama(),
];

describe.each(PROVIDERS)('the failures of $name', (provider) => {
  const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 } as const;
  const ofOpenai = { error: { message: 'It failed.', type: 'proxy_error', param: null, code: 'UPSTREAM_TRUNCATED' } };
  const ofAnthropic = { type: 'error', error: { type: 'api_error', message: 'It failed.' } };
  const ofGemini = { error: { code: 502, message: 'It failed.', status: 'UNAVAILABLE' } };

  // Mistral's errors are its own, also where all else is OpenAI's.
  const { error } = ofOpenai;
  const likeOpenai = provider.name === 'mistral_ai' ? { object: 'error', ...error } : ofOpenai;

  it.each([
    ['/v1/chat/completions', likeOpenai],
    ['/chat/completions', likeOpenai],
    ['/v1beta/openai/chat/completions/?x=/v1/messages', likeOpenai],
    ['/openai/deployments/gpt/chat/completions?api-version=1', likeOpenai],
    ['/v1/embeddings', likeOpenai],
    ['/v1/messages', ofAnthropic],
    ['/anthropic/v1/messages', ofAnthropic],
    ['/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict', ofAnthropic],
    ['/v1beta/models/gemini-2.5-pro:generateContent', ofGemini],
    ['/v1/projects/p/models/gemini-2.5-pro:streamGenerateContent?alt=sse', ofGemini],
    ['/api/chat', { error: 'It failed.' }],
  ])('error body: is in the dialect of %s', (path, expected) => {
    expect(provider.errorBody(failure, exchangeFor(path))).toEqual(expected);
  });
});

it('error body: is in the provider’s own dialect where the path says nothing', () => {
  const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 } as const;
  for (const path of ['/', '/v1/threads/t1/messages', '/v1/models', '/x?y=/v1/messages', '/v1/messages/batches']) {
    expect(anthropic({ apiKey }).errorBody(failure, exchangeFor(path))).toMatchObject({ type: 'error' });
    expect(openai({ apiKey }).errorBody(failure, exchangeFor(path))).toMatchObject({ error: { type: 'proxy_error' } });
  }
});
