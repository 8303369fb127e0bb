import { inspect } from 'node:util';
import bytes from 'bytes';

/** What a value must be, in words and as a test. */
export interface Check {
  expected: string;
  is(value: unknown): boolean;
}

export const isObject = (value: unknown): value is Record<string, unknown> => {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
};
export const check = (expected: string, is: Check['is']): Check => ({ expected, is });

export const anything = check('anything', () => true);
export const aBoolean = check('a boolean', (value) => typeof value === 'boolean');
export const aString = check('a string', (value) => typeof value === 'string');
export const aFunction = check('a function', (value) => typeof value === 'function');
export const anObject = check('an object', isObject);
export const anArray = check('an array of functions', (value) => Array.isArray(value) && value.every(aFunction.is));
export const aStringOrNull = check('a string', (value) => typeof value === 'string' || value === null);
export const milliseconds = check(
  'a number of milliseconds, 0 or more',
  (value) => Number.isFinite(value) && Number(value) >= 0,
);
export const aTarget = check(
  'an absolute URL with http:, https:, ws: or wss:, or an object with host and port',
  (value) =>
    typeof value === 'string' || value instanceof URL
      ? URL.canParse(String(value)) && /^(https?|wss?):$/.test(new URL(value).protocol)
      : isObject(value) && ['host', 'hostname', 'socketPath'].some((key) => typeof value[key] === 'string'),
);
export const aRewrite = check('false, a string or an object of strings', (value) => {
  return value === false || typeof value === 'string' || (isObject(value) && Object.values(value).every(aString.is));
});
export const aTable = check('an object or a function', (value) => typeof value === 'function' || isObject(value));
export const listeners = check('an object of functions', (value) => {
  return isObject(value) && Object.values(value).every((item) => item === undefined || aFunction.is(item));
});
export const fields = check('an object of header fields', (value) => {
  return isObject(value) && Object.values(value).every((item) => typeof item === 'string' || Array.isArray(item));
});
export const aFieldName = check('a name or a pattern', (value) => typeof value === 'string' || value instanceof RegExp);
export const settableFields = check('an object of strings and functions', (value) => {
  return isObject(value) && Object.values(value).every((item) => typeof item === 'string' || aFunction.is(item));
});
export const aFilter = check('a path, an array of paths or a function', (value) => {
  return typeof value === 'string' || typeof value === 'function' || (Array.isArray(value) && value.every(aString.is));
});
export const aLogger = check('an object with the functions info, warn and error', (value) => {
  return isObject(value) && ['info', 'warn', 'error'].every((level) => typeof value[level] === 'function');
});
export const redirects = check(
  'a boolean or a number',
  (value) => typeof value === 'boolean' || typeof value === 'number',
);

export const oneOf = (...words: string[]): Check =>
  check(
    words.map((word) => `'${word}'`).join(' or '),
    (value) => words.includes(String(value)) && typeof value === 'string',
  );
/** The longest that a timer of Node's takes. */
export const MAX_DELAY = 2 ** 31 - 1;
export const aDelay = check('a number of milliseconds, 1 or more', (value) => {
  return typeof value === 'number' && value >= 1 && value <= MAX_DELAY;
});
export const aTimeout = check(
  'a number of milliseconds, 1 or more, or false',
  (value) => value === false || aDelay.is(value),
);
export const aCount = check('a whole number, 0 or more', (value) => Number.isSafeInteger(value) && Number(value) >= 0);
export const aPositiveCount = check('a whole number, 1 or more', (value) => aCount.is(value) && value !== 0);
export const aBodySize = check(
  "a number of bytes or a string such as '10mb'",
  (value) => value === 0 || aSize.is(value),
);
export const listOf = (item: Check): Check =>
  check(`an array whose items are each ${item.expected}`, (value) => Array.isArray(value) && value.every(item.is));
export const aLine = check(
  'a string without line breaks',
  (value) => typeof value === 'string' && !/[\r\n]/.test(value),
);
export const aSize = check("a number of bytes, 1 or more, or a string such as '10mb'", (value) => {
  if (typeof value === 'string' && !/^\d+(\.\d+)? *(b|kb|mb|gb)$/i.test(value)) return false;
  return (
    Number(bytes.parse(value as string | number)) >= 1 &&
    bytes.parse(value as string | number) !== Number.POSITIVE_INFINITY
  );
});
export const aProvider = check('a provider, such as openai() of express-sse-proxy/providers', (value) => {
  return isObject(value) && ['read', 'errorEvent', 'errorBody'].every((name) => typeof value[name] === 'function');
});

/** Without what may be a credential: whatever is nested, and the user information of a URL. */
export function quote(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return inspect(value.replace(/\/\/[^/]*@/, '//***@'), { maxStringLength: 100 });
  return inspect(value);
}

/** Checks the options within an option. */
export function checkNested(option: string, value: object, checks: Record<string, Check>): void {
  for (const [key, item] of Object.entries(value)) {
    const found = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (found === undefined) throw new TypeError(`Unknown option \`${option}.${key}\``);
    if (item === undefined || found.is(item)) continue;
    throw new TypeError(`\`${option}.${key}\` must be ${found.expected}, got ${quote(item)}`);
  }
}
