import type { ClientResponse } from '../client/client-response.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Attempt } from '../upstream/attempt.js';
import { tryHook } from '../util/hooks.js';

/** Whether the upstream's response is read on for the account, although the client has left (`onClientClose`). */
export function mayContinue(
  { onClientClose, logError }: Pick<Config, 'onClientClose' | 'logError'>,
  exchange: Exchange,
  { client, attempt }: { client: ClientResponse; attempt: Attempt | undefined },
): boolean {
  // A response that was ended has nothing more to come, whether the client has all of it or not.
  if (exchange.res.writableEnded || attempt === undefined || attempt.isOver) return false;
  // The upstream does not answer an upload that broke off.
  if (!attempt.reachedUpstream || !client.hasWholeRequest) return false;
  if (typeof onClientClose !== 'function') return onClientClose === 'continue';
  const continues = (choice: unknown): boolean => choice === 'continue';
  return tryHook('onClientClose', () => onClientClose(exchange), continues, logError) ?? false;
}
