import { callHook, kindOf } from './hooks.js';
import type { Config } from './options.js';
import type { Exchange, ResponseHead } from './types.js';

/**
 * Has `rewriteHeaders` change a head, in place.
 *
 * @throws {SseProxyError} `HOOK_FAILED` where it throws, or sets a field to what none can have: a promise would be sent as
 * `[object Promise]`
 */
export function rewriteHead(rewriteHeaders: Config['rewriteHeaders'], head: ResponseHead, exchange: Exchange): void {
  if (rewriteHeaders === undefined) return;
  callHook(
    'rewriteHeaders',
    () => rewriteHeaders(head, exchange),
    () => checkHeaders(head.headers),
    502,
  );
}

function checkHeaders(headers: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(headers)) {
    const wrong = [value].flat().find((line) => !['string', 'number', 'undefined'].includes(typeof line));
    if (wrong === undefined) continue;
    throw new TypeError(`rewriteHeaders must set \`${name}\` to a string or an array of strings, got ${kindOf(wrong)}`);
  }
}
