import { EventEmitter } from 'node:events';
import type { UpgradeExchange } from '../../exchange/upgrade-exchange.js';

/**
 * What http-proxy-middleware is given instead of the client's connection, when that asks for an upgrade: httpxy makes the upstream
 * request, and what it would do to the client's connection goes nowhere. It writes heads as they come from the upstream, answers no
 * failure, and waits for ever.
 */
export class UpgradeSocket extends EventEmitter {
  readonly upgrade: UpgradeExchange;
  /** httpxy passes a refusal of the upstream's on only where it can write. */
  readonly writable = false;
  readonly destroyed = false;

  constructor(upgrade: UpgradeExchange) {
    super();
    this.upgrade = upgrade;
  }

  write(): boolean {
    return true;
  }

  pipe<T>(destination: T): T {
    return destination;
  }

  unshift(): void {}
  setTimeout(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}
  end(): void {}
  destroy(): void {}
}
