import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import express, { type Express, type RequestHandler } from 'express';
import { createSseProxy } from '../../../lib/index.js';
import { exchange, readAll, readText, request } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { type RecordedRequest, recorder, upstream } from '../../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../../support/watch/clean-up.js';

afterEach(closeAll);

/** The same for our purposes, and without types of its own. */
const express4: typeof express = createRequire(import.meta.url)('express4');

const JSON_TYPE = { 'content-type': 'application/json' };
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };

/** Sends one request through `before` and the proxy; returns what the upstream was sent. */
async function sendThrough(
  before: RequestHandler | undefined,
  init: http.RequestOptions & { body?: string | Uint8Array },
): Promise<RecordedRequest> {
  const { url, received } = await recorder();
  const proxy = await proxyApp({ target: url }, (app) => before !== undefined && app.use(before));
  const { status, body } = await exchange(proxy.url, { method: 'POST', ...init });
  expect({ status, body }).toEqual({ status: 200, body: 'ok' });
  const [first] = received;
  if (first === undefined) throw new Error('nothing came');
  expect(received).toHaveLength(1);
  expect((await proxy.summary()).outcome).toBe('completed');
  return first;
}

/** The framing of a body that was sent from memory. */
function expectLength({ headers, body }: RecordedRequest): void {
  expect(headers['content-length']).toBe(String(body.length));
  expect(headers).not.toHaveProperty('transfer-encoding');
}

describe('a body that streams', () => {
  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])(
    'streamed request body: arrives with %s and its Content-Length',
    async (method) => {
      const received = await sendThrough(undefined, { method, body: 'höher', headers: { 'content-length': 6 } });
      expect(received.method).toBe(method);
      expect(received.body.toString()).toBe('höher');
      expectLength(received);
    },
  );

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('streamed request body: arrives with %s and chunked', async (method) => {
    const received = await sendThrough(undefined, {
      method,
      body: 'höher',
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(received.body.toString()).toBe('höher');
    expect(received.headers['transfer-encoding']).toBe('chunked');
  });

  it.each([
    ['with a length', { 'content-length': 3_000_000 }],
    ['chunked', { 'transfer-encoding': 'chunked' }],
  ])('streamed request body: is byte-identical, %s', async (_name, headers) => {
    const body = Buffer.alloc(
      3_000_000,
      Uint8Array.from({ length: 251 }, (_value, i) => (i * 7) % 256),
    );
    const received = await sendThrough(undefined, { body, headers });
    expect(received.body.equals(body)).toBe(true);
  });

  it.each([
    ['with a length', { 'content-length': 9 }],
    ['chunked', { 'transfer-encoding': 'chunked' }],
  ])('streamed request body: reaches the upstream piece by piece, %s', async (_name, headers) => {
    let incoming = (_req: IncomingMessage): void => {};
    const arrival = new Promise<IncomingMessage>((resolve) => {
      incoming = resolve;
    });
    const { url } = await upstream((req, res) => {
      incoming(req);
      req.once('end', () => res.end('ok'));
    });
    const proxy = await proxyApp({ target: url });
    const client = http.request(proxy.url, { agent: false, method: 'POST', headers });
    const answer = once(client, 'response') as Promise<[IncomingMessage]>;
    client.write('one');
    const req = await arrival;
    expect(String((await once(req, 'data'))[0])).toBe('one');
    client.write('two');
    expect(String((await once(req, 'data'))[0])).toBe('two');
    client.end('end');
    expect(String((await once(req, 'data'))[0])).toBe('end');
    expect(await readText((await answer)[0])).toBe('ok');
  });

  it('streamed request body: is asked for with 100 (Continue), and follows', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url });
    const client = http.request(proxy.url, {
      agent: false,
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': 4 },
    });
    const answer = once(client, 'response') as Promise<[IncomingMessage]>;
    client.flushHeaders();
    await once(client, 'continue');
    client.end('body');
    const [response] = await answer;
    expect(await readText(response)).toBe('ok');
    expect(received).toHaveLength(1);
    expect(received[0]?.body.toString()).toBe('body');
    expect(received[0]?.headers).not.toHaveProperty('expect');
  });

  it('streamed request body: is left alone by parsers of other types', async () => {
    const received = await sendThrough(express.json(), { headers: { 'content-type': 'text/plain' }, body: 'text' });
    expect(received.body.toString()).toBe('text');
  });

  it('streamed request body: can be read by on.proxyReq as it flows', async () => {
    const { url, received } = await recorder();
    const seen: string[] = [];
    const proxy = await proxyApp({
      target: url,
      on: { proxyReq: (_proxyReq, req) => void req.on('data', (chunk) => seen.push(String(chunk))) },
    });
    await exchange(proxy.url, { method: 'POST', body: 'seen', headers: { 'content-length': 4 } });
    expect(seen).toEqual(['seen']);
    expect(received[0]?.body.toString()).toBe('seen');
  });

  it('streamed request body: goes on upstream after a hook has looked at the request', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({
      target: url,
      router: async () => {
        await new Promise(setImmediate);
        return url;
      },
    });
    await exchange(proxy.url, { method: 'POST', body: 'late' });
    expect(received[0]?.body.toString()).toBe('late');
  });
});

describe('no body', () => {
  it.each(['GET', 'DELETE', 'OPTIONS'])(
    'request without a body: is none upstream with %s, behind every parser',
    async (method) => {
      const { url, received } = await recorder();
      const proxy = await proxyApp({ target: url }, (app) =>
        app.use(express.json(), express.urlencoded({ extended: true }), express.text(), express.raw()),
      );
      expect((await exchange(proxy.url, { method })).status).toBe(200);
      expect(received[0]?.body).toHaveLength(0);
      expect(received[0]?.headers).not.toHaveProperty('transfer-encoding');
    },
  );

  it.each([
    ['with a length of 0', { 'content-length': 0 }],
    ['chunked', { 'transfer-encoding': 'chunked' }],
  ])('request without a body: is an empty one upstream with POST %s, behind express.json()', async (_name, headers) => {
    const received = await sendThrough(express.json(), { headers: { ...JSON_TYPE, ...headers } });
    expect(received.body).toHaveLength(0);
  });

  it('request without a body: keeps a GET that has a body whole', async () => {
    const received = await sendThrough(express.json(), {
      method: 'GET',
      headers: { ...JSON_TYPE, 'content-length': 7 },
      body: '{"a":1}',
    });
    expect(received.body.toString()).toBe('{"a":1}');
  });
});

/** What an app does that reads the bytes by hand. */
const keepRawBody: RequestHandler = (req, _res, next) => {
  readAll(req).then((rawBody) => {
    Object.assign(req, { rawBody });
    next();
  }, next);
};

describe('a body that a parser has read', () => {
  it.each([
    ['an object', {}, '{"model":"m","stream":true}', '{"model":"m","stream":true}'],
    ['an array', {}, '[1,2]', '[1,2]'],
    ['white space', {}, '{ "a" : "ü" }\n', '{"a":"ü"}'],
    ['an empty object', {}, '{}', '{}'],
    ['a string', { strict: false }, '"text"', '"text"'],
    ['a string that is JSON itself', { strict: false }, '"{\\"a\\":1}"', '"{\\"a\\":1}"'],
    ['a string that is a number', { strict: false }, '"42"', '"42"'],
    ['a number', { strict: false }, '42', '42'],
    ['zero', { strict: false }, '0', '0'],
    ['null', { strict: false }, 'null', 'null'],
    ['false', { strict: false }, 'false', 'false'],
    ['an empty string', { strict: false }, '""', '""'],
  ])('parsed request body: is sent again after express.json(): %s', async (_name, options, body, expected) => {
    const received = await sendThrough(express.json(options), { headers: JSON_TYPE, body });
    expect(received.body.toString()).toBe(expected);
    expect(received.headers['content-type']).toBe('application/json');
    expectLength(received);
  });

  it.each(['application/vnd.api+json', 'application/json; charset=utf-8'])(
    'parsed request body: is sent again as %s',
    async (type) => {
      const received = await sendThrough(express.json({ type: () => true }), {
        headers: { 'content-type': type },
        body: '{"a":"é"}',
      });
      expect(received.body.toString()).toBe('{"a":"é"}');
      expect(received.headers['content-type']).toBe(type);
    },
  );

  it('parsed request body: is sent in UTF-8 with the type saying so after a JSON body in another charset', async () => {
    const received = await sendThrough(express.json(), {
      headers: { 'content-type': 'application/json; charset=utf-16le' },
      body: Buffer.from('{"a":"é"}', 'utf16le'),
    });
    expect(received.body.toString()).toBe('{"a":"é"}');
    expect(received.headers['content-type']).toMatch(/charset="?utf-8"?/i);
    expectLength(received);
  });

  it('parsed request body: is sent with what the app changed in it', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use(express.json(), (req, _res, next) => {
        req.body.model = 'other';
        next();
      }),
    );
    await exchange(proxy.url, { method: 'POST', headers: JSON_TYPE, body: '{"model":"m"}' });
    expect(JSON.parse(String(received[0]?.body))).toEqual({ model: 'other' });
  });

  it('parsed request body: loses its Content-Encoding where express.json() has inflated it', async () => {
    const received = await sendThrough(express.json(), {
      headers: { ...JSON_TYPE, 'content-encoding': 'gzip' },
      body: zlib.gzipSync('{"a":1}'),
    });
    expect(received.body.toString()).toBe('{"a":1}');
    expect(received.headers).not.toHaveProperty('content-encoding');
    expectLength(received);
  });

  it('parsed request body: keeps its Content-Encoding where nobody has read it', async () => {
    const body = zlib.gzipSync('{"a":1}');
    const received = await sendThrough(undefined, { headers: { ...JSON_TYPE, 'content-encoding': 'gzip' }, body });
    expect(received.body.equals(body)).toBe(true);
    expect(received.headers['content-encoding']).toBe('gzip');
  });

  it('parsed request body: is sent with a length where it came in chunks, over a connection that is kept', async () => {
    const received = await sendThrough(express.json(), {
      headers: { ...JSON_TYPE, 'transfer-encoding': 'chunked' },
      body: '{"a":1}',
    });
    expect(received.body.toString()).toBe('{"a":1}');
    expectLength(received);
    expect(received.headers.connection).toBe('keep-alive');
  });

  it.each([
    ['flat', true, 'a=1&b=two+words&c=%C3%BC', { a: '1', b: 'two words', c: 'ü' }],
    ['repeated', true, 'a=1&a=2', { a: ['1', '2'] }],
    ['nested', true, 'a[b]=1&a[c][d]=2', { a: { b: '1', c: { d: '2' } } }],
    ['flat, simple', false, 'a=1&b=%26', { a: '1', b: '&' }],
    ['repeated, simple', false, 'a=1&a=2', { a: ['1', '2'] }],
    ['a list of one', true, 'a[]=1', { a: ['1'] }],
    ['an empty value', true, 'a=&b=1', { a: '', b: '1' }],
    ['a list of objects', true, 'a[0][b]=1&a[0][c]=2&a[1][b]=3', { a: [{ b: '1', c: '2' }, { b: '3' }] }],
  ])('parsed request body: is sent again after express.urlencoded(): %s', async (_name, extended, body, meaning) => {
    const received = await sendThrough(express.urlencoded({ extended }), { headers: FORM_TYPE, body });
    expectLength(received);
    expect(received.headers['content-type']).toBe('application/x-www-form-urlencoded');
    // What another server with the same parser reads.
    const server = express().use(express.urlencoded({ extended }), (req, res) => void res.json(req.body));
    const port = await listen(http.createServer(server));
    const parsed = await exchange(`http://127.0.0.1:${port}`, {
      method: 'POST',
      headers: FORM_TYPE,
      body: received.body,
    });
    expect(JSON.parse(parsed.body)).toEqual(meaning);
  });

  it.each([
    ['text', 'text/plain', 'plain ü', 'text/plain'],
    ['JSON as text', 'application/json', '{ "a": 1 }', 'application/json'],
    ['XML', 'application/xml', '<a/>', 'application/xml'],
    ['empty text with a type', 'text/plain', ' ', 'text/plain'],
  ])('parsed request body: is sent again after express.text(): %s', async (_name, type, body, expectedType) => {
    const received = await sendThrough(express.text({ type: () => true }), { headers: { 'content-type': type }, body });
    expect(received.body.toString()).toBe(body);
    expect(received.headers['content-type']).toBe(expectedType);
    expectLength(received);
  });

  it('parsed request body: is sent in UTF-8 with the type saying so after a text in another charset', async () => {
    const received = await sendThrough(express.text(), {
      headers: { 'content-type': 'text/plain; charset=iso-8859-1; format=flowed' },
      body: Buffer.from('é', 'latin1'),
    });
    expect(received.body.toString()).toBe('é');
    expect(received.headers['content-type']).toMatch(/^text\/plain;\s*charset=utf-8;\s*format=flowed$/);
    expectLength(received);
  });

  it('parsed request body: is sent byte by byte after express.raw()', async () => {
    const body = Buffer.from([0, 255, 128, 10, 13]);
    const received = await sendThrough(express.raw(), {
      headers: { 'content-type': 'application/octet-stream' },
      body,
    });
    expect(received.body.equals(body)).toBe(true);
    expectLength(received);
  });

  it('parsed request body: is sent inflated after express.raw() has inflated it', async () => {
    const received = await sendThrough(express.raw(), {
      headers: { 'content-type': 'application/octet-stream', 'content-encoding': 'gzip' },
      body: zlib.gzipSync('bytes'),
    });
    expect(received.body.toString()).toBe('bytes');
    expect(received.headers).not.toHaveProperty('content-encoding');
  });

  it('parsed request body: is sent as it came where `verify` has kept it in req.rawBody', async () => {
    const text = '{ "spaced" : 1.0 }';
    const received = await sendThrough(
      express.json({
        verify: (req, _res, buffer) => {
          Object.assign(req, { rawBody: buffer });
        },
      }),
      { headers: JSON_TYPE, body: text },
    );
    expect(received.body.toString()).toBe(text);
    expectLength(received);
  });

  it('parsed request body: is sent as the string in req.rawBody', async () => {
    const received = await sendThrough(
      express.json({
        verify: (req, _res, buffer) => {
          Object.assign(req, { rawBody: buffer.toString() });
        },
      }),
      { headers: JSON_TYPE, body: '{ "ü" : 1 }' },
    );
    expect(received.body.toString()).toBe('{ "ü" : 1 }');
  });

  it('parsed request body: is sent from req.rawBody whatever its type', async () => {
    const body = '--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n';
    const received = await sendThrough(keepRawBody, {
      headers: { 'content-type': 'multipart/form-data; boundary=x' },
      body,
    });
    expect(received.body.toString()).toBe(body);
  });

  it('parsed request body: is sent inflated from a rawBody of verify, which is inflated, too', async () => {
    const received = await sendThrough(
      express.json({
        verify: (req, _res, buffer) => {
          Object.assign(req, { rawBody: buffer });
        },
      }),
      { headers: { ...JSON_TYPE, 'content-encoding': 'gzip' }, body: zlib.gzipSync('{ "a": 1 }') },
    );
    expect(received.body.toString()).toBe('{ "a": 1 }');
    expect(received.headers).not.toHaveProperty('content-encoding');
    expectLength(received);
  });

  it('parsed request body: is sent compressed from a rawBody that is, where it came in chunks', async () => {
    const body = zlib.gzipSync('{ "a": 1 }');
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip', 'transfer-encoding': 'chunked' };
    const received = await sendThrough(keepRawBody, { headers, body });
    expect(received.headers['content-encoding']).toBe('gzip');
    expect(received.body).toEqual(body);
  });

  it('parsed request body: survives a redirect that keeps the method', async () => {
    const { url, received } = await recorder((req, res) => {
      if (req.url === '/') res.writeHead(307, { location: '/there' });
      res.end('ok');
    });
    const proxy = await proxyApp({ target: url, followRedirects: true }, (app) => app.use(express.json()));
    const { status } = await exchange(proxy.url, {
      method: 'POST',
      headers: { ...JSON_TYPE, 'content-encoding': 'gzip' },
      body: zlib.gzipSync(JSON.stringify({ text: 'x'.repeat(1000) })),
    });
    expect(status).toBe(200);
    expect(received.map((item) => item.url)).toEqual(['/', '/there']);
    for (const item of received) {
      expect(JSON.parse(String(item.body))).toEqual({ text: 'x'.repeat(1000) });
      expect(item.headers).not.toHaveProperty('content-encoding');
      expectLength(item);
    }
  });

  it('parsed request body: is sent again by each request of a kept connection', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) => app.use(express.json()));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onCleanUp(() => agent.destroy());
    for (let i = 0; i < 5; i += 1) {
      await exchange(proxy.url, { agent, method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ i }) });
    }
    expect(received.map(({ body }) => body.toString())).toEqual([0, 1, 2, 3, 4].map((i) => `{"i":${i}}`));
    expect(new Set(received.map(({ clientPort }) => clientPort)).size).toBe(1);
  });
});

describe('a body that is lost', () => {
  /** Reads it, as a multipart parser would, and leaves nothing that could be sent. */
  const consume: RequestHandler = (req, _res, next) => {
    req.resume().once('end', next);
  };
  const multipart = {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
    body: '--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
  };

  it('lost request body: is a 500 that says what to do, and the connection stays usable', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) => app.post('/lost', consume));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onCleanUp(() => agent.destroy());
    const refused = await request(`${proxy.url}/lost`, { agent, ...multipart });
    const { localPort } = refused.socket;
    expect(refused.statusCode).toBe(500);
    expect(refused.headers['content-type']).toMatch(/^application\/json/);
    expect(JSON.parse(String(await readAll(refused)))).toEqual({
      error: { code: 'REQUEST_BODY_CONSUMED', type: 'proxy_error', message: expect.stringContaining('req.rawBody') },
    });
    expect(await proxy.summary()).toMatchObject({
      outcome: 'failed',
      statusCode: 500,
      error: expect.objectContaining({ code: 'REQUEST_BODY_CONSUMED' }),
    });
    const next = await request(proxy.url, { agent });
    expect(next.socket.localPort).toBe(localPort);
    expect(await readText(next)).toBe('ok');
    expect(received.map((item) => item.url)).toEqual(['/']);
  });

  it('lost request body: is lost where a parser has made fields of it that cannot be sent again', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use(consume, (req, _res, next) => {
        req.body = { a: '1' };
        next();
      }),
    );
    const { status, body } = await exchange(proxy.url, multipart);
    expect(status).toBe(500);
    expect(JSON.parse(body).error.code).toBe('REQUEST_BODY_CONSUMED');
    expect(received).toEqual([]);
  });

  it('lost request body: is lost where it was read in part', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use((req, _res, next) => {
        req.once('data', () => {
          req.pause();
          next();
        });
      }),
    );
    const client = http.request(proxy.url, { agent: false, method: 'POST', headers: { 'content-length': 6 } });
    client.on('error', () => {});
    const answer = once(client, 'response') as Promise<[IncomingMessage]>;
    client.write('one');
    const [response] = await answer;
    client.end('two');
    expect(response.statusCode).toBe(500);
    expect(JSON.parse(await readText(response)).error.code).toBe('REQUEST_BODY_CONSUMED');
    expect(received).toEqual([]);
  });

  it('lost request body: goes to the error middleware with onError: next', async () => {
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url, onError: 'next' }, (app) => app.use(consume));
    proxy.app.use(((error, _req, res, _next) => {
      res.status(error.status).send(error.code);
    }) satisfies express.ErrorRequestHandler);
    const { status, body } = await exchange(proxy.url, multipart);
    expect({ status, body }).toEqual({ status: 500, body: 'REQUEST_BODY_CONSUMED' });
  });

  it('lost request body: is no loss where the user gives a buffer of their own', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ target: url, buffer: Readable.from([Buffer.from(multipart.body)]) }, (app) =>
      app.use(consume),
    );
    expect((await exchange(proxy.url, multipart)).status).toBe(200);
    expect(received[0]?.body.toString()).toBe(multipart.body);
  });

  it('lost request body: is no loss where the request had none', async () => {
    const { url } = await recorder();
    const proxy = await proxyApp({ target: url }, (app) => app.use(consume));
    expect((await exchange(proxy.url)).status).toBe(200);
  });

  it('lost request body: leaves no hanging exchange where the client leaves after a part of it', async () => {
    const { url } = await upstream(() => {});
    const proxy = await proxyApp({ target: url });
    const client = net.connect(proxy.port, '127.0.0.1');
    client.on('error', () => {});
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart');
    while (proxy.proxy.active === 0) await new Promise(setImmediate);
    client.destroy();
    expect((await proxy.summary()).outcome).toBe('client-closed');
    expect(proxy.proxy.active).toBe(0);
  });
});

describe('in Express 4', () => {
  async function express4App(
    before: RequestHandler | undefined,
  ): Promise<{ url: string; received: RecordedRequest[] }> {
    const { url, received } = await recorder();
    const app: Express = express4();
    if (before !== undefined) app.use(before);
    app.use(createSseProxy({ target: url }));
    const port = await listen(http.createServer(app));
    return { url: `http://127.0.0.1:${port}`, received };
  }

  it.each<[string, RequestHandler, string, string]>([
    ['json()', express4.json(), 'application/json', '{"a":1}'],
    ['urlencoded()', express4.urlencoded({ extended: true }), 'application/x-www-form-urlencoded', 'a=1&b=2'],
    ['text()', express4.text(), 'text/plain', 'text'],
    ['raw()', express4.raw(), 'application/octet-stream', 'raw'],
  ])('request body in Express 4: is sent again after express.%s', async (_name, parser, type, body) => {
    const { url, received } = await express4App(parser);
    const { status } = await exchange(url, { method: 'POST', headers: { 'content-type': type }, body });
    expect(status).toBe(200);
    expect(received[0]?.body.toString()).toBe(body);
    expect(received[0]?.headers['content-length']).toBe(String(body.length));
  });

  it.each(['GET', 'POST'])(
    'request body in Express 4: is none for an empty %s, although express.json() sets req.body to {}',
    async (method) => {
      const { url, received } = await express4App(express4.json());
      expect((await exchange(url, { method, headers: JSON_TYPE })).status).toBe(200);
      expect(received[0]?.body).toHaveLength(0);
    },
  );

  it('request body in Express 4: streams where nobody has read it, behind a parser of another type', async () => {
    const { url, received } = await express4App(express4.json());
    await exchange(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'text' });
    expect(received[0]?.body.toString()).toBe('text');
  });
});
