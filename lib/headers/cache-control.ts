import type { HeaderFields } from '../types/http.js';
import { combined } from './header-values.js';

/** RFC 9111 5.2.2.6: nobody on the way may change the content. */
export function forbidsTransform(headers: HeaderFields): boolean {
  return hasNoTransform(combined(headers['cache-control']).toLowerCase());
}

/** Adds `no-transform`. In lower case even if it is there in another: `compression` up to 1.8.1 matches case-sensitively. */
export function addNoTransform(headers: HeaderFields): void {
  const directives = combined(headers['cache-control']);
  if (hasNoTransform(directives)) return;
  headers['cache-control'] = directives === '' ? 'no-transform' : `${directives}, no-transform`;
}

function hasNoTransform(directives: string): boolean {
  return /(?:^|,)\s*no-transform\s*(?:,|$)/.test(directives);
}
