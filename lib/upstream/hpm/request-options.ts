import type { Options } from 'http-proxy-middleware';

/*
 * The options of http-proxy-middleware as httpxy is to have them.
 */

/** http-proxy-middleware and httpxy would each parse it with each request. */
export function parsedTarget(target: Options['target']): Options['target'] {
  return typeof target === 'string' && URL.canParse(target) ? new URL(target) : target;
}

/** httpxy does not send it, but has it in what it tells of its targets and of its errors, where a logger finds it. */
export function withoutUserInfo(target: NonNullable<Options['target']>): NonNullable<Options['target']> {
  const withoutIt = (url: string): string => url.replace(/^([a-z]+:\/\/)[^/?#]*@/i, '$1');
  if (target instanceof URL) return target.username + target.password === '' ? target : new URL(withoutIt(target.href));
  return typeof target === 'string' ? withoutIt(target) : target;
}

export function namesHost(headers: Options['headers']): boolean {
  return headers !== undefined && Object.keys(headers).some((name) => name.toLowerCase() === 'host');
}

/** A Unix socket has none, unless it is given beside it. */
export function hasHost(target: Options['target']): boolean {
  if (target === undefined || typeof target === 'string' || target instanceof URL) return true;
  return Boolean(target.host ?? target.hostname);
}

/** Whether `xfwd` is on: ours appends the peer, httpxy's lets the client hide it. */
export function takeForwarded(options: Options): boolean {
  const isForwarded = Boolean(options.xfwd);
  options.xfwd = false;
  return isForwarded;
}

/**
 * `headers` as httpxy is to have them: it forgets credentials at a redirect to another host only where their names are in lower
 * case, and tells nobody of a request with `Expect`.
 */
export function headersFor(headers: NonNullable<Options['headers']>): NonNullable<Options['headers']> {
  const { expect, ...fields } = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return fields;
}
