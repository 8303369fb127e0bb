import { types } from 'node:util';
import bytes from 'bytes';
import { LONGEST_DELAY } from '../defaults.js';
import {
  aFunction,
  aProvider,
  aString,
  aSyncFunction,
  aTarget,
  type Check,
  check,
  firstWrong,
  isObject,
  oneOf,
  quote,
} from '../util/checks.js';

/*
 * What the values of options may be, in words and as a test. `util/checks.ts` has those that are also used elsewhere.
 */

/** How to say what a bare number in the place of an object was to mean. */
const numberMeans = (option: string, member: string): NonNullable<Check['hint']> => {
  return (value) => (typeof value === 'number' ? `. Write \`${option}: { ${member}: ${value} }\`` : '');
};

export const anything = check('anything', () => true);
export const aNumber = check('a number', (value) => typeof value === 'number');
export const anObject = check('an object', isObject);
/** @param member the one that is meant where a bare number is given */
export const booleanOrObject = (option: string, member: string): Check =>
  check(
    'a boolean or an object',
    (value) => typeof value === 'boolean' || isObject(value),
    numberMeans(option, member),
  );
/** An object. @param member the one that is meant where a bare number is given */
export const objectWith = (option: string, member: string): Check =>
  check('an object', isObject, numberMeans(option, member));
export const aStringOrNull = check('a string', (value) => typeof value === 'string' || value === null);
export const aLine = check(
  'a string without line breaks',
  (value) => typeof value === 'string' && !/[\r\n]/.test(value),
);
const isCertificate = (value: unknown): boolean =>
  (typeof value === 'string' || value instanceof Uint8Array) && Buffer.from(value).includes('-----BEGIN ');
/** Quotes nothing long: a file in another format is kilobytes. */
export const certificates = check(
  'a certificate in PEM (a string or a Buffer), or an array of them',
  (value) => isCertificate(value) || (Array.isArray(value) && value.length > 0 && value.every(isCertificate)),
  (value) => (typeof value === 'string' ? '. If that is a path, write readFileSync(...)' : ''),
);
export const functions = check('an array of functions', (value) => Array.isArray(value) && value.every(aFunction.is));
export const listOf = (item: Check): Check =>
  check(
    `an array whose items are each ${item.expected}`,
    (value) => Array.isArray(value) && value.every(item.is),
    (value) => (item.is(value) ? `. Write a list: [${quote(value)}]` : ''),
  );
export const wordOr = (func: Check, ...words: string[]): Check =>
  check(
    `${words.map((word) => `'${word}'`).join(', ')} or a function`,
    (value) => oneOf(...words).is(value) || func.is(value),
    func.hint,
  );

// --- numbers, times and sizes ---------------------------------------------------------------------------------------

export const aCount = check('a whole number, 0 or more', (value) => Number.isSafeInteger(value) && Number(value) >= 0);
export const aPositiveCount = check('a whole number, 1 or more', (value) => aCount.is(value) && value !== 0);
export const aFactor = check('a number, 1 or more', (value) => Number.isFinite(value) && Number(value) >= 1);
export const aDelay = check('a number of milliseconds, 1 or more', (value) => {
  return typeof value === 'number' && value >= 1 && value <= LONGEST_DELAY;
});
export const aTimeout = check(
  'a number of milliseconds, 1 or more, or false',
  (value) => value === false || aDelay.is(value),
);
export const milliseconds = check(
  'a number of milliseconds, 0 or more',
  (value) => Number.isFinite(value) && Number(value) >= 0,
);
export const aSize = check("a number of bytes, 1 or more, or a string such as '10mb'", (value) => {
  if (typeof value === 'string' && !/^\d+(\.\d+)? *(b|kb|mb|gb)$/i.test(value)) return false;
  const size = Number(bytes.parse(value as string | number));
  return size >= 1 && size !== Number.POSITIVE_INFINITY;
});
export const aBodySize = check(
  "a number of bytes or a string such as '10mb'",
  (value) => value === 0 || aSize.is(value),
);

// --- headers, targets and hooks -------------------------------------------------------------------------------------

export const aHeaderName = check(
  'a name or a pattern',
  (value) => typeof value === 'string' || value instanceof RegExp,
);
/** RFC 9110 7.6.3: a token, or the name of a host with its port. */
export const aPseudonym = check(
  'a boolean, or a pseudonym without spaces',
  (value) => typeof value === 'boolean' || (typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+(:\d+)?$/.test(value)),
);
const isSettable = (item: unknown): boolean => typeof item === 'string' || aSyncFunction.is(item);
export const settableHeaders = check(
  'an object of strings and functions',
  (value) => isObject(value) && Object.values(value).every(isSettable),
  (value) => {
    const isAsync = isObject(value) && Object.values(value).some(types.isAsyncFunction);
    return firstWrong(isSettable)(value) + (isAsync ? ', and async' : '');
  },
);
export const targetsOrFunction = check(
  'an array of targets or a function',
  (value) => Array.isArray(value) || aSyncFunction.is(value),
  (value) => {
    if (aProvider.is(value)) return '. Write a list: [provider]';
    return aTarget.is(value) ? `. Write a list: [${quote(value)}]` : (aSyncFunction.hint?.(value) ?? '');
  },
);
export const aFilter = check('a path, an array of paths or a function', (value) => {
  return typeof value === 'string' || typeof value === 'function' || (Array.isArray(value) && value.every(aString.is));
});
export const aTable = check('an object or a function', (value) => typeof value === 'function' || isObject(value));
export const aRewrite = check('false, a string or an object of strings', (value) => {
  return value === false || typeof value === 'string' || (isObject(value) && Object.values(value).every(aString.is));
});
export const redirects = check(
  'a boolean or a number',
  (value) => typeof value === 'boolean' || typeof value === 'number',
);
const isListener = (item: unknown): boolean => item === undefined || aFunction.is(item);
export const listeners = check(
  'an object of functions',
  (value) => isObject(value) && Object.values(value).every(isListener),
  firstWrong(isListener),
);
export const aLogger = check('an object with the functions info, warn and error', (value) => {
  return isObject(value) && ['info', 'warn', 'error'].every((level) => typeof value[level] === 'function');
});
