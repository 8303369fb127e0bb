/** The secrets that options put on a request are masked like a provider's, with a provider and without. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { badTarget } from '../../support/servers/targets.js';
import { rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { upgradeServer } from '../../support/servers/web-sockets.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const KEY = 'sk-7Qz9LmXw2RtYbN4v';
const hidden = (text: string, key = KEY): string => text.replaceAll(key, '*'.repeat(key.length));
const BASIC = Buffer.from(`robot:${KEY}`).toString('base64');

/** How a key is put on a request. */
const WAYS: [way: string, options: (target: string) => SseProxyOptions | Promise<SseProxyOptions>, sent?: string][] = [
  ['`requestHeaders.set`', (target) => ({ target, requestHeaders: { set: { Authorization: `Bearer ${KEY}` } } })],
  [
    'a function of `requestHeaders.set`',
    (target) => ({ target, requestHeaders: { set: { 'x-api-key': ({ path }) => (path === '/' ? KEY : undefined) } } }),
  ],
  [
    '`requestHeaders.set` beside a provider',
    (target) => ({
      provider: openai({ target, apiKey: 'sk-servers' }),
      requestHeaders: { set: { 'cf-aig-authorization': `Bearer ${KEY}` } },
    }),
  ],
  [
    '`requestHeaders.set` of a cookie',
    (target) => ({ target, requestHeaders: { set: { cookie: `a=b; session=${KEY}` } } }),
  ],
  ['`headers`', (target) => ({ target, headers: { 'X-Goog-Api-Key': KEY } })],
  [
    '`headers`, for a proxy on the way',
    (target) => ({ target, headers: { 'Proxy-Authorization': `Basic ${BASIC}` } }),
    BASIC,
  ],
  ['`headers`, for a gateway', (target) => ({ target, headers: { 'Ocp-Apim-Subscription-Key': KEY } })],
  [
    '`headers` beside a provider',
    (target) => ({ provider: openai({ target, apiKey: 'sk-servers' }), headers: { 'api-key': KEY } }),
  ],
  [
    '`headers` that `router` has set',
    (target) => ({
      router(_req, _res, options) {
        options.headers = { 'api-key': KEY };
        return target;
      },
    }),
  ],
  [
    '`headers` that a `router` is handed',
    (target) => ({ headers: { Authorization: `Bearer ${KEY}` }, router: () => target }),
  ],
  [
    '`headers` of a fallback',
    async (target) => ({
      target: (await badTarget()).url,
      fallbacks: [{ target, headers: { Authorization: `Bearer ${KEY}` } }],
    }),
  ],
  [
    '`headers` of a provider',
    (target) => ({ provider: { ...openai({ target, apiKey: false }), headers: { 'api-key': KEY } } }),
  ],
  ['`auth`', (target) => ({ target, auth: `robot:${KEY}` }), BASIC],
  [
    '`auth` that `pathRewrite` has set',
    (target) => ({
      target,
      pathRewrite(path, _req, _res, options) {
        if (options !== undefined) options.auth = `robot:${KEY}`;
        return path;
      },
    }),
    BASIC,
  ],
];

/** What an upstream may say back: all that it got. */
const echoOf = ({ rawHeaders }: IncomingMessage): string => rawHeaders.join(' ');

/** All that a client gets of an answer. */
async function answerTo(url: string, method = 'GET'): Promise<string> {
  const hints: string[] = [];
  const req = openRequest(url, { method, headers: { 'accept-encoding': 'gzip' } });
  req.on('information', ({ rawHeaders }) => hints.push(...rawHeaders));
  const response = await responseTo(req.end());
  const { body } = await readUntilCut(response);
  const { statusMessage, rawHeaders, rawTrailers } = response;
  return [...hints, statusMessage, ...rawHeaders, body.toString('latin1'), ...rawTrailers].join('\n');
}

const PLACES: [place: string, reply: (res: ServerResponse, echo: string) => void, method?: string][] = [
  ['a header field', (res, echo) => res.setHeader('x-echo', echo).end()],
  ['a reason phrase', (res, echo) => res.writeHead(200, echo).end()],
  ['a redirect', (res, echo) => res.writeHead(302, { location: `/?${encodeURIComponent(echo)}` }).end()],
  ['Early Hints', (res, echo) => res.writeEarlyHints({ link: '</a>; rel=preload', 'x-echo': echo }, () => res.end())],
  ['a JSON error', (res, echo) => res.writeHead(401).end(JSON.stringify({ error: echo }))],
  ['a compressed error', (res, echo) => res.writeHead(500, { 'content-encoding': 'gzip' }).end(gzipSync(echo))],
  [
    'the trailers of an error',
    (res, echo) => {
      res.writeHead(400, { trailer: 'x-echo' }).write('wrong');
      res.addTrailers({ 'x-echo': echo });
      res.end();
    },
  ],
  ['an answer to TRACE', (res, echo) => res.writeHead(200, { 'content-type': 'message/http' }).end(echo), 'TRACE'],
];

describe.each(WAYS)('a key that was put in by %s', (way, optionsFor, sent = KEY) => {
  it.each(PLACES)(
    `secret masking: a key that was put in by ${way} is not in %s`,
    async (_place, reply, ...[method]) => {
      const echoes: string[] = [];
      const { url } = await upstream((req, res) => {
        const echo = echoOf(req);
        echoes.push(echo);
        reply(res, echo);
      });
      const proxy = await proxyApp({ retry: false, ...(await optionsFor(url)) });
      const answer = await answerTo(proxy.url, method);
      expect(echoes).toEqual([expect.stringContaining(sent)]);
      expect(answer).toContain(hidden(sent, sent));
      expect(answer).not.toContain(sent);
      expect(answer).not.toContain(sent.slice(-10));
    },
  );

  it(`secret masking: a key that was put in by ${way} is not in what a failure is told by`, async () => {
    const { url } = await rawUpstream((socket, asked) => {
      const echo = asked.split('\r\n').find((line) => line.includes(sent));
      socket.end(`HTTP/1.1 200 OK\r\nno field ${echo}\r\n\r\n`);
    });
    const logged: unknown[] = [];
    const log = (...values: unknown[]): void => void logged.push(...values);
    const told: unknown[] = [];
    const options = await optionsFor(url);
    const proxy = await proxyApp({
      ...options,
      logger: { info: log, warn: log, error: log },
      on: { error: (...[error]) => void told.push(error), ...options.on },
    });
    expect(await answerTo(proxy.url)).not.toContain(sent);
    const { error } = await proxy.summary();
    expect(error).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE' });
    const said = inspect([error, told, logged], { depth: 20, showHidden: true, maxStringLength: null });
    expect(told).toHaveLength(1);
    for (const form of [
      sent,
      Buffer.from(sent)
        .toString('hex')
        .replace(/..(?!$)/g, '$& '),
    ])
      expect(said).not.toContain(form);
  });

  it(`secret masking: a key that was put in by ${way} is not in the requests that hooks can print`, async () => {
    const { url } = await upstream((_req, res) => res.end('ok'));
    const printed: string[] = [];
    const options = await optionsFor(url);
    const proxy = await proxyApp({
      ...options,
      on: { proxyRes: (proxyRes) => void printed.push(inspect(Reflect.get(proxyRes, 'req'), { depth: 3 })) },
    });
    await readAll(await request(proxy.url));
    expect(printed.at(-1)).toMatch(/^ClientRequest \{ GET /);
    expect(printed.join()).not.toContain(sent);
  });
});

describe('secrets of options', () => {
  it('secret masking: a password is masked by itself, too, and a key that stands for the user', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(401).end(`user robot has no password ${KEY}`));
    for (const auth of [`robot:${KEY}`, `${KEY}:`]) {
      const proxy = await proxyApp({ target: url, auth });
      expect(await answerTo(proxy.url)).toContain(`user robot has no password ${hidden(KEY)}`);
    }
  });

  it('secret masking: a key of each request is masked in its own answer, whatever that of the one before was', async () => {
    const { url } = await upstream((req, res) =>
      res.writeHead(401).end(`${req.headers['x-api-key']} ${KEY}-1 ${KEY}-2`),
    );
    const set = { 'x-api-key': ({ path }: { path: string }) => `${KEY}-${path.slice(1)}` };
    const proxy = await proxyApp({ target: url, requestHeaders: { set } });
    for (const [own, other] of [
      ['1', '2'],
      ['2', '1'],
      ['2', '1'],
    ] as const) {
      const answer = await answerTo(`${proxy.url}/${own}`);
      expect(answer).not.toContain(`${KEY}-${own}`);
      expect(answer).toContain(`${KEY}-${other}`);
    }
  });

  it('secret masking: what was put into other headers comes back as it is, and so does what the caller has sent', async () => {
    const { url } = await upstream((req, res) => res.writeHead(401).end(echoOf(req)));
    const proxy = await proxyApp({
      target: url,
      headers: { 'x-tenant': 'tenant-of-the-app' },
      requestHeaders: { set: { 'idempotency-key': 'idempotency-of-the-app' } },
    });
    const response = await request(proxy.url, { headers: { authorization: 'Bearer sk-of-the-caller' } });
    const body = String(await readAll(response));
    for (const text of ['tenant-of-the-app', 'idempotency-of-the-app', 'sk-of-the-caller'])
      expect(body).toContain(text);
  });

  it('secret masking: a good answer, and an error where nothing was put in, keep their bytes and their coding', async () => {
    const bytes = gzipSync(`not ${KEY}`);
    const { url } = await upstream((req, res) => {
      res.writeHead(req.url === '/bad' ? 400 : 200, { 'content-encoding': 'gzip' }).end(bytes);
    });
    const ask = async (options: SseProxyOptions, path: string) => {
      const proxy = await proxyApp({ target: url, ...options });
      return readAll(await request(proxy.url + path, { headers: { 'accept-encoding': 'gzip' } }));
    };
    expect(await ask({ headers: { 'api-key': KEY } }, '/good')).toEqual(bytes);
    expect(await ask({ headers: { 'x-tenant': KEY } }, '/bad')).toEqual(bytes);
  });

  it('secret masking: a WebSocket that is refused shows no key, and neither does one that is opened', async () => {
    const handshake =
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
    const answers: ((echo: string) => string)[] = [
      (echo) => `HTTP/1.1 401 ${echo}\r\nX-Echo: ${echo}\r\nContent-Length: ${echo.length}\r\n\r\n${echo}`,
      (echo) => `HTTP/1.1 101 ${echo}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Echo: ${echo}\r\n\r\n`,
      (echo) => `HTTP/1.1 200 OK\r\nno field ${echo}\r\n\r\n`,
    ];
    for (const answer of answers) {
      const { url } = await rawUpstream((socket, asked) => {
        socket.end(answer(asked.split('\r\n').find((line) => line.includes(KEY)) ?? 'no key'));
      });
      for (const options of [
        { headers: { authorization: `Bearer ${KEY}` } },
        { requestHeaders: { set: { 'api-key': KEY } } },
      ]) {
        const told: unknown[] = [];
        const server = await upgradeServer({ target: url, ...options, onFinish: ({ error }) => void told.push(error) });
        const { text } = await rawExchange(server.port, handshake);
        expect(text).toMatch(/^HTTP\/1\.1 (?:101|401|502) /);
        expect(text).not.toContain('no key');
        expect(`${text} ${inspect(told, { depth: 20, showHidden: true })}`).not.toContain(KEY);
      }
    }
  });
});
