import type { Options } from 'http-proxy-middleware';

/*
 * The options of http-proxy-middleware as httpxy is to have them.
 */

/** The target as a URL, since http-proxy-middleware and httpxy would each parse a string with every request. */
export function parsedTarget(target: Options['target']): Options['target'] {
  return typeof target === 'string' && URL.canParse(target) ? new URL(target) : target;
}

/** The target without its user information: httpxy does not send that, but loggers would find it in events and errors. */
export function withoutUserInfo(target: NonNullable<Options['target']>): NonNullable<Options['target']> {
  const withoutIt = (url: string): string => url.replace(/^([a-z]+:\/\/)[^/?#]*@/i, '$1');
  if (target instanceof URL) return target.username + target.password === '' ? target : new URL(withoutIt(target.href));
  return typeof target === 'string' ? withoutIt(target) : target;
}

export function namesHost(headers: Options['headers']): boolean {
  return headers !== undefined && Object.keys(headers).some((name) => name.toLowerCase() === 'host');
}

/** Whether a target has a host: a Unix socket has none, unless one is given besides it. */
export function hasHost(target: Options['target']): boolean {
  if (target === undefined || typeof target === 'string' || target instanceof URL) return true;
  return Boolean(target.host ?? target.hostname);
}

/** Switches httpxy's `xfwd` off and returns whether it was on: our pass appends the peer's address, with httpxy's a client can hide it. */
export function takeForwarded(options: Options): boolean {
  const isForwarded = Boolean(options.xfwd);
  options.xfwd = false;
  return isForwarded;
}

/**
 * `headers` in the form that httpxy needs: only names in lower case are dropped at a redirect to another host if they are
 * credentials, and for a request with `Expect` no `proxyReq` event is emitted.
 */
export function headersFor(headers: NonNullable<Options['headers']>): NonNullable<Options['headers']> {
  const { expect, ...fields } = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return fields;
}
