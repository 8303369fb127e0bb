import bytes from 'bytes';
import type { Options } from 'http-proxy-middleware';
import {
  aBoolean,
  aDelay,
  aFilter,
  aFunction,
  aLine,
  aLogger,
  anArray,
  anObject,
  anything,
  aProvider,
  aRewrite,
  aSize,
  aString,
  aStringOrNull,
  aTable,
  aTarget,
  type Check,
  check,
  fields,
  isObject,
  listeners,
  milliseconds,
  oneOf,
  quote,
  redirects,
} from './checks.js';
import { sse } from './formats/sse.js';
import type { SseProxyOptions } from './types.js';

/** The options of one proxy: checked, with defaults, frozen. */
export interface Config {
  /** Handed to http-proxy-middleware, which is only told what the user said. */
  readonly hpm: Readonly<Options>;
  readonly isEventStream: SseProxyOptions['isEventStream'];
  readonly rewriteHeaders: SseProxyOptions['rewriteHeaders'];
  readonly provider: SseProxyOptions['provider'];
  readonly onEvent: SseProxyOptions['onEvent'];
  readonly transformEvent: SseProxyOptions['transformEvent'];
  readonly noTransform: 'respect' | 'ignore';
  /** Milliseconds, and what is sent after them. */
  readonly heartbeat: { readonly interval: number; readonly bytes: Buffer } | undefined;
  /** `limits.eventSize` in bytes. */
  readonly eventSize: number;
  readonly truncation: 'destroy' | 'event';
  readonly onUsage: SseProxyOptions['onUsage'];
  readonly onFinish: SseProxyOptions['onFinish'];
  readonly onError: 'respond' | 'next';
  /** Somebody wants to know what the provider's answers say of themselves. */
  readonly reads: boolean;
  /** Bodies are read or written on their way, so that a content coding would be in it. */
  readonly wantsIdentity: boolean;
  /** To the user's `logger`; never throws. */
  readonly logError: (message: string, ...values: unknown[]) => void;
}

/** Options within an option, by name. */
const HEARTBEAT = { interval: aDelay, comment: aLine };
const LIMITS = { eventSize: aSize };

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
  provider: aProvider,
  onEvent: aFunction,
  transformEvent: aFunction,
  noTransform: oneOf('respect', 'ignore'),
  heartbeat: check('false or an object', (value) => value === false || isObject(value)),
  limits: anObject,
  truncation: oneOf('destroy', 'event'),
  onUsage: aFunction,
  onFinish: aFunction,
  onError: oneOf('respond', 'next'),
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
  const { provider } = options;
  if (options.target === undefined && options.router === undefined && provider === undefined) {
    throw new TypeError(
      "createSseProxy needs `target` (or `router`, or `provider`), for example { target: 'https://api.openai.com' }",
    );
  }
  if (provider !== undefined) checkOption('target', provider.target);
  checkTogether(options);
  const {
    isEventStream,
    rewriteHeaders,
    provider: _provider,
    onEvent,
    transformEvent,
    noTransform = 'respect',
    heartbeat = false,
    limits = {},
    truncation = provider === undefined ? 'destroy' : 'event',
    onUsage,
    onFinish,
    onError = 'respond',
    ...hpm
  } = Object.fromEntries(entries) as SseProxyOptions;
  checkNested('heartbeat', heartbeat === false ? {} : heartbeat, HEARTBEAT);
  checkNested('limits', limits, LIMITS);
  const logError: Config['logError'] = (message, ...values) => {
    try {
      hpm.logger?.error(`[express-sse-proxy] ${message}`, ...values);
    } catch {
      // There is nobody left to tell.
    }
  };
  return Object.freeze({
    hpm: Object.freeze(provider === undefined ? hpm : { target: provider.target, ...hpm }),
    isEventStream,
    rewriteHeaders,
    provider,
    onEvent,
    transformEvent,
    noTransform,
    heartbeat: heartbeat === false ? undefined : resolveHeartbeat(heartbeat),
    eventSize: Number(bytes.parse(limits.eventSize ?? '1mb')),
    truncation,
    onUsage,
    onFinish,
    onError,
    reads: provider !== undefined && (onUsage ?? onFinish) !== undefined,
    wantsIdentity: (provider ?? onEvent ?? transformEvent) !== undefined || heartbeat !== false,
    logError,
  });
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
  for (const name of ['onEvent', 'transformEvent', 'heartbeat', 'onUsage'] as const) {
    if (options[name])
      throw new TypeError(`\`${name}\` needs the response, which \`selfHandleResponse\` leaves to you`);
  }
}

function checkNested(option: string, value: object, checks: Record<string, Check>): void {
  for (const [key, item] of Object.entries(value)) {
    const found = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (found === undefined) throw new TypeError(`Unknown option \`${option}.${key}\``);
    if (item === undefined || found.is(item)) continue;
    throw new TypeError(`\`${option}.${key}\` must be ${found.expected}, got ${quote(item)}`);
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
