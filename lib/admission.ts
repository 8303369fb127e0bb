import type { IncomingMessage } from 'node:http';
import { SseProxyError } from './errors.js';
import type { Limiter } from './limiter.js';
import { knownSize, type RequestBody } from './request-body.js';

/** Who decides on it: what the exchanges of one proxy share. */
export interface Doorkeeper {
  limiter: Limiter | undefined;
  /** No new exchanges are let in. */
  isDraining(): boolean;
}

/** The place of one exchange among those that run. */
export class Admission {
  readonly #doorkeeper: Doorkeeper;
  readonly #maxBody: number;
  #hasPlace = false;
  #hasLeft = false;
  #stopWaiting: (() => void) | undefined;

  /** @param maxBody `limits.requestBody` in bytes */
  constructor(doorkeeper: Doorkeeper, maxBody: number) {
    this.#doorkeeper = doorkeeper;
    this.#maxBody = maxBody;
  }

  /**
   * Asks for a place, where there is none yet; resolves when it is there.
   *
   * @throws {SseProxyError} `DRAINING`, `REQUEST_BODY_TOO_LARGE`, `CONCURRENCY_LIMIT`
   */
  async enter(req: IncomingMessage, body: RequestBody): Promise<void> {
    if (this.#hasPlace) return;
    const { limiter, isDraining } = this.#doorkeeper;
    if (isDraining()) throw new SseProxyError('DRAINING');
    if (knownSize(req, body) > this.#maxBody) throw new SseProxyError('REQUEST_BODY_TOO_LARGE');
    if (limiter !== undefined) {
      await new Promise<void>((resolve, reject) => {
        this.#stopWaiting = limiter.enter(resolve, () => reject(new SseProxyError('CONCURRENCY_LIMIT')));
      });
    }
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
