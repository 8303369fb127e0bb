import type { Outcome, SseProxyErrorCode } from '../errors.js';
import type { StreamSummary } from './summary.js';

/**
 * The messages that the proxy publishes on channels of `node:diagnostics_channel`, by the name of the channel. No message contains
 * header values other than the media type, bodies, queries or credentials. All subscribers of a channel share one message object: do
 * not change it.
 *
 * @example
 * import { subscribe } from 'node:diagnostics_channel';
 *
 * subscribe('express-sse-proxy:exchange:ended', (message) => {
 *   const { id, outcome } = message as ExchangeMessages['express-sse-proxy:exchange:ended'];
 *   console.log(id, outcome);
 * });
 */
export interface ExchangeMessages {
  /** The proxy has taken a request or a WebSocket handshake. Requests that `pathFilter` leaves to the app are not published. */
  'express-sse-proxy:exchange:started': ExchangeStarted;
  /** A request is about to be sent upstream. */
  'express-sse-proxy:exchange:attempt': ExchangeAttempt;
  /** The head of an upstream's response has arrived. */
  'express-sse-proxy:exchange:head': ExchangeHead;
  /** An attempt has failed, and another one follows. */
  'express-sse-proxy:exchange:retry': ExchangeRetry;
  /** The first byte of the response's body has arrived. */
  'express-sse-proxy:exchange:first-byte': ExchangeMessage;
  /** The first piece of the answer itself was read. Needs a `provider`, and `onFinish` or `onUsage`. */
  'express-sse-proxy:exchange:first-token': ExchangeMessage;
  /** The exchange has stood still for ten seconds, or the event loop has been blocked for one. Published once per stall. */
  'express-sse-proxy:exchange:stalled': ExchangeStalled;
  /** The exchange has ended: the last message of every exchange that was started. */
  'express-sse-proxy:exchange:ended': ExchangeEnded;
}

/** What all messages about an exchange have. */
export interface ExchangeMessage {
  /** The `id` of the exchange, which hooks see as `exchange.id`. */
  readonly id: string;
}

export interface ExchangeStarted extends ExchangeMessage {
  readonly method: string;
  /** As the client asked for it (Express's `originalUrl`), without its query. */
  readonly path: string;
}

export interface ExchangeAttempt extends ExchangeMessage {
  /** Counted from 1. */
  readonly attempt: number;
  /** The origin of the target. */
  readonly target: string;
  /** The name of the provider; absent without one. */
  readonly provider?: string;
}

export interface ExchangeHead extends ExchangeMessage {
  /** The attempt that it answers, counted from 1. */
  readonly attempt: number;
  readonly statusCode: number;
  /** The media type, in lower case and without parameters; absent where there is none. */
  readonly contentType?: string;
}

export interface ExchangeRetry extends ExchangeMessage {
  /** The attempt that has failed, counted from 1. */
  readonly attempt: number;
  /** What follows: the same target again, the next of the `fallbacks`, or a fresh connection because a pooled one was dead. */
  readonly how: 'retry' | 'fallback' | 'fresh-connection';
  /** Milliseconds until the next attempt. */
  readonly delay: number;
  /** The status of the response, where that was the failure. */
  readonly statusCode?: number;
  /** The code of the error, where that was the failure. */
  readonly error?: SseProxyErrorCode;
}

export interface ExchangeStalled extends ExchangeMessage {
  /**
   * What the exchange waits for:
   * - `upstream`: it does not accept the connection, or sends nothing
   * - `client`: it does not read its response (backpressure), or does not send the rest of its request
   * - `hook`: an async hook of yours has not settled
   * - `event-loop`: the process was busy with something else, and nobody else is to blame
   */
  readonly cause: 'upstream' | 'client' | 'hook' | 'event-loop';
  /** Milliseconds so far. */
  readonly duration: number;
  /** The phase of the exchange, by the name of its deadline in `timeouts`; absent where no phase has begun. */
  readonly phase?: 'connect' | 'headers' | 'idle' | 'drain';
  /** The name of the hook, such as `router`; absent for other causes. */
  readonly hook?: string;
}

/**
 * The summary that `onFinish` gets, with the code of the error in the place of the error. `usage`, `model` and `finishReason` need a
 * `provider`, and `onFinish` or `onUsage`: answers are not read for subscribers.
 */
export interface ExchangeEnded extends ExchangeMessage, Readonly<Omit<StreamSummary, 'error' | 'outcome'>> {
  readonly outcome: Outcome;
  readonly error?: SseProxyErrorCode;
}
