import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';

/** What was said, in order. Node reads NODE_DEBUG when it starts, so that here its `debuglog` is stood in for. */
const said: string[] = [];
const util = await import('node:util');
jest.unstable_mockModule('node:util', () => ({
  ...util,
  debuglog: (section: string) =>
    section === 'express-sse-proxy'
      ? Object.assign((_format: string, line: string) => said.push(line), { enabled: true })
      : util.debuglog(section),
}));

// What imports it has to come after that.
const { createSseProxy } = await import('../../../lib/index.js');
const { openai } = await import('../../../lib/providers/index.js');
const { keepAliveAgent, openRequest, readAll, reader, readUntilCut, request, responseTo } = await import(
  '../../support/clients/http.js'
);
const { closedPort, listen } = await import('../../support/servers/listen.js');
const { post, proxiedProvider, SERVERS_KEY } = await import('../../support/servers/provider.js');
const { proxyApp } = await import('../../support/servers/proxies.js');
const { answeringUpstream, manualUpstream, upstream } = await import('../../support/servers/upstreams.js');
const { bytesOf, openaiChat } = await import('../../support/streams/dialects.js');
const { openStream } = await import('../../support/streams/open-streams.js');
const { closeAndWatchEachTest } = await import('../../support/watch/process.js');
const { until } = await import('../../support/watch/wait.js');

closeAndWatchEachTest();
beforeEach(() => {
  said.length = 0;
});

const EVENT = 'data: 1\n\n';

/** The lines of one exchange, the first unless another is asked for: without number and time, and with no port but `PORT`. */
function told(exchange = 0): string[] {
  const ids = [...new Set(said.map((line) => line.split(' ', 1)[0]))];
  const lines = said.filter((line) => line.startsWith(`${ids[exchange]} `));
  return lines.map((line) => line.replace(/^#\d+ \+\d+ ms /, '').replace(/(127\.0\.0\.1):\d+/g, '$1:PORT'));
}

/** An upstream that answers with these statuses in turn, the last one over and over. */
async function answering(...statuses: number[]): Promise<string> {
  let count = 0;
  const { url } = await upstream((req, res) => {
    req.resume();
    const status = statuses[Math.min(count, statuses.length - 1)] ?? 200;
    count += 1;
    res.writeHead(status, { 'content-type': 'text/event-stream' }).end(EVENT);
  });
  return url;
}

/** The lines of one request. */
async function linesOf(options: SseProxyOptions, path = '/v1', method = 'GET'): Promise<string[]> {
  const proxy = await proxyApp(options);
  const response = await request(`${proxy.url}${path}`, { method });
  await readUntilCut(response);
  await proxy.summary();
  return told();
}

const SSE_HEAD = 'head: 200, text/event-stream, event stream';
const ATTEMPT = 'attempt 1: GET http://127.0.0.1:PORT/v1';

describe('an exchange', () => {
  it('debug log: an exchange is told of from its beginning to its end', async () => {
    expect(await linesOf({ target: await answeringUpstream(EVENT) })).toEqual([
      'GET /v1',
      ATTEMPT,
      SSE_HEAD,
      'ended: completed, 200, 9 bytes',
    ]);
  });

  it('debug log: an exchange is told of when it happens', async () => {
    const { proxy, res, response } = await openStream({}, { client: { path: '/v1' } });
    expect(told()).toEqual(['GET /v1', ATTEMPT, SSE_HEAD]);
    res.end(EVENT);
    await readAll(response);
    await proxy.summary();
    expect(told().slice(3)).toEqual(['ended: completed, 200, 9 bytes']);
  });

  it('debug log: an exchange has a number of its own', async () => {
    const target = await answeringUpstream(EVENT);
    const proxy = await proxyApp({ target });
    const paths = ['/a', '/b', '/c'];
    await Promise.all(paths.map(async (path) => readAll(await request(`${proxy.url}${path}`))));
    for (const _path of paths) await proxy.summary();
    expect(new Set([told(0), told(1), told(2)].map((lines) => lines.length))).toEqual(new Set([4]));
    expect([told(0)[0], told(1)[0], told(2)[0]].sort()).toEqual(['GET /a', 'GET /b', 'GET /c']);
  });

  it('debug log: an exchange has the path that was asked for, and the one that is sent', async () => {
    const proxy = await proxyApp({ target: await answeringUpstream(EVENT), pathRewrite: { '^/chat': '/v1/chat' } });
    await readAll(await request(`${proxy.url}/chat?a=1`));
    await proxy.summary();
    expect(told().slice(0, 2)).toEqual(['GET /chat', 'attempt 1: GET http://127.0.0.1:PORT/v1/chat']);
  });

  it('debug log: an exchange asks `isEventStream` no more often than it does untold', async () => {
    const isEventStream = jest.fn(() => true);
    const lines = await linesOf({
      target: await answeringUpstream(EVENT, { 'content-type': 'text/plain' }),
      isEventStream,
    });
    expect(isEventStream).toHaveBeenCalledTimes(1);
    expect(lines).toContain('head: 200, text/plain, event stream');
  });

  it('debug log: an exchange tells what is done with its events', async () => {
    const options = { onEvent: () => {}, transformEvent: () => null, heartbeat: {} } satisfies SseProxyOptions;
    expect(await linesOf({ target: await answeringUpstream(EVENT), ...options })).toContain(
      `${SSE_HEAD}, observe, transform, heartbeat`,
    );
  });

  it('debug log: an exchange may be left to the app, or handed over to the user', async () => {
    const target = await answeringUpstream(EVENT);
    const proxy = await proxyApp({ target, pathFilter: '/api' }, (app) => app.get('/own', (_req, res) => res.end()));
    await readAll(await request(`${proxy.url}/other`));
    expect(told()).toEqual(['GET /other', 'left to the app: pathFilter']);

    said.length = 0;
    const handedOver = await linesOf({
      target,
      selfHandleResponse: true,
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    expect(handedOver).toEqual([
      'GET /v1',
      ATTEMPT,
      'handed over: selfHandleResponse',
      expect.stringMatching(/^ended: completed, 200, /),
    ]);
  });
});

describe('another attempt', () => {
  const AGAIN = expect.stringMatching(/^failed: status 503; again in \d+ ms$/);

  it('debug log: another attempt is told of with why and when: a status', async () => {
    const target = await answering(503, 503, 200);
    expect(await linesOf({ target, retry: { minTimeout: 1 } })).toEqual([
      'GET /v1',
      ATTEMPT,
      'head: 503, text/event-stream, event stream',
      AGAIN,
      ATTEMPT.replace('1', '2'),
      'head: 503, text/event-stream, event stream',
      AGAIN,
      ATTEMPT.replace('1', '3'),
      SSE_HEAD,
      'ended: completed, 200, 9 bytes',
    ]);
  });

  it('debug log: another attempt is no fallback where the upstream asks for it at once', async () => {
    let count = 0;
    const { url: target } = await upstream((_req, res) => {
      count += 1;
      res.writeHead(count === 1 ? 503 : 200, { 'content-type': 'text/event-stream', 'retry-after': '0' }).end(EVENT);
    });
    expect(await linesOf({ target, retry: {} })).toContain('failed: status 503; again in 0 ms');
  });

  it('debug log: another attempt is told of with why: an error, and a fallback', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    expect(await linesOf({ target, fallbacks: [await answering(529), await answering(200)] })).toEqual([
      'GET /v1',
      ATTEMPT,
      'failed: UPSTREAM_UNREACHABLE (ECONNREFUSED); falls back',
      ATTEMPT.replace('1', '2'),
      'head: 529, text/event-stream, event stream',
      'failed: status 529; falls back',
      ATTEMPT.replace('1', '3'),
      SSE_HEAD,
      'ended: completed, 200, 9 bytes',
    ]);
  });

  it('debug log: another attempt is told of with the targets that are skipped', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    const proxy = await proxyApp({ target, fallbacks: [await answering(200)] });
    for (let i = 0; i < 6; i += 1) {
      await readAll(await request(`${proxy.url}/v1`));
      await proxy.summary();
    }
    expect(told(4)[2]).toBe('failed: UPSTREAM_UNREACHABLE (ECONNREFUSED); falls back');
    expect(told(5)).toEqual([
      'GET /v1',
      'skips the target: its circuit is open',
      ATTEMPT,
      SSE_HEAD,
      'ended: completed, 200, 9 bytes',
    ]);
  });

  it('debug log: another attempt is told of where there can be none, since the body is too large to be kept', async () => {
    const target = await answering(503);
    const proxy = await proxyApp({ target, retry: { maxBodySize: 1, methods: ['POST'] } });
    await readAll(await post(`${proxy.url}/v1`, Buffer.alloc(100_000)));
    await proxy.summary();
    expect(told()).toContain("failed: status 503; the request's body was not kept for another attempt");
  });

  it('debug log: another attempt is not told of where an answer needs none', async () => {
    const target = await answering(404);
    const proxy = await proxyApp({ target, retry: { maxBodySize: 1, methods: ['POST'] } });
    await readAll(await post(`${proxy.url}/v1`, Buffer.alloc(100_000)));
    await proxy.summary();
    expect(told().filter((line) => line.startsWith('failed'))).toEqual([]);
    expect(told().at(-1)).toBe('ended: completed, 404, 9 bytes');
  });

  it('debug log: another attempt is told of where a pooled connection was closed', async () => {
    let count = 0;
    const { url } = await upstream((req, res) => {
      count += 1;
      if (count === 2) req.socket.destroy();
      else res.writeHead(200, { 'content-type': 'text/event-stream' }).end(EVENT);
    });
    const proxy = await proxyApp({ target: url });
    const agent = keepAliveAgent();
    for (let i = 0; i < 2; i += 1) {
      await readAll(await request(`${proxy.url}/v1`, { agent }));
      await proxy.summary();
    }
    expect(told(1)).toEqual([
      'GET /v1',
      ATTEMPT,
      'failed: UPSTREAM_CLOSED (ECONNRESET), on a pooled connection; again on a fresh one',
      ATTEMPT.replace('1', '2'),
      SSE_HEAD,
      'ended: completed, 200, 9 bytes',
    ]);
  });

  it('debug log: another attempt is told of where the first event is an error', async () => {
    const error = `data: ${JSON.stringify({ error: { message: 'secret', type: 'server_error', code: null } })}\n\n`;
    const target = await answeringUpstream(error);
    const provider = openai({ apiKey: SERVERS_KEY, target });
    const lines = await linesOf({ provider, commit: 'first-event', fallbacks: [await answeringUpstream(EVENT)] });
    expect(lines[2]).toMatch(/^head: 200, text\/event-stream, event stream, waits for its first event/);
    expect(lines[3]).toMatch(/^failed: status 5\d\d; falls back$/);
    expect(lines.at(-1)).toBe('ended: completed, 200, 9 bytes');
    expect(lines.join()).not.toContain('secret');
  });
});

describe('an end', () => {
  it('debug log: an end has the codes of a failure', async () => {
    const target = `http://127.0.0.1:${await closedPort()}`;
    expect(await linesOf({ target })).toEqual([
      'GET /v1',
      ATTEMPT,
      expect.stringMatching(/^ended: upstream-error, 502, \d+ bytes, UPSTREAM_UNREACHABLE \(ECONNREFUSED\)$/),
    ]);
  });

  it('debug log: an end is told of where nothing was sent', async () => {
    expect(await linesOf({ target: 'http://127.0.0.1:1', allow: ['GET /v1/models'] })).toEqual([
      'GET /v1',
      expect.stringMatching(/^ended: refused, 404, \d+ bytes, NOT_FOUND$/),
    ]);
  });

  it('debug log: an end is told of where an answer breaks off', async () => {
    const { proxy, res, response } = await openStream({});
    const stream = reader(response);
    res.write(EVENT);
    await stream.until(EVENT);
    res.destroy();
    await proxy.summary();
    expect(told().at(-1)).toMatch(/^ended: upstream-truncated, 200, 9 bytes, UPSTREAM_TRUNCATED/);
    expect(told().join()).not.toContain('the client has left');
  });

  it.each([
    ['abort', 'aborted'],
    ['continue', 'the answer is read on'],
  ] as const)('debug log: an end is told of where the client leaves: %s', async (onClientClose, expected) => {
    const { proxy, res, response } = await openStream({ onClientClose });
    const stream = reader(response);
    res.write(EVENT);
    await stream.until(EVENT);
    response.on('error', () => {});
    response.destroy();
    await until(() => told().some((line) => line.startsWith('the client has left')));
    res.end(EVENT);
    await proxy.summary();
    expect(told().slice(3)).toEqual([
      `the client has left: ${expected}`,
      expect.stringMatching(/^ended: client-closed, 200, \d+ bytes$/),
    ]);
  });

  it('debug log: an end is told of where nobody listens to `onFinish`', async () => {
    const port = await listen(createServer(createSseProxy({ target: await answeringUpstream(EVENT) })));
    await readAll(await request(`http://127.0.0.1:${port}/v1`));
    await until(() => told().length === 4);
    expect(told()[3]).toBe('ended: completed, 200, 9 bytes');
  });
});

describe('a place among those that run', () => {
  it('debug log: a place in the queue is waited for, and given or not', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1, timeout: 10_000 } } });
    const first = openRequest(`${proxy.url}/first`);
    first.end();
    const { res } = await requests.next();

    const second = openRequest(`${proxy.url}/second`);
    second.end();
    await until(() => told(1).length === 2);
    expect(told(1)).toEqual(['GET /second', 'waits for its turn']);

    await readAll(await request(`${proxy.url}/third`));
    await proxy.summary();
    expect(told(2)).toEqual([
      'GET /third',
      'no place, and none in the queue',
      expect.stringMatching(/^ended: refused, 503, \d+ bytes, CONCURRENCY_LIMIT$/),
    ]);

    res.end();
    await readAll(await responseTo(first));
    (await requests.next()).res.end();
    await readAll(await responseTo(second));
    await proxy.summary();
    await proxy.summary();
    expect(told(1)[2]).toBe('attempt 1: GET http://127.0.0.1:PORT/second');
  });

  it('debug log: a place in the queue is waited for no longer than `limits.queue.timeout`', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, limits: { concurrency: 1, queue: { size: 1, timeout: 1 } } });
    const first = openRequest(proxy.url);
    first.end();
    const { res } = await requests.next();
    await readAll(await request(`${proxy.url}/second`));
    await proxy.summary();
    expect(told(1)).toEqual([
      'GET /second',
      'waits for its turn',
      'its turn has not come in time',
      expect.stringMatching(/^ended: refused, 503, \d+ bytes, CONCURRENCY_LIMIT$/),
    ]);
    res.end();
    await readAll(await responseTo(first));
    await proxy.summary();
  });
});

describe('what nobody is to read', () => {
  it('debug log: what nobody is to read is in no line: keys, queries, headers, bodies', async () => {
    const { upstream, proxy } = await proxiedProvider(openai, { requestHeaders: { set: { 'x-own': 'secret-field' } } });
    const body = JSON.stringify({ model: 'm', prompt: 'secret-prompt' });
    const headers = { authorization: 'Bearer secret-caller', cookie: 'secret-cookie' };
    const response = post(`${proxy.url}/v1/chat/completions?key=secret-key&x=secret-value`, body, headers);
    const asked = await upstream.next();
    expect(asked.req.headers.authorization).toBe(`Bearer ${SERVERS_KEY}`);
    asked.give(openaiChat);
    expect(await readAll(await response)).toEqual(bytesOf(openaiChat.parts));
    await proxy.summary();
    expect(told()).toEqual([
      'POST /v1/chat/completions',
      'attempt 1: POST http://127.0.0.1:PORT/v1/chat/completions as openai',
      `${SSE_HEAD}, read`,
      `ended: completed, 200, ${bytesOf(openaiChat.parts).length} bytes`,
    ]);
    expect(said.join()).not.toMatch(/secret|sk-|Hel|\?/);
  });

  it('debug log: what nobody is to read is in no line where the path that is sent has the key', async () => {
    const target = await answeringUpstream(EVENT);
    const provider = openai({ apiKey: SERVERS_KEY, target });
    const lines = await linesOf({ provider, pathRewrite: { '^/v1': `/bot/${SERVERS_KEY}/send` } });
    expect(lines[1]).toMatch(/^attempt 1: GET http:\/\/127\.0\.0\.1:PORT\/bot\/\*+\/send as openai$/);
    expect(said.join()).not.toContain(SERVERS_KEY);
  });

  it('debug log: what nobody is to read is in no line where the target has credentials, or the hook that fails says something', async () => {
    const target = (await answeringUpstream(EVENT)).replace('//', '//user:secret-password@');
    const rewriteHeaders = (): never => {
      throw Object.assign(new Error('secret'), { code: 'secret' });
    };
    const lines = await linesOf({ target, rewriteHeaders }, '/v1?key=secret');
    expect(lines[1]).toBe(ATTEMPT);
    expect(lines.at(-1)).toMatch(/^ended: failed, 502, \d+ bytes, HOOK_FAILED$/);
    expect(said.join()).not.toContain('secret');
  });

  it('debug log: what nobody is to read is in no line where the upstream repeats it in its content type', async () => {
    const target = await answeringUpstream('{}', { 'content-type': `application/json; key=${SERVERS_KEY}` });
    expect(await linesOf({ provider: openai({ apiKey: SERVERS_KEY, target }) })).toContain(
      'head: 200, application/json, read',
    );
  });
});

describe('NODE_DEBUG', () => {
  const run = promisify(execFile);
  /** A program that uses the package as it was built, and what it said on its standard error. */
  async function stderrOf(NODE_DEBUG: string): Promise<string> {
    const script = `
      import http from 'node:http';
      import { once } from 'node:events';
      import { createSseProxy } from 'express-sse-proxy';
      const listen = async (listener) => {
        const server = http.createServer(listener).listen(0, '127.0.0.1');
        await once(server, 'listening');
        return [server, 'http://127.0.0.1:' + server.address().port];
      };
      const [upstream, target] = await listen((req, res) => res.end('{}'));
      const [server, url] = await listen(createSseProxy({ target }));
      await (await fetch(url + '/v1?key=secret')).text();
      server.close();
      upstream.close();
      server.closeAllConnections();
      upstream.closeAllConnections();
    `;
    const { stderr } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: fileURLToPath(new URL('../../..', import.meta.url)),
      env: { ...process.env, NODE_DEBUG },
      timeout: 20_000,
    });
    return stderr;
  }

  it('NODE_DEBUG: shows the debug log', async () => {
    const lines = (await stderrOf('express-sse-proxy')).trimEnd().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^EXPRESS-SSE-PROXY \d+: #1 \+\d+ ms GET \/v1$/),
      expect.stringMatching(/^EXPRESS-SSE-PROXY \d+: #1 \+\d+ ms attempt 1: GET http:\/\/127\.0\.0\.1:\d+\/v1$/),
      expect.stringMatching(/^EXPRESS-SSE-PROXY \d+: #1 \+\d+ ms head: 200, no content type$/),
      expect.stringMatching(/^EXPRESS-SSE-PROXY \d+: #1 \+\d+ ms ended: completed, 200, 2 bytes$/),
    ]);
  }, 30_000);

  it.each(['', 'http-proxy-middleware'])(
    'NODE_DEBUG: shows nothing where it does not ask for it: %j',
    async (value) => {
      expect(await stderrOf(value)).not.toContain('SSE-PROXY');
    },
    30_000,
  );
});
