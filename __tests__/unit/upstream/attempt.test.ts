import { once } from 'node:events';
import http from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import express from 'express';
import { createSseProxy, type SseProxyOptions } from '../../../lib/index.js';
import { readAll, readText, request } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../../support/watch/clean-up.js';

afterEach(closeAll);

/** A session with an HTTP/2 server whose listener is the proxy. */
async function http2Proxy(options: SseProxyOptions): Promise<ClientHttp2Session> {
  const proxy = createSseProxy(options);
  const server = http2.createServer((req, res) => Reflect.apply(proxy, undefined, [req, res]));
  const session = http2.connect(`http://127.0.0.1:${await listen(server)}`);
  onCleanUp(() => session.destroy());
  return session;
}

/** An upstream that tells the requests that came in over one connection. */
async function recorder(): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = [];
  const { url } = await upstream(async (req, res) => {
    const entry = requests.push('') - 1;
    requests[entry] = `${req.method} ${req.url} ${await readText(req)}`;
    res.end('ok');
  });
  return { url, requests };
}

describe('a request body without a length', () => {
  it.each(['GET', 'DELETE', 'OPTIONS', 'POST'])(
    'attempt: a request body without a length over HTTP/2 is framed: it cannot become a request of its own (%s)',
    async (method) => {
      const { url, requests } = await recorder();
      const session = await http2Proxy({ target: url });
      const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

      const stream = session.request({ ':method': method, ':path': '/first' }, { endStream: false });
      const head = once(stream, 'response');
      stream.end(smuggled);
      expect((await head)[0][':status']).toBe(200);
      expect(await readText(stream)).toBe('ok');

      const next = session.request({ ':path': '/second' });
      expect(await readText(next)).toBe('ok');
      expect(requests).toEqual([`${method} /first ${smuggled}`, 'GET /second ']);
    },
  );

  it.each(['GET', 'DELETE'])(
    'attempt: a request body without a length that is none is sent as none (%s)',
    async (method) => {
      const { url, requests } = await recorder();
      const session = await http2Proxy({ target: url });
      expect(await readText(session.request({ ':method': method, ':path': '/' }))).toBe('ok');
      expect(requests).toEqual([`${method} / `]);
    },
  );
});

describe('a body that was read before, sent to the target of `forward` as well', () => {
  it.each([
    ['shorter than it came', express.json(), 'application/json', Buffer.from('{ "spaced": true }'), '{"spaced":true}'],
    ['longer than it came', express.text(), 'text/plain', gzipSync('x'.repeat(500)), 'x'.repeat(500)],
  ])(
    'attempt, forward: a body that was read before is framed by what is sent: %s',
    async (_case, parser, type, body, sent) => {
      const forwarded: string[] = [];
      let last = (): void => {};
      const both = new Promise<void>((resolve) => {
        last = resolve;
      });
      const { url: forward } = await upstream(async (req, res) => {
        const text = await readText(req);
        res.end();
        forwarded.push(`${req.method} ${req.headers['content-encoding']} ${text}`);
        if (forwarded.length === 2) last();
      });
      const { url: target } = await recorder();
      const proxy = await proxyApp({ target, forward }, (app) => app.use(parser));
      const headers = {
        'content-type': type,
        'content-length': body.length,
        'content-encoding': type === 'text/plain' ? 'gzip' : 'identity',
      };
      for (let i = 0; i < 2; i += 1) await readAll(await request(proxy.url, { method: 'POST', headers, body }));
      await both;
      expect(forwarded).toEqual(Array(2).fill(`POST undefined ${sent}`));
    },
  );
});

describe('a redirect that the proxy follows', () => {
  const redirecting = (status: number) =>
    upstream(async (req, res) => {
      const body = await readText(req);
      if (req.url === '/') res.writeHead(status, { location: '/moved' }).end();
      else res.end(`${req.method} ${body}`);
    });

  it('attempt: a redirect that is followed takes a replayed body along', async () => {
    const { url } = await redirecting(307);
    const proxy = await proxyApp({ target: url, followRedirects: true }, (app) => app.use(express.json()));
    const headers = { 'content-type': 'application/json' };
    const response = await request(proxy.url, { method: 'POST', headers, body: '{ "spaced": true }' });
    expect(await readText(response)).toBe('POST {"spaced":true}');
  });

  it('attempt: a redirect that is followed works for an HTTP/2 client', async () => {
    const { url } = await redirecting(302);
    const session = await http2Proxy({ target: url, followRedirects: true });
    expect(await readText(session.request({ ':path': '/' }))).toBe('GET ');
  });
});

describe('the second try, after a stale connection', () => {
  it('attempt after a stale connection: uses the agent that the user gave', async () => {
    let served = 0;
    const { url } = await rawUpstream((socket: Socket) => {
      served += 1;
      if (served === 2) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const { port } = new URL(url);
    let opened = 0;
    const agent = new http.Agent({ keepAlive: true });
    onCleanUp(() => agent.destroy());
    agent.createConnection = () => {
      opened += 1;
      return net.connect(Number(port), '127.0.0.1');
    };
    // Nobody listens there: only the agent knows the way, as one for an outgoing proxy does.
    const proxy = await proxyApp({ target: 'http://127.0.0.1:1', agent });
    expect(await readText(await request(proxy.url))).toBe('ok');
    await proxy.summary();
    expect((await request(proxy.url)).resume().statusCode).toBe(200);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', attempts: { length: 2 } });
    expect(opened).toBe(2);
  });
});

describe('the target of the summary is an origin', () => {
  it.each([
    [
      'a URL',
      (port: number) => `http://user:pass@127.0.0.1:${port}/path?a=b`,
      (port: number) => `http://127.0.0.1:${port}`,
    ],
    ['an object', (port: number) => ({ host: '127.0.0.1', port }), (port: number) => `http://127.0.0.1:${port}`],
    [
      'an object with a protocol',
      (port: number) => ({ protocol: 'http', hostname: '127.0.0.1', port: String(port) }),
      (port: number) => `http://127.0.0.1:${port}`,
    ],
    ['a Unix socket', () => ({ socketPath: '/nowhere.sock' }), () => 'unix:'],
  ])('attempt: the target of the summary is the origin of %s', async (_case, target, origin) => {
    const { port } = await upstream((_req, res) => res.end());
    const proxy = await proxyApp({ target: target(port) });
    (await request(proxy.url)).resume();
    expect((await proxy.summary()).target).toBe(origin(port));
  });

  it('attempt: the target of the summary is the origin of an IPv6 address', async () => {
    const closed = net.createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    for (const origin of [`http://[::1]:${port}`, 'http://[::1]']) {
      const proxy = await proxyApp({ target: `${origin}/path` });
      (await request(proxy.url)).resume();
      expect((await proxy.summary()).target).toBe(origin);
    }
  });
});
