import type { Failure } from '../failover/failure.js';

/** What is known of the exchange when an attempt has failed. */
export interface Facts {
  /** It has failed before, or is over. */
  readonly isDecided: boolean;
  /** The client has left, and the answer was read on for the account alone. */
  readonly isContinuing: boolean;
  /** The head of a response has been sent to the client. */
  readonly headersSent: boolean;
  /** Nothing can reach the client any more. */
  readonly clientGone: boolean;
  /** The pooled connection that the request was sent on had been dead. */
  readonly wasStale: boolean;
  /** The body of the request can be sent again. */
  readonly isReplayable: boolean;
}

/** What the plan of the attempts says. */
export interface Plan {
  /** There may be another attempt at all. */
  readonly isPossible: boolean;
  allowsAnother(failure: Failure): boolean;
  /** Milliseconds after which the same target is to be tried again; `undefined` where it is not. */
  delayAfter(failure: Failure): number | undefined;
}

/** What follows a failure. */
export type Decision =
  /** Nothing: what becomes of the exchange is decided. */
  | { readonly next: 'ignore' }
  /** The exchange is over; nobody waits for it. */
  | { readonly next: 'end' }
  /** The response is cut: its head has been sent. */
  | { readonly next: 'break-off' }
  /** The request is sent again at once, on a fresh connection. */
  | { readonly next: 'fresh-connection' }
  /** The request is sent to the same target again. */
  | { readonly next: 'retry'; readonly delay: number }
  /** The request is sent to the next target; where there is none, the failure is the answer. */
  | { readonly next: 'fallback' }
  /** The failure is the answer: the response that came, or one of the proxy's own. */
  | { readonly next: 'answer'; readonly isBodyLost: boolean };

const IGNORE: Decision = { next: 'ignore' };
const END: Decision = { next: 'end' };
const BREAK_OFF: Decision = { next: 'break-off' };
const FRESH_CONNECTION: Decision = { next: 'fresh-connection' };
const FALLBACK: Decision = { next: 'fallback' };
const ANSWER: Decision = { next: 'answer', isBodyLost: false };
/** There might have been another attempt, had the body been kept. */
const BODY_LOST: Decision = { next: 'answer', isBodyLost: true };

/** Says what follows a failure. Decides only; what it says is done in `exchange.ts`. */
export function decide(failure: Failure, facts: Facts, plan: Plan): Decision {
  if (facts.isDecided) return IGNORE;
  if (facts.isContinuing) return END;
  if (facts.headersSent) return BREAK_OFF;
  if (facts.clientGone) return ANSWER;
  // RFC 9112 9.3.1: the upstream had closed an idle connection just when the request was sent on it.
  const isStale = failure.kind === 'error' && failure.error.code === 'UPSTREAM_CLOSED' && facts.wasStale;
  if (isStale && facts.isReplayable) return FRESH_CONNECTION;
  if (!plan.isPossible || !plan.allowsAnother(failure)) return ANSWER;
  if (!facts.isReplayable) return BODY_LOST;
  const delay = plan.delayAfter(failure);
  return delay === undefined ? FALLBACK : { next: 'retry', delay };
}
