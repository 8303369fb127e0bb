import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { resolveOptions } from '../../lib/options.js';
import { openai } from '../../lib/providers/index.js';
import type { SseProxyOptions } from '../../lib/types.js';

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
    ['heartbeat', true, 'true'],
    ['heartbeat', 15_000, '15000'],
    ['limits', '1mb', "'1mb'"],
    ['provider', 'openai', "'openai'"],
  ];

  it.each(cases)('%s: %p', (name, value, quoted) => {
    const message = complaint({ target, [name]: value });
    expect(message).toMatch(new RegExp(`^\`${name}\` must be `));
    expect(message).toContain(`got ${quoted}`);
  });

  it('also where only a part of it is wrong', () => {
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
    ['limits', { eventSize: 0 }, "`limits.eventSize` must be a number of bytes, 1 or more, or a string such as '10mb'"],
    ['limits', { eventSize: '10 apples' }, "got '10 apples'"],
    ['limits', { eventSize: Number.POSITIVE_INFINITY }, 'got Infinity'],
    ['limits', { requests: 5 }, 'Unknown option `limits.requests`'],
    ['limits', { toString: 5 }, 'Unknown option `limits.toString`'],
  ])('within %s: %p', (name, value, message) => {
    expect(complaint({ target, [name]: value })).toContain(message);
  });

  it.each([undefined, null, 'http://127.0.0.1:1', 5])('and so are options that are none: %p', (options) => {
    expect(complaint(options)).toContain(inspect(options));
  });
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
    ['provider', openai({ apiKey: 'sk-test' })],
  ])('%s: %p', (name, value) => {
    expect(() => resolve({ target, [name]: value })).not.toThrow();
  });

  it.each([...booleans, ...strings, ...durations, 'agent', 'on', 'plugins', 'router', 'headers', 'logger'])(
    '%s: undefined is the same as none, and keeps the default',
    (name) => {
      expect(Object.keys(resolve({ target, [name]: undefined }).hpm)).toEqual(['target']);
    },
  );

  it.each(['hostRewrite', 'protocolRewrite'])("%s: null is http-proxy-middleware's documented default", (name) => {
    expect(() => resolve({ target, [name]: null })).not.toThrow();
  });

  it.each([...booleans, ...functions, ...durations, 'auth', 'headers', 'on', 'router', 'onError'])(
    '%s: null is none',
    (name) => {
      expect(complaint({ target, [name]: null })).toContain(`\`${name}\` must be `);
    },
  );
});

describe('a name that is not known', () => {
  it('is refused', () => {
    expect(complaint({ target, retries: 3 })).toBe('Unknown option `retries`');
  });

  it.each([
    ['rewriteheaders', 'rewriteHeaders'],
    ['OnFinish', 'onFinish'],
    ['changeorigin', 'changeOrigin'],
    ['WS', 'ws'],
  ])('%s is in the wrong letter case', (name, right) => {
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
  ])("%s was once http-proxy-middleware 2's", (name, today) => {
    const message = complaint({ target, [name]: () => {} });
    expect(message).toContain(`Unknown option \`${name}\``);
    expect(message).toContain(`\`${today}\``);
  });

  it('onError with a function is the one of version 2', () => {
    const message = complaint({ target, onError() {} });
    expect(message).toContain("`onError` must be 'respond' or 'next'");
    expect(message).toContain('`on.error`');
    expect(complaint({ target, onError: 'throw' })).not.toContain('on.error');
  });

  it.each(['__proto__', 'constructor', 'toString'])('%s is not an option either', (name) => {
    const options = Object.defineProperty({ target }, name, { value: 'x', enumerable: true });
    expect(complaint(options)).toBe(`Unknown option \`${name}\``);
  });
});

describe('a target', () => {
  it.each([[{}], [{ ws: true }], [{ forward: target }], [{ target: undefined }]])('is missing in %p', (options) => {
    expect(complaint(options)).toContain('needs `target`');
  });

  it('is not needed with a router', () => {
    expect(() => resolve({ router: () => target })).not.toThrow();
  });
});

describe('options that do not go together', () => {
  const provider = openai({ apiKey: 'sk-test' });

  it('are onUsage without a provider', () => {
    expect(complaint({ target, onUsage() {} })).toBe('`onUsage` needs a `provider`');
  });

  it('are a provider and WebSockets, which would go without its credentials', () => {
    expect(complaint({ provider, ws: true })).toContain('`ws` cannot be combined with `provider`');
  });

  it.each([
    ['onEvent', () => {}],
    ['transformEvent', () => {}],
    ['heartbeat', {}],
    ['onUsage', () => {}],
  ])('are %s and selfHandleResponse', (name, value) => {
    const message = complaint({ provider, selfHandleResponse: true, [name]: value });
    expect(message).toBe(`\`${name}\` needs the response, which \`selfHandleResponse\` leaves to you`);
    expect(() => resolve({ target, selfHandleResponse: true, heartbeat: false })).not.toThrow();
  });
});

describe('a provider', () => {
  it('gives the target, unless the options do', () => {
    const provider = openai({ apiKey: 'sk-test' });
    expect(resolve({ provider }).hpm.target).toBe('https://api.openai.com');
    expect(resolve({ provider, target: undefined }).hpm.target).toBe('https://api.openai.com');
    expect(resolve({ provider, target }).hpm.target).toBe(target);
  });

  it('has its target checked, too', () => {
    expect(complaint({ provider: openai({ apiKey: 'sk-test', target: 'api.example' }) })).toContain('`target` must be');
  });

  it('has its answers read only where somebody wants to know', () => {
    const provider = openai({ apiKey: 'sk-test' });
    expect(resolve({ provider }).reads).toBe(false);
    expect(resolve({ provider, onUsage() {} }).reads).toBe(true);
    expect(resolve({ provider, onFinish() {} }).reads).toBe(true);
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
  ])('in %j', (options) => {
    expect(complaint({ target, ...options })).not.toContain('secret');
  });
});

describe('the resolved options', () => {
  it('are frozen', () => {
    const config = resolve({ target });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.hpm)).toBe(true);
  });

  it('hold the defaults, and tell http-proxy-middleware only what the user said', () => {
    const onFinish = (): void => {};
    const config = resolve({ target, ws: true, onFinish, onError: 'next' });
    expect(config).toMatchObject({ onError: 'next', onFinish });
    expect(config.hpm).toEqual({ target, ws: true });
    expect(resolve({ target }).onError).toBe('respond');
  });

  it('hold the defaults of the event layer, in which everything is off', () => {
    expect(resolve({ target })).toMatchObject({
      heartbeat: undefined,
      eventSize: 1024 * 1024,
      truncation: 'destroy',
      noTransform: 'respect',
      reads: false,
      wantsIdentity: false,
    });
    expect(resolve({ provider: openai({ apiKey: 'sk-test' }) }).truncation).toBe('event');
    expect(resolve({ target, heartbeat: {} }).heartbeat).toEqual({
      interval: 15_000,
      bytes: Buffer.from(': ping\n\n'),
    });
    expect(resolve({ target, limits: { eventSize: '2kb' } }).eventSize).toBe(2048);
  });

  it.each([{ onEvent() {} }, { transformEvent() {} }, { heartbeat: {} }, { provider: openai({ apiKey: false }) }])(
    'ask for bodies without a content coding with %p',
    (options) => {
      expect(resolve({ target, ...options }).wantsIdentity).toBe(true);
    },
  );

  it("are a copy: the user's object is left as it is, and may change", () => {
    const options = Object.freeze({ target, headers: Object.freeze({ 'x-a': '1' }) });
    expect(() => resolve(options)).not.toThrow();
    const own: SseProxyOptions = { target };
    const config = resolve(own);
    expect(Object.isFrozen(own)).toBe(false);
    own.ws = true;
    expect(config.hpm.ws).toBeUndefined();
  });
});
