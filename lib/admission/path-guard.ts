import { pathToRegexp } from 'path-to-regexp';
import { MAX_DECODINGS } from '../defaults.js';
import { SseProxyError } from '../errors.js';
import type { AllowedRoute } from '../types/config.js';
import { pathOf } from '../util/request-target.js';

/** The start of a fragment, and characters that Node does not send in a request target. */
const NOT_IN_TARGET = /#|[^\x21-\xff]/;

/**
 * @throws {SseProxyError} `PATH_OUTSIDE_TARGET` for what is no request target (RFC 9112 3.2). Of one with a fragment, everybody on
 * the way to the upstream's files would make a path of their own.
 */
export function checkTarget(target: string): void {
  if (NOT_IN_TARGET.test(target)) throw new SseProxyError('PATH_OUTSIDE_TARGET');
}

/**
 * @throws {SseProxyError} `PATH_OUTSIDE_TARGET` for a path that leads above where it starts, for one with a `..` in disguise, since
 * nobody here knows how the upstream reads it, and for what is none
 */
export function confine(path: string): void {
  checkTarget(path);
  // Most paths have nothing in them that could stand for a `..`.
  if (!/\.\.|[%\\;]/.test(path)) return;
  let depth = 0;
  for (const segment of pathOf(path).split('/')) {
    const names = namesIn(segment);
    if (segment === '..') depth -= 1;
    else if (names.includes('..')) throw new SseProxyError('PATH_OUTSIDE_TARGET');
    // An empty segment does not count: some servers take two slashes for one.
    else if (names.length > 0) depth += 1;
    if (depth < 0) throw new SseProxyError('PATH_OUTSIDE_TARGET');
  }
}

/** What an upstream may find in a segment: without the parameters that servlet containers take off before they look at it. */
function namesIn(segment: string): string[] {
  const names = decoded(segment)
    .split(/[/\\]/)
    .map((part) => part.replace(/;.*/s, ''));
  return names.filter((name) => name !== '' && name !== '.');
}

/** As an upstream may read it that decodes more than once; a character per byte. */
function decoded(path: string): string {
  let result = path;
  for (let i = 0; i < MAX_DECODINGS; i += 1) {
    const next = result.replace(/%([\da-f]{2})/gi, (_found, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
    if (next === result) return result;
    result = next;
  }
  throw new SseProxyError('PATH_OUTSIDE_TARGET');
}

/**
 * Reads `allow`.
 *
 * @throws {TypeError} for what is no `METHOD /path`, with path-to-regexp's word on a pattern
 */
export function parseRoutes(allow: readonly string[]): AllowedRoute[] {
  return allow.map((route) => {
    const [, method, path] = /^([A-Z-]+) (\/\S*)$/.exec(route) ?? [];
    if (method === undefined || path === undefined) {
      throw new TypeError(`\`allow\` must list routes such as 'POST /v1/chat/completions', got '${route}'`);
    }
    try {
      return { method, pattern: pathToRegexp(path).regexp };
    } catch (cause) {
      const hint = /\*(?![\w"{])/.test(path)
        ? `. A wildcard needs a name: '${route.replace(/\*(?![\w"{])/, '*rest')}'`
        : '';
      throw new TypeError(`\`allow\` has a path that cannot be read: '${route}'${hint}`, { cause });
    }
  });
}

/**
 * As an upstream may read a path that has decoded it, has taken backslashes for slashes and parameters off the segments, and has
 * resolved segments that are a dot (RFC 3986 5.2.4). What a parameter of a route has matched may be nothing then.
 */
function resolved(path: string): string {
  const segments = decoded(path)
    .split(/[/\\]/)
    .map((segment) => segment.replace(/;.*/s, ''));
  const end = segments.at(-1) === '.' ? '/' : '';
  return segments.filter((segment) => segment !== '.').join('/') + end;
}

/**
 * Lets pass what `routes` name, by the path as it came and also as an upstream may read it; HEAD as GET.
 *
 * @throws {SseProxyError} `NOT_FOUND`, `METHOD_NOT_ALLOWED`
 */
export function checkAllowed(routes: readonly AllowedRoute[] | undefined, method = '', target = ''): void {
  if (routes === undefined) return;
  const path = pathOf(target);
  const readings = [path, decoded(path), resolved(path)];
  const found = routes.filter(({ pattern }) => readings.every((reading) => pattern.test(reading)));
  // Where a `..` leads to is not what the pattern has seen.
  if (found.length === 0 || namesIn(path).includes('..')) throw new SseProxyError('NOT_FOUND');
  const methods = new Set(found.map((route) => route.method));
  if (methods.has('GET')) methods.add('HEAD');
  if (!methods.has(method)) {
    throw new SseProxyError('METHOD_NOT_ALLOWED', { headers: { allow: [...methods].join(', ') } });
  }
}
