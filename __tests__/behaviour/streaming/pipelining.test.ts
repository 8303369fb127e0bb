import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { answersIn, rawClient } from '../../support/clients/raw.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, rawUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const ask = (path: string, ...fields: string[]) =>
  `GET ${path} HTTP/1.1\r\n${['Host: x', ...fields].map((field) => `${field}\r\n`).join('')}\r\n`;

/** The proxy, a client that has sent these requests at once, and what the upstream has got of them, by path. */
async function pipelined(requests: string[], options: SseProxyOptions = {}) {
  const { url, requests: queue } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options });
  const client = await rawClient(proxy.port);
  client.socket.write(requests.join(''));
  const arrived = new Map<string, { req: IncomingMessage; res: ServerResponse }>();
  /** The upstream's side of the request for this path. */
  const at = async (path: string): Promise<ServerResponse> => {
    while (!arrived.has(path)) {
      const next = await queue.next();
      arrived.set(String(next.req.url), next);
    }
    return (arrived.get(path) as { res: ServerResponse }).res;
  };
  return { proxy, client, at };
}

describe('pipelined requests (RFC 9112 9.3.2)', () => {
  it('pipelining: an answer with early hints that came before its turn is whole, and in its place', async () => {
    const { client, at } = await pipelined([ask('/1'), ask('/2'), ask('/3', 'Connection: close')]);
    const first = await at('/1');
    eventStream(first).write('data: 1\n\n');
    await client.until('data: 1');
    const second = await at('/2');
    second.writeEarlyHints({ link: '</a.css>; rel=preload' });
    second.end('the second');
    (await at('/3')).end('the third');
    await turns(20);
    first.end('data: 2\n\n');
    const { text } = await client.end();
    expect(answersIn(text)).toEqual([
      { informational: [], status: 200, body: 'data: 1\n\ndata: 2\n\n' },
      { informational: [], status: 200, body: 'the second' },
      { informational: [], status: 200, body: 'the third' },
    ]);
  });

  it('pipelining: passes early hints on that come in the turn of their answer', async () => {
    const { client, at } = await pipelined([ask('/1'), ask('/2', 'Connection: close')]);
    const second = await at('/2');
    (await at('/1')).end('the first');
    await client.until('the first');
    second.writeEarlyHints({ link: '</a.css>; rel=preload' });
    await client.until('103 Early Hints');
    second.end('the second');
    const { text } = await client.end();
    expect(answersIn(text)).toMatchObject([
      { informational: [], body: 'the first' },
      { informational: [expect.stringContaining('Link: </a.css>; rel=preload')], body: 'the second' },
    ]);
  });

  it.each([
    ['a length', (res: ServerResponse) => void res.writeHead(200, { 'content-length': 10 }).end('the second')],
    ['chunks', (res: ServerResponse) => void eventStream(res).end('the second')],
  ])(
    'pipelining: an answer with %s to a request with Expect: 100-continue comes behind the 100',
    async (_name, answer) => {
      const { client, at } = await pipelined([
        ask('/1'),
        'POST /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody',
        ask('/3', 'Connection: close'),
      ]);
      const first = await at('/1');
      eventStream(first).write('data: 1\n\n');
      await client.until('data: 1');
      answer(await at('/2'));
      (await at('/3')).end('the third');
      await turns(20);
      first.end();
      const { text } = await client.end();
      expect(answersIn(text)).toMatchObject([
        { status: 200, body: 'data: 1\n\n' },
        { informational: [expect.stringMatching(/^HTTP\/1.1 100 /)], status: 200, body: 'the second' },
        { informational: [], status: 200, body: 'the third' },
      ]);
    },
  );

  it("pipelining: an error of the proxy's own waits for its turn, behind a 100", async () => {
    const { client, at, proxy } = await pipelined(
      [
        ask('/1'),
        'POST /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody',
        ask('/3', 'Connection: close'),
      ],
      { allow: ['GET /1', 'GET /3'] },
    );
    const first = await at('/1');
    eventStream(first).write('data: 1\n\n');
    await client.until('data: 1');
    (await at('/3')).end('the third');
    await turns(20);
    first.end();
    const { text } = await client.end();
    expect(answersIn(text)).toMatchObject([
      { status: 200, body: 'data: 1\n\n' },
      {
        informational: [expect.stringMatching(/^HTTP\/1.1 100 /)],
        status: 404,
        body: expect.stringContaining('NOT_FOUND'),
      },
      { status: 200, body: 'the third' },
    ]);
    expect(proxy.summaries.map(({ statusCode }) => statusCode).sort()).toEqual([200, 200, 404]);
  });

  it('pipelining: an answer that breaks off before its turn becomes a 502 in its turn', async () => {
    const { client, at, proxy } = await pipelined([ask('/1'), ask('/2'), ask('/3', 'Connection: close')]);
    const first = await at('/1');
    eventStream(first).write('data: 1\n\n');
    await client.until('data: 1');
    const second = await at('/2');
    await new Promise((resolve) => second.writeHead(200, { 'content-length': 100 }).write('the', resolve));
    await turns(20);
    second.destroy();
    await until(() => second.closed);
    (await at('/3')).end('the third');
    await turns(20);
    first.end('data: 2\n\n');
    const { text } = await client.end();
    expect(answersIn(text)).toMatchObject([
      { status: 200, body: 'data: 1\n\ndata: 2\n\n' },
      { status: 502, body: expect.stringContaining('UPSTREAM_CLOSED') },
      { status: 200, body: 'the third' },
    ]);
    expect(proxy.summaries.map(({ outcome }) => outcome).sort()).toEqual(['completed', 'completed', 'upstream-error']);
  });

  it('pipelining: an answer that waits for its turn is not held against its client or its upstream', async () => {
    const timeouts = { headers: 250, idle: 250, drain: 250 };
    const { client, at } = await pipelined([ask('/1'), ask('/2', 'Connection: close')], { timeouts });
    const first = await at('/1');
    const second = await at('/2');
    eventStream(first);
    eventStream(second).write('data: second\n\n');
    for (let i = 0; i < 20; i += 1) {
      first.write(`data: ${i}\n\n`);
      await client.until(`data: ${i}\n`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    first.end();
    await client.until('data: second');
    second.end();
    const { text } = await client.end();
    expect(answersIn(text)).toMatchObject([{ status: 200 }, { status: 200, body: 'data: second\n\n' }]);
  });

  it('pipelining: a client that leaves ends the answers that wait for their turn', async () => {
    const { client, at, proxy } = await pipelined(Array.from({ length: 15 }, (_, i) => ask(`/${i}`)));
    eventStream(await at('/0')).write('data: 1\n\n');
    await client.until('data: 1');
    for (let i = 1; i < 15; i += 1) (await at(`/${i}`)).end('waits');
    await turns(20);
    client.socket.destroy();
    await until(() => proxy.proxy.active === 0);
    expect(proxy.summaries).toHaveLength(15);
    expect(new Set(proxy.summaries.map(({ outcome }) => outcome))).toEqual(new Set(['client-closed']));
    expect(new Set(proxy.summaries.map(({ statusCode, bytes }) => `${statusCode} ${bytes}`))).toEqual(
      new Set(['200 9', 'undefined 0']),
    );
  });

  it('pipelining: an answer that waits is read on where onClientClose says so', async () => {
    const { client, at, proxy } = await pipelined([ask('/1'), ask('/2')], { onClientClose: 'continue' });
    eventStream(await at('/1')).write('data: 1\n\n');
    await client.until('data: 1');
    const second = await at('/2');
    second.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    await turns(20);
    client.socket.destroy();
    await turns(20);
    (await at('/1')).end();
    second.end('data: 2\n\n');
    await until(() => proxy.proxy.active === 0);
    expect(proxy.summaries).toHaveLength(2);
  });

  it('pipelining: waits for no turn where the retry of an answer that waited is the one that counts', async () => {
    let asked = 0;
    const { url } = await rawUpstream((socket, request) => {
      const [, path] = /^GET (\S+)/.exec(request) ?? [];
      if (path === '/1') {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthe first');
        return;
      }
      asked += 1;
      if (asked === 1) {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe');
        setImmediate(() => socket.destroy());
      } else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe second');
    });
    const slow = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      router: (req) => (req.url === '/0' ? slow.url : url),
      retry: { minTimeout: 1, maxTimeout: 1 },
    });
    const client = await rawClient(proxy.port);
    client.socket.write(ask('/0') + ask('/2') + ask('/1', 'Connection: close'));
    const { res } = await slow.requests.next();
    await until(() => asked === 2);
    await turns(20);
    res.end('the zeroth');
    const { text } = await client.end();
    expect(answersIn(text).map(({ body }) => body)).toEqual(['the zeroth', 'the second', 'the first']);
  });
});
