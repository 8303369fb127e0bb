import { ParsedEvent } from '../../formats/format.js';
import type { Exchange, StreamEvent } from '../../types/hooks.js';
import type { ResponseHead } from '../../types/http.js';
import type { Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { anthropicDialect } from './anthropic.js';
import { readConverseMember, withCached } from './converse.js';
import { figures, hasFigures, member, noteContent, sumOf, word } from './figures.js';
import { openaiDialect } from './openai.js';

/** Where the last chunk of any model has what Bedrock has counted. */
const METRICS = 'amazon-bedrock-invocationMetrics';

/** Where the head of an invocation has it, in the order of {@link METRICS}. */
const COUNT_HEADERS = {
  inputTokenCount: 'x-amzn-bedrock-input-token-count',
  outputTokenCount: 'x-amzn-bedrock-output-token-count',
  cacheReadInputTokenCount: 'x-amzn-bedrock-cache-read-input-token-count',
  cacheWriteInputTokenCount: 'x-amzn-bedrock-cache-write-input-token-count',
} as const;

/** What the head of an answer has told of its tokens. */
const counted = new WeakMap<Exchange, Record<string, number>>();

/** Remembers what the head tells of an answer, for when the answer is read. */
export function rememberCounts({ headers }: Readonly<ResponseHead>, exchange: Exchange): void {
  const counts: Record<string, number> = {};
  for (const [name, header] of Object.entries(COUNT_HEADERS)) {
    const value = String(headers[header] ?? '');
    if (/^\d{1,15}$/.test(value)) counts[name] = Number(value);
  }
  if (Object.keys(counts).length > 0) counted.set(exchange, counts);
  else counted.delete(exchange);
}

/** Reads a chunk of an invocation's stream: what it wraps is an event as the model's vendor has it. */
export function readInvocationChunk(event: StreamEvent, reading: Reading, exchange: Exchange): void {
  const bytes = member(event.json(), 'bytes');
  if (typeof bytes !== 'string') return;
  const inner = new ParsedEvent(Buffer.from(bytes, 'base64').toString());
  const payload = inner.json();
  if (!isObject(payload)) return;
  inner.event = word(payload.type);
  readVendor(inner, payload, reading, exchange);
  const metrics = payload[METRICS];
  if (!isObject(metrics)) return;
  reading.ended = true;
  takeCounts(metrics, reading);
}

/** Reads the answer to an invocation in one piece. */
export function readInvocation(event: StreamEvent, reading: Reading, exchange: Exchange): void {
  const payload = event.json();
  if (isObject(payload)) {
    readVendor(event, payload, reading, exchange);
    if (!reading.usageComplete) takeOwnCounts(payload, reading);
  }
  const counts = counted.get(exchange);
  if (counts !== undefined) takeCounts(counts, reading);
}

function readVendor(event: StreamEvent, payload: Record<string, unknown>, reading: Reading, exchange: Exchange): void {
  if (typeof payload.type === 'string' && payload.completion === undefined)
    anthropicDialect.read(event, reading, exchange);
  else if (Array.isArray(payload.choices)) openaiDialect.read(event, reading, exchange);
  else readOther(payload, reading);
}

/** Names under which vendors have text, and why it ended: Titan, Llama, Mistral, Cohere, AI21 and Claude's former API. */
const TEXTS = ['outputText', 'generation', 'completion', 'text', 'results', 'outputs', 'generations', 'completions'];
const REASONS = ['completionReason', 'stop_reason', 'finish_reason'];

function readOther(payload: Record<string, unknown>, reading: Reading): void {
  // Amazon's own models stream the events of Converse, each in a member of its name.
  for (const [name, value] of Object.entries(payload)) readConverseMember(name, value, reading);
  const pieces = TEXTS.map((name) => payload[name]);
  noteContent(pieces, reading);
  const [first] = [payload.results, payload.outputs, payload.generations].filter(Array.isArray).flat();
  const reason = [payload, first].flatMap((from) => REASONS.map((name) => word(member(from, name))));
  const found = reason.find((each) => each !== undefined);
  if (found !== undefined) reading.finishReason = found;
}

/** Of those vendors' answers in one piece that count tokens: Titan and Llama. */
function takeOwnCounts(payload: Record<string, unknown>, reading: Reading): void {
  const { prompt_token_count, generation_token_count, inputTextTokenCount, results } = payload;
  const written = Array.isArray(results) ? sumOf(...results.map((result) => member(result, 'tokenCount'))) : undefined;
  const reported = Object.fromEntries(Object.entries(payload).filter(([name]) => /count$/i.test(name)));
  const found = figures(
    { inputTokens: prompt_token_count ?? inputTextTokenCount, outputTokens: generation_token_count ?? written },
    reported,
  );
  if (!hasFigures(found)) return;
  reading.usage = found;
  reading.usageComplete = true;
}

/** What Bedrock has counted stands in for what the vendor's own words leave out. */
function takeCounts(counts: Record<string, unknown>, reading: Reading): void {
  const { usage } = reading;
  const isCached = Boolean(sumOf(counts.cacheReadInputTokenCount, counts.cacheWriteInputTokenCount));
  const knowsCache = (usage.cachedInputTokens ?? usage.cacheCreationInputTokens) !== undefined;
  if (reading.usageComplete && (knowsCache || !isCached)) return;
  const found = figures(
    withCached({
      input: counts.inputTokenCount,
      output: counts.outputTokenCount,
      read: counts.cacheReadInputTokenCount,
      written: counts.cacheWriteInputTokenCount,
    }),
    counts,
  );
  if (!hasFigures(found)) return;
  reading.usage = { ...usage, ...found };
  reading.usageComplete = true;
}
