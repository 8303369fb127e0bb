import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { HeaderNames, HeaderRules } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { HeaderPolicy } from '../types/options.js';
import type { Provider } from '../types/provider.js';
import { callHook, kindOf } from '../util/hooks.js';

/** The headers in which callers of AI APIs send their keys. SDKs use one or the other, whatever the provider. */
export const CALLER_CREDENTIALS = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'];

/** Headers that tell of this app, and of the proxies on the way to it. They are none of the provider's business. */
const CALLER_SURROUNDINGS = [
  'cookie',
  'origin',
  'referer',
  'forwarded',
  'via',
  'x-forwarded-*',
  'x-original-*',
  'x-rewrite-url',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'true-client-ip',
  'fastly-client-ip',
  'cf-*',
  'cdn-loop',
  'x-envoy-*',
  'proxy-*',
  // Traces: W3C Trace Context and Baggage, and what vendors had before those. A baggage may hold anything.
  'traceparent',
  'tracestate',
  'baggage',
  'b3',
  'x-b3-*',
  'uber-trace-id',
  'uberctx-*',
  'x-amzn-trace-id',
  'x-cloud-trace-context',
  'x-datadog-*',
  'sentry-trace',
];

/** Response headers that tell of the account, or that tell a browser what to do at this app's origin. */
const PROVIDER_SURROUNDINGS = [
  '*ratelimit*',
  '*rate-limit*',
  'set-cookie',
  'access-control-*',
  'clear-site-data',
  'strict-transport-security',
  'alt-svc',
  'nel',
  'report-to',
  'reporting-endpoints',
  'server',
  'via',
  'x-powered-by',
  'x-served-by',
  'cf-*',
  'x-envoy-*',
  'x-cloud-trace-context',
];

/** Headers that frame a message or belong to one connection: no policy may set or remove them. */
const PROTECTED = new Set([
  'host',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  // Without them a WebSocket's handshake fails.
  'sec-websocket-key',
  'sec-websocket-version',
  'sec-websocket-accept',
]);

/** A set of header names, in any case. `*` in a name stands for anything; regular expressions match names. */
export function headerNames(list: readonly (string | RegExp)[]): HeaderNames {
  const names = new Set<string>();
  const patterns: { test(name: string): boolean }[] = [];
  for (const item of list) {
    if (item instanceof RegExp) patterns.push(new RegExp(item.source, `${item.flags.replace(/[giy]/g, '')}i`));
    else if (item.includes('*')) patterns.push(glob(item.toLowerCase()));
    else names.add(item.toLowerCase());
  }
  return { has: (name) => names.has(name) || patterns.some((pattern) => pattern.test(name)) };
}

/**
 * Matches names in lower case. Each part is taken where it is found first, which is enough where `*` is the only wildcard: a regular
 * expression would go back for every other place, and with several `*` a long name would keep it busy for seconds.
 */
function glob(pattern: string): { test(name: string): boolean } {
  const [start = '', ...rest] = pattern.split('*');
  const end = rest.pop() ?? '';
  return {
    test(name) {
      const limit = name.length - end.length;
      if (limit < start.length || !name.startsWith(start) || !name.endsWith(end)) return false;
      let from = start.length;
      for (const part of rest) {
        const found = name.indexOf(part, from);
        if (found < 0) return false;
        from = found + part.length;
      }
      return from <= limit;
    },
  };
}

/** Response headers that tell of the account, where the provider does not say what those are called. */
const ACCOUNT = ['*-organization', '*-organization-id', '*-project'];

/** The headers that are withheld by default with one provider. */
interface Withheld {
  fromClient: HeaderNames;
  /** Where the proxy has credentials of its own, and where the caller's pass. */
  withCredentials: HeaderNames;
  withoutCredentials: HeaderNames;
}

/** Made once for each provider. */
const withheld = new WeakMap<Provider, Withheld>();

function withheldWith(provider: Provider): Withheld {
  let names = withheld.get(provider);
  if (names === undefined) {
    const { request = [], response = ACCOUNT } = provider.withheld ?? {};
    names = {
      fromClient: headerNames([...response, ...PROVIDER_SURROUNDINGS]),
      withCredentials: headerNames([...CALLER_CREDENTIALS, ...request, ...CALLER_SURROUNDINGS]),
      withoutCredentials: headerNames([...request, ...CALLER_SURROUNDINGS]),
    };
    withheld.set(provider, names);
  }
  return names;
}

/** What a request to a provider loses by default; `undefined` without a provider. */
export function withheldFromProvider(provider: Provider | undefined, hasCredentials: boolean): HeaderNames | undefined {
  if (provider === undefined) return undefined;
  const { withCredentials, withoutCredentials } = withheldWith(provider);
  return hasCredentials ? withCredentials : withoutCredentials;
}

/** What a provider's response loses by default; `undefined` without a provider. */
export function withheldFromClient(provider: Provider | undefined): HeaderNames | undefined {
  return provider === undefined ? undefined : withheldWith(provider).fromClient;
}

/** `requestHeaders` or `responseHeaders`: which of the headers that came go on, and which are put in. */
export class ResolvedHeaderPolicy implements HeaderRules {
  readonly #option: string;
  readonly #statusCode: number;
  readonly #pass: HeaderNames;
  readonly #remove: HeaderNames;
  readonly #removesAny: boolean;
  readonly #set: [name: string, value: string | ((exchange: Exchange) => string | undefined)][];

  /**
   * @param option its name, for errors
   * @param statusCode of the response where a function of `set` fails
   * @throws {TypeError} for names and values that HTTP forbids, and for headers that frame a message
   */
  constructor(option: string, { pass = [], remove = [], set = {} }: HeaderPolicy, statusCode = 500) {
    this.#option = option;
    this.#statusCode = statusCode;
    this.#pass = headerNames(pass);
    this.#remove = headerNames(remove);
    this.#removesAny = remove.length > 0;
    this.#set = Object.entries(set).map(([name, value]) => [name.toLowerCase(), value]);
    for (const name of [...remove, ...this.#set.map(([own]) => own)]) {
      if (typeof name === 'string' && PROTECTED.has(name.toLowerCase())) {
        throw new TypeError(`\`${option}\` cannot change \`${name}\`, which the message needs as it is`);
      }
    }
    for (const [name, value] of this.#set) {
      validateHeaderName(name);
      if (typeof value === 'string') validateHeaderValue(name, value);
    }
  }

  /** Whether a header that came is left out. `defaults` are left out unless `pass` names them. */
  withholds(name: string, defaults: HeaderNames | undefined): boolean {
    if (PROTECTED.has(name)) return false;
    return this.#remove.has(name) || (defaults?.has(name) === true && !this.#pass.has(name));
  }

  /** {@link withholds} as a function; `undefined` where all headers go on, so that none needs to be looked at. */
  withholder(defaults: HeaderNames | undefined): ((name: string) => boolean) | undefined {
    return defaults === undefined && !this.#removesAny ? undefined : (name) => this.withholds(name, defaults);
  }

  /**
   * The headers to put in, by lower-case name.
   *
   * @throws {SseProxyError} `HOOK_FAILED` where a function of the user's throws, or gives a value that HTTP forbids
   */
  headersFor(exchange: Exchange): Record<string, string> {
    const headers: Record<string, string> = {};
    for (const [name, given] of this.#set) {
      const value = typeof given === 'function' ? this.#valueFrom(name, given, exchange) : given;
      if (value !== undefined) headers[name] = value;
    }
    return headers;
  }

  #valueFrom(name: string, give: (exchange: Exchange) => unknown, exchange: Exchange): string | undefined {
    const hook = `${this.#option}.set[${JSON.stringify(name)}]`;
    return callHook(
      hook,
      () => give(exchange),
      (value) => (value === undefined ? undefined : headerValue(hook, name, value)),
      this.#statusCode,
    );
  }
}

/**
 * Checks the value of a header that a hook has given.
 *
 * @throws {TypeError} for a value that HTTP forbids; the message does not quote it, since it may be a secret
 */
export function headerValue(hook: string, name: string, value: unknown): string {
  // Node accepts numbers, too.
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string') throw new TypeError(`\`${hook}\` must give a string, got ${kindOf(value)}`);
  validateHeaderValue(name, text);
  return text;
}
