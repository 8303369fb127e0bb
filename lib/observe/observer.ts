import type { IncomingMessage } from 'node:http';
import type { Secrets } from '../credentials/secrets.js';
import type { SseProxyError, SseProxyErrorCode } from '../errors.js';
import type { Phase, Route } from '../types/config.js';
import type { ExchangeStalled } from '../types/diagnostics.js';
import type { HeaderFields } from '../types/http.js';
import type { StreamSummary } from '../types/summary.js';

/**
 * Somebody who follows one exchange. It is told what happens when it happens, synchronously, and each thing once; it implements
 * what it wants to know. An observer never throws, and never changes what it is given.
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
   * @param as whose credentials it has; `undefined` where they are the caller's own
   */
  attempt?(target: string, as: Identity | undefined): void;
  /**
   * The head of an upstream's response has arrived.
   *
   * @param statusCode as hooks on the response have left it
   */
  head?(statusCode: number, response: IncomingMessage): void;
  /** What to do with a response is decided. */
  planned?(response: PlannedResponse): void;
  /** The upstream has switched to WebSocket, and so does the proxy. */
  switched?(): void;
  /** The response is the user's (`selfHandleResponse`). */
  handedOver?(): void;
  /** An attempt has failed with an error. */
  attemptFailed?(code: SseProxyErrorCode): void;
  /** Another attempt follows, in so many milliseconds. */
  retry?(why: Why, how: RetryKind, delay: number): void;
  /** There might have been another attempt, but the body of the request was not kept. */
  cannotRetry?(why: Why): void;
  /** The deadline of another phase runs from now on; `undefined` where none does. */
  phase?(phase: WaitingPhase | undefined): void;
  /** An async hook is waited for, by its name; `undefined` when that is over. */
  waiting?(hook: string | undefined): void;
  /** Nothing moves any more. */
  stalled?(stall: Stall): void;
  /** The first byte of the response's body has arrived. */
  firstByte?(): void;
  /** The first piece of the answer itself was read. Needs a provider. */
  firstToken?(): void;
  /** The client has left before its response was complete. */
  clientLeft?(continues: boolean): void;
  /** The exchange has ended, and all of its response that is read was read. */
  ended?(summary: StreamSummary): void;
}

/** The phases in which somebody in particular is waited for. */
export type WaitingPhase = Exclude<Phase, 'total'>;

/** What is waited for, and how long by now. */
export type Stall = Omit<ExchangeStalled, 'id'>;

/** As whom a request is sent. */
export interface Identity {
  readonly route: Pick<Route, 'provider'>;
  /** Its credentials: they must not be told. */
  readonly secrets: Secrets | undefined;
}

/** How another attempt is made: at the same target, at the next one, or once more where a pooled connection was dead. */
export type RetryKind = 'retry' | 'fallback' | 'fresh-connection';

/** Why an attempt is not the answer. */
export interface Why {
  statusCode?: number | undefined;
  error?: SseProxyError | undefined;
}

/** An upstream's response, before its head is made the client's. */
export interface PlannedResponse {
  readonly statusCode: number;
  readonly headers: HeaderFields;
  readonly eventStream: boolean;
  /** The head waits for the first event. */
  readonly isGated: boolean;
  /** What is done with the body; `undefined` where nothing is. */
  readonly plan: BodyTasks | undefined;
}

export interface BodyTasks {
  decode: string | undefined;
  decodeAside: string | undefined;
  reads: boolean;
  observes: boolean;
  transforms: boolean;
  beats: boolean;
  unreadable: boolean;
}
