/** Handles items in the next turn of the event loop: by then the bytes that were written before have left. */
export class DeferredQueue<T> {
  readonly #handle: (item: T) => void;
  #items: T[] = [];
  #scheduled: NodeJS.Immediate | undefined;

  /** @param handle must not throw */
  constructor(handle: (item: T) => void) {
    this.#handle = handle;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#scheduled ??= setImmediate(() => this.flush());
  }

  /** Handles all waiting items now. */
  flush(): void {
    clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    const items = this.#items;
    this.#items = [];
    for (const item of items) this.#handle(item);
  }
}
