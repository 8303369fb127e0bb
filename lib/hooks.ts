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
