import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Lets everything run that is due: promises, ticks and the I/O that is ready. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A promise, and what resolves it. */
export interface Signal<T = void> {
  promise: Promise<T>;
  resolve(value: T): void;
}

export function signal<T = void>(): Signal<T> {
  let resolve = (_value: T): void => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** What is pushed, in order; `next()` waits for it. */
export class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];
  /** How many were pushed. */
  count = 0;

  push(item: T): void {
    this.count += 1;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#items.push(item);
    else waiting(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(item);
  }
}

/** Resolves when a socket, a request or a response has closed, with an error or without. */
export function closed(emitter: Socket | ClientRequest | IncomingMessage | ServerResponse): Promise<void> {
  return emitter.closed ? Promise.resolve() : new Promise((resolve) => emitter.once('close', () => resolve()));
}

/** Waits for a condition that no event announces; gives up after some seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 800; i += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`Waited in vain: ${condition}`);
}
