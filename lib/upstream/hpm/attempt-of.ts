import type { IncomingMessage, ServerResponse } from 'node:http';
import { SseProxyError } from '../../errors.js';
import { shareBody } from '../../request/reader-encodings.js';
import type { Config } from '../../types/config.js';
import type { Attempt } from '../attempt.js';
import { UpstreamResponse } from '../upstream-response.js';

/** By what http-proxy-middleware was given as the response. */
export function attemptOf(response: unknown): Attempt | undefined {
  return response instanceof UpstreamResponse ? (response.attempt as Attempt | undefined) : undefined;
}

/** Express's own response, which hooks are handed. */
export function realResponse(res: ServerResponse | undefined): ServerResponse | undefined {
  return attemptOf(res)?.res ?? res;
}

/** A hook gets hold of this message. What its listeners throw ends the exchange instead of the process. */
export function share(message: IncomingMessage, attempt: Attempt, config: Config): void {
  shareBody(message, (cause) => {
    // Which masks what it says.
    attempt.fail(new SseProxyError('HOOK_FAILED', { cause }));
    config.logError('a listener of a body failed: %o', cause);
  });
}
