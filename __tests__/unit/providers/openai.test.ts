import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { openai, openaiCompatible } from '../../../lib/providers/index.js';
import type { RequestEdit } from '../../../lib/types/provider.js';
import { exchangeFor, OPENAI, openaiChat, openaiChatUnasked, usageChunk } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

const CHAT = '/v1/chat/completions';

describe('openai()', () => {
  describeReading(openai({ apiKey: 'sk' }), OPENAI);

  it('openai(): is at its own address', () => {
    expect(openai({ apiKey: 'sk' })).toMatchObject({ name: 'openai', target: 'https://api.openai.com' });
    expect(openai({ apiKey: 'sk', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it('openai(): names the organization and the project beside the key', async () => {
    const provider = openai({ apiKey: 'sk', organization: 'org-1', project: 'proj-1' });
    expect(await credentialsOf(provider, exchangeFor(CHAT))).toEqual({
      authorization: 'Bearer sk',
      'openai-organization': 'org-1',
      'openai-project': 'proj-1',
    });
  });
});

describe('openaiCompatible()', () => {
  const options = { name: 'vllm', target: 'http://127.0.0.1:8000', apiKey: 'sk' };
  describeReading(openaiCompatible(options), OPENAI);

  it('openaiCompatible(): has the name and the address that it is given', () => {
    expect(openaiCompatible(options)).toMatchObject({ name: 'vllm', target: 'http://127.0.0.1:8000' });
  });

  it.each([
    ['name', { ...options, name: '' }],
    ['name', { ...options, name: undefined }],
    ['target', { ...options, target: undefined }],
    ['target', { ...options, target: '' }],
    ['apiKey', { ...options, apiKey: undefined }],
    ['name', undefined],
  ])('openaiCompatible(): needs `%s`: %j', (missing, given) => {
    const untyped = openaiCompatible as (options: unknown) => unknown;
    expect(() => untyped(given)).toThrow(new RegExp(`^openaiCompatible\\(\\) needs \`${missing}\``));
  });
});

const error = (members: object): object => ({ error: { message: 'No.', param: null, ...members } });
describe.each([
  ['openai()', openai({ apiKey: 'sk' })],
  ['openaiCompatible()', openaiCompatible({ name: 'vllm', target: 'http://127.0.0.1:8000', apiKey: 'sk' })],
])('the error status of %s', (_name, provider) => {
  describeErrorStatus(provider, {
    answers: OPENAI,
    failing: {
      'a chat completion that fails on its way': 500,
      'a chat completion that fails on its way, with a bare error': 500,
      'a response that failed': 500,
    },
    errors: [
      { data: error({ type: 'invalid_request_error', code: null }), status: 400 },
      { data: error({ type: 'invalid_request_error', code: 'invalid_api_key' }), status: 401 },
      { data: error({ type: 'authentication_error' }), status: 401 },
      { data: error({ type: 'permission_error' }), status: 403 },
      { data: error({ type: 'not_found_error' }), status: 404 },
      { data: error({ type: 'rate_limit_error' }), status: 429 },
      { data: error({ type: 'tokens', code: 'rate_limit_exceeded' }), status: 429 },
      { data: error({ type: 'requests' }), status: 429 },
      { data: error({ code: '429' }), status: 429 },
      { data: error({ code: '200' }), status: 502 },
      { data: error({ type: 'insufficient_quota', code: 'insufficient_quota' }), status: 429 },
      { data: error({ type: 'server_error', code: null }), status: 500 },
      { data: error({ type: 'engine_overloaded' }), status: 503 },
      { data: error({ code: 'overloaded' }), status: 503 },
      { data: { object: 'error', message: 'No.', type: 'BadRequestError', code: 400 }, status: 400 },
      { data: { object: 'list', message: 'No.', code: 400 }, status: undefined },
      // vLLM and OpenRouter put the status there.
      { data: error({ type: 'NotFoundError', code: 404 }), status: 404 },
      { data: error({ type: 'server_error', code: 529 }), status: 529 },
      { data: error({ type: 'server_error', code: 200 }), status: 500 },
      { data: error({ type: 'a_new_error', code: 'a_new_code' }), status: 502 },
      { data: error({}), status: 502 },
      { data: { error: 'No.' }, status: 502 },
      { data: { choices: [], error: null }, status: undefined },
      // Names that every object has, and what cannot be made a string.
      { data: error({ type: 'constructor', code: '__proto__' }), status: 502 },
      { data: error({ type: { toString: 1, valueOf: 1 }, code: ['toString'] }), status: 502 },
      // Responses: with the error at the top or within.
      {
        event: 'error',
        data: { type: 'error', code: 'rate_limit_exceeded', message: 'No.', param: null, sequence_number: 1 },
        status: 429,
      },
      { event: 'error', data: { type: 'error', ...error({ type: 'server_error' }) }, status: 500 },
      { event: 'error', data: { type: 'error', code: null, message: 'No.' }, status: 502 },
      { data: { type: 'response.failed', response: { error: { code: 'rate_limit_exceeded' } } }, status: 429 },
      { data: { type: 'response.created', response: { status: 'in_progress', error: null } }, status: undefined },
    ],
  });
});

describe('what a client is told of a failure', () => {
  const { errorEvent, errorBody, errorBodyOf } = openai({ apiKey: 'sk' });
  const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
  const error = { message: 'It failed.', type: 'proxy_error', param: null, code: 'UPSTREAM_TRUNCATED' };

  it('openai(), error body: a failure is a body with an `error`', () => {
    expect(errorBody(failure, exchangeFor('/v1'))).toEqual({ error });
  });

  it.each([CHAT, '/v1/completions', '/v1/chat/completions?a=/responses'])(
    'openai(), error body: a failure is a chunk with an `error` at %s',
    (path) => {
      expect(errorEvent(failure, exchangeFor(path))).toEqual({ data: JSON.stringify({ error }) });
    },
  );

  it.each([
    ['/v1/responses', undefined, 0],
    ['/v1/responses?a=1', new ParsedEvent('{"type":"response.created","sequence_number":0}'), 1],
    ['/v1/responses', new ParsedEvent('{"type":"response.output_text.delta","sequence_number":41}'), 42],
    ['/v1/responses', new ParsedEvent('{"sequence_number":"7"}'), 0],
  ])(
    'openai(), error event: at %s, a failure is an error, and a response that has failed: after %j',
    (path, last, next) => {
      const { code, message } = failure;
      const payloads = [errorEvent(failure, exchangeFor(path), last)].flat().map(({ event, data = '' }) => {
        const payload = JSON.parse(data) as { type: string };
        expect(event).toBe(payload.type);
        return payload;
      });
      expect(payloads).toEqual([
        { type: 'error', sequence_number: next, code, message, param: null, error },
        {
          type: 'response.failed',
          sequence_number: next + 1,
          response: { object: 'response', status: 'failed', error: { code, message }, output: [] },
        },
      ]);
    },
  );

  it.each([
    [
      { type: 'error', sequence_number: 3, code: 'rate_limit_exceeded', message: 'Slow down.', param: null },
      { message: 'Slow down.', type: 'server_error', param: null, code: 'rate_limit_exceeded' },
    ],
    [
      { type: 'response.failed', response: { status: 'failed', error: { code: 'server_error', message: 'No.' } } },
      { message: 'No.', type: 'server_error', param: null, code: 'server_error' },
    ],
    [
      { object: 'error', message: 'No.', type: 'BadRequestError', param: null, code: 400 },
      { message: 'No.', type: 'BadRequestError', param: null, code: 400 },
    ],
    [{ error: { message: 'No.', type: 'x', code: 'y', param: null } }, undefined],
    [{ type: 'response.failed', response: { error: null } }, undefined],
    ['[DONE]', undefined],
    [null, undefined],
  ])('openai(), error body: of the error event %j', (event, expected) => {
    const text = typeof event === 'string' ? event : JSON.stringify(event);
    const body = errorBodyOf?.(new ParsedEvent(text), exchangeFor('/v1/responses'));
    expect(body).toEqual(expected && { error: expected });
  });
});

describe('includeUsage', () => {
  const { editRequest } = openai({ apiKey: 'sk', includeUsage: true });
  const edit = (body: string, path = CHAT): RequestEdit | undefined => editRequest?.(body, exchangeFor(path));

  it('includeUsage: is off unless it is asked for', () => {
    expect(openai({ apiKey: 'sk' })).not.toHaveProperty('editRequest');
    expect(openai({ apiKey: 'sk', includeUsage: false })).not.toHaveProperty('editRequest');
    const compatible = { name: 'vllm', target: 'http://127.0.0.1:8000', apiKey: 'sk' };
    expect(openaiCompatible(compatible)).not.toHaveProperty('editRequest');
    expect(openaiCompatible({ ...compatible, includeUsage: true })).toHaveProperty('editRequest');
  });

  it.each([
    '{"model":"m","stream":true,"seed":12345678901234567890,"temperature":1.0,"messages":[]}',
    ' \r\n{ "stream" : true ,\t"top_p": 1e-1, "messages": [ { "content": "{\\"$&$1 \\u00e9 🙂" } ] } \n',
    '{"messages":[{"content":"\\"stream_options\\":{}"}],"stream":true}',
    '{"stream":false,"stream":true}',
  ])('includeUsage: adds to a request that streams, and keeps each of its other bytes: %s', (body) => {
    const edited = edit(body)?.body ?? '';
    const added = '"stream_options":{"include_usage":true},';
    expect(edited).toContain(added);
    expect(edited.replace(added, '')).toBe(body);
    expect(JSON.parse(edited)).toEqual({ ...JSON.parse(body), stream_options: { include_usage: true } });
  });

  it.each([
    ['null', 'null', { include_usage: true }],
    ['false', '{"include_usage":false}', { include_usage: true }],
    ['other members', '{"include_obfuscation":false}', { include_obfuscation: false, include_usage: true }],
    ['a member that is null', '{ "include_usage" : null }', { include_usage: true }],
  ])('includeUsage: replaces `stream_options` with %s, and keeps each byte around it', (_what, given, expected) => {
    const before = '{"seed":12345678901234567890,"stream_options" : ';
    const after = ', "temperature": 1.0, "stream": true}';
    const edited = edit(before + given + after)?.body ?? '';
    expect(JSON.parse(edited)).toMatchObject({ stream_options: expected });
    expect(edited).toBe(`${before}${JSON.stringify(expected)}${after}`);
  });

  it.each([
    '{"tools":[{"stream_options":null}],"stream_options":null,"stream":true}',
    '{"messages":[{"content":"\\"stream_options\\":{}"}],"stream":true,"stream_options":{"include_usage":false}}',
    '{"stream_options":{"include_usage":false,"stream_options":{}},"stream":true}',
    '{"stream_options":{"include_usage":false,"note":"}"},"stream":true}',
    '{"stream_options":false,"stream":true}',
    '{"stream\\u005foptions":{"include_usage":false},"stream":true}',
  ])('includeUsage: replaces no other `stream_options` than that of the request: %s', (body) => {
    const given = JSON.parse(body);
    const expected = { ...given, stream_options: { ...given.stream_options, include_usage: true } };
    expect(JSON.parse(edit(body)?.body ?? '')).toEqual(expected);
  });

  it.each([
    ['it has asked for it', '{"stream":true,"stream_options":{"include_usage":true}}'],
    ['it does not stream', '{"model":"m","messages":[]}'],
    ['it does not stream, and says so', '{"stream":false}'],
    ['`stream` is not true', '{"stream":"true"}'],
    ['it is broken', '{"stream":true,'],
    ['it is empty', ''],
    ['it is a list', '[{"stream":true}]'],
    ['it is null', 'null'],
    ['it is a string', '"{\\"stream\\":true}"'],
  ])('includeUsage: leaves a request alone where %s', (_why, body) => {
    expect(edit(body)).toBeUndefined();
  });

  it.each([
    ['/v1/responses', false],
    ['/v1/completions', true],
    ['/v1/%63hat/completions', true],
    ['/v1/chat/%63omple%74ions?a=1', true],
    ['/v1/chat%2Fcompletions', false],
    ['/v1/chat/completions%3F', false],
    ['/v1/%zzhat/completion', false],
    ['/v1/chat/completions/chatcmpl-1', false],
    ['/v1/responses?a=/chat/completions', false],
    ['/v1/chat/completions', true],
    ['/v1/chat/completions/', true],
    ['/v1/chat/completions?api-version=1', true],
    ['/openai/deployments/gpt/chat/completions?api-version=1', true],
  ])('includeUsage: is only for completions: %s %s', (path, expected) => {
    expect(edit('{"stream":true}', path) !== undefined).toBe(expected);
  });

  it('includeUsage: asks for nothing but usage, whatever the request is', () => {
    const request = fc.dictionary(fc.string(), fc.jsonValue());
    const options = fc.option(fc.dictionary(fc.string(), fc.jsonValue()), { nil: undefined });
    fc.assert(
      fc.property(request, options, fc.constantFrom(0, 2), (members, stream_options, indent) => {
        const given = { ...members, stream: true, ...(stream_options !== undefined && { stream_options }) };
        const body = JSON.stringify(given, null, indent);
        const edited: unknown = JSON.parse(edit(body)?.body ?? body);
        const expected = { ...given, stream_options: { ...stream_options, include_usage: true } };
        expect(edited).toEqual(JSON.parse(JSON.stringify(expected)));
      }),
      { numRuns: 300 },
    );
  });

  const dataOf = ({ bytes }: { bytes: string }): ParsedEvent => new ParsedEvent(bytes.slice('data: '.length).trimEnd());

  it('includeUsage: takes nothing for an extra but the chunk that is there for the usage only', () => {
    const isExtra = edit('{"stream":true}')?.isExtra;
    expect(isExtra).toBeDefined();
    const parts = [...openaiChat.parts, ...openaiChatUnasked.parts];
    expect(parts.filter((part) => isExtra?.(dataOf(part)))).toEqual([usageChunk]);
  });

  it.each(['{"usage":{"total_tokens":1}}', '{"choices":null,"usage":{"total_tokens":1}}'])(
    'includeUsage: takes %s for an extra',
    (data) => {
      expect(edit('{"stream":true}')?.isExtra?.(new ParsedEvent(data))).toBe(true);
    },
  );

  it.each([
    '{"choices":[],"usage":null}',
    '{"choices":[],"prompt_filter_results":[]}',
    '{"choices":[{"delta":{}}],"usage":{"total_tokens":1}}',
    '{"error":{"message":"No."},"usage":{"total_tokens":1}}',
    '{"choices":[],"usage":{',
    '{"error":{"message":"\\"usage\\":{"}}',
    '[DONE]',
  ])('includeUsage: takes %s for no extra', (data) => {
    expect(edit('{"stream":true}')?.isExtra?.(new ParsedEvent(data))).toBe(false);
  });
});
