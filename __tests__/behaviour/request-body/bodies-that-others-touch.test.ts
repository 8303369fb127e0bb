/** Request bodies that middleware in front of the proxy reads as they flow, and that `on.proxyReq` listeners write or begin to write. */
import { createHash, type Hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import { fixRequestBody, type SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { exchange } from '../../support/clients/http.js';
import { proxyApp, proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { recorder } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const JSON_TYPE = { 'content-type': 'application/json' };
const SMALL = JSON.stringify({ model: 'm', stream: true, messages: [] });
const LARGE = JSON.stringify({ model: 'm', stream: true, messages: ['x'.repeat(1_500_000)] });
const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

type Front = (req: IncomingMessage, res: ServerResponse, next: () => void) => void;

/** Middleware that reads the body beside the proxy, as for an HMAC. */
function hashing(): { front: Front; hashes: Hash[] } {
  const hashes: Hash[] = [];
  const front: Front = (req, _res, next) => {
    const hash = createHash('sha256');
    hashes.push(hash);
    req.on('data', (chunk) => void hash.update(chunk));
    next();
  };
  return { front, hashes };
}

const WAYS: [string, SseProxyOptions][] = [
  ['piped', {}],
  ['with an async router', { router: async () => undefined as never }],
  ['with a limit', { limits: { requestBody: '10mb' } }],
  ['kept for retries', { retry: { methods: ['POST'], minTimeout: 1, maxBodySize: '5mb' } }],
  ['with redirects', { followRedirects: true }],
  ['beside a listener', { on: { proxyReq: () => {} } }],
];

describe.each(VERSIONS)('a request that flows already, from a client of %s', (version) => {
  describe.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('%s', (_size, body) => {
    it.each(WAYS)(
      'request body that flows already: arrives whole, for the upstream and for the middleware that reads it: %s',
      async (_way, options) => {
        const { url, received } = await recorder();
        const { front, hashes } = hashing();
        const { ask, summary } = await proxyIn(version, { target: url, ...options }, front);
        for (const headers of [JSON_TYPE, { ...JSON_TYPE, 'content-length': String(body.length) }]) {
          const answer = await ask({ method: 'POST', headers, body });
          expect(answer.status).toBe(200);
          await answer.ended();
          expect(await summary()).toMatchObject({ outcome: 'completed' });
          expect(sha(String(received.pop()?.body))).toBe(sha(body));
          expect(hashes.pop()?.digest('hex')).toBe(sha(body));
        }
      },
    );

    it('request body that flows already: arrives as its provider has changed it', async () => {
      const { url, received } = await recorder();
      const { front, hashes } = hashing();
      const provider = openai({ apiKey: 'sk-1234567890', includeUsage: true });
      const { ask } = await proxyIn(version, { target: url, provider }, front);
      const path = '/v1/chat/completions';
      await (await ask({ method: 'POST', path, headers: JSON_TYPE, body })).ended();
      expect(JSON.parse(String(received[0]?.body))).toEqual({
        ...JSON.parse(body),
        stream_options: { include_usage: true },
      });
      expect(hashes[0]?.digest('hex')).toBe(sha(body));
    });
  });

  it('request body that flows already: goes on to flow for an app that it is left to by `pathFilter`', async () => {
    const { url } = await recorder();
    const front: Front = (req, res, next) => {
      let text = '';
      req.on('data', (chunk) => {
        text += chunk;
      });
      req.on('end', () => res.writeHead(200).end(text));
      next();
    };
    const options = { target: url, pathFilter: '/other' };
    if (version === 'HTTP/1.1') {
      const proxy = await proxyApp(options, (app) => {
        app.use(front);
        app.use((req, _res, next) => {
          req.url = '/mine';
          next();
        });
      });
      proxy.app.use(() => {});
      expect((await exchange(proxy.url, { method: 'POST', body: SMALL })).body).toBe(SMALL);
      return;
    }
    // Without an app behind it, the proxy answers with a 404; what flows is read all the same.
    const { ask } = await proxyIn(version, options, (req, res, next) => {
      front(req, res, () => {});
      res.writeHead = () => res;
      const { end } = res;
      res.end = ((...args: unknown[]) => (args.length === 0 ? res : Reflect.apply(end, res, args))) as typeof end;
      next();
    });
    expect(await (await ask({ method: 'POST', body: SMALL })).ended()).toMatchObject({ text: SMALL });
  });

  it('request body that flows already: is a REQUEST_BODY_CONSUMED at once where a part of it has gone by', async () => {
    const { url, received } = await recorder();
    const front: Front = (req, _res, next) => {
      req.once('data', () => setImmediate(next));
    };
    const { ask } = await proxyIn(version, { target: url }, front);
    const answer = await ask({ method: 'POST', body: LARGE });
    expect(answer.status).toBe(500);
    expect(JSON.parse((await answer.ended()).text)).toMatchObject({ error: { code: 'REQUEST_BODY_CONSUMED' } });
    expect(received).toEqual([]);
  });

  it('request body that flows already: arrives from `req.rawBody` where middleware has kept it all', async () => {
    const { url, received } = await recorder();
    const front: Front = (req, _res, next) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk) => chunks.push(chunk));
      req.on('end', () => {
        (req as { rawBody?: Buffer }).rawBody = Buffer.concat(chunks);
        next();
      });
    };
    const { ask } = await proxyIn(version, { target: url }, front);
    await (await ask({ method: 'POST', headers: JSON_TYPE, body: SMALL })).ended();
    expect(String(received[0]?.body)).toBe(SMALL);
  });
});

describe.each(VERSIONS)('an `on.proxyReq` listener, for a client of %s', (version) => {
  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ])(
    'request body and on.proxyReq: a listener that flushes the head: a %s body that nobody has read follows',
    async (_size, body) => {
      const { url, received } = await recorder();
      const on = { proxyReq: (request: { flushHeaders(): void }) => request.flushHeaders() };
      const { ask } = await proxyIn(version, { target: url, on });
      const answer = await ask({ method: 'POST', headers: JSON_TYPE, body });
      expect([answer.status, (await answer.ended()).text]).toEqual([200, 'ok']);
      expect(String(received[0]?.body)).toBe(body);
    },
  );

  it('request body and on.proxyReq: a listener that writes a prefix: the body that nobody has read follows', async () => {
    const { url, received } = await recorder();
    const { ask } = await proxyIn(version, {
      target: url,
      on: {
        proxyReq: (request) => {
          request.removeHeader('content-length');
          request.setHeader('transfer-encoding', 'chunked');
          request.write('prefix,');
        },
      },
    });
    for (const body of [SMALL, SMALL]) {
      const answer = await ask({ method: 'POST', headers: { 'content-length': String(body.length) }, body });
      expect((await answer.ended()).text).toBe('ok');
      expect(String(received.pop()?.body)).toBe(`prefix,${body}`);
    }
  });

  it('request body and on.proxyReq: a listener that ends the request has it as it is', async () => {
    const { url, received } = await recorder();
    const { ask } = await proxyIn(version, {
      target: url,
      on: {
        proxyReq: (request) => {
          request.removeHeader('content-length');
          request.end();
        },
      },
    });
    expect((await (await ask({ method: 'POST', body: '' })).ended()).text).toBe('ok');
    expect(String(received[0]?.body)).toBe('');
  });
});

describe('a body that a parser has consumed', () => {
  const CRLF = { 'field\r\nX-Evil: 1': 'value' };
  const MULTIPART = { 'content-type': 'multipart/form-data; boundary=b' };

  it('parsed request body and on.proxyReq: the body is sent once more where a listener has only flushed the head', async () => {
    const { url, received } = await recorder();
    const on = { proxyReq: (request: { flushHeaders(): void }) => request.flushHeaders() };
    const proxy = await proxyApp({ target: url, on }, (app) => app.use(express.json()));
    expect((await exchange(proxy.url, { method: 'POST', headers: JSON_TYPE, body: SMALL })).body).toBe('ok');
    expect(String(received[0]?.body)).toBe(SMALL);
  });

  it('parsed request body and on.proxyReq: the body is sent as a listener has written it, and not twice', async () => {
    const { url, received } = await recorder();
    const on = { proxyReq: fixRequestBody };
    const proxy = await proxyApp({ target: url, on }, (app) => app.use(express.json()));
    expect((await exchange(proxy.url, { method: 'POST', headers: JSON_TYPE, body: SMALL })).body).toBe('ok');
    expect(String(received[0]?.body)).toBe(SMALL);
  });

  it('parsed request body and on.proxyReq: a lost body is not brought back by a listener that only flushes the head', async () => {
    const { url, received } = await recorder();
    const on = { proxyReq: (request: { flushHeaders(): void }) => request.flushHeaders() };
    const proxy = await proxyApp({ target: url, on }, (app) => {
      app.use((req, _res, next) => void req.resume().once('end', next));
    });
    const { status, body } = await exchange(proxy.url, { method: 'POST', headers: JSON_TYPE, body: SMALL });
    expect([status, JSON.parse(body).error.code]).toEqual([500, 'REQUEST_BODY_CONSUMED']);
    expect(received).toEqual([]);
  });

  it.each([
    ['a name', CRLF],
    ['a value', { field: 'value\r\n--b\r\nContent-Disposition: form-data; name="evil"\r\n\r\n1' }],
    ['a boundary in a value', { field: 'a--b' }],
  ])(
    'parsed request body and on.proxyReq: the body with CRLF injection in a multipart form is a 400: %s',
    async (_where, fields) => {
      const { url, received } = await recorder();
      const proxy = await proxyApp({ target: url, on: { proxyReq: fixRequestBody } }, (app) => {
        app.use((req, _res, next) => {
          req.body = fields;
          req.resume().once('end', next);
        });
      });
      const { status } = await exchange(proxy.url, { method: 'POST', headers: MULTIPART, body: '--b--\r\n' });
      expect(status).toBe(400);
      expect(await proxy.summary()).toMatchObject({ statusCode: 400 });
      expect(received).toEqual([]);
    },
  );
});
