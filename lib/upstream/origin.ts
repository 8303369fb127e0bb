/** The origin of a target, whatever form it has been given in: `unix:` for a socket's path. */
export function originOf(target: unknown): string {
  if (target instanceof URL) return target.origin;
  const { protocol = 'http:', host, hostname, port, socketPath } = (target ?? {}) as Record<string, string | undefined>;
  if (socketPath !== undefined) return 'unix:';
  // http-proxy-middleware takes the brackets of an IPv6 address away.
  const name = hostname?.includes(':') ? `[${hostname}]` : (hostname ?? host ?? 'localhost');
  return `${protocol.replace(/:?$/, ':')}//${name}${!port || name.endsWith(`:${port}`) ? '' : `:${port}`}`;
}
