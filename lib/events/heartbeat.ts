/** Calls back while a stream is silent: `interval` milliseconds after the last {@link sent}, and every `interval` from then on. */
export class Heartbeat {
  readonly #timer: NodeJS.Timeout;

  constructor(interval: number, beat: () => void) {
    this.#timer = setTimeout(() => {
      this.#timer.refresh();
      beat();
    }, interval);
  }

  /** Something was sent: the interval starts again. */
  sent(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
