import { CIRCUIT_OPEN_FOR, CIRCUIT_THRESHOLD } from '../defaults.js';

/** Permission for one exchange to try a target. Its holder reports the result, or gives it back. */
export interface Permit {
  /** The target has answered. */
  succeeded(): void;
  /** An attempt at the target has failed. Each retry is told as well. */
  failed(): void;
  /** Gives the permit back: nothing was sent, or nothing was learned about the target. The next request may probe it. */
  release(): void;
}

/**
 * The circuit breaker of one target. After some failures in a row the circuit opens, and the target is skipped for a while; then
 * one request probes it, and the others go on skipping it until the probe has an answer.
 *
 * Not cockatiel or opossum: with them, requests that arrive during a probe wait for it or fail, while here another target can take
 * them.
 */
export class CircuitBreaker {
  readonly #now: () => number;
  #failures = 0;
  #openUntil = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** A permit to try the target; `undefined` if it is skipped. A probe that reports nothing is given up after `CIRCUIT_OPEN_FOR`. */
  acquire(): Permit | undefined {
    if (this.#failures < CIRCUIT_THRESHOLD) return this.insist();
    const openedUntil = this.#openUntil;
    if (this.#now() < openedUntil) return undefined;
    const probedUntil = this.#now() + CIRCUIT_OPEN_FOR;
    this.#openUntil = probedUntil;
    let isProbing = true;
    return {
      succeeded: () => this.#onSuccess(),
      failed: () => {
        isProbing = false;
        this.#onFailure();
      },
      release: () => {
        // Unless a request that was under way has failed meanwhile, which says as much as a probe.
        if (isProbing && this.#openUntil === probedUntil) this.#openUntil = openedUntil;
        isProbing = false;
      },
    };
  }

  /** A permit even if the circuit is open. */
  insist(): Permit {
    return {
      succeeded: () => this.#onSuccess(),
      failed: () => this.#onFailure(),
      release() {},
    };
  }

  #onSuccess(): void {
    this.#failures = 0;
  }

  #onFailure(): void {
    this.#failures += 1;
    if (this.#failures >= CIRCUIT_THRESHOLD) this.#openUntil = this.#now() + CIRCUIT_OPEN_FOR;
  }
}
