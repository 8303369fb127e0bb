import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Outcome, SseProxyError, SseProxyErrorCode } from '../errors.js';
import type { Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import { publisher, wantsStalls } from './channels.js';
import { debugLog } from './debug-log.js';
import type { Identity, Observer, PlannedResponse, RetryKind, WaitingPhase, Why } from './observer.js';
import { StallWatch } from './stall-watch.js';
import { Summary } from './summary.js';

/** Shared by all exchanges that nobody watches. */
const NOBODY: readonly Observer[] = [];

/**
 * The observers of one exchange, as the one that the exchange tells. Its summary is always there; others are where somebody has
 * asked for them when the exchange began. Nothing is made for those that are not there.
 */
export class ExchangeObservers implements Required<Omit<Observer, 'ended' | 'stalled'>> {
  readonly summary = new Summary();
  readonly #others: readonly Observer[];
  #id: string | undefined;

  constructor(exchange: Exchange) {
    this.#others = othersOf(exchange, this.summary);
  }

  /** The exchange's. Made when it is first asked for: it costs more than all the rest of this. */
  get id(): string {
    this.#id ??= randomUUID();
    return this.#id;
  }

  leftToApp(): void {
    for (const other of this.#others) other.leftToApp?.();
  }

  started(): void {
    for (const other of this.#others) other.started?.();
  }

  queued(): void {
    for (const other of this.#others) other.queued?.();
  }

  turnedAway(reason: 'full' | 'timeout'): void {
    for (const other of this.#others) other.turnedAway?.(reason);
  }

  skipped(target: Route['target']): void {
    for (const other of this.#others) other.skipped?.(target);
  }

  attempt(target: string, as?: Identity): void {
    this.summary.attempt(target);
    for (const other of this.#others) other.attempt?.(target, as);
  }

  head(statusCode: number, response: IncomingMessage): void {
    this.summary.head(statusCode);
    for (const other of this.#others) other.head?.(statusCode, response);
  }

  planned(response: PlannedResponse): void {
    for (const other of this.#others) other.planned?.(response);
  }

  switched(): void {
    for (const other of this.#others) other.switched?.();
  }

  handedOver(): void {
    for (const other of this.#others) other.handedOver?.();
  }

  attemptFailed(code: SseProxyErrorCode): void {
    this.summary.attemptFailed(code);
    for (const other of this.#others) other.attemptFailed?.(code);
  }

  retry(why: Why, how: RetryKind, delay: number): void {
    for (const other of this.#others) other.retry?.(why, how, delay);
  }

  cannotRetry(why: Why): void {
    for (const other of this.#others) other.cannotRetry?.(why);
  }

  phase(phase: WaitingPhase | undefined): void {
    for (const other of this.#others) other.phase?.(phase);
  }

  waiting(hook: string | undefined): void {
    for (const other of this.#others) other.waiting?.(hook);
  }

  firstByte(): void {
    this.summary.firstByte();
    for (const other of this.#others) other.firstByte?.();
  }

  firstToken(): void {
    // Told again with each event that is read.
    if (!this.summary.firstToken()) return;
    for (const other of this.#others) other.firstToken?.();
  }

  clientLeft(continues: boolean): void {
    for (const other of this.#others) other.clientLeft?.(continues);
  }

  /** The summary is made only where somebody reads it. */
  ended(outcome: Outcome, statusCode: number | undefined, error: SseProxyError | undefined): void {
    if (this.#others.length === 0) return;
    const summary = this.summary.report(outcome, statusCode, error);
    for (const other of this.#others) other.ended?.(summary);
  }
}

function othersOf(exchange: Exchange, summary: Summary): readonly Observer[] {
  const log = debugLog(exchange);
  const published = publisher(exchange);
  if (log === undefined && published === undefined) return NOBODY;
  const others = [log, published].filter((other) => other !== undefined);
  return log === undefined && !wantsStalls() ? others : [...others, new StallWatch(exchange, summary, others)];
}
