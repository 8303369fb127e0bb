/**
 * An unordered collection of exchanges that come and go. Not a Set: that makes itself a new table every few dozen items, and each
 * table refers to the next. Once one is in V8's old generation, minor collections keep all that follow, with the items in them, until
 * the next major collection.
 */
export class ActiveExchanges<T> {
  readonly #entries: { item: T; position: number }[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** Adds an item. @returns removes it again; further calls do nothing */
  add(item: T): () => void {
    const entries = this.#entries;
    const entry = { item, position: entries.length };
    entries.push(entry);
    return () => {
      if (entries[entry.position] !== entry) return;
      const last = entries.pop() as typeof entry;
      if (last === entry) return;
      // The last entry takes its place.
      last.position = entry.position;
      entries[last.position] = last;
    };
  }

  /** The items that are in it now. */
  items(): T[] {
    return this.#entries.map(({ item }) => item);
  }
}
