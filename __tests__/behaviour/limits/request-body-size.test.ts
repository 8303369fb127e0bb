import { once } from 'node:events';
import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { openai } from '../../../lib/providers/index.js';
import { expectErrorResponse, openRequest, readAll, readText, responseTo } from '../../support/clients/http.js';
import { SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe('limits.requestBody', () => {
  const limits = { requestBody: '1kb' };
  const TOO_MUCH = 1025;

  it('limits.requestBody: answers a larger Content-Length with a 413 before anything of the body, and sends nothing', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST', headers: { 'content-length': String(TOO_MUCH) } });
    req.flushHeaders();
    const response = await responseTo(req);
    expect(response.headers.connection).toBe('close');
    await expectErrorResponse(response, 413, 'REQUEST_BODY_TOO_LARGE');
    const summary = await proxy.summary();
    expect(summary).toMatchObject({ outcome: 'refused', statusCode: 413, attempts: { length: 0 } });
    expect(requests.count).toBe(0);
  });

  it('limits.requestBody: answers a body that turns out to be larger with a 413, and aborts the upstream request', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('x'.repeat(1024));
    const received = await requests.next();
    await once(received.req, 'data');
    req.write('x');
    await expectErrorResponse(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    received.req.resume();
    await received.closed;
    expect(received.req.complete).toBe(false);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'refused',
      attempts: [{ error: 'REQUEST_BODY_TOO_LARGE' }],
    });
  });

  it.each([
    ['Content-Length', { 'content-length': String(50 * 1024 * 1024) }],
    ['chunked', {}],
  ])('limits.requestBody: reaches a client that goes on sending, and does not read that: %s', async (_, headers) => {
    const { url } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits });
    const connected = once(proxy.server, 'connection');
    const req = openRequest(proxy.url, { method: 'POST', headers });
    const [socket] = (await connected) as [Socket];
    const chunk = Buffer.alloc(1024 * 1024);
    // More than the buffers of both ends take.
    let sent = 0;
    const write = (): void => {
      sent += 1;
      if (sent <= 50 && !req.destroyed) req.write(chunk, () => setImmediate(write));
    };
    write();
    await expectErrorResponse(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    await proxy.summary();
    await closed(socket);
    expect(socket.bytesRead).toBeLessThan(10 * chunk.length);
  });

  it('limits.requestBody: is not retried, and goes to no fallback', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      fallbacks: [url],
      limits,
      retry: { methods: ['POST'], minTimeout: 1, statusCodes: [413], errorCodes: ['REQUEST_BODY_TOO_LARGE'] },
    });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.write('x'.repeat(TOO_MUCH));
    expect((await responseTo(req)).statusCode).toBe(413);
    await proxy.summary();
    expect(requests.count).toBeLessThan(2);
  });

  it.each([
    ['Content-Length', { 'content-length': '1024' }],
    ['chunked', {}],
  ])('limits.requestBody: lets pass what is exactly as large: %s', async (_, headers) => {
    const { url } = await upstream(async (req, res) => res.end(String((await readAll(req)).length)));
    const proxy = await proxyApp({ target: url, limits });
    const req = openRequest(proxy.url, { method: 'POST', headers });
    req.write('x'.repeat(1000));
    req.end('x'.repeat(24));
    expect(await readText(await responseTo(req))).toBe('1024');
  });

  it('limits.requestBody: is each attempt’s, not all attempts’ together', async () => {
    let requests = 0;
    const { url } = await upstream(async (req, res) => {
      requests += 1;
      const { length } = await readAll(req);
      res.writeHead(requests === 1 ? 503 : 200).end(String(length));
    });
    const proxy = await proxyApp({ target: url, limits, retry: { methods: ['POST'], minTimeout: 1 } });
    const req = openRequest(proxy.url, { method: 'POST' });
    req.end('x'.repeat(1000));
    expect(await readText(await responseTo(req))).toBe('1000');
    expect(requests).toBe(2);
  });

  it.each<[string, (req: ClientRequest) => void]>([
    ['at once', (req) => req.end(`"${'x'.repeat(TOO_MUCH)}"`)],
    ['that does not end', (req) => req.write(`"${'x'.repeat(TOO_MUCH)}"`)],
  ])('limits.requestBody: is that of a body, too, which a provider reads to change it: %s', async (_, write) => {
    const { url } = await manualUpstream();
    const provider = openai({ target: url, apiKey: SERVERS_KEY, includeUsage: true });
    const proxy = await proxyApp({ provider, limits });
    const req = openRequest(`${proxy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
    });
    write(req);
    await expectErrorResponse(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
  });

  it('limits.requestBody: is that of a body, too, which the app has parsed', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits }, (app) => app.use(express.json()));
    const req = openRequest(proxy.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
    });
    req.end(JSON.stringify({ text: 'x'.repeat(TOO_MUCH) }));
    await expectErrorResponse(await responseTo(req), 413, 'REQUEST_BODY_TOO_LARGE');
    expect(requests.count).toBe(0);
  });
});
