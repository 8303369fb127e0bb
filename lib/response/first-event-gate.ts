import { LOOK_PAST } from '../defaults.js';
import { knownStatus } from '../events/error-event.js';
import type { LookPast } from '../events/first-event.js';
import { UsageMeter } from '../events/usage-meter.js';
import type { EventFailure } from '../failover/failure.js';
import type { ParsedEvent } from '../formats/format.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { awaitHook, callHook, tryHook, type Waiter } from '../util/hooks.js';

export interface GateContext {
  config: Config;
  exchange: Exchange;
  provider: Provider | undefined;
  /** Told that `commit` is waited for. */
  waiter: Waiter;
}

/**
 * The failure that the first event of a stream reports: `commit` decides where it is a function, and otherwise the provider.
 * Resolves with `undefined` if the event is no error.
 *
 * @param event `'none'` if the stream ended without an event, `'unknown'` if it could not be read
 * @throws whatever a hook throws
 */
export async function failureOf(
  event: ParsedEvent | 'none' | 'unknown',
  { config, exchange, provider, waiter }: GateContext,
): Promise<EventFailure | undefined> {
  if (event === 'unknown') return undefined;
  if (event === 'none') return eventFailure(502);
  const { commit } = config;
  const verdict: unknown =
    typeof commit === 'function' ? await awaitHook('commit', () => commit(event, exchange), waiter, 502) : undefined;
  // `commit` leaves it to the provider.
  if (verdict !== undefined) return verdict ? undefined : eventFailure(502, event);
  const statusCode = knownStatus(statusOf(event, exchange, provider), config.logError);
  return statusCode === undefined ? undefined : eventFailure(statusCode, event);
}

function statusOf(event: ParsedEvent, exchange: Exchange, provider: Provider | undefined): unknown {
  const ask = (): unknown => provider?.errorStatus?.(event, exchange);
  return callHook('errorStatus', ask, (status) => status, 502);
}

/**
 * Looks past events that are no answer yet, as the provider reads them: pings, heads, roles without a word. The first that is content, or
 * an error, or ends the answer, is not looked past. `undefined` without a provider, which alone could tell.
 */
export function lookPastFor({
  config,
  exchange,
  provider,
}: Pick<GateContext, 'config' | 'exchange' | 'provider'>): LookPast | undefined {
  if (provider === undefined) return undefined;
  // The account is read again later, with all the bytes.
  const meter = new UsageMeter({ streamed: true, provider, exchange, logError: config.logError });
  const { reading } = meter;
  return {
    ...LOOK_PAST,
    isPassed(event) {
      meter.read(event.copy());
      if (reading.hasContent || reading.ended) return false;
      return [undefined, null, false].includes(statusOf(event, exchange, provider) as undefined);
    },
  };
}

/**
 * What a client is answered instead of a stream that begins with this error event: a body that says the same. `undefined` where there is
 * none. What a hook throws is logged.
 */
export function errorBodyOf(
  event: ParsedEvent,
  { config, exchange, provider }: Pick<GateContext, 'config' | 'exchange' | 'provider'>,
): string | undefined {
  const body = (): unknown => provider?.errorBodyOf?.(event, exchange);
  const text = tryHook('errorBodyOf', body, (given) => JSON.stringify(given) as string | undefined, config.logError);
  return text ?? (event.json() === undefined ? undefined : event.data);
}

function eventFailure(statusCode: number, event?: ParsedEvent): EventFailure {
  return { kind: 'event', statusCode, event, reached: true };
}
