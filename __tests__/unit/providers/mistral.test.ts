import { describe, expect, it } from '@jest/globals';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { mistral } from '../../../lib/providers/index.js';
import { exchangeFor, MISTRAL } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

describe('mistral()', () => {
  const provider = mistral({ apiKey: 'sk' });
  describeReading(provider, MISTRAL);

  describeErrorStatus(provider, {
    answers: MISTRAL,
    failing: {},
    errors: [
      { data: { error: { message: 'No.', type: 'rate_limit_error' } }, status: 429 },
      { data: { error: { message: 'No.', type: 'a_new_error', code: null } }, status: 502 },
      { data: { error: { message: 'No.', code: 503 } }, status: 503 },
      { data: { object: 'error', message: 'No.', type: 'rate_limited', code: '1300' }, status: 429 },
      { data: { object: 'error', message: 'No.', type: 'invalid_request_error', code: null }, status: 400 },
    ],
  });

  it('mistral(): is at its own address', () => {
    expect(provider).toMatchObject({ name: 'mistral_ai', target: 'https://api.mistral.ai' });
    expect(mistral({ apiKey: 'sk', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it('mistral(): tells of a failure in the shape of its own errors', () => {
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
    for (const path of ['/v1/chat/completions', '/v1/embeddings', '/v1/ocr']) {
      expect(provider.errorBody(failure, exchangeFor(path))).toEqual({
        object: 'error',
        message: 'It failed.',
        type: 'proxy_error',
        param: null,
        code: 'UPSTREAM_TRUNCATED',
      });
    }
  });

  it.each([
    [{ error: { message: 'No.', type: 'rate_limit_error', code: 429 } }, { type: 'rate_limit_error', code: '429' }],
    [{ error: { message: 'No.' } }, { type: 'server_error', code: null }],
    [
      { object: 'error', message: 'No.', type: 'rate_limited', code: '1300' },
      { type: 'rate_limited', code: '1300' },
    ],
  ])('mistral(): the error event %j is answered in the shape of its own errors', (payload, members) => {
    const event = new ParsedEvent(JSON.stringify(payload));
    const body = provider.errorBodyOf?.(event, exchangeFor('/v1/chat/completions'));
    expect(body).toEqual({ object: 'error', message: 'No.', param: null, ...members });
  });
});
