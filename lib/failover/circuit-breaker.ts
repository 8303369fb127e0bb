import { CIRCUIT_OPEN_FOR, CIRCUIT_THRESHOLD } from '../defaults.js';

/** Leave for one exchange to try a target. Whoever has it reports what has become of it, or gives it back. */
export interface Permit {
  /** The target has answered. */
  succeeded(): void;
  /** An attempt at the target has failed. Each retry is told as well. */
  failed(): void;
  /** Nothing was sent, or nothing was learned of the target: whoever comes next may try it. */
  release(): void;
}

/**
 * Whether a target is worth an attempt. After some failures in a row it is skipped for a while; then one request probes it,
 * and the others go on skipping it until the probe has an answer.
 *
 * Of our own, since cockatiel and opossum have the requests that come in while a probe is under way wait for it, or fail:
 * here there is another target to take them.
 */
export class CircuitBreaker {
  readonly #now: () => number;
  #failures = 0;
  #openUntil = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Leave to try the target now; `undefined` where it is to be skipped. A probe of which nothing is heard is given up after a while. */
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

  /** Leave to try the target whatever has become of it. */
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
