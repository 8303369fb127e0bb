/** Scheme and authority of a request target in absolute form. */
const ORIGIN = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i;

/**
 * The path and query of a request target. What a client puts in front of them in absolute form (RFC 9112 3.2.2) is a name for
 * this server, and never one for the upstream's.
 */
export function originForm(target: string): string {
  if (target.startsWith('/')) return target;
  const origin = ORIGIN.exec(target)?.[0];
  return origin === undefined ? target : fromSlash(target.slice(origin.length));
}

/** The same, in the form in which httpxy is going to send it, whatever it is. */
export function askedPath(target: string): string {
  return fromSlash(originForm(target));
}

function fromSlash(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** Without the query. */
export function pathOf(path: string): string {
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
}
