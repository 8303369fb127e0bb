import type { StreamEvent } from '../../types/hooks.js';
import type { Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { figures, hasFigures, isCount, member, noteContent, sumOf, word } from './figures.js';

/** Reads an event of ConverseStream, by its type. The figures come with the last one. */
export function readConverseEvent(type: string, event: StreamEvent, reading: Reading): void {
  // Most events are such. There is nothing to learn from another one but its text.
  if (type === 'contentBlockDelta' && reading.hasContent) return;
  readConverseMember(type, event.json(), reading);
}

export function readConverseMember(type: string, payload: unknown, reading: Reading): void {
  switch (type) {
    case 'contentBlockStart':
      noteContent(member(payload, 'start'), reading);
      break;
    case 'contentBlockDelta':
      noteContent(member(payload, 'delta'), reading);
      break;
    case 'messageStop':
      noteFinish(payload, reading);
      break;
    case 'metadata':
      noteService(payload, reading);
      takeFigures(member(payload, 'usage'), reading);
      reading.usageComplete = hasFigures(reading.usage);
      reading.ended = true;
      break;
  }
}

/**
 * Reads an answer of Converse in one piece.
 *
 * @returns whether it is one
 */
export function readConverse(payload: unknown, reading: Reading): boolean {
  const usage = member(payload, 'usage');
  const message = member(member(payload, 'output'), 'message');
  if (message === undefined && !isCount(member(usage, 'inputTokens'))) return false;
  noteContent(member(message, 'content'), reading);
  noteFinish(payload, reading);
  noteService(payload, reading);
  takeFigures(usage, reading);
  reading.usageComplete = hasFigures(reading.usage);
  return true;
}

function noteFinish(from: unknown, reading: Reading): void {
  const reason = word(member(from, 'stopReason'));
  if (reason !== undefined) reading.finishReason = reason;
}

/** Which model answers is only told where a router has chosen it, and the tier of service in an object. */
function noteService(from: unknown, reading: Reading): void {
  const tier = word(member(member(from, 'serviceTier'), 'type'));
  if (tier !== undefined) reading.serviceTier = tier;
  const model = word(member(member(member(from, 'trace'), 'promptRouter'), 'invokedModelId'));
  if (model !== undefined) reading.model = model;
}

function takeFigures(usage: unknown, reading: Reading): void {
  if (!isObject(usage)) return;
  const of = (name: string): unknown => usage[name];
  const found = figures(
    withCached({
      input: of('inputTokens'),
      output: of('outputTokens'),
      total: of('totalTokens'),
      // The names differ between Converse and what Amazon's own models answer.
      read: of('cacheReadInputTokens') ?? of('cacheReadInputTokenCount'),
      written: of('cacheWriteInputTokens') ?? of('cacheWriteInputTokenCount'),
    }),
    usage,
  );
  if (hasFigures(found)) reading.usage = found;
}

/** Bedrock's figures under our names: it counts apart from the input what a cache had to do with. */
export function withCached(counts: {
  input: unknown;
  output: unknown;
  total?: unknown;
  read: unknown;
  written: unknown;
}): Record<string, unknown> {
  const { input, output, total, read, written } = counts;
  return {
    inputTokens: isCount(input) ? sumOf(input, read, written) : undefined,
    outputTokens: output,
    totalTokens: total,
    cachedInputTokens: read,
    cacheCreationInputTokens: written,
  };
}
