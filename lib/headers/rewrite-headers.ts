import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import { callHook, kindOf } from '../util/hooks.js';

/**
 * Has `rewriteHeaders` change a head, in place.
 *
 * @throws {SseProxyError} `HOOK_FAILED` where it throws, or sets a header to what is no string: a promise would be sent as
 * `[object Promise]`
 */
export function rewriteHead(rewriteHeaders: Config['rewriteHeaders'], head: ResponseHead, exchange: Exchange): void {
  if (rewriteHeaders === undefined) return;
  callHook(
    'rewriteHeaders',
    () => rewriteHeaders(head, exchange),
    () => {
      checkHeaders(head.headers);
      lowerNames(head);
    },
    502,
  );
}

/** A hook may write a name in any case. Whatever looks at the head from here on, framing above all, finds a header by one name. */
function lowerNames(head: ResponseHead): void {
  const { headers } = head;
  if (!Object.keys(headers).some((name) => name !== name.toLowerCase())) return;
  const lowered: HeaderFields = Object.create(null);
  for (const [name, value] of Object.entries(headers)) lowered[name.toLowerCase()] = value;
  head.headers = lowered;
}

function checkHeaders(headers: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(headers)) {
    const wrong = [value].flat().find((line) => !['string', 'number', 'undefined'].includes(typeof line));
    if (wrong === undefined) continue;
    throw new TypeError(`rewriteHeaders must set \`${name}\` to a string or an array of strings, got ${kindOf(wrong)}`);
  }
}
