import { afterEach, describe, expect, it } from '@jest/globals';
import cors from 'cors';
import helmet from 'helmet';
import { readText, request } from '../../support/clients/http.js';
import { headerLines, rawClient, rawExchange } from '../../support/clients/raw.js';
import { answeredWith } from '../../support/servers/echo.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

describe('a response', () => {
  it('hop-by-hop headers: a response loses them', async () => {
    const { headers } = await answeredWith([
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

  it('hop-by-hop headers: a response does not pass Connection: close on to a client that stays', async () => {
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

  it('response headers: a response keeps a Content-Length and a type that its Connection names', async () => {
    const { headers } = await answeredWith(['Connection: content-length, content-type', 'Content-Type: a/b']);
    expect(headers).toMatchObject({ 'content-length': '2', 'content-type': 'a/b' });
  });

  it('response headers: a response keeps the CORS, security and other headers that the app has set', async () => {
    const { headers } = await answeredWith(
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

  it('response headers: a response merges Vary', async () => {
    const vary = async (upstreamVary: string[], ours: string | string[]): Promise<string | undefined> => {
      const { headers } = await answeredWith(
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

  it("response headers: a response appends the upstream's cookies to the app's, each in its own line", async () => {
    const { rawHeaders } = await answeredWith(['Set-Cookie: c=3; Path=/', 'Set-Cookie: d=4'], {}, (app) => {
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
  ])("response headers: a response has the upstream's %s, not the app's", async (name, app, upstream) => {
    const { headers } = await answeredWith([`${name}: ${upstream}`], {}, (express) => {
      express.use((_req, res, next) => {
        res.setHeader(name, app);
        next();
      });
    });
    expect(headers[name.toLowerCase()]).toBe(upstream);
  });

  it('response headers: a response does not have an ETag, a length or a coding of the app that would misdescribe it', async () => {
    const { headers } = await answeredWith([], {}, (app) => {
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

  it('response headers: a response keeps repeated lines apart', async () => {
    const { rawHeaders } = await answeredWith([
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

  it('response headers: a response keeps empty values and the bytes of others', async () => {
    const { headers } = await answeredWith(['X-Empty:', 'X-Latin: café', 'X-Tab: a\tb', "X-Odd: ()<>@,;:'{}=?"]);
    expect(headers).toMatchObject({
      'x-empty': '',
      'x-latin': 'café',
      'x-tab': 'a\tb',
      'x-odd': "()<>@,;:'{}=?",
    });
  });

  it('response headers: a response with a header called __proto__ arrives', async () => {
    const { headers } = await answeredWith(['__proto__: polluted', 'constructor: x', 'hasOwnProperty: y', 'X-Kept: 1']);
    expect(headers['x-kept']).toBe('1');
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it('response headers: a response rewrites cookie domains as http-proxy-middleware does', async () => {
    const { headers } = await answeredWith(['Set-Cookie: a=1; Domain=upstream.example'], {
      cookieDomainRewrite: { 'upstream.example': 'app.example' },
    });
    expect(headers['set-cookie']).toEqual(['a=1; Domain=app.example']);
  });

  it('response headers: a response keeps the letter case of names with preserveHeaderKeyCase', async () => {
    const { rawHeaders } = await answeredWith(['X-MiXed: 1'], { preserveHeaderKeyCase: true });
    expect(rawHeaders).toContain('X-MiXed');
  });

  it('response headers: a response has no framing besides its own', async () => {
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
  ])('response headers: a response without a body has no Transfer-Encoding: %j', async (head) => {
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

  it('response headers: a 304 keeps the Content-Length of what it stands for', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: "1"\r\n\r\n');
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(text).toMatch(/content-length: 1234\r\n/i);
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

describe('rewriteHeaders', () => {
  it("rewriteHeaders: sees the merged head and has the last word, over the app's headers too", async () => {
    const { headers, statusMessage } = await answeredWith(
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
