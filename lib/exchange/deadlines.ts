import type { SseProxyErrorCode } from '../errors.js';
import type { Phase, Timeouts } from '../types/config.js';

/** The error code of each phase whose deadline has passed. */
export const TIMEOUT_CODES: Readonly<Record<Phase, SseProxyErrorCode>> = {
  connect: 'UPSTREAM_CONNECT_TIMEOUT',
  headers: 'UPSTREAM_TIMEOUT',
  idle: 'UPSTREAM_TIMEOUT',
  drain: 'CLIENT_TIMEOUT',
  total: 'TOTAL_TIMEOUT',
};

/** Who is told what is waited for. */
export interface PhaseObserver {
  /** `undefined` where nothing is waited for. */
  phase(phase: Exclude<Phase, 'total'> | undefined): void;
}

/** The timers of one exchange: one for all of it, and one for the phase that it is in. */
export class Deadlines {
  readonly #timeouts: Timeouts;
  readonly #onTimeout: (phase: Phase) => void;
  readonly #observer: PhaseObserver | undefined;
  #total: NodeJS.Timeout | undefined;
  /** `undefined` where nothing is waited for. */
  #phase: Exclude<Phase, 'total'> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Of the timer. Milliseconds. */
  #timeout = 0;

  constructor(timeouts: Timeouts, onTimeout: (phase: Phase) => void, observer?: PhaseObserver) {
    this.#timeouts = timeouts;
    this.#observer = observer;
    this.#onTimeout = onTimeout;
  }

  /** The exchange has begun. */
  begin(): void {
    const { total } = this.#timeouts;
    if (total !== false) this.#total = setTimeout(() => this.#onTimeout('total'), total);
  }

  /** A phase begins, or begins again. The one before is over. */
  enter(phase: Exclude<Phase, 'total'>): void {
    const timeout = this.#timeouts[phase];
    this.#be(phase);
    // Called for each chunk of a body, and most phases have the same timeout: refreshing a timer is cheaper than a new one.
    if (this.#timer !== undefined && timeout === this.#timeout) {
      this.#timer.refresh();
      return;
    }
    this.#clear();
    if (timeout === false) return;
    this.#timeout = timeout;
    this.#timer = setTimeout(() => this.#expire(), timeout);
  }

  /** The phase is over, and nothing is waited for. */
  leave(): void {
    this.#clear();
    this.#be(undefined);
  }

  #clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #expire(): void {
    if (this.#phase !== undefined) this.#onTimeout(this.#phase);
  }

  #be(phase: Exclude<Phase, 'total'> | undefined): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#observer?.phase(phase);
  }

  /** The exchange is over. */
  stop(): void {
    clearTimeout(this.#total);
    this.leave();
  }
}
