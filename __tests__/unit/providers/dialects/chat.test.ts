import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { ParsedEvent } from '../../../../lib/formats/format.js';
import { mistral, ollama, openai } from '../../../../lib/providers/index.js';
import type { Provider, Reading } from '../../../../lib/types/provider.js';
import { exchangeFor } from '../../../support/streams/dialects.js';

const exchange = exchangeFor('/v1/chat/completions');

const newReading = (): Reading => ({ usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false });

/** What a provider takes from events with this data, in order. */
function readingOf({ read }: Provider, data: readonly string[]): Reading {
  const reading = newReading();
  for (const text of data) read(new ParsedEvent(text), reading, exchange);
  return reading;
}

const PROVIDERS: [string, Provider][] = [
  ['openai', openai({ apiKey: 'sk-servers' })],
  ['mistral', mistral({ apiKey: 'sk-servers' })],
  ['ollama', ollama()],
];

const text = fc.constantFrom('', 'a', '"usage":{', '"finish_reason":"stop"', '\\"usage\\":{', '{"error":{}}', '[DONE]');
const chunk = fc.record(
  {
    object: fc.constantFrom('chat.completion.chunk', 'response'),
    model: fc.constantFrom('m'),
    choices: fc.array(
      fc.record({ delta: fc.record({ content: text }), finish_reason: fc.constantFrom(null, null, null, 'stop') }),
      { maxLength: 2 },
    ),
    usage: fc.constantFrom(null, null, { prompt_tokens: 1, completion_tokens: 2 }, { prompt_tokens: 3 }),
  },
  { requiredKeys: ['object'] },
);
const responses = fc.record(
  {
    type: fc.constantFrom('response.created', 'response.output_text.delta', 'response.completed', 'response.failed'),
    delta: text,
    response: fc.constantFrom(
      { status: 'completed' },
      { model: 'm', usage: { input_tokens: 1 } },
      { status: 'failed', usage: null },
    ),
  },
  { requiredKeys: ['type'] },
);
const line = fc.record(
  {
    model: fc.constantFrom('m'),
    response: text,
    message: fc.record({ content: text }),
    done: fc.constantFrom(false, false, true),
    prompt_eval_count: fc.constantFrom(1, 2),
  },
  { requiredKeys: ['done'] },
);
const data = fc.oneof(
  fc
    .oneof(chunk, responses, line)
    .chain((value) => fc.constantFrom(JSON.stringify(value), JSON.stringify(value, undefined, 2))),
  fc.constantFrom('[DONE]', '', '{', 'null', '{}'),
);

describe.each(PROVIDERS)('%s', (_name, provider) => {
  it('chat dialect: a reader takes the same from chunks that it does not parse as from those that it does', () => {
    fc.assert(
      fc.property(fc.array(data, { maxLength: 12 }), (sequence) => {
        // With a space in front each of them is parsed.
        const parsed = sequence.map((value) => (value.startsWith('{') ? ` ${value}` : value));
        // What a provider keeps there for itself is its own affair.
        const told = ({ reported: _own, ...reading }: Reading) => reading;
        expect(told(readingOf(provider, sequence))).toEqual(told(readingOf(provider, parsed)));
      }),
      {
        numRuns: 1_000,
        // Text before any figures makes those of another dialect no older than they are.
        examples: [
          [
            [
              '{"model":"m","response":"a","done":false}',
              '{"type":"response.created","delta":"a"}',
              '{"done":true,"prompt_eval_count":1}',
              '{"type":"response.created"}',
            ],
          ],
          [
            [
              '{"type":"response.output_text.delta","delta":"a"}',
              '{"model":"m","done":false}',
              '{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"},"finish_reason":null}]}',
              '[DONE]',
              '{"type":"response.created","response":{"model":"m","usage":{"input_tokens":1}}}',
              '{"done":false}',
            ],
          ],
        ],
      },
    );
  });

  it('chat dialect: a reader does not parse what goes on with an answer', () => {
    const parse = jest.spyOn(JSON, 'parse');
    const first = JSON.stringify({ model: 'm', choices: [{ delta: { content: 'a' } }] });
    const reading = readingOf(provider, [first]);
    parse.mockClear();
    for (const content of ['b', '"usage":{', '"finish_reason":"stop"']) {
      provider.read(
        new ParsedEvent(JSON.stringify({ model: 'm', choices: [{ delta: { content } }], usage: null })),
        reading,
        exchange,
      );
    }
    expect(parse).not.toHaveBeenCalled();
    provider.read(
      new ParsedEvent('{"usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[]}'),
      reading,
      exchange,
    );
    parse.mockRestore();
    expect(reading).toMatchObject({ usage: { inputTokens: 1, outputTokens: 2 }, usageComplete: true });
  });
});
