import { MAX_ROUTES } from '../defaults.js';
import type { Config, Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Fallback } from '../types/options.js';
import { tryHook } from '../util/hooks.js';
import type { CircuitBreaker, Permit } from './circuit-breaker.js';
import { allowsAnotherAttempt, type Failure, type ResponseFailure, toAttemptFailed } from './failure.js';
import { retryDelay, shouldRetry } from './retry-policy.js';
import { resolveFallback } from './route.js';

/** Who is told of targets that are not tried. */
export interface RouteObserver {
  /** The circuit of the target is open. */
  skipped(target: Route['target']): void;
}

export interface AttemptPlanOptions {
  readonly config: Config;
  /** Those of the proxy, by target; none where there is but one. */
  readonly circuits: ReadonlyMap<Route, CircuitBreaker>;
  readonly exchange: Exchange;
  readonly observer: RouteObserver;
}

type Head = Pick<ResponseHead, 'statusCode' | 'headers'>;

/** Decides where the attempts of one exchange go: retries and fallbacks, past the targets whose circuit is open. */
export class AttemptPlan {
  readonly #config: Config;
  readonly #circuits: ReadonlyMap<Route, CircuitBreaker>;
  readonly #exchange: Exchange;
  readonly #observer: RouteObserver;
  /** How many of the configured targets were tried or skipped. */
  #position = 0;
  #route: Route;
  /** The circuit breaker's permit for the current target; `undefined` if there are no circuits. */
  #permit: Permit | undefined;
  #isSent = false;
  #retries = 0;
  #routesTried = 1;

  constructor({ config, circuits, exchange, observer }: AttemptPlanOptions) {
    this.#config = config;
    this.#circuits = circuits;
    this.#exchange = exchange;
    this.#observer = observer;
    this.#route = this.#own;
  }

  /** The target of the options. */
  get #own(): Route {
    return this.#config.routes[0] as Route;
  }

  /** The current target. Before {@link begin} the proxy's own. */
  get route(): Route {
    return this.#route;
  }

  /** Whether a failed attempt can have a next one at all, so that the request's body is worth keeping. */
  get isPossible(): boolean {
    const { retry, routes, nextFallback } = this.#config;
    return retry.maxRetries > 0 || routes.length > 1 || nextFallback !== undefined;
  }

  /** Chooses the first target, and takes its permit: the exchange must report what becomes of it. */
  begin(): Route {
    const route = this.#nextPermitted();
    if (route === undefined) {
      // If every circuit is open, the proxy's own target is tried all the same.
      this.#route = this.#own;
      this.#permit = this.#circuits.get(this.#own)?.insist();
    }
    return this.#route;
  }

  /** A request is about to be sent to the current target. */
  sending(): void {
    this.#isSent = true;
  }

  /** A response is passed on. One that is a failure, passed on since nothing else was left to try, is no success. */
  answered(head: Head): void {
    if (this.#permit !== undefined && this.failureOf(head) === undefined) this.#permit.succeeded();
  }

  /** The response as a failure; `undefined` for one that is the answer. */
  failureOf({ statusCode, headers }: Head): ResponseFailure | undefined {
    const failure: ResponseFailure = { kind: 'response', statusCode, headers, reached: true };
    return this.allowsAnother(failure) ? failure : undefined;
  }

  /** Whether another attempt, at whatever target, may bring an answer. */
  allowsAnother(failure: Failure): boolean {
    return allowsAnotherAttempt(failure, this.#config.retry);
  }

  /** Milliseconds after which the same target is to be tried again; `undefined` where it is not. */
  delayAfter(failure: Failure): number | undefined {
    const { retry } = this.#config;
    const tries = { method: this.#exchange.req.method, retries: this.#retries };
    return shouldRetry(failure, tries, retry) ? retryDelay(failure, this.#retries, retry) : undefined;
  }

  /** The current target has failed and is tried again. */
  retry(): Route {
    this.#permit?.failed();
    this.#retries += 1;
    return this.#route;
  }

  /** The current target has failed, and the next one is to be tried; `undefined` where there is none. */
  fallBack(failure: Failure): Route | undefined {
    this.#permit?.failed();
    const route = this.#nextRoute(failure);
    if (route === undefined) return undefined;
    this.#route = route;
    this.#retries = 0;
    this.#routesTried += 1;
    return route;
  }

  /**
   * The exchange is over.
   *
   * @param isUnheard the target was not heard of although a request was sent to it: the fault was on this side
   */
  end(isUnheard: boolean): void {
    if (!this.#isSent || isUnheard) this.#permit?.release();
  }

  #nextRoute(failure: Failure): Route | undefined {
    const { nextFallback } = this.#config;
    if (nextFallback === undefined) return this.#nextPermitted();
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

  #nextPermitted(): Route | undefined {
    const { routes } = this.#config;
    while (this.#position < routes.length) {
      const route = routes[this.#position] as Route;
      this.#position += 1;
      const circuit = this.#circuits.get(route);
      const permit = circuit?.acquire();
      if (circuit === undefined || permit !== undefined) {
        this.#route = route;
        this.#permit = permit;
        this.#isSent = false;
        return route;
      }
      this.#observer.skipped(route.target);
    }
    return undefined;
  }
}
