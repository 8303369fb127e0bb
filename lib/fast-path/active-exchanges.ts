/**
 * Things that come and go, in no order. In the place of a Set, which makes itself a new table every few dozen of them, and has
 * the last one refer to it: once one is in V8's old generation, all that follow are kept, with what was in them, until the next
 * major collection.
 */
export class ActiveExchanges<T> {
  readonly #entries: { item: T; position: number }[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** @returns takes it out again, once */
  add(item: T): () => void {
    const entries = this.#entries;
    const entry = { item, position: entries.length };
    entries.push(entry);
    return () => {
      if (entries[entry.position] !== entry) return;
      const last = entries.pop() as typeof entry;
      if (last === entry) return;
      // The last one takes its place.
      last.position = entry.position;
      entries[last.position] = last;
    };
  }

  /** What is in it now. */
  items(): T[] {
    return this.#entries.map(({ item }) => item);
  }
}
