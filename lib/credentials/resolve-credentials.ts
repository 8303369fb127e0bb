import { validateHeaderName } from 'node:http';
import { SseProxyError } from '../errors.js';
import { headerValue } from '../headers/header-policy.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { isObject } from '../util/checks.js';
import { awaitHook, callHook, kindOf, type Waiter } from '../util/hooks.js';

/**
 * The headers that authenticate an exchange; `undefined` where the caller's own credentials pass.
 *
 * @param waiter see {@link awaitHook}
 * @throws {SseProxyError} `CREDENTIALS_MISSING` where the provider gives none: the caller's are never sent instead; `HOOK_FAILED` for
 * what the user's function throws, and for a value that HTTP forbids
 */
export async function credentialsOf(
  provider: Provider,
  exchange: Exchange,
  waiter?: Waiter,
): Promise<Readonly<Record<string, string>> | undefined> {
  if (provider.credentials === undefined) return undefined;
  const given = await awaitHook('credentials', () => provider.credentials?.(exchange), waiter);
  return callHook('credentials', () => given, checked);
}

function checked(given: unknown): Record<string, string> {
  if (given === undefined || given === null) throw new SseProxyError('CREDENTIALS_MISSING');
  return checkedHeaders('credentials', given);
}

/**
 * The headers that a hook of a provider's has given.
 *
 * @throws {TypeError} for what no header can have; without the value, which is a secret
 */
export function checkedHeaders(hook: string, given: unknown): Record<string, string> {
  if (!isObject(given)) throw new TypeError(`\`${hook}\` must give an object of header fields, got ${kindOf(given)}`);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    validateHeaderName(name);
    headers[name] = headerValue(`${hook}[${JSON.stringify(name)}]`, name, value);
  }
  return headers;
}
