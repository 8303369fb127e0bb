/** `selfHandleResponse`: responses that are the user's to send, where their upstream dies or their client leaves. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough, Transform } from 'node:stream';
import { createGunzip, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { responseInterceptor, type SseProxyOptions } from '../../../lib/index.js';
import { proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const INTERCEPTOR = responseInterceptor(async (buffer) => `<${buffer}>`);

describe('selfHandleResponse with responseInterceptor', () => {
  it.each([
    ['plain', {}, Buffer.from('half')],
    ['gzip', { 'content-encoding': 'gzip' }, gzipSync('a text that is whole').subarray(0, 15)],
  ])(
    'selfHandleResponse: responseInterceptor does not answer a response that broke off as if it were whole: %s',
    async (_coding, head, half) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/plain', ...head }).write(half, () => res.destroy());
      });
      const options = { target: url, selfHandleResponse: true, on: { proxyRes: INTERCEPTOR } } as SseProxyOptions;
      const { ask, summary, proxy } = await proxyIn('HTTP/1.1', options);
      const answer = await ask();
      expect(answer.status).toBe(502);
      await answer.ended();
      expect(['upstream-truncated', 'upstream-error']).toContain((await summary()).outcome);
      expect(proxy.active).toBe(0);
    },
  );

  it('selfHandleResponse: responseInterceptor answers a whole response', async () => {
    const { url } = await upstream((_req, res) => res.end('whole'));
    const options = { target: url, selfHandleResponse: true, on: { proxyRes: INTERCEPTOR } } as SseProxyOptions;
    const { ask, summary } = await proxyIn('HTTP/1.1', options);
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([200, '<whole>']);
    expect((await summary()).outcome).toBe('completed');
  });
});

const refused = async (): Promise<string> => {
  throw new Error('refused by the interceptor');
};

const failingTransform = (): Transform =>
  new Transform({ transform: (_chunk, _encoding, done) => done(new Error('refused by the transform')) });

type ProxyRes = (response: IncomingMessage, req: IncomingMessage, res: ServerResponse) => void;

/** What goes wrong in whoever is to answer, before the head was sent. */
const FAILING: [name: string, coding: string | undefined, answer: ProxyRes][] = [
  ['is a responseInterceptor that rejects', undefined, responseInterceptor(refused)],
  ['is a responseInterceptor that rejects, of a body in gzip', 'gzip', responseInterceptor(refused)],
  [
    'is a responseInterceptor that returns nothing',
    undefined,
    responseInterceptor((async () => undefined) as unknown as typeof refused),
  ],
  [
    'throws at the end of the body',
    undefined,
    (response) =>
      void response.resume().on('end', () => {
        throw new Error('refused at the end');
      }),
  ],
  [
    'pipes the body through a transform that fails',
    undefined,
    (response, _req, res) => void response.pipe(failingTransform()).pipe(res),
  ],
  [
    'pipes the body through a transform that fails behind a decoder',
    'gzip',
    (response, _req, res) => void response.pipe(createGunzip()).pipe(failingTransform()).pipe(res),
  ],
  [
    'rejects in the middle of the body',
    undefined,
    (response) =>
      void response.on('data', async () => {
        throw new Error('refused in the middle');
      }),
  ],
];

describe.each(VERSIONS)('selfHandleResponse that fails, for a client of %s', (version) => {
  it.each(FAILING)(
    'selfHandleResponse: the exchange fails, and not the process, where the listener %s',
    async (_name, coding, proxyRes) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, {
          'content-type': 'text/plain',
          'cache-control': 'max-age=60',
          ...(coding && { 'content-encoding': coding }),
        });
        res.end(coding === undefined ? 'whole' : gzipSync('whole'));
      });
      const logged = new Queue<string>();
      const logger = { info() {}, warn() {}, error: (line: string) => logged.push(line) };
      const { ask, summary, proxy } = await proxyIn(version, {
        target: url,
        selfHandleResponse: true,
        logger,
        on: { proxyRes },
      });
      const answer = await ask();
      const { text } = await answer.ended();
      expect([answer.status, answer.headers.etag]).toEqual([502, undefined]);
      expect(JSON.parse(text)).toMatchObject({ error: { code: 'HOOK_FAILED' } });
      expect(await summary()).toMatchObject({ outcome: 'failed', statusCode: 502, error: { hook: 'on.proxyRes' } });
      expect(await logged.next()).toContain('on.proxyRes failed');
      expect(proxy.active).toBe(0);
    },
  );

  it('selfHandleResponse: an answer that the listener has begun is cut where it throws', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (response, _req, res) => {
          response.on('data', (chunk: Buffer) => {
            if (chunk.includes('bad')) throw new Error('refused');
            res.write(chunk);
          });
        },
      },
    });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write('data: a\n\n');
    const answer = await asked;
    await answer.until('data: a\n\n');
    res.write('data: bad\n\n');
    expect(await answer.ended()).toMatchObject({ cut: true, text: 'data: a\n\n' });
    expect((await summary()).error).toMatchObject({ code: 'HOOK_FAILED', hook: 'on.proxyRes' });
  });

  it.each<[string, ProxyRes]>([
    ['responseInterceptor', INTERCEPTOR],
    ['a listener that listens for no error', (response, _req, res) => void response.pipe(createGunzip()).pipe(res)],
  ])('selfHandleResponse: a body that is not in its Content-Encoding is no answer: %s', async (_name, proxyRes) => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-encoding': 'gzip' }).end('this is not gzip');
    });
    const { ask, summary, proxy } = await proxyIn(version, { target: url, selfHandleResponse: true, on: { proxyRes } });
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([502, expect.stringContaining('UPSTREAM_TRUNCATED')]);
    expect(await summary()).toMatchObject({ outcome: 'upstream-truncated', statusCode: 502 });
    expect(proxy.active).toBe(0);
  });

  it('selfHandleResponse: a stream that outlives the body, and one whose failure is listened for, are left alone', async () => {
    const { url } = await upstream((_req, res) => res.end('whole'));
    const failures = new Queue<Error>();
    const log = new PassThrough();
    const { emit } = log;
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (response, _req, res) => {
          response.pipe(log, { end: false });
          response.pipe(failingTransform()).on('error', (error) => {
            failures.push(error);
            res.end('answered all the same');
          });
        },
      },
    });
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([200, 'answered all the same']);
    expect((await failures.next()).message).toBe('refused by the transform');
    expect((await summary()).outcome).toBe('completed');
    expect(log.emit).toBe(emit);
  });

  it('selfHandleResponse: a decoder that reads beside the answer may fail', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-encoding': 'gzip' }).end('this is not gzip');
    });
    const failures = new Queue<Error>();
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (response, _req, res) => {
          response.pipe(createGunzip()).on('error', (error) => failures.push(error));
          response.pipe(res);
        },
      },
    });
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([200, 'this is not gzip']);
    expect((await summary()).outcome).toBe('completed');
    expect((await failures.next()).message).toContain('header');
  });
});

/** What may answer in the place of the proxy, what the client reads then, and the bytes of that body. */
const ANSWERERS: [
  name: string,
  answer: (response: IncomingMessage, req: IncomingMessage, res: ServerResponse) => void,
  text: string,
  bytes: number,
][] = [
  ['pipes', (response, _req, res) => void response.pipe(res), 'whole', 5],
  [
    'is a responseInterceptor',
    INTERCEPTOR as (response: IncomingMessage, req: IncomingMessage, res: ServerResponse) => void,
    '<whole>',
    7,
  ],
  [
    'writes and ends, in several encodings',
    (response, _req, res) => {
      response.resume().once('end', () => {
        res.write('\u00e9', 'latin1');
        res.write(new Uint8Array([0x62]));
        res.end('YyE=', 'base64');
      });
    },
    '\ufffdbc!',
    4,
  ],
  [
    'ends only',
    (response, _req, res) => {
      response.resume().once('end', () => void res.end('whole'));
    },
    'whole',
    5,
  ],
];

describe.each(VERSIONS)('selfHandleResponse, for a client of %s', (version) => {
  it.each(ANSWERERS)(
    'selfHandleResponse: the summary says what was sent, by a listener that %s',
    async (_name, answer, text, size) => {
      const { url } = await upstream((_req, res) => res.writeHead(203).end('whole'));
      const { ask, summary } = await proxyIn(version, {
        target: url,
        selfHandleResponse: true,
        on: { proxyRes: answer },
      });
      const got = await ask();
      expect((await got.ended()).text).toBe(text);
      const { outcome, statusCode, bytes, attempts, timings } = await summary();
      expect({ outcome, statusCode, bytes }).toEqual({
        outcome: 'completed',
        statusCode: got.status,
        bytes: size,
      });
      expect(attempts).toEqual([{ target: url, statusCode: 203, duration: expect.any(Number) }]);
      expect(timings.headers).toBeGreaterThan(0);
    },
  );

  it.each([
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ])('selfHandleResponse: the summary counts no body for a %s that is answered with %d', async (method, status) => {
    const { url } = await upstream((_req, res) => res.writeHead(status).end());
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (response, _req, res) => {
          res.statusCode = response.statusCode ?? 0;
          res.end('a body that nobody gets');
        },
      },
    });
    expect((await (await ask({ method })).ended()).text).toBe('');
    const { statusCode, bytes, attempts } = await summary();
    expect({ statusCode, bytes }).toEqual({ statusCode: status, bytes: 0 });
    expect(attempts).toMatchObject([{ statusCode: status }]);
  });

  it('selfHandleResponse: the summary of an answer that broke off has the bytes that were sent, and the status of the attempt', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: { proxyRes: (response, _req, res) => void response.pipe(res) },
    });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write('data: a\n\n');
    const answer = await asked;
    await answer.until('data: a\n\n');
    res.destroy();
    expect((await answer.ended()).cut).toBe(true);
    const { outcome, bytes, attempts } = await summary();
    expect({ outcome, bytes }).toEqual({ outcome: 'upstream-truncated', bytes: 9 });
    expect(attempts).toMatchObject([{ statusCode: 200, error: 'UPSTREAM_TRUNCATED' }]);
  });

  it("selfHandleResponse: the bytes of a response of the proxy's own are not those of the listener", async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200).write('half', () => res.destroy());
    });
    const { ask, summary } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: { proxyRes: INTERCEPTOR },
    });
    const answer = await ask();
    await answer.ended();
    const { statusCode, bytes } = await summary();
    expect({ statusCode, bytes }).toEqual({ statusCode: 502, bytes: 0 });
  });

  it.each<[string, (response: IncomingMessage, res: ServerResponse) => void]>([
    [
      'setHeader',
      ({ headers }, res) => {
        for (const [name, value] of Object.entries(headers)) if (value !== undefined) res.setHeader(name, value);
      },
    ],
    [
      'appendHeader',
      ({ headers }, res) => {
        for (const [name, value] of Object.entries(headers)) if (value !== undefined) res.appendHeader(name, value);
      },
    ],
    ['writeHead', ({ headers }, res) => void res.writeHead(200, headers)],
    ['writeHead, with a reason phrase', ({ headers }, res) => void res.writeHead(200, 'Fine', headers)],
    ['writeHead, with raw headers', ({ rawHeaders }, res) => void res.writeHead(200, rawHeaders)],
  ])('selfHandleResponse: hop-by-hop headers that a listener copies are no obstacle: %s', async (_name, copy) => {
    const { url } = await upstream((_req, res) => {
      const hopByHop = { 'keep-alive': 'timeout=5', 'proxy-connection': 'keep-alive', upgrade: 'h2c' };
      res.writeHead(200, { ...hopByHop, connection: 'keep-alive', 'x-kept': '1', 'content-length': '5' }).end('whole');
    });
    const { ask } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      on: {
        proxyRes: (response, _req, res) => {
          res.statusMessage = response.statusMessage ?? '';
          copy(response, res);
          response.pipe(res);
        },
      },
    });
    const answer = await ask();
    expect([answer.status, answer.headers['x-kept'], (await answer.ended()).text]).toEqual([200, '1', 'whole']);
  });

  it("selfHandleResponse, with onClientClose: 'continue': is over when the upstream's answer is", async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary, proxy } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      onClientClose: 'continue',
      on: { proxyRes: (response, _req, res) => void response.pipe(res) },
    });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write('data: a\n\n');
    const answer = await asked;
    await answer.until('data: a');
    answer.leave();
    setTimeout(() => res.end('data: b\n\n'), 50);
    expect((await summary()).outcome).toBe('client-closed');
    expect(proxy.active).toBe(0);
  });
});
