import { describe, expect, it } from '@jest/globals';
import { ParsedEvent } from '../../../../lib/formats/format.js';
import { gemini } from '../../../../lib/providers/index.js';
import { exchangeFor } from '../../../support/streams/dialects.js';
import { describeErrorStatus } from '../../../support/streams/error-status.js';
import { INTERACTIONS } from '../../../support/streams/interactions.js';
import { describeReading } from '../../../support/streams/provider-reading.js';

const provider = gemini({ apiKey: 'sk' });
const exchange = exchangeFor('/v1beta/interactions');

describe('gemini(), Interactions', () => {
  describeReading(provider, INTERACTIONS);

  it('gemini(), Interactions: tells of a failure by an event of its own', () => {
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
    expect(provider.errorEvent(failure, exchange)).toEqual({
      event: 'error',
      data: JSON.stringify({ event_type: 'error', error: { code: 'UPSTREAM_TRUNCATED', message: 'It failed.' } }),
    });
  });

  it('gemini(), Interactions: an error event is answered as Gemini answers, with its code as the status', () => {
    const error = { code: 'rate_limit_exceeded', message: 'Try again.' };
    const event = new ParsedEvent(JSON.stringify({ event_type: 'error', error }), 'error');
    expect(provider.errorBodyOf?.(event, exchange)).toEqual({
      error: { code: 429, message: 'Try again.', status: 'rate_limit_exceeded' },
    });
  });

  it('gemini(), Interactions: heartbeats are comments, other than at `generateContent`', () => {
    expect(provider.heartbeat?.(exchange)).toBeUndefined();
    expect(provider.heartbeat?.(exchangeFor('/v1beta/models/m:streamGenerateContent'))).toEqual({ data: '{}' });
  });
});

describe('the error status of Interactions', () => {
  describeErrorStatus(provider, {
    answers: INTERACTIONS,
    failing: { 'an interaction that fails on its way': 429 },
    errors: [
      { data: { event_type: 'error', error: { code: 'UNAVAILABLE', message: 'x' } }, status: 503 },
      { data: { event_type: 'error' }, status: 502 },
      { data: { event_type: 'error', error: { code: 'invalid_request' } }, status: 400 },
      { data: { event_type: 'error', error: { code: 'payment_required' } }, status: 402 },
      { data: { event_type: 'error', error: { code: 'quota_exceeded' } }, status: 429 },
      { data: { event_type: 'error', error: { code: 'gateway_timeout' } }, status: 504 },
      { data: { event_type: 'error', error: { code: 'ok' } }, status: 502 },
      { data: { event_type: 'step.delta', error: { code: 'internal' } }, status: undefined },
    ],
  });
});
