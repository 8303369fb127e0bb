import { once } from 'node:events';
import http from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { createSseProxy } from '../../../lib/index.js';
import { openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe('a complete response', () => {
  it.each([200, 201, 204, 302, 304, 400, 401, 429, 500, 503, 529])(
    'complete response: is `completed` with status %i',
    async (status) => {
      const { url } = await upstream((_req, res) => res.writeHead(status).end());
      const proxy = await proxyApp({ target: url });

      const response = await request(proxy.url);
      expect(response.statusCode).toBe(status);
      await readAll(response);
      expect(await proxy.summary()).toMatchObject({
        outcome: 'completed',
        statusCode: status,
        attempts: { length: 1 },
        target: url,
      });
      expect(proxy.proxy.active).toBe(0);
      await turns();
      expect(proxy.summaries).toHaveLength(1);
    },
  );

  it('complete response: counts its bytes and its times', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end('data: 1\n\n'));
    const proxy = await proxyApp({ target: url });

    await readAll(await request(proxy.url));
    const { bytes, timings } = await proxy.summary();
    expect(bytes).toBe(9);
    const { headers = -1, firstByte = -1, total } = timings;
    expect(headers).toBeGreaterThan(0);
    expect(firstByte).toBeGreaterThanOrEqual(headers);
    expect(total).toBeGreaterThanOrEqual(firstByte);
  });

  it('complete response: is `completed` for each of several pipelined requests, in order', async () => {
    const { url } = await upstream((req, res) => res.end(`<${req.url}>`));
    const proxy = await proxyApp({ target: url });

    const client = await rawClient(proxy.port);
    client.socket.write(['/1', '/2', '/3'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
    await client.until('</3>');
    expect(client.text().match(/<\/\d>/g)).toEqual(['</1>', '</2>', '</3>']);
    for (let i = 0; i < 3; i += 1) expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('complete response that comes in the middle of an upload leaves the connection usable', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

    const req = openRequest(proxy.url, { method: 'POST', agent });
    const chunk = Buffer.alloc(64 * 1024);
    req.write(chunk);
    (await requests.next()).res.writeHead(413).end('too large');
    const response = await responseTo(req);
    expect(response.statusCode).toBe(413);
    expect(await readText(response)).toBe('too large');
    for (let i = 1; i < 20; i += 1) req.write(chunk);
    req.end();
    await once(req, 'finish');
    expect((await proxy.summary()).outcome).toBe('completed');

    const second = openRequest(proxy.url, { agent });
    second.end();
    (await requests.next()).res.end('fine');
    expect(await readText(await responseTo(second))).toBe('fine');
    expect(second.reusedSocket).toBe(true);
    agent.destroy();
  });

  it('complete response: resolves the promise of the middleware', async () => {
    const { url } = await upstream((_req, res) => res.end('done'));
    const sseProxy = createSseProxy({ target: url });
    const settled = signal<unknown>();
    const server = http.createServer((req, res) => {
      void Promise.resolve(sseProxy(req, res)).then(settled.resolve);
    });
    const port = await listen(server);

    await readAll(await request(`http://127.0.0.1:${port}`));
    expect(await settled.promise).toBeUndefined();
    expect(sseProxy.active).toBe(0);
  });
});
