import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { callHook, kindOf } from '../util/hooks.js';
import { withoutParameter } from '../util/request-target.js';

/** In which some APIs take credentials: the caller's do not travel with those of the proxy. */
const CREDENTIAL_PARAMETER = 'key';

/**
 * The path and query that a provider is asked for.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export function upstreamPath(provider: Provider, exchange: Exchange, path: string): string {
  if (provider.rewritePath !== undefined) {
    return callHook('rewritePath', () => provider.rewritePath?.(path, exchange), checked);
  }
  const hasCredentials = (provider.credentials ?? provider.sign) !== undefined;
  return hasCredentials ? withoutParameter(path, CREDENTIAL_PARAMETER) : path;
}

function checked(path: unknown): string {
  if (typeof path === 'string' && path.startsWith('/')) return path;
  throw new TypeError(`\`rewritePath\` must give a path that begins with "/", got ${kindOf(path)}`);
}
