/**
 * Puts a function in the place of an object's own method.
 *
 * Not by `object.name = () => ...`: V8 takes a function that is written there for one that stays (`SetPretenure` in its parser),
 * and allocates it in the old generation. All that it closes over, here a whole exchange, would survive until the next major
 * collection, and the minor ones before it would cost more than all else of a small request.
 */
export function replaceMethod<T, K extends keyof T>(object: T, name: K, method: T[K]): void {
  object[name] = method;
}
