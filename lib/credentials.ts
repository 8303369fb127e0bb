import type { ClientRequest } from 'node:http';
import { SseProxyError } from './errors.js';
import type { Exchange, Provider } from './types.js';

/** Where callers of AI APIs put their keys; SDKs use one or the other whatever the provider. */
const CALLER_CREDENTIALS = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'];

/** What a browser sends to this app, and a provider has no business to see. */
const ABOUT_THIS_APP = ['cookie', 'origin', 'referer'];

/**
 * The header fields that authenticate an exchange; `undefined` where the caller's own pass.
 *
 * @throws {SseProxyError} `CREDENTIALS_MISSING`; `HOOK_FAILED` for what the user's function throws
 */
export async function credentialsOf(
  provider: Provider,
  exchange: Exchange,
): Promise<Readonly<Record<string, string>> | undefined> {
  if (provider.credentials === undefined) return undefined;
  try {
    return await provider.credentials(exchange);
  } catch (cause) {
    throw cause instanceof SseProxyError ? cause : new SseProxyError('HOOK_FAILED', { cause });
  }
}

/**
 * Makes a request to the provider one of the proxy's own: takes away what the caller authenticates with and what concerns
 * this app, and puts in the credentials.
 *
 * @param credentials `undefined` where the caller's own pass
 * @param own fields that the options set, by lower-case name: they stay
 */
export function authenticate(
  request: ClientRequest,
  provider: Provider,
  credentials: Readonly<Record<string, string>> | undefined,
  own: readonly string[],
): void {
  for (const name of credentials === undefined ? ABOUT_THIS_APP : [...ABOUT_THIS_APP, ...CALLER_CREDENTIALS]) {
    if (!own.includes(name)) request.removeHeader(name);
  }
  for (const [name, value] of Object.entries(provider.headers ?? {})) {
    if (!request.hasHeader(name)) request.setHeader(name, value);
  }
  for (const [name, value] of Object.entries(credentials ?? {})) request.setHeader(name, value);
}

/** Takes the `key` parameter out of a query, in which Google's APIs take credentials. All else stays as it is. */
export function withoutKey(path: string): string {
  const start = path.indexOf('?');
  if (start < 0) return path;
  const rest = path
    .slice(start + 1)
    .split('&')
    .filter((parameter) => !new URLSearchParams(`&${parameter}`).has('key'));
  return path.slice(0, start) + (rest.length === 0 ? '' : `?${rest.join('&')}`);
}
