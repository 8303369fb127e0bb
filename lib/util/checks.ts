import { inspect, types } from 'node:util';
import { suggestionFor } from './suggestions.js';

/** What a value must be, in words and as a test. */
export interface Check {
  expected: string;
  is(value: unknown): boolean;
  /** What to do about a value that is not right, as sentences behind the message; empty where nothing is known of it. */
  hint?(value: unknown): string;
}

export const check = (expected: string, is: Check['is'], hint?: Check['hint']): Check => ({
  expected,
  is,
  ...(hint !== undefined && { hint }),
});

/** Names the first member that is not right. */
export const firstWrong = (isRight: (member: unknown) => boolean): NonNullable<Check['hint']> => {
  return (value) => {
    const wrong = isObject(value) ? Object.entries(value).find(([, member]) => !isRight(member)) : undefined;
    return wrong === undefined ? '' : `. Its \`${wrong[0]}\` is ${quote(wrong[1])}`;
  };
};

export const isObject = (value: unknown): value is Record<string, unknown> => {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
};

export const aBoolean = check('a boolean', (value) => typeof value === 'boolean');
export const aString = check('a string', (value) => typeof value === 'string');
export const aText = check('a string that is not empty', (value) => typeof value === 'string' && value !== '');
export const aFunction = check('a function', (value) => typeof value === 'function');
/** A function whose result is used at once: what an async one resolves with would come too late. */
export const aSyncFunction = check(
  'a synchronous function',
  (value) => typeof value === 'function' && !types.isAsyncFunction(value),
  (value) => (types.isAsyncFunction(value) ? '. It is async: what it resolves with would come too late' : ''),
);
export const aTarget = check(
  'an absolute URL with http:, https:, ws: or wss:, or an object with host and port',
  (value) =>
    typeof value === 'string' || value instanceof URL
      ? URL.canParse(String(value)) && /^(https?|wss?):$/.test(new URL(value).protocol)
      : isObject(value) && ['host', 'hostname', 'socketPath'].some((key) => typeof value[key] === 'string'),
);
const isHeaderValue = (item: unknown): boolean => typeof item === 'string' || Array.isArray(item);
export const headerObject = check(
  'an object of header fields',
  (value) => isObject(value) && Object.values(value).every(isHeaderValue),
  firstWrong(isHeaderValue),
);
const isWithheld = (value: unknown): boolean =>
  isObject(value) &&
  Object.entries(value).every(
    ([name, list]) =>
      ['request', 'response'].includes(name) &&
      (list === undefined || (Array.isArray(list) && list.every((item) => typeof item === 'string'))),
  );
const isFunctionOrAbsent = (value: unknown): boolean => value === undefined || typeof value === 'function';
export const aProvider = check(
  'a provider, such as openai() of express-sse-proxy/providers',
  (value) =>
    isObject(value) &&
    ['read', 'errorEvent', 'errorBody'].every((name) => typeof value[name] === 'function') &&
    ['rewritePath', 'sign', 'formatOf', 'errorStatus', 'errorBodyOf', 'heartbeat'].every((name) =>
      isFunctionOrAbsent(value[name]),
    ) &&
    [undefined, 'event', 'destroy'].includes(value.truncation as undefined) &&
    (value.withheld === undefined || isWithheld(value.withheld)),
  (value) => (typeof value === 'function' ? `. Call it: ${value.name || 'openai'}({ apiKey: ... })` : ''),
);
export const oneOf = (...words: string[]): Check =>
  check(
    words.map((word) => `'${word}'`).join(' or '),
    (value) => words.includes(String(value)) && typeof value === 'string',
  );

/** A value for an error message, without what may be a credential: whatever is nested, and the user information of a URL. */
export function quote(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return inspect(value.replace(/\/\/[^/]*@/, '//***@'), { maxStringLength: 100 });
  return inspect(value);
}

/**
 * Checks the options within an option.
 *
 * @throws {TypeError} naming the option and quoting its value
 */
export function checkNested(option: string, value: object, checks: Record<string, Check>): void {
  for (const [key, item] of Object.entries(value)) {
    const found = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (found === undefined) {
      const suggestion = suggestionFor(key, Object.keys(checks));
      throw new TypeError(`Unknown option \`${option}.${key}\`${suggestion}`);
    }
    if (item === undefined || found.is(item)) continue;
    const hint = found.hint?.(item) ?? '';
    throw new TypeError(`\`${option}.${key}\` must be ${found.expected}, got ${quote(item)}${hint}`);
  }
}
