import type { IncomingMessage } from 'node:http';
import { SseProxyError } from '../errors.js';
import { knownSize, type RequestBody } from '../request/replayed-body.js';
import type { AllowedRoute, Config } from '../types/config.js';
import type { ConcurrencyLimiter, Refusal } from './concurrency-limiter.js';
import { checkAllowed, checkTarget } from './path-guard.js';

/** Who decides on it: what the exchanges of one proxy share. */
export interface Doorkeeper {
  limiter: ConcurrencyLimiter | undefined;
  /** No new exchanges are let in. */
  isDraining(): boolean;
}

/** Who is told of the wait for a place. */
export interface QueueObserver {
  /** The exchange waits for its turn. */
  queued(): void;
  turnedAway(reason: Refusal): void;
}

/** The place of one exchange among those that run. */
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
   * Asks for a place. A promise where it is to be waited for.
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
    /** Tells whoever waits; at first nobody does. */
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

  /** Gives the place back, or up. */
  leave(): void {
    this.#stopWaiting?.();
    if (this.#hasPlace) this.#doorkeeper.limiter?.leave();
    this.#hasPlace = false;
  }
}
