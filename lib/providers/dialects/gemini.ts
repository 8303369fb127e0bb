import { isErrorStatus } from '../../errors.js';
import { first } from '../../headers/header-values.js';
import { isJsonType } from '../../headers/media-type.js';
import type { Exchange, StreamEvent } from '../../types/hooks.js';
import type { ResponseHead } from '../../types/http.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import type { Dialect } from './dialect.js';
import {
  allFinished,
  figures,
  hasContent,
  hasFigures,
  member,
  noteFinished,
  ofModality,
  sumOf,
  word,
} from './figures.js';

/** Google's `generateContent` and `streamGenerateContent`, with and without `alt=sse`: of the Gemini API, and of Vertex AI. */
export const geminiDialect: Dialect = {
  read,
  errorEvent: (failure) => ({ data: JSON.stringify(errorBody(failure)) }),
  errorBody,
  errorStatus,
  formatOf,
  // Three of Google's clients take a comment for a failure; all of them read this, which says nothing.
  heartbeat: () => ({ data: '{}' }),
};

/** Without `alt=sse` the response is a JSON array, which is streamed element by element. An error is in one piece. */
function formatOf({ statusCode, headers }: Readonly<ResponseHead>, { path }: Exchange): 'json-array' | undefined {
  const isArray = isJsonType(first(headers['content-type'])) && /^[^?]*:streamGenerateContent(\?|$)/.test(path);
  return isArray && !isErrorStatus(statusCode) ? 'json-array' : undefined;
}

function errorStatus(event: StreamEvent): number | undefined {
  if (!event.data.includes('"error"')) return undefined;
  const error = member(event.json(), 'error');
  if (typeof error !== 'object' || error === null) return undefined;
  const code = member(error, 'code');
  return isErrorStatus(code) ? code : 502;
}

/** What is remembered of a stream, in the reading's `reported`. */
interface GeminiState {
  /** A part of the answer came after the figures, which do not count it. */
  isStale?: boolean;
  /** Whether each candidate that was seen has finished, by its index. */
  finished?: Map<unknown, boolean>;
  /** There will be no candidate: the prompt was blocked. */
  isBlocked?: boolean;
  /** There was an error in the stream: it is not whole. */
  hasFailed?: boolean;
}

function read(event: StreamEvent, reading: Reading): void {
  const payload = event.json();
  const state = reading.reported as GeminiState;
  const model = word(member(payload, 'modelVersion'));
  if (model !== undefined) reading.model = model;

  const list = member(payload, 'candidates');
  const candidates: unknown[] = Array.isArray(list) ? list : [];
  const brings = candidates.some((candidate) => hasContent(member(member(candidate, 'content'), 'parts')));
  if (brings) reading.hasContent = true;
  noteCandidates(candidates, reading, state);
  if (member(member(payload, 'promptFeedback'), 'blockReason')) state.isBlocked = true;
  if (member(payload, 'error')) state.hasFailed = true;

  const usage = member(payload, 'usageMetadata');
  if (isObject(usage)) readUsage(usage, reading, state);
  else if (brings) state.isStale = true;
  reading.usageComplete = areFinal(reading, state);
}

function noteCandidates(candidates: readonly unknown[], reading: Reading, state: GeminiState): void {
  for (const candidate of candidates) {
    const reason = finishReasonOf(member(candidate, 'finishReason'));
    if (reason !== undefined) reading.finishReason = reason;
    state.finished = noteFinished(state.finished, member(candidate, 'index') ?? 0, reason !== undefined);
  }
}

/** Each chunk has the figures so far. Those of an answer in one piece are the last. */
function areFinal({ usage, streamed }: Reading, { finished, isBlocked, isStale, hasFailed }: GeminiState): boolean {
  if (!hasFigures(usage) || isStale || hasFailed) return false;
  return isBlocked === true || streamed === false || allFinished(finished);
}

function readUsage(usage: object, reading: Reading, state: GeminiState): void {
  const of = (name: string): unknown => member(usage, name);
  const found = figures(
    {
      inputTokens: sumOf(of('promptTokenCount'), of('toolUsePromptTokenCount')),
      outputTokens: sumOf(of('candidatesTokenCount'), of('thoughtsTokenCount')),
      totalTokens: of('totalTokenCount'),
      cachedInputTokens: of('cachedContentTokenCount'),
      reasoningTokens: of('thoughtsTokenCount'),
      audioInputTokens: ofModality(of('promptTokensDetails'), 'audio'),
      audioOutputTokens: ofModality(of('candidatesTokensDetails'), 'audio'),
      imageInputTokens: ofModality(of('promptTokensDetails'), 'image'),
      imageOutputTokens: ofModality(of('candidatesTokensDetails'), 'image'),
    },
    usage,
  );
  if (!hasFigures(found) && hasFigures(reading.usage)) return;
  reading.usage = found;
  state.isStale = false;
}

/** By its number, as far as Gemini's API and Vertex AI number them alike. */
const FINISH_REASONS = ['FINISH_REASON_UNSPECIFIED', 'STOP', 'MAX_TOKENS', 'SAFETY', 'RECITATION', 'OTHER'];

/** Some clients ask for enums as numbers. Unspecified is what has not finished. */
function finishReasonOf(reason: unknown): string | undefined {
  const name = Number.isSafeInteger(reason) ? (FINISH_REASONS[Number(reason)] ?? String(reason)) : word(reason);
  return name === FINISH_REASONS[0] ? undefined : name;
}

/** google.rpc.Code, by the HTTP status that it is mapped to. */
const STATUSES: Record<number, string> = { 500: 'INTERNAL', 502: 'UNAVAILABLE', 504: 'DEADLINE_EXCEEDED' };

function errorBody({ message, statusCode }: ProviderFailure): { error: object } {
  return { error: { code: statusCode, message, status: STATUSES[statusCode] ?? 'UNKNOWN' } };
}
