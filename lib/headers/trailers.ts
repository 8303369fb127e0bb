import { combined, linesOf } from './header-values.js';
import { HOP_BY_HOP } from './hop-by-hop.js';

/** RFC 9110 6.5.1: headers that frame or route a message do not belong behind it. */
const NEVER_TRAILERS = new Set([
  ...HOP_BY_HOP,
  'transfer-encoding',
  'content-length',
  'content-type',
  'host',
  '__proto__',
]);

/** Trailers as they came, by lower-case name, without those that must not be there. */
export function endToEndTrailers(rawTrailers: readonly string[]): Record<string, string> {
  const trailers: Record<string, string> = Object.create(null);
  for (const [name, lines] of linesOf(rawTrailers)) {
    if (!NEVER_TRAILERS.has(name)) trailers[name] = combined(lines);
  }
  return trailers;
}
