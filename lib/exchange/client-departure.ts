import type { ClientResponse } from '../client/client-response.js';
import { CONTINUE_BYTES, CONTINUE_TIME, SETTLE_BYTES, SETTLE_TIME } from '../defaults.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Attempt } from '../upstream/attempt.js';
import { tryHook } from '../util/hooks.js';

/** How far a response is read on whose client has left. */
export interface ReadingOn {
  /** Milliseconds. */
  time: number;
  bytes: number;
}

const FOR_THE_ACCOUNT: ReadingOn = { time: CONTINUE_TIME, bytes: CONTINUE_BYTES };
const TO_SETTLE: ReadingOn = { time: SETTLE_TIME, bytes: SETTLE_BYTES };

export interface Departure {
  client: ClientResponse;
  attempt: Attempt | undefined;
  /** The client has all of the answer, and its body has not ended yet. */
  isDelivered: boolean;
}

/** How far the upstream's response is read on, although the client has left; `undefined` where it is aborted. */
export function readingOn(
  config: Pick<Config, 'onClientClose' | 'logError'>,
  exchange: Exchange,
  { client, attempt, isDelivered }: Departure,
): ReadingOn | undefined {
  // A response that was ended has nothing more to come, whether the client has all of it or not.
  if (exchange.res.writableEnded || attempt === undefined || attempt.isOver) return undefined;
  // The upstream does not answer an upload that broke off.
  if (!attempt.reachedUpstream || !client.hasWholeRequest) return undefined;
  if (isDelivered) return TO_SETTLE;
  return mayContinue(config, exchange) ? FOR_THE_ACCOUNT : undefined;
}

/** Whether the user wants the answer to be read on for the account (`onClientClose`). */
function mayContinue(
  { onClientClose, logError }: Pick<Config, 'onClientClose' | 'logError'>,
  exchange: Exchange,
): boolean {
  if (typeof onClientClose !== 'function') return onClientClose === 'continue';
  const continues = (choice: unknown): boolean => choice === 'continue';
  return tryHook('onClientClose', () => onClientClose(exchange), continues, logError) ?? false;
}
