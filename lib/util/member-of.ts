/** A member of what was thrown, whatever that is. */
export function memberOf(error: unknown, name: string): unknown {
  try {
    return Reflect.get(error as object, name);
  } catch {
    // A getter that throws says nothing, nor does what is no object.
    return undefined;
  }
}
