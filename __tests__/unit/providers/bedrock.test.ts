import { isDeepStrictEqual } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import { EventReader } from '../../../lib/events/event-reader.js';
import { adoptFormat } from '../../../lib/formats/adopt-format.js';
import { ParsedEvent } from '../../../lib/formats/format.js';
import { amazonEventStream } from '../../../lib/providers/formats/amazon-event-stream.js';
import { type BedrockOptions, bedrock } from '../../../lib/providers/index.js';
import { optionalPackage } from '../../../lib/providers/optional-package.js';
import {
  BEDROCK,
  BEDROCK_TYPE,
  converseFailing,
  FRAMED,
  type FramedAnswer,
  framesOf,
  toldByFrames,
} from '../../support/streams/bedrock.js';
import { exchangeFor, openaiChat, reads, toldBy } from '../../support/streams/dialects.js';
import { describeErrorStatus } from '../../support/streams/error-status.js';
import { describeReading } from '../../support/streams/provider-reading.js';

const region = 'us-east-1';
const provider = bedrock({ region, apiKey: 'bedrock-api-key' });
const exchange = exchangeFor('/model/m/converse-stream');
const format = adoptFormat(amazonEventStream);
const awsCredentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' };

const readsFrames = ({ path }: FramedAnswer, chunks: readonly Buffer[]) => reads(provider, { format, path }, chunks);

const before = { ...process.env };
afterEach(() => {
  process.env = { ...before };
});

describe('bedrock()', () => {
  describeReading(provider, BEDROCK);

  it.each(FRAMED)('read: $name, in frames', (answer) => {
    expect(readsFrames(answer, [framesOf(answer.frames)])).toEqual(toldByFrames(answer.frames));
  });

  it.each(FRAMED)('read: no more than has come: $name, in frames', (answer) => {
    for (let count = 0; count < answer.frames.length; count += 1) {
      const soFar = answer.frames.slice(0, count);
      expect(readsFrames(answer, [framesOf(soFar)])).toEqual(toldByFrames(soFar));
    }
  });

  it.each(FRAMED)('read: the same wherever it is split: $name, in frames', (answer) => {
    const bytes = framesOf(answer.frames);
    const whole = toldByFrames(answer.frames);
    for (let at = 0; at <= bytes.length; at += 1) {
      const told = readsFrames(answer, [bytes.subarray(0, at), bytes.subarray(at)]);
      // A matcher would take its time, some thousand times.
      if (!isDeepStrictEqual(told, whole)) expect({ at, told }).toEqual({ at, told: whole });
    }
  });

  it.each(['chunk', 'metadata', 'contentBlockDelta', 'messageStop', 'unknown', 'error'])(
    'read: takes a frame of the type %s that makes no sense for nothing',
    (type) => {
      const hostile = [
        '',
        '{',
        'null',
        '[]',
        '{}',
        '{"bytes":5}',
        '{"bytes":"e30="}',
        '{"bytes":"bnVsbA=="}',
        '{"usage":5}',
      ];
      for (const data of hostile) {
        const reading = { usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false };
        provider.read(new ParsedEvent(data, type), reading, exchange);
        expect(reading).toMatchObject({ usage: {}, usageComplete: false, hasContent: false });
      }
    },
  );

  it('read: figures are not final where an exception follows them', () => {
    const reading = { usage: {}, reported: {}, usageComplete: true, hasContent: true, ended: true };
    provider.read(new ParsedEvent('{"message":"No."}', 'internalServerException'), reading, exchange);
    expect(reading.usageComplete).toBe(false);
  });

  it('read: takes what the head counts where the answer in one piece does not', () => {
    const asked = exchangeFor('/model/m/invoke');
    const head = {
      statusCode: 200,
      statusMessage: '',
      headers: {
        'content-type': 'application/json',
        'x-amzn-bedrock-input-token-count': '18',
        'x-amzn-bedrock-output-token-count': '386',
        'x-amzn-bedrock-cache-read-input-token-count': '7502',
        'x-amzn-bedrock-cache-write-input-token-count': '100',
      },
    };
    const read = (data: string) => {
      const reading = { usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false };
      provider.read(new ParsedEvent(data), reading, asked);
      return reading;
    };
    expect(provider.formatOf?.(head, asked)).toBeUndefined();
    const text = JSON.stringify({ outputs: [{ text: 'Hello', stop_reason: 'stop' }] });
    expect(read(text)).toMatchObject({
      usage: { inputTokens: 7_620, outputTokens: 386, cachedInputTokens: 7_502, cacheCreationInputTokens: 100 },
      usageComplete: true,
      hasContent: true,
      finishReason: 'stop',
    });
    // Another attempt, which is told nothing.
    provider.formatOf?.({ ...head, headers: { 'x-amzn-bedrock-input-token-count': '-1' } }, asked);
    expect(read(text)).toMatchObject({ usage: {}, usageComplete: false });
  });

  it("bedrock(): reads what is OpenAI's below /openai/v1", () => {
    const bytes = Buffer.from(openaiChat.parts.map((part) => part.bytes).join(''));
    const path = '/openai/v1/chat/completions';
    expect(reads(provider, { ...openaiChat, path }, [bytes])).toEqual(toldBy(openaiChat.parts));
    const failure = { message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode: 502 };
    expect(provider.errorBody(failure, exchangeFor(path))).toMatchObject({ error: { message: 'It failed.' } });
  });

  it.each([
    [BEDROCK_TYPE, amazonEventStream],
    ['Application/Vnd.Amazon.EventStream; charset=utf-8', amazonEventStream],
    ['application/json', undefined],
    ['text/event-stream', undefined],
  ])('formatOf: knows %s', (contentType, expected) => {
    const head = { statusCode: 200, statusMessage: '', headers: { 'content-type': contentType } };
    expect(provider.formatOf?.(head, exchange)).toBe(expected);
    expect(provider.formatOf?.({ ...head, headers: {} }, exchange)).toBeUndefined();
  });

  it('bedrock(): tells of a failure as the SDKs read it', () => {
    const failed = (statusCode: number): unknown =>
      provider.errorBody({ message: 'It failed.', code: 'UPSTREAM_TRUNCATED', statusCode }, exchange);
    expect(failed(502)).toEqual({ __type: 'InternalServerException', message: 'It failed.' });
    expect(failed(503)).toEqual({ __type: 'ServiceUnavailableException', message: 'It failed.' });
    expect(failed(404)).toEqual({ __type: 'ResourceNotFoundException', message: 'It failed.' });
    expect(failed(413)).toEqual({ __type: 'ValidationException', message: 'It failed.' });
    const bodyOf = (data: string, type?: string): unknown =>
      provider.errorBodyOf?.(new ParsedEvent(data, type), exchange);
    expect(bodyOf('{"message":"Slow down."}', 'throttlingException')).toEqual({
      __type: 'ThrottlingException',
      message: 'Slow down.',
    });
    expect(bodyOf('{"message":"Broken."}', 'error')).toEqual({ message: 'Broken.' });
    expect(bodyOf('{"message":"x"}', 'messageStart')).toBeUndefined();
  });
});

describe('the error status of bedrock()', () => {
  describeErrorStatus(provider, {
    answers: BEDROCK,
    failing: {},
    errors: [
      { event: 'throttlingException', data: { message: 'No.' }, status: 429 },
      { event: 'validationException', data: { message: 'No.' }, status: 400 },
      { event: 'internalServerException', data: { message: 'No.' }, status: 500 },
      { event: 'serviceUnavailableException', data: { message: 'No.' }, status: 503 },
      { event: 'modelTimeoutException', data: { message: 'No.' }, status: 408 },
      { event: 'modelStreamErrorException', data: { message: 'No.' }, status: 424 },
      { event: 'modelStreamErrorException', data: { message: 'No.', originalStatusCode: 503 }, status: 503 },
      { event: 'modelStreamErrorException', data: { message: 'No.', originalStatusCode: 200 }, status: 424 },
      { event: 'anotherException', data: 'no JSON', status: 502 },
      { event: 'error', data: { code: 'ThrottlingException', message: 'No.' }, status: 429 },
      { event: 'error', data: {}, status: 502 },
      { event: 'messageStart', data: { role: 'assistant' }, status: undefined },
    ],
  });

  it('errorStatus: of all frames, only an exception has one', () => {
    for (const { path, frames } of FRAMED) {
      const events = [...new EventReader(format, 100_000).read(framesOf(frames))].flatMap(({ event }) => event ?? []);
      const statuses = events.map((found) => provider.errorStatus?.(found, exchangeFor(path)));
      const expected = frames === converseFailing.frames ? [500] : [];
      expect(statuses.filter((status) => status !== undefined)).toEqual(expected);
    }
  });
});

describe('the options of bedrock()', () => {
  it('bedrock(): is at the address of its region, and sends its key as a bearer', async () => {
    expect(provider).toMatchObject({
      name: 'aws.bedrock',
      target: 'https://bedrock-runtime.us-east-1.amazonaws.com',
    });
    expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer bedrock-api-key' });
    expect(provider.sign).toBeUndefined();
    expect(bedrock({ region, apiKey: 'k', target: 'http://127.0.0.1:1' }).target).toBe('http://127.0.0.1:1');
  });

  it('bedrock(): takes its key from AWS_BEARER_TOKEN_BEDROCK, unless there are credentials', async () => {
    process.env.AWS_BEARER_TOKEN_BEDROCK = 'key-of-the-environment';
    expect(await credentialsOf(bedrock({ region }), exchange)).toEqual({
      authorization: 'Bearer key-of-the-environment',
    });
    const signing = bedrock({ region, credentials: awsCredentials });
    expect(signing.credentials).toBeUndefined();
    expect(signing.sign).toBeInstanceOf(Function);
    delete process.env.AWS_BEARER_TOKEN_BEDROCK;
    expect(() => bedrock({ region })).toThrow('Is the environment variable AWS_BEARER_TOKEN_BEDROCK set?');
  });

  it.each<[string, unknown, string]>([
    ['no options', undefined, 'bedrock() needs `region`'],
    ['no region', { apiKey: 'k' }, 'bedrock() needs `region`'],
    ['a region that would lead elsewhere', { region: 'evil.com/', apiKey: 'k' }, '`region` of bedrock() must be'],
    ['an empty region', { region: '', apiKey: 'k' }, '`region` of bedrock() must be'],
    ['a key and credentials', { region, apiKey: 'k', credentials: awsCredentials }, 'either `apiKey` or `credentials`'],
    ['credentials that are text', { region, credentials: 'AKID' }, '`credentials` of bedrock() must be'],
    ['credentials without a secret', { region, credentials: { accessKeyId: 'AKID' } }, 'must have `accessKeyId`'],
    ['an unknown option', { region, apikey: 'k' }, 'Unknown option `apikey` of bedrock()'],
  ])('bedrock(): refuses %s', (_what, options, message) => {
    expect(() => bedrock(options as BedrockOptions)).toThrow(TypeError);
    expect(() => bedrock(options as BedrockOptions)).toThrow(message);
  });

  it('bedrock(): has the caller sign, and withholds nothing of it, with `apiKey: false`', () => {
    const passing = bedrock({ region, apiKey: false });
    expect(passing.credentials).toBeUndefined();
    expect(passing.rewritePath).toBeUndefined();
    expect(passing.withheld?.request).toBeUndefined();
  });

  it("bedrock(): takes a caller's signature out of the query", () => {
    const path = '/model/m/invoke?a=1&X-Amz-Signature=s&X-Amz-Credential=c&X-Amz-Security-Token=t&key=k&b=2';
    expect(provider.rewritePath?.(path, exchange)).toBe('/model/m/invoke?a=1&b=2');
  });

  it('optional packages: one that is missing is named, with what to do', () => {
    expect(() => optionalPackage('a-package-that-is-not-there', '`x` of y()')).toThrow(
      '`x` of y() needs the package a-package-that-is-not-there. Install it: npm install a-package-that-is-not-there',
    );
  });
});
