import type { Options } from 'http-proxy-middleware';
import { accessLog } from '../observe/access-log.js';
import type { SseProxyOptions } from '../types/options.js';
import {
  aBoolean,
  aFunction,
  aProvider,
  aString,
  aSyncFunction,
  type Check,
  check,
  checkNested,
  oneOf,
  quote,
} from '../util/checks.js';
import { suggestionFor } from '../util/suggestions.js';
import { ELSEWHERE, HPM_EVENTS, HPM_OPTIONS, RENAMED } from './hpm-schema.js';
import {
  aBodySize,
  aCount,
  aDelay,
  aFactor,
  aHeaderName,
  aLine,
  aNumber,
  anObject,
  aPositiveCount,
  aPseudonym,
  aSize,
  aTimeout,
  booleanOrObject,
  certificates,
  listOf,
  objectWith,
  settableHeaders,
  targetsOrFunction,
  wordOr,
} from './validators.js';

/** Our own options; the compiler insists that none is missing here. */
const OWN_OPTIONS = {
  ca: certificates,
  isEventStream: aSyncFunction,
  rewriteHeaders: aSyncFunction,
  requestHeaders: anObject,
  responseHeaders: anObject,
  via: aPseudonym,
  allow: listOf(aString),
  provider: aProvider,
  onEvent: aFunction,
  transformEvent: aFunction,
  noTransform: oneOf('respect', 'ignore'),
  heartbeat: booleanOrObject('heartbeat', 'interval'),
  limits: anObject,
  timeouts: anObject,
  retry: booleanOrObject('retry', 'maxRetries'),
  fallbacks: targetsOrFunction,
  commit: wordOr(aFunction, 'head', 'first-event', 'first-content'),
  onClientClose: wordOr(aSyncFunction, 'abort', 'continue'),
  truncation: oneOf('destroy', 'event'),
  cost: aFunction,
  onUsage: aFunction,
  onFinish: check(
    'a function',
    (value) => aFunction.is(value) && value !== accessLog,
    (value) => (value === accessLog ? '. Call it: `onFinish: accessLog()`' : ''),
  ),
  onError: oneOf('respond', 'next'),
} satisfies Record<Exclude<keyof SseProxyOptions, keyof Options>, Check>;

const POLICY = { pass: listOf(aHeaderName), remove: listOf(aHeaderName), set: settableHeaders };

/** Options within an option, by name. */
const NESTED = {
  requestHeaders: POLICY,
  responseHeaders: POLICY,
  heartbeat: { interval: aDelay, comment: aLine },
  limits: { eventSize: aSize, requestBody: aBodySize, concurrency: aPositiveCount, queue: objectWith('queue', 'size') },
  'limits.queue': { size: aCount, timeout: aDelay },
  on: Object.fromEntries(HPM_EVENTS.map((event) => [event, aFunction])),
  timeouts: { connect: aTimeout, headers: aTimeout, idle: aTimeout, drain: aTimeout, total: aTimeout },
  retry: {
    maxRetries: aCount,
    methods: listOf(aString),
    statusCodes: listOf(aNumber),
    errorCodes: listOf(aString),
    minTimeout: aDelay,
    maxTimeout: aDelay,
    timeoutFactor: aFactor,
    retryAfter: aBoolean,
    maxBodySize: aBodySize,
  },
} satisfies Record<string, Record<string, Check>>;

const CHECKS = new Map<string, Check>(Object.entries({ ...HPM_OPTIONS, ...OWN_OPTIONS }));

/**
 * Checks options, each by itself and then together.
 *
 * @param options without members that are `undefined`
 * @throws {TypeError} naming the option and quoting its value
 */
export function checkOptions(options: SseProxyOptions): void {
  for (const [name, value] of Object.entries(options)) checkOption(name, value);
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
    const given = nested[name as keyof typeof NESTED];
    checkNested(name, typeof given === 'object' ? given : {}, checks);
  }
}

function checkOption(name: string, value: unknown): void {
  const found = CHECKS.get(name);
  if (found?.is(value)) return;
  // `onError` is a function in http-proxy-middleware 2, and a word here.
  const renamed = found === undefined || typeof value === 'function' ? RENAMED.get(name) : undefined;
  const hint = renamed === undefined ? '' : `. It is called \`${renamed}\` since http-proxy-middleware 3`;
  if (found === undefined) {
    const elsewhere = ELSEWHERE.get(name);
    const instead = elsewhere === undefined ? suggestionFor(name, [...CHECKS.keys()]) : `. ${elsewhere}`;
    throw new TypeError(`Unknown option \`${name}\`${hint || instead}`);
  }
  throw new TypeError(
    `\`${name}\` must be ${found.expected}, got ${quote(value)}${hint || (found.hint?.(value) ?? '')}`,
  );
}

/** Options that are right by themselves, and not together. */
function checkTogether(options: SseProxyOptions): void {
  const { provider, cost, onUsage, selfHandleResponse, ws } = options;
  if (onUsage !== undefined && provider === undefined) throw new TypeError('`onUsage` needs a `provider`');
  if (options.commit === 'first-content' && provider === undefined) {
    throw new TypeError("`commit: 'first-content'` needs a `provider`, which knows what content is");
  }
  if (cost !== undefined && provider === undefined) throw new TypeError('`cost` needs a `provider`');
  if (ws && provider !== undefined) {
    throw new TypeError('`ws` cannot be combined with `provider`: its credentials are not put on WebSockets');
  }
  if (!selfHandleResponse) return;
  for (const name of ['onEvent', 'transformEvent', 'heartbeat', 'onUsage', 'commit'] as const) {
    if (options[name] && options[name] !== 'head')
      throw new TypeError(`\`${name}\` needs the response, which \`selfHandleResponse\` leaves to you`);
  }
}
