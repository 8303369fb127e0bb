import type { IncomingHttpHeaders, RequestListener } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { exchange, request } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { opened } from '../../support/clients/web-sockets.js';
import { closedPort } from '../../support/servers/listen.js';
import { http2Proxy, proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream, recorder } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const BY_OTHERS = '1.0 fred, 1.1 p.example.net';

/** The `Via` that the upstream got, and the one that the client got. */
async function fields(
  options: SseProxyOptions,
  { asked = BY_OTHERS, answered = BY_OTHERS }: { asked?: string; answered?: string } = {},
): Promise<{ up: unknown; down: unknown }> {
  const answer: RequestListener = (_req, res) =>
    void res.writeHead(200, answered === '' ? {} : { via: answered }).end();
  const { url, received } = await recorder(answer);
  const provider = options.provider && openai({ target: url, apiKey: 'sk-servers' });
  const proxy = await proxyApp({
    ...(provider === undefined && { target: url }),
    ...options,
    ...(provider && { provider }),
  });
  const { headers } = await exchange(proxy.url, { headers: asked === '' ? {} : { via: asked } });
  return { up: received[0]?.headers.via, down: headers.via };
}

describe('Via', () => {
  it.each<[string, boolean | string, string]>([
    ['true, with the name of the package', true, '1.1 express-sse-proxy'],
    ['a pseudonym', 'my-gateway', '1.1 my-gateway'],
    ['a host with its port', 'gw.example:8080', '1.1 gw.example:8080'],
  ])('Via: is added to request and response: %s', async (_what, via, entry) => {
    const none = { asked: '', answered: '' };
    expect(await fields({ via }, none)).toEqual({ up: entry, down: entry });
  });

  it('Via: is appended to what is there, in either direction', async () => {
    const both = `${BY_OTHERS}, 1.1 express-sse-proxy`;
    expect(await fields({ via: true })).toEqual({ up: both, down: both });
  });

  it.each<[SseProxyOptions]>([[{}], [{ via: false }]])(
    'Via: is left as it is without the option: %p',
    async (options) => {
      expect(await fields(options)).toEqual({ up: BY_OTHERS, down: BY_OTHERS });
      expect(await fields(options, { asked: '', answered: '' })).toEqual({ up: undefined, down: undefined });
    },
  );

  it("Via: tells a provider, and its clients, of this proxy only, and not of others' on the way", async () => {
    const provider = openai({ apiKey: 'sk-servers' });
    const entry = '1.1 express-sse-proxy';
    expect(await fields({ via: true, provider })).toEqual({ up: entry, down: entry });
  });

  it('Via: tells a provider of the others where the policy says so', async () => {
    const provider = openai({ apiKey: 'sk-servers' });
    const pass = { pass: ['via'] };
    const both = `${BY_OTHERS}, 1.1 express-sse-proxy`;
    expect(await fields({ via: true, provider, requestHeaders: pass, responseHeaders: pass })).toEqual({
      up: both,
      down: both,
    });
  });

  it('Via: is what the policy sets, where that sets one', async () => {
    const set = { via: '1.1 mine' };
    expect(await fields({ via: true, requestHeaders: { set }, responseHeaders: { set } })).toEqual({
      up: '1.1 mine',
      down: '1.1 mine',
    });
  });

  it('Via: names the version by which the message was received: HTTP/1.0', async () => {
    const upstream = await rawUpstream((socket, head) => {
      const [, via] = /^via: (.*)\r$/im.exec(head) ?? [];
      socket.end(`HTTP/1.0 200 OK\r\nx-seen: ${via}\r\n\r\n`);
    });
    const proxy = await proxyApp({ target: upstream.url, via: 'gw' });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect(text).toMatch(/^x-seen: 1\.0 gw\r$/m);
    expect(text).toMatch(/^via: 1\.0 gw\r$/m);
  });

  it('Via: names the version by which the message was received: HTTP/2', async () => {
    const { url, received } = await recorder();
    const { session } = await http2Proxy({ target: url, via: true });
    const headers = await new Promise<IncomingHttpHeaders>((resolve) => {
      session.request({ ':path': '/', via: '1.1 edge' }).once('response', resolve).resume().end();
    });
    expect(received[0]?.headers.via).toBe('1.1 edge, 2 express-sse-proxy');
    expect(headers.via).toBe('1.1 express-sse-proxy');
  });

  it('Via: is added once, also where a request is sent again', async () => {
    let asked = 0;
    const { url, received } = await recorder((_req, res) => {
      asked += 1;
      res.writeHead(asked === 1 ? 503 : asked === 2 ? 307 : 200, { location: '/there' }).end();
    });
    const proxy = await proxyApp({ target: url, via: true, retry: { minTimeout: 1 }, followRedirects: true });
    await exchange(proxy.url);
    expect(received.map(({ headers }) => headers.via)).toEqual(Array(3).fill('1.1 express-sse-proxy'));
  });

  it('Via: is not on a response that the proxy has made itself', async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, via: true });
    const { statusCode, headers } = await request(proxy.url);
    expect([statusCode, headers.via]).toEqual([502, undefined]);
  });

  it('Via: is on the handshake of a WebSocket, and on its answer', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url, via: true });
    const socket = await opened(server.url, { via: '1.1 edge' });
    expect(handshakes[0]?.headers.via).toBe('1.1 edge, 1.1 express-sse-proxy');
    socket.terminate();
    const refusing = await rawUpstream((upstream) => upstream.end('HTTP/1.0 403 Forbidden\r\nvia: 1.1 a\r\n\r\n'));
    const { port } = await upgradeServer({ target: refusing.url, via: true });
    const { text } = await rawExchange(
      port,
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    );
    expect(text).toMatch(/^via: 1\.1 a, 1\.0 express-sse-proxy\r$/im);
  });

  it('Via: is among what a provider signs', async () => {
    const { url, received } = await recorder();
    const signed: unknown[] = [];
    const provider = {
      ...openai({ target: url, apiKey: 'sk-servers' }),
      sign: ({ headers }: { headers: Readonly<Record<string, unknown>> }) => {
        signed.push(headers.via);
        return { 'x-signature': 'signature' };
      },
    };
    const proxy = await proxyApp({ provider, via: true });
    await exchange(proxy.url, { headers: { via: '1.1 edge' } });
    expect([...signed, received[0]?.headers.via]).toEqual(['1.1 express-sse-proxy', '1.1 express-sse-proxy']);
  });
});
