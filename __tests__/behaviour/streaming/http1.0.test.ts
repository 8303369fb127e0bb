import { once } from 'node:events';
import type http from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { readUntilCut, request } from '../../support/clients/http.js';
import { rawClient, rawExchange } from '../../support/clients/raw.js';
import { echoingProxy } from '../../support/servers/echo.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { signal } from '../../support/watch/wait.js';

afterEach(closeAll);

describe('an HTTP/1.0 client', () => {
  it('HTTP/1.0 client: gets a body without a known length until the connection closes, event by event', async () => {
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

  it('HTTP/1.0 client: gets no headers that the Connection of the upstream names', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\n{}');
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/x-kept: 2/i);
    expect(text).not.toMatch(/x-mine/i);
  });

  it('HTTP/1.0 client: gets a Content-Length where there is one, and may stay', async () => {
    const { url } = await upstream((_req, res) => res.setHeader('content-length', 2).end('{}'));
    const proxy = await proxyApp({ target: url });
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    expect(await client.until('{}')).toMatch(/content-length: 2\r\n/i);
    client.socket.write('GET / HTTP/1.0\r\n\r\n');
    expect((await client.end()).text.match(/\r\n\r\n\{\}/g)).toHaveLength(2);
  });

  it('HTTP/1.0 client without a Host is proxied all the same', async () => {
    const { text } = await rawExchange((await echoingProxy()).port, 'GET /path HTTP/1.0\r\n\r\n');
    expect(text).toContain('"url":"/path"');
  });

  it('HTTP/1.0 client: gets a proper failure', async () => {
    const { url } = await rawUpstream((socket) => socket.destroy());
    const proxy = await proxyApp({ target: url });
    const { text, reset } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    expect(text).toContain('"UPSTREAM_CLOSED"');
    expect(reset).toBe(false);
  });

  it('HTTP/1.0 client: is reset where the body is cut', async () => {
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

it('HTTP/1.0 upstream: is served to HTTP/1.1 with a proper end', async () => {
  const { url } = await rawUpstream((socket) => {
    socket.end('HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');
  });
  const proxy = await proxyApp({ target: url });
  const response = await request(proxy.url);
  expect(response.httpVersion).toBe('1.1');
  expect(response.headers['transfer-encoding']).toBe('chunked');
  expect(await readUntilCut(response)).toEqual({ body: Buffer.from('data: 1\n\n'), cut: false });
});
