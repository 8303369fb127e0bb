import { combined, linesOf } from './header-values.js';
import { HOP_BY_HOP } from './hop-by-hop.js';

/**
 * RFC 9110 6.5.1: headers that a trailer section must not have, since they are for the framing, routing, caching or authentication of
 * a message, or say how to read it, and whoever needs them needs them before the body.
 */
const NEVER_TRAILERS = new Set([
  ...HOP_BY_HOP,
  ...['transfer-encoding', 'content-length', 'host', '__proto__'],
  ...['content-encoding', 'content-type', 'content-range', 'content-location', 'accept-ranges'],
  ...['authorization', 'www-authenticate', 'cookie', 'set-cookie', 'set-cookie2'],
  ...['age', 'allow', 'cache-control', 'date', 'expires', 'location', 'pragma', 'retry-after', 'vary', 'warning'],
  ...[
    'expect',
    'max-forwards',
    'range',
    'if-match',
    'if-none-match',
    'if-modified-since',
    'if-unmodified-since',
    'if-range',
  ],
]);

type Withholds = ((name: string) => boolean) | undefined;

/** The trailers that came, by lower-case name, without those that RFC 9110 forbids. */
export function endToEndTrailers(rawTrailers: readonly string[]): Record<string, string> {
  const trailers: Record<string, string> = Object.create(null);
  for (const [name, lines] of linesOf(rawTrailers)) {
    if (!NEVER_TRAILERS.has(name)) trailers[name] = combined(lines);
  }
  return trailers;
}

/** The value of a Trailer header that announces only what will be sent; `undefined` where that is nothing. */
export function announcedTrailers(trailer: string | string[], withholds: Withholds): string | undefined {
  const names = combined(trailer)
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !NEVER_TRAILERS.has(name.toLowerCase()) && !withholds?.(name.toLowerCase()));
  return names.length === 0 ? undefined : names.join(', ');
}

/** Raw trailers, names and values in turn, without those that the policy withholds. */
export function withoutWithheld(rawTrailers: readonly string[], withholds: Withholds): readonly string[] {
  if (withholds === undefined) return rawTrailers;
  return rawTrailers.filter((_text, i) => !withholds((rawTrailers[i - (i % 2)] as string).toLowerCase()));
}
