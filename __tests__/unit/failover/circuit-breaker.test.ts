import { beforeEach, describe, expect, it } from '@jest/globals';
import { CircuitBreaker } from '../../../lib/failover/circuit-breaker.js';

const OPEN_FOR = 30_000;

let now: number;
let circuit: CircuitBreaker;
beforeEach(() => {
  now = 1_000_000;
  circuit = new CircuitBreaker(() => now);
});

function fail(times: number): void {
  for (let i = 0; i < times; i += 1) circuit.insist().failed();
}

/** How many of so many requests at once it lets try. */
const admitted = (count: number): number =>
  Array.from({ length: count }, () => circuit.acquire()).filter(Boolean).length;

describe('a target', () => {
  it('circuit breaker: a target is tried while nothing is known of it, by everybody', () => {
    expect(admitted(10)).toBe(10);
  });

  it('circuit breaker: a target is still tried after four failures in a row', () => {
    fail(4);
    expect(admitted(10)).toBe(10);
  });

  it('circuit breaker: a target is skipped after five', () => {
    fail(5);
    expect(admitted(10)).toBe(0);
  });

  it('circuit breaker: a target is not skipped where a success came in between', () => {
    fail(4);
    circuit.insist().succeeded();
    fail(4);
    expect(circuit.acquire()).toBeDefined();
    fail(1);
    expect(circuit.acquire()).toBeUndefined();
  });

  it('circuit breaker: a target is skipped for 30 seconds, and not one millisecond longer', () => {
    fail(5);
    now += OPEN_FOR - 1;
    expect(circuit.acquire()).toBeUndefined();
    now += 1;
    expect(circuit.acquire()).toBeDefined();
  });

  it('circuit breaker: a target is skipped for 30 seconds from the last failure on: requests that were under way count', () => {
    fail(5);
    now += 10_000;
    fail(1);
    now += OPEN_FOR - 1;
    expect(circuit.acquire()).toBeUndefined();
    now += 1;
    expect(circuit.acquire()).toBeDefined();
  });
});

describe('after that time', () => {
  beforeEach(() => {
    fail(5);
    now += OPEN_FOR;
  });

  it('circuit breaker, half open: one request probes it, and the others go on skipping it', () => {
    expect(admitted(10)).toBe(1);
    now += OPEN_FOR - 1;
    expect(admitted(10)).toBe(0);
  });

  it('circuit breaker, half open: it is tried by all where the probe succeeds', () => {
    expect(circuit.acquire()).toBeDefined();
    circuit.insist().succeeded();
    expect(admitted(10)).toBe(10);
    // From the beginning again: one failure does not open it.
    fail(4);
    expect(circuit.acquire()).toBeDefined();
  });

  it('circuit breaker, half open: it is skipped again at once where the probe fails, for as long as before', () => {
    expect(circuit.acquire()).toBeDefined();
    now += 5000;
    fail(1);
    now += OPEN_FOR - 1;
    expect(admitted(10)).toBe(0);
    now += 1;
    expect(admitted(10)).toBe(1);
  });

  it('circuit breaker: a permit that is given back lets the next request probe at once', () => {
    circuit.acquire()?.release();
    const probe = circuit.acquire();
    expect(probe).toBeDefined();
    expect(circuit.acquire()).toBeUndefined();
    probe?.release();
    expect(admitted(10)).toBe(1);
  });

  it('circuit breaker: a permit that was reported on is not given back any more', () => {
    const failed = circuit.acquire();
    failed?.failed();
    failed?.release();
    expect(admitted(10)).toBe(0);
    now += OPEN_FOR;
    const released = circuit.acquire();
    released?.release();
    circuit.acquire();
    released?.release();
    expect(admitted(10)).toBe(0);
  });

  it('circuit breaker: a permit that is given back does not undo the failure of a request that was under way', () => {
    const probe = circuit.acquire();
    now += 1;
    fail(1);
    probe?.release();
    expect(admitted(10)).toBe(0);
  });

  it('circuit breaker, half open: another one probes it where nothing was heard of the probe', () => {
    expect(circuit.acquire()).toBeDefined();
    now += OPEN_FOR;
    expect(admitted(10)).toBe(1);
  });
});

it('circuit breaker: goes by the time of the day if it is given no other', () => {
  const own = new CircuitBreaker();
  for (let i = 0; i < 5; i += 1) own.insist().failed();
  expect(own.acquire()).toBeUndefined();
  own.insist().succeeded();
  expect(own.acquire()).toBeDefined();
});

it('circuit breaker: is of one target only', () => {
  fail(5);
  expect(new CircuitBreaker(() => now).acquire()).toBeDefined();
});
