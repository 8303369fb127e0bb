import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { readAll, readText, request } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const redirect = (to: string, status = 302) =>
  `HTTP/1.1 ${status} Found\r\nLocation: ${to}\r\nContent-Length: 10\r\n\r\n`;

describe('followRedirects', () => {
  it('followRedirects: what becomes of the connection that a redirect came by does not disturb the answer', async () => {
    let first: Socket | undefined;
    const { url } = await rawUpstream((socket, text) => {
      if (text.startsWith('GET /from')) {
        first = socket;
        socket.write(`${redirect('/to')}the`);
        return;
      }
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe ', async () => {
        first?.resetAndDestroy();
        await turns(20);
        socket.write('answer');
      });
    });
    const proxy = await proxyApp({ target: url, followRedirects: true });
    const response = await request(`${proxy.url}/from`);
    expect(await readText(response)).toBe('the answer');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it.each([
    ['GET', undefined],
    ['PUT', 'a body that is sent again'],
  ])(
    'followRedirects: a pooled connection that is dead when a redirect leads to it is replaced: %s',
    async (method, body) => {
      const connections = new Map<Socket, number>();
      const bodies: string[] = [];
      const { url } = await rawUpstream((socket, text) => {
        const n = (connections.get(socket) ?? 0) + 1;
        connections.set(socket, n);
        const [path = ''] = /\/\S*/.exec(text) ?? [];
        if (path === '/warm') socket.write(answer('warm'));
        // Only the connection that was there before is dead, and only when it is used again.
        else if (path === '/to' && n > 1) socket.destroy();
        else if (path === '/to') {
          bodies.push(text.slice(text.indexOf('\r\n\r\n') + 4));
          socket.write(answer('the answer'));
        } else socket.end(`${redirect('/to', 307).replace('10', '0')}`);
      });
      const proxy = await proxyApp({ target: url, followRedirects: true });
      const [one, two] = [request(`${proxy.url}/warm`), request(`${proxy.url}/warm`)];
      await Promise.all([one.then(readAll), two.then(readAll)]);
      await Promise.all([proxy.summary(), proxy.summary()]);
      const response = await request(`${proxy.url}/from`, { method, ...(body !== undefined && { body }) });
      expect(await readText(response)).toBe('the answer');
      expect(bodies).toEqual([body ?? '']);
    },
  );
});
