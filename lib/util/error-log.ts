import { inspect } from 'node:util';
import { DISTINCT_ERRORS, ERROR_TEXT } from '../defaults.js';
import { harmless, type LogError, type Logger } from './hooks.js';

/*
 * How whoever runs the app is told that something of theirs has failed. Errors are formatted here, since pino and winston lose what
 * is handed over besides a message, and bounded, since anything may be thrown.
 */

/** Tells the user's logger of each error; without one, the console of each distinct error once. Never throws. */
export function createLogError(logger: Logger | undefined): LogError {
  if (logger !== undefined) {
    const { error } = harmless(logger);
    return (...what) => error(lineOf(...what));
  }
  const isNew = distinct();
  return (...what) => {
    const text = lineOf(...what);
    if (isNew(gistOf(text))) writeOnConsole('error', text);
  };
}

/** For what is called with each event of a stream: where it fails, that is told once. */
export function oncePerStream(logError: LogError): LogError {
  let told: Set<string> | undefined;
  return (message, ...cause) => {
    if (told?.has(message)) return;
    told ??= new Set();
    told.add(message);
    logError(message, ...cause);
  };
}

/** Writes on the console, which the app may have replaced by anything. */
export function writeOnConsole(level: 'error' | 'warn', text: string): void {
  try {
    console[level](text);
  } catch {
    // There is nobody left to tell.
  }
}

/** Whether a key is seen for the first time. Of very many, the oldest are forgotten. */
export function distinct(): (key: string) => boolean {
  const seen = new Set<string>();
  return (key) => {
    if (seen.has(key)) return false;
    seen.add(key);
    const [oldest] = seen;
    if (seen.size > DISTINCT_ERRORS && oldest !== undefined) seen.delete(oldest);
    return true;
  };
}

/**
 * A message, and behind it what was thrown: an error with its stack and its causes. The members of what hangs on it, such as a request
 * or the configuration of a client, are left out, since they may hold credentials.
 */
export function describe(message: string, ...cause: [cause?: unknown]): string {
  if (cause.length === 0) return message;
  // Longer than what is told, so that a secret is masked before it is cut off.
  return `${message}: ${shown(cause[0])}`.slice(0, 2 * ERROR_TEXT);
}

/** What a log is told: of a length that is bounded, and without what would move the cursor of a terminal. */
export function lineOf(...what: Parameters<LogError>): string {
  const text = `[express-sse-proxy] ${describe(...what)}`;
  const bounded = text.length > ERROR_TEXT ? `${text.slice(0, ERROR_TEXT)} ...` : text;
  return bounded.replace(/(?![\n\t])\p{Cc}/gu, (found) => `\\x${found.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function shown(thrown: unknown): string {
  try {
    return inspect(thrown, { depth: 0, maxArrayLength: 10, maxStringLength: ERROR_TEXT });
  } catch {
    // An error may have getters that throw.
    return 'an error that cannot be shown';
  }
}

/** What makes an error another one: its message, and where it was thrown. How it was called may differ from request to request. */
function gistOf(text: string): string {
  return /^.*?\n[\t ]+at [^\n]*/s.exec(text)?.[0] ?? text;
}
