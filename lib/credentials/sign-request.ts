import type { IncomingMessage } from 'node:http';
import { withheldFromProvider } from '../headers/header-policy.js';
import { appendVia } from '../headers/via.js';
import type { HeaderRules } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { awaitHook, callHook, type Waiter } from '../util/hooks.js';
import { checkedHeaders } from './resolve-credentials.js';

/** What is about the connection and the coding of the body, and only known when the request is made. */
const OF_CONNECTION = new Set([
  'host',
  'connection',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'accept-encoding',
]);

export interface SigningContext {
  exchange: Exchange;
  /** As it is sent. */
  path: string;
  body: Buffer | undefined;
  policy: HeaderRules;
  credentials: Readonly<Record<string, string>> | undefined;
  /** What the policy puts in. */
  set: Readonly<Record<string, string>>;
  /** The entry for `Via`. */
  via: string | undefined;
  waiter: Waiter;
}

/**
 * The headers by which a provider authenticates a request: its `credentials`, and with `sign` the signature; `undefined` where the
 * caller's own pass.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export async function signedBy(
  provider: Provider,
  context: SigningContext,
): Promise<Readonly<Record<string, string>> | undefined> {
  const { exchange, path, body, credentials, waiter } = context;
  if (provider.sign === undefined) return credentials;
  const method = exchange.req.method ?? 'GET';
  const request = { method, path, headers: headersToSign(provider, context), body, exchange };
  const given = await awaitHook('sign', () => provider.sign?.(request), waiter);
  return {
    ...credentials,
    ...callHook(
      'sign',
      () => given,
      (headers) => checkedHeaders('sign', headers),
    ),
  };
}

/** As the passes over the upstream request are going to make them. */
function headersToSign(
  provider: Provider,
  { exchange, policy, credentials, set, via }: SigningContext,
): Record<string, string | string[]> {
  const withholds = policy.withholder(withheldFromProvider(provider, true));
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries((exchange.req as IncomingMessage).headers)) {
    if (value !== undefined && !OF_CONNECTION.has(name) && withholds?.(name) !== true) headers[name] = value;
  }
  for (const [name, value] of Object.entries(provider.headers ?? {})) headers[name.toLowerCase()] ??= value;
  if (via !== undefined) headers.via = appendVia(headers.via, via);
  for (const [name, value] of Object.entries({ ...credentials, ...set })) headers[name.toLowerCase()] = value;
  return headers;
}
