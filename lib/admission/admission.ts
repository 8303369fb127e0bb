import type { IncomingMessage } from 'node:http';
import { SseProxyError } from '../errors.js';
import { knownSize, type RequestBody } from '../request/replayed-body.js';
import type { AllowedRoute, Config } from '../types/config.js';
import type { ConcurrencyLimiter, Refusal } from './concurrency-limiter.js';
import { checkAllowed } from './path-guard.js';

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
  #hasLeft = false;
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
   * Asks for a place, where there is none yet. A promise where it is to be waited for.
   *
   * @param path as the client has asked for it, whatever hooks have made of `req.url`
   * @throws {SseProxyError} `DRAINING`, `NOT_FOUND`, `METHOD_NOT_ALLOWED`, `REQUEST_BODY_TOO_LARGE`; what is waited for may fail
   * with `CONCURRENCY_LIMIT`
   */
  enter(req: IncomingMessage, path: string, body: RequestBody): Promise<void> | undefined {
    if (this.#hasPlace) return undefined;
    const { limiter, isDraining } = this.#doorkeeper;
    if (isDraining()) throw new SseProxyError('DRAINING');
    checkAllowed(this.#allow, req.method, path);
    if (knownSize(req, body) > this.#maxBody) throw new SseProxyError('REQUEST_BODY_TOO_LARGE');
    if (limiter !== undefined) return this.#wait(limiter);
    this.#hasPlace = true;
    return undefined;
  }

  async #wait(limiter: ConcurrencyLimiter): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const refused = (refusal: Refusal): void => {
        this.#observer.turnedAway(refusal);
        reject(new SseProxyError('CONCURRENCY_LIMIT'));
      };
      this.#stopWaiting = limiter.enter(resolve, refused);
      if (this.#stopWaiting !== undefined) this.#observer.queued();
    });
    this.#hasPlace = true;
    // It has left while it was waiting.
    if (this.#hasLeft) this.leave();
  }

  /** Gives the place back, or up. */
  leave(): void {
    this.#hasLeft = true;
    this.#stopWaiting?.();
    if (this.#hasPlace) this.#doorkeeper.limiter?.leave();
    this.#hasPlace = false;
  }
}
