import type { ClientResponse } from './client-response.js';
import { errorResponse, type SseProxyError } from './errors.js';
import type { Config } from './options.js';
import type { Exchange, Provider, ResponseHead } from './types.js';

/** Sends a whole response of the proxy's own; `rewrite` has the last word on its head. */
export function respond(
  client: Pick<ClientResponse, 'appHeaders' | 'headersSent' | 'respond'>,
  { statusCode, statusMessage, headers }: ResponseHead,
  body: string,
  rewrite: (head: ResponseHead) => void,
): void {
  const makeHead = (): ResponseHead => ({
    statusCode,
    statusMessage,
    headers: { ...client.appHeaders, ...headers, 'content-length': String(Buffer.byteLength(body)) },
  });
  try {
    const head = makeHead();
    rewrite(head);
    client.respond(head, body);
  } catch {
    // Most likely it is this hook that is answered for.
    if (!client.headersSent) client.respond(makeHead(), body);
  }
}

/** The response to a failure, in the provider's shape where there is one. */
export function errorAnswer(
  error: SseProxyError,
  provider: Provider | undefined,
  exchange: Exchange,
  logError: Config['logError'],
): { head: ResponseHead; body: string } {
  let body: unknown = error;
  try {
    body = provider?.errorBody(error, exchange) ?? error;
  } catch (cause) {
    logError('errorBody of the provider failed: %o', cause);
  }
  return errorResponse(error, body);
}
