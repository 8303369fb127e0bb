import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { Express, Response } from 'express';
import { keepAliveAgent, readAll, reader, readText, readUntilCut, request } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { type ProxyUnderTest, proxyApp, proxyTo } from '../../support/servers/proxies.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { signal } from '../../support/watch/wait.js';

afterEach(closeAll);

const GZIP = { 'accept-encoding': 'gzip' };

/** An upstream whose next response the test holds, behind an app. */
async function held(
  before?: (app: Express) => void,
): Promise<{ proxy: ProxyUnderTest; response: Promise<ServerResponse> }> {
  const { promise, resolve } = signal<ServerResponse>();
  const { url } = await upstream((_req, res) => resolve(res));
  return { proxy: await proxyApp({ target: url }, before), response: promise };
}

const serve = (listener: RequestListener, before?: (app: Express) => void): Promise<ProxyUnderTest> =>
  proxyTo(listener, {}, before);

describe.each([
  ['compression()', {}],
  ['compression() with a filter of its own', { filter: () => true, threshold: 0 }],
])('behind %s', (_name, options) => {
  const withCompression = (app: Express): void => {
    app.use(compression(options));
  };

  it('behind compression(): an event stream passes as it is, event by event', async () => {
    const { proxy, response } = await held(withCompression);
    const coming = request(proxy.url, { headers: GZIP });
    const res = eventStream(await response);
    expect((await coming).headers['content-encoding']).toBeUndefined();
    const events = reader(await coming);
    for (let i = 0; i < 10; i += 1) {
      res.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it.each(['application/x-ndjson', 'application/jsonl', 'application/stream+json'])(
    'behind compression(): %s passes as it is, line by line',
    async (type) => {
      const { proxy, response } = await held(withCompression);
      const coming = request(proxy.url, { headers: GZIP });
      const res = (await response).writeHead(200, { 'content-type': type });
      res.flushHeaders();
      const events = reader(await coming);
      expect((await coming).headers['content-encoding']).toBeUndefined();
      for (let i = 0; i < 3; i += 1) {
        res.write(`{"i":${i}}\n`);
        expect(await events.until('\n')).toBe(`{"i":${i}}\n`);
      }
      res.end();
    },
  );

  it('behind compression(): an event stream with cache directives of its own passes as it is', async () => {
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'No-Cache, No-Transform' });
      res.end(`data: ${'x'.repeat(5_000)}\n\n`);
    }, withCompression);
    const response = await request(proxy.url, { headers: GZIP });
    expect(response.headers['content-encoding']).toBeUndefined();
    expect(await readText(response)).toBe(`data: ${'x'.repeat(5_000)}\n\n`);
  });

  it('behind compression(): JSON is compressed', async () => {
    const json = JSON.stringify({ text: 'again and again '.repeat(500) });
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': json.length, vary: 'Origin' });
      res.end(json);
    }, withCompression);
    const response = await request(proxy.url, { headers: GZIP });
    expect(response.headers).toMatchObject({ 'content-encoding': 'gzip', vary: 'Origin, Accept-Encoding' });
    expect(response.headers['content-length']).toBeUndefined();
    expect(zlib.gunzipSync(await readAll(response)).toString()).toBe(json);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: json.length });
  });

  it('behind compression(): JSON that the upstream has compressed is not compressed again', async () => {
    const json = JSON.stringify({ text: 'again and again '.repeat(500) });
    const zipped = zlib.gzipSync(json);
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(zipped);
    }, withCompression);
    const response = await request(proxy.url, { headers: GZIP });
    expect(response.headers['content-encoding']).toBe('gzip');
    expect((await readAll(response)).equals(zipped)).toBe(true);
  });

  it('behind compression(): a compressed body that breaks off does not look whole', async () => {
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.write('{"a":"'.padEnd(5_000, 'x'), () => res.destroy());
    }, withCompression);
    const { cut } = await readUntilCut(await request(proxy.url, { headers: GZIP }));
    expect(cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it.each(['gzip', 'br'])(
    'behind compression(): the head of a body that is compressed with %s does not wait for it',
    async (coding) => {
      const { proxy, response } = await held(withCompression);
      const coming = request(proxy.url, { headers: { 'accept-encoding': coding } });
      // The head and the first chunk in one packet; no compressor gives anything for so little.
      const res = (await response).writeHead(200, { 'content-type': 'application/json' });
      res.write('{"first":');
      const { headers } = await coming;
      expect(headers['content-encoding']).toBe(coding);
      res.end('true}');
      const decode = coding === 'br' ? zlib.brotliDecompressSync : zlib.gunzipSync;
      expect(decode(await readAll(await coming)).toString()).toBe('{"first":true}');
    },
  );

  it('behind compression(): a large compressible body goes at the pace of its reader', async () => {
    const text = Buffer.alloc(8 * 1024 * 1024, 'all work and no play ');
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' }).end(text);
    }, withCompression);
    const response = await request(proxy.url, { headers: GZIP });
    const unzipped = await readAll(response.pipe(zlib.createGunzip()));
    expect(unzipped.equals(text)).toBe(true);
  });
});

describe('Cache-Control of an event stream', () => {
  it.each([
    [undefined, 'no-transform'],
    ['no-cache', 'no-cache, no-transform'],
    ['no-store, max-age=0', 'no-store, max-age=0, no-transform'],
    ['no-cache, no-transform', 'no-cache, no-transform'],
    ['no-transform,no-cache', 'no-transform,no-cache'],
    ['No-Transform', 'No-Transform, no-transform'],
    ['private="no-transform"', 'private="no-transform", no-transform'],
  ])('Cache-Control of an event stream: %s becomes %s', async (given, expected) => {
    const proxy = await serve((_req, res) => {
      if (given !== undefined) res.setHeader('cache-control', given);
      eventStream(res).end();
    });
    const response = await request(proxy.url);
    expect(response.headers['cache-control']).toBe(expected);
    await readAll(response);
  });

  it('Cache-Control of an event stream: keeps the lines and the directives that the app has set', async () => {
    const proxy = await serve(
      (_req, res) => eventStream(res.setHeader('cache-control', 'public')).end(),
      (app) => {
        app.use((_req, res, next) => {
          res.setHeader('Cache-Control', ['no-store', 'private']);
          next();
        });
      },
    );
    const response = await request(proxy.url);
    expect(response.headers['cache-control']).toBe('no-store, private, no-transform');
    await readAll(response);
  });

  it('Cache-Control of anything but an event stream: is left alone', async () => {
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'max-age=5' }).end('{}');
    });
    const response = await request(proxy.url);
    expect(response.headers['cache-control']).toBe('max-age=5');
    expect(response.headers['x-accel-buffering']).toBeUndefined();
    await readAll(response);
  });
});

describe('res.flush, where some middleware has added it', () => {
  const withFlush =
    (flush: () => void) =>
    (app: Express): void => {
      app.use((_req, res, next) => {
        Object.assign(res, { flush });
        next();
      });
    };

  it('res.flush of middleware: is called after the head and after each chunk of an event stream', async () => {
    let flushed = 0;
    const { proxy, response } = await held(withFlush(() => (flushed += 1)));
    const coming = request(proxy.url);
    const res = eventStream(await response);
    const events = reader(await coming);
    expect(flushed).toBe(1);
    for (let i = 2; i < 6; i += 1) {
      res.write(`data: ${i}\n\n`);
      await events.until('\n\n');
      expect(flushed).toBe(i);
    }
    res.end();
    await proxy.summary();
  });

  it('res.flush of middleware: is called on the response', async () => {
    const seen: unknown[] = [];
    const proxy = await serve(
      (_req, res) => eventStream(res).end('data: 1\n\n'),
      (app) => {
        app.use((_req, res, next) => {
          Object.assign(res, {
            flush(this: Response) {
              seen.push(this === res);
            },
          });
          next();
        });
      },
    );
    await readAll(await request(proxy.url));
    expect(new Set(seen)).toEqual(new Set([true]));
  });

  it('res.flush of middleware: is not called for other bodies', async () => {
    let flushed = 0;
    const proxy = await serve(
      (_req, res) => res.end('plain'),
      withFlush(() => (flushed += 1)),
    );
    await readAll(await request(proxy.url));
    expect(flushed).toBe(0);
  });

  it('res.flush of middleware: brings each event through a middleware that compresses all the same', async () => {
    const { proxy, response } = await held((app) => {
      app.use((_req, res, next) => {
        // What `compression` does, without heed of `no-transform`.
        const gzip = zlib.createGzip();
        const { write, end, writeHead } = res;
        gzip.on('data', (chunk) => Reflect.apply(write, res, [chunk]));
        gzip.on('end', () => Reflect.apply(end, res, []));
        Object.assign(res, {
          writeHead: (...args: unknown[]) => {
            res.setHeader('content-encoding', 'gzip');
            return Reflect.apply(writeHead, res, args);
          },
          write: (chunk: Buffer) => gzip.write(chunk),
          end: () => gzip.end(),
          flush: () => gzip.flush(),
        });
        next();
      });
    });
    const coming = request(proxy.url);
    const res = eventStream(await response);
    const events = reader((await coming).pipe(zlib.createGunzip()));
    for (let i = 0; i < 5; i += 1) {
      res.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});

interface Coding {
  coding: string;
  encoder: () => Transform & { flush(callback: () => void): void };
  decoder: () => Transform;
  compress: (data: Buffer) => Buffer;
}

const CODINGS: Coding[] = [
  { coding: 'gzip', encoder: zlib.createGzip, decoder: zlib.createGunzip, compress: zlib.gzipSync },
  { coding: 'x-gzip', encoder: zlib.createGzip, decoder: zlib.createGunzip, compress: zlib.gzipSync },
  { coding: 'GZIP', encoder: zlib.createGzip, decoder: zlib.createGunzip, compress: zlib.gzipSync },
  { coding: 'deflate', encoder: zlib.createDeflate, decoder: zlib.createInflate, compress: zlib.deflateSync },
  {
    coding: 'br',
    encoder: zlib.createBrotliCompress,
    decoder: zlib.createBrotliDecompress,
    // The default takes seconds for what some tests compress.
    compress: (data) => zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
  },
];
// Node has it from 22.15 on, and notices a cut from 24 on: before, zstd passes undecoded.
if (typeof zlib.createZstdCompress === 'function' && Number.parseInt(process.versions.node, 10) >= 24) {
  CODINGS.push({
    coding: 'zstd',
    encoder: zlib.createZstdCompress,
    decoder: zlib.createZstdDecompress,
    compress: zlib.zstdCompressSync,
  });
}

describe.each(CODINGS)('an event stream that the upstream compresses with $coding', (codec) => {
  const { coding, encoder, decoder, compress } = codec;
  const HEAD = { 'content-type': 'text/event-stream', 'content-encoding': coding };
  const events = Buffer.from('data: 你好 🙂\n\ndata: 2\n\n'.repeat(300));

  /** The upstream's response, and a way to send an event of it so that it can be decoded at once. */
  async function compressing(
    headers: Record<string, string>,
  ): Promise<{ proxy: ProxyUnderTest; response: IncomingMessage; send(event: string): void; end(): void }> {
    const { proxy, response } = await held();
    const coming = request(proxy.url, { headers });
    const res = (await response).writeHead(200, HEAD);
    res.flushHeaders();
    const stream = encoder();
    stream.pipe(res);
    return {
      proxy,
      response: await coming,
      send(event) {
        stream.write(event);
        stream.flush(() => {});
      },
      end: () => stream.end(),
    };
  }

  it('compressed event stream: is decoded event by event for a client that does not accept it', async () => {
    const { proxy, response, send, end } = await compressing({});
    expect(response.headers['content-encoding']).toBeUndefined();
    expect(response.headers.vary).toBe('Accept-Encoding');
    expect(response.headers['cache-control']).toBe('no-transform');
    const decoded = reader(response);
    for (let i = 0; i < 10; i += 1) {
      send(`data: ${i}\n\n`);
      expect(await decoded.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('compressed event stream: passes as it is, event by event, to a client that accepts it', async () => {
    const { proxy, response, send, end } = await compressing({ 'accept-encoding': `identity, ${coding}` });
    expect(response.headers['content-encoding']).toBe(coding);
    const decoded = reader(response.pipe(decoder()));
    for (let i = 0; i < 5; i += 1) {
      send(`data: ${i}\n\n`);
      expect(await decoded.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('compressed event stream: is the very bytes of the upstream for a client that accepts it', async () => {
    const bytes = compress(events);
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { ...HEAD, 'content-length': bytes.length, vary: 'origin' }).end(bytes);
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': coding } });
    expect(response.headers).toMatchObject({ 'content-length': String(bytes.length), vary: 'origin' });
    expect((await readAll(response)).equals(bytes)).toBe(true);
  });

  it('compressed event stream: loses its Content-Length with its coding', async () => {
    const bytes = compress(events);
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { ...HEAD, 'content-length': bytes.length, vary: 'origin' }).end(bytes);
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': `${coding};q=0` } });
    expect(response.headers['content-length']).toBeUndefined();
    expect(response.headers['content-encoding']).toBeUndefined();
    expect(response.headers.vary).toBe('origin, Accept-Encoding');
    expect((await readAll(response)).equals(events)).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: events.length });
  });

  it('compressed event stream: is decoded whatever the chunks', async () => {
    const bytes = compress(events);
    const proxy = await serve((_req, res) => {
      res.writeHead(200, HEAD);
      const sendFrom = (i: number): void => {
        if (i === bytes.length) res.end();
        else res.write(bytes.subarray(i, i + 1), () => sendFrom(i + 1));
      };
      sendFrom(0);
    });
    expect((await readAll(await request(proxy.url))).equals(events)).toBe(true);
  });

  it('compressed event stream: does not look whole where it ends too early', async () => {
    const bytes = compress(events);
    const proxy = await serve((_req, res) => {
      res.writeHead(200, HEAD).end(bytes.subarray(0, bytes.length - 5));
    });
    const { cut } = await readUntilCut(await request(proxy.url));
    expect(cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('compressed event stream: does not look whole where the upstream dies, and keeps what had come', async () => {
    const { proxy, response } = await held();
    const coming = request(proxy.url);
    const res = (await response).writeHead(200, HEAD);
    res.flushHeaders();
    const stream = encoder();
    stream.pipe(res);
    stream.write('data: 1\n\n');
    stream.flush(() => {});
    const client = await coming;
    const [first] = (await once(client, 'data')) as [Buffer];
    res.destroy();
    const { body, cut } = await readUntilCut(client);
    expect(Buffer.concat([first, body]).toString()).toBe('data: 1\n\n');
    expect(cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('compressed event stream: does not look whole where it is corrupt', async () => {
    const { proxy, response } = await held();
    const coming = request(proxy.url);
    const res = (await response).writeHead(200, HEAD);
    const stream = encoder();
    stream.pipe(res, { end: false });
    stream.write('data: 1\n\n');
    stream.flush(() => {});
    const client = await coming;
    await once(client, 'data');
    res.end(Buffer.alloc(1_000, 0xff));
    const { cut } = await readUntilCut(client);
    expect(cut).toBe(true);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'upstream-truncated',
      error: expect.objectContaining({ code: 'UPSTREAM_TRUNCATED' }),
    });
  });

  it('compressed event stream: does not look whole where it was never compressed', async () => {
    const proxy = await serve((_req, res) => {
      res.writeHead(200, HEAD).end('data: plain text, whatever the head says\n\n'.repeat(50));
    });
    const { body, cut } = await readUntilCut(await request(proxy.url));
    expect(body.toString()).not.toContain('plain');
    expect(cut).toBe(true);
  });

  it('compressed event stream: has no body to decode in answer to HEAD', async () => {
    const proxy = await serve((_req, res) => res.writeHead(200, HEAD).end());
    const response = await request(proxy.url, { method: 'HEAD' });
    expect(response.headers['content-encoding']).toBe(coding);
    await readAll(response);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it.each([204, 304])('compressed event stream: has no body to decode in a %i', async (status) => {
    const proxy = await serve((_req, res) => res.writeHead(status, HEAD).end());
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(status);
    await readAll(response);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('compressed event stream: is decoded at the pace of the client, however much comes out', async () => {
    const size = 32 * 1024 * 1024;
    const bomb = compress(Buffer.alloc(size));
    let written = 0;
    const proxy = await serve(
      (req, res) => {
        if (req.url === '/other') res.end();
        else res.writeHead(200, HEAD).end(bomb);
      },
      (app) => {
        app.use((_req, res, next) => {
          const { write } = res;
          res.write = (...args: unknown[]) => {
            written += (args[0] as Buffer).length;
            return Reflect.apply(write, res, args) as boolean;
          };
          next();
        });
      },
    );
    const response = await request(proxy.url);
    const agent = keepAliveAgent(1);
    // Nothing is read: sooner or later nothing moves any more.
    for (let before = -1; before !== written; ) {
      before = written;
      for (let i = 0; i < 30; i += 1) await readAll(await request(`${proxy.url}/other`, { agent }));
    }
    expect(written).toBeLessThan(size * 0.75);
    expect(await readAll(response)).toHaveLength(size);
  });

  it('compressed event stream that its reader leaves is given up, upstream too', async () => {
    const closed = signal();
    const proxy = await serve((_req, res) => {
      res.once('close', closed.resolve);
      const stream = encoder();
      stream.pipe(res.writeHead(200, HEAD));
      stream.write('data: 1\n\n');
      stream.flush(() => {});
    });
    const response = await request(proxy.url);
    await once(response, 'data');
    response.destroy();
    await closed.promise;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});

describe('a coding', () => {
  it.each(['identity', 'compress', 'gzip, br', 'unheard-of'])(
    'content coding that cannot be undone passes: %s',
    async (coding) => {
      const proxy = await serve((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': coding }).end('bytes');
      });
      const response = await request(proxy.url);
      expect(response.headers['content-encoding']).toBe(coding);
      expect(await readText(response)).toBe('bytes');
    },
  );

  it('content coding of no bytes at all needs no decoding', async () => {
    const proxy = await serve((_req, res) => {
      res
        .writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip', 'content-length': 0 })
        .end();
    });
    expect(await readAll(await request(proxy.url))).toHaveLength(0);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('content coding of anything but an event stream passes, whatever the client accepts', async () => {
    const bytes = zlib.gzipSync('{"a":1}');
    const proxy = await serve((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bytes);
    });
    const response = await request(proxy.url);
    expect(response.headers['content-encoding']).toBe('gzip');
    expect((await readAll(response)).equals(bytes)).toBe(true);
  });

  it.each([
    ['text/event-stream', 'identity'],
    ['application/json, Text/Event-Stream;q=0.9', 'identity'],
    ['application/x-ndjson', 'identity'],
    ['application/json', 'gzip, br'],
    ['*/*', 'gzip, br'],
  ])('content coding: is asked of the upstream for Accept: %s as %s', async (accept, expected) => {
    const asked = signal<string | string[] | undefined>();
    const proxy = await serve((req, res) => {
      asked.resolve(req.headers['accept-encoding']);
      res.end();
    });
    const response = await request(proxy.url, { headers: { accept, 'accept-encoding': 'gzip, br' } });
    await readAll(response);
    expect(await asked.promise).toBe(expected);
  });
});

it('compression(): a stream that was decoded is not compressed again by compression()', async () => {
  const events = 'data: 1\n\n'.repeat(1_000);
  const proxy = await serve(
    (_req, res) => {
      res
        .writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'br' })
        .end(zlib.brotliCompressSync(events));
    },
    (app) => {
      app.use(compression());
    },
  );
  const client = await rawClient(proxy.port);
  client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n');
  const { text } = await client.end();
  expect(text).not.toMatch(/content-encoding/i);
  expect(text).toContain('data: 1\n\ndata: 1\n\n');
});
