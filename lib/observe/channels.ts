import { channel } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import { first } from '../headers/header-values.js';
import { essenceOf } from '../headers/media-type.js';
import type { ExchangeMessages } from '../types/diagnostics.js';
import type { Exchange } from '../types/hooks.js';
import type { StreamSummary } from '../types/summary.js';
import { pathOf } from './log-text.js';
import type { Identity, Observer, RetryKind, Stall, Why } from './observer.js';

const named = (name: keyof ExchangeMessages) => channel(name);

const STARTED = named('express-sse-proxy:exchange:started');
const ATTEMPT = named('express-sse-proxy:exchange:attempt');
const HEAD = named('express-sse-proxy:exchange:head');
const RETRY = named('express-sse-proxy:exchange:retry');
const FIRST_BYTE = named('express-sse-proxy:exchange:first-byte');
const FIRST_TOKEN = named('express-sse-proxy:exchange:first-token');
const STALLED = named('express-sse-proxy:exchange:stalled');
const ENDED = named('express-sse-proxy:exchange:ended');
const CHANNELS = [STARTED, ATTEMPT, HEAD, RETRY, FIRST_BYTE, FIRST_TOKEN, STALLED, ENDED];

/** Whether somebody has subscribed to stalls. New exchanges are then watched for them. */
export function wantsStalls(): boolean {
  return STALLED.hasSubscribers;
}

/** Publishes a new exchange; `undefined` where nobody has subscribed to any of the channels. */
export function publisher(exchange: Exchange): Publisher | undefined {
  for (const { hasSubscribers } of CHANNELS) if (hasSubscribers) return new Publisher(exchange);
  return undefined;
}

/**
 * Publishes one exchange on the channels of `node:diagnostics_channel`. A message is created only if its channel has subscribers. If
 * one of them throws, Node reports that as an uncaught exception in a later tick: the error never reaches the exchange.
 */
class Publisher implements Observer {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  started(): void {
    const { id, req } = this.#exchange;
    if (STARTED.hasSubscribers) STARTED.publish({ id, method: req.method ?? '', path: pathOf(req) });
  }

  attempt(target: string, as: Identity | undefined): void {
    if (!ATTEMPT.hasSubscribers) return;
    const { id, attempts } = this.#exchange;
    const provider = as?.route.provider?.name;
    ATTEMPT.publish({ id, attempt: attempts.length, target, ...(provider !== undefined && { provider }) });
  }

  head(statusCode: number, { headers }: IncomingMessage): void {
    if (!HEAD.hasSubscribers) return;
    const { id, attempts } = this.#exchange;
    const contentType = essenceOf(first(headers['content-type']));
    HEAD.publish({ id, attempt: attempts.length, statusCode, ...(contentType && { contentType }) });
  }

  retry({ statusCode, error }: Why, how: RetryKind, delay: number): void {
    if (!RETRY.hasSubscribers) return;
    const { id, attempts } = this.#exchange;
    const why = error === undefined ? { statusCode } : { error: error.code };
    RETRY.publish({ id, attempt: attempts.length, how, delay, ...why });
  }

  firstByte(): void {
    if (FIRST_BYTE.hasSubscribers) FIRST_BYTE.publish({ id: this.#exchange.id });
  }

  firstToken(): void {
    if (FIRST_TOKEN.hasSubscribers) FIRST_TOKEN.publish({ id: this.#exchange.id });
  }

  stalled(stall: Stall): void {
    if (STALLED.hasSubscribers) STALLED.publish({ id: this.#exchange.id, ...stall });
  }

  ended({ error, ...summary }: StreamSummary): void {
    if (!ENDED.hasSubscribers) return;
    const attempts = summary.attempts.map((attempt) => ({ ...attempt }));
    ENDED.publish({ id: this.#exchange.id, ...summary, attempts, ...(error !== undefined && { error: error.code }) });
  }
}
