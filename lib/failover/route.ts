import type { Options } from 'http-proxy-middleware';
import type { Route } from '../types/config.js';
import type { Fallback, FallbackTarget } from '../types/options.js';
import type { Provider } from '../types/provider.js';
import {
  aFunction,
  aProvider,
  aSyncFunction,
  aTarget,
  aText,
  checkNested,
  headerObject,
  isObject,
  quote,
} from '../util/checks.js';

const FALLBACK = {
  target: aTarget,
  provider: aProvider,
  pathRewrite: aFunction,
  model: aText,
  editBody: aSyncFunction,
  headers: headerObject,
};

/**
 * Resolves an entry of `fallbacks`, or what it returns as a function.
 *
 * @throws {TypeError} for what cannot be right
 */
export function resolveFallback(fallback: Fallback, provider: Provider | undefined): Route {
  if (aTarget.is(fallback) && !aProvider.is(fallback)) {
    return { target: fallback as Options['target'], provider, pathRewrite: undefined, headers: {} };
  }
  if (!isObject(fallback)) {
    const hint = aProvider.hint?.(fallback) ?? '';
    throw new TypeError(`A fallback must be a target or an object, got ${quote(fallback)}${hint}`);
  }
  const own = (aProvider.is(fallback) ? { provider: fallback } : fallback) as FallbackTarget;
  checkNested('fallbacks', own, FALLBACK);
  const target = own.target ?? own.provider?.target;
  if (!aTarget.is(target)) throw new TypeError('A fallback needs a `target`, or a `provider` that has one');
  return {
    target,
    provider: own.provider ?? provider,
    pathRewrite: own.pathRewrite,
    headers: own.headers ?? {},
    ...(own.model !== undefined && { model: own.model }),
    ...(own.editBody !== undefined && { editBody: own.editBody }),
  };
}
