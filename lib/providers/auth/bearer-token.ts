import { validateHeaderValue } from 'node:http';
import { SseProxyError } from '../../errors.js';
import type { Exchange } from '../../types/hooks.js';
import type { Provider } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { bearer } from './api-key.js';

/** A token that expires, as `@azure/identity` gives it. */
export interface AccessToken {
  token: string;
  /** Milliseconds since 1970. Without it the token is asked for again with the next request. */
  expiresOnTimestamp?: number | undefined;
}

/** Gives a bearer token for an exchange. What has an expiry is kept until shortly before; a string is asked for each time. */
export type TokenSource = (
  exchange: Exchange,
) => string | AccessToken | undefined | Promise<string | AccessToken | undefined>;

/** A token that is about to expire would be refused on its way. Milliseconds. */
const MARGIN = 60_000;

/** The `credentials` of a provider whose requests carry a token that expires. Requests at one time ask for it once. */
export function tokenFrom(source: TokenSource, now = Date.now): Required<Pick<Provider, 'credentials'>> {
  let kept: AccessToken | undefined;
  let asked: Promise<AccessToken> | undefined;

  return {
    async credentials(exchange) {
      const isFresh = kept?.expiresOnTimestamp !== undefined && kept.expiresOnTimestamp - MARGIN > now();
      if (kept !== undefined && isFresh) return bearer(kept.token);
      asked ??= Promise.resolve(exchange)
        .then(source)
        .then(tokenOf)
        .finally(() => {
          asked = undefined;
        });
      kept = await asked;
      return bearer(kept.token);
    },
  };
}

/** @throws for what is no token, without quoting it */
function tokenOf(given: unknown): AccessToken {
  const token = isObject(given) ? given.token : given;
  if (typeof token !== 'string' || token === '') throw new SseProxyError('CREDENTIALS_MISSING');
  try {
    validateHeaderValue('authorization', token);
  } catch {
    throw new TypeError('`token` has given characters that a header field cannot have');
  }
  const expiry = isObject(given) ? given.expiresOnTimestamp : undefined;
  return { token, expiresOnTimestamp: typeof expiry === 'number' ? expiry : undefined };
}
