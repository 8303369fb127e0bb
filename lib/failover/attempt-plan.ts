import { memberOf } from '../credentials/secrets.js';
import type { SseProxyError } from '../errors.js';
import type { Config, Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { HeaderFields } from '../types/http.js';
import type { Fallback } from '../types/options.js';
import { tryHook } from '../util/hooks.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import { type AttemptFailure, isRetryable, retryDelay, shouldRetry } from './retry-policy.js';
import { resolveFallback } from './route.js';

/** The most targets that one exchange turns to, whatever `fallbacks` says as a function. */
const MAX_ROUTES = 10;

/** What keeps an attempt from being the answer: a response, or an error. */
export interface Failed {
  statusCode?: number;
  headers?: HeaderFields;
  error?: SseProxyError;
  /** The upstream may have seen the request. */
  reached: boolean;
}

export interface NextAttempt {
  route: Route;
  /** Milliseconds to wait before. */
  delay: number;
}

/** Who is told of targets that are not tried. */
export interface RouteObserver {
  /** The circuit of the target is open. */
  skipped(target: Route['target']): void;
}

/** Where the attempts of one exchange go, one after the other. */
export class AttemptPlan {
  readonly #config: Config;
  readonly #circuits: ReadonlyMap<Route, CircuitBreaker>;
  readonly #exchange: Exchange;
  readonly #observer: RouteObserver | undefined;
  readonly #own: Route;
  /** Those that were not tried yet. */
  readonly #routes: Route[];
  #route: Route;
  #retries = 0;
  #routesTried = 1;

  constructor(
    config: Config,
    circuits: ReadonlyMap<Route, CircuitBreaker>,
    exchange: Exchange,
    observer?: RouteObserver,
  ) {
    this.#config = config;
    this.#circuits = circuits;
    this.#exchange = exchange;
    this.#observer = observer;
    this.#routes = [...config.routes];
    this.#own = config.routes[0] as Route;
    // Where no target is worth it, the proxy's own is tried all the same.
    this.#route = this.#nextAdmitted() ?? this.#own;
  }

  get route(): Route {
    return this.#route;
  }

  /** Whether a failed attempt can have a next one at all, so that the request's body is worth keeping. */
  get isPossible(): boolean {
    const { retry, routes, nextFallback } = this.#config;
    return retry.maxRetries > 0 || routes.length > 1 || nextFallback !== undefined;
  }

  /** The attempt has brought the answer. A failure that is passed on, since nothing else was left to try, is no success. */
  answered(answer: Omit<Failed, 'error'>): void {
    if (this.#circuits.size === 0) return;
    if (!isRetryable(failureOf(answer), this.#config.retry)) this.#circuits.get(this.#route)?.succeeded();
  }

  /** Whether another attempt may do better: an answer can be one that is passed on. */
  isFailure(failed: Failed): boolean {
    return failed.error !== undefined || isRetryable(failureOf(failed), this.#config.retry);
  }

  /** What to try after a failure; `undefined` where that is the answer. */
  next(failed: Failed): NextAttempt | undefined {
    const { retry } = this.#config;
    if (!this.isFailure(failed)) return undefined;
    const failure = failureOf(failed);
    this.#circuits.get(this.#route)?.failed();
    if (shouldRetry(failure, { method: this.#exchange.req.method, retries: this.#retries }, retry)) {
      const delay = retryDelay(failure, this.#retries, retry);
      this.#retries += 1;
      if (delay !== undefined) return { route: this.#route, delay };
    }
    const route = this.#nextRoute(failed);
    if (route === undefined) return undefined;
    this.#route = route;
    this.#retries = 0;
    this.#routesTried += 1;
    return { route, delay: 0 };
  }

  #nextRoute({ statusCode, error }: Failed): Route | undefined {
    const { nextFallback } = this.#config;
    if (nextFallback === undefined) return this.#nextAdmitted();
    if (this.#routesTried >= MAX_ROUTES) return undefined;
    const failed = { ...(statusCode !== undefined && { statusCode }), ...(error !== undefined && { error }) };
    const routeTo = (fallback: Fallback | undefined): Route | undefined =>
      fallback === undefined ? undefined : resolveFallback(fallback, this.#own.provider);
    return tryHook('fallbacks', () => nextFallback(failed, this.#exchange), routeTo, this.#config.logError);
  }

  #nextAdmitted(): Route | undefined {
    for (let route = this.#routes.shift(); route !== undefined; route = this.#routes.shift()) {
      if (this.#circuits.get(route)?.admits() ?? true) return route;
      this.#observer?.skipped(route.target);
    }
    return undefined;
  }
}

function failureOf({ statusCode, headers, error, reached }: Failed): AttemptFailure {
  if (error === undefined) {
    return { ...(statusCode !== undefined && { statusCode }), ...(headers !== undefined && { headers }), reached };
  }
  const code = memberOf(error.cause, 'code');
  return { errorCodes: [error.code, typeof code === 'string' ? code : undefined], reached };
}
