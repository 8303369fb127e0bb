import { isPromiseLike } from './hooks.js';

/** Goes on with a value: at once, where it is there. Of a promise each step costs a turn of the microtask queue. */
export function then<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  return isPromiseLike(value) ? Promise.resolve(value).then(next) : next(value);
}
