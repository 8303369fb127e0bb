import type { Reading } from '../../types/provider.js';

/** What a dialect reports of tokens. */
export type Figures = Reading['usage'];

export function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** A word that says something: an empty one stands for none. */
export function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** The sum of those that are counts; `undefined` where none is. */
export function sumOf(...values: unknown[]): number | undefined {
  const found = values.filter(isCount);
  return found.length === 0 ? undefined : found.reduce((sum, count) => sum + count, 0);
}

/** Google's tokens of one modality, in a list that names them under one name or another. */
export function ofModality(list: unknown, modality: string): number | undefined {
  if (!Array.isArray(list)) return undefined;
  const ofIt = list.filter((item) => word(member(item, 'modality'))?.toLowerCase() === modality);
  return sumOf(...ofIt.map((item) => member(item, 'tokenCount') ?? member(item, 'tokens')));
}

/** Of nearly all answers there is no sound and no image, and many report zeros for them. */
const MODALITIES = /^(?:audio|image)/;

/** Only what is a count: whatever else was not reported. */
function counts(values: Record<string, unknown>): Figures {
  const isFigure = ([name, value]: [string, unknown]): boolean =>
    isCount(value) && (value > 0 || !MODALITIES.test(name));
  return Object.fromEntries(Object.entries(values).filter(isFigure)) as Figures;
}

/**
 * The figures, and beside them the provider's own object.
 *
 * @param values by the names of {@link Usage}
 * @param reported as the provider sent it
 */
export function figures(values: Record<string, unknown>, reported: object): Figures {
  const found = counts(values);
  const copy = frozenCopy(reported);
  return copy === undefined ? found : { ...found, reported: copy as NonNullable<Figures['reported']> };
}

export function hasFigures({ inputTokens, outputTokens, totalTokens }: Figures): boolean {
  return (inputTokens ?? outputTokens ?? totalTokens) !== undefined;
}

/** Figures replace those that are known. An object without any, such as one that has the costs only, does not. */
export function keepFigures(found: Figures, reading: Reading): void {
  if (hasFigures(found) || !hasFigures(reading.usage)) reading.usage = found;
}

/** Notes of a choice whether it has finished; what has stays so. */
export function noteFinished(
  finished: Map<unknown, boolean> | undefined,
  index: unknown,
  isFinished: boolean,
): Map<unknown, boolean> {
  const noted = finished ?? new Map<unknown, boolean>();
  return noted.set(index, isFinished || noted.get(index) === true);
}

/** Of several choices the first that finishes is not the end. */
export function allFinished(finished: ReadonlyMap<unknown, boolean> | undefined): boolean {
  return finished !== undefined && finished.size > 0 && [...finished.values()].every(Boolean);
}

/** No provider's usage is nested as deep, or has as many members; what has is an attack on those who walk through it. */
const MAX_DEPTH = 16;
const MAX_MEMBERS = 1_000;
const MAX_TEXT = 1_024;

/**
 * A copy of a JSON value that nobody can change. A copy, since the parsed event is handed to hooks as well, which may change what
 * they get. `undefined` for what is too large: a summary may be kept for long.
 */
function frozenCopy(value: unknown): unknown {
  let members = 0;
  let isTooLarge = false;
  const copy = (item: unknown, depth: number): unknown => {
    members += 1;
    if (depth > MAX_DEPTH || members > MAX_MEMBERS || (typeof item === 'string' && item.length > MAX_TEXT))
      isTooLarge = true;
    if (isTooLarge) return undefined;
    if (typeof item !== 'object' || item === null) return item;
    if (Array.isArray(item)) return Object.freeze(item.map((each) => copy(each, depth + 1)));
    return Object.freeze(Object.fromEntries(Object.entries(item).map(([name, each]) => [name, copy(each, depth + 1)])));
  };
  const whole = copy(value, 0);
  return isTooLarge ? undefined : whole;
}

/** What describes a piece of an answer, and is none itself. */
const DESCRIPTIONS = new Set([
  'role',
  'type',
  'id',
  'call_id',
  'index',
  'status',
  'format',
  'mime_type',
  'mimeType',
  'signature',
  'thoughtSignature',
  'encrypted_content',
]);

/**
 * Whether there is a piece of an answer in it: any text that is not empty, wherever it is, beside what only describes the piece. Text,
 * refusals, reasoning, names and arguments of tools, images and audio all come as text.
 */
export function hasContent(value: unknown, depth = 0): boolean {
  if (typeof value === 'string') return value !== '';
  if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return false;
  if (Array.isArray(value)) return value.some((item) => hasContent(item, depth + 1));
  return Object.entries(value).some(([name, item]) => !DESCRIPTIONS.has(name) && hasContent(item, depth + 1));
}

/** Notes whether there is a piece of the answer. Once one is known, no other is looked for. */
export function noteContent(piece: unknown, reading: Reading): void {
  if (!reading.hasContent && hasContent(piece)) reading.hasContent = true;
}
