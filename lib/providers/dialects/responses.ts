import type { Reading } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { takeFigures } from './chat.js';
import { hasContent, hasFigures, member, word } from './figures.js';

/** The event that ends a stream of Responses carries the whole of it. */
const LAST_EVENTS = new Set<unknown>(['response.completed', 'response.incomplete', 'response.failed']);

/** How a response ends. */
const LAST_STATUSES = new Set<unknown>(['completed', 'incomplete', 'failed', 'cancelled']);

/** Reads an event of OpenAI's Responses, by its type. */
export function readResponsesEvent(type: string, payload: unknown, reading: Reading): void {
  const response = member(payload, 'response');
  const isLast = LAST_EVENTS.has(type);
  if (response !== undefined) readResponse(response, reading, isLast);
  if (!reading.hasContent && bringsContent(type, payload)) reading.hasContent = true;
  if (isLast) reading.ended = true;
}

/** A piece of text, of arguments, of an image or of sound; or an item that is one by itself, such as the call of a tool. */
function bringsContent(type: string, payload: unknown): boolean {
  if (type.endsWith('.delta')) return hasContent(member(payload, 'delta'));
  if (type.endsWith('.partial_image')) return hasContent(member(payload, 'partial_image_b64'));
  return type.startsWith('response.output_item.') && isContent(member(payload, 'item'));
}

function isContent(item: unknown): boolean {
  return word(member(item, 'type'))?.endsWith('_call') === true || hasContent(item);
}

/**
 * Reads a response, as it is at some time.
 *
 * @param isLast whether there will be no other, whatever its status says, or does not say
 */
export function readResponse(response: unknown, reading: Reading, isLast: boolean): void {
  const model = word(member(response, 'model'));
  const usage = member(response, 'usage');
  const status = word(member(response, 'status'));
  const output = member(response, 'output');
  const hasEnded = LAST_STATUSES.has(status);
  const id = word(member(response, 'id'));
  if (id !== undefined) reading.id = id;
  if (model !== undefined) reading.model = model;
  const tier = word(member(response, 'service_tier'));
  if (tier !== undefined) reading.serviceTier = tier;
  if (Array.isArray(output) && output.some(isContent)) reading.hasContent = true;
  if (isObject(usage)) takeFigures(usage, reading);
  reading.usageComplete = (isLast || hasEnded) && hasFigures(reading.usage);
  if (hasEnded) reading.finishReason = word(member(member(response, 'incomplete_details'), 'reason')) ?? status ?? '';
}
