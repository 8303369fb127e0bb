/**
 * What this package relies on in httpxy, which http-proxy-middleware runs on: how it treats the request, and the response
 * object that it is given. A failure here after an update says which assumption has gone.
 */
import { EventEmitter, once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import net from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { exchange, readAll, request } from '../support/clients/http.js';
import { PlainResponse } from '../support/servers/bare-http.js';
import { listen } from '../support/servers/listen.js';
import { hpmApp } from '../support/servers/proxies.js';
import { rawUpstream, recorder, upstream } from '../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';

afterEach(closeAll);

const LISTENED = ['data', 'end', 'error'];

/** Sends one request through http-proxy-middleware into `response`, and answers its client when the promise has settled. */
async function into(
  response: PlainResponse,
  options: Options,
  init: http.RequestOptions & { body?: string } = {},
): Promise<{ settled: Promise<void>; client: ClientRequest }> {
  const middleware = createProxyMiddleware({ ...options, ejectPlugins: true, plugins: options.plugins ?? [] });
  const { body, ...rest } = init;
  let client: ClientRequest | undefined;
  const settled = new Promise<void>((resolve, reject) => {
    const server = http.createServer((req, res) => {
      middleware(req, response.asServerResponse, reject).then(() => {
        res.end();
        resolve();
      }, reject);
    });
    listen(server).then((port) => {
      client = http.request({ port, host: '127.0.0.1', agent: false, ...rest });
      client.on('error', () => {});
      client.end(body);
    }, reject);
  });
  while (client === undefined) await new Promise(setImmediate);
  return { settled, client };
}

/** Registers listeners, as `on` does. */
function listeners(on: Record<string, (...args: never[]) => void>): Pick<Options, 'plugins'> {
  return {
    plugins: [
      (server) => {
        for (const [event, listener] of Object.entries(on)) server.on(event as 'start', listener as () => void);
      },
    ],
  };
}

/** Node has it, its types do not. */
function agentOf(request: ClientRequest): http.Agent | undefined {
  return Reflect.get(request, 'agent');
}

function keepAliveAgent(): http.Agent {
  const agent = new http.Agent({ keepAlive: true });
  onCleanUp(() => agent.destroy());
  return agent;
}

describe('a `buffer`', () => {
  it.each([
    ['is piped, once for each request that is made', {}, ['pipe']],
    ['is listened to with followRedirects: to data, then to end, then to error', { followRedirects: true }, LISTENED],
  ])('httpxy buffer: %s', async (_name, options, expected) => {
    const { url, received } = await recorder();
    const mirror = await recorder();
    const calls: string[] = [];
    const source = {
      pipe(request: ClientRequest): void {
        calls.push('pipe');
        request.end('body');
      },
      on(event: string, listener: (chunk?: Buffer) => void): void {
        calls.push(event);
        if (event === 'data') listener(Buffer.from('body'));
        if (event === 'end') listener();
      },
    } as unknown as Readable;
    const headers = { 'content-length': '4' };
    const init = { method: 'POST', headers, body: 'body' };
    await exchange((await hpmApp({ target: url, buffer: source, ...options })).url, init);
    expect(calls.splice(0)).toEqual(expected);
    await exchange((await hpmApp({ target: url, forward: mirror.url, buffer: source, ...options })).url, init);
    expect(calls).toEqual(['pipe', ...expected]);
    expect(received.map(({ body }) => body.toString())).toEqual(['body', 'body']);
  });
});

describe('the response object', () => {
  it("httpxy's response object: may be any Writable: gets status, reason, headers and body", async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(201, 'Made', { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2'] }).end('hello');
    });
    const response = new PlainResponse();
    const { settled } = await into(response, { target: url });
    await settled;
    expect(response).toMatchObject({ statusCode: 201, statusMessage: 'Made', body: 'hello' });
    expect(response.headers.get('content-type')).toBe('text/plain');
    expect(response.headers.get('set-cookie')).toEqual(['a=1', 'b=2']);
  });

  it("httpxy's response object: is piped into when its head is complete, by the upstream message itself", async () => {
    const { url } = await upstream((_req, res) => res.writeHead(203, { 'x-last': 'z' }).end('hello'));
    const response = new PlainResponse();
    const atPipe: unknown[] = [];
    let source: IncomingMessage | undefined;
    response.once('pipe', (piped: IncomingMessage) => {
      source = piped;
      atPipe.push(response.statusCode, response.headers.get('x-last'));
    });
    let proxyRes: IncomingMessage | undefined;
    const { settled } = await into(response, {
      target: url,
      ...listeners({
        proxyRes: (given: IncomingMessage) => {
          proxyRes = given;
        },
      }),
    });
    await settled;
    expect(atPipe).toEqual([203, 'z']);
    expect(source).toBeInstanceOf(http.IncomingMessage);
    expect(source).toBe(proxyRes);
  });

  it("httpxy's response object: is not written to once the source was taken out in the pipe event; the source flows all the same", async () => {
    const { url } = await upstream((_req, res) => res.end('hello'));
    const response = new PlainResponse();
    const body = new Promise<string>((resolve) => {
      response.once('pipe', (source: IncomingMessage) => {
        source.unpipe(response);
        const chunks: Buffer[] = [];
        source.on('data', (chunk: Buffer) => chunks.push(chunk));
        source.once('end', () => resolve(Buffer.concat(chunks).toString()));
      });
    });
    await into(response, { target: url });
    expect(await body).toBe('hello');
    expect(response.body).toBe('');
    expect(response.writableEnded).toBe(false);
    response.end();
  });

  it("httpxy's response object: aborts the upstream request when it is destroyed, before the head and after it", async () => {
    const aborted: Promise<unknown>[] = [];
    const { url } = await upstream((req, res) => {
      aborted.push(once(res, 'close').then(() => res.writableFinished));
      if (req.url === '/after') res.write('part');
      else response.destroy();
    });
    let response = new PlainResponse();
    await (await into(response, { target: url }, { path: '/before' })).settled;
    response = new PlainResponse();
    response.once('pipe', () => response.destroy());
    await (await into(response, { target: url }, { path: '/after' })).settled;
    expect(await Promise.all(aborted)).toEqual([false, false]);
  });

  it("httpxy's response object: keeps the upstream connection when it was ended after the upstream message", async () => {
    const { url, received } = await recorder();
    const agent = keepAliveAgent();
    for (let i = 0; i < 2; i += 1) {
      const response = new PlainResponse();
      response.once('pipe', (source: IncomingMessage) => {
        source.unpipe(response);
        source.once('end', () => response.end()).resume();
      });
      await (await into(response, { target: url, agent }, { headers: { connection: 'keep-alive' } })).settled;
    }
    expect(received[1]?.clientPort).toBe(received[0]?.clientPort);
  });

  it("httpxy's response object: settles the promise when it closes, not before", async () => {
    const { url } = await upstream((_req, res) => res.end('hello'));
    const response = new PlainResponse();
    response.once('pipe', (source: IncomingMessage) => source.unpipe(response));
    const { settled } = await into(response, { target: url });
    const isSettled = jest.fn();
    void settled.then(isSettled);
    await once(response, 'pipe');
    for (let i = 0; i < 20; i += 1) await new Promise(setImmediate);
    expect(isSettled).not.toHaveBeenCalled();
    response.destroy();
    await settled;
  });

  it("httpxy's response object: is not piped into where it says that it has finished", async () => {
    const { url } = await upstream((_req, res) => res.end('hello'));
    const response = new PlainResponse();
    response.finished = true;
    const piped = jest.fn();
    response.once('pipe', piped);
    const ended = new Promise<void>((resolve) => {
      void into(response, { target: url, ...listeners({ end: () => resolve() }) });
    });
    await ended;
    expect(piped).not.toHaveBeenCalled();
    response.destroy();
  });

  it("httpxy's response object: keeps its head where it says that one was sent, and gets the body", async () => {
    const { url } = await upstream((_req, res) => res.writeHead(201, { 'x-a': '1' }).end('hello'));
    const response = new PlainResponse();
    response.headersSent = true;
    await (await into(response, { target: url })).settled;
    expect(response.statusCode).toBe(0);
    expect(response.headers.size).toBe(0);
    expect(response.body).toBe('hello');
  });

  it("httpxy's response object: may refuse a header by throwing, and gets the others", async () => {
    class Picky extends PlainResponse {
      override setHeader(name: string, value: string): void {
        if (name === 'x-bad') throw new TypeError('no');
        super.setHeader(name, value);
      }
    }
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'x-bad': '1', 'x-good': '2' }).end());
    const response = new Picky();
    await (await into(response, { target: url })).settled;
    expect(response.headers.get('x-good')).toBe('2');
    expect(response.headers.has('x-bad')).toBe(false);
  });

  it("httpxy's response object: is destroyed when the upstream closes before its message is complete", async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello');
      void once(response, 'pipe').then(() => socket.destroy());
    });
    const response = new PlainResponse();
    response.on('error', () => {});
    await (await into(response, { target: url, ...listeners({ error: () => {} }) })).settled.catch(() => {});
    expect(response.destroyed).toBe(true);
    expect(response.writableFinished).toBe(false);
  });

  it("httpxy's response object: is left alone with selfHandleResponse", async () => {
    const { url } = await upstream((_req, res) => res.writeHead(201, { 'x-a': '1' }).end('hello'));
    const response = new PlainResponse();
    const piped = jest.fn();
    response.on('pipe', piped);
    const { settled } = await into(response, {
      target: url,
      selfHandleResponse: true,
      ...listeners({ proxyRes: (proxyRes: IncomingMessage) => proxyRes.once('end', () => response.end()).resume() }),
    });
    await settled;
    expect(piped).not.toHaveBeenCalled();
    expect(response.statusCode).toBe(0);
  });

  it("httpxy's response object: gets cookies and Location rewritten, and the letter case of the upstream, before it is piped into", async () => {
    const { url, port } = await upstream((_req, res) => {
      res.writeHead(
        302,
        [
          ['Location', `http://127.0.0.1:${port}/there`],
          ['Set-Cookie', 'a=1; Domain=up.test; Path=/old'],
          ['X-MiXed', '1'],
        ].flat(),
      );
      res.end();
    });
    const response = new PlainResponse();
    const { settled } = await into(response, {
      target: url,
      hostRewrite: 'app.test',
      protocolRewrite: 'https',
      cookieDomainRewrite: 'app.test',
      cookiePathRewrite: { '/old': '/new' },
      preserveHeaderKeyCase: true,
    });
    await settled;
    expect(response.headers.get('Location')).toMatch(/^https:\/\/app\.test.*\/there$/);
    expect(response.headers.get('Set-Cookie')).toEqual(['a=1; Domain=app.test; Path=/new']);
    expect(response.headers.get('X-MiXed')).toBe('1');
  });
});

describe('start', () => {
  it('httpxy start event: comes before proxyReq, with the request, the response object and the target', async () => {
    const { url } = await upstream((_req, res) => res.end());
    const response = new PlainResponse();
    const calls: [string, unknown[]][] = [];
    const { settled } = await into(response, {
      target: url,
      ...listeners({
        start: (...args: unknown[]) => calls.push(['start', args]),
        proxyReq: (...args: unknown[]) => calls.push(['proxyReq', args]),
      }),
    });
    await settled;
    expect(calls.map(([event]) => event)).toEqual(['start', 'proxyReq']);
    const args = calls[0]?.[1] ?? [];
    expect(args[0]).toBeInstanceOf(http.IncomingMessage);
    expect(args[1]).toBe(response);
    expect(args[2]).toEqual(new URL(url));
  });
});

describe('proxyReq', () => {
  it('httpxy proxyReq event: comes before the head is written: headers can be set and removed', async () => {
    const { url, received } = await recorder();
    const headersSent: boolean[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (proxyReq) => {
          headersSent.push(proxyReq.headersSent);
          proxyReq.removeHeader('x-removed');
          proxyReq.setHeader('x-added', '1');
        },
      },
    });
    await exchange(proxy, { headers: { 'x-removed': '1' } });
    expect(headersSent).toEqual([false]);
    expect(received[0]?.headers).toMatchObject({ 'x-added': '1' });
    expect(received[0]?.headers).not.toHaveProperty('x-removed');
  });

  it('httpxy proxyReq event: comes when the request has its socket, a reused one included', async () => {
    const { url } = await recorder();
    const seen: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      agent: keepAliveAgent(),
      on: {
        proxyReq: (proxyReq) => seen.push([proxyReq.socket !== null, proxyReq.reusedSocket, proxyReq.shouldKeepAlive]),
      },
    });
    const agent = keepAliveAgent();
    await exchange(proxy, { agent });
    await exchange(proxy, { agent });
    expect(seen).toEqual([
      [true, false, true],
      [true, true, true],
    ]);
  });

  it('httpxy proxyReq event: does not come for a request with Expect', async () => {
    const { url } = await recorder();
    const onProxyReq = jest.fn();
    const { url: proxy } = await hpmApp({ target: url, on: { proxyReq: onProxyReq } });
    const client = http.request(proxy, { agent: false, method: 'POST', headers: { expect: '100-continue' } });
    client.on('continue', () => client.end('body'));
    client.flushHeaders();
    const [response] = (await once(client, 'response')) as [IncomingMessage];
    await readAll(response);
    expect(onProxyReq).not.toHaveBeenCalled();
  });

  it('httpxy proxyReq event: is given the options that the body is read from afterwards: a buffer set there replaces it', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (proxyReq, _req, _res, options) => {
          proxyReq.setHeader('content-length', 5);
          options.buffer = Readable.from([Buffer.from('other')]);
        },
      },
    });
    await exchange(proxy, { method: 'POST', body: 'first' });
    expect(received[0]?.body.toString()).toBe('other');
  });

  it('httpxy proxyReq event: shows by headersSent that a listener has written, and an empty buffer sends nothing more', async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (proxyReq, _req, _res, options) => {
          proxyReq.setHeader('content-length', 7);
          proxyReq.write('written');
          if (proxyReq.headersSent) options.buffer = Readable.from([]);
        },
      },
    });
    await exchange(proxy, { method: 'POST', body: 'unwanted' });
    expect(received[0]?.body.toString()).toBe('written');
  });

  it('httpxy proxyReq event: comes again for a redirect, with the same response object, for a request that is not sent yet', async () => {
    const { url, received } = await recorder((req, res) => {
      if (req.url === '/') res.writeHead(307, { location: '/there' });
      res.end('ok');
    });
    const seen: { request: ClientRequest; response: unknown; headersSent: boolean }[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      followRedirects: true,
      on: {
        proxyReq: (request, _req, response) => seen.push({ request, response, headersSent: request.headersSent }),
      },
    });
    await exchange(proxy, { method: 'POST', body: 'body' });
    expect(received.map((item) => [item.url, item.body.toString()])).toEqual([
      ['/', 'body'],
      ['/there', 'body'],
    ]);
    expect(seen).toHaveLength(2);
    expect(seen[1]?.request).not.toBe(seen[0]?.request);
    expect(seen[1]?.response).toBe(seen[0]?.response);
    expect(seen[1]?.headersSent).toBe(false);
  });

  it('httpxy proxyReq event: follows a redirect with the headers of the request as they are by then, and the same agent', async () => {
    const { url, received } = await recorder((req, res) => {
      if (req.url === '/') res.writeHead(302, { location: '/there' });
      res.end('ok');
    });
    const agents: unknown[] = [];
    const agent = keepAliveAgent();
    const { url: proxy } = await hpmApp({
      target: url,
      agent,
      followRedirects: true,
      on: {
        proxyReq: (proxyReq, req) => {
          agents.push(agentOf(proxyReq));
          delete req.headers['x-dropped'];
        },
      },
    });
    await exchange(proxy, { headers: { 'x-dropped': '1' } });
    expect(agents).toHaveLength(2);
    for (const used of agents) expect(used).toBe(agent);
    expect(received.map(({ headers }) => headers['x-dropped'])).toEqual(['1', undefined]);
  });
});

describe('the upstream request', () => {
  it("httpxy's upstream request: is told to close its connection where the body is chunked, and not where a listener gave it a length", async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      agent: keepAliveAgent(),
      on: {
        proxyReq: (proxyReq, req) => {
          if (req.url !== '/length') return;
          proxyReq.removeHeader('transfer-encoding');
          proxyReq.setHeader('content-length', 4);
          proxyReq.setHeader('connection', proxyReq.shouldKeepAlive ? 'keep-alive' : 'close');
        },
      },
    });
    const headers = { 'transfer-encoding': 'chunked' };
    await exchange(`${proxy}/chunked`, { method: 'POST', headers, body: 'body' });
    await exchange(`${proxy}/length`, { method: 'POST', headers, body: 'body' });
    expect(received[0]?.headers).toMatchObject({ connection: 'close', 'transfer-encoding': 'chunked' });
    expect(received[1]?.headers).toMatchObject({ connection: 'keep-alive', 'content-length': '4' });
    expect(received[1]?.headers).not.toHaveProperty('transfer-encoding');
    for (const { body } of received) expect(body.toString()).toBe('body');
  });

  it("httpxy's upstream request: carries no Connection: close where the agent keeps connections, unless the client sent it", async () => {
    const { url, received } = await recorder();
    const { url: proxy } = await hpmApp({
      target: url,
      agent: keepAliveAgent(),
      pathRewrite: (path, req) => {
        delete req.headers.connection;
        return path;
      },
    });
    await exchange(proxy, { headers: { connection: 'close' } });
    expect(received[0]?.headers.connection).toBe('keep-alive');
  });

  it("httpxy's upstream request: passes through an agent with 256 sockets where none is given", async () => {
    const { url } = await recorder();
    const limits: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: { proxyReq: (proxyReq) => limits.push(agentOf(proxyReq)?.maxSockets) },
    });
    await exchange(proxy);
    expect(limits).toEqual([256]);
  });

  it("httpxy's upstream request: emits 1xx responses, which listeners of proxyReq can hear", async () => {
    const { url } = await upstream((_req, res) => {
      res.writeEarlyHints({ link: '</a.css>; rel=preload' });
      res.end();
    });
    const seen: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: { proxyReq: (proxyReq) => proxyReq.on('information', ({ statusCode }) => seen.push(statusCode)) },
    });
    await exchange(proxy);
    expect(seen).toEqual([103]);
  });

  it("httpxy's upstream request: has no timeout by default", async () => {
    const { url } = await recorder();
    const timeouts: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: { proxyReq: ({ socket }) => timeouts.push(socket?.timeout) },
    });
    await exchange(proxy);
    expect(timeouts[0] || 0).toBe(0);
  });

  it("httpxy's upstream request: emits timeout before the error that proxyTimeout makes", async () => {
    const { url } = await upstream(() => {});
    const order: string[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      proxyTimeout: 50,
      on: {
        proxyReq: (proxyReq) => proxyReq.once('timeout', () => order.push('timeout')),
        error: (error, _req, res) => {
          order.push(String(Reflect.get(error, 'code')));
          res.end();
        },
      },
    });
    await exchange(proxy);
    expect(order).toEqual(['timeout', 'ECONNRESET']);
  });

  it("httpxy's upstream request: leaves the agent at once, and not piped, where options.agent is false", async () => {
    const { url, received } = await recorder();
    const seen: boolean[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      agent: keepAliveAgent(),
      pathRewrite: (path, _req, _res, options) => {
        if (options !== undefined) options.agent = false;
        return path;
      },
      on: { proxyReq: ({ reusedSocket }) => seen.push(reusedSocket) },
    });
    await exchange(proxy);
    await exchange(proxy);
    expect(seen).toEqual([false, false]);
    expect(received[1]?.clientPort).not.toBe(received[0]?.clientPort);
  });
});

describe('proxyRes', () => {
  it('httpxy proxyRes event: comes before anything is copied: what it changes in proxyRes.headers is copied', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(200, { 'x-a': '1', 'x-b': '2' }).end());
    const response = new PlainResponse();
    const before: number[] = [];
    const { settled } = await into(response, {
      target: url,
      ...listeners({
        proxyRes: (proxyRes: IncomingMessage) => {
          before.push(response.headers.size);
          delete proxyRes.headers['x-a'];
          proxyRes.headers['x-b'] = 'changed';
        },
      }),
    });
    await settled;
    expect(before).toEqual([0]);
    expect(response.headers.has('x-a')).toBe(false);
    expect(response.headers.get('x-b')).toBe('changed');
  });
});

describe('failures', () => {
  it('httpxy failures: are emitted once, with the error, the request, the response object and the target', async () => {
    const response = new PlainResponse();
    const seen: unknown[][] = [];
    const { settled } = await into(response, {
      target: 'http://127.0.0.1:9/',
      ...listeners({ error: (...args: unknown[]) => seen.push(args) }),
    });
    await settled;
    expect(seen).toHaveLength(1);
    const [error, req, res, target] = seen[0] ?? [];
    expect(error).toMatchObject({ code: 'ECONNREFUSED' });
    expect(req).toBeInstanceOf(http.IncomingMessage);
    expect(res).toBe(response);
    expect(String(target)).toBe('http://127.0.0.1:9/');
  });

  it('httpxy failures: come in the same tick in which the upstream request emits its own', async () => {
    const { url } = await rawUpstream((socket) => socket.destroy());
    const order: string[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (proxyReq) => {
          proxyReq.prependListener('error', () => {
            order.push('request');
            process.nextTick(() => order.push('next tick'));
          });
        },
        error: (_error, _req, res) => {
          order.push('event');
          res.end();
        },
      },
    });
    await exchange(proxy);
    expect(order.slice(0, 2)).toEqual(['request', 'event']);
  });

  it('httpxy failures: do not end the response object before the head: whoever listens decides', async () => {
    const response = new PlainResponse();
    const { settled } = await into(response, { target: 'http://127.0.0.1:9', ...listeners({ error: () => {} }) });
    await settled;
    expect(response.writableEnded).toBe(false);
    expect(response.destroyed).toBe(false);
  });

  it('httpxy failures: are an econnreset event instead where the client has gone', async () => {
    let arrived = (): void => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { url } = await rawUpstream(() => arrived());
    const response = new PlainResponse();
    const seen: string[] = [];
    const { settled, client } = await into(response, {
      target: url,
      ...listeners({
        start: (req: IncomingMessage) => req.socket.once('close', () => response.destroy()),
        proxyReq: (proxyReq: ClientRequest) => proxyReq.once('close', () => seen.push('closed')),
        error: () => seen.push('error'),
        econnreset: () => seen.push('econnreset'),
      }),
    });
    await arrival;
    client.destroy();
    await settled;
    while (!seen.includes('closed')) await new Promise(setImmediate);
    expect(seen).toContain('econnreset');
    expect(seen).not.toContain('error');
  });
});

describe('an upgrade', () => {
  /** In the place of the client's connection: it notes what httpxy does to it. */
  class StandIn extends EventEmitter {
    readonly calls: string[] = [];
    readonly writable = false;
    readonly destroyed = false;

    constructor() {
      super();
      for (const name of ['setTimeout', 'setNoDelay', 'setKeepAlive', 'write', 'end', 'destroy', 'unshift', 'pipe']) {
        Reflect.set(this, name, () => void this.calls.push(name));
      }
    }
  }

  /** Sends a handshake through http-proxy-middleware, with a stand-in. */
  function upgradeWith(standIn: StandIn, target: string, on: Record<string, (...args: never[]) => void>): void {
    const { upgrade } = createProxyMiddleware({ target, ejectPlugins: true, ...listeners({ error() {}, ...on }) });
    const socket = Object.assign(new net.Socket(), { server: http.createServer() });
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    const req = Object.assign(new http.IncomingMessage(socket), { url: '/', method: 'GET', headers });
    upgrade(req, standIn as unknown as net.Socket, Buffer.from('early'));
  }

  const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

  it('httpxy upgrade: is told of as proxyReqWs before the request is sent, and before httpxy listens to it', async () => {
    const { url, sockets } = await rawUpstream((socket) => socket.write(`${SWITCH}behind`));
    const order: string[] = [];
    let upstream: net.Socket | undefined;
    const opened = new Promise<void>((resolve) => {
      upgradeWith(new StandIn(), url, {
        proxyReqWs: (request: ClientRequest, _req, _socket, options: Options) => {
          order.push(String(options.target), `${request.headersSent} ${request.listenerCount('upgrade')}`);
          request.once('upgrade', (_response, socket: net.Socket) => {
            order.push('ours');
            upstream = socket;
          });
        },
        open: (socket: net.Socket) => {
          expect(socket).toBe(upstream);
          order.push('open');
          resolve();
        },
      });
    });
    await opened;
    expect(order).toEqual([`${url}/`, 'false 0', 'ours', 'open']);
    upstream?.destroy();
    for (const socket of sockets) socket.destroy();
  });

  it('httpxy upgrade: puts what was read behind the head back before it pipes', async () => {
    const { url } = await rawUpstream((socket) => socket.write(`${SWITCH}behind`));
    const standIn = new StandIn();
    const piped = new Promise<[unknown, string]>((resolve) => {
      upgradeWith(standIn, url, {
        proxyReqWs: (request: ClientRequest) => {
          request.once('upgrade', (_response, socket: net.Socket) => {
            socket.pipe = (destination) => {
              resolve([destination, String(socket.read())]);
              socket.destroy();
              return destination;
            };
          });
        },
      });
    });
    expect(await piped).toEqual([standIn, 'behind']);
    // It does nothing else to the connection.
    expect(standIn.calls).toEqual(['setTimeout', 'setNoDelay', 'setKeepAlive', 'unshift', 'write', 'pipe']);
  });

  it('httpxy upgrade: writes no refusal into a connection that is not writable, and reads it to its end', async () => {
    const { url } = await rawUpstream((socket) => socket.end('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'));
    const standIn = new StandIn();
    await new Promise<void>((resolve) => {
      upgradeWith(standIn, url, {
        proxyReqWs: (request: ClientRequest) => {
          request.once('response', (response: IncomingMessage) => response.once('end', resolve));
        },
      });
    });
    expect(standIn.calls).not.toContain('write');
  });

  it('httpxy upgrade: is an error event, with the connection, where it fails', async () => {
    const standIn = new StandIn();
    const error = new Promise<unknown[]>((resolve) => {
      upgradeWith(standIn, 'http://127.0.0.1:9', { error: (...args: unknown[]) => resolve(args) });
    });
    expect((await error).slice(0, 3)).toEqual([
      expect.objectContaining({ code: 'ECONNREFUSED' }),
      expect.any(http.IncomingMessage),
      standIn,
    ]);
  });
});

describe('options', () => {
  it('httpxy options: do not outlive their request', async () => {
    const { url } = await recorder();
    const seen: unknown[] = [];
    const { url: proxy } = await hpmApp({
      target: url,
      on: {
        proxyReq: (_proxyReq, _req, _res, options) => {
          seen.push(options.buffer);
          options.buffer = Readable.from([]);
        },
      },
    });
    await exchange(proxy);
    await exchange(proxy);
    expect(seen).toEqual([undefined, undefined]);
  });

  it('httpxy options: may have a plain object as the target', async () => {
    const { port, received } = await recorder();
    const { url: proxy } = await hpmApp({ target: { host: '127.0.0.1', port }, changeOrigin: true });
    expect((await request(`${proxy}/path`)).statusCode).toBe(200);
    expect(received[0]?.headers.host).toBe(`127.0.0.1:${port}`);
  });
});
