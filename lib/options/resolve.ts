import bytes from 'bytes';
import type { Options } from 'http-proxy-middleware';
import { parseRoutes } from '../admission/path-guard.js';
import { resolveFallback } from '../failover/route.js';
import { sse } from '../formats/sse.js';
import { ResolvedHeaderPolicy } from '../headers/header-policy.js';
import type { Config, RetryConfig, Route } from '../types/config.js';
import type { SseProxyOptions } from '../types/options.js';
import type { Provider } from '../types/provider.js';
import {
  aBodySize,
  aBoolean,
  aCount,
  aDelay,
  aFieldName,
  aFunction,
  aLine,
  anObject,
  aPositiveCount,
  aProvider,
  aSize,
  aString,
  aTimeout,
  type Check,
  check,
  checkNested,
  isObject,
  listOf,
  oneOf,
  quote,
  settableFields,
} from '../util/checks.js';
import { harmless } from '../util/hooks.js';
import { HPM_OPTIONS, RENAMED } from './hpm-schema.js';

const aNumber = check('a number', (value) => typeof value === 'number');

const POLICY = { pass: listOf(aFieldName), remove: listOf(aFieldName), set: settableFields };

/** Options within an option, by name. */
const NESTED = {
  requestHeaders: POLICY,
  responseHeaders: POLICY,
  heartbeat: { interval: aDelay, comment: aLine },
  limits: { eventSize: aSize, requestBody: aBodySize, concurrency: aPositiveCount, queue: anObject },
  'limits.queue': { size: aCount, timeout: aDelay },
  timeouts: { connect: aTimeout, headers: aTimeout, idle: aTimeout, drain: aTimeout, total: aTimeout },
  retry: {
    maxRetries: aCount,
    methods: listOf(aString),
    statusCodes: listOf(aNumber),
    errorCodes: listOf(aString),
    minTimeout: aDelay,
    maxTimeout: aDelay,
    timeoutFactor: check('a number, 1 or more', (value) => Number.isFinite(value) && Number(value) >= 1),
    retryAfter: aBoolean,
    maxBodySize: aBodySize,
  },
} satisfies Record<string, Record<string, Check>>;

const falseOrObject = check('false or an object', (value) => value === false || isObject(value));

const OWN_OPTIONS = {
  isEventStream: aFunction,
  rewriteHeaders: aFunction,
  requestHeaders: anObject,
  responseHeaders: anObject,
  allow: listOf(aString),
  provider: aProvider,
  onEvent: aFunction,
  transformEvent: aFunction,
  noTransform: oneOf('respect', 'ignore'),
  heartbeat: falseOrObject,
  limits: anObject,
  timeouts: anObject,
  retry: falseOrObject,
  fallbacks: check('an array of targets or a function', (value) => Array.isArray(value) || typeof value === 'function'),
  commit: check(
    "'head', 'first-event' or a function",
    (value) => oneOf('head', 'first-event').is(value) || typeof value === 'function',
  ),
  onClientClose: check(
    "'abort', 'continue' or a function",
    (value) => oneOf('abort', 'continue').is(value) || typeof value === 'function',
  ),
  truncation: oneOf('destroy', 'event'),
  onUsage: aFunction,
  onFinish: aFunction,
  onError: oneOf('respond', 'next'),
} satisfies Record<Exclude<keyof SseProxyOptions, keyof Options>, Check>;

const CHECKS = new Map<string, Check>(Object.entries({ ...HPM_OPTIONS, ...OWN_OPTIONS }));

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
  const { provider } = options;
  if (options.target === undefined && options.router === undefined && provider === undefined) {
    throw new TypeError(
      "createSseProxy needs `target` (or `router`, or `provider`), for example { target: 'https://api.openai.com' }",
    );
  }
  if (provider !== undefined) checkOption('target', provider.target);
  checkTogether(options);
  const nested = { ...options, 'limits.queue': options.limits?.queue };
  for (const [name, checks] of Object.entries(NESTED)) {
    checkNested(name, nested[name as keyof typeof NESTED] || {}, checks);
  }
  const {
    isEventStream,
    rewriteHeaders,
    requestHeaders = {},
    responseHeaders = {},
    allow,
    provider: _provider,
    onEvent,
    transformEvent,
    noTransform = 'respect',
    heartbeat = false,
    limits = {},
    timeouts = {},
    retry = false,
    fallbacks = [],
    commit = 'head',
    onClientClose = 'abort',
    truncation = provider === undefined ? 'destroy' : 'event',
    onUsage,
    onFinish,
    onError = 'respond',
    ...hpm
  } = Object.fromEntries(entries) as SseProxyOptions;
  const ownRoute: Route = { target: undefined, provider, pathRewrite: undefined, headers: undefined };
  const logger = hpm.logger && harmless(hpm.logger);
  const logError: Config['logError'] = (message, ...values) =>
    logger?.error(`[express-sse-proxy] ${message}`, ...values);
  return Object.freeze({
    hpm: Object.freeze(provider === undefined ? hpm : { target: provider.target, ...hpm }),
    isEventStream,
    rewriteHeaders,
    requestHeaders: new ResolvedHeaderPolicy('requestHeaders', requestHeaders),
    responseHeaders: new ResolvedHeaderPolicy('responseHeaders', responseHeaders, 502),
    allow: allow === undefined ? undefined : parseRoutes(allow),
    provider,
    onEvent,
    transformEvent,
    noTransform,
    heartbeat: heartbeat === false ? undefined : resolveHeartbeat(heartbeat),
    eventSize: sizeOf(limits.eventSize ?? '1mb'),
    requestBody: sizeOf(limits.requestBody ?? Number.POSITIVE_INFINITY),
    concurrency: limits.concurrency ?? Number.POSITIVE_INFINITY,
    queue: { size: limits.queue?.size ?? 0, timeout: limits.queue?.timeout ?? 10_000 },
    timeouts: Object.freeze({
      connect: 10_000,
      headers: 120_000,
      idle: 120_000,
      drain: 120_000,
      total: false,
      ...defined(timeouts),
    }),
    retry: resolveRetry(retry, provider),
    routes: [
      ownRoute,
      ...(typeof fallbacks === 'function' ? [] : fallbacks.map((fallback) => resolveFallback(fallback, provider))),
    ],
    nextFallback: typeof fallbacks === 'function' ? fallbacks : undefined,
    commit,
    onClientClose,
    truncation,
    onUsage,
    onFinish,
    onError,
    reads: (onUsage ?? onFinish) !== undefined,
    wantsIdentity: (provider ?? onEvent ?? transformEvent) !== undefined || heartbeat !== false || commit !== 'head',
    logError,
  });
}

/** undici's defaults, but for the status codes and errors of AI APIs. */
const RETRY_DEFAULTS = {
  methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'],
  statusCodes: [429, 500, 502, 503, 504, 529],
  errorCodes: [
    'ECONNRESET',
    'ECONNREFUSED',
    'ENOTFOUND',
    'EAI_AGAIN',
    'ENETDOWN',
    'ENETUNREACH',
    'EHOSTDOWN',
    'EHOSTUNREACH',
    'EPIPE',
    'ETIMEDOUT',
    'UPSTREAM_CONNECT_TIMEOUT',
    'UPSTREAM_CLOSED',
  ],
  maxRetries: 2,
  minTimeout: 500,
  maxTimeout: 30_000,
  timeoutFactor: 2,
  retryAfter: true,
} satisfies Omit<RetryConfig, 'maxBodySize'>;

function resolveRetry(retry: NonNullable<SseProxyOptions['retry']>, provider: Provider | undefined): RetryConfig {
  const given = defined(retry || { maxRetries: 0 });
  const { statusCodes, errorCodes } = { ...RETRY_DEFAULTS, ...given };
  const methods = given.methods ?? [...RETRY_DEFAULTS.methods, ...(provider?.retryMethods ?? [])];
  return Object.freeze({
    ...RETRY_DEFAULTS,
    ...given,
    statusCodes: [...statusCodes],
    errorCodes: [...errorCodes],
    methods: methods.map((method) => method.toUpperCase()),
    maxBodySize: sizeOf(given.maxBodySize ?? '1mb'),
  });
}

/** Without the members that are undefined, which must not replace a default. */
function defined<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

function sizeOf(size: number | string): number {
  return Number(bytes.parse(size));
}

function resolveHeartbeat({ interval = 15_000, comment = 'ping' }: { interval?: number; comment?: string }) {
  return Object.freeze({ interval, bytes: Buffer.from(sse.encode?.({ comment }) ?? '') });
}

/** What is right by itself and not together. */
function checkTogether(options: SseProxyOptions): void {
  const { provider, onUsage, selfHandleResponse, ws } = options;
  if (onUsage !== undefined && provider === undefined) throw new TypeError('`onUsage` needs a `provider`');
  if (ws && provider !== undefined) {
    throw new TypeError('`ws` cannot be combined with `provider`: its credentials are not put on WebSockets');
  }
  if (!selfHandleResponse) return;
  for (const name of ['onEvent', 'transformEvent', 'heartbeat', 'onUsage', 'commit'] as const) {
    if (options[name] && options[name] !== 'head')
      throw new TypeError(`\`${name}\` needs the response, which \`selfHandleResponse\` leaves to you`);
  }
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
