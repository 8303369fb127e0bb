import type { Reading } from '../types/provider.js';
import type { Usage } from '../types/summary.js';
import { isObject } from '../util/checks.js';

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

type Totals = { [Name in 'inputTokens' | 'outputTokens' | 'totalTokens']?: number | undefined };

/** Whether it tells how many tokens there were at all. */
export function hasFigures({ inputTokens, outputTokens, totalTokens }: Totals): boolean {
  return (inputTokens ?? outputTokens ?? totalTokens) !== undefined;
}

/** A part of a figure cannot be more than the figure: which of both is wrong nobody knows, so that the part is left out. */
function partOf(whole: number | undefined, part: unknown): number | undefined {
  return isCount(part) && (whole === undefined || part <= whole) ? part : undefined;
}

/**
 * What a provider has reported, as it is told: whatever it was, its parts are not more than the whole, and what is no count is
 * absent.
 *
 * @param isWhole whether the answer came to its end, and all of it was read
 */
export function usageOf(reading: Partial<Reading> | undefined, isWhole: boolean): Usage {
  // A provider of the user's may have put anything there.
  const given: Partial<Record<keyof Usage, unknown>> = isObject(reading?.usage) ? reading.usage : {};
  const inputTokens = partOf(undefined, given.inputTokens);
  const outputTokens = partOf(undefined, given.outputTokens);
  const sum = inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens;
  const least = sum ?? inputTokens ?? outputTokens ?? 0;
  // One that is less than its parts is no total; it may be more, as where audio is counted apart.
  const totalTokens = isCount(given.totalTokens) ? atLeast(least, given.totalTokens) : sum;
  const cachedInputTokens = partOf(inputTokens, given.cachedInputTokens);
  const cacheCreationInputTokens = partOf(inputTokens, given.cacheCreationInputTokens);
  const reasoningTokens = partOf(outputTokens, given.reasoningTokens);
  const serviceTier = reading?.serviceTier;
  const isKnown = hasFigures({ inputTokens, outputTokens, totalTokens });
  const hasEnded = isWhole || reading?.ended === true;
  return {
    ...(totalTokens !== undefined && { totalTokens }),
    ...(inputTokens !== undefined && { inputTokens }),
    ...(outputTokens !== undefined && { outputTokens }),
    ...(cachedInputTokens !== undefined && { cachedInputTokens }),
    ...(cacheCreationInputTokens !== undefined && { cacheCreationInputTokens }),
    ...(reasoningTokens !== undefined && { reasoningTokens }),
    ...modalitiesOf(given, inputTokens, outputTokens),
    ...(typeof serviceTier === 'string' && isKnown && { serviceTier }),
    ...(isObject(given.reported) && { reported: given.reported }),
    complete: reading?.usageComplete === true && isKnown && hasEnded,
  };
}

/** Sound and images. */
function modalitiesOf(
  given: Partial<Record<keyof Usage, unknown>>,
  inputTokens: number | undefined,
  outputTokens: number | undefined,
): Partial<Usage> {
  const parts = {
    audioInputTokens: partOf(inputTokens, given.audioInputTokens),
    audioOutputTokens: partOf(outputTokens, given.audioOutputTokens),
    imageInputTokens: partOf(inputTokens, given.imageInputTokens),
    imageOutputTokens: partOf(outputTokens, given.imageOutputTokens),
  };
  return Object.fromEntries(Object.entries(parts).filter(([, count]) => count !== undefined));
}

function atLeast(least: number, total: number): number | undefined {
  return total >= least ? total : undefined;
}
