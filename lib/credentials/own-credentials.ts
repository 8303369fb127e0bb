import { CALLER_CREDENTIALS, headerNames } from '../headers/header-policy.js';
import type { Provider } from '../types/provider.js';

/** The headers that authenticate a request, by whatever API. What is put into any other may be known to the client. */
const CREDENTIAL_HEADERS = headerNames([
  ...CALLER_CREDENTIALS,
  '*-authorization',
  'cookie',
  '*api-key',
  '*apikey',
  '*subscription-key',
  '*auth-key',
  '*auth-token',
  '*access-token',
  '*security-token',
  '*private-token',
  'x-functions-key',
  'x-vault-token',
]);

const NONE: readonly string[] = [];

/** Whether a header of this name, in any case, holds a credential. */
export function isCredential(name: string): boolean {
  return CREDENTIAL_HEADERS.has(name.toLowerCase());
}

/** What {@link secretsIn} finds in the headers of a provider, which are the same for all requests. */
const ofProviders = new WeakMap<Provider, readonly string[]>();

export function secretsOfProvider(provider: Provider | undefined): readonly string[] {
  if (provider?.headers === undefined) return NONE;
  let secrets = ofProviders.get(provider);
  if (secrets === undefined) {
    secrets = secretsIn(provider.headers);
    ofProviders.set(provider, secrets);
  }
  return secrets;
}

/**
 * The secrets that options put on a request, beside those of a provider: what is in its credential headers, without a scheme such as
 * `Bearer`, and in a form in which it may come back.
 *
 * @param headers by name, in any case
 * @param auth see http-proxy-middleware: `user:password`
 */
export function secretsIn(headers: object | undefined, auth?: unknown): readonly string[] {
  if (headers === undefined && auth === undefined) return NONE;
  const secrets: string[] = [];
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!isCredential(name)) continue;
    for (const line of [value].flat()) secrets.push(...secretsOf(name.toLowerCase(), String(line)));
  }
  if (typeof auth === 'string') secrets.push(Buffer.from(auth).toString('base64'), ...passwordIn(auth));
  return secrets;
}

function secretsOf(name: string, value: string): string[] {
  if (name === 'cookie') return [value, ...value.split(';').map((pair) => pair.slice(pair.indexOf('=') + 1).trim())];
  if (!name.endsWith('authorization')) return [value.trim()];
  const [, scheme = '', credentials = value.trim()] = /^\s*([a-z\d-]+)\s+(\S.*?)\s*$/i.exec(value) ?? [];
  if (scheme.toLowerCase() !== 'basic') return [credentials];
  return [credentials, ...passwordIn(Buffer.from(credentials, 'base64').toString())];
}

/** RFC 7617 2: what an upstream may say of credentials that it has decoded. Some APIs take a key for the user, and no password. */
function passwordIn(credentials: string): string[] {
  const [user = '', ...password] = credentials.split(':');
  return [credentials, password.join(':') || user];
}
