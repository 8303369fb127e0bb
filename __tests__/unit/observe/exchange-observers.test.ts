import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { ExchangeObservers } from '../../../lib/observe/exchange-observers.js';
import type { Exchange } from '../../../lib/types/hooks.js';
import { on } from '../../support/watch/channels.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

/** Throws where anything of it is read. */
function untouchable<T extends object>(): T {
  return new Proxy({} as T, {
    get(_target, name) {
      throw new Error(`${String(name)} was read`);
    },
  });
}

/** Tells of an exchange that comes to its end. */
function tellAll(observers: ExchangeObservers): void {
  observers.started();
  observers.queued();
  observers.phase('connect');
  observers.attempt('http://api.example', untouchable());
  observers.head(503, untouchable<IncomingMessage>());
  observers.planned(untouchable());
  observers.retry(untouchable(), 'retry', 1);
  observers.waiting('router');
  observers.firstByte();
  observers.firstToken();
  observers.clientLeft(false);
  observers.ended('completed', 200, undefined);
}

describe('observers: an exchange that nobody watches', () => {
  it('observers: an exchange that nobody watches has its summary', () => {
    const { summary } = tellAllTo(untouchable());
    expect(summary.report('completed', 200, undefined)).toMatchObject({
      attempts: [{ target: 'http://api.example', statusCode: 503 }],
      timings: { headers: expect.any(Number), firstByte: expect.any(Number), firstToken: expect.any(Number) },
    });
  });

  it('observers: an exchange that nobody watches reads nothing of the exchange, and of what it is told', () => {
    expect(() => tellAllTo(untouchable())).not.toThrow();
  });

  it('observers: an exchange that nobody watches stays unwatched when somebody subscribes later', () => {
    const observers = new ExchangeObservers(untouchable());
    on('ended', () => {
      throw new Error('was told');
    });
    tellAll(observers);
  });
});

describe('observers: an id', () => {
  it('observers: an id stays the same, and is no other exchange’s', () => {
    const observers = new ExchangeObservers(untouchable());
    expect(observers.id).toBe(observers.id);
    expect(new ExchangeObservers(untouchable()).id).not.toBe(observers.id);
  });
});

function tellAllTo(exchange: Exchange): ExchangeObservers {
  const observers = new ExchangeObservers(exchange);
  tellAll(observers);
  return observers;
}
