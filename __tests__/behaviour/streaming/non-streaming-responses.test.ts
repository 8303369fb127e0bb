import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, STATUS_CODES } from 'node:http';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import express from 'express';
import { keepAliveAgent, readAll, readText, request } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { proxyApp, proxyTo, proxyToRaw } from '../../support/servers/proxies.js';
import { rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

const ALL_STATUSES = Array.from({ length: 400 }, (_, i) => 200 + i);

describe('the status', () => {
  const listener: RequestListener = (req, res) => {
    const status = Number(req.url?.slice(1));
    res.writeHead(status, STATUS_CODES[status] ?? `Reason ${status}`, { 'x-status': status });
    res.end(`body of ${status}`);
  };

  it.each(['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'PROPFIND'])(
    'response status: the status of %s is the upstream’s, 200 to 599, with its reason phrase',
    async (method) => {
      const proxy = await proxyTo(listener);
      const agent = keepAliveAgent(16);
      const statuses = method === 'GET' ? ALL_STATUSES : ALL_STATUSES.filter((status) => status in STATUS_CODES);
      const seen = await Promise.all(
        statuses.map(async (status) => {
          const response = await request(`${proxy.url}/${status}`, { method, agent });
          const body = await readText(response);
          return [response.statusCode, response.statusMessage, response.headers['x-status'], body];
        }),
      );
      expect(seen).toEqual(
        statuses.map((status) => {
          const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
          const body = hasBody ? `body of ${status}` : '';
          return [status, STATUS_CODES[status] ?? `Reason ${status}`, String(status), body];
        }),
      );
      expect(new Set(proxy.summaries.map(({ outcome }) => outcome))).toEqual(new Set(['completed']));
    },
  );

  it.each([
    ['HTTP/1.1 200 Fine by me', 'Fine by me'],
    ['HTTP/1.1 404 ', 'Not Found'],
    ['HTTP/1.1 200 Spaces  within\tand tabs', 'Spaces  within\tand tabs'],
    ['HTTP/1.1 200 Latin \xe9', 'Latin \xe9'],
  ])('response status: the status line %j has the reason %j', async (line, reason) => {
    const proxy = await proxyToRaw(`${line}\r\nContent-Length: 0\r\n\r\n`);
    const response = await request(proxy.url);
    expect(response.statusMessage).toBe(reason);
    await readAll(response);
  });

  it.each([600, 700, 999])('response status: the status may be %i', async (status) => {
    const proxy = await proxyToRaw(`HTTP/1.1 ${status} Odd\r\nContent-Length: 2\r\n\r\nok`);
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(status);
    expect(await readText(response)).toBe('ok');
  });

  it.each([301, 302, 303, 307, 308])('response status: the status %i is passed on, not followed', async (status) => {
    let requests = 0;
    const proxy = await proxyTo((_req, res) => {
      requests += 1;
      res.writeHead(status, { location: '/elsewhere' }).end('moved');
    });
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(status);
    expect(response.headers.location).toBe('/elsewhere');
    expect(await readText(response)).toBe('moved');
    expect(requests).toBe(1);
  });

  it('response status: the status 302 is followed where the user wants it', async () => {
    const proxy = await proxyTo(
      (req, res) => {
        if (req.url === '/') res.writeHead(302, { location: '/elsewhere' }).end('moved');
        else res.end(`at ${req.url}`);
      },
      { followRedirects: true },
    );
    expect(await readText(await request(proxy.url))).toBe('at /elsewhere');
  });
});

describe('a response without a body', () => {
  it('response without a body to HEAD keeps the length of what GET would bring', async () => {
    const proxy = await proxyTo((_req, res) => res.setHeader('content-length', 1234).end());
    const response = await request(proxy.url, { method: 'HEAD' });
    expect(response.headers['content-length']).toBe('1234');
    expect(await readAll(response)).toHaveLength(0);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('response without a body to HEAD leaves the connection in order for the next request', async () => {
    const proxy = await proxyTo((req, res) => {
      res.setHeader('content-length', 4).end(req.method === 'HEAD' ? undefined : 'body');
    });
    const client = await rawClient(proxy.port);
    const head = (method: string): string => `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`;
    client.socket.write(`${head('HEAD')}${head('HEAD')}${head('GET')}`);
    const text = await client.until('body');
    expect(text.match(/HTTP\/1\.1 200 OK\r\n(.+\r\n)+\r\n/g)).toHaveLength(3);
    expect(text.endsWith('\r\n\r\nbody')).toBe(true);
  });

  it.each([
    ['a Content-Length of 0', 'Content-Length: 0\r\n\r\n'],
    ['an empty chunked body', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ])('response without a body: has none: %s', async (_name, rest) => {
    const proxy = await proxyToRaw(`HTTP/1.1 200 OK\r\n${rest}`);
    const response = await request(proxy.url);
    expect(await readAll(response)).toHaveLength(0);
    expect(response.complete).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: 0 });
  });

  it('response without a body: 304 answers a conditional request', async () => {
    const proxy = await proxyTo((req, res) => {
      res.setHeader('etag', '"1"');
      if (req.headers['if-none-match'] === '"1"') res.writeHead(304).end();
      else res.end('body');
    });
    const response = await request(proxy.url, { headers: { 'if-none-match': '"1"' } });
    expect(response.statusCode).toBe(304);
    expect(response.headers.etag).toBe('"1"');
    await readAll(response);
  });
});

describe('a body', () => {
  it('response body: a body of JSON keeps its Content-Length, and its bytes', async () => {
    const json = JSON.stringify({ id: 'c1', choices: [{ text: '你好 🙂' }] });
    const proxy = await proxyTo((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }).end(json);
    });
    const response = await request(proxy.url);
    expect(response.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(json)),
    });
    expect(response.headers).not.toHaveProperty('transfer-encoding');
    expect(await readText(response)).toBe(json);
  });

  it('response body: a body of a range is passed on with its range', async () => {
    const whole = randomBytes(1_000);
    const { url } = await upstream(
      express().get('/', (_req, res) => void res.type('bin').set('accept-ranges', 'bytes').send(whole)),
    );
    const ranged = await proxyTo((req, res) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? '') ?? [];
      const part = whole.subarray(Number(from), Number(to) + 1);
      const headers = { 'content-range': `bytes ${from}-${to}/1000`, 'content-length': part.length };
      res.writeHead(206, { ...headers, 'accept-ranges': 'bytes' }).end(part);
    });
    expect((await readAll(await request((await proxyApp({ target: url })).url))).equals(whole)).toBe(true);
    const response = await request(ranged.url, { headers: { range: 'bytes=100-199' } });
    expect(response.statusCode).toBe(206);
    expect(response.headers).toMatchObject({ 'content-range': 'bytes 100-199/1000', 'accept-ranges': 'bytes' });
    expect((await readAll(response)).equals(whole.subarray(100, 200))).toBe(true);
  });

  it('response body: a body of several ranges keeps its multipart type', async () => {
    const type = 'multipart/byteranges; boundary=THIS';
    const body = '--THIS\r\nContent-Range: bytes 0-0/2\r\n\r\na\r\n--THIS--\r\n';
    const proxy = await proxyTo((_req, res) => res.writeHead(206, { 'content-type': type }).end(body));
    const response = await request(proxy.url);
    expect(response.headers['content-type']).toBe(type);
    expect(await readText(response)).toBe(body);
  });

  it('response body: a body of 20 MB arrives whole at a slow reader, who sets the pace', async () => {
    const bytes = randomBytes(20 * 1024 * 1024);
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length }).end(bytes);
    });
    let most = 0;
    const proxy = await proxyApp({ target: url }, (app) => {
      app.use((_req, res, next) => {
        const { write } = res;
        res.write = (...args: unknown[]) => {
          const more = Reflect.apply(write, res, args) as boolean;
          most = Math.max(most, res.writableLength);
          return more;
        };
        next();
      });
    });
    const hash = createHash('sha256');
    const slowly = new Transform({
      transform(chunk, _encoding, callback) {
        setImmediate(callback, null, chunk);
      },
    });
    await pipeline(await request(proxy.url), slowly, hash);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(most).toBeLessThan(1024 * 1024);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: bytes.length });
  });

  it('response body: a body stays upstream while its reader has stopped', async () => {
    const size = 64 * 1024 * 1024;
    let sent = 0;
    const proxy = await proxyTo((req, res) => {
      if (req.url === '/other') {
        res.end();
        return;
      }
      const chunk = Buffer.alloc(64 * 1024);
      const send = (): void => {
        while (sent < size) {
          sent += chunk.length;
          if (!res.write(chunk)) {
            res.once('drain', send);
            return;
          }
        }
        res.end();
      };
      send();
    });
    const response = await request(proxy.url);
    const other = keepAliveAgent(1);
    // Nothing is read: sooner or later nothing moves any more.
    for (let before = -1; before !== sent; ) {
      before = sent;
      for (let i = 0; i < 50; i += 1) await readAll(await request(`${proxy.url}/other`, { agent: other }));
    }
    expect(sent).toBeLessThan(size / 2);
    expect(await readAll(response)).toHaveLength(size);
  });

  it("response body: a body keeps the upstream's own compression for a client that accepts it", async () => {
    const zipped = zlib.gzipSync('{"a":1}');
    const asked: (string | string[] | undefined)[] = [];
    const proxy = await proxyTo((req, res) => {
      asked.push(req.headers['accept-encoding']);
      const headers = { 'content-encoding': 'gzip', 'content-length': zipped.length, vary: 'accept-encoding' };
      res.writeHead(200, headers).end(zipped);
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip, br;q=0.5' } });
    expect(asked).toEqual(['gzip, br;q=0.5']);
    expect(response.headers).toMatchObject({
      'content-encoding': 'gzip',
      'content-length': String(zipped.length),
      vary: 'accept-encoding',
    });
    expect((await readAll(response)).equals(zipped)).toBe(true);
  });

  it('response body: a body that ends with the connection is whole', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end');
    });
    const proxy = await proxyApp({ target: url });
    const response = await request(proxy.url);
    expect(await readText(response)).toBe('until the end');
    expect(response.complete).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('response body: a body with chunk extensions arrives without them', async () => {
    const proxy = await proxyToRaw(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2;c="d"\r\nde\r\n0;e\r\n\r\n',
    );
    expect(await readText(await request(proxy.url))).toBe('abcde');
  });
});

it('non-streaming responses: pipelined requests are answered in order, each with its own', async () => {
  const proxy = await proxyTo((req, res) => {
    // The later ones are ready first.
    const turns = 3 - Number(req.url?.slice(1));
    let i = 0;
    const wait = (): void => {
      i += 1;
      if (i > turns * 5) res.end(`answer ${req.url}`);
      else setImmediate(wait);
    };
    wait();
  });
  const client = await rawClient(proxy.port);
  client.socket.write([0, 1, 2].map((i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''));
  const text = await client.until('answer /2');
  expect(text.match(/answer \/\d/g)).toEqual(['answer /0', 'answer /1', 'answer /2']);
});

it('non-streaming responses: every method reaches the upstream', async () => {
  const proxy = await proxyTo((req, res) => {
    req.resume();
    res.setHeader('x-method', String(req.method)).end();
  });
  for (const method of http.METHODS.filter((name) => name !== 'CONNECT')) {
    const req = http.request(proxy.url, { method, agent: false, headers: { 'content-length': 0 } }).end();
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    await readAll(response);
    expect(response.headers['x-method']).toBe(method);
  }
});
