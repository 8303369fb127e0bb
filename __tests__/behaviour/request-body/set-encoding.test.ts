/** `setEncoding` on a request or a response, by whom and whenever: who has asked for strings gets them, everybody else bytes. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import { PassThrough, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { RequestHandler } from 'express';
import { createSseProxy, type SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { exchange, openRequest, readAll, reader, request, responseTo } from '../../support/clients/http.js';
import { closing } from '../../support/clients/http2.js';
import { certificate } from '../../support/servers/certificate.js';
import { listen } from '../../support/servers/listen.js';
import { hpmApp, http2Proxy, listenHttp2, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, recorder, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const ENCODINGS = ['utf8', 'latin1', 'ascii', 'hex', 'base64', 'utf16le'] as const;

/** Text of several bytes a character, and then what is no text at all. */
const TEXT = Buffer.from('{"stream":true,"model":"gpt","messages":["zażółć 你好 🙂"]}');
const BYTES = Buffer.concat([TEXT, Buffer.from([0, 0xff, 0xfe, 0xc3, 0x28, 0x80, 0xf0, 0x9f])]);
const LARGE = Buffer.alloc(300_000, BYTES);

const asText = (bytes: Buffer, encoding: BufferEncoding): string => {
  const decoder = new StringDecoder(encoding);
  return decoder.write(bytes) + decoder.end();
};

/** Writes it so that characters are split. */
function writeSplit(stream: NodeJS.WritableStream, bytes: Buffer, size = Math.max(7, bytes.length >> 5)): void {
  const write = (start: number): void => {
    if (start >= bytes.length) stream.end();
    else stream.write(bytes.subarray(start, start + size), () => write(start + size));
  };
  write(0);
}

const AT_ONCE = { minTimeout: 1, maxTimeout: 1_000, methods: ['POST'] };

/** Answers the first request to a path that is not `/fine` with a 503. */
async function failing(): Promise<{ url: string; bodies: Buffer[] }> {
  const bodies: Buffer[] = [];
  const { url, received } = await recorder((req, res) => {
    bodies.push(received.at(-1)?.body ?? Buffer.alloc(0));
    if (bodies.length === 1) res.writeHead(503).end();
    else if (req.url?.startsWith('/there')) res.end('there');
    else res.writeHead(307, { location: '/there' }).end();
  });
  return { url, bodies };
}

const MIDDLEWARE: [string, (encoding: BufferEncoding) => RequestHandler][] = [
  [
    'middleware in front',
    (encoding) => (req, _res, next) => {
      req.setEncoding(encoding);
      next();
    },
  ],
  [
    'middleware that goes on later',
    (encoding) => (req, _res, next) => {
      setImmediate(() => {
        req.setEncoding(encoding);
        next();
      });
    },
  ],
];

const HOOKS: [string, (encoding: BufferEncoding) => SseProxyOptions][] = [
  ['router', (encoding) => ({ router: (req) => void req.setEncoding(encoding) as never })],
  ['pathRewrite', (encoding) => ({ pathRewrite: (_path, req) => void req.setEncoding(encoding) })],
  ['on.start', (encoding) => ({ on: { start: (req) => void req.setEncoding(encoding) } })],
  ['on.proxyReq', (encoding) => ({ on: { proxyReq: (_request, req) => void req.setEncoding(encoding) } })],
];

const WAYS: [string, SseProxyOptions][] = [
  ['piped', {}],
  ['limited', { limits: { requestBody: LARGE.length } }],
  ['tried again', { retry: AT_ONCE }],
  ['redirected', { followRedirects: true, retry: AT_ONCE }],
];

describe.each(ENCODINGS)('a request with setEncoding(%s)', (encoding) => {
  async function expectBytes(proxy: { url: string }, bodies: Buffer[], body: Buffer): Promise<void> {
    const length = { 'content-length': String(body.length) };
    for (const headers of [length, { 'transfer-encoding': 'chunked' }]) {
      bodies.length = 0;
      const req = openRequest(proxy.url, { method: 'POST', headers });
      writeSplit(req, body);
      (await responseTo(req)).resume();
      expect(bodies.length).toBeGreaterThan(0);
      for (const one of bodies) expect(one.equals(body)).toBe(true);
    }
  }

  describe.each(WAYS)('whose body is %s', (_way, options) => {
    it.each(MIDDLEWARE)('setEncoding: a request reaches the upstream in bytes: %s', async (_name, middleware) => {
      const { url, bodies } = await failing();
      const proxy = await proxyApp({ target: url, ...options }, (app) => app.use(middleware(encoding)));
      // What is no text is lost where it was decoded before the proxy saw it; and of these encodings the end as well.
      const isDecoded = _name.endsWith('later') && /^(utf|ascii|base64)/.test(encoding);
      const all = isDecoded ? (encoding === 'utf8' ? [TEXT] : [Buffer.from('no end')]) : [TEXT, BYTES, LARGE];
      for (const body of all) await expectBytes(proxy, bodies, body);
    });

    it.each(HOOKS)('setEncoding: a request reaches the upstream in bytes: %s', async (_name, hook) => {
      const { url, bodies } = await failing();
      const proxy = await proxyApp({ target: url, ...options, ...hook(encoding) });
      for (const body of [TEXT, BYTES, LARGE]) await expectBytes(proxy, bodies, body);
    });
  });

  it('setEncoding: a request is read and changed by a provider', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp(
      { provider: openai({ target: url, apiKey: 'key', includeUsage: true }), retry: AT_ONCE },
      (app) => app.use(MIDDLEWARE[0]?.[1](encoding) as RequestHandler),
    );
    const req = openRequest(`${proxy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    writeSplit(req, TEXT);
    (await responseTo(req)).resume();
    expect(JSON.parse(String(received[0]?.body))).toEqual({
      ...JSON.parse(String(TEXT)),
      stream_options: { include_usage: true },
    });
  });

  it('setEncoding: a request is limited by its bytes', async () => {
    const { url, received } = await recorder();
    const options = { target: url, limits: { requestBody: TEXT.length } };
    const proxy = await proxyApp(options, (app) => app.use(MIDDLEWARE[0]?.[1](encoding) as RequestHandler));
    for (const [body, status] of [
      [TEXT, 200],
      [Buffer.concat([TEXT, Buffer.from('x')]), 413],
    ] as const) {
      const req = openRequest(proxy.url, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
      writeSplit(req, body);
      const response = await responseTo(req);
      expect(response.statusCode).toBe(status);
      response.resume();
    }
    expect(received).toHaveLength(1);
  });

  it('setEncoding: a request is text for who reads it beside the proxy', async () => {
    const { url, received } = await recorder();
    const { promise, resolve } = signal<string>();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE }, (app) =>
      app.use((req, _res, next) => {
        let text = '';
        req.setEncoding(encoding);
        req.on('data', (chunk: string) => {
          text += chunk;
        });
        req.on('end', () => resolve(text));
        next();
      }),
    );
    const req = openRequest(proxy.url, { method: 'POST' });
    req.flushHeaders();
    await until(() => proxy.proxy.active === 1);
    await turns(20);
    writeSplit(req, BYTES);
    (await responseTo(req)).resume();
    expect(await promise).toBe(asText(BYTES, encoding));
    expect(received[0]?.body.equals(BYTES)).toBe(true);
  });

  it('setEncoding: a request may have been read by hand', async () => {
    const bodies: Buffer[] = [];
    for (const name of ['rawBody', 'body']) {
      const { url, received } = await recorder();
      const proxy = await proxyApp({ target: url }, (app) =>
        app.use(async (req, _res, next) => {
          let text = '';
          req.setEncoding(encoding);
          for await (const chunk of req) text += chunk;
          Object.assign(req, { [name]: text });
          next();
        }),
      );
      const body = encoding === 'ascii' ? Buffer.from('text') : Buffer.from('zażółć');
      const headers = { 'content-type': 'text/plain' };
      await exchange(proxy.url, { method: 'POST', headers, body });
      bodies.push(received[0]?.body ?? Buffer.alloc(0));
      expect(bodies.at(-1)?.equals(body)).toBe(true);
    }
  });

  it('setEncoding: a request over HTTP/2', async () => {
    const { url, received } = await recorder();
    const { cert } = await certificate();
    const proxy = createSseProxy({ target: url, retry: AT_ONCE });
    const port = await listenHttp2((req, res) => {
      req.setEncoding(encoding);
      void proxy(req, res);
    });
    const session = http2.connect(`https://localhost:${port}`, { ca: cert });
    onCleanUp(() => session.destroy());
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    writeSplit(stream, BYTES);
    expect((await closing(stream)).body).toBe('ok');
    expect(received[0]?.body.equals(BYTES)).toBe(true);
  });

  it('setEncoding: a request is the app’s as it was where the proxy leaves it to the app', async () => {
    const proxy = await proxyApp({ target: 'http://127.0.0.1:9', pathFilter: '/ai' }, (app) =>
      app.use(MIDDLEWARE[0]?.[1](encoding) as RequestHandler),
    );
    proxy.app.use(async (req, res) => {
      let text = '';
      for await (const chunk of req) text += chunk;
      res.end(text);
    });
    const { body } = await exchange(`${proxy.url}/other`, { method: 'POST', body: TEXT });
    expect(body).toBe(asText(TEXT, encoding));
  });
});

it('setEncoding: a request with an encoding is streamed where a provider finds it too large to be changed', async () => {
  const { url, received } = await recorder();
  const large = Buffer.concat([Buffer.from('{"stream":true,"x":"'), Buffer.alloc(11_000_000, 'ż'), Buffer.from('"}')]);
  const proxy = await proxyApp({ provider: openai({ target: url, apiKey: 'key', includeUsage: true }) }, (app) =>
    app.use(MIDDLEWARE[0]?.[1]('utf8') as RequestHandler),
  );
  const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
  const req = openRequest(`${proxy.url}/v1/chat/completions`, { method: 'POST', headers });
  req.end(large);
  (await responseTo(req)).resume();
  expect(received[0]?.body.equals(large)).toBe(true);
});

it('setEncoding: a request part of which was decoded before the proxy saw it reaches the upstream whole', async () => {
  const { url, received } = await recorder();
  const body = Buffer.from('🙂 zażółć 🙂');
  for (const split of [1, 3, 5, 8]) {
    const seen = signal();
    const proxy = await proxyApp({ target: url }, (app) =>
      app.use((req, _res, next) => {
        req.setEncoding('utf8');
        void seen.promise.then(() => next());
      }),
    );
    const req = openRequest(proxy.url, { method: 'POST', headers: { 'content-length': String(body.length) } });
    req.write(body.subarray(0, split));
    await once(proxy.server, 'request');
    await turns(20);
    seen.resolve();
    await until(() => proxy.proxy.active === 1);
    await turns(20);
    req.end(body.subarray(split));
    (await responseTo(req)).resume();
    expect(received.pop()?.body.toString()).toBe(String(body));
  }
});

it.each<[string, (req: IncomingMessage) => void]>([
  ['as soon as it has handed it on', (req) => void req.setEncoding('utf8')],
  ['when it is being sent', (req) => void req.once('data', () => req.setEncoding('utf8'))],
])(
  'setEncoding: a request whose encoding middleware sets %s is sent, limited and tried again',
  async (_name, setEncoding) => {
    const { url, bodies } = await failing();
    const proxy = await proxyApp({ target: url, retry: AT_ONCE, limits: { requestBody: LARGE.length } }, (app) =>
      app.use((req, _res, next) => {
        next();
        setEncoding(req);
      }),
    );
    const body = Buffer.concat([TEXT, TEXT, TEXT]);
    const req = openRequest(proxy.url, { method: 'POST' });
    req.flushHeaders();
    await until(() => proxy.proxy.active === 1);
    await turns(20);
    writeSplit(req, body, 16);
    (await responseTo(req)).resume();
    expect(bodies.map(String)).toEqual([String(body), String(body)]);
  },
);

it('setEncoding: a listener of a request that throws ends the exchange, and not the process', async () => {
  const { url } = await upstream((req) => void req.resume());
  const proxy = await proxyApp({ target: url, logger: { info() {}, warn() {}, error() {} } }, (app) =>
    app.use((req, _res, next) => {
      req.setEncoding('utf8');
      req.on('data', () => {
        throw new Error('of a listener');
      });
      next();
    }),
  );
  const req = openRequest(proxy.url, { method: 'POST' });
  req.flushHeaders();
  await until(() => proxy.proxy.active === 1);
  await turns(20);
  req.write('x');
  expect((await responseTo(req)).statusCode).toBe(500);
  expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED' } });
});

// --- responses --------------------------------------------------------------------------------------------------------

type Read = (response: IncomingMessage, log: (chunk: unknown) => void, encoding: BufferEncoding) => void;

const READS: [string, Read][] = [
  ['data', (response, log, encoding) => void response.setEncoding(encoding).on('data', log)],
  [
    'data, and setEncoding behind it',
    (response, log, encoding) => {
      response.on('data', log);
      response.setEncoding(encoding);
    },
  ],
  [
    'once and on',
    (response, log, encoding) => {
      response.once('data', (chunk) => {
        log(chunk);
        response.on('data', log);
      });
      response.setEncoding(encoding);
    },
  ],
  ['setEncoding alone', (response, _log, encoding) => void response.setEncoding(encoding)],
  [
    'readable and read',
    (response, log, encoding) => {
      response.setEncoding(encoding);
      response.on('readable', () => {
        for (let chunk = response.read(); chunk !== null; chunk = response.read()) log(chunk);
      });
    },
  ],
  [
    'for await',
    async (response, log, encoding) => {
      response.setEncoding(encoding);
      for await (const chunk of response) log(chunk);
    },
  ],
  [
    'pipe',
    (response, log, encoding) => {
      response.setEncoding(encoding);
      response.pipe(new PassThrough({ encoding })).on('data', log);
    },
  ],
  [
    'later',
    async (response, log, encoding) => {
      await turns(1);
      response.setEncoding(encoding).on('data', log);
    },
  ],
  [
    'paused',
    (response, log, encoding) => {
      response.setEncoding(encoding).on('data', log);
      response.pause();
    },
  ],
];

const EVENTS = Buffer.from(
  [1, 2, 3]
    .map((i) => `data: {"id":"${i}","choices":[{"index":0,"delta":{"content":"zażółć 🙂"}}]}\n\n`)
    .join('')
    .concat('data: [DONE]\n\n'),
);

describe.each(READS)('a response that a hook of on.proxyRes reads: %s', (name, read) => {
  interface Scene {
    type: string;
    body: Buffer;
    headers?: http.OutgoingHttpHeaders;
    options?: SseProxyOptions;
    /** Where the client does not get the very bytes of the upstream. */
    expected?: Buffer;
  }

  const SCENES: Record<string, Scene> = {
    bytes: { type: 'application/octet-stream', body: BYTES },
    'many bytes': { type: 'application/octet-stream', body: LARGE },
    'a length': { type: 'text/plain', body: BYTES, headers: { 'content-length': BYTES.length } },
    gzip: { type: 'text/plain', body: zlib.gzipSync(TEXT), headers: { 'content-encoding': 'gzip' } },
    events: { type: 'text/event-stream', body: EVENTS },
    'events behind their first': { type: 'text/event-stream', body: EVENTS, options: { commit: 'first-event' } },
    'compressed events behind their first': {
      type: 'text/event-stream',
      body: zlib.gzipSync(EVENTS),
      headers: { 'content-encoding': 'gzip' },
      options: { commit: 'first-event' },
      expected: EVENTS,
    },
    'transformed events': {
      type: 'text/event-stream',
      body: EVENTS,
      options: { transformEvent: (event) => event },
    },
    'transformed and compressed events': {
      type: 'text/event-stream',
      body: zlib.gzipSync(EVENTS),
      headers: { 'content-encoding': 'gzip' },
      options: { transformEvent: (event) => event },
      expected: EVENTS,
    },
    'masked text': {
      type: 'text/plain',
      body: TEXT,
      options: { provider: openai({ target: 'http://127.0.0.1:9', apiKey: 'sk-secret' }) },
    },
  };

  it.each(Object.entries(SCENES))(
    'setEncoding: a response that on.proxyRes reads %s',
    async (scene, { type, body, headers, options = {}, expected }) => {
      const masks = scene === 'masked text';
      const { url } = await upstream((_req, res) => {
        res.writeHead(masks ? 400 : 200, { 'content-type': type, ...headers });
        res.flushHeaders();
        writeSplit(res, body);
      });
      for (const encoding of ['utf8', 'latin1', 'hex', 'base64'] as const) {
        let log: unknown[] = [];
        const proxy = await proxyApp({
          ...options,
          target: url,
          timeouts: { idle: 3_000 },
          on: { proxyRes: (response) => read(response, (chunk) => void log.push(chunk), encoding) },
        });
        const response = await request(proxy.url);
        expect((await readAll(response)).equals(expected ?? body)).toBe(true);
        expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: (expected ?? body).length });
        log = log.filter((chunk) => chunk !== '');
        if (name === 'setEncoding alone' || name === 'later') continue;
        expect(new Set(log.map((chunk) => typeof chunk))).toEqual(new Set(['string']));
        // A pipe encodes text anew.
        if (name === 'pipe') continue;
        expect(log.join('')).toBe(asText(body, encoding));
      }
    },
  );

  it('setEncoding: a response that on.proxyRes reads over HTTP/2', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/octet-stream' });
      res.flushHeaders();
      writeSplit(res, BYTES);
    });
    const { session, summary } = await http2Proxy({
      target: url,
      on: { proxyRes: (response) => read(response, () => {}, 'utf8') },
    });
    const stream = session.request({ ':path': '/' });
    expect((await readAll(stream)).equals(BYTES)).toBe(true);
    expect((await summary).outcome).toBe('completed');
  });

  it('setEncoding: a response that on.proxyRes reads whose upstream breaks off', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain', 'content-length': '100' });
      res.write(TEXT.subarray(0, 50));
      setImmediate(() => res.destroy());
    });
    const proxy = await proxyApp({
      target: url,
      on: {
        proxyRes: async (response) => {
          response.on('error', () => {});
          try {
            await read(response, () => {}, 'utf8');
          } catch {
            // It is cut.
          }
        },
      },
    });
    const response = await request(proxy.url);
    const chunks: Buffer[] = [];
    response.on('data', (chunk) => chunks.push(chunk)).on('error', () => {});
    await new Promise((resolve) => response.once('close', resolve));
    expect(TEXT.subarray(0, 50).equals(Buffer.concat(chunks))).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });
});

describe('a response whose encoding is set', () => {
  it.each<[string, NonNullable<SseProxyOptions['on']>]>([
    ['by a listener of the request to the upstream', { proxyReq: (proxyReq) => void proxyReq.once('response', log) }],
    ['in front of httpxy', { proxyReq: (proxyReq) => void proxyReq.prependOnceListener('response', log) }],
  ])('setEncoding: a response whose encoding is set %s', async (_name, on) => {
    const { url } = await upstream((_req, res) => writeSplit(res, BYTES));
    const proxy = await proxyApp({ target: url, on });
    expect((await readAll(await request(proxy.url))).equals(BYTES)).toBe(true);
  });

  function log(response: IncomingMessage): void {
    response.setEncoding('utf8').on('data', () => {});
  }

  it('setEncoding: a response whose encoding is set by a plugin', async () => {
    const { url } = await upstream((_req, res) => writeSplit(res, BYTES));
    const proxy = await proxyApp({ target: url, plugins: [(server) => void server.on('proxyRes', log)] });
    expect((await readAll(await request(proxy.url))).equals(BYTES)).toBe(true);
  });

  it('setEncoding: a response whose encoding is set leaves piece by piece, as it comes, although a character is split', async () => {
    const emoji = Buffer.from('🙂');
    const { url, pieces } = await piecewise();
    const proxy = await proxyApp({ target: url, on: { proxyRes: log } });
    const client = reader(await request(proxy.url));
    for (let i = 0; i < emoji.length; i += 1) {
      (await pieces).write(emoji.subarray(i, i + 1));
      expect(await client.until(emoji.toString('latin1', i, i + 1))).toHaveLength(1);
    }
  });

  async function piecewise(): Promise<{ url: string; pieces: Promise<ServerResponse> }> {
    const { promise, resolve } = signal<ServerResponse>();
    const { url } = await upstream((_req, res) => resolve(eventStream(res)));
    return { url, pieces: promise };
  }

  it('setEncoding: a response whose encoding is set is text with selfHandleResponse', async () => {
    const { url } = await upstream((_req, res) => writeSplit(res, TEXT));
    const proxy = await proxyApp({
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: async (response, _req, res) => {
          let text = '';
          for await (const chunk of response.setEncoding('utf8')) text += chunk.toUpperCase();
          res.end(text);
        },
      },
    });
    expect((await exchange(proxy.url)).body).toBe(String(TEXT).toUpperCase());
  });
});

describe('a listener of a response that throws', () => {
  it.each<[string, (response: IncomingMessage) => void]>([
    ['at data', (response) => response.on('data', fail)],
    ['at data, in text', (response) => response.setEncoding('utf8').on('data', fail)],
    ['at end', (response) => response.on('end', fail)],
    ['at readable', (response) => response.on('readable', fail)],
  ])(
    'setEncoding: a listener of a response that throws ends the response, and not the process: %s',
    async (_name, listen) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/plain' });
        res.flushHeaders();
        setImmediate(() => res.end(TEXT));
      });
      const { logger, errors } = logbook();
      const proxy = await proxyApp({ target: url, logger, on: { proxyRes: (response) => void listen(response) } });
      const response = await request(proxy.url);
      response.on('error', () => {}).resume();
      await new Promise((resolve) => response.once('close', resolve));
      expect(await proxy.summary()).toMatchObject({ error: { code: 'HOOK_FAILED' } });
      expect(errors).toEqual([expect.stringContaining('a listener of a body failed: Error: of a listener')]);
      expect(proxy.proxy.active).toBe(0);
    },
  );

  it.each<[string, (response: IncomingMessage) => void]>([
    ['at data', (response) => response.on('data', failLater)],
    ['at data, in text', (response) => response.setEncoding('utf8').on('data', failLater)],
  ])(
    'setEncoding: an async listener that rejects ends the response, and not the process: %s',
    async (_name, listen) => {
      const { url } = await upstream((_req, res) => {
        // It does not end.
        eventStream(res).write('data: 1\n\n');
      });
      const { logger, errors } = logbook();
      const proxy = await proxyApp({ target: url, logger, on: { proxyRes: (response) => void listen(response) } });
      const response = await request(proxy.url);
      response.on('error', () => {}).resume();
      await new Promise((resolve) => response.once('close', resolve));
      expect(await proxy.summary()).toMatchObject({ error: { code: 'HOOK_FAILED', hook: 'a listener of a body' } });
      expect(errors).toEqual([expect.stringContaining('a listener of a body failed: Error: of a listener')]);
    },
  );

  it('setEncoding: an async listener that rejects when the response has ended is told of, and does not end the process', async () => {
    const { url } = await upstream((_req, res) => res.end(TEXT));
    const { logger, errors } = logbook();
    const done = signal();
    const on: SseProxyOptions['on'] = {
      proxyRes: (response) => {
        response.on('end', async () => {
          await done.promise;
          throw new Error('of a listener');
        });
      },
    };
    const proxy = await proxyApp({ target: url, logger, on });
    expect((await exchange(proxy.url)).body).toBe(String(TEXT));
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed' });
    done.resolve();
    await turns();
    expect(errors).toEqual([expect.stringContaining('a listener of a body failed: Error: of a listener')]);
  });

  it.each<[string, NonNullable<SseProxyOptions['on']>]>([
    ['the response', { proxyRes: (response) => void response.pipe(fullDisk()) }],
    ['the request', { proxyReq: (_request, req) => void req.pipe(fullDisk()) }],
  ])('setEncoding: a stream that a hook pipes %s into, and that fails, does not end the process', async (_what, on) => {
    const { url } = await upstream((req, res) => {
      eventStream(res).write('data: 1\n\n');
      req.resume();
    });
    const { logger, errors } = logbook();
    const proxy = await proxyApp({ target: url, logger, on });
    const client = openRequest(proxy.url, { method: 'POST' }).end('a body');
    client.on('response', (response) => response.on('error', () => {}).resume());
    client.on('error', () => {});
    expect(await proxy.summary()).toMatchObject({ error: { code: 'HOOK_FAILED', hook: 'a listener of a body' } });
    expect(errors).toEqual([expect.stringContaining('a listener of a body failed: Error: the disk is full')]);
  });

  const fullDisk = (): Writable =>
    new Writable({ write: (_chunk, _encoding, done) => done(new Error('the disk is full')) });

  function fail(): void {
    throw new Error('of a listener');
  }

  async function failLater(): Promise<void> {
    fail();
  }
});

it('setEncoding: HPM passes such a response on, too, where it is text', async () => {
  const { url } = await upstream((_req, res) => writeSplit(res, TEXT));
  for (const [name, read] of READS) {
    const { url: reference } = await hpmApp({ target: url, on: { proxyRes: (res) => read(res, () => {}, 'utf8') } });
    expect([name, (await exchange(reference)).body]).toEqual([name, String(TEXT)]);
  }
});

it('setEncoding without hooks nothing is put on a message', async () => {
  const { url } = await recorder();
  const seen: unknown[] = [];
  const proxy = createSseProxy({ target: url });
  const server = http.createServer((req, res) => {
    void proxy(req, res).then(() => seen.push(Object.hasOwn(req, 'emit'), Object.hasOwn(req, 'setEncoding')));
  });
  const port = await listen(server);
  await exchange(`http://127.0.0.1:${port}`, { method: 'POST', body: 'x' });
  await until(() => seen.length === 2);
  expect(seen).toEqual([false, false]);
});
