import { MAX_ROUTES } from '../defaults.js';
import type { Config, Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Fallback } from '../types/options.js';
import { tryHook } from '../util/hooks.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import { allowsAnotherAttempt, type Failure, type ResponseFailure, toAttemptFailed } from './failure.js';
import { retryDelay, shouldRetry } from './retry-policy.js';
import { resolveFallback } from './route.js';

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

  /** The attempt has brought a response that the client gets. One that is a failure, since nothing else was left to try, is no success. */
  answered(response: Pick<ResponseHead, 'statusCode' | 'headers'>): void {
    if (this.#circuits.size > 0 && this.failureOf(response) === undefined) this.#circuits.get(this.#route)?.succeeded();
  }

  /** A response that another attempt may do better than; `undefined` for one that is the answer. */
  failureOf({ statusCode, headers }: Pick<ResponseHead, 'statusCode' | 'headers'>): ResponseFailure | undefined {
    const failure: ResponseFailure = { kind: 'response', statusCode, headers, reached: true };
    return this.allowsAnother(failure) ? failure : undefined;
  }

  /** Whether another attempt may do better. */
  allowsAnother(failure: Failure): boolean {
    return allowsAnotherAttempt(failure, this.#config.retry);
  }

  /** What to try after a failure; `undefined` where that is the answer. */
  next(failure: Failure): NextAttempt | undefined {
    const { retry } = this.#config;
    if (!this.allowsAnother(failure)) return undefined;
    this.#circuits.get(this.#route)?.failed();
    if (shouldRetry(failure, { method: this.#exchange.req.method, retries: this.#retries }, retry)) {
      const delay = retryDelay(failure, this.#retries, retry);
      this.#retries += 1;
      if (delay !== undefined) return { route: this.#route, delay };
    }
    const route = this.#nextRoute(failure);
    if (route === undefined) return undefined;
    this.#route = route;
    this.#retries = 0;
    this.#routesTried += 1;
    return { route, delay: 0 };
  }

  #nextRoute(failure: Failure): Route | undefined {
    const { nextFallback } = this.#config;
    if (nextFallback === undefined) return this.#nextAdmitted();
    if (this.#routesTried >= MAX_ROUTES) return undefined;
    const routeTo = (fallback: Fallback | undefined): Route | undefined =>
      fallback === undefined ? undefined : resolveFallback(fallback, this.#own.provider);
    return tryHook(
      'fallbacks',
      () => nextFallback(toAttemptFailed(failure), this.#exchange),
      routeTo,
      this.#config.logError,
    );
  }

  #nextAdmitted(): Route | undefined {
    for (let route = this.#routes.shift(); route !== undefined; route = this.#routes.shift()) {
      if (this.#circuits.get(route)?.admits() ?? true) return route;
      this.#observer?.skipped(route.target);
    }
    return undefined;
  }
}
