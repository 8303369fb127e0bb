import type { ClientResponse } from '../client/client-response.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Attempt } from '../upstream/attempt.js';
import { tryHook } from '../util/hooks.js';

/** Whether the upstream's response is still of use to the account when the client has left. */
export function mayContinue(
  { onClientClose, logError }: Pick<Config, 'onClientClose' | 'logError'>,
  exchange: Exchange,
  { client, attempt }: { client: ClientResponse; attempt: Attempt | undefined },
): boolean {
  // What was ended has no more to come, whether it has arrived or not.
  if (exchange.res.writableEnded || attempt === undefined || attempt.isOver) return false;
  // An upload that broke off will not be answered.
  if (!attempt.reachedUpstream || !client.hasWholeRequest) return false;
  if (typeof onClientClose !== 'function') return onClientClose === 'continue';
  const continues = (choice: unknown): boolean => choice === 'continue';
  return tryHook('onClientClose', () => onClientClose(exchange), continues, logError) ?? false;
}
