import type { IncomingMessage, ServerResponse } from 'node:http';
import { LINGER } from '../defaults.js';
import { ExchangeObservers } from '../observe/exchange-observers.js';
import type { Exchange } from '../types/hooks.js';
import type { AttemptSummary } from '../types/summary.js';

/** What requests and WebSockets have in common: how hooks see them, and how they are drained. */
export abstract class BaseExchange implements Exchange {
  readonly req: IncomingMessage;
  abstract readonly res: ServerResponse;
  path: string;
  // Private, since hooks are handed the exchange.
  readonly #observers: ExchangeObservers;
  #locals: Record<string, unknown> | undefined;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(req: IncomingMessage, path: string) {
    this.req = req;
    this.path = path;
    this.#observers = new ExchangeObservers(this);
  }

  /** The observers that an exchange tells. Only the exchange itself may. */
  protected static observersOf(exchange: BaseExchange): ExchangeObservers {
    return exchange.#observers;
  }

  get id(): string {
    return this.#observers.id;
  }

  get attempts(): readonly AttemptSummary[] {
    return this.#observers.summary.attempts;
  }

  get target(): string | undefined {
    return this.#observers.summary.target;
  }

  get locals(): Record<string, unknown> {
    this.#locals ??= Object.create(null) as Record<string, unknown>;
    return this.#locals;
  }

  /** Ends the exchange because the proxy is drained. The client has a moment to read what it is told. */
  drain(): void {
    if (this.onDrain()) return;
    this.#drainTimer ??= setTimeout(() => this.endNow(), LINGER);
  }

  protected stopDrainTimer(): void {
    clearTimeout(this.#drainTimer);
  }

  /** Tells the client. Returns whether the exchange has ended with that. */
  protected abstract onDrain(): boolean;

  /** Ends the exchange at once: the client has had its moment. */
  protected abstract endNow(): void;
}
