import bytes from 'bytes';
import type { Options } from 'http-proxy-middleware';
import { parseRoutes } from '../admission/path-guard.js';
import { isCredential } from '../credentials/own-credentials.js';
import {
  DEFAULT_EVENT_SIZE,
  DEFAULT_HEARTBEAT,
  DEFAULT_PSEUDONYM,
  DEFAULT_QUEUE,
  DEFAULT_RETRY,
  DEFAULT_TIMEOUTS,
  LONGEST_DELAY,
} from '../defaults.js';
import { resolveFallback } from '../failover/route.js';
import { ResolvedHeaderPolicy } from '../headers/header-policy.js';
import type { Config, RetryConfig, Route, Timeouts } from '../types/config.js';
import type { SseProxyOptions } from '../types/options.js';
import type { Provider } from '../types/provider.js';
import { aProvider, aTarget, isObject, quote } from '../util/checks.js';
import { createLogError } from '../util/error-log.js';
import { HPM_OPTIONS, NULL_IS_A_VALUE } from './hpm-schema.js';
import { checkOptions } from './schema.js';

/**
 * Checks the options once, at construction, and fills in the defaults.
 *
 * @throws {TypeError} naming the option and quoting its value: unknown names, wrong types, neither `target` nor `router`.
 */
export function resolveOptions(options: SseProxyOptions): Config {
  const given: unknown = options;
  checkCall(given);
  const known = withoutNull(defined(options));
  checkOptions(known);
  const {
    isEventStream,
    rewriteHeaders,
    requestHeaders = {},
    responseHeaders = {},
    via = false,
    allow,
    provider,
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
    truncation,
    cost,
    onUsage,
    onFinish,
    onError = 'respond',
    ...hpm
  } = known;
  return Object.freeze({
    hpm: Object.freeze(provider === undefined ? hpm : { target: provider.target, ...hpm }),
    isEventStream,
    rewriteHeaders,
    requestHeaders: new ResolvedHeaderPolicy('requestHeaders', requestHeaders),
    setsSecrets: Object.keys(requestHeaders.set ?? {}).some(isCredential),
    responseHeaders: new ResolvedHeaderPolicy('responseHeaders', responseHeaders, 502),
    via: via === true ? DEFAULT_PSEUDONYM : via || undefined,
    allow: allow === undefined ? undefined : parseRoutes(allow),
    provider,
    onEvent,
    transformEvent,
    noTransform,
    heartbeat: heartbeat === false ? undefined : resolveHeartbeat(heartbeat === true ? {} : heartbeat),
    ...resolveLimits(limits),
    timeouts: Object.freeze({ ...DEFAULT_TIMEOUTS, ...ownDeadlines(hpm), ...defined(timeouts) }),
    retry: resolveRetry(retry, provider),
    routes: resolveRoutes(fallbacks, provider),
    nextFallback: typeof fallbacks === 'function' ? fallbacks : undefined,
    commit,
    onClientClose,
    truncation,
    cost,
    onUsage,
    onFinish,
    onError,
    reads: (onUsage ?? onFinish ?? cost) !== undefined,
    wantsIdentity: (provider ?? onEvent ?? transformEvent) !== undefined || heartbeat !== false || commit !== 'head',
    logError: createLogError(hpm.logger),
  });
}

/**
 * An upstream or a client that the user has given more time than our defaults has that time: http-proxy-middleware's own timeouts, 0
 * for none. Where they are shorter, they pass by themselves.
 */
function ownDeadlines({ proxyTimeout, timeout }: Options): Partial<Timeouts> {
  const given = proxyTimeout ?? timeout;
  if (given === undefined) return {};
  const longest = (ours: number): number | false => given > 0 && Math.min(Math.max(ours, given), LONGEST_DELAY);
  return { headers: longest(DEFAULT_TIMEOUTS.headers), idle: longest(DEFAULT_TIMEOUTS.idle) };
}

/** What `createSseProxy` is called with by those who take it for something else. */
function checkCall(given: unknown): void {
  if (aProvider.is(given)) throw new TypeError('createSseProxy needs an object of options: write { provider: ... }');
  if (isObject(given) && 'httpVersion' in given) {
    throw new TypeError(
      'createSseProxy makes the middleware, and is not one: write app.use(createSseProxy({ ... })), with options',
    );
  }
  if (isObject(given)) return;
  const isPath = typeof given === 'string' && given.startsWith('/');
  const path = isPath ? `. Write app.use(${quote(given)}, createSseProxy({ ... }))` : '';
  const target = aTarget.is(given) ? '. Write createSseProxy({ target: ... })' : '';
  throw new TypeError(`createSseProxy needs an object of options, got ${quote(given)}${path}${target}`);
}

function resolveHeartbeat({
  interval = DEFAULT_HEARTBEAT.interval,
  comment,
}: {
  interval?: number;
  comment?: string;
}): Config['heartbeat'] {
  return Object.freeze({ interval, comment });
}

function resolveLimits({
  eventSize = DEFAULT_EVENT_SIZE,
  requestBody = Number.POSITIVE_INFINITY,
  concurrency = Number.POSITIVE_INFINITY,
  queue,
}: NonNullable<SseProxyOptions['limits']>): Pick<Config, 'eventSize' | 'requestBody' | 'concurrency' | 'queue'> {
  return {
    eventSize: sizeOf(eventSize),
    requestBody: sizeOf(requestBody),
    concurrency,
    queue: { size: queue?.size ?? DEFAULT_QUEUE.size, timeout: queue?.timeout ?? DEFAULT_QUEUE.timeout },
  };
}

function resolveRetry(retry: NonNullable<SseProxyOptions['retry']>, provider: Provider | undefined): RetryConfig {
  const given = defined(retry === true ? {} : retry || { maxRetries: 0 });
  const { statusCodes, errorCodes, maxBodySize, ...rest } = { ...DEFAULT_RETRY, ...given };
  const methods = given.methods ?? [...DEFAULT_RETRY.methods, ...(provider?.retryMethods ?? [])];
  return Object.freeze({
    ...rest,
    statusCodes: [...statusCodes],
    errorCodes: [...errorCodes],
    methods: methods.map((method) => method.toUpperCase()),
    maxBodySize: sizeOf(maxBodySize),
  });
}

/** The proxy's own target first, and then the fallbacks where they are a list. */
function resolveRoutes(fallbacks: NonNullable<SseProxyOptions['fallbacks']>, provider: Provider | undefined): Route[] {
  const ownRoute: Route = { target: undefined, provider, pathRewrite: undefined, headers: undefined };
  if (typeof fallbacks === 'function') return [ownRoute];
  return [ownRoute, ...fallbacks.map((fallback) => resolveFallback(fallback, provider))];
}

/** Without the options of http-proxy-middleware that are `null`, where it takes that as none. */
function withoutNull(options: SseProxyOptions): SseProxyOptions {
  const isNone = (name: string, value: unknown): boolean =>
    value === null && Object.hasOwn(HPM_OPTIONS, name) && !NULL_IS_A_VALUE.has(name);
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => !isNone(name, value))) as SseProxyOptions;
}

/** Without the members that are `undefined`: an option that is undefined was not given, and must not replace a default. */
function defined<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

function sizeOf(size: number | string): number {
  return Number(bytes.parse(size));
}
