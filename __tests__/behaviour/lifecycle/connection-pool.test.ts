import { once } from 'node:events';
import http, { type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { openRequest, readAll, readText, request } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe('the connection to the upstream', () => {
  async function countingUpstream(
    answer: (res: ServerResponse) => void,
  ): Promise<{ server: Server; url: string; sockets: Socket[]; connection: (string | undefined)[] }> {
    const sockets: Socket[] = [];
    const connection: (string | undefined)[] = [];
    const { server, url } = await upstream((req, res) => {
      connection.push(req.headers.connection);
      req.resume().once('end', () => answer(res));
    });
    // Only the proxy is to close its connections.
    server.keepAliveTimeout = 0;
    server.on('connection', (socket) => sockets.push(socket));
    return { server, url, sockets, connection };
  }

  it.each([
    ['JSON', (res: ServerResponse) => res.end('{}')],
    ['an event stream', (res: ServerResponse) => eventStream(res).end('data: 1\n\n')],
    ['no body', (res: ServerResponse) => res.writeHead(204).end()],
  ])(
    'connection pool: the connection to the upstream serves 20 requests in a row whose clients all say `Connection: close`: %s',
    async (_, answer) => {
      const { url, sockets, connection } = await countingUpstream(answer);
      const proxy = await proxyApp({ target: url });

      for (let i = 0; i < 20; i += 1) {
        await readAll(await request(proxy.url, { headers: { connection: 'close' } }));
      }
      expect(sockets).toHaveLength(1);
      expect(connection).toEqual(Array(20).fill('keep-alive'));
    },
  );

  it('connection pool: the connection to the upstream serves uploads in a row', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    for (let i = 0; i < 20; i += 1) {
      const body = `{"i":${i}}`;
      await readAll(await request(proxy.url, { method: 'POST', headers: { 'content-length': body.length }, body }));
    }
    expect(sockets).toHaveLength(1);
  });

  it('connection pool: the connection to the upstream is one per concurrent request, without a cap', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url });

    const clients = Array.from({ length: 300 }, () => openRequest(proxy.url));
    for (const client of clients) client.end();
    for (const _ of clients) await requests.next();
    expect(proxy.proxy.active).toBe(300);
  });

  it('connection pool: the connection to the upstream closes when the server that the proxy is mounted on closes', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    await Promise.all(Array.from({ length: 3 }, async () => readAll(await request(proxy.url))));
    expect(sockets.filter((socket) => !socket.destroyed).length).toBeGreaterThan(0);
    proxy.server.close();
    await Promise.all(sockets.map(closed));
  });

  it('connection pool: the connection to the upstream stays open while another server uses the proxy', async () => {
    const { url, sockets } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });
    const app = express();
    app.use(proxy.proxy);
    const other = http.createServer(app);
    const port = await listen(other);

    await readAll(await request(proxy.url));
    await readAll(await request(`http://127.0.0.1:${port}`));
    proxy.server.close();
    await once(proxy.server, 'close');
    await readAll(await request(`http://127.0.0.1:${port}`));
    expect(sockets).toHaveLength(1);
    other.close();
    await Promise.all(sockets.map(closed));
  });

  it('connection pool: the connection to the upstream is opened anew when the server listens again', async () => {
    const { url } = await countingUpstream((res) => res.end('{}'));
    const proxy = await proxyApp({ target: url });

    await readAll(await request(proxy.url));
    proxy.server.close();
    await once(proxy.server, 'close');
    const port = await listen(proxy.server);
    expect(await readText(await request(`http://127.0.0.1:${port}`))).toBe('{}');
  });
});
