/** Hosts that hand an app requests and responses without a connection: serverless functions, injected requests of tests. */
import { describe, expect, it, jest } from '@jest/globals';
import express from 'express';
import inject from 'light-my-request';
import serverless from 'serverless-http';
import { createSseProxy, type SseProxyOptions, type StreamSummary } from '../../lib/index.js';
import { readText } from '../support/clients/http.js';
import { closedPort } from '../support/servers/listen.js';
import { eventStream, upstream } from '../support/servers/upstreams.js';
import { stopTheClock } from '../support/watch/clock.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { Queue } from '../support/watch/wait.js';

closeAndWatchEachTest();

interface Asked {
  method: 'GET' | 'POST' | 'HEAD';
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

interface Answered {
  status: number;
  type: string | undefined;
  body: string;
}

type Host = (app: express.Express) => (asked: Asked) => Promise<Answered>;

/** An event of Amazon's API Gateway, as functions behind it are handed it. */
const serverlessHost: Host = (app) => {
  const handler = serverless(app);
  return async ({ method, path, headers = {}, body }) => {
    const event = { httpMethod: method, path, headers, body: body ?? null, isBase64Encoded: false, requestContext: {} };
    const result = (await handler(event, {})) as {
      statusCode: number;
      headers: Record<string, string>;
      body: string;
      isBase64Encoded: boolean;
    };
    const text = Buffer.from(result.body, result.isBase64Encoded ? 'base64' : 'utf8').toString();
    return { status: result.statusCode, type: result.headers['content-type'], body: text };
  };
};

const injectHost: Host =
  (app) =>
  async ({ method, path, headers = {}, body }) => {
    const response = await inject(app as Parameters<typeof inject>[0], {
      method,
      url: path,
      headers,
      ...(body !== undefined && { payload: body }),
    });
    return { status: response.statusCode, type: String(response.headers['content-type']), body: response.body };
  };

describe.each([
  ['serverless-http', serverlessHost],
  ['light-my-request', injectHost],
])('%s', (_name, host) => {
  async function hosted(options: SseProxyOptions = {}) {
    const summaries = new Queue<StreamSummary>();
    const { url } = await upstream(async (req, res) => {
      if (req.url === '/json') res.setHeader('content-type', 'application/json').end('{"a":1}');
      else if (req.url === '/stream') eventStream(res).write('data: a\n\n', () => res.end('data: b\n\n'));
      else if (req.url === '/cut') eventStream(res).write('data: a\n\n', () => res.destroy());
      else res.writeHead(201, { 'content-type': 'text/plain' }).end(`${req.method} ${await readText(req)}`);
    });
    const proxy = createSseProxy({ target: url, ...options, onFinish: (summary) => summaries.push(summary) });
    return { ask: host(express().use(proxy)), proxy, summary: () => summaries.next() };
  }

  it('host without connections: passes JSON on', async () => {
    const { ask, summary, proxy } = await hosted();
    expect(await ask({ method: 'GET', path: '/json' })).toEqual({
      status: 200,
      type: 'application/json',
      body: '{"a":1}',
    });
    expect(await summary()).toMatchObject({ outcome: 'completed', statusCode: 200, bytes: 7 });
    expect(proxy.active).toBe(0);
  });

  it('host without connections: leaves no timer behind an exchange', async () => {
    stopTheClock();
    const { ask, summary } = await hosted();
    await ask({ method: 'GET', path: '/json' });
    await summary();
    expect(jest.getTimerCount()).toBe(0);
  });

  // These hosts collect the body, and hand it over when it has ended.
  it('host without connections: passes a whole event stream on', async () => {
    const { ask, summary } = await hosted();
    const { status, type, body } = await ask({ method: 'GET', path: '/stream' });
    expect({ status, body }).toEqual({ status: 200, body: 'data: a\n\ndata: b\n\n' });
    expect(type).toContain('text/event-stream');
    expect((await summary()).outcome).toBe('completed');
  });

  it('host without connections: transforms events', async () => {
    const { ask } = await hosted({ transformEvent: ({ data }) => ({ data: data.toUpperCase() }) });
    expect((await ask({ method: 'GET', path: '/stream' })).body).toBe('data: A\n\ndata: B\n\n');
  });

  it('host without connections: sends the body of a POST', async () => {
    const { ask, summary } = await hosted();
    const headers = { 'content-type': 'application/json', 'content-length': '9' };
    const answer = await ask({ method: 'POST', path: '/echo', headers, body: '{"q":"?"}' });
    expect(answer).toMatchObject({ status: 201, body: 'POST {"q":"?"}' });
    expect((await summary()).outcome).toBe('completed');
  });

  it('host without connections: answers HEAD', async () => {
    const { ask, summary } = await hosted();
    expect(await ask({ method: 'HEAD', path: '/json' })).toMatchObject({ status: 200, body: '' });
    expect((await summary()).outcome).toBe('completed');
  });

  it('host without connections: answers a failure', async () => {
    const { ask, summary, proxy } = await hosted({ target: `http://127.0.0.1:${await closedPort()}` });
    const { status, body } = await ask({ method: 'GET', path: '/json' });
    expect([status, JSON.parse(body)]).toMatchObject([502, { error: { code: 'UPSTREAM_UNREACHABLE' } }]);
    expect((await summary()).outcome).toBe('upstream-error');
    expect(proxy.active).toBe(0);
  });

  it('host without connections: an upstream that dies ends its exchange', async () => {
    const { ask, summary, proxy } = await hosted();
    void ask({ method: 'GET', path: '/cut' }).catch(() => {});
    expect((await summary()).outcome).toBe('upstream-truncated');
    expect(proxy.active).toBe(0);
  });
});
