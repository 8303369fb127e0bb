import { createParser } from 'eventsource-parser';
import type { Block, EventReader } from '../../../lib/events/event-reader.js';
import type { EventFormat, ParsedEvent } from '../../../lib/formats/format.js';
import { jsonArray } from '../../../lib/formats/json-array.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { formatOfType } from '../../../lib/formats/stream-formats.js';
import { essenceOf } from '../../../lib/headers/media-type.js';
import { FIXTURES, type Fixture } from './fixtures.js';

const lines = (values: object[], line: (json: string, value: object) => string): Buffer =>
  Buffer.from(values.map((value) => line(JSON.stringify(value), value)).join(''));

const delta = (content: string): object => ({ id: 'c', choices: [{ index: 0, delta: { content } }], usage: null });

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };

const candidate = (text: string, rest: object = {}): object => ({
  candidates: [{ content: { parts: [{ text }], role: 'model' }, index: 0, ...rest }],
  usageMetadata: { promptTokenCount: 4, totalTokenCount: 9 },
});

const geminiChunks = [candidate('Zażółć "[{'), candidate('gęślą\\ }]\n'), candidate(' 🙂', { finishReason: 'STOP' })];

/** In the shapes that the providers publish, with text that is hard to cut. */
const PROVIDER_STREAMS: readonly Fixture[] = [
  {
    name: 'OpenAI Chat Completions with usage',
    contentType: 'text/event-stream',
    bytes: Buffer.concat([
      lines([delta('Cześć'), delta(' 👩‍👩‍👧'), { id: 'c', choices: [], usage }], (json) => `data: ${json}\n\n`),
      Buffer.from('data: [DONE]\n\n'),
    ]),
  },
  {
    name: 'OpenAI Responses',
    contentType: 'text/event-stream',
    bytes: lines(
      [
        { type: 'response.created', sequence_number: 0, response: { id: 'r', status: 'in_progress' } },
        { type: 'response.output_text.delta', sequence_number: 1, delta: 'día' },
        { type: 'response.completed', sequence_number: 2, response: { id: 'r', usage: { input_tokens: 1 } } },
      ],
      (json, value) => `event: ${'type' in value ? value.type : ''}\ndata: ${json}\n\n`,
    ),
  },
  {
    name: 'OpenRouter, with comments while it waits',
    contentType: 'text/event-stream',
    bytes: Buffer.concat([
      Buffer.from(': OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n'),
      lines([delta('你好'), delta('!')], (json) => `data: ${json}\n\n`),
      Buffer.from('data: [DONE]\n\n'),
    ]),
  },
  {
    name: 'Gemini with alt=sse, in CRLF',
    contentType: 'text/event-stream',
    bytes: lines(geminiChunks, (json) => `data: ${json}\r\n\r\n`),
  },
  {
    name: 'Gemini without alt=sse',
    contentType: 'application/json',
    bytes: Buffer.from(`[${geminiChunks.map((chunk) => JSON.stringify(chunk, null, 2)).join('\n,\r\n')}\n]`),
  },
  {
    name: 'Ollama',
    contentType: 'application/x-ndjson',
    bytes: lines(
      [
        { model: 'm', message: { role: 'assistant', content: 'Grüß\n' }, done: false },
        { model: 'm', done: true, prompt_eval_count: 5, eval_count: 2 },
      ],
      (json) => `${json}\n`,
    ),
  },
];

export const STREAMS: readonly Fixture[] = [...FIXTURES, ...PROVIDER_STREAMS];

export function formatOf({ contentType }: Fixture): EventFormat {
  if (contentType === 'application/json') return jsonArray;
  return contentType === 'application/x-ndjson' ? ndjson : sse;
}

/** Whether the media type alone says that a body is a stream of events. */
export function isEventStreamType(contentType: string | undefined): boolean {
  return formatOfType(essenceOf(contentType)) !== undefined;
}

/** The bytes whole, in two at every place, and one by one. */
export function* chunkings(bytes: Buffer): Generator<Buffer[]> {
  yield [bytes];
  for (let i = 1; i < bytes.length; i += 1) yield [bytes.subarray(0, i), bytes.subarray(i)];
  yield Array.from(bytes, (_byte, i) => bytes.subarray(i, i + 1));
}

/** The blocks that a reader finds, that which is left at the end included. */
export function blocksOf(reader: EventReader, chunks: readonly Buffer[]): Block[] {
  return [...chunks.flatMap((chunk) => [...reader.read(chunk)]), reader.end()];
}

/** What an event says, all of it. */
export function fieldsOf({ data, event, id, retry, comment }: ParsedEvent) {
  return { data, event, id, retry, comment };
}

/** The events of a whole stream, as `eventsource-parser` finds them by itself. */
export function referenceEvents(bytes: Buffer): { data: string; event: string | undefined; id: string | undefined }[] {
  const events: ReturnType<typeof referenceEvents> = [];
  const parser = createParser({ onEvent: ({ data, event, id }) => events.push({ data, event, id }) });
  parser.feed(bytes.toString());
  return events;
}
