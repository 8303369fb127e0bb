import { describe, expect, it } from '@jest/globals';
import { gemini } from '../../../lib/providers/index.js';
import { exchangeFor, GEMINI } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

describe('gemini()', () => {
  const provider = gemini({ apiKey: 'sk' });
  describeReading(provider, GEMINI);

  const error = (code: unknown, status?: string): object => ({ error: { code, message: 'No.', status } });
  describeErrorStatus(provider, {
    answers: GEMINI,
    failing: { 'chunks, and then an error': 503 },
    errors: [
      { data: error(400, 'INVALID_ARGUMENT'), status: 400 },
      { data: error(429, 'RESOURCE_EXHAUSTED'), status: 429 },
      { data: error(500, 'INTERNAL'), status: 500 },
      { data: error(503, 'UNAVAILABLE'), status: 503 },
      { data: error(599), status: 599 },
      { data: error(200), status: 502 },
      { data: error(600), status: 502 },
      { data: error(429.5), status: 502 },
      { data: error('constructor'), status: 502 },
      { data: error(undefined), status: 502 },
      { data: { error: {} }, status: 502 },
      { data: { error: 'text' }, status: undefined },
    ],
  });

  it('gemini(): is at its own address', () => {
    expect(provider).toMatchObject({
      name: 'gcp.gemini',
      target: 'https://generativelanguage.googleapis.com',
    });
    expect(gemini({ apiKey: 'sk', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it.each([
    ['/v1beta/models/gemini-2.5-flash:streamGenerateContent', true],
    ['/v1beta/models/gemini-2.5-flash:streamGenerateContent?key=sk', true],
    ['/v1beta/models/gemini-2.5-flash:generateContent', false],
    ['/v1beta/models/gemini-2.5-flash:countTokens?a=:streamGenerateContent', false],
    ['/v1beta/models', false],
  ])('gemini(): takes a JSON answer to %s for a stream: %s', (path, expected) => {
    const head = { statusCode: 200, statusMessage: '', headers: { 'content-type': 'application/json; charset=UTF-8' } };
    expect(provider.formatOf?.(head, exchangeFor(path))).toBe(expected ? 'json-array' : undefined);
    const sse = { ...head, headers: { 'content-type': 'text/event-stream' } };
    expect(provider.formatOf?.(sse, exchangeFor(path))).toBeUndefined();
    const error = { ...head, statusCode: 429 };
    expect(provider.formatOf?.(error, exchangeFor(path))).toBeUndefined();
  });

  it.each([
    [500, 'INTERNAL'],
    [502, 'UNAVAILABLE'],
    [504, 'DEADLINE_EXCEEDED'],
    [418, 'UNKNOWN'],
  ])('gemini(): calls a failure with the status %d %s', (statusCode, status) => {
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode };
    const body = { error: { code: statusCode, message: 'It failed.', status } };
    expect(provider.errorBody(failure, exchangeFor('/v1'))).toEqual(body);
    expect(provider.errorEvent(failure, exchangeFor('/'))).toEqual({ data: JSON.stringify(body) });
  });
});
