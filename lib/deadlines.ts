import type { SseProxyErrorCode } from './errors.js';

/**
 * The phases of an exchange that have a deadline each (milliseconds, `false` for none):
 * - `connect`: name, connection and TLS of one attempt
 * - `headers`: from the end of the request to the head of the response, of one attempt
 * - `idle`: between two pieces of the response's body
 * - `drain`: while the client takes nothing of what is ready for it
 * - `total`: from the request to the end of the response
 */
export type Phase = 'connect' | 'headers' | 'idle' | 'drain' | 'total';

export type Timeouts = Readonly<Record<Phase, number | false>>;

/** What an exchange fails with when the deadline of a phase has passed. */
export const TIMEOUT_CODES: Readonly<Record<Phase, SseProxyErrorCode>> = {
  connect: 'UPSTREAM_CONNECT_TIMEOUT',
  headers: 'UPSTREAM_TIMEOUT',
  idle: 'UPSTREAM_TIMEOUT',
  drain: 'CLIENT_TIMEOUT',
  total: 'TOTAL_TIMEOUT',
};

/** The timers of one exchange. */
export class Deadlines {
  readonly #timeouts: Timeouts;
  readonly #onTimeout: (phase: Phase) => void;
  readonly #timers: Record<Phase, NodeJS.Timeout | undefined> = {
    connect: undefined,
    headers: undefined,
    idle: undefined,
    drain: undefined,
    total: undefined,
  };

  constructor(timeouts: Timeouts, onTimeout: (phase: Phase) => void) {
    this.#timeouts = timeouts;
    this.#onTimeout = onTimeout;
  }

  /** Starts the phase, or starts it again. */
  start(phase: Phase): void {
    const timeout = this.#timeouts[phase];
    if (timeout === false) return;
    const timer = this.#timers[phase];
    if (timer === undefined) this.#timers[phase] = setTimeout(() => this.#onTimeout(phase), timeout);
    else timer.refresh();
  }

  stop(...phases: Phase[]): void {
    for (const phase of phases) {
      clearTimeout(this.#timers[phase]);
      this.#timers[phase] = undefined;
    }
  }

  stopAll(): void {
    this.stop('connect', 'headers', 'idle', 'drain', 'total');
  }
}
