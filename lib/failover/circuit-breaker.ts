import { CIRCUIT_OPEN_FOR, CIRCUIT_THRESHOLD } from '../defaults.js';

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

  /** Whether to try the target now. To have asked is to try: a probe is one request's. */
  admits(): boolean {
    if (this.#failures < CIRCUIT_THRESHOLD) return true;
    if (this.#now() < this.#openUntil) return false;
    this.#openUntil = this.#now() + CIRCUIT_OPEN_FOR;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(): void {
    this.#failures += 1;
    if (this.#failures >= CIRCUIT_THRESHOLD) this.#openUntil = this.#now() + CIRCUIT_OPEN_FOR;
  }
}
