import http, { type IncomingMessage } from 'node:http';
import { describe, expect, it, jest } from '@jest/globals';
import type { Options } from 'http-proxy-middleware';
import {
  createSseProxy,
  type HeaderPolicy,
  type Provider,
  SseProxyError,
  type SseProxyOptions,
  type StreamSummary,
} from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { SERVERS_KEY } from '../../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const FAILURE = new Error('the hook failed');
// None is declared as async: such a one is refused where the proxy is made.
const rejects = (): Promise<never> => Promise.reject(FAILURE);
const rejectsLater = (): Promise<never> => turns(3).then(throws);
const resolves = (): Promise<string> => Promise.resolve('late');
const never = (): Promise<never> => new Promise(() => {});
const throws = (): never => {
  throw FAILURE;
};
/** What a function may return that must not: each a promise. */
const ASYNC: [string, () => Promise<unknown>][] = [
  ['resolves', resolves],
  ['rejects', rejects],
  ['rejects later', rejectsLater],
  ['never settles', never],
];

/** A provider that can do nothing but what is given. */
function providerAt(target: string, members: Record<string, unknown>): Provider {
  return {
    name: 'own',
    target,
    read() {},
    errorEvent: () => ({ data: 'broken' }),
    errorBody: () => ({ sorry: true }),
    ...members,
  };
}

/** The same, and the proxy has nothing left to wait for. */
async function expectOneSummaryAndRest(proxy: ProxyUnderTest, expected: object): Promise<StreamSummary> {
  const summary = await expectOneSummary(proxy, expected);
  await proxy.proxy.drain({ grace: 0 });
  return summary;
}

const codeIn = async (response: IncomingMessage): Promise<unknown> => JSON.parse(await readText(response)).error.code;

const JSON_REQUEST = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };

describe('a hook whose result is used before the request is sent', () => {
  const hooks: [string, (hook: () => unknown, url: string) => SseProxyOptions, string?][] = [
    [
      'requestHeaders.set["x-a"]',
      (hook, target) => ({ target, requestHeaders: { set: { 'X-A': hook } } as unknown as HeaderPolicy }),
    ],
    ['editRequest', (hook, url) => ({ provider: providerAt(url, { editRequest: hook, errorBody: () => undefined }) })],
  ];
  const cases = hooks.flatMap(([name, options]) =>
    ASYNC.map(([manner, hook]) => [name, manner, options, hook] as const),
  );

  it.each(cases)(
    'hook results before the request: %s must be synchronous: one that %s is a 500, and nothing is sent',
    async (name, _, options, hook) => {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp(options(hook, url));
      const response = await request(proxy.url, JSON_REQUEST);
      expect(response.statusCode).toBe(500);
      expect(await codeIn(response)).toBe('HOOK_FAILED');
      const { error } = await expectOneSummaryAndRest(proxy, {
        outcome: 'failed',
        error: { code: 'HOOK_FAILED', hook: name },
      });
      expect(error?.cause).toEqual(new TypeError(`\`${name}\` must be synchronous, but has returned a promise`));
      expect(requests.count).toBe(0);
    },
  );

  it.each<[string, unknown, string]>([
    ['an object without a body', {}, '`body` of editRequest must be a string, got undefined'],
    ['a string', 'x', '`body` of editRequest must be a string, got undefined'],
    ['a number for a body', { body: 42 }, '`body` of editRequest must be a string, got number'],
    ['a list for a body', { body: { length: 1e9 } }, '`body` of editRequest must be a string, got object'],
    ['no function for isExtra', { body: '{}', isExtra: 1 }, '`isExtra` of editRequest must be a function, got number'],
  ])(
    'hook results before the request: editRequest that gives %s is a 500, and nothing is sent',
    async (_, edit, message) => {
      const { url, requests } = await manualUpstream();
      const provider = providerAt(url, { editRequest: () => edit, errorBody: () => undefined });
      const proxy = await proxyApp({ provider });
      expect((await request(proxy.url, JSON_REQUEST)).statusCode).toBe(500);
      const { error } = await expectOneSummaryAndRest(proxy, { error: { code: 'HOOK_FAILED', hook: 'editRequest' } });
      expect(error?.cause).toEqual(new TypeError(message));
      expect(requests.count).toBe(0);
    },
  );

  it.each([undefined, null])(
    'hook results before the request: editRequest that gives %s leaves the body as it is',
    async (edit) => {
      const { url } = await upstream(async (req, res) => res.end(await readText(req)));
      const proxy = await proxyApp({ provider: providerAt(url, { editRequest: () => edit }) });
      expect(await readText(await request(proxy.url, JSON_REQUEST))).toBe('{"a":1}');
    },
  );

  it.each<[string, unknown, string, RegExp]>([
    ['nothing', undefined, 'CREDENTIALS_MISSING', /^$/],
    ['null', null, 'CREDENTIALS_MISSING', /^$/],
    ['a promise of null', Promise.resolve(null), 'CREDENTIALS_MISSING', /^$/],
    ['a string', 'secret-1', 'HOOK_FAILED', /must give an object of header fields, got string$/],
    ['a list', ['secret-1'], 'HOOK_FAILED', /must give an object of header fields, got object$/],
    ['no value', { authorization: undefined }, 'HOOK_FAILED', /`credentials\["authorization"\]` must give a string/],
    ['an object for a value', { authorization: {} }, 'HOOK_FAILED', /must give a string, got object$/],
    ['a promise for a value', { authorization: Promise.resolve('secret-1') }, 'HOOK_FAILED', /got promise$/],
    ['a line break', { authorization: 'secret-1\n' }, 'HOOK_FAILED', /Invalid character/],
    ['a name that is none', { 'a b': 'secret-1' }, 'HOOK_FAILED', /valid HTTP token/],
  ])(
    'hook results before the request: credentials that give %s are a 500; nothing is sent, no caller’s either',
    async (_, given, code, message) => {
      const { url, requests } = await manualUpstream();
      const provider = openai({ apiKey: SERVERS_KEY, target: url });
      const proxy = await proxyApp({ provider: { ...provider, credentials: () => given as Record<string, string> } });
      const response = await request(proxy.url, { headers: { authorization: 'Bearer callers' } });
      expect(response.statusCode).toBe(500);
      expect(await codeIn(response)).toBe(code);
      const { error } = await expectOneSummaryAndRest(proxy, { outcome: 'failed', error: { code } });
      const { message: said = '' } = (error?.cause ?? {}) as Partial<Error>;
      expect(said).toMatch(message);
      expect(said).not.toContain('secret-1');
      expect(requests.count).toBe(0);
    },
  );

  it('hook results before the request: a provider with headers that cannot be sent is a 500, and ends nothing else', async () => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ provider: providerAt(url, { headers: { 'x-a': 'a\nb' }, errorBody: () => null }) });
    expect((await request(proxy.url)).statusCode).toBe(500);
    await expectOneSummaryAndRest(proxy, { outcome: 'failed', error: { code: 'PROXY_FAILED' } });
  });

  it('hook results before the request: a provider whose members throw where they are read is a 500', async () => {
    const { url } = await manualUpstream();
    const provider = Object.defineProperty(providerAt(url, {}), 'credentials', { get: throws });
    const proxy = await proxyApp({ provider });
    expect((await request(proxy.url)).statusCode).toBe(500);
    await expectOneSummaryAndRest(proxy, { outcome: 'failed', error: { cause: FAILURE } });
  });

  it.each(ASYNC)(
    'hook results before the request: pathFilter must be synchronous: one that %s leaves the request to the app, and is logged',
    async (_, hook) => {
      const { url, requests } = await manualUpstream();
      const { logger, errors } = logbook();
      const proxy = await proxyApp({ target: url, logger, pathFilter: hook as unknown as () => boolean });
      expect((await request(proxy.url)).statusCode).toBe(404);
      await turns(10);
      expect(errors).toEqual([
        expect.stringContaining('pathFilter failed: TypeError: `pathFilter` must be synchronous'),
      ]);
      expect(requests.count).toBe(0);
    },
  );

  it.each<[string, (hook: () => Promise<never>, url: string) => SseProxyOptions]>([
    ['router', (hook) => ({ router: hook })],
    ['pathRewrite', (hook, target) => ({ target, pathRewrite: hook })],
    ['credentials', (hook, url) => ({ provider: { ...providerAt(url, {}), credentials: hook } })],
    ['credentials', (hook, target) => ({ provider: openai({ target, apiKey: hook }) })],
  ])('hook results before the request: %s that never settles falls under timeouts.headers', async (name, options) => {
    const { url, requests } = await manualUpstream();
    const called = signal();
    const proxy = await proxyApp({
      ...options(() => {
        called.resolve();
        return never();
      }, url),
      timeouts: { headers: 30 },
    });
    const response = request(proxy.url);
    await called.promise;
    expect((await response).statusCode).toBe(504);
    const { error } = await expectOneSummaryAndRest(proxy, {
      outcome: 'timeout',
      error: { code: 'UPSTREAM_TIMEOUT', hook: name },
    });
    expect(error?.cause).toEqual(new Error(`\`${name}\` has not settled in time`));
    expect(requests.count).toBe(0);
  });

  it('hook results before the request: credentials that never settle are given up for a fallback, which is not blamed with them', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      provider: providerAt(url, { credentials: never }),
      fallbacks: [{ target: url, provider: providerAt(url, {}) }],
      timeouts: { headers: 30 },
    });
    const response = request(proxy.url);
    await requests.next();
    expect((await response).statusCode).toBe(504);
    const { error } = await expectOneSummaryAndRest(proxy, { outcome: 'timeout', attempts: { length: 1 } });
    expect(error).not.toHaveProperty('hook');
  });

  it('hook results before the request: a hook that settles has its deadline for itself: what is waited for next is not under it', async () => {
    stopTheClock();
    const asked = signal();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      pathRewrite: async (path) => {
        asked.resolve();
        await turns();
        return path;
      },
      limits: { concurrency: 1, queue: { size: 1, timeout: 100_000 } },
      timeouts: { headers: 1_000, connect: 1_000 },
    });
    const first = request(proxy.url);
    const { res } = await requests.next();
    const second = request(proxy.url);
    await asked.promise;
    await turns(20);
    jest.advanceTimersByTime(999);
    res.end('first');
    expect(await readText(await first)).toBe('first');
    (await requests.next()).res.end('second');
    expect(await readText(await second)).toBe('second');
  });
});

describe('a hook whose result is used when the upstream has answered', () => {
  const hooks: [string, (hook: () => unknown, url: string) => SseProxyOptions][] = [
    [
      'responseHeaders.set["x-a"]',
      (hook, target) => ({ target, responseHeaders: { set: { 'x-a': hook } } as unknown as HeaderPolicy }),
    ],
    ['isEventStream', (hook, target) => ({ target, isEventStream: hook as () => boolean })],
    ['rewriteHeaders', (hook, target) => ({ target, rewriteHeaders: hook as () => void })],
    [
      'errorStatus',
      (hook, url) => ({
        provider: providerAt(url, { errorStatus: hook, errorBody: () => null }),
        commit: 'first-event',
      }),
    ],
  ];
  const cases = hooks.flatMap(([name, options]) =>
    ASYNC.map(([manner, hook]) => [name, manner, options, hook] as const),
  );

  it.each(cases)(
    'hook results on the response: %s must be synchronous: one that %s is a 502',
    async (name, _, options, hook) => {
      const proxy = await proxyApp(options(hook, await answeringUpstream('data: 1\n\n')));
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(response.rawHeaders.join()).not.toContain('Promise');
      await readAll(response);
      const { error } = await expectOneSummaryAndRest(proxy, {
        outcome: 'failed',
        error: { code: 'HOOK_FAILED', hook: name },
      });
      expect(error?.cause).toEqual(new TypeError(`\`${name}\` must be synchronous, but has returned a promise`));
    },
  );

  it.each(ASYNC)(
    'hook results on the response: streamsArray must be synchronous: one that %s is a 502',
    async (_, streamsArray) => {
      const url = await answeringUpstream('[]', { 'content-type': 'application/json' });
      const proxy = await proxyApp({ provider: providerAt(url, { streamsArray }) });
      expect((await request(proxy.url)).statusCode).toBe(502);
      await expectOneSummaryAndRest(proxy, { error: { code: 'HOOK_FAILED', hook: 'streamsArray' } });
    },
  );

  it.each<[string, unknown]>([
    ['a promise', Promise.resolve('x')],
    ['an object', {}],
    ['a function', () => 'x'],
    ['a list with null', ['a', null]],
  ])('hook results on the response: rewriteHeaders that sets a header to %s is a 502', async (_, value) => {
    const proxy = await proxyApp({
      target: await answeringUpstream('data: 1\n\n'),
      rewriteHeaders: ({ headers }) => {
        headers['x-a'] = value as string;
      },
    });
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(response.headers).not.toHaveProperty('x-a');
    await expectOneSummaryAndRest(proxy, { error: { code: 'HOOK_FAILED', hook: 'rewriteHeaders' } });
  });

  it.each<[string, (head: object) => object]>([
    ['no status', (head) => Object.assign(head, { statusCode: 'x' })],
    ['a status of 42', (head) => Object.assign(head, { statusCode: 42 })],
    ['no fields', (head) => Object.assign(head, { headers: null })],
    ['a reason that throws', (head) => Object.defineProperty(head, 'statusMessage', { get: throws })],
  ])('hook results on the response: rewriteHeaders that leaves %s is a 502', async (_, rewrite) => {
    const rewriteHeaders = rewrite as unknown as SseProxyOptions['rewriteHeaders'];
    const proxy = await proxyApp({
      target: await answeringUpstream('data: 1\n\n'),
      ...(rewriteHeaders && { rewriteHeaders }),
    });
    expect((await request(proxy.url)).statusCode).toBe(502);
    await expectOneSummaryAndRest(proxy, { outcome: 'failed', error: { code: 'HOOK_FAILED' } });
  });

  it.each<[string, unknown]>([
    ['42', 42],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ["'500'", '500'],
    ['200', 200],
    ['399', 399],
    ['600', 600],
    ['429.5', 429.5],
    ['0', 0],
    ['true', true],
    ['an object', {}],
    ['a bigint', 500n],
  ])('hook results on the response: errorStatus that gives %s is logged, and taken for 502', async (_, status) => {
    const { logger, errors } = logbook();
    const provider = providerAt(await answeringUpstream('data: {"oops":1}\n\n'), { errorStatus: () => status });
    const proxy = await proxyApp({ provider, commit: 'first-event', logger });
    const response = await request(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([502, '{"oops":1}']);
    await expectOneSummaryAndRest(proxy, {
      outcome: 'upstream-error',
      error: { code: 'UPSTREAM_ERROR_EVENT', statusCode: 502 },
    });
    expect(errors).toEqual([expect.stringContaining('errorStatus must give a status of 400 to 599, got')]);
  });

  it.each([undefined, null, false])(
    'hook results on the response: errorStatus that gives %s says that it is no error',
    async (status) => {
      const { logger, errors } = logbook();
      const provider = providerAt(await answeringUpstream('data: 1\n\n'), { errorStatus: () => status });
      const proxy = await proxyApp({ provider, commit: 'first-event', logger });
      expect(await readText(await request(proxy.url))).toBe('data: 1\n\n');
      await expectOneSummaryAndRest(proxy, { outcome: 'completed' });
      expect(errors).toEqual([]);
    },
  );

  it.each<[unknown, number]>([
    [1, 200],
    ['yes', 200],
    [{}, 200],
    [0, 502],
    ['', 502],
    [null, 502],
    [undefined, 502],
  ])(
    'hook results on the response: commit that gives %p is taken by its truth, and nothing is left to the provider: %i',
    async (verdict, status) => {
      const provider = providerAt(await answeringUpstream('data: 1\n\n'), { errorStatus: () => 502 });
      const proxy = await proxyApp({ provider, commit: () => verdict as boolean });
      expect((await request(proxy.url)).statusCode).toBe(status);
      await proxy.summary();
    },
  );

  it.each([undefined, async () => undefined])(
    'hook results on the response: commit that gives nothing leaves it to the provider',
    async (verdict) => {
      const commit = (verdict ?? (() => undefined)) as unknown as () => boolean;
      const proxy = await proxyApp({ target: await answeringUpstream('data: 1\n\n'), commit });
      expect((await request(proxy.url)).statusCode).toBe(200);
      await expectOneSummaryAndRest(proxy, { outcome: 'completed' });
    },
  );

  it.each(ASYNC)(
    'hook results on the response: fallbacks must be synchronous: one that %s is logged, and there is none',
    async (_, hook) => {
      const { logger, errors } = logbook();
      const target = `http://127.0.0.1:${await closedPort()}`;
      const proxy = await proxyApp({ target, logger, fallbacks: hook as unknown as () => undefined });
      expect((await request(proxy.url)).statusCode).toBe(502);
      await expectOneSummaryAndRest(proxy, { outcome: 'upstream-error' });
      expect(errors).toEqual([expect.stringContaining('fallbacks failed: TypeError: `fallbacks` must be synchronous')]);
    },
  );
});

describe("what a provider has for an error of the proxy's own", () => {
  const cycle: Record<string, unknown> = {};
  cycle.itself = cycle;

  it.each<[string, () => unknown]>([
    ...ASYNC,
    ['throws', throws],
    ['gives undefined', () => undefined],
    ['gives a function', () => () => {}],
    ['gives a symbol', () => Symbol('x')],
    ['gives a BigInt', () => ({ a: 1n })],
    ['gives a cycle', () => cycle],
    ['gives what throws when it is written', () => ({ toJSON: throws })],
  ])('hook results: the body of an error is ours, and that is logged, where errorBody %s', async (_, errorBody) => {
    const { logger, errors } = logbook();
    const provider = providerAt(`http://127.0.0.1:${await closedPort()}`, { errorBody });
    const proxy = await proxyApp({ provider, logger });
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(await codeIn(response)).toBe('UPSTREAM_UNREACHABLE');
    await expectOneSummaryAndRest(proxy, { outcome: 'upstream-error' });
    expect(errors).toEqual([expect.stringMatching(/^\[express-sse-proxy\] errorBody failed: /)]);
  });

  it.each<[string, () => unknown]>([
    ...ASYNC,
    ['throws', throws],
    ['gives a number', () => 42],
    ['gives a string', () => 'error'],
    ['gives a list that has no event', () => [42]],
    ['gives nothing to send', () => ({})],
    ['gives data that is none', () => ({ data: { a: 1 } })],
    ['gives what throws when it is read', () => Object.defineProperty({}, 'data', { get: throws, enumerable: true })],
  ])('hook results: the error event is left out, and that is logged, where errorEvent %s', async (_, errorEvent) => {
    const { logger, errors } = logbook();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: providerAt(url, { errorEvent }), logger });
    const client = openRequest(proxy.url).end();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    const response = await responseTo(client);
    response.once('data', () => res.destroy());
    const { body, cut } = await readUntilCut(response);
    expect(cut).toBe(true);
    expect(body.toString()).toBe('data: 1\n\n');
    await expectOneSummaryAndRest(proxy, { outcome: 'upstream-truncated' });
    expect(errors).toEqual([expect.stringMatching(/^\[express-sse-proxy\] errorEvent failed: /)]);
  });

  it("hook results: an error is answered whatever status the user's error has", async () => {
    for (const statusCode of [42, 200, Number.NaN]) {
      const proxy = await proxyApp({
        target: await answeringUpstream('data: 1\n\n'),
        isEventStream: () => {
          throw new SseProxyError('NOT_FOUND', { statusCode });
        },
      });
      expect((await request(proxy.url)).statusCode).toBe(404);
      await expectOneSummaryAndRest(proxy, { outcome: 'refused' });
    }
  });
});

describe('a hook that takes part in a stream', () => {
  it.each<[string, () => unknown]>([...ASYNC, ['throws', throws]])(
    'hook results in a stream: removes nothing any more where it is isExtra, and %s',
    async (_, isExtra) => {
      const { logger, errors } = logbook();
      const url = await answeringUpstream('data: 1\n\ndata: 2\n\n');
      const provider = providerAt(url, { editRequest: (body: string) => ({ body, isExtra }) });
      const proxy = await proxyApp({ provider, logger });
      expect(await readText(await request(proxy.url, JSON_REQUEST))).toBe('data: 1\n\ndata: 2\n\n');
      await expectOneSummaryAndRest(proxy, { outcome: 'completed' });
      expect(errors).toEqual([expect.stringMatching(/^\[express-sse-proxy\] isExtra failed: /)]);
    },
  );

  it.each([rejects, rejectsLater, resolves])(
    'hook results in a stream: ends it, honestly, where transformEvent gives a list of promises',
    async (item) => {
      const transformEvent = () => [item(), item(), { data: '1' }] as unknown as { data: string }[];
      const proxy = await proxyApp({ target: await answeringUpstream('data: 1\n\n'), transformEvent });
      expect((await readUntilCut(await request(proxy.url))).cut).toBe(true);
      const { error } = await expectOneSummaryAndRest(proxy, {
        error: { code: 'HOOK_FAILED', hook: 'transformEvent' },
      });
      expect(error?.cause).toMatchObject({ message: expect.stringMatching(/got an array with promise$/) });
    },
  );

  it('hook results in a stream: falls under timeouts.idle where it is transformEvent, and never settles', async () => {
    stopTheClock();
    const asked = signal();
    const transformEvent = (): Promise<never> => {
      asked.resolve();
      return never();
    };
    const proxy = await proxyApp({ target: await answeringUpstream('data: 1\n\n'), transformEvent });
    const response = await request(proxy.url);
    await asked.promise;
    await turns();
    jest.advanceTimersByTime(120_000);
    // The stages of a broken body have a moment to hand over what they have.
    jest.advanceTimersByTime(5_000);
    expect((await readUntilCut(response)).cut).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'timeout' });
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 42],
  ])(
    'hook results in a stream: does not keep an exchange from its end where read leaves %s for the usage',
    async (_, usage) => {
      const provider = providerAt(await answeringUpstream('data: 1\n\n'), {
        read: (_event: unknown, reading: { usage: unknown }) => {
          reading.usage = usage;
        },
      });
      const proxy = await proxyApp({ provider, onUsage() {} });
      expect(await readText(await request(proxy.url))).toBe('data: 1\n\n');
      await expectOneSummaryAndRest(proxy, { outcome: 'completed', usage: { complete: false } });
    },
  );

  it('hook results in a stream: does not end the process where read is async and fails, also when the end of a broken stream is looked for', async () => {
    const { logger, errors } = logbook();
    const { url, requests } = await manualUpstream();
    // Nobody wants to know what it says: only its last chunk is read, when it has broken off.
    const proxy = createSseProxy({ provider: providerAt(url, { read: rejects }), logger });
    const port = await listen(http.createServer(proxy));
    const client = openRequest(`http://127.0.0.1:${port}`).end();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    const response = await responseTo(client);
    response.once('data', () => res.destroy());
    expect((await readUntilCut(response)).cut).toBe(true);
    await proxy.drain({ grace: 0 });
    expect(errors).toEqual([expect.stringContaining('read failed: Error: the hook failed')]);
  });

  it.each(ASYNC)('hook results in a stream: aborts where it is onClientClose, and %s', async (_, onClientClose) => {
    const { logger, errors } = logbook();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, logger, onClientClose: onClientClose as unknown as () => 'abort' });
    const client = openRequest(proxy.url).end();
    const received = await requests.next();
    received.res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    await responseTo(client);
    client.destroy();
    await received.closed;
    await expectOneSummaryAndRest(proxy, { outcome: 'client-closed' });
    expect(errors).toEqual([
      expect.stringContaining('onClientClose failed: TypeError: `onClientClose` must be synchronous'),
    ]);
  });
});

describe('a logger that fails', () => {
  it.each<[string, () => unknown]>([...ASYNC, ['throws', throws]])(
    'a logger that fails: is harmless where each of its methods %s',
    async (_, level) => {
      const logger = { info: level, warn: level, error: level } as NonNullable<Options['logger']>;
      const fine = await proxyApp({ target: await answeringUpstream('data: 1\n\n'), logger, onFinish: throws });
      expect(await readText(await request(fine.url))).toBe('data: 1\n\n');
      await fine.summary();
      const broken = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, logger });
      expect((await request(broken.url)).statusCode).toBe(502);
      await expectOneSummaryAndRest(broken, { outcome: 'upstream-error' });
      const excluded = await proxyApp({ target: 'http://127.0.0.1:9', logger, pathFilter: throws });
      expect((await request(excluded.url)).statusCode).toBe(404);
      await turns(10);
    },
  );

  it('a logger that fails: is called as a method of its own', async () => {
    const said: unknown[] = [];
    class Logger {
      readonly #said = said;
      info(): void {
        this.#said.push('info');
      }
      warn(): void {}
      error(): void {
        this.#said.push('error');
      }
    }
    const proxy = await proxyApp({
      target: await answeringUpstream('data: 1\n\n'),
      logger: new Logger(),
      onFinish: throws,
    });
    await readAll(await request(proxy.url));
    await proxy.summary();
    expect(said).toEqual(['info', 'error']);
  });
});
