import { aTarget, type Check, check, isObject, quote } from '../../util/checks.js';
import { suggestionFor } from '../../util/suggestions.js';

/** `apiKey` is checked where it is used, with a message of its own. */
const COMMON: Record<string, Check> = { target: aTarget, apiKey: check('anything', () => true) };

/**
 * Checks what a provider was given, as strictly as `createSseProxy` does: an option that is not known, such as another name for
 * `target`, would send the key somewhere else.
 *
 * @param checks of the options that the provider has beside `target` and `apiKey`
 * @throws {TypeError} naming the option, and quoting its value where it is no object of options: it may be the key
 */
export function checkProviderOptions(provider: string, options: unknown, checks: Record<string, Check> = {}): void {
  if (options === undefined) return;
  if (!isObject(options)) {
    const kind = options === null ? 'null' : `a ${typeof options}`;
    throw new TypeError(`${provider}() needs an object of options, got ${kind}. Write ${provider}({ apiKey: ... })`);
  }
  const known = { ...COMMON, ...checks };
  for (const [name, value] of Object.entries(options)) {
    const found = Object.hasOwn(known, name) ? known[name] : undefined;
    if (found === undefined) {
      throw new TypeError(`Unknown option \`${name}\` of ${provider}()${suggestionFor(name, Object.keys(known))}`);
    }
    if (value === undefined || found.is(value)) continue;
    throw new TypeError(`\`${name}\` of ${provider}() must be ${found.expected}, got ${quote(value)}`);
  }
}
