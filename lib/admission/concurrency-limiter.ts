/** Why a request was not let in. */
export type Refusal = 'full' | 'timeout';

/** Lets so many exchanges run at a time; a few more may wait for their turn, in order, for a while. */
export class ConcurrencyLimiter {
  readonly #concurrency: number;
  readonly #queue: { readonly size: number; readonly timeout: number };
  #running = 0;
  /** In the order of their coming. */
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
