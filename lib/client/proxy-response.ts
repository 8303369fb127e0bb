import type { ServerResponse } from 'node:http';
import { errorResponse, type SseProxyError } from '../errors.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Provider } from '../types/provider.js';
import { kindOf, tryHook } from '../util/hooks.js';
import type { ClientResponse } from './client-response.js';

/** Sends a whole response of the proxy's own; `rewrite` has the last word on its head. */
export function respond(
  client: Pick<ClientResponse, 'appHeaders' | 'headersSent' | 'respond'>,
  { statusCode, statusMessage, headers }: ResponseHead,
  body: string,
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
    // Most likely it is this hook that is answered for.
    if (!client.headersSent) client.respond(makeHead(), body);
  }
}

/** For what `pathFilter` leaves to others where there is nobody. */
export function respondNotFound(res: ServerResponse): void {
  res.writeHead(404).end();
}

/** The response to a failure, in the provider's shape where there is one that can be written. */
export function errorAnswer(
  error: SseProxyError,
  provider: Provider | undefined,
  exchange: Exchange,
  logError: Config['logError'],
): { head: ResponseHead; body: string } {
  const body = provider && tryHook('errorBody', () => provider.errorBody(error, exchange), written, logError);
  return errorResponse(error, body ?? JSON.stringify(error));
}

function written(body: unknown): string {
  // Of a function, a symbol and `undefined` it makes `undefined`.
  const text: string | undefined = JSON.stringify(body);
  if (text === undefined) throw new TypeError(`errorBody must return what JSON can express, got ${kindOf(body)}`);
  return text;
}
