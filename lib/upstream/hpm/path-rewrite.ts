/** A table of `pathRewrite`, as http-proxy-middleware reads it: the first pattern that matches counts. */
export function pathRewriter(table: Record<string, string>): (path: string, ...rest: unknown[]) => string {
  const rules = Object.entries(table).map(([pattern, replacement]) => ({ pattern: new RegExp(pattern), replacement }));
  return (path) => {
    const rule = rules.find(({ pattern }) => pattern.test(path));
    return rule === undefined ? path : path.replace(rule.pattern, rule.replacement);
  };
}
