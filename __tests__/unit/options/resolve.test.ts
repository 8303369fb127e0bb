import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { HPM_OPTIONS } from '../../../lib/options/hpm-schema.js';
import { resolveOptions } from '../../../lib/options/resolve.js';
import { openai } from '../../../lib/providers/index.js';
import type { SseProxyOptions } from '../../../lib/types/options.js';

const target = 'http://127.0.0.1:1';

/** As plain JavaScript may call it. */
function resolve(options: unknown): ReturnType<typeof resolveOptions> {
  return resolveOptions(options as SseProxyOptions);
}

/** The message of what is thrown, which must be a TypeError. */
function complaint(options: unknown): string {
  try {
    resolve(options);
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError);
    return (error as TypeError).message;
  }
  throw new Error(`accepted ${inspect(options)}`);
}

const booleans = [
  'ejectPlugins',
  'http2',
  'ws',
  'xfwd',
  'secure',
  'toProxy',
  'prependPath',
  'ignorePath',
  'changeOrigin',
  'preserveHeaderKeyCase',
  'autoRewrite',
  'selfHandleResponse',
];
const strings = ['localAddress', 'auth', 'hostRewrite', 'protocolRewrite'];
const functions = ['isEventStream', 'rewriteHeaders', 'onEvent', 'transformEvent', 'onUsage', 'onFinish'];
const durations = ['proxyTimeout', 'upgradeTimeout', 'timeout'];

describe('a value that cannot be right is named and quoted', () => {
  const cases: [name: string, value: unknown, quoted: string][] = [
    ...booleans.map((name): [string, unknown, string] => [name, 'yes', "'yes'"]),
    ...strings.map((name): [string, unknown, string] => [name, 5, '5']),
    ...functions.map((name): [string, unknown, string] => [name, true, 'true']),
    ...durations.map((name): [string, unknown, string] => [name, '100', "'100'"]),
    ...['proxyTimeout', 'timeout'].flatMap((name): [string, unknown, string][] => [
      [name, -1, '-1'],
      [name, Number.NaN, 'NaN'],
      [name, Number.POSITIVE_INFINITY, 'Infinity'],
    ]),
    ...['target', 'forward'].flatMap((name): [string, unknown, string][] => [
      [name, 'localhost:8080', "'localhost:8080'"],
      [name, '/path', "'/path'"],
      [name, '', "''"],
      [name, 'ftp://127.0.0.1', "'ftp://127.0.0.1'"],
      [name, 8080, '8080'],
    ]),
    ['router', 'http://127.0.0.1', "'http://127.0.0.1'"],
    ['pathFilter', 7, '7'],
    ['pathRewrite', '/api', "'/api'"],
    ['plugins', 'plugin', "'plugin'"],
    ['on', 'proxyRes', "'proxyRes'"],
    ['logger', true, 'true'],
    ['ssl', 'cert', "'cert'"],
    ['cookieDomainRewrite', true, 'true'],
    ['cookiePathRewrite', 1, '1'],
    ['headers', 'x-a: 1', "'x-a: 1'"],
    ['followRedirects', 'yes', "'yes'"],
    ['buffer', 'text', "'text'"],
    ['onError', 'throw', "'throw'"],
    ['noTransform', 'never', "'never'"],
    ['truncation', true, 'true'],
    ['via', 1, '1'],
    ['via', '', "''"],
    ['via', 'my gateway', "'my gateway'"],
    ['via', 'a, 1.1 b', "'a, 1.1 b'"],
    ['via', 'a:port', "'a:port'"],
    ['ca', true, 'true'],
    ['ca', '/etc/ssl/ca.pem', "'/etc/ssl/ca.pem'. If that is a path, write readFileSync(...)"],
    ['ca', Buffer.from('der'), 'an object'],
    ['ca', [], 'an array'],
    ['ca', ['-----BEGIN CERTIFICATE-----', 'ca.pem'], 'an array'],
    ['heartbeat', 15_000, '15000'],
    ['limits', '1mb', "'1mb'"],
    ['provider', 'openai', "'openai'"],
    ['requestHeaders', 'cookie', "'cookie'"],
    ['responseHeaders', ['server'], 'an array'],
    ['allow', 'GET /v1', "'GET /v1'"],
    ['allow', [/v1/], 'an array'],
    ['timeouts', 5000, '5000'],
    ['timeouts', false, 'false'],
    ['retry', 3, '3'],
    ['fallbacks', 'http://127.0.0.1:2', "'http://127.0.0.1:2'"],
    ['fallbacks', { target: 'http://127.0.0.1:2' }, 'an object'],
    ['fallbacks', openai({ apiKey: 'sk-test' }), 'an object. Write a list: [provider]'],
    ['commit', true, 'true'],
    ['commit', 'first', "'first'"],
    ['commit', ['head'], 'an array'],
    ['onClientClose', 'stop', "'stop'"],
    ['onClientClose', true, 'true'],
    ['onClientClose', ['abort'], 'an array'],
  ];

  it.each(cases)('options: a wrong value is named and quoted %s: %p', (name, value, quoted) => {
    const message = complaint({ target, [name]: value });
    expect(message).toMatch(new RegExp(`^\`${name}\` must be `));
    expect(message).toContain(`got ${quoted}`);
  });

  it('options: a wrong value is named and quoted also where only a part of it is wrong', () => {
    expect(complaint({ target, on: { proxyRes: true } })).toContain('`on`');
    expect(complaint({ target, plugins: [() => {}, 'x'] })).toContain('`plugins`');
    expect(complaint({ target, pathFilter: ['/a', 1] })).toContain('`pathFilter`');
    expect(complaint({ target, cookieDomainRewrite: { a: 1 } })).toContain('`cookieDomainRewrite`');
    expect(complaint({ target, headers: { 'x-a': 1 } })).toContain('`headers`');
    expect(complaint({ target, logger: { info() {}, warn() {} } })).toContain('`logger`');
  });

  it.each([
    ['heartbeat', { interval: 0 }, '`heartbeat.interval` must be a number of milliseconds, 1 or more, got 0'],
    ['heartbeat', { interval: '15s' }, "`heartbeat.interval` must be a number of milliseconds, 1 or more, got '15s'"],
    ['heartbeat', { interval: 2 ** 31 }, '`heartbeat.interval` must be'],
    ['heartbeat', { interval: Number.NaN }, '`heartbeat.interval` must be'],
    ['heartbeat', { comment: 'a\nb' }, '`heartbeat.comment` must be a string without line breaks'],
    ['heartbeat', { every: 5 }, 'Unknown option `heartbeat.every`'],
    ['requestHeaders', { allow: ['cookie'] }, 'Unknown option `requestHeaders.allow`'],
    [
      'requestHeaders',
      { pass: 'cookie' },
      '`requestHeaders.pass` must be an array whose items are each a name or a pattern',
    ],
    ['responseHeaders', { remove: [5] }, '`responseHeaders.remove` must be'],
    ['responseHeaders', { set: { 'x-a': 5 } }, '`responseHeaders.set` must be an object of strings and functions'],
    ['responseHeaders', { set: { trailer: 'a' } }, '`responseHeaders` cannot change `trailer`'],
    ['limits', { eventSize: 0 }, "`limits.eventSize` must be a number of bytes, 1 or more, or a string such as '10mb'"],
    ['limits', { eventSize: '10 apples' }, "got '10 apples'"],
    ['limits', { eventSize: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['limits', { requests: 5 }, 'Unknown option `limits.requests`'],
    ['limits', { toString: 5 }, 'Unknown option `limits.toString`'],
    [
      'limits',
      { requestBody: -1 },
      "`limits.requestBody` must be a number of bytes or a string such as '10mb', got -1",
    ],
    ['limits', { requestBody: 'much' }, "got 'much'"],
    ['limits', { requestBody: null }, 'got null'],
    ['limits', { concurrency: 0 }, '`limits.concurrency` must be a whole number, 1 or more, got 0'],
    ['limits', { concurrency: 1.5 }, 'got 1.5'],
    ['limits', { concurrency: '10' }, "got '10'"],
    ['limits', { concurrency: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['limits', { queue: 10 }, '`limits.queue` must be an object, got 10'],
    ['limits', { queue: { size: -1 } }, '`limits.queue.size` must be a whole number, 0 or more, got -1'],
    ['limits', { queue: { size: '5' } }, "`limits.queue.size` must be a whole number, 0 or more, got '5'"],
    [
      'limits',
      { queue: { size: 5, timeout: 0 } },
      '`limits.queue.timeout` must be a number of milliseconds, 1 or more, got 0',
    ],
    ['limits', { queue: { size: 5, length: 5 } }, 'Unknown option `limits.queue.length`'],
    ...['connect', 'headers', 'idle', 'drain', 'total'].flatMap((phase): [string, object, string][] => [
      [
        'timeouts',
        { [phase]: 0 },
        `\`timeouts.${phase}\` must be a number of milliseconds, 1 or more, or false, got 0`,
      ],
      ['timeouts', { [phase]: true }, `\`timeouts.${phase}\` must be a number of milliseconds, 1 or more, or false`],
    ]),
    ['timeouts', { idle: '30s' }, "got '30s'"],
    ['timeouts', { idle: 2 ** 31 }, 'got 2147483648'],
    ['timeouts', { idle: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['timeouts', { idle: Number.NaN }, 'got NaN'],
    ['timeouts', { request: 5 }, 'Unknown option `timeouts.request`'],
    ['retry', { maxRetries: -1 }, '`retry.maxRetries` must be a whole number, 0 or more, got -1'],
    ['retry', { maxRetries: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['retry', { methods: 'POST' }, "`retry.methods` must be an array whose items are each a string, got 'POST'"],
    ['retry', { methods: [5] }, '`retry.methods` must be an array whose items are each a string, got an array'],
    ['retry', { statusCodes: 503 }, '`retry.statusCodes` must be an array whose items are each a number, got 503'],
    ['retry', { statusCodes: ['503'] }, '`retry.statusCodes` must be an array whose items are each a number'],
    ['retry', { errorCodes: [undefined] }, '`retry.errorCodes` must be an array whose items are each a string'],
    ['retry', { minTimeout: 0 }, '`retry.minTimeout` must be a number of milliseconds, 1 or more, got 0'],
    ['retry', { maxTimeout: '30s' }, "`retry.maxTimeout` must be a number of milliseconds, 1 or more, got '30s'"],
    ['retry', { timeoutFactor: 0.5 }, '`retry.timeoutFactor` must be a number, 1 or more, got 0.5'],
    ['retry', { timeoutFactor: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['retry', { retryAfter: 1 }, '`retry.retryAfter` must be a boolean, got 1'],
    [
      'retry',
      { maxBodySize: 'all' },
      "`retry.maxBodySize` must be a number of bytes or a string such as '10mb', got 'all'",
    ],
    ['retry', { retries: 3 }, 'Unknown option `retry.retries`'],
    ['retry', { constructor: 3 }, 'Unknown option `retry.constructor`'],
  ])('options: a wrong value is named and quoted within %s: %p', (name, value, message) => {
    expect(complaint({ target, [name]: value })).toContain(message);
  });

  it.each([undefined, null, 'http://127.0.0.1:1', 5])(
    'options: options that are none are named and quoted: %p',
    (options) => {
      expect(complaint(options)).toContain(inspect(options));
    },
  );
});

describe('a value that is right', () => {
  it.each([
    ['target', new URL('https://api.example')],
    ['target', 'wss://api.example/path'],
    ['target', { host: '127.0.0.1', port: 80 }],
    ['target', { protocol: 'https:', hostname: 'api.example' }],
    ['target', { socketPath: '/run/api.sock' }],
    ['forward', 'http://127.0.0.1:2'],
    ['router', { 'a.example': 'http://127.0.0.1:2' }],
    ['router', () => target],
    ['pathFilter', '/api'],
    ['pathFilter', ['/a', '/b']],
    ['pathFilter', () => true],
    ['pathRewrite', { '^/a': '' }],
    ['pathRewrite', (path: string) => path],
    ['on', { proxyReq() {}, error: undefined }],
    ['on', {}],
    ['plugins', []],
    ['logger', console],
    ['agent', false],
    ['cookieDomainRewrite', false],
    ['cookieDomainRewrite', ''],
    ['cookiePathRewrite', { '/a': '/b' }],
    ['headers', { authorization: 'Bearer x', 'x-list': ['a', 'b'] }],
    ['followRedirects', 3],
    ['proxyTimeout', 0],
    ['onError', 'next'],
    ['heartbeat', false],
    ['heartbeat', {}],
    ['heartbeat', { interval: 20_000, comment: '' }],
    ['limits', {}],
    ['limits', { eventSize: 1000 }],
    ['limits', { eventSize: '1.5mb' }],
    ['limits', { eventSize: undefined }],
    ['truncation', 'event'],
    ['noTransform', 'ignore'],
    ['via', false],
    ['via', true],
    ['via', 'gw.example:8080'],
    ['ca', '-----BEGIN CERTIFICATE-----'],
    ['ca', Buffer.from('-----BEGIN CERTIFICATE-----')],
    ['ca', ['-----BEGIN CERTIFICATE-----', Buffer.from('-----BEGIN CERTIFICATE-----')]],
    ['provider', openai({ apiKey: 'sk-test' })],
    ['timeouts', {}],
    ['timeouts', { connect: 1, headers: 2 ** 31 - 1, idle: false, drain: 0.5 + 1, total: 60_000 }],
    ['timeouts', { connect: undefined }],
    ['retry', false],
    ['retry', {}],
    ['retry', { maxRetries: 0, methods: [], statusCodes: [], errorCodes: [], timeoutFactor: 1, maxBodySize: 0 }],
    ['retry', { methods: ['post'], minTimeout: 1, maxTimeout: 1, retryAfter: false, maxBodySize: '64kb' }],
    ['fallbacks', []],
    ['fallbacks', ['http://127.0.0.1:2', new URL('http://127.0.0.1:3'), { host: '127.0.0.1', port: 4 }]],
    ['fallbacks', [{ target: 'http://127.0.0.1:2', pathRewrite: String, headers: { 'x-a': '1' } }]],
    ['fallbacks', [{ provider: openai({ apiKey: 'sk-test' }) }]],
    ['fallbacks', [openai({ apiKey: 'sk-test' }), { target: 'http://127.0.0.1:2', model: 'm', editBody: String }]],
    ['fallbacks', () => undefined],
    ['commit', 'head'],
    ['commit', 'first-event'],
    ['commit', () => true],
    ['onClientClose', 'abort'],
    ['onClientClose', 'continue'],
    ['onClientClose', () => 'abort'],
    ['limits', { requestBody: 0 }],
    ['limits', { requestBody: '10mb', concurrency: 1, queue: { size: 0 } }],
    ['limits', { queue: { size: 5, timeout: 1 } }],
    ['limits', { queue: undefined }],
  ])('options: a right value %s: %p', (name, value) => {
    expect(() => resolve({ target, [name]: value })).not.toThrow();
  });

  it.each([...booleans, ...strings, ...durations, 'agent', 'on', 'plugins', 'router', 'headers', 'logger'])(
    'options: a right value %s: undefined is the same as none, and keeps the default',
    (name) => {
      expect(Object.keys(resolve({ target, [name]: undefined }).hpm)).toEqual(['target']);
    },
  );

  it.each(Object.keys(HPM_OPTIONS).filter((name) => !['target', 'agent', 'pathFilter'].includes(name)))(
    'options: a right value %s: null is none, as in http-proxy-middleware',
    (name) => {
      expect(Object.keys(resolve({ target, [name]: null }).hpm)).toEqual(['target']);
    },
  );

  it('options: a right value: null for the target is none, and for the agent no agent', () => {
    expect(complaint({ target: null })).toContain('needs `target`');
    expect(resolve({ target: null, router: () => target }).hpm).not.toHaveProperty('target');
    expect(resolve({ target, agent: null }).hpm.agent).toBeNull();
  });

  it.each([...functions.filter((name) => !Object.hasOwn(HPM_OPTIONS, name)), 'pathFilter', 'onError'])(
    'options: a right value %s: null is none',
    (name) => {
      expect(complaint({ target, [name]: null })).toContain(`\`${name}\` must be `);
    },
  );
});

describe('a name that is not known', () => {
  it('options: an unknown name is refused', () => {
    expect(complaint({ target, apples: 3 })).toBe('Unknown option `apples`');
  });

  it.each([
    ['rewriteheaders', 'rewriteHeaders'],
    ['OnFinish', 'onFinish'],
    ['changeorigin', 'changeOrigin'],
    ['WS', 'ws'],
  ])('options: an unknown name %s is in the wrong letter case', (name, right) => {
    expect(complaint({ target, [name]: true })).toBe(`Unknown option \`${name}\`. Did you mean \`${right}\`?`);
  });

  it.each([
    ['onProxyReq', 'on.proxyReq'],
    ['onProxyRes', 'on.proxyRes'],
    ['onProxyReqWs', 'on.proxyReqWs'],
    ['onOpen', 'on.open'],
    ['onClose', 'on.close'],
    ['logLevel', 'logger'],
    ['logProvider', 'logger'],
    ['context', 'pathFilter'],
  ])("options: an unknown name %s was once http-proxy-middleware 2's", (name, today) => {
    const message = complaint({ target, [name]: () => {} });
    expect(message).toContain(`Unknown option \`${name}\``);
    expect(message).toContain(`\`${today}\``);
  });

  it('options: an unknown name onError with a function is the one of version 2', () => {
    const message = complaint({ target, onError() {} });
    expect(message).toContain("`onError` must be 'respond' or 'next'");
    expect(message).toContain('`on.error`');
    expect(complaint({ target, onError: 'throw' })).not.toContain('on.error');
  });

  it.each(['__proto__', 'constructor', 'toString'])('options: an unknown name %s is not an option either', (name) => {
    const options = Object.defineProperty({ target }, name, { value: 'x', enumerable: true });
    expect(complaint(options)).toBe(`Unknown option \`${name}\``);
  });
});

describe('a target', () => {
  it.each([[{}], [{ ws: true }], [{ forward: target }], [{ target: undefined }]])(
    'options, target: is missing in %p',
    (options) => {
      expect(complaint(options)).toContain('needs `target`');
    },
  );

  it('options, target: is not needed with a router', () => {
    expect(() => resolve({ router: () => target })).not.toThrow();
  });
});

describe('options that do not go together', () => {
  const provider = openai({ apiKey: 'sk-test' });

  it('options that do not go together: are onUsage without a provider', () => {
    expect(complaint({ target, onUsage() {} })).toBe('`onUsage` needs a `provider`');
  });

  it('options that do not go together: are a provider and WebSockets, which would go without its credentials', () => {
    expect(complaint({ provider, ws: true })).toContain('`ws` cannot be combined with `provider`');
  });

  it.each([
    ['onEvent', () => {}],
    ['transformEvent', () => {}],
    ['heartbeat', {}],
    ['onUsage', () => {}],
    ['commit', 'first-event'],
  ])('options that do not go together: are %s and selfHandleResponse', (name, value) => {
    const message = complaint({ provider, selfHandleResponse: true, [name]: value });
    expect(message).toBe(`\`${name}\` needs the response, which \`selfHandleResponse\` leaves to you`);
    expect(() => resolve({ target, selfHandleResponse: true, heartbeat: false, commit: 'head' })).not.toThrow();
  });
});

describe('a provider', () => {
  it('options, provider: gives the target, unless the options do', () => {
    const provider = openai({ apiKey: 'sk-test' });
    expect(resolve({ provider }).hpm.target).toBe('https://api.openai.com');
    expect(resolve({ provider, target: undefined }).hpm.target).toBe('https://api.openai.com');
    expect(resolve({ provider, target }).hpm.target).toBe(target);
  });

  it('options, provider: has its target checked, too', () => {
    expect(complaint({ provider: { ...openai({ apiKey: 'sk-test' }), target: 'api.example' } })).toContain(
      '`target` must be',
    );
  });

  it('options, provider: has its answers read only where somebody wants to know', () => {
    const provider = openai({ apiKey: 'sk-test' });
    expect(resolve({ provider }).reads).toBe(false);
    expect(resolve({ provider, onUsage() {} }).reads).toBe(true);
    expect(resolve({ provider, onFinish() {} }).reads).toBe(true);
  });
});

describe('a fallback', () => {
  it.each([
    ['is no URL', 'localhost:8080', "A fallback must be a target or an object, got 'localhost:8080'"],
    ['has another protocol', 'ftp://127.0.0.1', "A fallback must be a target or an object, got 'ftp://127.0.0.1'"],
    ['is a number', 8080, 'A fallback must be a target or an object, got 8080'],
    ['is null', null, 'A fallback must be a target or an object, got null'],
    ['is a list', ['http://127.0.0.1:2'], 'A fallback must be a target or an object, got an array'],
    ['has no target', {}, 'A fallback needs a `target`, or a `provider` that has one'],
    ['has only headers', { headers: {} }, 'A fallback needs a `target`, or a `provider` that has one'],
    ['has a target that is none', { target: 'localhost' }, '`fallbacks.target` must be an absolute URL'],
    ['has a provider that is none', { provider: 'openai' }, '`fallbacks.provider` must be a provider'],
    [
      'has a provider at no address',
      { provider: { ...openai({ apiKey: 'sk-test' }), target: 'api.example' } },
      'A fallback needs a `target`, or a `provider` that has one',
    ],
    [
      'has a table for a path',
      { target, pathRewrite: { '^/a': '' } },
      '`fallbacks.pathRewrite` must be a function, got an object',
    ],
    ['has headers in a line', { target, headers: 'x-a: 1' }, '`fallbacks.headers` must be'],
    ['has a header that is a number', { target, headers: { 'x-a': 1 } }, '`fallbacks.headers` must be'],
    ['has a model that is none', { target, model: '' }, "`fallbacks.model` must be a string that is not empty, got ''"],
    ['has a model in a function', { target, model: () => 'm' }, '`fallbacks.model` must be a string'],
    ['has an edited body', { target, editBody: '{}' }, "`fallbacks.editBody` must be a synchronous function, got '{}'"],
    [
      'has an async `editBody`',
      { target, async editBody() {} },
      '`fallbacks.editBody` must be a synchronous function, got a function. It is async',
    ],
    [
      'is a provider at no address',
      { ...openai({ apiKey: 'sk-test' }), target: 'api.example' },
      'A fallback needs a `target`, or a `provider` that has one',
    ],
    [
      'is a provider that was not called',
      openai,
      'A fallback must be a target or an object, got a function. Call it: openai(',
    ],
    ['misspells `model`', { target, modle: 'm' }, 'Unknown option `fallbacks.modle`. Did you mean `model`?'],
    ['has a name that is not known', { target, header: {} }, 'Unknown option `fallbacks.header`'],
  ])('options, fallbacks: is refused where it %s', (_how, fallback, message) => {
    expect(complaint({ target, fallbacks: [fallback] })).toContain(message);
    expect(complaint({ target, fallbacks: ['http://127.0.0.1:2', fallback] })).toContain(message);
  });

  it('options, fallbacks: is a route behind that of the options, with what it has of its own', () => {
    const own = openai({ apiKey: 'sk-own' });
    const other = openai({ apiKey: 'sk-other', target: 'http://127.0.0.1:3' });
    const url = new URL('http://127.0.0.1:2');
    const pathRewrite = (path: string): string => path;
    const headers = { 'x-a': '1' };
    const editBody = (body: string): string => body;
    const none = { pathRewrite: undefined, headers: {} };
    const { routes, nextFallback } = resolve({
      provider: own,
      headers: { 'x-own': '1' },
      pathRewrite: { '^/a': '' },
      fallbacks: [
        target,
        url,
        { socketPath: '/run/api.sock' },
        { target: url },
        { provider: other },
        { provider: other, target, pathRewrite, headers },
        other,
        { target, model: 'm', editBody },
      ],
    });
    expect(routes).toEqual([
      // What the options have themselves.
      { target: undefined, provider: own, pathRewrite: undefined, headers: undefined },
      { target, provider: own, ...none },
      { target: url, provider: own, ...none },
      { target: { socketPath: '/run/api.sock' }, provider: own, ...none },
      { target: url, provider: own, ...none },
      { target: 'http://127.0.0.1:3', provider: other, ...none },
      { target, provider: other, pathRewrite, headers },
      { target: 'http://127.0.0.1:3', provider: other, ...none },
      { target, provider: own, ...none, model: 'm', editBody },
    ]);
    expect(nextFallback).toBeUndefined();
  });

  it('options, fallbacks: is left to a function, which is asked when there is need for one', () => {
    const fallbacks = (): undefined => undefined;
    const { routes, nextFallback } = resolve({ target, fallbacks });
    expect(routes).toHaveLength(1);
    expect(nextFallback).toBe(fallbacks);
  });
});

describe('a credential is not quoted', () => {
  it.each([
    [{ headers: { authorization: 'Bearer sk-secret', 'x-count': 5 } }],
    [{ headers: [['authorization', 'sk-secret']] }],
    [{ auth: ['user', 'sk-secret'] }],
    [{ auth: { user: 'user', password: 'sk-secret' } }],
    [{ target: 'htp://user:sk-secret@api.example' }],
    [{ target: { url: 'https://user:sk-secret@api.example' } }],
    [{ forward: 'htp://user:sk-secret@api.example' }],
    [{ logger: { token: 'sk-secret' } }],
    [{ fallbacks: ['htp://user:sk-secret@api.example'] }],
    [{ fallbacks: [{ target: 'htp://user:sk-secret@api.example' }] }],
    [{ fallbacks: [{ target, headers: { authorization: 'sk-secret', 'x-count': 5 } }] }],
    [{ fallbacks: [{ url: 'https://user:sk-secret@api.example' }] }],
  ])('options: a credential is not quoted in %j', (options) => {
    expect(complaint({ target, ...options })).not.toContain('secret');
  });
});

describe('the resolved options', () => {
  it('options, resolved: are frozen', () => {
    const config = resolve({ target });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.hpm)).toBe(true);
    expect(Object.isFrozen(config.timeouts)).toBe(true);
    expect(Object.isFrozen(config.retry)).toBe(true);
  });

  it('options, resolved: hold the defaults, and tell http-proxy-middleware only what the user said', () => {
    const onFinish = (): void => {};
    const config = resolve({ target, ws: true, onFinish, onError: 'next' });
    expect(config).toMatchObject({ onError: 'next', onFinish });
    expect(config.hpm).toEqual({ target, ws: true });
    expect(resolve({ target }).onError).toBe('respond');
  });

  it('options, resolved: hold the defaults of the event layer, in which everything is off', () => {
    expect(resolve({ target })).toMatchObject({
      heartbeat: undefined,
      eventSize: 1024 * 1024,
      truncation: undefined,
      noTransform: 'respect',
      reads: false,
      wantsIdentity: false,
    });
    // Left to the provider of the answer.
    expect(resolve({ target, truncation: 'event' }).truncation).toBe('event');
    expect(resolve({ target, heartbeat: {} }).heartbeat).toEqual({ interval: 15_000, comment: undefined });
    expect(resolve({ target, limits: { eventSize: '2kb' } }).eventSize).toBe(2048);
  });

  it('options, resolved: hold the defaults of what keeps it up', () => {
    expect(resolve({ target })).toMatchObject({
      timeouts: { connect: 10_000, headers: 120_000, idle: 120_000, drain: 120_000, total: false },
      routes: [{ target: undefined, provider: undefined, pathRewrite: undefined, headers: undefined }],
      nextFallback: undefined,
      commit: 'head',
      onClientClose: 'abort',
      requestBody: Number.POSITIVE_INFINITY,
      concurrency: Number.POSITIVE_INFINITY,
      queue: { size: 0, timeout: 10_000 },
    });
    expect(resolve({ target, limits: { queue: { size: 5 } } }).queue).toEqual({ size: 5, timeout: 10_000 });
  });

  it('options, resolved: hold the deadlines that are given, and the defaults of the others', () => {
    const timeouts = { connect: 1, headers: false, idle: undefined, total: 5000 };
    expect(resolve({ target, timeouts }).timeouts).toEqual({
      connect: 1,
      headers: false,
      idle: 120_000,
      drain: 120_000,
      total: 5000,
    });
  });

  it('options, resolved: hold sizes in bytes', () => {
    const config = resolve({ target, limits: { requestBody: '10mb' }, retry: { maxBodySize: '64kb' } });
    expect(config.requestBody).toBe(10 * 1024 * 1024);
    expect(config.retry.maxBodySize).toBe(64 * 1024);
    const none = resolve({ target, limits: { requestBody: 0 }, retry: { maxBodySize: 0 } });
    expect(none.requestBody).toBe(0);
    expect(none.retry.maxBodySize).toBe(0);
  });

  it.each([{ fallbacks: [] }, { timeouts: {}, limits: {} }, { commit: 'head' }])(
    'options, resolved: do not ask for bodies without a content coding with %p',
    (options) => {
      expect(resolve({ target, ...options }).wantsIdentity).toBe(false);
    },
  );

  it.each([
    { onEvent() {} },
    { transformEvent() {} },
    { heartbeat: {} },
    { provider: openai({ apiKey: false }) },
    { commit: 'first-event' },
    { commit: () => true },
  ])('options, resolved: ask for bodies without a content coding with %p', (options) => {
    expect(resolve({ target, ...options }).wantsIdentity).toBe(true);
  });

  it("options, resolved: are a copy: the user's object is left as it is, and may change", () => {
    const options = Object.freeze({ target, headers: Object.freeze({ 'x-a': '1' }) });
    expect(() => resolve(options)).not.toThrow();
    const own: SseProxyOptions = { target };
    const config = resolve(own);
    expect(Object.isFrozen(own)).toBe(false);
    own.ws = true;
    expect(config.hpm.ws).toBeUndefined();
  });

  it('options, resolved: are a copy within, too', () => {
    const retry = { maxRetries: 1, methods: ['GET'], statusCodes: [503], errorCodes: ['EPIPE'] };
    const timeouts = { idle: 1000 };
    const fallbacks = [target];
    const config = resolve({ target, retry, timeouts, fallbacks });
    retry.maxRetries = 9;
    for (const list of [retry.methods, retry.errorCodes]) list.push('x');
    retry.statusCodes.push(200);
    timeouts.idle = 1;
    fallbacks.pop();
    expect(config.retry).toMatchObject({
      maxRetries: 1,
      methods: ['GET'],
      statusCodes: [503],
      errorCodes: ['EPIPE'],
    });
    expect(config.timeouts.idle).toBe(1000);
    expect(config.routes).toHaveLength(2);
  });
});

describe('retry', () => {
  const SAFE = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'];
  const provider = openai({ apiKey: 'sk-test' });

  it('options, retry: is off by default: no retries, whatever else it holds for the fallbacks', () => {
    for (const retry of [undefined, false]) {
      expect(resolve({ target, retry }).retry).toMatchObject({
        maxRetries: 0,
        statusCodes: [429, 500, 502, 503, 504, 529],
        maxBodySize: 1024 * 1024,
      });
    }
  });

  it('options, retry: has defaults once it is on', () => {
    const { errorCodes, ...rest } = resolve({ target, retry: {} }).retry;
    expect(rest).toEqual({
      maxRetries: 2,
      methods: SAFE,
      statusCodes: [429, 500, 502, 503, 504, 529],
      minTimeout: 500,
      maxTimeout: 30_000,
      timeoutFactor: 2,
      retryAfter: true,
      maxBodySize: 1024 * 1024,
    });
    expect(errorCodes).toEqual(expect.arrayContaining(['ECONNRESET', 'ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT']));
    expect(errorCodes).toEqual(expect.arrayContaining(['UPSTREAM_CONNECT_TIMEOUT', 'UPSTREAM_CLOSED']));
    // The upstream may be at work on it.
    expect(errorCodes).not.toContain('UPSTREAM_TIMEOUT');
  });

  it('options, retry: keeps the default of what is undefined', () => {
    const names = Object.keys(resolve({ target, retry: {} }).retry);
    const nothing = Object.fromEntries(names.map((name) => [name, undefined]));
    expect(resolve({ target, retry: nothing }).retry).toEqual(resolve({ target, retry: {} }).retry);
  });

  it('options, retry: takes each member that is given', () => {
    const given = {
      maxRetries: 5,
      methods: ['PATCH'],
      statusCodes: [408],
      errorCodes: ['UPSTREAM_TIMEOUT'],
      minTimeout: 1,
      maxTimeout: 2,
      timeoutFactor: 3,
      retryAfter: false,
      maxBodySize: 4,
    };
    expect(resolve({ target, retry: given }).retry).toEqual(given);
  });

  it("options, retry: has the provider's methods beside those that are safe", () => {
    expect(resolve({ provider, retry: {} }).retry.methods).toEqual([...SAFE, 'POST']);
    expect(resolve({ provider: { ...provider, retryMethods: ['post', 'PATCH'] }, retry: {} }).retry.methods).toEqual([
      ...SAFE,
      'POST',
      'PATCH',
    ]);
    expect(resolve({ provider: { ...provider, retryMethods: undefined }, retry: {} }).retry.methods).toEqual(SAFE);
  });

  it('options, retry: has the methods that are given and no others, also with a provider, in any letter case', () => {
    expect(resolve({ provider, retry: { methods: ['get', 'Patch'] } }).retry.methods).toEqual(['GET', 'PATCH']);
    expect(resolve({ provider, retry: { methods: [] } }).retry.methods).toEqual([]);
  });
});
