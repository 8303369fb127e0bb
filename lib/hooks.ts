/** Runs a hook that nobody waits for; what it throws or rejects with goes to the callback. A promise where it is async. */
export function runHook(hook: () => unknown, onFailure: (cause: unknown) => void): Promise<void> | undefined {
  try {
    const result = hook();
    return isPromiseLike(result) ? onRejection(result, onFailure) : undefined;
  } catch (cause) {
    onFailure(cause);
    return undefined;
  }
}

/**
 * The result of a hook that cannot be async: the head does not wait for a promise, so that what it would change, or throw,
 * would be lost.
 */
export function mustBeSync(name: string, result: unknown): unknown {
  if (!isPromiseLike(result)) return result;
  void onRejection(result, () => {});
  throw new TypeError(`\`${name}\` must be synchronous, but has returned a promise`);
}

/** Calls back where a hook has returned a promise that rejects; resolves when it has settled. */
export async function onRejection(result: unknown, callback: (cause: unknown) => void): Promise<void> {
  try {
    await result;
  } catch (cause) {
    callback(cause);
  }
}

export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined | null)?.then === 'function';
}
