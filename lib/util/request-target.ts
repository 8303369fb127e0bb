/** The scheme and authority of a request target in absolute form. */
const ORIGIN = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i;

/**
 * The path and query of a request target. In absolute form (RFC 9112 3.2.2) a client puts the origin of this server in front of them,
 * which is never the upstream's.
 */
export function originForm(target: string): string {
  if (target.startsWith('/')) return target;
  const origin = ORIGIN.exec(target)?.[0];
  return origin === undefined ? target : fromSlash(target.slice(origin.length));
}

/** The same, beginning with a slash in any case, as httpxy sends it. */
export function askedPath(target: string): string {
  return fromSlash(originForm(target));
}

function fromSlash(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** The path without its query. */
export function pathOf(path: string): string {
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
}

/** Takes a parameter out of a query, however it is written there. All else stays as it is. */
export function withoutParameter(path: string, name: string): string {
  const start = path.indexOf('?');
  if (start < 0) return path;
  const rest = path
    .slice(start + 1)
    .split('&')
    .filter((parameter) => !new URLSearchParams(`&${parameter}`).has(name));
  return path.slice(0, start) + (rest.length === 0 ? '' : `?${rest.join('&')}`);
}
