import { describe, expect, it } from '@jest/globals';
import { anthropic } from '../../../lib/providers/index.js';
import { ANTHROPIC, exchangeFor } from '../../support/dialects.js';
import { describeReading } from '../../support/reading.js';

describe('anthropic()', () => {
  describeReading(anthropic({ apiKey: 'sk' }), ANTHROPIC);

  it('is at its own address, with a version', () => {
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
  ])('calls a failure with the status %d %s', (statusCode, type) => {
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
