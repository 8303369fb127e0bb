import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { askedOf } from '../../../lib/request/asked.js';

const CHAT = '/v1/chat/completions';

describe('what a request asks for', () => {
  it.each([
    [CHAT, '{"model":"gpt-5","stream":true}', { model: 'gpt-5', stream: true }],
    [
      CHAT,
      ' { "messages": [{ "model": "no" }], "stream" : false , "model" : "gpt-5" } ',
      { model: 'gpt-5', stream: false },
    ],
    [CHAT, '{"model":"a\\"b\\u0041"}', { model: 'a"bA' }],
    [CHAT, '{"mod\\u0065l":"x"}', { model: 'x' }],
    [CHAT, '{"model":"first","model":"last"}', { model: 'last' }],
    [CHAT, JSON.stringify({ model: 'm'.repeat(300), stream: true }), { stream: true }],
    [`/v1beta/models/${'m'.repeat(300)}:generateContent`, undefined, {}],
    [CHAT, '{"model":7,"stream":"true"}', {}],
    [CHAT, '{"model":"gpt-5","messages":[{"content":"cut', { model: 'gpt-5' }],
    [CHAT, '{"messages":[],"model":"cu', {}],
    [CHAT, '{"stream":tru', {}],
    [CHAT, '[{"model":"x"}]', {}],
    [CHAT, undefined, {}],
    ['/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse', '{}', { model: 'gemini-2.5-pro', stream: true }],
    ['/v1beta/models/gemini-2.5-pro:generateContent', undefined, { model: 'gemini-2.5-pro', stream: false }],
    ['/v1beta/models/gemini-2.5-pro:countTokens', undefined, { model: 'gemini-2.5-pro' }],
    ['/v1/projects/p/models/claude@1:streamRawPredict', undefined, { model: 'claude@1', stream: true }],
    ['/openai/deployments/my-gpt/chat/completions', '{"stream":true}', { model: 'my-gpt', stream: true }],
    ['/openai/deployments/my-gpt/chat/completions', '{"model":"gpt-5"}', { model: 'gpt-5' }],
    ['/model/anthropic.claude%3A0/converse-stream', undefined, { model: 'anthropic.claude:0', stream: true }],
    ['/model/amazon.nova/invoke', undefined, { model: 'amazon.nova', stream: false }],
    ['/v1/models', undefined, {}],
    ['/x?y=/models/z:generateContent', undefined, {}],
    ['/model/%ff/converse', undefined, { model: '%ff', stream: false }],
  ])('asked: %s %s', (path, body, expected) => {
    expect(askedOf(path, body)).toEqual(expected);
  });

  it('asked: as a parser has it, in whatever object', () => {
    const value = fc.dictionary(fc.oneof(fc.constantFrom('model', 'stream'), fc.string()), fc.jsonValue());
    fc.assert(
      fc.property(value, fc.constantFrom(0, 2), (object, indent) => {
        const { model, stream } = object;
        expect(askedOf(CHAT, JSON.stringify(object, null, indent))).toEqual({
          ...(typeof model === 'string' && { model }),
          ...(typeof stream === 'boolean' && { stream }),
        });
      }),
    );
  });

  it('asked: of what is cut, or no JSON, it says nothing wrong, and ends', () => {
    const text = '{"model":"m","a":[{"b":"\\\\"}],"stream":true}';
    for (let end = 0; end <= text.length; end += 1) {
      const asked = askedOf(CHAT, text.slice(0, end));
      expect([undefined, 'm']).toContain(asked.model);
      expect([undefined, true]).toContain(asked.stream);
    }
    const junk = fc.string({
      unit: fc.constantFrom('{', '}', '[', ']', '"', '\\', ':', ',', ' ', 'model', 'stream', 'true'),
    });
    fc.assert(
      fc.property(junk, (body) => {
        expect(typeof askedOf(CHAT, `{${body}`)).toBe('object');
      }),
      { numRuns: 2000 },
    );
  });
});
