import type { Options } from 'http-proxy-middleware';
import type { Exchange } from './hooks.js';
import type { FallbackTarget, SseProxyOptions } from './options.js';
import type { Provider } from './provider.js';

/** The options of one proxy: checked, with their defaults, frozen. */
export interface Config {
  /** The options for http-proxy-middleware: only those that the user gave. */
  readonly hpm: Readonly<Options>;
  readonly isEventStream: SseProxyOptions['isEventStream'];
  readonly rewriteHeaders: SseProxyOptions['rewriteHeaders'];
  readonly requestHeaders: HeaderRules;
  /** `requestHeaders` puts credentials in, which must not come back. */
  readonly setsSecrets: boolean;
  readonly responseHeaders: HeaderRules;
  /** The pseudonym for `Via`; `undefined` where none is added. */
  readonly via: string | undefined;
  /** `undefined` where all requests are forwarded. */
  readonly allow: readonly AllowedRoute[] | undefined;
  readonly provider: SseProxyOptions['provider'];
  /** The proxy's own target first. */
  readonly routes: readonly Route[];
  /** `fallbacks` as a function, which names the next route. */
  readonly nextFallback: Extract<SseProxyOptions['fallbacks'], (...args: never) => unknown> | undefined;
  readonly timeouts: Timeouts;
  /** Also says which failures lead to a fallback. */
  readonly retry: RetryConfig;
  readonly commit: NonNullable<SseProxyOptions['commit']>;
  readonly onClientClose: NonNullable<SseProxyOptions['onClientClose']>;
  /** `limits.requestBody` in bytes. */
  readonly requestBody: number;
  readonly concurrency: number;
  readonly queue: { readonly size: number; readonly timeout: number };
  readonly onEvent: SseProxyOptions['onEvent'];
  readonly transformEvent: SseProxyOptions['transformEvent'];
  readonly noTransform: 'respect' | 'ignore';
  /** After so many milliseconds of silence, a comment. */
  readonly heartbeat: { readonly interval: number; readonly comment: string | undefined } | undefined;
  /** `limits.eventSize` in bytes. */
  readonly eventSize: number;
  /** `undefined` where the options leave it to the provider. */
  readonly truncation: 'destroy' | 'event' | undefined;
  readonly cost: SseProxyOptions['cost'];
  readonly onUsage: SseProxyOptions['onUsage'];
  readonly onFinish: SseProxyOptions['onFinish'];
  readonly onError: 'respond' | 'next';
  /** `true` if `onUsage`, `onFinish` or `cost` is set: answers are parsed for usage. */
  readonly reads: boolean;
  /** `true` if bodies are read or changed on their way, which a content coding would prevent. */
  readonly wantsIdentity: boolean;
  /**
   * Tells whoever runs the app what has failed, and what was thrown: by `logger`, else on the console, where each distinct error is
   * told once. Never throws.
   */
  readonly logError: (message: string, ...cause: [cause?: unknown]) => void;
}

/**
 * The phases of an exchange that have a deadline each (milliseconds, `false` for none):
 * - `connect`: name, connection and TLS of one attempt
 * - `headers`: from the end of the request to the head of the response, of one attempt
 * - `idle`: between two chunks of the response's body
 * - `drain`: while the client takes nothing of what is ready for it (backpressure)
 * - `total`: from the request to the end of the response
 */
export type Phase = 'connect' | 'headers' | 'idle' | 'drain' | 'total';

export type Timeouts = Readonly<Record<Phase, number | false>>;

/** `retry`, with its defaults, in undici's words. */
export interface RetryConfig {
  readonly maxRetries: number;
  /** In upper case. */
  readonly methods: readonly string[];
  readonly statusCodes: readonly number[];
  /** Node's error codes, and those of `SseProxyError`. */
  readonly errorCodes: readonly string[];
  /** Milliseconds. */
  readonly minTimeout: number;
  readonly maxTimeout: number;
  readonly timeoutFactor: number;
  /** Whether `Retry-After` is obeyed. */
  readonly retryAfter: boolean;
  /** Bytes. */
  readonly maxBodySize: number;
}

/** Where attempts go, and with whose credentials. */
export interface Route {
  /** `undefined` for the target of the options. */
  readonly target: Options['target'];
  readonly provider: Provider | undefined;
  /** `undefined` for that of the options. */
  readonly pathRewrite: FallbackTarget['pathRewrite'];
  /** See {@link FallbackTarget.model} and {@link FallbackTarget.editBody}. */
  readonly model?: string | undefined;
  readonly editBody?: FallbackTarget['editBody'];
  /** `undefined` for those of the options. */
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** A request that `allow` lets in: a method and a pattern of paths. */
export interface AllowedRoute {
  readonly method: string;
  readonly pattern: RegExp;
}

/** A set of header names. */
export interface HeaderNames {
  /** @param name in lower case */
  has(name: string): boolean;
}

/** `requestHeaders` or `responseHeaders`: which of the headers that came go on, and which are put in. */
export interface HeaderRules {
  /** Whether a header that came is left out; `undefined` where all go on. `defaults` are left out unless `pass` names them. */
  withholder(defaults: HeaderNames | undefined): ((name: string) => boolean) | undefined;
  /**
   * The headers to put in, by lower-case name.
   *
   * @throws {SseProxyError} `HOOK_FAILED` where a function of the user's throws, or gives a value that HTTP forbids
   */
  headersFor(exchange: Exchange): Record<string, string>;
}
