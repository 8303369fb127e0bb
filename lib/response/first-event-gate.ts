import { knownStatus } from '../events/error-event.js';
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
  const given = callHook(
    'errorStatus',
    () => provider?.errorStatus?.(event, exchange),
    (status: unknown) => status,
    502,
  );
  const statusCode = knownStatus(given, config.logError);
  return statusCode === undefined ? undefined : eventFailure(statusCode, event);
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
