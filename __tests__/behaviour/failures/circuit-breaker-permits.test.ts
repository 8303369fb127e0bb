import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, request } from '../../support/clients/http.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

/** How long a circuit is open. */
const OPEN_FOR = 30_000;

let later: number;
beforeEach(() => {
  const { now } = Date;
  later = 0;
  jest.spyOn(Date, 'now').mockImplementation(() => now() + later);
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** A target that fails until it is told to recover. */
async function target(name: string): Promise<{ url: string; recover(): void }> {
  let isWell = false;
  const { url } = await upstream((req: IncomingMessage, res: ServerResponse) => {
    req.resume();
    if (isWell) res.end(name);
    else res.writeHead(503).end();
  });
  const recover = (): void => {
    isWell = true;
  };
  return { url, recover };
}

const askFor = async (proxy: ProxyUnderTest, path = '/'): Promise<string> =>
  (await readAll(await request(`${proxy.url}${path}`))).toString();

/** A proxy whose first target has failed five times and recovered, and whose circuit lets the next request probe it. */
async function beforeProbe(options: SseProxyOptions): Promise<ProxyUnderTest> {
  const [first, second] = [await target('first'), await target('second')];
  second.recover();
  const proxy = await proxyApp({ target: first.url, fallbacks: [second.url], ...options });
  for (let i = 0; i < 5; i += 1) expect(await askFor(proxy)).toBe('second');
  first.recover();
  expect(await askFor(proxy)).toBe('second');
  later += OPEN_FOR;
  return proxy;
}

describe('circuit breaker: the probe of a target that has recovered', () => {
  it('circuit breaker: the probe closes the circuit', async () => {
    const proxy = await beforeProbe({});
    expect([await askFor(proxy), await askFor(proxy)]).toEqual(['first', 'first']);
  });

  it('circuit breaker: the probe is not used up by a request that `allow` refuses', async () => {
    const proxy = await beforeProbe({ allow: ['GET /'] });
    await askFor(proxy, '/other');
    expect(await askFor(proxy)).toBe('first');
  });

  it('circuit breaker: the probe is not used up by a request that `pathFilter` leaves to the app', async () => {
    const proxy = await beforeProbe({ pathFilter: (path) => path === '/' });
    expect(await askFor(proxy, '/other')).toContain('Cannot GET');
    expect(await askFor(proxy)).toBe('first');
  });

  it('circuit breaker: the probe is not used up by a request that has no place in the queue', async () => {
    let release: (() => void) | undefined;
    let isHeld = false;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const proxy = await beforeProbe({
      limits: { concurrency: 1, queue: { size: 0 } },
      router: async () => {
        if (isHeld) await held;
        return undefined as never;
      },
    });
    isHeld = true;
    const probe = askFor(proxy);
    while (proxy.proxy.active === 0) await new Promise(setImmediate);
    expect(JSON.parse(await askFor(proxy))).toMatchObject({ error: { code: 'CONCURRENCY_LIMIT' } });
    release?.();
    expect(await probe).toBe('first');
  });

  it.each([
    ['router', (wait: () => Promise<never>) => ({ router: wait })],
    ['pathRewrite', (wait: () => Promise<never>) => ({ pathRewrite: wait })],
  ])(
    'circuit breaker: the probe is not used up by a client that leaves while `%s` is waited for',
    async (_hook, optionsWith) => {
      let isHeld = false;
      let onCall: (() => void) | undefined;
      const called = new Promise<void>((resolve) => {
        onCall = resolve;
      });
      const hook = (): Promise<never> => {
        if (!isHeld) return Promise.resolve(undefined as never);
        onCall?.();
        return new Promise(() => {});
      };
      const proxy = await beforeProbe(optionsWith(hook));
      isHeld = true;
      const leaving = openRequest(proxy.url);
      leaving.on('error', () => {});
      leaving.end();
      await called;
      const summaries = proxy.summaries.length;
      leaving.destroy();
      while (proxy.summaries.length === summaries) await new Promise(setImmediate);
      isHeld = false;
      expect(await askFor(proxy)).toBe('first');
    },
  );

  it('circuit breaker: the probe is not used up by a hook that fails', async () => {
    let isFailing = false;
    const proxy = await beforeProbe({
      requestHeaders: {
        set: {
          'x-a': () => {
            if (isFailing) throw new Error('failed');
            return 'a';
          },
        },
      },
    });
    isFailing = true;
    expect(JSON.parse(await askFor(proxy))).toMatchObject({ error: { code: 'HOOK_FAILED' } });
    isFailing = false;
    expect(await askFor(proxy)).toBe('first');
  });

  it('circuit breaker: the probe is that of a response handed over to the user, too', async () => {
    let isHandedOver = false;
    const proxy = await beforeProbe({
      router: (_req: unknown, _res: unknown, options: SseProxyOptions) => {
        if (isHandedOver) options.selfHandleResponse = true;
        return undefined as never;
      },
      on: {
        proxyRes: (upstreamResponse, _req, res) => {
          if (isHandedOver) upstreamResponse.pipe(res);
        },
      },
    } as SseProxyOptions);
    isHandedOver = true;
    expect([await askFor(proxy), await askFor(proxy)]).toEqual(['first', 'first']);
  });
});
