import { SseProxyError } from './errors.js';
import type { Exchange, Provider } from './types.js';

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
