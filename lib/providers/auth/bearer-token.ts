import { validateHeaderValue } from 'node:http';
import { TOKEN_MARGIN, TOKEN_PATIENCE } from '../../defaults.js';
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

/**
 * The `credentials` of a provider whose requests carry a token that expires. Requests at one time ask for it once. A token without an expiry
 * may be that of one user: it is for the request that has asked for it, and no other.
 */
export function tokenFrom(source: TokenSource, now = Date.now): Required<Pick<Provider, 'credentials'>> {
  /** The last token with an expiry. */
  let kept: AccessToken | undefined;
  /** The tokens of the source have no expiry. */
  let isPerRequest = false;
  let pending: { token: Promise<AccessToken>; since: number } | undefined;

  async function ask(exchange: Exchange): Promise<AccessToken> {
    const token = tokenOf(await source(exchange));
    isPerRequest = token.expiresOnTimestamp === undefined;
    if (!isPerRequest) kept = token;
    return token;
  }

  /** What another request asks for; `undefined` where this one has to ask for itself. */
  async function shared(token: Promise<AccessToken>): Promise<AccessToken | undefined> {
    try {
      const given = await token;
      return given.expiresOnTimestamp === undefined ? undefined : given;
    } catch (cause) {
      // Whether the source has refused everybody is known of one that gives tokens for everybody.
      if (kept !== undefined) throw cause;
      return undefined;
    }
  }

  function askForAll(exchange: Exchange): Promise<AccessToken> {
    const asked = { token: ask(exchange), since: now() };
    pending = asked;
    const done = (): void => {
      if (pending === asked) pending = undefined;
    };
    asked.token.then(done, done);
    return asked.token;
  }

  return {
    async credentials(exchange) {
      const expiry = kept?.expiresOnTimestamp ?? 0;
      if (kept !== undefined && expiry - TOKEN_MARGIN > now()) return bearer(kept.token);
      const isPending = pending !== undefined && now() - pending.since < TOKEN_PATIENCE;
      const token = pending && isPending && !isPerRequest ? await shared(pending.token) : await askForAll(exchange);
      return bearer((token ?? (await ask(exchange))).token);
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
