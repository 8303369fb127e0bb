import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SseProxyError } from '../errors.js';
import type { AttemptSummary } from './summary.js';

/** What an event of a stream is made of. Of NDJSON, where an event is a line, it has `data` only. */
export interface EventFields {
  /** The data. Any line break in it is one in Server-Sent Events, too: LF, CR and CRLF all arrive as LF. */
  data?: string | undefined;
  /** The type; clients take an event without one for a `message`. No line breaks. */
  event?: string | undefined;
  /** What a client sends back as `Last-Event-ID`; empty to reset it. No line breaks, no NUL. */
  id?: string | undefined;
  /** The reconnection time from here on, in milliseconds. */
  retry?: number | undefined;
  /** Comment lines, without their colons. */
  comment?: string | undefined;
}

/** An event that came from the upstream. */
export interface StreamEvent extends EventFields {
  /** Lines of Server-Sent Events are joined by LF. */
  data: string;
  /** `data` as JSON, parsed once; `undefined` where it is none, such as `[DONE]`. Changing it does not change the event. */
  json<T = unknown>(): T | undefined;
}

/** What `transformEvent` returns: what the client gets in the event's place. `undefined` stands for the event itself. */
export type TransformResult = EventFields | readonly EventFields[] | null | undefined;

/** Why an attempt did not bring the answer. */
export interface AttemptFailed {
  /** The upstream's status, where it has answered. */
  statusCode?: number;
  /** The error, where it has not. */
  error?: SseProxyError;
}

/** One client request, or one WebSocket, on its way through the proxy, as hooks see it. */
export interface Exchange<TReq = IncomingMessage, TRes = ServerResponse> {
  /** A UUID, for logs and traces: the same in all hooks, and in what is published on the diagnostics channels. */
  readonly id: string;
  /** Express's own request. */
  readonly req: TReq;
  /** Express's own response. Of a WebSocket's handshake one that is not sent yet, by which the proxy answers it. */
  readonly res: TRes;
  /** The requests that were sent upstream so far, the last one included. */
  readonly attempts: readonly AttemptSummary[];
  /** The origin of the last attempt's target, without credentials or path; `undefined` before the first. */
  readonly target: string | undefined;
  /** Path and query of the last attempt's request, as `pathRewrite` left it; the client's before the first. */
  readonly path: string;
  /** Yours: what the hooks of one exchange tell each other. */
  readonly locals: Record<string, unknown>;
}
