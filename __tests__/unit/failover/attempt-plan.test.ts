import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../../lib/errors.js';
import { AttemptPlan } from '../../../lib/failover/attempt-plan.js';
import { CircuitBreaker } from '../../../lib/failover/circuit-breaker.js';
import type { ErrorFailure, Failure, ResponseFailure } from '../../../lib/failover/failure.js';
import { resolveOptions } from '../../../lib/options/resolve.js';
import { anthropic, openai } from '../../../lib/providers/index.js';
import type { Config, Route } from '../../../lib/types/config.js';
import type { AttemptFailed, Exchange } from '../../../lib/types/hooks.js';
import type { Fallback, SseProxyOptions } from '../../../lib/types/options.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const OWN = 'http://own.example';
const FIRST = 'http://first.example';
const SECOND = 'http://second.example';

let now: number;
beforeEach(() => {
  now = 1_000_000;
});
afterEach(() => {
  jest.restoreAllMocks();
});

interface Proxy {
  config: Config;
  /** What each of its exchanges has. */
  circuits: ReadonlyMap<Route, CircuitBreaker>;
  /** The attempts of a new exchange. */
  begin(method?: string): AttemptPlan;
}

/** As the middleware makes them: the circuits are those of all exchanges. */
function proxy(options: SseProxyOptions, exchange: Exchange = exchangeFor('/v1/chat')): Proxy {
  const config = resolveOptions({ target: OWN, ...options });
  const circuits = new Map(
    config.routes.length > 1 ? config.routes.map((route) => [route, new CircuitBreaker(() => now)]) : [],
  );
  return {
    config,
    circuits,
    begin(method = 'GET') {
      exchange.req.method = method;
      const plan = new AttemptPlan({ config, circuits, exchange, observer: { skipped() {} } });
      plan.begin();
      return plan;
    },
  };
}

const answered = (statusCode: number, headers: ResponseFailure['headers'] = {}): ResponseFailure => ({
  kind: 'response',
  statusCode,
  headers,
  reached: true,
});
/** As the exchange tells it: an error of ours, with that of Node as its cause. */
const failed = (code: SseProxyErrorCode, cause?: string, reached = false): ErrorFailure => ({
  kind: 'error',
  error: new SseProxyError(code, cause === undefined ? {} : { cause: Object.assign(new Error(), { code: cause }) }),
  reached,
});
const refused = failed('UPSTREAM_UNREACHABLE', 'ECONNREFUSED');
const NO_TLS = failed('UPSTREAM_TLS_FAILED', 'CERT_HAS_EXPIRED');

/** What a failure leads to, as the exchange has it done; `undefined` where the failure is the answer. */
function next(plan: AttemptPlan, failure: Failure): { route: Route; delay: number } | undefined {
  if (!plan.allowsAnother(failure)) return undefined;
  const delay = plan.delayAfter(failure);
  if (delay !== undefined) return { route: plan.retry(), delay };
  const route = plan.fallBack(failure);
  return route && { route, delay: 0 };
}

/** The origin that a route leads to: the target of the options is its own. */
const originOf = ({ target }: Route): string => (target === undefined ? OWN : new URL(String(target)).origin);

/** The origins of all attempts of an exchange that fail so. */
function wayOf(failover: AttemptPlan, failure: Failure = refused): string[] {
  const way = [originOf(failover.route)];
  // Bounded: what must end is under test here.
  while (way.length < 100 && next(failover, failure) !== undefined) way.push(originOf(failover.route));
  return way;
}

describe('the attempts of an exchange', () => {
  it('attempt plan: attempts go to the target of the options, and nowhere else without retries and fallbacks', () => {
    const failover = proxy({}).begin();
    expect(failover.isPossible).toBe(false);
    expect(wayOf(failover)).toEqual([OWN]);
  });

  it.each([
    ['retries', { retry: { maxRetries: 1 } }, true],
    ['a fallback', { fallbacks: [FIRST] }, true],
    ['a function that names fallbacks', { fallbacks: () => undefined }, true],
    ['no retries', { retry: { maxRetries: 0 } }, false],
    ['no fallbacks', { fallbacks: [] }, false],
  ])('attempt plan: attempts may be several with %s: %p', (_what, options, expected) => {
    expect(proxy(options as SseProxyOptions).begin().isPossible).toBe(expected);
  });

  it('attempt plan: attempts try the same target again, as often as `maxRetries` says', () => {
    expect(wayOf(proxy({ retry: { maxRetries: 3 } }).begin())).toEqual([OWN, OWN, OWN, OWN]);
  });

  it('attempt plan: attempts turn to the fallbacks in order, each with as many retries', () => {
    const { begin } = proxy({ retry: { maxRetries: 1 }, fallbacks: [FIRST, SECOND] });
    expect(wayOf(begin())).toEqual([OWN, OWN, FIRST, FIRST, SECOND, SECOND]);
    // Of each exchange anew.
    expect(wayOf(begin())).toEqual([OWN, OWN, FIRST, FIRST, SECOND, SECOND]);
  });

  it('attempt plan: attempts turn to the fallbacks at once without `retry`', () => {
    const { begin } = proxy({ fallbacks: [FIRST, SECOND] });
    expect(wayOf(begin(), answered(503))).toEqual([OWN, FIRST, SECOND]);
  });

  it('attempt plan: attempts turn to a fallback with what may not be sent to the same target again', () => {
    const { begin } = proxy({ retry: {}, fallbacks: [FIRST] });
    expect(wayOf(begin('POST'), answered(503))).toEqual([OWN, FIRST]);
    expect(wayOf(begin('POST'), failed('UPSTREAM_CLOSED', 'ECONNRESET', true))).toEqual([OWN, FIRST]);
    expect(wayOf(begin('POST'), refused)).toEqual([OWN, OWN, OWN, FIRST, FIRST, FIRST]);
  });

  it.each([
    ['UPSTREAM_TLS_FAILED', 'CERT_HAS_EXPIRED'],
    ['UPSTREAM_INVALID_RESPONSE', 'HPE_INVALID_CONSTANT'],
    ['UPSTREAM_TIMEOUT', undefined],
  ] as const)('attempt plan: attempts turn to a fallback where the same target would fail again: %s', (code, cause) => {
    expect(wayOf(proxy({ retry: {}, fallbacks: [FIRST] }).begin(), failed(code, cause, true))).toEqual([OWN, FIRST]);
  });

  it.each([200, 301, 400, 401, 404, 422, 501])(
    'attempt plan: attempts end with the answer %d, which is no failure',
    (statusCode) => {
      const { begin, circuits } = proxy({ retry: {}, fallbacks: [FIRST] });
      for (let i = 0; i < 10; i += 1) expect(wayOf(begin(), answered(statusCode))).toEqual([OWN]);
      expect([...circuits.values()].every((circuit) => circuit.acquire() !== undefined)).toBe(true);
    },
  );

  it('attempt plan: attempts take an answer for a failure by the statuses that are configured, also where only fallbacks are left', () => {
    const { begin } = proxy({ retry: { maxRetries: 0, statusCodes: [404] }, fallbacks: [FIRST] });
    expect(wayOf(begin(), answered(404))).toEqual([OWN, FIRST]);
    expect(wayOf(begin(), answered(503))).toEqual([OWN]);
  });

  it("attempt plan: attempts carry each fallback's own provider, path and headers, or the proxy's own provider", () => {
    const own = openai({ apiKey: 'sk-own' });
    const other = anthropic({ apiKey: 'sk-other' });
    const pathRewrite = (path: string): string => path;
    const { begin } = proxy({
      provider: own,
      fallbacks: [FIRST, { provider: other, pathRewrite, headers: { 'x-a': '1' } }, { target: SECOND }],
    });
    const failover = begin();
    expect(failover.route).toEqual({ target: undefined, provider: own, pathRewrite: undefined, headers: undefined });
    expect(next(failover, NO_TLS)?.route).toEqual({
      target: FIRST,
      provider: own,
      pathRewrite: undefined,
      headers: {},
    });
    expect(next(failover, NO_TLS)?.route).toEqual({
      target: 'https://api.anthropic.com',
      provider: other,
      pathRewrite,
      headers: { 'x-a': '1' },
    });
    expect(next(failover, NO_TLS)?.route).toEqual({
      target: SECOND,
      provider: own,
      pathRewrite: undefined,
      headers: {},
    });
    expect(next(failover, NO_TLS)).toBeUndefined();
  });
});

describe('the wait before an attempt', () => {
  const retry = { minTimeout: 1000, maxTimeout: 8000, maxRetries: 3 };

  it('attempt plan: the wait before an attempt grows with each retry, begins anew with another target, and is none before the first attempt there', () => {
    // As `Math.random()` never is, to see the bounds themselves.
    jest.spyOn(Math, 'random').mockReturnValue(1);
    const failover = proxy({ retry, fallbacks: [FIRST] }).begin();
    const delays = Array.from({ length: 8 }, () => next(failover, answered(503))?.delay);
    expect(delays).toEqual([1000, 2000, 4000, 0, 1000, 2000, 4000, undefined]);
  });

  it('attempt plan: the wait before an attempt is what the upstream asks for', () => {
    const failover = proxy({ retry }).begin();
    expect(next(failover, answered(429, { 'retry-after': '7' }))).toMatchObject({ delay: 7000 });
    expect(next(failover, answered(429, { 'retry-after-ms': '15' }))).toMatchObject({ delay: 15 });
  });

  it('attempt plan: the wait before an attempt is not made where it would be too long: the answer is passed on at once', () => {
    const failover = proxy({ retry }).begin();
    expect(next(failover, answered(429, { 'retry-after': '9' }))).toBeUndefined();
  });

  it('attempt plan: the wait before an attempt is not made where it would be too long, and there is another target', () => {
    const failover = proxy({ retry, fallbacks: [FIRST] }).begin();
    expect(next(failover, answered(429, { 'retry-after': '9' }))).toMatchObject({ route: { target: FIRST }, delay: 0 });
    // With retries of its own.
    expect(next(failover, answered(429, { 'retry-after': '1' }))).toMatchObject({
      route: { target: FIRST },
      delay: 1000,
    });
  });
});

describe('the circuits, which the exchanges share', () => {
  const fallbacks = [FIRST, SECOND];

  it('attempt plan, circuit breakers: have a target skipped that has failed five times in a row, and the next one is the first', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 5; i += 1) {
      const failover = begin();
      expect(originOf(failover.route)).toBe(OWN);
      expect(originOf(next(failover, refused)?.route as Route)).toBe(FIRST);
      failover.answered(answered(200));
    }
    const failover = begin();
    expect(originOf(failover.route)).toBe(FIRST);
    expect(wayOf(failover)).toEqual([FIRST, SECOND]);
  });

  it('attempt plan, circuit breakers: count the retries', () => {
    const { begin } = proxy({ retry: { maxRetries: 4 }, fallbacks });
    const failover = begin();
    for (let i = 0; i < 4; i += 1) expect(originOf(next(failover, answered(503))?.route as Route)).toBe(OWN);
    expect(originOf(begin().route)).toBe(OWN);
    expect(originOf(next(failover, answered(503))?.route as Route)).toBe(FIRST);
    expect(originOf(begin().route)).toBe(FIRST);
  });

  it('attempt plan, circuit breakers: have a fallback skipped, too', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 5; i += 1) {
      const failover = begin();
      next(failover, refused);
      next(failover, refused);
      failover.answered(answered(200));
      // The first target answers again.
      begin().answered(answered(200));
    }
    expect(wayOf(begin())).toEqual([OWN, SECOND]);
  });

  it('attempt plan, circuit breakers: begin anew with an answer', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 4; i += 1) next(begin(), refused);
    begin().answered(answered(200));
    for (let i = 0; i < 4; i += 1) next(begin(), refused);
    expect(originOf(begin().route)).toBe(OWN);
  });

  it('attempt plan, circuit breakers: let one exchange probe the target after 30 seconds, and all where it answers', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 5; i += 1) next(begin(), refused);
    now += 30_000;
    const probe = begin();
    expect(originOf(probe.route)).toBe(OWN);
    expect(originOf(begin().route)).toBe(FIRST);
    probe.answered(answered(200));
    expect(originOf(begin().route)).toBe(OWN);
  });

  it('attempt plan, circuit breakers: leave the own target to be tried where none is worth it', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 5; i += 1) wayOf(begin());
    const failover = begin();
    expect(originOf(failover.route)).toBe(OWN);
    expect(next(failover, refused)).toBeUndefined();
  });

  it('attempt plan, circuit breakers: do not take a failure for an answer that could not be tried again at all, such as one to a large upload', () => {
    const { begin } = proxy({ fallbacks });
    for (let i = 0; i < 4; i += 1) next(begin(), refused);
    begin().answered(answered(503));
    next(begin(), refused);
    expect(originOf(begin().route)).toBe(FIRST);
  });

  it('attempt plan, circuit breakers: do not take the failure that is passed on for an answer: what is dead stays skipped', () => {
    const { begin, circuits } = proxy({ fallbacks: [FIRST] });
    for (let i = 0; i < 5; i += 1) wayOf(begin(), answered(503));
    // None is worth it: the own target is tried, and its 503 is what the client gets.
    const last = begin();
    expect(next(last, answered(503))).toBeUndefined();
    last.answered(answered(503));
    now += 29_999;
    expect([...circuits.values()].map((circuit) => circuit.acquire() !== undefined)).toEqual([false, false]);
  });
});

describe('a function that names the fallbacks', () => {
  it('attempt plan: a function that names the fallbacks is asked when the retries are spent, with what has failed and the exchange', () => {
    const exchange = exchangeFor('/v1/chat');
    const asked: [AttemptFailed, Exchange][] = [];
    const fallbacks = (failure: AttemptFailed, of: Exchange): Fallback => {
      asked.push([failure, of]);
      return FIRST;
    };
    const failover = proxy({ retry: { maxRetries: 1 }, fallbacks }, exchange).begin();
    expect(originOf(next(failover, answered(503, { 'x-request-id': '1' }))?.route as Route)).toBe(OWN);
    expect(asked).toEqual([]);
    expect(next(failover, answered(503))).toMatchObject({ route: { target: FIRST }, delay: 0 });
    // With retries of its own.
    expect(next(failover, refused)?.route.target).toBe(FIRST);
    expect(asked).toHaveLength(1);
    next(failover, refused);
    expect(asked).toEqual([
      [{ statusCode: 503 }, exchange],
      [{ error: refused.error }, exchange],
    ]);
    expect(asked[0]?.[1]).toBe(exchange);
  });

  it('attempt plan: a function that names the fallbacks is not asked about an answer that is no failure', () => {
    let asked = 0;
    const fallbacks = (): Fallback => {
      asked += 1;
      return FIRST;
    };
    expect(next(proxy({ fallbacks }).begin(), answered(404))).toBeUndefined();
    expect(asked).toBe(0);
  });

  it('attempt plan: a function that names the fallbacks ends it with none', () => {
    const targets = [FIRST, SECOND];
    expect(wayOf(proxy({ fallbacks: () => targets.shift() }).begin())).toEqual([OWN, FIRST, SECOND]);
  });

  it('attempt plan: a function that names the fallbacks has ten targets tried at the most, whatever it says', () => {
    let asked = 0;
    const fallbacks = (): Fallback => `http://fallback-${++asked}.example`;
    const way = wayOf(proxy({ fallbacks }).begin());
    expect(way).toEqual([OWN, ...Array.from({ length: 9 }, (_, i) => `http://fallback-${i + 1}.example`)]);
    expect(asked).toBe(9);
  });

  it('attempt plan: a function that names the fallbacks may name a target with a provider of its own', () => {
    const provider = anthropic({ apiKey: 'sk-other' });
    const own = openai({ apiKey: 'sk-own' });
    const named: Fallback[] = [{ provider }, SECOND];
    const failover = proxy({ provider: own, fallbacks: () => named.shift() }).begin();
    expect(next(failover, NO_TLS)?.route).toMatchObject({ target: 'https://api.anthropic.com', provider });
    expect(next(failover, NO_TLS)?.route).toMatchObject({ target: SECOND, provider: own });
  });

  const misbehaving: [string, () => unknown, string][] = [
    [
      'throws',
      () => {
        throw new Error('out of targets');
      },
      'out of targets',
    ],
    ['names what is no target', () => 'localhost', "got 'localhost'"],
    ['names null', () => null, 'got null'],
    ['names an object without a target', () => ({ headers: {} }), 'needs a `target`'],
    ['returns a promise', () => Promise.resolve(FIRST), 'must be synchronous'],
    ['returns a promise that rejects', () => Promise.reject(new Error('too late')), 'must be synchronous'],
  ];
  it.each(misbehaving)(
    'attempt plan: a function that names the fallbacks that %s is logged, and the failure is the answer',
    async (_how, name, message) => {
      const { logger, errors } = logbook();
      const options = { logger, fallbacks: name } as SseProxyOptions;
      expect(next(proxy(options).begin(), refused)).toBeUndefined();
      await turns();
      expect(errors).toHaveLength(1);
      expect(errors[0]).toContain('fallbacks failed');
      expect(errors[0]).toContain(message);
    },
  );
});
