import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SseProxyError } from '../errors.js';
import type { AttemptSummary } from './summary.js';

/** The fields of an event of a stream. An event of NDJSON, which is a line, has `data` only. */
export interface EventFields {
  /** The data. It may have line breaks: LF, CR and CRLF all arrive as LF. */
  data?: string | undefined;
  /** The type; clients take an event without one for a `message`. No line breaks. */
  event?: string | undefined;
  /** What a client sends back as `Last-Event-ID` when it reconnects; empty to reset it. No line breaks, no NUL. */
  id?: string | undefined;
  /** The client's reconnection time from here on, in milliseconds. */
  retry?: number | undefined;
  /** Comment lines, without their colons. */
  comment?: string | undefined;
}

/** An event that came from the upstream. */
export interface StreamEvent extends EventFields {
  /** The data; several lines are joined by LF. */
  data: string;
  /** `data` parsed as JSON, once; `undefined` where it is no JSON, such as `[DONE]`. Changing the result does not change the event. */
  json<T = unknown>(): T | undefined;
}

/** What `transformEvent` returns: what the client gets in the event's place. `undefined` stands for the event itself. */
export type TransformResult = EventFields | readonly EventFields[] | null | undefined;

/** Why an attempt failed. */
export interface AttemptFailed {
  /** The status of the upstream's response, if there was one. */
  statusCode?: number;
  /** The error, if there was no response. */
  error?: SseProxyError;
}

/** One client request, or one WebSocket, on its way through the proxy, as hooks see it. */
export interface Exchange<TReq = IncomingMessage, TRes = ServerResponse> {
  /** A UUID, for logs and traces: the same in all hooks, and in what is published on the diagnostics channels. */
  readonly id: string;
  /** Express's own request. */
  readonly req: TReq;
  /** Express's own response; for a WebSocket's handshake the response by which the proxy answers it. */
  readonly res: TRes;
  /** The requests that were sent upstream so far, the last one included. */
  readonly attempts: readonly AttemptSummary[];
  /** The origin of the last attempt's target, without credentials or path; `undefined` before the first. */
  readonly target: string | undefined;
  /** Path and query of the last attempt's request, as `pathRewrite` left it; the client's before the first. */
  readonly path: string;
  /** Yours: an object that all hooks of one exchange share. */
  readonly locals: Record<string, unknown>;
}
