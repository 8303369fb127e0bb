import { STATUS_CODES } from 'node:http';
import { isErrorStatus } from '../../errors.js';
import type { StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import type { Dialect } from './dialect.js';
import { figures, hasFigures, isCount, keepFigures, member, noteContent, ofModality, sumOf, word } from './figures.js';
import { geminiDialect } from './gemini.js';

/** Google's Interactions: typed events, or an interaction in one piece. Its errors are told of by an event, and answered like Gemini's. */
export const interactionsDialect: Dialect = {
  ...geminiDialect,
  read,
  errorEvent: ({ code, message }: ProviderFailure) => ({
    event: 'error',
    data: JSON.stringify({ event_type: 'error', error: { code, message } }),
  }),
  errorStatus,
  errorBodyOf,
  // Its clients read comments. What those of Gemini read instead, the AI SDK takes here for an event that is not valid.
  heartbeat: () => undefined,
};

/** How an interaction ends. Others wait for the caller, or go on in the background. */
const LAST_STATUSES = new Set(['completed', 'requires_action', 'incomplete', 'failed', 'cancelled', 'budget_exceeded']);

/** The events that carry all of an interaction; the first name is that of earlier revisions. */
const LAST_EVENTS = new Set<unknown>(['interaction.complete', 'interaction.completed']);

function read(event: StreamEvent, reading: Reading): void {
  const payload = event.json();
  const type = member(payload, 'event_type');
  if (type === undefined) {
    if (member(payload, 'object') === 'interaction' || isObject(member(payload, 'usage')))
      readInteraction(payload, reading, false);
    return;
  }
  if (type === 'error') reading.usageComplete = false;
  if (type === 'step.start' || type === 'content.start')
    noteContent(member(payload, 'step') ?? member(payload, 'content'), reading);
  if (type === 'step.delta' || type === 'content.delta') noteContent(member(payload, 'delta'), reading);
  const soFar = member(member(payload, 'metadata'), 'total_usage');
  if (isObject(soFar)) keepFigures(figures(figuresOf(soFar), soFar), reading);
  const interaction = member(payload, 'interaction');
  if (interaction !== undefined) readInteraction(interaction, reading, LAST_EVENTS.has(type));
}

/** @param isLast whether there will be no other, whatever its status says, or does not say */
function readInteraction(interaction: unknown, reading: Reading, isLast: boolean): void {
  const id = word(member(interaction, 'id'));
  const model = word(member(interaction, 'model'));
  const status = word(member(interaction, 'status'));
  const usage = member(interaction, 'usage');
  if (id !== undefined) reading.id = id;
  if (model !== undefined) reading.model = model;
  noteContent([member(interaction, 'steps'), member(interaction, 'outputs')], reading);
  if (isObject(usage)) keepFigures(figures(figuresOf(usage), usage), reading);
  const hasEnded = isLast || (status !== undefined && LAST_STATUSES.has(status));
  if (hasEnded && status !== undefined) reading.finishReason = status;
  // A stream that ends with a failure has no answer; one that is asked for later, in one piece, has its final figures.
  const isFailure = isLast && status === 'failed';
  reading.usageComplete = hasEnded && !isFailure && hasFigures(reading.usage);
  if (isLast) reading.ended = true;
}

/**
 * Thoughts and the prompts of tools are counted apart from the output and the input, unless the total says that it has them (or one of
 * them) in the others.
 */
function figuresOf(usage: object): Record<string, unknown> {
  const of = (name: string): unknown => member(usage, name);
  const [input, output, thought, tools] = [
    of('total_input_tokens'),
    of('total_output_tokens'),
    of('total_thought_tokens'),
    of('total_tool_use_tokens'),
  ];
  const total = of('total_tokens');
  const inputWithTools = isCount(input) ? sumOf(input, tools) : input;
  const outputWithThoughts = isCount(output) ? sumOf(output, thought) : output;
  const ways = [
    [input, output],
    [input, outputWithThoughts],
    [inputWithTools, output],
  ];
  const apart = [inputWithTools, outputWithThoughts];
  const [inputTokens, outputTokens] = ways.find((way) => isCount(total) && sumOf(...way) === total) ?? apart;
  return {
    inputTokens,
    outputTokens,
    totalTokens: total,
    cachedInputTokens: of('total_cached_tokens'),
    reasoningTokens: thought,
    audioInputTokens: ofModality(of('input_tokens_by_modality'), 'audio'),
    audioOutputTokens: ofModality(of('output_tokens_by_modality'), 'audio'),
    imageInputTokens: ofModality(of('input_tokens_by_modality'), 'image'),
    imageOutputTokens: ofModality(of('output_tokens_by_modality'), 'image'),
  };
}

/**
 * The codes of its errors (ai.google.dev/gemini-api/docs/api-errors) whose names are not those of a status, and those of google.rpc.Code
 * that earlier revisions had.
 */
const STATUSES = new Map<unknown, number>([
  ...statusesByName(),
  ['invalid_request', 400],
  ['invalid_argument', 400],
  ['failed_precondition', 400],
  ['parameter_unknown', 400],
  ['authentication', 401],
  ['unauthenticated', 401],
  ['permission_denied', 403],
  ['model_not_found', 404],
  ['out_of_range', 416],
  ['rate_limit_exceeded', 429],
  ['quota_exceeded', 429],
  ['resource_exhausted', 429],
  ['internal', 500],
  ['unavailable', 503],
  ['deadline_exceeded', 504],
]);

/** What has no code of its own is told by its status, in words: `gateway_timeout`. */
function statusesByName(): [string, number][] {
  const errors = Object.entries(STATUS_CODES).filter(([status]) => isErrorStatus(Number(status)));
  return errors.map(([status, name = '']) => [snakeCase(name), Number(status)]);
}

function snakeCase(name: string): string {
  return name.toLowerCase().replace(/\W+/g, '_');
}

function errorStatus(event: StreamEvent): number | undefined {
  if (!event.data.includes('"error"')) return undefined;
  const payload = event.json();
  if (member(payload, 'event_type') !== 'error') return undefined;
  const code = word(member(member(payload, 'error'), 'code'));
  return STATUSES.get(code?.toLowerCase()) ?? 502;
}

/** As Gemini's errors are, with the code in `status`: the AI SDK shows no message where `code` is no number. */
function errorBodyOf(event: StreamEvent): { error: object } | undefined {
  const error = member(event.json(), 'error');
  if (!isObject(error)) return undefined;
  const { code, message } = error;
  return { error: { code: errorStatus(event) ?? 502, message, status: word(code) ?? 'UNKNOWN' } };
}
