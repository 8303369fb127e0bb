import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import type net from 'node:net';
import { createGunzip } from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { ClientResponse } from '../../../lib/client/client-response.js';
import { createClientResponse } from '../../../lib/client/create-client-response.js';
import type { ResponseHead } from '../../../lib/types/http.js';
import { readText, request } from '../../support/clients/http.js';
import { receive, type ServedRequest } from '../../support/servers/bare-http.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../../support/watch/clean-up.js';
import { watchProcess } from '../../support/watch/process.js';

afterEach(closeAll);

const asGiven = { eventStream: false, nameOf: (key: string) => key };

function head(headers: ResponseHead['headers'] = {}, statusCode = 200, statusMessage = ''): ResponseHead {
  return { statusCode, statusMessage, headers };
}

async function client(version = '1.1'): Promise<ServedRequest & { response: ClientResponse }> {
  const received = await receive(`GET / HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`);
  return { ...received, response: createClientResponse(received.req, received.res) };
}

function write(response: ClientResponse, ...pieces: Buffer[]): boolean {
  return response.write({ chunks: [], pieces, piecesSize: Buffer.concat(pieces).length });
}

describe('the head', () => {
  it("client response: the head is the response's, whole: what is not in it goes", async () => {
    const { req, res, closed } = await receive('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    res.setHeader('X-App', '1').setHeader('X-Kept', 'old');
    const response = createClientResponse(req, res);
    expect(response.appHeaders).toEqual({ 'x-app': '1', 'x-kept': 'old' });
    response.commit(head({ 'x-kept': 'new', 'x-list': ['1', '2'], 'content-length': '0' }, 201, 'Made'), asGiven);
    response.end([]);
    const { text } = await closed();
    expect(text).toMatch(/^HTTP\/1.1 201 Made\r\n/);
    expect(text).not.toMatch(/x-app/i);
    expect(text).toMatch(/\r\nx-kept: new\r\n/i);
    expect(text).toMatch(/\r\nx-list: 1\r\nx-list: 2\r\n/);
  });

  it('client response: the head has the headers of the app by any name, and loses them where they are not in it', async () => {
    const { req, res, closed } = await receive('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    res.setHeader('__proto__', '1').setHeader('constructor', '2');
    const response = createClientResponse(req, res);
    expect(Object.entries(response.appHeaders)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ]);
    // As an upstream's fields are held.
    response.commit(head(Object.create(null)), asGiven);
    response.end([]);
    expect((await closed()).text).not.toMatch(/__proto__|constructor/);
  });

  it('client response: the head leaves before the first byte of the body', async () => {
    const { client: socket, response } = await client();
    response.commit(head({ 'x-a': '1' }), asGiven);
    const [chunk] = await once(socket, 'data');
    expect(String(chunk)).toContain('x-a: 1\r\n');
    response.end([]);
  });

  it('client response: the head loses a header with characters that HTTP forbids, and is not lost for it', async () => {
    const { response, closed } = await client();
    response.commit(
      head({ 'x-bad': 'a\r\nx-injected: 1', 'bad name': '1', 'x-ok': '1', 'x-snow': ['a', '\u2603'] }),
      asGiven,
    );
    response.end([]);
    const { text } = await closed();
    expect(text).toContain('x-ok: 1\r\n');
    expect(text).not.toMatch(/injected|bad|snow/);
  });

  it.each([
    ['', 'OK'],
    ['a\u0001b', 'OK'],
    ['a\r\nX: y', 'OK'],
    ['Sure Thing', 'Sure Thing'],
  ])('client response: the head has the reason %j as %j', async (given, reason) => {
    const { response, closed } = await client();
    response.commit(head({}, 200, given), asGiven);
    response.end([]);
    expect((await closed()).text).toMatch(new RegExp(`^HTTP/1.1 200 ${reason}\r\n`));
  });

  it.each([0, 101, 199, 1000, 200.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'client response: the head with the status %d is refused before anything is changed',
    async (status) => {
      const { req, res } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      res.setHeader('x-app', '1');
      const response = createClientResponse(req, res);
      expect(() => response.commit(head({ 'x-a': '1' }, status), asGiven)).toThrow(`got ${status}`);
      expect(response.headersSent).toBe(false);
      expect(res.getHeaders()).toEqual({ 'x-app': '1' });
    },
  );

  it.each([299, 599, 999])('client response: the head may have the status %d', async (status) => {
    const { response, closed } = await client();
    response.commit(head({}, status), asGiven);
    response.end([]);
    expect((await closed()).text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it('client response: the head keeps the letter case that it is told', async () => {
    const { response, closed } = await client();
    response.commit(head({ 'x-case': '1' }), { eventStream: false, nameOf: () => 'X-CaSe' });
    response.end([]);
    expect((await closed()).text).toContain('X-CaSe: 1\r\n');
  });

  it('client response: the head that could not be sent leaves nothing behind', async () => {
    const { req, res } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    res.setHeader('x-app', '1').setHeader('set-cookie', ['a=1']);
    const response = createClientResponse(req, res);
    // Node refuses trailers behind a body with a length.
    const impossible = head({ 'x-app': '2', 'x-more': '1', trailer: 'x-sum', 'content-length': '2' });
    expect(() => response.commit(impossible, asGiven)).toThrow();
    response.reset();
    expect(res.getHeaders()).toEqual({ 'x-app': '1', 'set-cookie': ['a=1'] });
  });
});

describe('early hints', () => {
  const hints = (link: string) => ({
    statusCode: 103,
    statusMessage: 'Early Hints',
    httpVersion: '1.1',
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    headers: { link },
    rawHeaders: ['Link', link],
  });

  it.each([
    ['one link', '</a.css>; rel=preload; as=style', 1],
    ['several links', '</a.css>; rel=preload, </b.js>; rel=preload', 2],
    ['a comma in a URL', '</a,b.css>; rel=preload', 1],
  ])('client response, early hints: go on with %s', async (_case, link, count) => {
    const { response, closed } = await client();
    response.inform(hints(link));
    response.commit(head(), asGiven);
    response.end([]);
    const { text } = await closed();
    expect(text).toMatch(/^HTTP\/1.1 103 Early Hints\r\n/);
    expect(text.match(/rel=preload/g)).toHaveLength(count);
    expect(text).toContain('\r\n\r\nHTTP/1.1 200 OK\r\n');
  });

  it.each([
    ['to HTTP/1.0', '1.0', hints('</a>; rel=preload')],
    ['with another status', '1.1', { ...hints('</a>'), statusCode: 102 }],
    ['that Node cannot read', '1.1', hints('not a link')],
  ])('client response, early hints: do not go %s, and the response does', async (_case, version, info) => {
    const { response, closed } = await client(version);
    response.inform(info);
    response.commit(head(), asGiven);
    response.end([]);
    expect((await closed()).text).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  });
});

describe('the body', () => {
  it('client response: the body is one chunk per write, of as many pieces as there are', async () => {
    const { response, closed } = await client();
    response.commit(head(), asGiven);
    write(response, Buffer.from('data: 1\n'), Buffer.from('\n'));
    write(response, Buffer.from('data: 2\n\n'));
    response.end([]);
    expect((await closed()).text).toMatch(/\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n$/);
  });

  it.each(['Content-Length', 'HTTP/1.0'])(
    'client response: the body is as it is where %s frames it',
    async (framing) => {
      const { response, closed } = await client(framing === 'HTTP/1.0' ? '1.0' : '1.1');
      response.commit(head(framing === 'HTTP/1.0' ? {} : { 'content-length': '3' }), asGiven);
      write(response, Buffer.from('a'), Buffer.from('bc'));
      response.end([]);
      expect((await closed()).text).toMatch(/\r\n\r\nabc$/);
    },
  );

  it('client response: the body leaves in the same call, with the head in front of the first of it', async () => {
    const { client: socket, response } = await client();
    response.commit(head(), asGiven);
    write(response, Buffer.from('a'));
    const [chunk] = await once(socket, 'data');
    expect(String(chunk)).toMatch(/^HTTP\/1.1 200 OK\r\n.*\r\n\r\n1\r\na\r\n$/s);
    response.end([]);
  });

  it('client response: the body leaves together with the end where that follows in the same tick', async () => {
    const { client: socket, response } = await client();
    response.commit(head(), asGiven);
    write(response, Buffer.from('a'));
    await once(socket, 'data');
    response.write({ chunks: [], pieces: [Buffer.from('b')], piecesSize: 1 }, true);
    response.end([]);
    const [chunk] = await once(socket, 'data');
    expect(String(chunk)).toBe('1\r\nb\r\n0\r\n\r\n');
  });

  it('client response: the body can take more where the operating system has taken all of a large write', async () => {
    const { response } = await client();
    response.commit(head(), asGiven);
    expect(write(response, Buffer.alloc(70_000))).toBe(true);
    response.end([]);
  });

  it('client response: the body goes through what middleware has put in front, in one piece and unframed', async () => {
    const { req, res, closed } = await receive('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const seen: string[] = [];
    const { write: original } = res;
    res.write = ((bytes: Buffer) => {
      seen.push(String(bytes));
      return original.call(res, bytes, 'utf8');
    }) as typeof res.write;
    const response = createClientResponse(req, res);
    response.commit(head(), asGiven);
    write(response, Buffer.from('a'), Buffer.from('b'));
    response.end([]);
    expect((await closed()).text).toMatch(/\r\n\r\n2\r\nab\r\n0\r\n\r\n$/);
    expect(seen).toEqual(['ab']);
  });

  it('client response: the body ends with the trailers', async () => {
    const { response, closed } = await client();
    response.commit(head({ trailer: 'x-sum' }), asGiven);
    write(response, Buffer.from('body'));
    response.end(['x-sum', '1', 'X-Sum', '2', 'Content-Length', '9']);
    expect((await closed()).text).toMatch(/\r\n4\r\nbody\r\n0\r\nx-sum: 1, 2\r\n\r\n$/);
  });

  it('client response: the body waits for a slow client without heaping up listeners, behind compression() too', async () => {
    const body = JSON.stringify(randomBytes(2_000_000).toString('hex'));
    const { url } = await upstream((_req, res) => res.setHeader('content-type', 'application/json').end(body));
    const proxy = await proxyApp({ target: url }, (app) => app.use(compression()));
    const seen = watchProcess();
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
    expect(await readText(response.pipe(createGunzip()))).toBe(body);
    expect(seen.map(String)).toEqual([]);
  });

  it('client response: the body that comes after a hook has ended the response is dropped', async () => {
    const { res, response, closed } = await client();
    const errors: unknown[] = [];
    res.on('error', (error) => errors.push(error));
    response.commit(head(), asGiven);
    res.end('by the hook');
    write(response, Buffer.from('late'));
    response.end([]);
    const { text } = await closed();
    expect(text).toContain('by the hook');
    expect(text).not.toContain('late');
    expect(errors).toEqual([]);
  });
});

describe('a truncated response', () => {
  it('client response, truncated: has no last chunk, and all that was written', async () => {
    const { response, closed } = await client();
    response.commit(head(), asGiven);
    write(response, Buffer.from('x'.repeat(100_000)));
    response.truncate();
    const { text, reset } = await closed();
    expect(text.match(/x{1000}/g)).toHaveLength(100);
    expect(text).not.toContain('\r\n0\r\n');
    expect(reset).toBe(false);
  });

  it('client response, truncated: is reset where only the end of the connection would tell', async () => {
    const { client: socket, response, closed } = await client('1.0');
    const read = once(socket, 'data');
    response.commit(head(), asGiven);
    write(response, Buffer.from('some'));
    // Node's own client takes bytes and a reset in one read for a clean end.
    await read;
    response.truncate();
    expect((await closed()).reset).toBe(true);
  });

  it('client response, truncated: sends its head where that has not left yet', async () => {
    const { response, closed } = await client();
    response.commit(head({ 'content-length': '10' }), asGiven);
    response.truncate();
    expect((await closed()).text).toContain('content-length: 10\r\n');
  });

  it('client response, truncated: is none that has ended', async () => {
    const { res, response, closed } = await client();
    response.commit(head({ 'content-length': '2' }), asGiven);
    write(response, Buffer.from('ok'));
    response.end([]);
    await once(res, 'finish');
    response.truncate();
    expect((await closed()).text).toMatch(/\r\n\r\nok$/);
  });
});

describe('the end is told once', () => {
  it('client response: its end is told once, when the response was sent', async () => {
    const { response, closed } = await client();
    let calls = 0;
    const ended = new Promise<void>((resolve) => {
      response.onceClosed(() => {
        calls += 1;
        resolve();
      });
    });
    response.respond(head({ 'content-length': '2' }), 'ok');
    await ended;
    await closed();
    expect([calls, response.finished, response.gone, response.statusCode]).toEqual([1, true, true, 200]);
  });

  it('client response: its end is told once, when the client leaves', async () => {
    const { client: socket, response } = await client();
    const ended = new Promise<void>((resolve) => response.onceClosed(resolve));
    socket.destroy();
    await ended;
    expect([response.finished, response.gone, response.statusCode]).toEqual([false, true, undefined]);
  });

  it('client response: its end is told once, when the client is just leaving', async () => {
    const { req, res, client: socket } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    let calls = 0;
    const begun = new Promise<void>((resolve) => {
      req.socket.prependOnceListener('close', () => {
        createClientResponse(req, res).onceClosed(() => {
          calls += 1;
        });
        resolve();
      });
    });
    socket.destroy();
    await begun;
    for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(1);
  });

  it('client response: its end is told once, when an HTTP/2 stream is just closing', async () => {
    let calls = 0;
    const server = http2.createServer((req, res) => {
      req.stream.destroy();
      const response = createClientResponse(Object.create(req), Object.create(res));
      response.onceClosed(() => {
        calls += 1;
      });
    });
    const session = http2.connect(`http://127.0.0.1:${await listen(server)}`);
    onCleanUp(() => session.destroy());
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => {});
    await new Promise((resolve) => stream.once('close', resolve));
    for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(1);
  });

  it('client response: its end is told once, when a pipelined request loses its connection', async () => {
    const { req, client: socket } = await receive('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
    const { server } = req.socket as net.Socket & { server: net.Server };
    const second = once(server, 'request');
    socket.write('GET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
    const [pipelined, res] = await second;
    const response = createClientResponse(pipelined, res);
    const ended = new Promise<void>((resolve) => response.onceClosed(resolve));
    socket.destroy();
    await expect(ended).resolves.toBeUndefined();
  });

  it('client response: its end is told once, when the response has closed already, on a connection that is kept', async () => {
    const { req, res } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const closed = once(res, 'close');
    res.end('answered');
    await closed;
    expect(req.socket.destroyed).toBe(false);
    const ended = new Promise<void>((resolve) => createClientResponse(req, res).onceClosed(resolve));
    await expect(ended).resolves.toBeUndefined();
  });

  it('client response: leaves no listener behind', async () => {
    const { req, client: socket } = await receive('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
    const { server } = req.socket as net.Socket & { server: net.Server };
    const second = once(server, 'request');
    socket.write('GET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
    const [pipelined, res] = await second;
    const before = [res.listenerCount('close'), pipelined.socket.listenerCount('close')];
    const response = createClientResponse(pipelined, res);
    const ended = new Promise<void>((resolve) => response.onceClosed(resolve));
    expect(pipelined.socket.listenerCount('close')).toBeGreaterThan(before[1] ?? 0);
    res.emit('close');
    await ended;
    expect([res.listenerCount('close'), pipelined.socket.listenerCount('close')]).toEqual(before);
  });
});
