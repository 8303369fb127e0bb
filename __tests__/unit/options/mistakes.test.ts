import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { accessLog, createSseProxy } from '../../../lib/index.js';
import { anthropic, gemini, mistral, ollama, openai, openaiCompatible } from '../../../lib/providers/index.js';
import { request } from '../../support/clients/http.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

/** As plain JavaScript may call it. */
type Untyped = (...args: unknown[]) => unknown;
const proxy = createSseProxy as Untyped;
const untyped = (create: unknown): Untyped => create as Untyped;

const target = 'http://127.0.0.1:1';
const apiKey = 'sk-servers';
const provider = openai({ apiKey });
const missing = "a string, a function that returns one, or false for the caller's own";
const baseURL = "The API's address is `target`, without the `/v1` that clients have in their paths";

/** What was written, and what the developer sees: it is thrown where it was written, when the app starts. */
const MISTAKES: readonly [wrote: string, run: () => unknown, sees: string][] = [
  // --- how it is called
  [
    "createSseProxy('/api', { target })",
    () => proxy('/api', { target }),
    "createSseProxy needs an object of options, got '/api'. Write app.use('/api', createSseProxy({ ... }))",
  ],
  [
    "createSseProxy('http://...')",
    () => proxy(target),
    "createSseProxy needs an object of options, got 'http://127.0.0.1:1'. Write createSseProxy({ target: ... })",
  ],
  ['createSseProxy()', () => proxy(), 'createSseProxy needs an object of options, got undefined'],
  [
    'createSseProxy(openai({ apiKey }))',
    () => proxy(provider),
    'createSseProxy needs an object of options: write { provider: ... }',
  ],
  [
    'createSseProxy({})',
    () => proxy({}),
    "createSseProxy needs `target` (or `router`, or `provider`), for example { target: 'https://api.openai.com' }",
  ],
  [
    'provider: openai',
    () => proxy({ provider: openai }),
    '`provider` must be a provider, such as openai() of express-sse-proxy/providers, got a function. Call it: openai({ apiKey: ... })',
  ],
  [
    "provider: 'openai'",
    () => proxy({ provider: 'openai' }),
    "`provider` must be a provider, such as openai() of express-sse-proxy/providers, got 'openai'",
  ],
  [
    'fallbacks: [{ provider: mistral }]',
    () => proxy({ provider, fallbacks: [{ provider: mistral }] }),
    '`fallbacks.provider` must be a provider, such as openai() of express-sse-proxy/providers, got a function. Call it: mistral({ apiKey: ... })',
  ],
  [
    'fallbacks: [mistral]',
    () => proxy({ provider, fallbacks: [mistral] }),
    'A fallback must be a target or an object, got a function. Call it: mistral({ apiKey: ... })',
  ],
  [
    'onFinish: accessLog',
    () => proxy({ target, onFinish: accessLog }),
    '`onFinish` must be a function, got a function. Call it: `onFinish: accessLog()`',
  ],
  ["accessLog('json')", () => untyped(accessLog)('json'), "accessLog needs an object of options, got 'json'"],
  // --- a number where an object is meant
  [
    'retry: 3',
    () => proxy({ target, retry: 3 }),
    '`retry` must be a boolean or an object, got 3. Write `retry: { maxRetries: 3 }`',
  ],
  [
    'heartbeat: 15_000',
    () => proxy({ target, heartbeat: 15_000 }),
    '`heartbeat` must be a boolean or an object, got 15000. Write `heartbeat: { interval: 15000 }`',
  ],
  [
    'limits: { queue: 5 }',
    () => proxy({ target, limits: { concurrency: 3, queue: 5 } }),
    '`limits.queue` must be an object, got 5. Write `queue: { size: 5 }`',
  ],
  // --- names
  ['createSseProxy({ baseURL })', () => proxy({ baseURL: target }), `Unknown option \`baseURL\`. ${baseURL}`],
  ['createSseProxy({ url })', () => proxy({ url: target }), 'Unknown option `url`. The address is `target`'],
  ['createSseProxy({ traget })', () => proxy({ traget: target }), 'Unknown option `traget`. Did you mean `target`?'],
  [
    'createSseProxy({ apiKey })',
    () => proxy({ target, apiKey }),
    'Unknown option `apiKey`. The key is `apiKey` of a provider, such as openai({ apiKey })',
  ],
  [
    'proxyTable',
    () => proxy({ target, proxyTable: {} }),
    'Unknown option `proxyTable`. It is called `router` since http-proxy-middleware 1',
  ],
  [
    'onProxyRes',
    () => proxy({ target, onProxyRes() {} }),
    'Unknown option `onProxyRes`. It is called `on.proxyRes` since http-proxy-middleware 3',
  ],
  [
    'logLevel',
    () => proxy({ target, logLevel: 'debug' }),
    'Unknown option `logLevel`. It is called `logger` since http-proxy-middleware 3',
  ],
  [
    'pathrewrite',
    () => proxy({ target, pathrewrite: {} }),
    'Unknown option `pathrewrite`. Did you mean `pathRewrite`?',
  ],
  ['retries: 3', () => proxy({ target, retries: 3 }), 'Unknown option `retries`. Write `retry: { maxRetries: 2 }`'],
  ['fallback', () => proxy({ target, fallback: target }), 'Unknown option `fallback`. Did you mean `fallbacks`?'],
  [
    'on: { proxyreq }',
    () => proxy({ target, on: { proxyreq() {} } }),
    'Unknown option `on.proxyreq`. Did you mean `proxyReq`?',
  ],
  ['on: { proxyResponse }', () => proxy({ target, on: { data() {} } }), 'Unknown option `on.data`'],
  [
    'timeouts: { header }',
    () => proxy({ target, timeouts: { header: 5 } }),
    'Unknown option `timeouts.header`. Did you mean `headers`?',
  ],
  [
    'retry: { maxRetrys }',
    () => proxy({ target, retry: { maxRetrys: 5 } }),
    'Unknown option `retry.maxRetrys`. Did you mean `maxRetries`?',
  ],
  // --- values
  [
    "target: 'localhost:8080'",
    () => proxy({ target: 'localhost:8080' }),
    "`target` must be an absolute URL with http:, https:, ws: or wss:, or an object with host and port, got 'localhost:8080'",
  ],
  [
    "allow: 'POST /v1/*'",
    () => proxy({ target, allow: 'POST /v1/*' }),
    "`allow` must be an array whose items are each a string, got 'POST /v1/*'. Write a list: ['POST /v1/*']",
  ],
  [
    "allow: ['POST /v1/*']",
    () => proxy({ target, allow: ['POST /v1/*'] }),
    "`allow` has a path that cannot be read: 'POST /v1/*'. A wildcard needs a name: 'POST /v1/*rest'",
  ],
  [
    "allow: ['/v1/models']",
    () => proxy({ target, allow: ['/v1/models'] }),
    "`allow` must list routes such as 'POST /v1/chat/completions', got '/v1/models'",
  ],
  [
    'fallbacks: url',
    () => proxy({ target, fallbacks: target }),
    "`fallbacks` must be an array of targets or a function, got 'http://127.0.0.1:1'. Write a list: ['http://127.0.0.1:1']",
  ],
  [
    'set: { x: 1 }',
    () => proxy({ target, requestHeaders: { set: { x: 1 } } }),
    '`requestHeaders.set` must be an object of strings and functions, got an object. Its `x` is 1',
  ],
  [
    'headers: { x: 1 }',
    () => proxy({ target, headers: { x: 1 } }),
    '`headers` must be an object of header fields, got an object. Its `x` is 1',
  ],
  [
    'async rewriteHeaders',
    () => proxy({ target, async rewriteHeaders() {} }),
    '`rewriteHeaders` must be a synchronous function, got a function. It is async: what it resolves with would come too late',
  ],
  [
    'async onClientClose',
    () => proxy({ target, async onClientClose() {} }),
    "`onClientClose` must be 'abort', 'continue' or a function, got a function. It is async: what it resolves with would come too late",
  ],
  [
    'set: { x: async () => {} }',
    () => proxy({ target, requestHeaders: { set: { x: async () => {} } } }),
    '`requestHeaders.set` must be an object of strings and functions, got an object. Its `x` is a function, and async',
  ],
  ['onUsage without a provider', () => proxy({ target, onUsage() {} }), '`onUsage` needs a `provider`'],
  [
    "heartbeat: { interval: '15s' }",
    () => proxy({ target, heartbeat: { interval: '15s' } }),
    "`heartbeat.interval` must be a number of milliseconds, 1 or more, got '15s'",
  ],
  // --- providers
  [
    'openai()',
    () => untyped(openai)(),
    `openai() needs \`apiKey\`: ${missing}. Is the environment variable OPENAI_API_KEY set?`,
  ],
  [
    "openai('sk-...')",
    () => untyped(openai)('sk-secret'),
    'openai() needs an object of options, got a string. Write openai({ apiKey: ... })',
  ],
  [
    'openai({ apiKey: process.env.OPENAI_KEY })',
    () => openai({ apiKey: undefined }),
    `openai() needs \`apiKey\`: ${missing}. Is the environment variable OPENAI_API_KEY set?`,
  ],
  [
    'anthropic({ apiKey: undefined })',
    () => anthropic({ apiKey: undefined }),
    `anthropic() needs \`apiKey\`: ${missing}. Is the environment variable ANTHROPIC_API_KEY set?`,
  ],
  [
    'gemini({ apiKey: undefined })',
    () => gemini({ apiKey: undefined }),
    `gemini() needs \`apiKey\`: ${missing}. Is the environment variable GEMINI_API_KEY set?`,
  ],
  [
    "mistral({ apiKey: '' })",
    () => mistral({ apiKey: '' }),
    `mistral() needs \`apiKey\`: ${missing}. Is the environment variable MISTRAL_API_KEY set?`,
  ],
  [
    "ollama({ apiKey: '' })",
    () => ollama({ apiKey: '' }),
    `ollama() needs \`apiKey\`: ${missing}. Is the environment variable OLLAMA_API_KEY set?`,
  ],
  [
    'openaiCompatible without a key',
    () => openaiCompatible({ name: 'vllm', target, apiKey: undefined }),
    `openaiCompatible() needs \`apiKey\`: ${missing}`,
  ],
  [
    'openaiCompatible({ apiKey })',
    () => untyped(openaiCompatible)({ apiKey }),
    'openaiCompatible() needs `name`, a string',
  ],
  [
    "openai({ apiKey: 'sk-...\\n' })",
    () => openai({ apiKey: 'sk-secret\n' }),
    '`apiKey` of openai() has characters that a header field cannot have: a line break at its end?',
  ],
  [
    'openai({ baseURL })',
    () => untyped(openai)({ apiKey, baseURL: target }),
    `Unknown option \`baseURL\` of openai(). ${baseURL}`,
  ],
  [
    'anthropic({ baseUrl })',
    () => untyped(anthropic)({ apiKey, baseUrl: target }),
    `Unknown option \`baseUrl\` of anthropic(). ${baseURL}`,
  ],
  [
    'ollama({ host })',
    () => untyped(ollama)({ host: target }),
    'Unknown option `host` of ollama(). The address is `target`',
  ],
  [
    'openai({ apikey })',
    () => untyped(openai)({ apikey: apiKey }),
    'Unknown option `apikey` of openai(). Did you mean `apiKey`?',
  ],
  [
    'openai({ include_usage })',
    () => untyped(openai)({ apiKey, include_usage: true }),
    'Unknown option `include_usage` of openai(). Did you mean `includeUsage`?',
  ],
  [
    "openai({ target: 'api.example' })",
    () => openai({ apiKey, target: 'api.example' }),
    "`target` of openai() must be an absolute URL with http:, https:, ws: or wss:, or an object with host and port, got 'api.example'",
  ],
  [
    "openai({ includeUsage: 'yes' })",
    () => untyped(openai)({ apiKey, includeUsage: 'yes' }),
    "`includeUsage` of openai() must be a boolean, got 'yes'",
  ],
  [
    'anthropic({ version: 2 })',
    () => untyped(anthropic)({ apiKey, version: 2 }),
    '`version` of anthropic() must be a string that is not empty, got 2',
  ],
];

/** What httpxy, Node's TLS or `http.request` takes beside the options here, and where it is to be said. */
const ELSEWHERE: readonly [name: string, where: string][] = [
  ...[
    'cert',
    'pfx',
    'passphrase',
    'ciphers',
    'servername',
    'minVersion',
    'checkServerIdentity',
    'lookup',
    'family',
  ].map((name): [string, string] => [name, `Write \`ssl: { ${name}: ... }\``]),
  [
    'key',
    'The key is `apiKey` of a provider, such as openai({ apiKey }), and that of a client certificate `ssl: { key }`',
  ],
  ['rejectUnauthorized', 'It is called `secure` here'],
  ['method', 'Middleware in front of the proxy can set `req.method`'],
  ['host', 'The address is `target`'],
  ['port', 'The address is `target`'],
  ['socketPath', 'Write `target: { socketPath: ... }`'],
];

describe("an option of Node's, or of httpxy's, says where it goes", () => {
  it.each(ELSEWHERE)("options: an option of Node's, or of httpxy's, says where it goes: %s", (name, where) => {
    expect(() => proxy({ target, [name]: 'x' })).toThrow(new TypeError(`Unknown option \`${name}\`. ${where}`));
  });
});

function thrownBy(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

describe('a typical mistake says what to do, when the app starts', () => {
  it.each(MISTAKES)('options: a typical mistake says what to do: %s', (_wrote, run, sees) => {
    expect(thrownBy(run)).toMatchObject({ name: 'TypeError', message: sees });
    expect(sees).not.toContain('sk-');
  });

  it('options: a typical mistake says what to do: there are at least 39 of them', () => {
    expect(new Set(MISTAKES.map(([wrote]) => wrote)).size).toBeGreaterThanOrEqual(39);
  });
});

it('a typical mistake says what to do, with the first request: app.use(createSseProxy)', async () => {
  const app = express();
  const seen: unknown[] = [];
  app.use(createSseProxy as unknown as express.RequestHandler);
  app.use((error: unknown, _req: express.Request, res: express.Response, _next: express.NextFunction) => {
    seen.push(error);
    res.sendStatus(500);
  });
  const { statusCode } = await request((await upstream(app)).url);
  expect(statusCode).toBe(500);
  expect(seen).toEqual([
    new TypeError(
      'createSseProxy makes the middleware, and is not one: write app.use(createSseProxy({ ... })), with options',
    ),
  ]);
});

describe('what is right', () => {
  it.each<[string, object]>([
    ['`retry: true` and `heartbeat: true` are the defaults', { retry: true, heartbeat: true }],
    ['hooks that are waited for may be async', { async commit() {}, async transformEvent() {}, async onEvent() {} }],
    [
      'listeners of every event',
      { on: { error() {}, proxyReq() {}, proxyRes() {}, open() {}, close() {}, start() {} } },
    ],
    ['a wildcard with a name', { allow: ['POST /v1/*rest'] }],
    ['accessLog()', { onFinish: accessLog() }],
  ])('%s', (_what, options) => {
    expect(() => proxy({ target, ...options })).not.toThrow();
  });
});
