import type { Options } from 'http-proxy-middleware';
import { SseProxyError } from '../errors.js';

/*
 * Every function of the user's, or of a provider's, is called through one of these. They know which hooks may be async, and name the
 * hook that failed.
 */

export type Logger = NonNullable<Options['logger']>;

/** Tells whoever runs the app what has failed, and what was thrown (`error-log.ts`). Never throws. */
export type LogError = (message: string, ...cause: [cause?: unknown]) => void;

/** Calls a hook that nobody waits for. What it throws or rejects with is logged. Returns a promise where the hook is async. */
export function runHook(name: string, hook: () => unknown, logError: LogError): Promise<void> | undefined {
  const failed = (cause: unknown): void => logError(`${name} failed`, cause);
  try {
    const result = hook();
    return isPromiseLike(result) ? onRejection(result, failed) : undefined;
  } catch (cause) {
    failed(cause);
    return undefined;
  }
}

/**
 * Calls a hook whose result is used at once.
 *
 * @param read turns the result into the value that is used, and throws for a wrong one
 * @param statusCode of the response to a failure: 502 for a hook that works on the upstream's response
 * @throws {SseProxyError} `HOOK_FAILED` for what the hook throws, for a promise, and for a wrong result; an `SseProxyError` that the
 * hook throws as it is
 */
export function callHook<T, U>(name: string, hook: () => T, read: (result: T) => U, statusCode = 500): U {
  try {
    return callSync(name, hook, read);
  } catch (cause) {
    throw hookFailed(name, cause, statusCode);
  }
}

/** The same for a hook whose failure does no harm: it is logged, and `undefined` returned. */
export function tryHook<T, U>(name: string, hook: () => T, read: (result: T) => U, logError: LogError): U | undefined {
  try {
    return callSync(name, hook, read);
  } catch (cause) {
    logError(`${name} failed`, cause);
    return undefined;
  }
}

/** Is told the name of the hook that is waited for, and `undefined` when that is over. */
export interface Waiter {
  waiting(hook: string | undefined): void;
}

/**
 * Calls a hook that may be async, and whose result is waited for. A result that is no promise is returned as it is: each `await` would
 * cost a turn of the microtask queue.
 *
 * @throws {SseProxyError} as {@link callHook}, also for what the hook rejects with
 */
export function awaitHook<T>(
  name: string,
  hook: () => T | PromiseLike<T>,
  waiter?: Waiter | undefined,
  statusCode = 500,
): T | Promise<T> {
  try {
    const result = hook();
    return isPromiseLike(result) ? settled(name, result, waiter, statusCode) : result;
  } catch (cause) {
    throw hookFailed(name, cause, statusCode);
  }
}

async function settled<T>(
  name: string,
  promise: PromiseLike<T>,
  waiter: Waiter | undefined,
  statusCode: number,
): Promise<T> {
  waiter?.waiting(name);
  try {
    return await promise;
  } catch (cause) {
    throw hookFailed(name, cause, statusCode);
  } finally {
    waiter?.waiting(undefined);
  }
}

/** A logger of the user's that never throws: there is nobody left to tell of its failures. */
export function harmless(logger: Logger): Logger {
  const level = (name: keyof Logger): Logger['error'] => {
    return (...args) =>
      void runHook(
        `logger.${name}`,
        () => logger[name](...args),
        () => {},
      );
  };
  return { info: level('info'), warn: level('warn'), error: level('error') };
}

/** @throws {TypeError} for a promise: its result would come too late, and its rejection would be lost */
function callSync<T, U>(name: string, hook: () => T, read: (result: T) => U): U {
  const result = hook();
  if (!isPromiseLike(result)) return read(result);
  ignore(result);
  throw new TypeError(`\`${name}\` must be synchronous, but has returned a promise`);
}

function hookFailed(hook: string, cause: unknown, statusCode: number): SseProxyError {
  return cause instanceof SseProxyError ? cause : new SseProxyError('HOOK_FAILED', { cause, statusCode, hook });
}

/** The error for a failed hook that works on the upstream's response: that response cannot be given, so 502. */
export function responseHookFailed(cause: unknown): SseProxyError {
  return cause instanceof SseProxyError ? cause : new SseProxyError('HOOK_FAILED', { cause, statusCode: 502 });
}

/** Calls back if a promise rejects; resolves when it has settled. */
async function onRejection(promise: PromiseLike<unknown>, callback: (cause: unknown) => void): Promise<void> {
  try {
    await promise;
  } catch (cause) {
    callback(cause);
  }
}

/** Ignores the rejection of a value that is a promise. */
export function ignore(value: unknown): void {
  if (isPromiseLike(value)) void onRejection(value, () => {});
}

export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined | null)?.then === 'function';
}

/** The kind of a hook's result, for an error message: never the value, which may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return isPromiseLike(value) ? 'promise' : typeof value;
}
