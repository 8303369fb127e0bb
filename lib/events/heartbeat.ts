/** Calls back in the silence of a stream: after `interval` milliseconds without {@link sent}, and again after each more. */
export class Heartbeat {
  readonly #timer: NodeJS.Timeout;

  constructor(interval: number, beat: () => void) {
    this.#timer = setTimeout(() => {
      this.#timer.refresh();
      beat();
    }, interval);
  }

  /** Something was sent: the silence is over. */
  sent(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
