import type { Config } from '../types/config.js';
import { quote } from '../util/checks.js';
import { tryHook } from '../util/hooks.js';
import type { Summary } from './summary.js';
import { hasFigures } from './usage.js';

/**
 * What the figures of an exchange cost, by the user's `cost`; `undefined` where there are none, where they belong to another exchange, and
 * where the hook does not know.
 */
export function costOf({ cost, logError }: Pick<Config, 'cost' | 'logError'>, summary: Summary): number | undefined {
  const usage = summary.usage();
  if (cost === undefined || !hasFigures(usage) || usage.retrieved) return undefined;
  const { provider, requestModel, reading } = summary;
  const context = {
    ...(provider !== undefined && { provider }),
    ...(reading?.model !== undefined && { model: reading.model }),
    ...(requestModel !== undefined && { requestModel }),
    ...(usage.serviceTier !== undefined && { serviceTier: usage.serviceTier }),
  };
  return tryHook('cost', () => cost(usage, context), checked, logError);
}

/** @throws {TypeError} for what is no amount */
function checked(amount: unknown): number | undefined {
  if (amount === undefined || amount === null) return undefined;
  if (typeof amount === 'number' && Number.isFinite(amount) && amount >= 0) return amount;
  throw new TypeError(`\`cost\` must give a number, 0 or more, or undefined, got ${quote(amount)}`);
}
