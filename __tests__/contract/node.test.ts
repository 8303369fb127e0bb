/**
 * What this package relies on in Node, where the documentation says too little, or nothing.
 */
import { once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage, type RequestOptions, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { Readable, Writable } from 'node:stream';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import express from 'express';
import { exchange, readAll, readText } from '../support/clients/http.js';
import { certificate } from '../support/servers/certificate.js';
import { listen } from '../support/servers/listen.js';
import { rawUpstream, recorder, recording, secureUpstream, upstream } from '../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';
import { Queue, until } from '../support/watch/wait.js';

afterEach(closeAll);

/** What `http.Agent` has and its types do not name. */
interface Adding {
  addRequest(request: ClientRequest, options: RequestOptions): void;
}

/** An object that is no `http.Agent`, for both protocols. */
class DuckAgent {
  readonly keepAlive = true;
  readonly http = new http.Agent({ keepAlive: true });
  readonly https = new https.Agent({ keepAlive: true });
  readonly protocols: string[] = [];

  addRequest(request: ClientRequest, options: RequestOptions): void {
    this.protocols.push(request.protocol);
    const agent: unknown = request.protocol === 'https:' ? this.https : this.http;
    (agent as Adding).addRequest(request, options);
  }

  /** As Node declares it. */
  get asAgent(): http.Agent {
    return this as unknown as http.Agent;
  }
}

function duckAgent(): DuckAgent {
  const agent = new DuckAgent();
  onCleanUp(() => {
    agent.http.destroy();
    agent.https.destroy();
  });
  return agent;
}

describe('agents', () => {
  it('Node agents: may be any object with addRequest; connections are kept, of both protocols', async () => {
    const agent = duckAgent();
    const plain = await recorder();
    const secure = recording((_req, res) => res.end('ok'));
    const { url } = await secureUpstream(secure.listener);
    for (let i = 0; i < 2; i += 1) {
      await exchange(plain.url, { agent: agent.asAgent });
      const req = https.get(url, { agent: agent.asAgent, rejectUnauthorized: false });
      const [response] = (await once(req, 'response')) as [IncomingMessage];
      await readAll(response);
    }
    expect(agent.protocols).toEqual(['http:', 'https:', 'http:', 'https:']);
    for (const received of [plain.received, secure.received]) {
      expect(received).toHaveLength(2);
      expect(received[1]?.clientPort).toBe(received[0]?.clientPort);
      expect(received[0]?.headers.connection).toBe('keep-alive');
    }
  });

  it('Node agents: may be replaced once they were asked for a connection, which is kept all the same', async () => {
    const agent = new http.Agent({ keepAlive: true });
    onCleanUp(() => agent.destroy());
    const { addRequest } = agent as unknown as { addRequest(...args: unknown[]): void };
    const replacing = {
      keepAlive: true,
      addRequest(request: { agent: object }, ...args: unknown[]): void {
        addRequest.call(agent, request, ...args);
        request.agent = {};
      },
    };
    const { url, received } = await recorder();
    for (let i = 0; i < 2; i += 1) await exchange(url, { agent: replacing as unknown as http.Agent });
    expect(received[1]?.clientPort).toBe(received[0]?.clientPort);
  });

  it('Node agents: lets an https agent of ours verify: a certificate that nobody trusts is refused', async () => {
    const agent = duckAgent();
    const { url } = await secureUpstream((_req, res) => res.end());
    const req = https.get(url, { agent: agent.asAgent });
    const [error] = await once(req, 'error');
    expect(error).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  });

  it('Node agents: gives connections of one host with different trust to different requests', async () => {
    const agent = duckAgent();
    const { cert } = await certificate();
    const { url } = await secureUpstream((_req, res) => res.end('ok'));
    const trusting = https.get(url, { agent: agent.asAgent, ca: cert });
    const [response] = (await once(trusting, 'response')) as [IncomingMessage];
    await readAll(response);
    const wary = https.get(url, { agent: agent.asAgent });
    const [error] = await once(wary, 'error');
    expect(error).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  });

  it('Node agents: says in the socket event whether the socket was reused, and what it had read before', async () => {
    const agent = duckAgent();
    const { url } = await recorder();
    const seen: unknown[] = [];
    for (let i = 0; i < 2; i += 1) {
      const req = http.get(url, { agent: agent.asAgent });
      req.once('socket', (socket) => seen.push([req.reusedSocket, req.socket === socket, socket.bytesRead > 0]));
      const [response] = (await once(req, 'response')) as [IncomingMessage];
      await readAll(response);
    }
    expect(seen).toEqual([
      [false, true, false],
      [true, true, true],
    ]);
  });

  it('Node agents: frames a request without an agent for one connection', () => {
    const req = http.request({ host: '127.0.0.1', port: 9, agent: false });
    req.on('error', () => {});
    expect(req.shouldKeepAlive).toBe(false);
    req.destroy();
  });
});

describe('an outgoing request', () => {
  it("Node's outgoing request: emits its events through request.emit, so that what a listener throws can be caught there", async () => {
    const { url } = await upstream((_req, res) => res.end());
    const req = http.get(url, { agent: false });
    const thrown = new Promise<unknown>((resolve) => {
      const emit = req.emit;
      req.emit = (...args: Parameters<typeof emit>) => {
        try {
          return emit.apply(req, args);
        } catch (error) {
          resolve(error);
          return true;
        }
      };
    });
    const failure = new Error('listener');
    req.on('response', () => {
      throw failure;
    });
    req.on('error', () => {});
    expect(await thrown).toBe(failure);
    req.destroy();
  });

  it("Node's outgoing request: drops the connection without an error where nobody listens for an unasked 101, and tells those who do", async () => {
    const { url } = await rawUpstream((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
    const deaf = http.get(url, { agent: false });
    const heard: string[] = [];
    deaf.on('error', () => heard.push('error')).on('response', () => heard.push('response'));
    await once(deaf, 'close');
    expect(heard).toEqual([]);

    const listening = http.get(url, { agent: false });
    const [response, socket] = (await once(listening, 'upgrade')) as [IncomingMessage, net.Socket];
    expect(response.statusCode).toBe(101);
    socket.destroy();
  });

  it("Node's outgoing request: may lose Transfer-Encoding and gain Content-Length until its head is written", async () => {
    const { url, received } = await recorder();
    const req = http.request(url, { agent: false, method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
    await once(req, 'socket');
    expect(req.headersSent).toBe(false);
    req.removeHeader('transfer-encoding');
    req.setHeader('content-length', 4);
    req.end('body');
    await once(req, 'response');
    expect(received[0]).toMatchObject({ body: Buffer.from('body') });
    expect(received[0]?.headers).toMatchObject({ 'content-length': '4' });
    expect(received[0]?.headers).not.toHaveProperty('transfer-encoding');
  });

  it("Node's outgoing request: emits timeout before whatever listeners of it do to the request", async () => {
    const { url } = await upstream(() => {});
    const req = http.get(url, { agent: false });
    const order: string[] = [];
    req.setTimeout(30, () => {
      order.push('destroying');
      req.destroy();
    });
    req.once('timeout', () => order.push('timeout'));
    req.once('error', () => order.push('error'));
    await new Promise((resolve) => req.once('close', resolve));
    expect(order).toEqual(['destroying', 'timeout', 'error']);
  });

  it("Node's outgoing request: throws for a Trailer header in a message that is not chunked", () => {
    const req = http.request({ host: '127.0.0.1', port: 9, agent: false, headers: { trailer: 'x' } });
    req.on('error', () => {});
    expect(() => req.end()).toThrow(expect.objectContaining({ code: 'ERR_HTTP_TRAILER_INVALID' }));
    req.destroy();
  });
});

describe('the connection of an outgoing request', () => {
  /** An upstream that sends these one after the other, each when the one before it was read. */
  async function answeredIn(...parts: string[]): Promise<{ url: string; next(): void }> {
    let send = (_text: string): void => {};
    const { url } = await rawUpstream((socket) => {
      send = (text) => void socket.write(text);
      send(parts.shift() ?? '');
    });
    return { url, next: () => send(parts.shift() ?? '') };
  }

  const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

  it('connection of an outgoing request: is read by its data event: what replaces `emit` sees each read, and Node parses what is emitted in its place', async () => {
    const { url, next } = await answeredIn(HEAD, '3\r\none\r\n0\r\n\r\n');
    const req = http.get(url, { agent: false });
    const reads: string[] = [];
    req.once('socket', (socket) => {
      const emit: (event: string, ...args: unknown[]) => boolean = socket.emit;
      socket.emit = (event: string, ...args: unknown[]) => {
        if (event !== 'data') return emit.call(socket, event, ...args);
        reads.push(String(args[0]));
        return emit.call(socket, 'data', Buffer.from(String(args[0]).replace('one', 'two')));
      };
    });
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    next();
    expect(await readText(response)).toBe('two');
    expect(reads).toEqual([HEAD, '3\r\none\r\n0\r\n\r\n']);
  });

  it('connection of an outgoing request: has its response in `res` of the request, and emits `free` when it goes back to its agent', async () => {
    const agent = new http.Agent({ keepAlive: true });
    onCleanUp(() => agent.destroy());
    const { url } = await upstream((_req, res) => res.end('body'));
    const req = http.get(url, { agent });
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(Reflect.get(req, 'res')).toBe(response);
    const freed = once(req.socket as net.Socket, 'free');
    response.resume();
    await freed;
    expect(response.complete).toBe(true);
  });

  it('connection of an outgoing request: hands each chunk of a body to `push` of its response, in the tick of the read, and then the end', async () => {
    const { url, next } = await answeredIn(HEAD, '1\r\n1\r\n1\r\n2\r\n', '0\r\n\r\n');
    const req = http.get(url, { agent: false });
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const pushed: unknown[] = [];
    const { push } = response;
    response.push = (piece, ...rest) => {
      pushed.push(piece === null ? null : String(piece));
      return push.call(response, piece, ...rest);
    };
    req.socket?.on('data', () => pushed.push('read'));
    response.resume();
    const twice = until(() => pushed.length === 3);
    next();
    await twice;
    next();
    await once(response, 'end');
    expect(pushed).toEqual(['1', '2', 'read', null, 'read']);
  });

  /** A request in the middle of its body, whose upstream has answered and closed: the next write fails before the answer is read. */
  async function closedInMidUpload(): Promise<{ req: ClientRequest; socket: net.Socket; close(): void }> {
    const arrived = new Queue<net.Socket>();
    const { url } = await rawUpstream((socket) => arrived.push(socket));
    const req = http.request(url, { method: 'POST', agent: false });
    req.write('first');
    const upstreamSocket = await arrived.next();
    const close = (): void => {
      upstreamSocket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nover');
      upstreamSocket.resetAndDestroy();
    };
    return { req, socket: req.socket as net.Socket, close };
  }

  it('connection of an outgoing request: is destroyed by a write that fails, with an answer in it that was not read', async () => {
    const { req, close } = await closedInMidUpload();
    const responses: unknown[] = [];
    req.on('response', (response) => responses.push(response));
    close();
    const failed = once(req, 'error');
    req.write('x');
    expect(await failed).toMatchObject([{ syscall: 'write' }]);
    await once(req, 'close');
    expect(responses).toEqual([]);
  });

  it('connection of an outgoing request: writes by `_write` or `_writev`, one at a time, and reads on, to its end, while one of them has not called back', async () => {
    const { req, socket, close } = await closedInMidUpload();
    const calls: string[] = [];
    const { _write: write, _writev: writev } = socket;
    let fail = (): void => {};
    socket._write = (chunk, encoding, done) => {
      calls.push('write');
      write.call(socket, chunk, encoding, (error) => {
        fail = () => done(error);
      });
    };
    socket._writev = (chunks, done) => {
      calls.push('writev');
      writev?.call(socket, chunks, (error) => {
        fail = () => done(error);
      });
    };
    close();
    req.write('x');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const ended = once(socket, 'end');
    req.write('y');
    expect(await readText(response)).toBe('over');
    await ended;
    expect(calls).toEqual(['writev']);
    const failed = once(req, 'error');
    fail();
    expect(await failed).toMatchObject([{ syscall: 'write' }]);
  });
});

describe('an incoming message', () => {
  /** What a listener finds in a request with this body. */
  async function incoming(init: {
    headers?: http.OutgoingHttpHeaders;
    body?: string | Buffer;
    method?: string;
    app?: express.RequestHandler;
  }): Promise<Pick<express.Request, 'headers' | 'headersDistinct' | 'readableDidRead' | 'readableEnded' | 'body'>> {
    const { headers = {}, body, method = 'POST', app } = init;
    return new Promise((resolve) => {
      const server = express();
      if (app !== undefined) server.use(app);
      server.use((req, res) => {
        const { headersDistinct, readableDidRead, readableEnded, body } = req;
        resolve({ headers: req.headers, headersDistinct, readableDidRead, readableEnded, body });
        res.end();
      });
      void listen(http.createServer(server)).then((port) => {
        const req = http.request({ port, host: '127.0.0.1', agent: false, method, headers });
        req.on('error', () => {}).end(body);
      });
    });
  }

  it("Node's incoming message: tells by readableDidRead that a parser has read it, and not otherwise", async () => {
    const headers = { 'content-type': 'application/json' };
    const parsed = await incoming({ headers, body: '{"a":1}', app: express.json() });
    expect(parsed).toMatchObject({ readableDidRead: true, readableEnded: true, body: { a: 1 } });
    const unread = await incoming({ headers: { 'content-type': 'text/plain' }, body: 'text', app: express.json() });
    expect(unread.readableDidRead).toBe(false);
  });

  it("Node's incoming message: has every line of a repeated header in headersDistinct", async () => {
    const req = await incoming({ method: 'GET', headers: { 'x-a': ['1', '2'], 'x-b': '3' } });
    expect(req.headersDistinct['x-a']).toEqual(['1', '2']);
    expect(req.headersDistinct['x-b']).toEqual(['3']);
    expect(req.headers['x-a']).toBe('1, 2');
  });

  it("Node's incoming message: has had its Expect answered when the listener is called", async () => {
    const port = await listen(
      http.createServer((req, res) => {
        void readAll(req).then((body) => res.end(`${req.headers.expect} ${body}`));
      }),
    );
    const req = http.request({
      port,
      host: '127.0.0.1',
      agent: false,
      method: 'POST',
      headers: { expect: '100-continue' },
    });
    req.flushHeaders();
    await once(req, 'continue');
    req.end('body');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(await readText(response)).toBe('100-continue body');
  });

  it("Node's incoming message: is no upgrade where the server does not listen for upgrades", async () => {
    const port = await listen(http.createServer((_req, res) => res.end('plain')));
    const { body } = await exchange(`http://127.0.0.1:${port}`, {
      headers: { connection: 'upgrade', upgrade: 'websocket' },
    });
    expect(body).toBe('plain');
  });

  it("Node's incoming message: is upgraded while responses before it are still to come: `_httpMessage` of the connection tells", async () => {
    const responses: ServerResponse[] = [];
    const server = http.createServer((_req, res) => responses.push(res));
    const upgrade = once(server, 'upgrade');
    const port = await listen(server);
    const client = net.connect(port, '127.0.0.1');
    onCleanUp(() => void client.destroy());
    client.resume();
    const get = 'GET / HTTP/1.1\r\nHost: a\r\n';
    client.write(`${get}\r\n${get}\r\n${get}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
    const [, socket] = (await upgrade) as [IncomingMessage, net.Socket];
    onCleanUp(() => void socket.destroy());
    for (const res of responses) {
      expect(Reflect.get(socket, '_httpMessage')).toBe(res);
      res.end();
      await once(res, 'close');
    }
    expect(responses).toHaveLength(2);
    expect(Reflect.get(socket, '_httpMessage')).toBeNull();
  });

  it("Node's incoming message: has the trailers of its body when it has ended, in rawTrailers", async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { trailer: 'X-Sum' });
      res.write('body');
      res.addTrailers({ 'X-Sum': '1' });
      res.end();
    });
    const req = http.get(url, { agent: false });
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    await readAll(response);
    expect(response.rawTrailers).toEqual(['X-Sum', '1']);
  });
});

describe('an incoming message with an encoding', () => {
  /** What `setEncoding` leaves on it. */
  type Decoding = IncomingMessage & { _readableState?: { decoder?: { lastNeed?: number } } };

  it("Node's incoming message with an encoding: has in its decoder what has come of a character", async () => {
    const lastNeed = (req: Decoding): number | undefined => req._readableState?.decoder?.lastNeed;
    const emoji = Buffer.from('🙂');
    const before: unknown[] = [];
    const server = http.createServer((req, res) => {
      req.setEncoding('utf8');
      before.push(lastNeed(req));
      void until(() => lastNeed(req) === 3).then(() => {
        before.push(req.readableLength);
        client.end(emoji.subarray(1));
        req.resume().once('end', () => res.end());
      });
    });
    const client = http.request({ port: await listen(server), method: 'POST', agent: false });
    client.write(emoji.subarray(0, 1));
    const [response] = await once(client, 'response');
    await readAll(response);
    expect(before).toEqual([0, 0]);
  });

  it("Node's incoming message with an encoding: gives the bytes as latin1 where that is set before any has come", async () => {
    const bytes = Buffer.from([0, 0xff, 0xc3, 0x28, 0x80]);
    const chunks: string[] = [];
    const server = http.createServer((req, res) => {
      req.setEncoding('utf8').setEncoding('latin1');
      req.on('data', (chunk: string) => chunks.push(chunk)).on('end', () => res.end());
    });
    const port = await listen(server);
    await exchange(`http://127.0.0.1:${port}`, { method: 'POST', body: bytes });
    expect(Buffer.from(chunks.join(''), 'latin1').equals(bytes)).toBe(true);
  });
});

describe('an outgoing response', () => {
  it("Node's outgoing response: can be made for a connection that was upgraded, and leaves it open", async () => {
    const server = http.createServer();
    const upgrade = once(server, 'upgrade');
    const port = await listen(server);
    const client = net.connect(port, '127.0.0.1');
    onCleanUp(() => void client.destroy());
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    const [req, socket] = (await upgrade) as [IncomingMessage, net.Socket];
    onCleanUp(() => void socket.destroy());
    const res = new http.ServerResponse(req);
    res.shouldKeepAlive = false;
    res.sendDate = false;
    res.assignSocket(socket);
    res.writeHead(101, { connection: 'Upgrade', upgrade: 'websocket' });
    res.end();
    res.detachSocket(socket);
    socket.write('more');
    let text = '';
    for await (const bytes of client) {
      text += bytes;
      if (text.endsWith('more')) break;
    }
    expect(text).toBe('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nmore');
    expect(Reflect.get(socket, '_httpMessage')).toBeNull();
  });

  it("Node's outgoing response: is in order with what is written behind its head into its connection, which is all there is to its body", async () => {
    const { url } = await upstream((_req, res) => {
      res.flushHeaders();
      res.socket?.write('5\r\nhello\r\n');
      res.write(' you');
      process.nextTick(() => {
        res.socket?.write('1\r\n!\r\n');
        res.end();
      });
    });
    expect((await exchange(url)).body).toBe('hello you!');
  });

  it("Node's outgoing response: has the server in `server` of its connection", async () => {
    const server = http.createServer((req, res) => res.end(String(Reflect.get(req.socket, 'server') === server)));
    expect((await exchange(`http://127.0.0.1:${await listen(server)}`)).body).toBe('true');
  });

  it("Node's outgoing response: closes its connection behind it without `shouldKeepAlive`", async () => {
    const { url } = await upstream((_req, res) => {
      res.shouldKeepAlive = false;
      res.end();
    });
    const [response] = (await once(http.get(url, { agent: false }), 'response')) as [IncomingMessage];
    expect(response.headers.connection).toBe('close');
    await readAll(response);
  });

  it("Node's outgoing response: throws for a status below 100 and for control bytes in the reason, before anything is sent", async () => {
    const port = await listen(
      http.createServer((_req, res) => {
        expect(() => res.writeHead(0)).toThrow(expect.objectContaining({ code: 'ERR_HTTP_INVALID_STATUS_CODE' }));
        expect(() => res.writeHead(200, 'O\x01K')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_CHAR' }));
        expect(res.headersSent).toBe(false);
        res.writeHead(200, 'OK').end('sent');
      }),
    );
    expect((await exchange(`http://127.0.0.1:${port}`)).body).toBe('sent');
  });

  it("Node's outgoing response: does not send its head with writeHead, and does with flushHeaders", async () => {
    let response: ServerResponse | undefined;
    const port = await listen(
      http.createServer((_req, res) => {
        response = res;
        res.writeHead(200);
        expect(res.socket?.bytesWritten).toBe(0);
        res.flushHeaders();
        expect(res.socket?.bytesWritten).toBeGreaterThan(0);
      }),
    );
    const req = http.get({ port, host: '127.0.0.1', agent: false });
    const [head] = (await once(req, 'response')) as [IncomingMessage];
    expect(head.statusCode).toBe(200);
    response?.end();
    await readAll(head);
  });

  it("Node's outgoing response: has no socket while an earlier pipelined one has its turn", async () => {
    const sockets: boolean[] = [];
    const responses: ServerResponse[] = [];
    const server = http.createServer((_req, res) => {
      sockets.push(res.socket === null);
      responses.push(res);
      if (responses.length === 2) for (const response of responses) response.end();
    });
    const port = await listen(server);
    const client = net.connect(port, '127.0.0.1');
    client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    client.resume();
    await once(client, 'close');
    expect(sockets).toEqual([false, true]);
  });

  it("Node's outgoing response: has a socket that can reset its connection", async () => {
    const port = await listen(http.createServer((_req, res) => res.socket?.resetAndDestroy()));
    const [error] = await once(http.get({ port, host: '127.0.0.1', agent: false }), 'error');
    expect(error).toMatchObject({ code: 'ECONNRESET' });
  });
});

/** What a response has and its types do not name. */
interface Decided {
  _hasBody: boolean;
  _contentLength: number | null;
}

describe('what Node has decided of a response', () => {
  async function decided(method: string, respond: (res: ServerResponse) => void): Promise<Decided & ServerResponse> {
    return new Promise((resolve) => {
      const server = http.createServer((req, res) => {
        // As middleware may.
        req.method = 'GET';
        respond(res);
        resolve(res as unknown as Decided & ServerResponse);
        res.end();
      });
      void listen(server).then((own) => http.request({ port: own, host: '127.0.0.1', method, agent: false }).end());
    });
  }

  it.each([
    ['GET', 200, true],
    ['HEAD', 200, false],
    ['GET', 204, false],
    ['GET', 304, false],
  ])(
    "Node's framing of a response: a %s that is answered with a %d has a body: %s",
    async (method, status, hasBody) => {
      const res = await decided(method, (response) => response.writeHead(status));
      expect(res._hasBody).toBe(hasBody);
    },
  );

  it("Node's framing of a response: it knows the length that a head has promised, once that is written", async () => {
    const lengths: unknown[] = [];
    await decided('HEAD', (res) => {
      const own = res as unknown as Decided;
      lengths.push(own._contentLength);
      res.setHeader('Content-Length', '12');
      res.writeHead(200);
      lengths.push(own._contentLength, res.chunkedEncoding);
    });
    expect(lengths).toEqual([null, 12, false]);
  });

  it("Node's framing of a response: a pipelined response gets its socket, and is the one that it carries, in its turn; what was queued leaves in that tick", async () => {
    const seen: unknown[] = [];
    const server = http.createServer();
    const port = await listen(server);
    const client = net.connect(port, '127.0.0.1');
    onCleanUp(() => void client.destroy());
    let first: ServerResponse | undefined;
    const second = new Promise<void>((resolve) => {
      server.on('request', (_req: IncomingMessage, res: ServerResponse) => {
        if (first === undefined) {
          first = res;
          return;
        }
        seen.push(res.socket);
        const queued = (): number => (res as unknown as { outputData: unknown[] }).outputData.length;
        res.once('socket', (socket) => {
          seen.push((socket as unknown as { _httpMessage: unknown })._httpMessage === res, queued());
          process.nextTick(() => {
            seen.push(queued());
            res.end();
            resolve();
          });
        });
        first.end();
      });
    });
    client.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
    client.write('GET /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n');
    await second;
    // The 100 waits until then.
    expect(seen).toEqual([null, true, 1, 0]);
  });

  it("Node's framing of a response: an HTTP/2 stream knows a HEAD whatever the method of the request is called", async () => {
    const server = http2.createServer();
    const port = await listen(server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    onCleanUp(() => void session.destroy());
    const requested = once(server, 'request');
    session.request({ ':method': 'HEAD' });
    const [req, res] = await requested;
    req.method = 'GET';
    expect(res.stream.headRequest).toBe(true);
    res.end();
  });
});

describe('streams', () => {
  it('Node streams: flow after pipe() even where the destination took them out in its pipe event', async () => {
    const source = Readable.from([Buffer.from('a'), Buffer.from('b')]);
    const sink = new Writable({ write: (_chunk, _encoding, callback) => callback() });
    const chunks: string[] = [];
    sink.once('pipe', (piped: Readable) => {
      piped.unpipe(sink);
      piped.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    });
    source.pipe(sink);
    await once(source, 'end');
    expect(chunks).toEqual(['a', 'b']);
    expect(sink.writableEnded).toBe(false);
  });

  it('Node streams: decode gzip as it comes, flush by flush', async () => {
    const gzip = zlib.createGzip();
    const gunzip = zlib.createGunzip();
    gzip.pipe(gunzip);
    for (const text of ['one', 'two']) {
      gzip.write(text);
      gzip.flush();
      const [chunk] = (await once(gunzip, 'data')) as [Buffer];
      expect(chunk.toString()).toBe(text);
    }
    gzip.destroy();
    gunzip.destroy();
  });
});
