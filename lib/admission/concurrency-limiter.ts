/** Why a request was refused. */
export type Refusal = 'full' | 'timeout';

/** Limits how many exchanges run at a time. A few more may wait in a queue, in order, for a while. */
export class ConcurrencyLimiter {
  readonly #concurrency: number;
  readonly #queue: { readonly size: number; readonly timeout: number };
  #running = 0;
  /** In the order of arrival. */
  readonly #waiting = new Set<() => void>();

  constructor(concurrency: number, queue: { readonly size: number; readonly timeout: number }) {
    this.#concurrency = concurrency;
    this.#queue = queue;
  }

  /**
   * Asks for a place, which must be given back by {@link leave}. One of the two is called, once, at once where that can be
   * said.
   *
   * @returns gives up the wait; `undefined` where there is none
   */
  enter(admitted: () => void, refused: (refusal: Refusal) => void): (() => void) | undefined {
    if (this.#running < this.#concurrency) {
      this.#running += 1;
      admitted();
      return undefined;
    }
    if (this.#waiting.size >= this.#queue.size) {
      refused('full');
      return undefined;
    }
    const giveUp = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(turn);
    };
    const turn = (): void => {
      giveUp();
      this.#running += 1;
      admitted();
    };
    const timer = setTimeout(() => {
      giveUp();
      refused('timeout');
    }, this.#queue.timeout);
    this.#waiting.add(turn);
    return giveUp;
  }

  leave(): void {
    this.#running -= 1;
    const [next] = this.#waiting;
    next?.();
  }
}
