import { once } from 'node:events';
import http, { type IncomingMessage, type InformationEvent } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import cors from 'cors';
import type { Express } from 'express';
import helmet from 'helmet';
import type { SseProxyOptions } from '../../../lib/index.js';
import { readText, readUntilCut, request } from '../../support/clients/http.js';
import { headerLines, rawClient, rawExchange } from '../../support/clients/raw.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { signal } from '../../support/watch/wait.js';

afterEach(closeAll);

interface Received {
  url: string;
  headers: http.IncomingHttpHeaders;
  raw: string[];
  body: string;
}

/** A proxy in front of an upstream that answers with what it was sent. */
async function echoing(options: SseProxyOptions = {}, before?: (app: Express) => void): Promise<ProxyUnderTest> {
  const { url } = await upstream(async (req, res) => {
    const received: Received = {
      url: req.url ?? '',
      headers: req.headers,
      raw: req.rawHeaders,
      body: await readText(req),
    };
    res.setHeader('content-type', 'application/json').end(JSON.stringify(received));
  });
  return proxyApp({ target: url, ...options }, before);
}

/** What the upstream receives of a request with these header lines. */
async function received(proxy: ProxyUnderTest, fields: string[], body = '', method = 'POST'): Promise<Received> {
  const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  const head = [`${method} /path HTTP/1.1`, 'Host: front.example:8080', ...fields, ...length];
  const client = await rawClient(proxy.port);
  client.socket.write(`${head.join('\r\n')}\r\n\r\n${body}`, 'latin1');
  const text = Buffer.from(await client.until('"}'), 'latin1').toString();
  return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as Received;
}

/** What the client gets of a response with these header lines. */
async function answered(
  fields: string[],
  options: SseProxyOptions = {},
  before?: (app: Express) => void,
): Promise<IncomingMessage> {
  const { url } = await rawUpstream((socket) => {
    socket.write(`${['HTTP/1.1 200 OK', ...fields, 'Content-Length: 2'].join('\r\n')}\r\n\r\n{}`, 'latin1');
  });
  const proxy = await proxyApp({ target: url, ...options }, before);
  const response = await request(proxy.url);
  expect(await readText(response)).toBe('{}');
  return response;
}

describe('a request', () => {
  it('loses the fields that concern one connection', async () => {
    const { headers } = await received(await echoing(), [
      'Connection: keep-alive, x-mine, X-Other',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'Proxy-Authorization: Basic eDp5',
      'Proxy-Authenticate: Basic',
      'TE: trailers',
      'X-Mine: 1',
      'X-OTHER: 2',
      'X-Kept: 3',
    ]);
    expect(headers['x-kept']).toBe('3');
    for (const name of ['keep-alive', 'proxy-connection', 'proxy-authorization', 'proxy-authenticate', 'te']) {
      expect(headers[name]).toBeUndefined();
    }
    expect(headers).not.toHaveProperty('x-mine');
    expect(headers).not.toHaveProperty('x-other');
    expect(headers.connection).toBe('keep-alive');
  });

  it('loses an Upgrade that nobody proxies', async () => {
    const { headers } = await received(await echoing(), [
      'Connection: Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
    ]);
    expect(headers).not.toHaveProperty('upgrade');
    expect(headers).not.toHaveProperty('http2-settings');
    expect(headers.connection).toBe('keep-alive');
  });

  it('does not pass its Connection: close on', async () => {
    const { headers } = await received(await echoing(), ['Connection: close']);
    expect(headers.connection).toBe('keep-alive');
  });

  it('with a Trailer field arrives', async () => {
    const { headers } = await received(await echoing(), ['Trailer: X-Sum'], '', 'GET');
    expect(headers).not.toHaveProperty('trailer');
  });

  it('can have several Connection lines', async () => {
    const { headers } = await received(await echoing(), [
      'Connection: x-one',
      'Connection: ,, x-two ,',
      'X-One: 1',
      'X-Two: 2',
      'X-Three: 3',
    ]);
    expect(headers).not.toHaveProperty('x-one');
    expect(headers).not.toHaveProperty('x-two');
    expect(headers['x-three']).toBe('3');
  });

  it('cannot strip what the app has put there', async () => {
    const proxy = await echoing({}, (app) => {
      app.use((req, _res, next) => {
        req.headers.authorization = 'Bearer of-the-app';
        req.headers['x-app'] = 'app';
        next();
      });
    });
    const { headers } = await received(proxy, [
      'Connection: authorization, x-app, x-client',
      'Authorization: Bearer of-the-client',
      'X-Client: 1',
    ]);
    expect(headers).toMatchObject({ authorization: 'Bearer of-the-app', 'x-app': 'app' });
    expect(headers).not.toHaveProperty('x-client');
  });

  it('cannot strip what the headers option adds', async () => {
    const proxy = await echoing({ headers: { authorization: 'Bearer of-the-app', 'x-app': 'app' } });
    const { headers } = await received(proxy, [
      'Connection: authorization, x-app',
      'Authorization: Bearer of-the-client',
      'X-App: client',
    ]);
    expect(headers).toMatchObject({ authorization: 'Bearer of-the-app', 'x-app': 'app' });
  });

  it('cannot strip what a proxyReq listener adds', async () => {
    const proxy = await echoing({
      on: { proxyReq: (proxyReq) => void proxyReq.setHeader('authorization', 'Bearer of-the-app') },
    });
    const { headers } = await received(proxy, ['Connection: authorization', 'Authorization: Bearer of-the-client']);
    expect(headers.authorization).toBe('Bearer of-the-app');
  });

  it('can strip its own credentials', async () => {
    const { headers } = await received(await echoing(), ['Connection: authorization', 'Authorization: Bearer mine']);
    expect(headers).not.toHaveProperty('authorization');
  });

  it.each(['content-length', 'content-type', 'host', 'content-encoding', 'transfer-encoding'])(
    'cannot strip %s, by which it is read',
    async (name) => {
      const { headers, body } = await received(
        await echoing(),
        [`Connection: ${name}, close`, 'Content-Type: text/plain', 'Content-Encoding: x'],
        'the body',
      );
      expect(body).toBe('the body');
      expect(headers).toMatchObject({
        'content-length': '8',
        'content-type': 'text/plain',
        'content-encoding': 'x',
        host: expect.stringContaining('127.0.0.1'),
      });
    },
  );

  it('keeps its chunked coding when Connection names it', async () => {
    const client = await rawClient((await echoing()).port);
    client.socket.write(
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
    );
    expect(await client.until('"}')).toContain('"body":"body"');
  });

  it('passes what protocols above HTTP need', async () => {
    const fields = {
      accept: 'application/json, text/event-stream',
      authorization: 'Bearer k',
      cookie: 'a=1; b=2',
      // UTF-8, as Node reads it.
      'last-event-id': Buffer.from('序号 ü').toString('latin1'),
      'mcp-protocol-version': '2025-11-25',
      'mcp-session-id': 's',
      origin: 'https://a.example',
      'user-agent': 'test',
      'x-stainless-retry-count': '0',
    };
    const { headers } = await received(
      await echoing(),
      Object.entries(fields).map(([name, value]) => `${name}: ${value}`),
    );
    expect(headers).toMatchObject(fields);
  });

  it('has the Host of the target', async () => {
    const proxy = await echoing();
    const { headers } = await received(proxy, []);
    expect(headers.host).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(headers.host).not.toBe(`127.0.0.1:${proxy.port}`);
  });

  it('keeps its Host with changeOrigin: false', async () => {
    expect((await received(await echoing({ changeOrigin: false }), [])).headers.host).toBe('front.example:8080');
  });

  it('with a field called __proto__ arrives', async () => {
    const { headers } = await received(await echoing(), ['__proto__: polluted', 'constructor: x', 'X-Kept: 1']);
    expect(headers['x-kept']).toBe('1');
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it('says nothing of the client that it did not say itself', async () => {
    const { headers } = await received(await echoing(), []);
    for (const name of Object.keys(headers)) expect(name).not.toMatch(/^(x-forwarded|forwarded|via)/);
  });

  describe('with xfwd', () => {
    it('names the peer', async () => {
      const { headers } = await received(await echoing({ xfwd: true }), []);
      expect(headers).toMatchObject({
        'x-forwarded-for': expect.stringMatching(/^(::ffff:)?127\.0\.0\.1$/),
        'x-forwarded-proto': 'http',
        'x-forwarded-host': 'front.example:8080',
        'x-forwarded-port': '8080',
      });
    });

    it('appends the peer to what the client says, and keeps the rest', async () => {
      const { headers, raw } = await received(await echoing({ xfwd: true }), [
        'X-Forwarded-For: 1.2.3.4',
        'X-Forwarded-For: 5.6.7.8',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: outer.example',
        'X-Forwarded-Port: 443',
      ]);
      expect(headers['x-forwarded-for']).toMatch(/^1\.2\.3\.4, 5\.6\.7\.8, (::ffff:)?127\.0\.0\.1$/);
      expect(headerLines(raw, 'x-forwarded-for')).toHaveLength(1);
      expect(headers).toMatchObject({
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'outer.example',
        'x-forwarded-port': '443',
      });
    });

    it('cannot be kept from it by Connection', async () => {
      const { headers } = await received(await echoing({ xfwd: true }), [
        'Connection: x-forwarded-for',
        'X-Forwarded-For: 1.2.3.4',
      ]);
      expect(headers['x-forwarded-for']).toMatch(/^(::ffff:)?127\.0\.0\.1$/);
    });
  });
});

describe('a response', () => {
  it('loses the fields that concern one connection', async () => {
    const { headers } = await answered([
      'Connection: close, x-mine',
      'Connection: X-Other',
      'Keep-Alive: timeout=99',
      'Proxy-Connection: close',
      'Proxy-Authenticate: Basic',
      'Upgrade: h2c',
      'Trailer: X-Sum',
      'X-Mine: 1',
      'x-other: 2',
      'X-Kept: 3',
    ]);
    for (const name of ['proxy-connection', 'proxy-authenticate', 'upgrade', 'trailer', 'x-mine', 'x-other']) {
      expect(headers).not.toHaveProperty(name);
    }
    expect(headers['keep-alive']).not.toBe('timeout=99');
    expect(headers['x-kept']).toBe('3');
  });

  it('does not pass Connection: close on to a client that stays', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}');
    });
    const proxy = await proxyApp({ target: url });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.until('{}')).toMatch(/^connection: keep-alive\r$/im);
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect((await client.end()).text.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2);
  });

  it('keeps a Content-Length and a type that its Connection names', async () => {
    const { headers } = await answered(['Connection: content-length, content-type', 'Content-Type: a/b']);
    expect(headers).toMatchObject({ 'content-length': '2', 'content-type': 'a/b' });
  });

  it('keeps the CORS, security and other fields that the app has set', async () => {
    const { headers } = await answered(
      [
        'Access-Control-Allow-Origin: https://upstream.example',
        'Access-Control-Expose-Headers: x-upstream',
        'Content-Security-Policy: upstream',
        'X-Frame-Options: DENY',
        'X-Powered-By: upstream',
        'X-Request-Id: upstream',
      ],
      {},
      (app) => {
        app.use(cors({ origin: 'https://app.example', exposedHeaders: ['x-app'] }), helmet());
      },
    );
    expect(headers).toMatchObject({
      'access-control-allow-origin': 'https://app.example',
      'access-control-expose-headers': 'x-app',
      'content-security-policy': expect.stringContaining("default-src 'self'"),
      'x-frame-options': 'SAMEORIGIN',
      'x-request-id': 'upstream',
    });
  });

  it('merges Vary', async () => {
    const vary = async (upstreamVary: string[], ours: string | string[]): Promise<string | undefined> => {
      const { headers } = await answered(
        upstreamVary.map((value) => `Vary: ${value}`),
        {},
        (app) => {
          app.use((_req, res, next) => {
            res.setHeader('vary', ours);
            next();
          });
        },
      );
      return headers.vary;
    };
    expect(await vary([], 'Origin')).toBe('Origin');
    expect(await vary(['Accept-Encoding'], 'Origin')).toBe('Origin, Accept-Encoding');
    expect(await vary(['Accept', 'origin'], ['Origin', 'Cookie'])).toBe('Origin, Cookie, Accept');
    expect(await vary(['*'], 'Origin')).toBe('*');
  });

  it("appends the upstream's cookies to the app's, each in its own line", async () => {
    const { rawHeaders } = await answered(['Set-Cookie: c=3; Path=/', 'Set-Cookie: d=4'], {}, (app) => {
      app.use((_req, res, next) => {
        res.cookie('a', '1').cookie('b', '2');
        next();
      });
    });
    expect(headerLines(rawHeaders, 'set-cookie')).toEqual(['a=1; Path=/', 'b=2; Path=/', 'c=3; Path=/', 'd=4']);
  });

  it.each([
    ['Content-Type', 'text/html', 'application/json'],
    ['ETag', 'W/"app"', '"upstream"'],
    ['Last-Modified', 'Thu, 01 Jan 1970 00:00:00 GMT', 'Fri, 02 Jan 1970 00:00:00 GMT'],
    ['Content-Disposition', 'inline', 'attachment'],
    ['Location', '/app', '/upstream'],
    ['Retry-After', '1', '2'],
    ['Date', 'Thu, 01 Jan 1970 00:00:00 GMT', 'Fri, 02 Jan 1970 00:00:00 GMT'],
  ])("has the upstream's %s, not the app's", async (name, app, upstream) => {
    const { headers } = await answered([`${name}: ${upstream}`], {}, (express) => {
      express.use((_req, res, next) => {
        res.setHeader(name, app);
        next();
      });
    });
    expect(headers[name.toLowerCase()]).toBe(upstream);
  });

  it('does not have an ETag, a length or a coding of the app that would misdescribe it', async () => {
    const { headers } = await answered([], {}, (app) => {
      app.use((_req, res, next) => {
        res.setHeader('ETag', '"app"');
        res.setHeader('Content-Length', '12345');
        res.setHeader('Content-Encoding', 'gzip');
        next();
      });
    });
    expect(headers).not.toHaveProperty('etag');
    expect(headers).not.toHaveProperty('content-encoding');
    expect(headers['content-length']).toBe('2');
  });

  it('keeps repeated lines apart', async () => {
    const { rawHeaders } = await answered([
      'WWW-Authenticate: Basic realm="a, b"',
      'WWW-Authenticate: Bearer',
      'Link: </a>; rel=preload',
      'Link: </b>; rel=preload',
      'X-Twice: 1',
      'x-twice: 2, 3',
      'Set-Cookie: a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT',
      'Set-Cookie: b=2',
    ]);
    expect(headerLines(rawHeaders, 'www-authenticate')).toEqual(['Basic realm="a, b"', 'Bearer']);
    expect(headerLines(rawHeaders, 'link')).toEqual(['</a>; rel=preload', '</b>; rel=preload']);
    expect(headerLines(rawHeaders, 'x-twice')).toEqual(['1', '2, 3']);
    expect(headerLines(rawHeaders, 'set-cookie')).toEqual(['a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT', 'b=2']);
  });

  it('keeps empty values and the bytes of others', async () => {
    const { headers } = await answered(['X-Empty:', 'X-Latin: café', 'X-Tab: a\tb', "X-Odd: ()<>@,;:'{}=?"]);
    expect(headers).toMatchObject({
      'x-empty': '',
      'x-latin': 'café',
      'x-tab': 'a\tb',
      'x-odd': "()<>@,;:'{}=?",
    });
  });

  it('with a field called __proto__ arrives', async () => {
    const { headers } = await answered(['__proto__: polluted', 'constructor: x', 'hasOwnProperty: y', 'X-Kept: 1']);
    expect(headers['x-kept']).toBe('1');
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it('rewrites cookie domains as http-proxy-middleware does', async () => {
    const { headers } = await answered(['Set-Cookie: a=1; Domain=upstream.example'], {
      cookieDomainRewrite: { 'upstream.example': 'app.example' },
    });
    expect(headers['set-cookie']).toEqual(['a=1; Domain=app.example']);
  });

  it('keeps the letter case of names with preserveHeaderKeyCase', async () => {
    const { rawHeaders } = await answered(['X-MiXed: 1'], { preserveHeaderKeyCase: true });
    expect(rawHeaders).toContain('X-MiXed');
  });

  it('has no framing besides its own', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n');
    });
    const proxy = await proxyApp({ target: url });
    const response = await request(proxy.url);
    expect(await readText(response)).toBe('{}');
    expect(headerLines(response.rawHeaders, 'transfer-encoding')).toEqual(['chunked']);
    expect(response.headers).not.toHaveProperty('content-length');
  });

  it.each([
    'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n',
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n',
    'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n',
    'HTTP/1.1 304 Not Modified\r\n',
  ])('without a body has no Transfer-Encoding: %j', async (head) => {
    const { url } = await rawUpstream((socket) => {
      socket.write(`${head}ETag: "1"\r\n\r\n`);
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 (204|304) .+\r\n(.+\r\n)+\r\n$/);
    expect(text).not.toMatch(/transfer-encoding/i);
    if (head.includes('204')) expect(text).not.toMatch(/content-length/i);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('304 keeps the Content-Length of what it stands for', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: "1"\r\n\r\n');
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(text).toMatch(/content-length: 1234\r\n/i);
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('an informational response', () => {
  /** The 1xx responses that a client of HTTP/1.1 sees, and the final one. */
  async function informed(
    informational: string[],
    before?: (app: Express) => void,
  ): Promise<{ seen: InformationEvent[]; response: IncomingMessage; proxy: ProxyUnderTest }> {
    const { url } = await rawUpstream((socket) => {
      socket.write(`${informational.join('')}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}`);
    });
    const proxy = await proxyApp({ target: url }, before);
    const seen: InformationEvent[] = [];
    const req = http.get(proxy.url, { agent: false });
    req.on('information', (information) => seen.push(information));
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(await readText(response)).toBe('{}');
    return { seen, response, proxy };
  }

  it('103 is passed on with its links', async () => {
    const { seen, response } = await informed([
      'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\nX-Trace: 1\r\n\r\n',
    ]);
    expect(seen).toEqual([
      expect.objectContaining({
        statusCode: 103,
        headers: expect.objectContaining({ link: '</style.css>; rel=preload; as=style' }),
      }),
    ]);
    expect(response.statusCode).toBe(200);
    expect(response.headers).not.toHaveProperty('link');
  });

  it('103 arrives before the final response is there', async () => {
    const hinted = signal();
    const { url } = await upstream((_req, res) => {
      res.writeEarlyHints({ link: '</a>; rel=preload' });
      void hinted.promise.then(() => res.end());
    });
    const proxy = await proxyApp({ target: url });
    const req = http.get(proxy.url, { agent: false });
    const [information] = (await once(req, 'information')) as [InformationEvent];
    expect(information.headers.link).toBe('</a>; rel=preload');
    hinted.resolve();
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    response.resume();
    await once(response, 'end');
  });

  it('103 may come several times', async () => {
    const { seen } = await informed([
      'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: </b>; rel=preload\r\n\r\n',
    ]);
    expect(seen.map(({ headers }) => headers.link)).toEqual(['</a>; rel=preload', '</b>; rel=preload']);
  });

  it.each([
    ['several lines', 'Link: </a>; rel=preload\r\nLink: </b>; rel=preload\r\n', ['</a>', '</b>']],
    ['several links in a line', 'Link: </a>; rel=preload, </b>; rel=preload\r\n', ['</a>', '</b>']],
  ])('103 with %s is passed on', async (_name, fields, expected) => {
    const { seen, response } = await informed([`HTTP/1.1 103 Early Hints\r\n${fields}\r\n`]);
    expect(response.statusCode).toBe(200);
    for (const link of expected) expect(String(seen[0]?.headers.link)).toContain(link);
  });

  it.each(['Link: nonsense\r\n', 'Link:\r\n', '', 'Link: </a>; rel=preload; title="a; b"\r\n'])(
    '103 that Node cannot send does not cost the response: %j',
    async (fields) => {
      const { response, proxy } = await informed([`HTTP/1.1 103 Early Hints\r\n${fields}\r\n`]);
      expect(response.statusCode).toBe(200);
      expect((await proxy.summary()).outcome).toBe('completed');
    },
  );

  it('103 brings no fields that concern one connection', async () => {
    const { seen } = await informed([
      'HTTP/1.1 103 Early Hints\r\nConnection: x-a\r\nX-A: 1\r\nLink: </a>; rel=preload\r\nKeep-Alive: a\r\n\r\n',
    ]);
    expect(seen).toHaveLength(1);
    for (const name of ['connection', 'x-a', 'keep-alive']) expect(seen[0]?.headers).not.toHaveProperty(name);
  });

  it('102 and others are not passed on', async () => {
    const { seen, response } = await informed([
      'HTTP/1.1 102 Processing\r\n\r\n',
      'HTTP/1.1 100 Continue\r\n\r\n',
      'HTTP/1.1 199 Odd\r\nLink: </a>; rel=preload\r\n\r\n',
    ]);
    expect(seen).toEqual([]);
    expect(response.statusCode).toBe(200);
  });

  it('is nothing for HTTP/1.0', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}',
      );
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).not.toContain('103');
    expect(text.endsWith('\r\n\r\n{}')).toBe(true);
  });

  it('100 is what an Expect is answered with', async () => {
    const proxy = await echoing();
    const req = http.request(proxy.url, {
      method: 'POST',
      agent: false,
      headers: { expect: '100-continue', 'content-length': 4 },
    });
    req.flushHeaders();
    await once(req, 'continue');
    req.end('body');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const { headers, body } = JSON.parse(await readText(response)) as Received;
    expect(body).toBe('body');
    expect(headers).not.toHaveProperty('expect');
  });
});

describe('an HTTP/1.0 client', () => {
  it('gets a body without a known length until the connection closes, event by event', async () => {
    const held = signal<http.ServerResponse>();
    const { url } = await upstream((_req, res) => held.resolve(eventStream(res)));
    const proxy = await proxyApp({ target: url });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    const head = await client.until('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(head).not.toMatch(/transfer-encoding|content-length|keep-alive/i);
    expect(head).toMatch(/^connection: close\r$/im);
    const res = await held.promise;
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      res.write(event);
      await client.until(event);
    }
    res.end();
    expect((await client.end()).text.split('\r\n\r\n')[1]).toBe('data: 1\n\ndata: 2\n\n');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('gets no fields that the Connection of the upstream names', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\n{}');
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/x-kept: 2/i);
    expect(text).not.toMatch(/x-mine/i);
  });

  it('gets a Content-Length where there is one, and may stay', async () => {
    const { url } = await upstream((_req, res) => res.setHeader('content-length', 2).end('{}'));
    const proxy = await proxyApp({ target: url });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    expect(await client.until('{}')).toMatch(/content-length: 2\r\n/i);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    expect((await client.end()).text.match(/\r\n\r\n\{\}/g)).toHaveLength(2);
  });

  it('without a Host is proxied all the same', async () => {
    const { text } = await rawExchange((await echoing()).port, 'GET /path HTTP/1.0\r\n\r\n');
    expect(text).toContain('"url":"/path"');
  });

  it('gets a proper failure', async () => {
    const { url } = await rawUpstream((socket) => socket.destroy());
    const proxy = await proxyApp({ target: url });
    const { text, reset } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    expect(text).toContain('"UPSTREAM_CLOSED"');
    expect(reset).toBe(false);
  });

  it('is reset where the body is cut', async () => {
    const held = signal<http.ServerResponse>();
    const { url } = await upstream((_req, res) => held.resolve(eventStream(res)));
    const proxy = await proxyApp({ target: url });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    const res = await held.promise;
    res.write('data: 1\n\n');
    await client.until('data: 1\n\n');
    const error = once(client.socket, 'error');
    res.destroy();
    expect(await error).toEqual([expect.objectContaining({ code: 'ECONNRESET' })]);
  });
});

it('an upstream of HTTP/1.0 is served to HTTP/1.1 with a proper end', async () => {
  const { url } = await rawUpstream((socket) => {
    socket.end('HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');
  });
  const proxy = await proxyApp({ target: url });
  const response = await request(proxy.url);
  expect(response.httpVersion).toBe('1.1');
  expect(response.headers['transfer-encoding']).toBe('chunked');
  expect(await readUntilCut(response)).toEqual({ body: Buffer.from('data: 1\n\n'), cut: false });
});

describe('rewriteHeaders', () => {
  it("sees the merged head and has the last word, over the app's fields too", async () => {
    const { headers, statusMessage } = await answered(
      ['X-Up: 1', 'Set-Cookie: u=1'],
      {
        rewriteHeaders(head) {
          head.headers['x-seen'] = String([head.headers['set-cookie']].flat().length);
          head.statusMessage = 'Rewritten';
          delete head.headers['x-app'];
          delete head.headers['x-up'];
        },
      },
      (app) => {
        app.use((_req, res, next) => {
          res.cookie('a', '1').set('x-app', '1');
          next();
        });
      },
    );
    expect(headers['x-seen']).toBe('2');
    expect(statusMessage).toBe('Rewritten');
    expect(headers).not.toHaveProperty('x-app');
    expect(headers).not.toHaveProperty('x-up');
  });
});
