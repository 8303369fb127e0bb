import type { Outcome, SseProxyErrorCode } from '../errors.js';
import type { StreamSummary } from './summary.js';

/**
 * What is published on the channels of `node:diagnostics_channel`: a message for each channel, by its name. No message has header
 * values, bodies, queries or credentials in it. All who subscribe to a channel get the same message: read it only.
 */
export interface ExchangeMessages {
  /** The proxy has taken a request. What `pathFilter` leaves to the app is none. */
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
  /** Nothing moves any more. Told once per stall, ten seconds after it began; of the event loop after one. */
  'express-sse-proxy:exchange:stalled': ExchangeStalled;
  /** The exchange has ended. The last message of each that was started. */
  'express-sse-proxy:exchange:ended': ExchangeEnded;
}

/** What all messages about an exchange have. */
export interface ExchangeMessage {
  /** That of the exchange: `Exchange.id`. */
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
  /** Of the attempt that it answers, counted from 1. */
  readonly attempt: number;
  readonly statusCode: number;
  /** The media type, in lower case and without parameters; absent where there is none. */
  readonly contentType?: string;
}

export interface ExchangeRetry extends ExchangeMessage {
  /** Of the attempt that has failed, counted from 1. */
  readonly attempt: number;
  /** The same target again, the next of the `fallbacks`, or a fresh connection in the place of a pooled one that was dead. */
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
   * Who or what is waited for:
   * - `upstream`: it does not answer the connection, or sends nothing
   * - `client`: it does not read its response (backpressure), or does not send the rest of its request
   * - `hook`: an async hook of yours has not settled
   * - `event-loop`: the process was busy with something else
   */
  readonly cause: 'upstream' | 'client' | 'hook' | 'event-loop';
  /** Milliseconds, so far. */
  readonly duration: number;
  /** The deadline (`timeouts`) that runs meanwhile; absent where none does. */
  readonly phase?: 'connect' | 'headers' | 'idle' | 'drain';
  /** The name of the hook. */
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
