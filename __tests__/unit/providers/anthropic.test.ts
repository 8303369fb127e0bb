import { describe, expect, it } from '@jest/globals';
import { anthropic } from '../../../lib/providers/index.js';
import { ANTHROPIC, exchangeFor } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

describe('anthropic()', () => {
  describeReading(anthropic({ apiKey: 'sk' }), ANTHROPIC);

  const error = (type: unknown): object => ({ type: 'error', error: { type, message: 'No.' } });
  describeErrorStatus(anthropic({ apiKey: 'sk' }), {
    answers: ANTHROPIC,
    failing: { 'a message that fails on its way': 529 },
    errors: [
      { event: 'error', data: error('invalid_request_error'), status: 400 },
      { event: 'error', data: error('authentication_error'), status: 401 },
      { event: 'error', data: error('billing_error'), status: 402 },
      { event: 'error', data: error('permission_error'), status: 403 },
      { event: 'error', data: error('not_found_error'), status: 404 },
      { event: 'error', data: error('request_too_large'), status: 413 },
      { event: 'error', data: error('rate_limit_error'), status: 429 },
      { event: 'error', data: error('api_error'), status: 500 },
      { event: 'error', data: error('timeout_error'), status: 504 },
      { event: 'error', data: error('overloaded_error'), status: 529 },
      // Without the type of the event, or of the error.
      { data: error('overloaded_error'), status: 529 },
      { event: 'error', data: { error: { type: 'overloaded_error' } }, status: 529 },
      { event: 'error', data: error('a_new_error'), status: 502 },
      { event: 'error', data: error(undefined), status: 502 },
      { event: 'error', data: { type: 'error' }, status: 502 },
      { event: 'error', data: 'Overloaded', status: 502 },
      // Names that every object has.
      { event: 'error', data: error('constructor'), status: 502 },
      { event: 'error', data: error('__proto__'), status: 502 },
      { event: 'error', data: error({ toString: 1, valueOf: 1 }), status: 502 },
      { event: 'ping', data: { type: 'ping' }, status: undefined },
    ],
  });

  it('anthropic(): is at its own address, with a version', () => {
    expect(anthropic({ apiKey: 'sk' })).toMatchObject({
      name: 'anthropic',
      target: 'https://api.anthropic.com',
      headers: { 'anthropic-version': '2023-06-01' },
    });
    const own = anthropic({ apiKey: 'sk', target: 'http://127.0.0.1:1', version: '2024-10-22' });
    expect(own).toMatchObject({ target: 'http://127.0.0.1:1', headers: { 'anthropic-version': '2024-10-22' } });
  });

  it.each([
    [500, 'api_error'],
    [502, 'api_error'],
    [504, 'timeout_error'],
  ])('anthropic(): calls a failure with the status %d %s', (statusCode, type) => {
    const provider = anthropic({ apiKey: 'sk' });
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode };
    const body = { type: 'error', error: { type, message: 'It failed.' } };
    expect(provider.errorBody(failure, exchangeFor('/v1'))).toEqual(body);
    expect(provider.errorEvent(failure, exchangeFor('/v1/messages'))).toEqual({
      event: 'error',
      data: JSON.stringify(body),
    });
  });
});
