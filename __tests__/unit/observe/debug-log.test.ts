import { describe, expect, it } from '@jest/globals';
import { Secrets } from '../../../lib/credentials/secrets.js';
import { SseProxyError, type SseProxyErrorCode } from '../../../lib/errors.js';
import { AttemptPlan } from '../../../lib/failover/attempt-plan.js';
import { CircuitBreaker } from '../../../lib/failover/circuit-breaker.js';
import { sse } from '../../../lib/formats/sse.js';
import { DebugLog, debugLog } from '../../../lib/observe/debug-log.js';
import type { PlannedResponse } from '../../../lib/observe/observer.js';
import { resolveOptions } from '../../../lib/options/resolve.js';
import { openai } from '../../../lib/providers/index.js';
import { planBody } from '../../../lib/response/body-plan.js';
import type { Exchange } from '../../../lib/types/hooks.js';
import type { SseProxyOptions } from '../../../lib/types/options.js';
import { exchangeFor } from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const TARGET = 'http://own.example';
const KEY = 'sk-0123456789';

/** The diagnostics of a request, and what they said since, without the time. */
function notes(url = '/v1/chat?key=secret', method = 'POST') {
  const lines: string[] = [];
  const exchange = exchangeFor(url);
  Object.assign(exchange.req, { url, method });
  const diagnostics = new DebugLog(7, exchange, (line) => lines.push(line));
  return { exchange, diagnostics, news: () => lines.splice(0).map((line) => line.replace(/^#7 \+\d+ ms /, '')) };
}

describe('without NODE_DEBUG', () => {
  it('debug log without NODE_DEBUG: there are no lines, and the exchange is not looked at', () => {
    const exchange = new Proxy({} as Exchange, {
      get() {
        throw new Error('was looked at');
      },
    });
    expect(debugLog(exchange)).toBeUndefined();
  });
});

describe('a line', () => {
  it('debug log: a line has the number of the exchange, the milliseconds since it came in, and method and path', () => {
    const lines: string[] = [];
    const exchange = exchangeFor('/');
    Object.assign(exchange.req, { url: '/v1', method: 'GET' });
    new DebugLog(12, exchange, (line) => lines.push(line));
    expect(lines).toEqual([expect.stringMatching(/^#12 \+\d+ ms GET \/v1$/)]);
  });

  it('debug log: a line has no queries, and nothing that breaks it', () => {
    expect(notes('/v1\r\n#8 +0 ms ended\u001b[2K?key=secret', 'GE\nT').news()).toEqual(['GE\\nT /v1\\r\\n']);
    expect(notes('/v1\u009b2K\u001b?key=secret').news()).toEqual(['POST /v1\\u009b2K\\u001b']);
    expect(notes('http://user:secret@own.example/v1').news()).toEqual(['POST /v1']);
  });
});

describe('an attempt', () => {
  const sending = (path: string, target: string, provider?: string, method = 'POST'): string | undefined => {
    const { exchange, diagnostics, news } = notes('/', method);
    Object.assign(exchange, { path, target, attempts: [{ target: 'http://other' }, { target }] });
    news();
    diagnostics.attempt(target, {
      route: {
        provider: provider === undefined ? undefined : Object.assign(openai({ apiKey: KEY }), { name: provider }),
      },
      secrets: new Secrets({ authorization: `Bearer ${KEY}` }),
    });
    return news()[0];
  };

  it('debug log: an attempt has its number, its target, its path and its provider', () => {
    expect(sending('/v1/chat', TARGET, 'openai')).toBe('attempt 2: POST http://own.example/v1/chat as openai');
    expect(sending('/v1/chat', TARGET)).toBe('attempt 2: POST http://own.example/v1/chat');
  });

  it('debug log: an attempt has neither the query nor the key in it', () => {
    expect(sending('/v1?key=secret', TARGET)).toBe('attempt 2: POST http://own.example/v1');
    expect(sending(`/bot/${KEY}/send`, TARGET)).toBe(`attempt 2: POST http://own.example/bot/${'*'.repeat(13)}/send`);
  });

  it('debug log: an attempt has nothing that breaks it', () => {
    expect(sending('/v1', TARGET, 'a b\n')).toBe('attempt 2: POST http://own.example/v1 as a\\u0020b\\n');
    expect(sending('/a b\n', TARGET, undefined, 'GE\nT')).toBe('attempt 2: GE\\nT http://own.example/a\\u0020b\\n');
  });
});

describe('a head', () => {
  const SSE = 'text/event-stream; charset=utf-8';

  function headLine(
    headers: PlannedResponse['headers'],
    options: Partial<SseProxyOptions> = {},
    {
      statusCode = 200,
      isGated = false,
      hasBody = true,
      accepts = '',
      eventStream = headers['content-type'] === SSE,
    } = {},
  ): string | undefined {
    const { exchange, diagnostics, news } = notes();
    const config = resolveOptions({ target: TARGET, ...options } as SseProxyOptions);
    exchange.req.headers['accept-encoding'] = accepts;
    const streamFormat = eventStream ? sse : undefined;
    const kind = { streamFormat, hasExtras: false, provider: config.provider };
    const plan = hasBody ? planBody({ config, req: exchange.req, headers, ...kind }) : undefined;
    news();
    diagnostics.planned({ statusCode, headers, isGated, eventStream, plan });
    return news()[0];
  }

  const provider = openai({ apiKey: KEY });
  const onFinish = (): void => {};
  const transformEvent = (): null => null;
  const onEvent = (): void => {};

  it.each<[string, PlannedResponse['headers'], Partial<SseProxyOptions>]>([
    ['head: 200, text/event-stream, event stream', { 'content-type': SSE }, {}],
    ['head: 200, application/json', { 'content-type': 'application/json; secret=1' }, {}],
    ['head: 200, application/json', { 'content-type': 'application/json' }, { onEvent, transformEvent }],
    ['head: 200, application/json', { 'content-type': 'application/json' }, { onFinish }],
    ['head: 200, application/json, read', { 'content-type': 'application/json' }, { onFinish, provider }],
    ['head: 200, no content type', {}, {}],
    ['head: 200, no content type', { 'content-type': 'nonsense' }, {}],
    ['head: 200, text/event-stream, event stream, read', { 'content-type': SSE }, { onFinish, provider }],
    ['head: 200, text/event-stream', { 'content-type': [SSE, 'a/b'] }, {}],
    ['head: 200, text/event-stream, event stream, observe', { 'content-type': SSE }, { onEvent }],
    ['head: 200, text/event-stream, event stream, transform', { 'content-type': SSE }, { transformEvent }],
    ['head: 200, text/event-stream, event stream, heartbeat', { 'content-type': SSE }, { heartbeat: {} }],
    [
      'head: 200, text/event-stream, event stream',
      { 'content-type': SSE, 'cache-control': 'no-transform' },
      { transformEvent },
    ],
    [
      'head: 200, text/event-stream, event stream, decode gzip, observe, transform, heartbeat',
      { 'content-type': SSE, 'content-encoding': 'gzip' },
      { onEvent, transformEvent, heartbeat: {} },
    ],
    [
      'head: 200, text/event-stream, event stream, cannot be transformed',
      { 'content-type': SSE, 'content-encoding': 'x-own' },
      { transformEvent },
    ],
    [
      'head: 200, text/event-stream, event stream, cannot be read: x-own\\u009b,\\u0020gzip',
      { 'content-type': SSE, 'content-encoding': 'x-own\u009b, gzip' },
      { onEvent },
    ],
    [
      'head: 200, text/event-stream, event stream',
      { 'content-type': SSE, 'content-encoding': 'x-own' },
      { truncation: 'event' },
    ],
  ])('debug log: a head %s', (expected, headers, options) => {
    expect(headLine(headers, options)).toBe(expected);
  });

  it.each<[string, Partial<SseProxyOptions>]>([
    ['head: 200, text/event-stream, event stream, decode gzip aside, observe', { onEvent }],
    ['head: 200, text/event-stream, event stream, decode gzip aside, read', { onFinish, provider }],
    ['head: 200, text/event-stream, event stream', { truncation: 'event' }],
  ])('debug log: a head has what is decoded for ourselves only: %s', (expected, options) => {
    const headers = { 'content-type': SSE, 'content-encoding': 'gzip' };
    expect(headLine(headers, options, { accepts: 'gzip' })).toBe(expected);
  });

  it('debug log: a head has its status, and whether it waits for its first event', () => {
    expect(headLine({}, {}, { statusCode: 503 })).toBe('head: 503, no content type');
    expect(headLine({ 'content-type': SSE }, {}, { isGated: true })).toBe(
      'head: 200, text/event-stream, event stream, waits for its first event',
    );
  });

  it('debug log: a head says what is an event stream as it was decided', () => {
    const plain = { 'content-type': 'text/plain' };
    expect(headLine(plain, {}, { eventStream: true })).toBe('head: 200, text/plain, event stream');
    expect(headLine({ 'content-type': SSE }, {}, { eventStream: false })).toBe('head: 200, text/event-stream');
  });

  it('debug log: a head does nothing with a body that cannot be there', () => {
    const head = headLine({ 'content-type': SSE }, { onEvent }, { statusCode: 204, hasBody: false });
    expect(head).toBe('head: 204, text/event-stream, event stream');
  });
});

describe('a failure', () => {
  const failing = (code: SseProxyErrorCode, cause?: unknown): string | undefined => {
    const { diagnostics, news } = notes();
    news();
    diagnostics.retry({ error: new SseProxyError(code, { cause }) }, 'fallback', 0);
    return news()[0];
  };

  it('debug log: a failure has its codes', () => {
    expect(failing('UPSTREAM_CLOSED')).toBe('failed: UPSTREAM_CLOSED; falls back');
    expect(failing('UPSTREAM_CLOSED', { code: 'ECONNRESET' })).toBe('failed: UPSTREAM_CLOSED (ECONNRESET); falls back');
  });

  it.each([
    new Error(KEY),
    KEY,
    null,
    { code: KEY },
    { code: 'E\nX' },
    { code: 5 },
    { code: ['E2BIG'] },
    { code: `E${'X'.repeat(100)}` },
  ])('debug log: a failure says no more: %p', (cause) => {
    expect(failing('HOOK_FAILED', cause)).toBe('failed: HOOK_FAILED; falls back');
  });

  it('debug log: a failure has what comes of it', () => {
    const { diagnostics, news } = notes();
    news();
    diagnostics.retry({ statusCode: 503 }, 'retry', 412.3);
    diagnostics.retry({ statusCode: 529 }, 'fallback', 0);
    diagnostics.cannotRetry({ statusCode: 429 });
    diagnostics.retry({ error: new SseProxyError('UPSTREAM_CLOSED') }, 'fresh-connection', 0);
    expect(news()).toEqual([
      'failed: status 503; again in 412 ms',
      'failed: status 529; falls back',
      "failed: status 429; the request's body was not kept for another attempt",
      'failed: UPSTREAM_CLOSED, on a pooled connection; again on a fresh one',
    ]);
  });
});

describe('a target that is skipped', () => {
  it.each([
    ['http://user:secret@own.example/v1?key=secret', 'http://own.example'],
    [new URL('https://user:secret@own.example:8443/v1'), 'https://own.example:8443'],
    [{ host: 'own example' }, 'own\\u0020example'],
    [{ hostname: 'own.example', host: 'other.example' }, 'own.example'],
    [{ socketPath: '/run/own.sock' }, '/run/own.sock'],
    [undefined, 'the target'],
  ])('debug log: a target that is skipped is named without credentials: %p', (target, expected) => {
    const { diagnostics, news } = notes();
    news();
    diagnostics.skipped(target);
    expect(news()).toEqual([`skips ${expected}: its circuit is open`]);
  });

  it('debug log: a target that is skipped is told of where the attempts of an exchange pass it over', () => {
    const { exchange, diagnostics, news } = notes();
    const config = resolveOptions({ target: TARGET, fallbacks: ['http://first.example', 'http://second.example'] });
    const circuits = new Map(config.routes.map((route) => [route, new CircuitBreaker()]));
    for (const route of config.routes.slice(0, 2)) {
      for (let i = 0; i < 5; i += 1) circuits.get(route)?.insist().failed();
    }
    news();
    const route = new AttemptPlan({ config, circuits, exchange, observer: diagnostics }).begin();
    expect(route).toBe(config.routes[2]);
    expect(news()).toEqual([
      'skips the target: its circuit is open',
      'skips http://first.example: its circuit is open',
    ]);
  });
});

describe('a stall', () => {
  it.each([
    [{ cause: 'upstream', phase: 'idle' }, 'the upstream sends nothing'],
    [{ cause: 'client', phase: 'drain' }, 'the client does not read'],
    [{ cause: 'client', phase: 'headers' }, 'the client does not send the rest of its request'],
    [{ cause: 'hook', hook: 'router' }, '`router` has not settled'],
    [{ cause: 'event-loop' }, 'the event loop was blocked'],
  ] as const)('debug log: a stall has its cause: %j', (stall, expected) => {
    const { diagnostics, news } = notes();
    news();
    diagnostics.stalled({ ...stall, duration: 10_412.3 });
    expect(news()).toEqual([`stalled for 10412 ms: ${expected}`]);
  });
});

describe('an end', () => {
  it('debug log: an end has the outcome, the status, the bytes and the codes', () => {
    const { diagnostics, news } = notes();
    news();
    const error = new SseProxyError('UPSTREAM_TRUNCATED', { cause: { code: 'ECONNRESET' } });
    const rest = { attempts: [], timings: { total: 0 } };
    diagnostics.ended({ outcome: 'completed', statusCode: 200, bytes: 17_306, ...rest });
    diagnostics.ended({ outcome: 'client-closed', bytes: 0, ...rest });
    diagnostics.ended({ outcome: 'upstream-truncated', statusCode: 200, bytes: 9, error, ...rest });
    expect(news()).toEqual([
      'ended: completed, 200, 17306 bytes',
      'ended: client-closed, no status, 0 bytes',
      'ended: upstream-truncated, 200, 9 bytes, UPSTREAM_TRUNCATED (ECONNRESET)',
    ]);
  });
});
