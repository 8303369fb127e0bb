import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { EventReader } from '../../../lib/events/event-reader.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { usageOf } from '../../../lib/observe/usage.js';
import { anthropic, gemini, mistral, ollama, openai, openaiCompatible } from '../../../lib/providers/index.js';
import type { Provider, Reading } from '../../../lib/types/provider.js';
import type { Usage } from '../../../lib/types/summary.js';
import { type Account, expectedOf, SHAPES, type Shape } from '../../support/streams/accounts.js';
import { exchangeFor } from '../../support/streams/dialects.js';

const apiKey = 'sk';
const PROVIDERS: Record<Shape['dialect'], Provider> = {
  openai: openai({ apiKey }),
  compatible: openaiCompatible({ name: 'compatible', target: 'http://127.0.0.1:1', apiKey }),
  mistral: mistral({ apiKey }),
  anthropic: anthropic({ apiKey }),
  gemini: gemini({ apiKey }),
  ollama: ollama(),
};

function formatOf({ contentType, path }: Shape): EventFormat {
  if (contentType === 'text/event-stream') return sse;
  if (contentType === 'application/x-ndjson') return ndjson;
  return path.includes(':streamGenerateContent') ? jsonArray : json;
}

/** What is told of an answer in these chunks; of one that was cut behind them, unless it is whole. */
function told(shape: Shape, chunks: readonly Buffer[], isWhole: boolean): Omit<Usage, 'reported'> {
  const format = formatOf(shape);
  const streamed = format !== json;
  const reading: Reading = { streamed, usage: {}, reported: {}, usageComplete: false, hasContent: false, ended: false };
  const reader = new EventReader(format, 1024 * 1024);
  const provider = PROVIDERS[shape.dialect];
  const exchange = exchangeFor(shape.path);
  for (const chunk of chunks) {
    for (const { event } of reader.read(chunk)) if (event !== undefined) provider.read(event, reading, exchange);
  }
  const last = isWhole ? reader.end().event : undefined;
  if (last !== undefined) provider.read(last, reading, exchange);
  const { reported, ...figures } = usageOf(reading, isWhole);
  return figures;
}

const ACCOUNT: Account = { input: 1_117, output: 146, cached: 1_024, written: 64, reasoning: 128 };

describe('usage: the same wherever an answer is split, and no more than has come where it is cut', () => {
  it.each(SHAPES)('$dialect: $name', (shape) => {
    const parts = shape.parts(ACCOUNT);
    const bytes = Buffer.from(parts.map(({ text }) => text).join(''));
    const whole = expectedOf(parts, parts.length);
    const ends = parts.map((_part, i) =>
      Buffer.byteLength(
        parts
          .slice(0, i + 1)
          .map(({ text }) => text)
          .join(''),
      ),
    );
    for (let at = 0; at <= bytes.length; at += 1) {
      const split = told(shape, [bytes.subarray(0, at), bytes.subarray(at)], true);
      // A matcher would take its time, some ten thousand times.
      if (!isDeepStrictEqual(sorted(split), sorted(whole))) expect({ at, told: split }).toEqual({ at, told: whole });
    }
    for (const [i, end] of ends.entries()) {
      if (shape.contentType === 'application/json') continue;
      expect(told(shape, [bytes.subarray(0, end)], false)).toEqual(expectedAtCut(parts, i + 1));
    }
  });

  /** Behind the end of its dialect a cut takes nothing away; Gemini has no such end. */
  function expectedAtCut(parts: ReturnType<Shape['parts']>, count: number): object {
    const expected = expectedOf(parts, count);
    const isComment = parts[count - 1]?.text.startsWith(':') === true;
    return isComment ? { ...expected, complete: false } : expected;
  }
});

const sorted = (figures: object): unknown[] => Object.entries(figures).sort();
