import type { IncomingMessage } from 'node:http';
import type { Secrets } from '../credentials/secrets.js';
import type { SseProxyError, SseProxyErrorCode } from '../errors.js';
import type { Phase, Route } from '../types/config.js';
import type { ExchangeStalled } from '../types/diagnostics.js';
import type { HeaderFields } from '../types/http.js';
import type { StreamSummary } from '../types/summary.js';

/**
 * Follows one exchange. An observer implements the methods for what it wants to know. Each is called when the thing happens,
 * synchronously. An observer never throws, and never changes what it is given.
 */
export interface Observer {
  /** `pathFilter` leaves the request to the app: there is no exchange. */
  leftToApp?(): void;
  /** The request is the proxy's: the exchange has begun. */
  started?(): void;
  /** The exchange waits for its turn (`limits.queue`). */
  queued?(): void;
  /** The queue is full, or the turn has not come in time. */
  turnedAway?(reason: 'full' | 'timeout'): void;
  /** A target is not tried, because its circuit is open. */
  skipped?(target: Route['target']): void;
  /**
   * A request is about to be sent upstream.
   *
   * @param target the origin
   * @param as whose credentials the request has; `undefined` for those of the caller
   */
  attempt?(target: string, as: Identity | undefined): void;
  /**
   * The head of an upstream's response has arrived.
   *
   * @param statusCode as hooks on the response have left it
   */
  head?(statusCode: number, response: IncomingMessage): void;
  /** The proxy has decided what to do with the response. */
  planned?(response: PlannedResponse): void;
  /** The upstream has switched to WebSocket, and so does the proxy. */
  switched?(): void;
  /** From here on, the response is the user's (`selfHandleResponse`). */
  handedOver?(): void;
  /** An attempt has failed with an error. */
  attemptFailed?(code: SseProxyErrorCode): void;
  /** Another attempt follows, in so many milliseconds. */
  retry?(why: Why, how: RetryKind, delay: number): void;
  /** Another attempt would follow if the request's body had been kept. */
  cannotRetry?(why: Why): void;
  /** Another phase, with its own deadline, has begun; `undefined` where nothing is waited for. */
  phase?(phase: WaitingPhase | undefined): void;
  /** The exchange waits for an async hook, by its name; `undefined` when the hook has settled. */
  waiting?(hook: string | undefined): void;
  /** The exchange stands still. */
  stalled?(stall: Stall): void;
  /** The first byte of the response's body has arrived. */
  firstByte?(): void;
  /** The first piece of the answer itself was read. Needs a provider. */
  firstToken?(): void;
  /** The client has left before its response was complete. */
  clientLeft?(continues: boolean): void;
  /** The exchange has ended, and whatever of the response is read for the summary has been read. */
  ended?(summary: StreamSummary): void;
}

/** A phase in which the exchange waits for somebody in particular. */
export type WaitingPhase = Exclude<Phase, 'total'>;

/** Why an exchange stands still, and for how long so far. */
export type Stall = Omit<ExchangeStalled, 'id'>;

/** As whom a request is sent. */
export interface Identity {
  readonly route: Pick<Route, 'provider'>;
  /** The credentials: they must not be logged or published. */
  readonly secrets: Secrets | undefined;
}

/** How another attempt is made: at the same target, at the next one, or once more where a pooled connection was dead. */
export type RetryKind = 'retry' | 'fallback' | 'fresh-connection';

/** What kept an attempt from being the answer: a response with such a status, or an error. */
export interface Why {
  statusCode?: number | undefined;
  error?: SseProxyError | undefined;
}

/** An upstream's response, and what is going to be done with it. */
export interface PlannedResponse {
  readonly statusCode: number;
  readonly headers: HeaderFields;
  readonly eventStream: boolean;
  /** The head is held back until the first event has been looked at. */
  readonly isGated: boolean;
  /** What is done with the body; `undefined` where nothing is. */
  readonly plan: BodyTasks | undefined;
}

/** What is done with a body; the names are those of the body's plan. */
export interface BodyTasks {
  /** The content coding that is decoded on the way to the client. */
  decode: string | undefined;
  /** The content coding that is decoded for the proxy's own reading only. */
  decodeAside: string | undefined;
  reads: boolean;
  observes: boolean;
  transforms: boolean;
  beats: boolean;
  unreadable: boolean;
}
