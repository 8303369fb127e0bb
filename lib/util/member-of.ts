/** A property of a thrown value, whatever that is; never throws. */
export function memberOf(error: unknown, name: string): unknown {
  try {
    return Reflect.get(error as object, name);
  } catch {
    // A getter that throws, or a value that is no object.
    return undefined;
  }
}
