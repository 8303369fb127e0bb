import type { IncomingMessage, ServerResponse } from 'node:http';
import { isHttp2 } from '../headers/http2-translation.js';
import type { ClientResponse } from './client-response.js';
import { Http1Response } from './http1-response.js';
import { Http2Response } from './http2-response.js';

/** Wraps Express's response, for the HTTP version of the client. */
export function createClientResponse(req: IncomingMessage, res: ServerResponse): ClientResponse {
  return isHttp2(req) ? new Http2Response(req, res) : new Http1Response(req, res);
}
