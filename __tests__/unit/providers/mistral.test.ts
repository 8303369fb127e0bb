import { describe, expect, it } from '@jest/globals';
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
    ],
  });

  it('mistral(): is at its own address', () => {
    expect(provider).toMatchObject({ name: 'mistral_ai', target: 'https://api.mistral.ai' });
    expect(mistral({ apiKey: 'sk', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it('mistral(): tells of a failure as an `error`', () => {
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
    const body = { error: { message: 'It failed.', type: 'proxy_error', param: null, code: 'UPSTREAM_TRUNCATED' } };
    expect(provider.errorBody(failure, exchangeFor('/v1'))).toEqual(body);
    expect(provider.errorEvent(failure, exchangeFor('/v1/chat/completions'))).toEqual({ data: JSON.stringify(body) });
  });
});
