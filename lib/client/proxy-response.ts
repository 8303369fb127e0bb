import type { ServerResponse } from 'node:http';
import { errorResponse, type SseProxyError } from '../errors.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Provider } from '../types/provider.js';
import { kindOf, tryHook } from '../util/hooks.js';
import type { ClientResponse } from './client-response.js';

/** A whole response of the proxy's own. */
export interface OwnResponse {
  head: ResponseHead;
  body: string;
}

/** Sends a whole response of the proxy's own; `rewrite` has the last word on its head. */
export function respond(
  client: Pick<ClientResponse, 'appHeaders' | 'headersSent' | 'respond'>,
  { head: { statusCode, statusMessage, headers }, body }: OwnResponse,
  rewrite: (head: ResponseHead) => void,
): void {
  const length = String(Buffer.byteLength(body));
  const makeHead = (): ResponseHead => ({
    statusCode,
    statusMessage,
    headers: { ...client.appHeaders, ...headers, 'content-length': length },
  });
  try {
    const head = makeHead();
    rewrite(head);
    head.headers['content-length'] = length;
    client.respond(head, body);
  } catch {
    // Most likely the failure that is answered is one of this very hook.
    if (!client.headersSent) client.respond(makeHead(), body);
  }
}

/** Answers a request that `pathFilter` leaves to others, if there is no `next` to call. */
export function respondNotFound(res: ServerResponse): void {
  res.writeHead(404).end();
}

/** The response to a failure: in the shape of the provider's errors, if it has one that can be written as JSON. */
export function errorAnswer(
  error: SseProxyError,
  provider: Provider | undefined,
  { exchange, logError }: { exchange: Exchange; logError: Config['logError'] },
): OwnResponse {
  const body = provider && tryHook('errorBody', () => provider.errorBody(error, exchange), written, logError);
  return errorResponse(error, body ?? JSON.stringify(error));
}

function written(body: unknown): string {
  // For a function, a symbol and `undefined`, `stringify` returns `undefined`.
  const text: string | undefined = JSON.stringify(body);
  if (text === undefined) throw new TypeError(`errorBody must return what JSON can express, got ${kindOf(body)}`);
  return text;
}
