import { afterEach, describe, expect, it } from '@jest/globals';
import { headerLines, rawClient } from '../../support/clients/raw.js';
import { echoingProxy, receivedUpstream } from '../../support/servers/echo.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

describe('a request', () => {
  it('hop-by-hop headers: a request loses them', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), [
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

  it('request headers: a request loses an Upgrade that nobody proxies', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), [
      'Connection: Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
    ]);
    expect(headers).not.toHaveProperty('upgrade');
    expect(headers).not.toHaveProperty('http2-settings');
    expect(headers.connection).toBe('keep-alive');
  });

  it('hop-by-hop headers: a request does not pass its Connection: close on', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), ['Connection: close']);
    expect(headers.connection).toBe('keep-alive');
  });

  it('request headers: a request with a Trailer header arrives', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), ['Trailer: X-Sum'], '', 'GET');
    expect(headers).not.toHaveProperty('trailer');
  });

  it('hop-by-hop headers: a request can have several Connection lines', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), [
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

  it('hop-by-hop headers: a request cannot strip by Connection what the app has put there', async () => {
    const proxy = await echoingProxy({}, (app) => {
      app.use((req, _res, next) => {
        req.headers.authorization = 'Bearer of-the-app';
        req.headers['x-app'] = 'app';
        next();
      });
    });
    const { headers } = await receivedUpstream(proxy, [
      'Connection: authorization, x-app, x-client',
      'Authorization: Bearer of-the-client',
      'X-Client: 1',
    ]);
    expect(headers).toMatchObject({ authorization: 'Bearer of-the-app', 'x-app': 'app' });
    expect(headers).not.toHaveProperty('x-client');
  });

  it('hop-by-hop headers: a request cannot strip by Connection what the option `headers` adds', async () => {
    const proxy = await echoingProxy({ headers: { authorization: 'Bearer of-the-app', 'x-app': 'app' } });
    const { headers } = await receivedUpstream(proxy, [
      'Connection: authorization, x-app',
      'Authorization: Bearer of-the-client',
      'X-App: client',
    ]);
    expect(headers).toMatchObject({ authorization: 'Bearer of-the-app', 'x-app': 'app' });
  });

  it('hop-by-hop headers: a request cannot strip by Connection what a proxyReq listener adds', async () => {
    const proxy = await echoingProxy({
      on: { proxyReq: (proxyReq) => void proxyReq.setHeader('authorization', 'Bearer of-the-app') },
    });
    const { headers } = await receivedUpstream(proxy, [
      'Connection: authorization',
      'Authorization: Bearer of-the-client',
    ]);
    expect(headers.authorization).toBe('Bearer of-the-app');
  });

  it('hop-by-hop headers: a request can strip its own credentials by Connection', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), [
      'Connection: authorization',
      'Authorization: Bearer mine',
    ]);
    expect(headers).not.toHaveProperty('authorization');
  });

  it.each(['content-length', 'content-type', 'host', 'content-encoding', 'transfer-encoding'])(
    'hop-by-hop headers: a request cannot strip %s, by which it is read',
    async (name) => {
      const { headers, body } = await receivedUpstream(
        await echoingProxy(),
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

  it('hop-by-hop headers: a request keeps its chunked coding when Connection names it', async () => {
    const client = await rawClient((await echoingProxy()).port);
    client.socket.write(
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
    );
    expect(await client.until('"}')).toContain('"body":"body"');
  });

  it('request headers: a request passes what protocols above HTTP need', async () => {
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
    const { headers } = await receivedUpstream(
      await echoingProxy(),
      Object.entries(fields).map(([name, value]) => `${name}: ${value}`),
    );
    expect(headers).toMatchObject(fields);
  });

  it('request headers: a request has the Host of the target', async () => {
    const proxy = await echoingProxy();
    const { headers } = await receivedUpstream(proxy, []);
    expect(headers.host).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(headers.host).not.toBe(`127.0.0.1:${proxy.port}`);
  });

  it('request headers: a request keeps its Host with changeOrigin: false', async () => {
    expect((await receivedUpstream(await echoingProxy({ changeOrigin: false }), [])).headers.host).toBe(
      'front.example:8080',
    );
  });

  it('request headers: a request with a header called __proto__ arrives', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), [
      '__proto__: polluted',
      'constructor: x',
      'X-Kept: 1',
    ]);
    expect(headers['x-kept']).toBe('1');
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it('request headers: a request says nothing of the client that it did not say itself', async () => {
    const { headers } = await receivedUpstream(await echoingProxy(), []);
    for (const name of Object.keys(headers)) expect(name).not.toMatch(/^(x-forwarded|forwarded|via)/);
  });

  describe('with xfwd', () => {
    it('X-Forwarded-*: a request with xfwd names the peer', async () => {
      const { headers } = await receivedUpstream(await echoingProxy({ xfwd: true }), []);
      expect(headers).toMatchObject({
        'x-forwarded-for': expect.stringMatching(/^(::ffff:)?127\.0\.0\.1$/),
        'x-forwarded-proto': 'http',
        'x-forwarded-host': 'front.example:8080',
        'x-forwarded-port': '8080',
      });
    });

    it('X-Forwarded-*: a request with xfwd appends the peer to what the client says, and keeps the rest', async () => {
      const { headers, raw } = await receivedUpstream(await echoingProxy({ xfwd: true }), [
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

    it('X-Forwarded-*: a request with xfwd cannot strip them by Connection', async () => {
      const { headers } = await receivedUpstream(await echoingProxy({ xfwd: true }), [
        'Connection: x-forwarded-for',
        'X-Forwarded-For: 1.2.3.4',
      ]);
      expect(headers['x-forwarded-for']).toMatch(/^(::ffff:)?127\.0\.0\.1$/);
    });
  });
});
