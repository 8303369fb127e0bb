import { describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import { ollama } from '../../../lib/providers/index.js';
import type { EventFields } from '../../../lib/types/hooks.js';
import { exchangeFor, OLLAMA } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

describe('ollama()', () => {
  const provider = ollama();
  describeReading(provider, OLLAMA);

  describeErrorStatus(provider, {
    answers: OLLAMA,
    failing: { 'a generation that fails on its way': 502 },
    errors: [
      { data: { error: 'model "x" not found' }, status: 502 },
      // At the endpoint that is OpenAI's.
      { data: { error: { message: 'No.', type: 'invalid_request_error', code: null } }, status: 400 },
      { data: { error: { message: 'No.', type: 'api_error', code: null } }, status: 502 },
    ],
  });

  it('ollama(): is at its own address', () => {
    expect(provider).toMatchObject({ name: 'ollama', target: 'http://127.0.0.1:11434' });
    expect(ollama({ target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it("ollama(): asks for no key, and does not let the caller's pass either", async () => {
    expect(await credentialsOf(provider, exchangeFor('/api/chat'))).toEqual({});
  });

  const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };

  it.each(['/api/chat', '/api/generate?a=/v1/'])('ollama(): tells of a failure in a line of its own at %s', (path) => {
    expect(provider.errorEvent(failure, exchangeFor(path))).toEqual({ data: '{"error":"It failed."}' });
    expect(provider.errorBody(failure, exchangeFor('/api/chat'))).toEqual({ error: 'It failed.' });
    expect(provider.errorBody(failure, exchangeFor('/v1/chat/completions'))).toMatchObject({
      error: { message: 'It failed.' },
    });
  });

  it("ollama(): tells of a failure as OpenAI does at OpenAI's endpoint", () => {
    const { data = '' } = provider.errorEvent(failure, exchangeFor('/v1/chat/completions')) as EventFields;
    expect(JSON.parse(data)).toMatchObject({ error: { message: 'It failed.', code: 'UPSTREAM_TRUNCATED' } });
  });
});
