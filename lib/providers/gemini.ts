import { isErrorStatus } from '../errors.js';
import type { StreamEvent } from '../types/hooks.js';
import type { Provider, ProviderFailure, Reading } from '../types/provider.js';
import { keyIn, type ProviderOptions } from './auth/api-key.js';
import { counts, member } from './dialects/chat.js';

/**
 * Google's Gemini API: `generateContent`, and `streamGenerateContent` with and without `alt=sse`. The key is sent as
 * `x-goog-api-key`.
 *
 * @throws {TypeError} without `apiKey`, or for one that cannot be in a header field
 */
export function gemini(options: ProviderOptions): Provider {
  const { target = 'https://generativelanguage.googleapis.com', apiKey } = options ?? {};
  return {
    ...keyIn('gemini', (key) => ({ 'x-goog-api-key': key }), apiKey),
    name: 'gcp.gemini',
    target,
    // Without `alt=sse` the answer is a JSON array, an element per chunk.
    streamsArray: ({ path }) => /^[^?]*:streamGenerateContent(\?|$)/.test(path),
    read,
    errorEvent: (failure) => ({ data: JSON.stringify(errorBody(failure)) }),
    errorBody,
    errorStatus,
    retryMethods: ['POST'],
  };
}

function errorStatus(event: StreamEvent): number | undefined {
  const error = member(event.json(), 'error');
  if (typeof error !== 'object' || error === null) return undefined;
  const code = member(error, 'code');
  return isErrorStatus(code) ? code : 502;
}

function read(event: StreamEvent, reading: Reading): void {
  const payload = event.json();
  const model = member(payload, 'modelVersion');
  if (typeof model === 'string') reading.model = model;

  const candidates = member(payload, 'candidates');
  const candidate: unknown = Array.isArray(candidates) ? candidates[0] : undefined;
  const parts = member(member(candidate, 'content'), 'parts');
  if (Array.isArray(parts) && parts.length > 0) reading.hasContent = true;
  const finishReason = member(candidate, 'finishReason');
  if (typeof finishReason === 'string') reading.finishReason = finishReason;

  const usage = member(payload, 'usageMetadata');
  if (typeof usage !== 'object' || usage === null) return;
  const sum = (...names: string[]): number | undefined => {
    const found = names.map((name) => member(usage, name)).filter((value) => typeof value === 'number');
    return found.length === 0 ? undefined : found.reduce((a, b) => a + b, 0);
  };
  reading.usage = counts({
    inputTokens: sum('promptTokenCount', 'toolUsePromptTokenCount'),
    outputTokens: sum('candidatesTokenCount', 'thoughtsTokenCount'),
    totalTokens: member(usage, 'totalTokenCount'),
    cachedInputTokens: member(usage, 'cachedContentTokenCount'),
    reasoningTokens: member(usage, 'thoughtsTokenCount'),
  });
  // Each chunk has the figures so far.
  reading.usageComplete = typeof finishReason === 'string' || candidate === undefined;
}

/** google.rpc.Code, by the HTTP status that it is mapped to. */
const STATUSES: Record<number, string> = { 500: 'INTERNAL', 502: 'UNAVAILABLE', 504: 'DEADLINE_EXCEEDED' };

function errorBody({ message, statusCode }: ProviderFailure): { error: object } {
  return { error: { code: statusCode, message, status: STATUSES[statusCode] ?? 'UNKNOWN' } };
}
