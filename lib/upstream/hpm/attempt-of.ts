import type { IncomingMessage, ServerResponse } from 'node:http';
import { SseProxyError } from '../../errors.js';
import { shareBody } from '../../request/reader-encodings.js';
import type { Attempt } from '../attempt.js';
import { UpstreamResponse } from '../upstream-response.js';

/** The attempt whose response http-proxy-middleware was given. */
export function attemptOf(response: unknown): Attempt | undefined {
  return response instanceof UpstreamResponse ? (response.attempt as Attempt | undefined) : undefined;
}

/** Express's own response, which hooks are handed. */
export function realResponse(res: ServerResponse | undefined): ServerResponse | undefined {
  return attemptOf(res)?.res ?? res;
}

/** Prepares a message for hooks that may read it: an exception in their listeners ends the exchange, not the process. */
export function share(message: IncomingMessage, attempt: Attempt): void {
  shareBody(message, (cause) => {
    attempt.fail(new SseProxyError('HOOK_FAILED', { cause, hook: 'a listener of a body' }));
  });
}
