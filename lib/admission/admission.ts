import type { IncomingMessage } from 'node:http';
import { SseProxyError } from '../errors.js';
import { knownSize, type RequestBody } from '../request/replayed-body.js';
import type { AllowedRoute, Config } from '../types/config.js';
import type { ConcurrencyLimiter, Refusal } from './concurrency-limiter.js';
import { checkAllowed, checkTarget } from './path-guard.js';

/** What admission depends on, shared by all exchanges of a proxy. */
export interface Doorkeeper {
  limiter: ConcurrencyLimiter | undefined;
  /** New exchanges are refused. */
  isDraining(): boolean;
}

/** Who is told of the wait for a place. */
export interface QueueObserver {
  /** The exchange waits for its turn. */
  queued(): void;
  turnedAway(reason: Refusal): void;
}

/** The admission of one exchange, and its place among those that run. */
export class Admission {
  readonly #doorkeeper: Doorkeeper;
  readonly #allow: readonly AllowedRoute[] | undefined;
  readonly #maxBody: number;
  readonly #observer: QueueObserver;
  #hasPlace = false;
  #stopWaiting: (() => void) | undefined;

  constructor(
    doorkeeper: Doorkeeper,
    { allow, requestBody }: Pick<Config, 'allow' | 'requestBody'>,
    observer: QueueObserver,
  ) {
    this.#doorkeeper = doorkeeper;
    this.#allow = allow;
    this.#maxBody = requestBody;
    this.#observer = observer;
  }

  /**
   * Asks for a place. Returns a promise if the exchange has to wait for its turn.
   *
   * @param path as the client has asked for it, whatever hooks have made of `req.url`
   * @throws {SseProxyError} `PATH_OUTSIDE_TARGET`, `DRAINING`, `NOT_FOUND`, `METHOD_NOT_ALLOWED`, `REQUEST_BODY_TOO_LARGE`,
   * `CONCURRENCY_LIMIT`, with which what is waited for may fail as well
   */
  enter(req: IncomingMessage, path: string, body: RequestBody): Promise<void> | undefined {
    const { limiter, isDraining } = this.#doorkeeper;
    checkTarget(path);
    if (isDraining()) throw new SseProxyError('DRAINING');
    checkAllowed(this.#allow, req.method, path);
    if (knownSize(req, body) > this.#maxBody) throw new SseProxyError('REQUEST_BODY_TOO_LARGE');
    return limiter === undefined ? undefined : this.#queue(limiter);
  }

  #queue(limiter: ConcurrencyLimiter): Promise<void> | undefined {
    /** Settles the promise that is returned below; `undefined` while there is none. */
    let settle: ((error?: SseProxyError) => void) | undefined;
    let isRefused = false;
    const stopWaiting = limiter.enter(
      () => {
        this.#hasPlace = true;
        settle?.();
      },
      (refusal) => {
        isRefused = true;
        this.#observer.turnedAway(refusal);
        settle?.(new SseProxyError('CONCURRENCY_LIMIT'));
      },
    );
    if (isRefused) throw new SseProxyError('CONCURRENCY_LIMIT');
    if (stopWaiting === undefined) return undefined;
    this.#stopWaiting = stopWaiting;
    this.#observer.queued();
    return new Promise((resolve, reject) => {
      settle = (error) => (error === undefined ? resolve() : reject(error));
    });
  }

  /** Gives the place back, or leaves the queue. */
  leave(): void {
    this.#stopWaiting?.();
    if (this.#hasPlace) this.#doorkeeper.limiter?.leave();
    this.#hasPlace = false;
  }
}
