import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Options, RequestHandler } from 'http-proxy-middleware';
import type { Outcome, SseProxyError } from './errors.js';

/** Header fields by lower-case name; an array stands for one field line per element. */
export type HeaderFields = Record<string, string | string[]>;

/** The head of a response, before its status line is sent. All of it may be changed. */
export interface ResponseHead {
  /** 200 to 999. */
  statusCode: number;
  /** The reason phrase; empty for the standard one. HTTP/2 has none. */
  statusMessage: string;
  /** By lower-case name. Fields with characters that HTTP forbids are left out when the head is sent. */
  headers: HeaderFields;
}

/** One client request on its way through the proxy, as hooks see it. */
export interface Exchange<TReq = IncomingMessage, TRes = ServerResponse> {
  /** Express's own request. */
  readonly req: TReq;
  /** Express's own response. */
  readonly res: TRes;
  /** How many requests were sent upstream so far. */
  readonly attempts: number;
  /** The origin of the last attempt's target, without credentials or path; `undefined` before the first. */
  readonly target: string | undefined;
}

/** The account of one exchange. */
export interface StreamSummary {
  outcome: Outcome;
  /** The status that the client was sent; absent where it left before one was. */
  statusCode?: number;
  /** How many requests were sent upstream. */
  attempts: number;
  /** The origin of the last attempt's target; absent where none was tried. */
  target?: string;
  /** Bytes of the body written to the client, before any compression in front of the proxy. */
  bytes: number;
  /** Milliseconds since the request came in; absent where that point was not reached. */
  timings: {
    /** The upstream's head was there. */
    headers?: number;
    /** The first byte of the body was there. */
    firstByte?: number;
    /** The exchange ended. */
    total: number;
  };
  /** Why, where the outcome is not `completed` or `client-closed`. */
  error?: SseProxyError;
}

/**
 * All options of http-proxy-middleware (they mean what they mean there), and those of this package. Defaults that differ
 * from http-proxy-middleware's: `changeOrigin` is `true`, and `agent` is a keep-alive pool of the proxy's own without a
 * cap on sockets.
 */
export interface SseProxyOptions<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> extends Options<TReq, TRes> {
  /**
   * Decides which responses are event streams. Default: the media types `text/event-stream`, `application/x-ndjson`,
   * `application/jsonl` and `application/stream+json`. What it throws ends the exchange with a 502.
   */
  isEventStream?: (head: Readonly<ResponseHead>) => boolean;

  /**
   * Changes the head of every response, the proxy's own error responses included: status, reason phrase, and all header
   * fields, those that the app has set included. Synchronous; runs once, after everything else, right before the status
   * line is sent. What it throws becomes a 502.
   */
  rewriteHeaders?: (head: ResponseHead, exchange: Exchange<TReq, TRes>) => void;

  /** Called exactly once per exchange, after it has ended. What it throws is logged and otherwise ignored. */
  onFinish?: (summary: StreamSummary, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Who answers a failure before the head was sent: `'respond'` (default) answers with a JSON body
   * `{ "error": { "message", "type", "code" } }`; `'next'` hands the {@link SseProxyError} to Express's error middleware.
   */
  onError?: 'respond' | 'next';
}

/** Express middleware that also works as a plain `node:http` request listener. */
export interface SseProxy<TReq extends IncomingMessage = IncomingMessage, TRes extends ServerResponse = ServerResponse>
  extends RequestHandler<TReq, TRes> {
  /** Exchanges that have not ended yet. */
  readonly active: number;
}
