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

/** The observers of all exchanges that nobody watches. */
const NOBODY: readonly Observer[] = [];

/**
 * The one thing that an exchange tells, for all of its observers. The summary is always one of them; the others exist only if
 * somebody asked for them before the exchange began. Nothing is allocated or formatted for observers that do not exist.
 */
export class ExchangeObservers implements Required<Omit<Observer, 'ended' | 'stalled'>> {
  readonly summary = new Summary();
  readonly #others: readonly Observer[];
  #id: string | undefined;

  constructor(exchange: Exchange) {
    this.#others = othersOf(exchange, this.summary);
  }

  /** The `id` of the exchange. Created when it is first read, since a UUID costs as much as several of the calls below. */
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

  /** @param provider its name; the identity itself is read by those observers only that somebody has asked for */
  attempt(target: string, as?: Identity, provider?: string): void {
    this.summary.attempt(target, provider);
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
    // Called again with each event that is read.
    if (!this.summary.firstToken()) return;
    for (const other of this.#others) other.firstToken?.();
  }

  clientLeft(continues: boolean): void {
    for (const other of this.#others) other.clientLeft?.(continues);
  }

  /** Creates the summary only where an observer gets it. */
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
