import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ConnectionPool } from '../../../lib/upstream/connection-pool.js';
import { readAll, readText } from '../../support/clients/http.js';
import { certificate } from '../../support/servers/certificate.js';
import { listen } from '../../support/servers/listen.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../../support/watch/clean-up.js';

afterEach(closeAll);

/** Node's types want an `http.Agent`; Node itself takes any object with `addRequest`. */
function pool(): { agent: http.Agent; close: () => void } {
  const agent = new ConnectionPool();
  onCleanUp(() => agent.destroy());
  return { agent: agent as unknown as http.Agent, close: () => agent.destroy() };
}

async function get(url: string, agent: http.Agent): Promise<{ text: string; reused: boolean }> {
  const client = url.startsWith('https:') ? https : http;
  const request = client.get(url, { agent, rejectUnauthorized: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const text = await readText(response);
  // The connection is given back in the next turn.
  await new Promise((resolve) => setImmediate(resolve));
  return { text, reused: request.reusedSocket };
}

describe('the pool', () => {
  it('connection pool: keeps connections alive, for each protocol its own', async () => {
    const { key, cert } = await certificate();
    const secure = https.createServer({ key, cert }, (_req, res) => res.end('https'));
    const httpsUrl = `https://127.0.0.1:${await listen(secure)}`;
    onCleanUp(() => secure.closeAllConnections());
    const { url } = await upstream((_req, res) => res.end('http'));
    const { agent } = pool();

    expect(await get(url, agent)).toEqual({ text: 'http', reused: false });
    expect(await get(httpsUrl, agent)).toEqual({ text: 'https', reused: false });
    expect(await get(url, agent)).toEqual({ text: 'http', reused: true });
    expect(await get(httpsUrl, agent)).toEqual({ text: 'https', reused: true });
  });

  it.each([
    ['127.0.0.1', 8080],
    ['::1', 8081],
  ])(
    "connection pool: a request's agent names the port as http-proxy-middleware looks for it: %s",
    async (host, port) => {
      const request = http.get({ host, port, agent: pool().agent });
      await new Promise((resolve) =>
        request
          .on('error', () => {})
          .once('close', resolve)
          .destroy(),
      );
      const { sockets } = (request as unknown as { agent: http.Agent }).agent;
      expect(Object.keys(sockets)[0]?.split(':')[1]).toBe(String(port));
    },
  );

  it('connection pool: has no cap: 300 requests are in flight at once', async () => {
    const waiting: ServerResponse[] = [];
    let full = (): void => {};
    const all = new Promise<void>((resolve) => {
      full = resolve;
    });
    const { url } = await upstream((_req, res) => {
      waiting.push(res);
      if (waiting.length === 300) full();
    });
    const { agent } = pool();
    const answers = Array.from({ length: 300 }, () => get(url, agent));
    await all;
    for (const res of waiting) res.end('ok');
    expect((await Promise.all(answers)).length).toBe(300);
  });

  it('connection pool: sends at once: NODELAY', async () => {
    const { url } = await upstream((_req, res) => res.end());
    const { agent } = pool();
    const request = http.get(url, { agent });
    const [socket] = await once(request, 'socket');
    const noDelay: unknown = Object.getOwnPropertySymbols(socket)
      .filter((symbol) => String(symbol) === 'Symbol(kSetNoDelay)')
      .map((symbol) => socket[symbol])[0];
    expect(noDelay).toBe(true);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    await readAll(response);
  });

  it('connection pool: closes idle connections when it is destroyed, and serves on', async () => {
    const { server, url } = await upstream((_req, res) => res.end('ok'));
    const { agent, close } = pool();
    const connected = once(server, 'connection');
    await get(url, agent);
    const [socket] = await connected;
    const closed = once(socket, 'close');
    close();
    await closed;
    expect(await get(url, agent)).toEqual({ text: 'ok', reused: false });
  });
});
