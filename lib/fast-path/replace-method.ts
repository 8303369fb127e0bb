/**
 * Replaces a method of an object by a function.
 *
 * Use it instead of `object.name = () => ...`: V8 expects a function literal that is assigned to a property to live long
 * (`SetPretenure` in its parser), and allocates it in the old generation. All that it closes over, here a whole exchange, would
 * survive until the next major collection, and the minor collections before that would cost more than all else of a small request.
 */
export function replaceMethod<T, K extends keyof T>(object: T, name: K, method: T[K]): void {
  object[name] = method;
}
