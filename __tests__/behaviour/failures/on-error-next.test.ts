import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { describe, expect, it } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import { createSseProxy, SseProxyError, type SseProxyOptions } from '../../../lib/index.js';
import { openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { certificate } from '../../support/servers/certificate.js';
import { closedPort, listen } from '../../support/servers/listen.js';
import { http2Proxy, listenHttp2, type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe("onError: 'next'", () => {
  /** An app with an error middleware that answers with what it finds. */
  async function appWithErrorMiddleware(
    options: SseProxyOptions,
    ...before: ((req: Request, res: Response, next: NextFunction) => void)[]
  ): Promise<{ proxy: ProxyUnderTest; errors: unknown[]; heads: unknown[] }> {
    const errors: unknown[] = [];
    const heads: unknown[] = [];
    const proxy = await proxyApp({ onError: 'next', ...options }, (app) => {
      app.use((_req, res, next) => {
        res.set({ 'x-app': 'mine', 'access-control-allow-origin': 'https://app.example' });
        res.cookie('session', '1');
        next();
      });
      for (const middleware of before) app.use(middleware);
    });
    proxy.app.use((error: unknown, _req: Request, res: Response, _next: NextFunction) => {
      errors.push(error);
      const { statusCode, statusMessage } = res;
      heads.push({ statusCode, statusMessage, headers: { ...res.getHeaders() } });
      res.status(error instanceof SseProxyError ? error.status : 500).send('handled by the app');
    });
    return { proxy, errors, heads };
  }

  const APP_HEADERS = {
    'x-powered-by': 'Express',
    'x-app': 'mine',
    'access-control-allow-origin': 'https://app.example',
    'set-cookie': 'session=1; Path=/',
  };

  it("onError 'next': hands a failure before the head to Express's error middleware", async () => {
    const { proxy, errors, heads } = await appWithErrorMiddleware({ target: `http://127.0.0.1:${await closedPort()}` });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(response.headers).toMatchObject({ 'x-app': 'mine', 'access-control-allow-origin': 'https://app.example' });
    expect(response.headers['set-cookie']).toEqual(['session=1; Path=/']);
    expect(await readText(response)).toBe('handled by the app');
    expect(errors).toEqual([expect.any(SseProxyError)]);
    expect(errors[0]).toMatchObject({
      name: 'SseProxyError',
      status: 502,
      statusCode: 502,
      code: 'UPSTREAM_UNREACHABLE',
      expose: true,
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    });
    expect(heads).toEqual([{ statusCode: 200, statusMessage: undefined, headers: APP_HEADERS }]);
    expect(await proxy.summary()).toMatchObject({
      outcome: 'upstream-error',
      statusCode: 502,
      error: { code: 'UPSTREAM_UNREACHABLE' },
    });
  });

  it.each([
    [
      'a hook fails',
      (): SseProxyOptions => ({
        rewriteHeaders() {
          throw new Error('hook');
        },
      }),
    ],
    [
      'the head cannot be sent',
      (): SseProxyOptions => ({
        rewriteHeaders: (head) => {
          head.statusCode = 42;
        },
      }),
    ],
  ])("onError 'next': leaves nothing of the upstream's head where %s", async (_, options) => {
    const { url } = await upstream((_req, res) =>
      res.writeHead(201, 'Upstream Says', { 'x-upstream': 'theirs', 'x-app': 'theirs', 'set-cookie': 'u=1' }).end(),
    );
    const { proxy, errors, heads } = await appWithErrorMiddleware({ target: url, ...options() });

    expect((await request(proxy.url)).statusCode).toBe(502);
    expect(errors).toMatchObject([{ code: 'HOOK_FAILED', status: 502 }]);
    expect(heads).toEqual([{ statusCode: 200, statusMessage: undefined, headers: APP_HEADERS }]);
  });

  it("onError 'next': leaves nothing of the upstream's head where another middleware's `writeHead` throws", async () => {
    const { url } = await upstream((_req, res) => res.writeHead(201, 'Upstream Says', { 'x-upstream': '1' }).end());
    const { proxy, heads } = await appWithErrorMiddleware({ target: url }, (_req, res, next) => {
      const { writeHead } = res;
      res.writeHead = () => {
        res.writeHead = writeHead;
        throw new Error('a listener of on-headers');
      };
      next();
    });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(response.statusMessage).toBe('Bad Gateway');
    expect(heads).toMatchObject([{ statusCode: 200, headers: APP_HEADERS }]);
  });

  it("onError 'next': does not concern a failure after the head", async () => {
    const { url, requests } = await manualUpstream();
    const { proxy, errors } = await appWithErrorMiddleware({ target: url });

    const req = openRequest(proxy.url);
    req.end();
    const { res } = await requests.next();
    eventStream(res).write('data: 1\n\n');
    const response = await responseTo(req);
    await once(response, 'data');
    res.destroy();
    await closed(response);
    expect(response.complete).toBe(false);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
    expect(errors).toEqual([]);
  });

  it("onError 'next': answers by itself where there is no `next`", async () => {
    const sseProxy = createSseProxy({ target: `http://127.0.0.1:${await closedPort()}`, onError: 'next' });
    const port = await listen(http.createServer((req, res) => void sseProxy(req, res)));

    const response = await request(`http://127.0.0.1:${port}`);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_UNREACHABLE');
  });

  it("onError 'next': lets Express's default error handler answer", async () => {
    const proxy = await proxyApp({ target: `http://127.0.0.1:${await closedPort()}`, onError: 'next' }, (app) =>
      app.set('env', 'test'),
    );
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(502);
    await readAll(response);
    await until(() => proxy.summaries.length === 1);
    expect(proxy.proxy.active).toBe(0);
  });
});

describe("onError: 'next' over HTTP/2", () => {
  it("onError: 'next' over HTTP/2: the error has no `Connection` header, so that Node has nothing to warn of", async () => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const proxy = createSseProxy({ target: url, onError: 'next', limits: { requestBody: 100 } });
    let found: unknown;
    const port = await listenHttp2((req, res) => {
      void proxy(req, res, (error) => {
        found = error;
        const { status, headers } = error as SseProxyError;
        res.writeHead(status, { ...headers }).end();
      });
    });
    const { cert } = await certificate();
    const session = http2.connect(`https://localhost:${port}`, { ca: cert });
    onCleanUp(() => session.destroy());
    const stream = session.request({ ':method': 'POST', 'content-length': '1000' });
    stream.on('error', () => {});
    const [head] = await once(stream, 'response');
    expect(head[':status']).toBe(413);
    expect(found).toMatchObject({ code: 'REQUEST_BODY_TOO_LARGE' });
    expect((found as SseProxyError).headers).not.toHaveProperty('connection');
  });

  it('rewriteHeaders over HTTP/2: a header with NUL in it is left out, and nothing else is lost', async () => {
    const { url } = await upstream((_req, res) => res.end('fine'));
    const { session } = await http2Proxy({
      target: url,
      rewriteHeaders: ({ headers }) => void Object.assign(headers, { 'x-nul': 'a\0b', 'x-fine': 'a' }),
    });
    const stream = session.request({ ':path': '/' });
    const [head] = await once(stream, 'response');
    expect([head[':status'], head['x-nul'], head['x-fine']]).toEqual([200, undefined, 'a']);
    expect(await readText(stream)).toBe('fine');
  });
});
