import type { ClientResponse } from '../client/client-response.js';
import { respond } from '../client/proxy-response.js';
import { rewriteHead } from '../headers/rewrite-headers.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';

/** What is needed to send a response of the proxy's own. */
export interface OwnResponseContext {
  readonly client: ClientResponse;
  readonly config: Config;
  readonly exchange: Exchange;
}

/** Sends a response of the proxy's own; over HTTP/1.1 after the responses to earlier requests of the connection. */
export function sendOwnResponse(context: OwnResponseContext, head: ResponseHead, body: string): void {
  const { client } = context;
  if (!client.isItsTurn) {
    client.onceItsTurn(() => sendOwnResponse(context, head, body));
    return;
  }
  if (client.headersSent || client.gone) return;
  try {
    writeOwnResponse(context, head, body);
  } catch {
    // Whatever has failed, the client must not be left waiting.
    client.destroy();
  }
}

/**
 * Writes a response of the proxy's own, with the headers of `responseHeaders.set` and by `rewriteHeaders`.
 *
 * @throws whatever keeps it from being written
 */
export function writeOwnResponse(
  { client, config, exchange }: Omit<OwnResponseContext, 'client'> & { client: Parameters<typeof respond>[0] },
  head: ResponseHead,
  body: string,
): void {
  const { responseHeaders, rewriteHeaders } = config;
  respond(client, { head, body }, (own) => {
    Object.assign(own.headers, responseHeaders.headersFor(exchange));
    rewriteHead(rewriteHeaders, own, exchange);
  });
}
