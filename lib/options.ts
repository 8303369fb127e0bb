import { inspect } from 'node:util';
import type { Options } from 'http-proxy-middleware';
import type { SseProxyOptions } from './types.js';

/** The options of one proxy: checked, with defaults, frozen. */
export interface Config {
  /** Handed to http-proxy-middleware, which is only told what the user said. */
  readonly hpm: Readonly<Options>;
  readonly isEventStream: SseProxyOptions['isEventStream'];
  readonly rewriteHeaders: SseProxyOptions['rewriteHeaders'];
  readonly onFinish: SseProxyOptions['onFinish'];
  readonly onError: 'respond' | 'next';
  /** To the user's `logger`; never throws. */
  readonly logError: (message: string, ...values: unknown[]) => void;
}

interface Check {
  expected: string;
  is(value: unknown): boolean;
}

const isObject = (value: unknown): value is Record<string, unknown> => {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
};
const check = (expected: string, is: Check['is']): Check => ({ expected, is });

const anything = check('anything', () => true);
const aBoolean = check('a boolean', (value) => typeof value === 'boolean');
const aString = check('a string', (value) => typeof value === 'string');
const aFunction = check('a function', (value) => typeof value === 'function');
const anObject = check('an object', isObject);
const anArray = check('an array of functions', (value) => Array.isArray(value) && value.every(aFunction.is));
const aStringOrNull = check('a string', (value) => typeof value === 'string' || value === null);
const milliseconds = check(
  'a number of milliseconds, 0 or more',
  (value) => Number.isFinite(value) && Number(value) >= 0,
);
const aTarget = check('an absolute URL with http:, https:, ws: or wss:, or an object with host and port', (value) =>
  typeof value === 'string' || value instanceof URL
    ? URL.canParse(String(value)) && /^(https?|wss?):$/.test(new URL(value).protocol)
    : isObject(value) && ['host', 'hostname', 'socketPath'].some((key) => typeof value[key] === 'string'),
);
const aRewrite = check('false, a string or an object of strings', (value) => {
  return value === false || typeof value === 'string' || (isObject(value) && Object.values(value).every(aString.is));
});
const aTable = check('an object or a function', (value) => typeof value === 'function' || isObject(value));
const listeners = check('an object of functions', (value) => {
  return isObject(value) && Object.values(value).every((item) => item === undefined || aFunction.is(item));
});
const fields = check('an object of header fields', (value) => {
  return isObject(value) && Object.values(value).every((item) => typeof item === 'string' || Array.isArray(item));
});
const aFilter = check('a path, an array of paths or a function', (value) => {
  return typeof value === 'string' || typeof value === 'function' || (Array.isArray(value) && value.every(aString.is));
});
const aLogger = check('an object with the functions info, warn and error', (value) => {
  return isObject(value) && ['info', 'warn', 'error'].every((level) => typeof value[level] === 'function');
});
const redirects = check('a boolean or a number', (value) => typeof value === 'boolean' || typeof value === 'number');

/** Every option of http-proxy-middleware; the compiler insists that none is missing here. */
const HPM_OPTIONS = {
  target: aTarget,
  forward: aTarget,
  router: aTable,
  pathFilter: aFilter,
  pathRewrite: aTable,
  plugins: anArray,
  ejectPlugins: aBoolean,
  on: listeners,
  logger: aLogger,
  agent: anything,
  http2: aBoolean,
  ssl: anObject,
  ws: aBoolean,
  xfwd: aBoolean,
  secure: aBoolean,
  toProxy: aBoolean,
  prependPath: aBoolean,
  ignorePath: aBoolean,
  localAddress: aString,
  changeOrigin: aBoolean,
  preserveHeaderKeyCase: aBoolean,
  auth: aString,
  hostRewrite: aStringOrNull,
  autoRewrite: aBoolean,
  protocolRewrite: aStringOrNull,
  cookieDomainRewrite: aRewrite,
  cookiePathRewrite: aRewrite,
  headers: fields,
  proxyTimeout: milliseconds,
  upgradeTimeout: milliseconds,
  timeout: milliseconds,
  selfHandleResponse: aBoolean,
  followRedirects: redirects,
  buffer: anObject,
} satisfies Record<keyof Options, Check>;

const OWN_OPTIONS = {
  isEventStream: aFunction,
  rewriteHeaders: aFunction,
  onFinish: aFunction,
  onError: check("'respond' or 'next'", (value) => value === 'respond' || value === 'next'),
} satisfies Record<Exclude<keyof SseProxyOptions, keyof Options>, Check>;

const CHECKS = new Map<string, Check>(Object.entries({ ...HPM_OPTIONS, ...OWN_OPTIONS }));

/** Options of http-proxy-middleware's earlier versions, and what they are called today. */
const RENAMED = new Map([
  ['onProxyReq', 'on.proxyReq'],
  ['onProxyRes', 'on.proxyRes'],
  ['onProxyReqWs', 'on.proxyReqWs'],
  ['onError', 'on.error'],
  ['onOpen', 'on.open'],
  ['onClose', 'on.close'],
  ['logLevel', 'logger'],
  ['logProvider', 'logger'],
  ['context', 'pathFilter'],
]);

/**
 * Checks the options once, at construction.
 *
 * @throws {TypeError} naming the option and quoting its value: unknown names, wrong types, neither `target` nor `router`.
 */
export function resolveOptions(options: SseProxyOptions): Config {
  const given: unknown = options;
  if (!isObject(given)) throw new TypeError(`createSseProxy needs an object of options, got ${quote(given)}`);
  // An option that is undefined is one that was not given: it must not replace a default.
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of entries) checkOption(name, value);
  if (options.target === undefined && options.router === undefined) {
    throw new TypeError(
      "createSseProxy needs `target` (or `router`), for example { target: 'https://api.openai.com' }",
    );
  }
  const {
    isEventStream,
    rewriteHeaders,
    onFinish,
    onError = 'respond',
    ...hpm
  } = Object.fromEntries(entries) as SseProxyOptions;
  const logError: Config['logError'] = (message, ...values) => {
    try {
      hpm.logger?.error(`[express-sse-proxy] ${message}`, ...values);
    } catch {
      // There is nobody left to tell.
    }
  };
  return Object.freeze({ hpm: Object.freeze(hpm), isEventStream, rewriteHeaders, onFinish, onError, logError });
}

function checkOption(name: string, value: unknown): void {
  const found = CHECKS.get(name);
  if (found?.is(value)) return;
  // `onError` is a function in http-proxy-middleware 2, and a word here.
  const renamed = found === undefined || typeof value === 'function' ? RENAMED.get(name) : undefined;
  const hint = renamed === undefined ? '' : `. It is called \`${renamed}\` since http-proxy-middleware 3`;
  if (found === undefined) throw new TypeError(`Unknown option \`${name}\`${hint || suggestion(name)}`);
  throw new TypeError(`\`${name}\` must be ${found.expected}, got ${quote(value)}${hint}`);
}

function suggestion(name: string): string {
  const close = [...CHECKS.keys()].find((known) => known.toLowerCase() === name.toLowerCase());
  return close === undefined ? '' : `. Did you mean \`${close}\`?`;
}

/** Without what may be a credential: whatever is nested, and the user information of a URL. */
function quote(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return inspect(value.replace(/\/\/[^/]*@/, '//***@'), { maxStringLength: 100 });
  return inspect(value);
}
