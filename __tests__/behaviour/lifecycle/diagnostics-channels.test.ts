import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import type { Exchange, ExchangeMessages } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { openRequest, readAll, readUntilCut, request } from '../../support/clients/http.js';
import { echo, failed, opened } from '../../support/clients/web-sockets.js';
import { closedPort } from '../../support/servers/listen.js';
import { post, proxiedProvider, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { openaiChat } from '../../support/streams/dialects.js';
import { openStream } from '../../support/streams/open-streams.js';
import { type ChannelName, messagesOf, on } from '../../support/watch/channels.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const EVENT = 'data: 1\n\n';
const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

const NAMES = ['started', 'attempt', 'head', 'retry', 'first-byte', 'first-token', 'stalled', 'ended'] as const;

/** All that is published from now on, in order. */
function published(): [ChannelName, ExchangeMessages[keyof ExchangeMessages]][] {
  const messages: [ChannelName, ExchangeMessages[keyof ExchangeMessages]][] = [];
  for (const name of NAMES) on(name, (message) => messages.push([name, message]));
  return messages;
}

const EXPRESS_ROUTE = '/openai';

describe('diagnostics channels: an exchange', () => {
  it('diagnostics channels: an exchange is published from its start to its end, in order, with one id', async () => {
    const exchanges: Exchange[] = [];
    const { upstream, proxy } = await proxiedProvider(openai, {
      onFinish: (_summary, exchange) => void exchanges.push(exchange),
    });
    const messages = published();
    const response = post(`${proxy.url}/v1/chat/completions?key=${SERVERS_KEY}`, '{}', { authorization: 'Bearer own' });
    (await upstream.next()).give(openaiChat);
    await readAll(await response);
    const { usage, bytes, events, model, timings, finishReason } = await proxy.summary();
    const id = exchanges[0]?.id ?? '';
    const target = upstream.url;
    expect(id).toMatch(UUID);
    expect(messages).toEqual([
      ['started', { id, method: 'POST', path: '/v1/chat/completions' }],
      ['attempt', { id, attempt: 1, target, provider: 'openai' }],
      ['head', { id, attempt: 1, statusCode: 200, contentType: 'text/event-stream' }],
      ['first-byte', { id }],
      ['first-token', { id }],
      [
        'ended',
        {
          id,
          outcome: 'completed',
          statusCode: 200,
          attempts: [{ target, provider: 'openai', statusCode: 200, duration: expect.any(Number) }],
          target,
          provider: 'openai',
          bytes,
          events,
          usage,
          model,
          finishReason,
          timings,
        },
      ],
    ]);
    expect(JSON.stringify(messages)).not.toMatch(new RegExp(`${SERVERS_KEY}|Bearer|\\?`));
  });

  it('diagnostics channels: an exchange has the path before it was mounted', async () => {
    const started = messagesOf('started');
    const target = await answeringUpstream(EVENT);
    const proxy = await proxyApp({ target }, (app) => {
      app.use(EXPRESS_ROUTE, (req, _res, next) => {
        req.url = '/elsewhere';
        next();
      });
    });
    await readAll(await request(`${proxy.url}${EXPRESS_ROUTE}/v1?key=secret`));
    expect(await started.next()).toMatchObject({ method: 'GET', path: '/openai/v1' });
  });

  it('diagnostics channels: an exchange has an id of its own, the same whenever it is asked for', async () => {
    const ids: string[] = [];
    const proxy = await proxyApp({
      target: await answeringUpstream(EVENT),
      rewriteHeaders: (_head, { id }) => void ids.push(id),
      onFinish: (_summary, { id }) => void ids.push(id),
    });
    for (let i = 0; i < 2; i += 1) {
      await readAll(await request(proxy.url));
      await proxy.summary();
    }
    const [first, again, second] = ids;
    expect([first, second]).toEqual([expect.stringMatching(UUID), expect.stringMatching(UUID)]);
    expect(again).toBe(first);
    expect(second).not.toBe(first);
  });

  it('diagnostics channels: an exchange that is left to the app by `pathFilter` is none', async () => {
    const messages = published();
    const proxy = await proxyApp({ target: await answeringUpstream(EVENT), pathFilter: '/api' });
    expect((await request(`${proxy.url}/other`)).statusCode).toBe(404);
    expect(messages).toEqual([]);
  });

  it('diagnostics channels: an exchange is not published where it began before anyone had subscribed', async () => {
    const { proxy, res, response } = await openStream({});
    const messages = published();
    res.end(EVENT);
    await readAll(response);
    await proxy.summary();
    expect(messages).toEqual([]);
  });

  it('diagnostics channels: an exchange is published on the channels alone that have subscribers', async () => {
    const ended = messagesOf('ended');
    const proxy = await proxyApp({ target: await answeringUpstream(EVENT) });
    await readAll(await request(proxy.url));
    expect(await ended.next()).toMatchObject({ outcome: 'completed', bytes: EVENT.length });
  });
});

describe('diagnostics channels: attempts', () => {
  it('diagnostics channels, attempts: retries have what failed, how it goes on, and when', async () => {
    let count = 0;
    const { url: target } = await upstream((_req, res) => {
      count += 1;
      res.writeHead(count === 1 ? 503 : 200, {
        'content-type': 'Text/Event-Stream; charset=utf-8',
        'retry-after-ms': '3',
      });
      res.end(EVENT);
    });
    const messages = published();
    const proxy = await proxyApp({ target, retry: {} });
    await readAll(await request(proxy.url));
    await proxy.summary();
    const contentType = 'text/event-stream';
    expect(messages.map(([name, { id: _, ...message }]) => [name, message]).slice(1, -1)).toEqual([
      ['attempt', { attempt: 1, target }],
      ['head', { attempt: 1, statusCode: 503, contentType }],
      ['retry', { attempt: 1, how: 'retry', delay: 3, statusCode: 503 }],
      ['attempt', { attempt: 2, target }],
      ['head', { attempt: 2, statusCode: 200, contentType }],
      ['first-byte', {}],
    ]);
  });

  it('diagnostics channels, attempts: fallbacks have the code of the error, and the end has it, too', async () => {
    const retries = messagesOf('retry');
    const ended = messagesOf('ended');
    const [target, fallback] = [await closedPort(), await closedPort()].map((port) => `http://127.0.0.1:${port}`);
    const proxy = await proxyApp({ target: target as string, fallbacks: [fallback as string] });
    await readUntilCut(await request(proxy.url));
    expect(await retries.next()).toMatchObject({
      attempt: 1,
      how: 'fallback',
      delay: 0,
      error: 'UPSTREAM_UNREACHABLE',
    });
    expect(await ended.next()).toMatchObject({
      outcome: 'upstream-error',
      statusCode: 502,
      error: 'UPSTREAM_UNREACHABLE',
      attempts: [
        { target, error: 'UPSTREAM_UNREACHABLE' },
        { target: fallback, error: 'UPSTREAM_UNREACHABLE' },
      ],
    });
  });

  it('diagnostics channels, attempts: a head without a media type has none', async () => {
    const heads = messagesOf('head');
    const { url } = await upstream((_req, res) => res.end());
    const proxy = await proxyApp({ target: url });
    await readAll(await request(proxy.url));
    expect(await heads.next()).toEqual({ id: expect.any(String), attempt: 1, statusCode: 200 });
  });

  it('diagnostics channels, attempts: the messages are copies: who changes one changes no summary', async () => {
    on('ended', ({ attempts }) => Object.assign(attempts[0] as object, { target: 'changed' }));
    const proxy = await proxyApp({ target: await answeringUpstream(EVENT) });
    await readAll(await request(proxy.url));
    expect((await proxy.summary()).attempts[0]?.target).toMatch(/^http:/);
  });
});

describe('diagnostics channels: endings', () => {
  it('diagnostics channels, endings: a client that leaves before the head ends its exchange', async () => {
    const { url, requests } = await manualUpstream();
    const ended = messagesOf('ended');
    const proxy = await proxyApp({ target: url });
    const req = openRequest(proxy.url);
    req.end();
    await requests.next();
    req.destroy();
    expect(await ended.next()).toMatchObject({ outcome: 'client-closed', bytes: 0 });
  });

  it('diagnostics channels, endings: a WebSocket is an exchange, and so is one that was not let in', async () => {
    const messages = published();
    const { url: target } = await echoUpstream();
    const { url, summaries } = await upgradeServer({ target, allow: ['GET /chat'] });
    const socket = await opened(`${url}/chat?key=secret`);
    expect(await echo(socket, 'hello')).toBe('hello');
    const closed = once(socket, 'close');
    socket.close();
    await closed;
    await summaries.next();
    expect(messages).toMatchObject([
      ['started', { method: 'GET', path: '/chat' }],
      ['attempt', { attempt: 1, target }],
      ['head', { attempt: 1, statusCode: 101 }],
      ['ended', { outcome: 'completed', statusCode: 101 }],
    ]);

    messages.length = 0;
    expect((await failed(`${url}/other`)).message).toContain('404');
    await summaries.next();
    expect(messages).toMatchObject([
      ['started', { path: '/other' }],
      ['ended', { outcome: 'refused', error: 'NOT_FOUND', attempts: [] }],
    ]);
  });
});

describe('diagnostics channels: a subscriber that throws', () => {
  it('diagnostics channels: a subscriber that throws is an uncaught exception, as Node has it, and the exchange goes on', async () => {
    const script = `
      import { channel } from 'node:diagnostics_channel';
      import http from 'node:http';
      import { once } from 'node:events';
      import { createSseProxy } from 'express-sse-proxy';
      const listen = async (listener) => {
        const server = http.createServer(listener).listen(0, '127.0.0.1');
        await once(server, 'listening');
        return [server, 'http://127.0.0.1:' + server.address().port];
      };
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message));
      for (const name of ['started', 'attempt', 'head', 'first-byte', 'ended']) {
        channel('express-sse-proxy:exchange:' + name).subscribe(() => { throw new Error(name); });
      }
      const [upstream, target] = await listen((req, res) => res.end('whole'));
      const onFinish = ({ outcome }) => console.log(outcome);
      const [server, url] = await listen(createSseProxy({ target, onFinish }));
      console.log(await (await fetch(url)).text());
      for (const one of [server, upstream]) {
        one.close();
        one.closeAllConnections();
      }
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      cwd: fileURLToPath(new URL('../../..', import.meta.url)),
      timeout: 20_000,
    });
    const said = stdout.trim().split('\n');
    expect(said).toEqual(expect.arrayContaining(['whole', 'completed']));
    expect(said.filter((line) => line.startsWith('uncaught'))).toEqual(
      ['started', 'attempt', 'head', 'first-byte', 'ended'].map((name) => `uncaught ${name}`),
    );
  }, 30_000);
});
