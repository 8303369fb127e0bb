import { describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { cohere } from '../../../lib/providers/index.js';
import { COHERE } from '../../support/streams/cohere.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

const provider = cohere({ apiKey: 'sk' });
const exchange = exchangeFor('/v2/chat');

describe('cohere()', () => {
  describeReading(provider, COHERE);

  it('cohere(): is at its own address, with its key as a bearer, and only cuts what breaks off', async () => {
    expect(provider).toMatchObject({ name: 'cohere', target: 'https://api.cohere.com', truncation: 'destroy' });
    expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer sk' });
  });

  it('cohere(): tells of a failure by its message', () => {
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
    expect(provider.errorBody(failure, exchange)).toEqual({ message: 'It failed.' });
    const event = new ParsedEvent('{"type":"message-end","delta":{"finish_reason":"ERROR","error":"Overloaded."}}');
    expect(provider.errorBodyOf?.(event, exchange)).toEqual({ message: 'Overloaded.' });
  });
});

describe('the error status of cohere()', () => {
  describeErrorStatus(provider, {
    answers: COHERE,
    failing: { 'a chat that fails on its way': 502 },
    errors: [
      { data: { type: 'error', message: 'No.' }, status: 502 },
      { data: { type: 'message-end', delta: { finish_reason: 'COMPLETE' } }, status: undefined },
    ],
  });
});
