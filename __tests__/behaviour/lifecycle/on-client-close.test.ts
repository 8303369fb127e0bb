import { once } from 'node:events';
import { describe, expect, it, jest } from '@jest/globals';
import type { Exchange, SseProxyOptions } from '../../../lib/index.js';
import { anthropic, openai } from '../../../lib/providers/index.js';
import { openRequest, responseTo } from '../../support/clients/http.js';
import { connections } from '../../support/servers/listen.js';
import { proxiedProvider } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream } from '../../support/servers/upstreams.js';
import {
  anthropicText,
  openaiChat,
  openaiChatWhole,
  openaiResponses,
  type ProviderAnswer,
  toldBy,
  usageFrom,
} from '../../support/streams/dialects.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const CONTINUE = { onClientClose: 'continue' } as const;

/** An exchange with a provider whose client has just left, when so many parts of the answer had come; `-1`: no head. */
async function left(
  answer: ProviderAnswer,
  parts: number,
  options: SseProxyOptions,
  create: Parameters<typeof proxiedProvider>[0] = openai,
) {
  const { upstream, proxy, usages } = await proxiedProvider(create, options);
  const client = openRequest(proxy.url + answer.path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  client.end('{"messages":[],"stream":true}');
  const asked = await upstream.next();
  if (parts >= 0) {
    asked.start(answer);
    const response = await responseTo(client);
    if (parts > 0) {
      asked.send(answer.parts.slice(0, parts));
      await once(response, 'data');
    }
  }
  client.destroy();
  await until(async () => (await connections(proxy.server)) === 0);
  return { upstream, proxy, usages, asked };
}

describe("onClientClose: 'abort'", () => {
  it.each([
    ['is the default', {}],
    ['may be said', { onClientClose: 'abort' }],
  ] as const)("onClientClose 'abort': %s: the upstream’s work ends with the client", async (_, options) => {
    const { proxy, usages, asked } = await left(openaiChat, 2, options);
    await asked.closed;
    await expectOneSummary(proxy, { outcome: 'client-closed', statusCode: 200, usage: { complete: false } });
    expect(usages.count).toBe(1);
  });
});

describe("onClientClose: 'continue'", () => {
  it("onClientClose 'continue': an answer that breaks off while it is read on is not complete", async () => {
    const isDone = ({ bytes }: { bytes: string }): boolean => bytes.includes('[DONE]');
    const untilDone = openaiChat.parts.findIndex(isDone);
    const { proxy, usages, asked } = await left(openaiChat, untilDone, CONTINUE);
    asked.die();
    await expectOneSummary(proxy, { outcome: 'client-closed', usage: { complete: false } });
    expect((await usages.next()).complete).toBe(false);
  });

  const LEAVING: [when: string, answer: ProviderAnswer, parts: number, options?: SseProxyOptions][] = [
    ['before the head', openaiChat, -1],
    ['behind the head', openaiChat, 0],
    ['in the middle', openaiChat, 2],
    ['in the middle of another dialect', openaiResponses, 4],
    ['before the head of an answer in one piece', openaiChatWhole, -1],
    ['behind the head of an answer in one piece', openaiChatWhole, 0],
    ['in the middle of a stream that is transformed', openaiChat, 2, { transformEvent: () => {} }],
    ['before the head of a stream that is transformed', openaiChat, -1, { transformEvent: () => {} }],
    ['in the middle of a stream with heartbeats', openaiChat, 2, { heartbeat: { interval: 1 } }],
  ];

  it.each(LEAVING)(
    "onClientClose 'continue': reads the answer to its end, so that its usage is complete: %s",
    async (...row) => {
      const [, answer, parts, options] = row;
      const { proxy, usages, asked } = await left(answer, parts, { ...CONTINUE, ...options });
      expect(proxy.proxy.active).toBe(1);
      expect(usages.count).toBe(0);

      if (parts < 0) asked.start(answer);
      asked.send(answer.parts.slice(Math.max(parts, 0)));
      asked.end();
      const usage = usageFrom(toldBy(answer.parts));
      expect(await usages.next()).toEqual(usage);
      await expectOneSummary(proxy, { outcome: 'client-closed', usage, attempts: [{ statusCode: 200 }] });
      expect(proxy.summaries[0]?.error).toBeUndefined();
      expect(usages.count).toBe(1);
    },
  );

  it("onClientClose 'continue': reads the answer to its end also where its first event is still waited for", async () => {
    const headCame = signal();
    const { upstream, proxy, usages } = await proxiedProvider(openai, {
      ...CONTINUE,
      commit: 'first-event',
      on: { proxyRes: () => headCame.resolve() },
    });
    const client = openRequest(proxy.url + openaiChat.path).end();
    const asked = await upstream.next();
    asked.start(openaiChat);
    await headCame.promise;
    client.destroy();
    await until(async () => (await connections(proxy.server)) === 0);
    asked.send(openaiChat.parts);
    asked.end();
    expect(await usages.next()).toEqual(usageFrom(toldBy(openaiChat.parts)));
    await expectOneSummary(proxy, { outcome: 'client-closed', bytes: 0 });
  });

  it("onClientClose 'continue': reads on also what the usage is asked for in the request", async () => {
    const { proxy, usages, asked } = await left(openaiChat, -1, CONTINUE, (options) =>
      openai({ ...options, includeUsage: true }),
    );
    expect(JSON.parse(asked.body)).toHaveProperty('stream_options');
    asked.give(openaiChat);
    expect(await usages.next()).toEqual(usageFrom(toldBy(openaiChat.parts)));
    await expectOneSummary(proxy, { outcome: 'client-closed', bytes: 0 });
  });

  it("onClientClose 'continue': counts the bytes that the client was sent, and no more", async () => {
    const { proxy, asked } = await left(anthropicText, 1, CONTINUE, anthropic);
    asked.send(anthropicText.parts.slice(1));
    asked.end();
    await expectOneSummary(proxy, {
      bytes: Buffer.byteLength(anthropicText.parts[0]?.bytes ?? ''),
      events: anthropicText.parts.length,
    });
  });

  it("onClientClose 'continue': keeps the connection to the upstream for the next request", async () => {
    const { upstream, proxy, asked } = await left(openaiChat, 2, CONTINUE);
    asked.send(openaiChat.parts.slice(2));
    asked.end();
    await proxy.summary();
    openRequest(proxy.url).end();
    const { req } = await upstream.next();
    expect(req.socket).toBe(asked.req.socket);
  });

  it("onClientClose 'continue': reads on what a client had not read when it left", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...CONTINUE });
    const client = openRequest(proxy.url).end();
    const { res } = await requests.next();
    eventStream(res);
    await responseTo(client);
    const chunk = Buffer.alloc(1024 * 1024);
    let sent = 0;
    // More than all the buffers on the way take, so that it stops for the client.
    const write = (): void => {
      while (sent < 40 && res.write(chunk)) sent += 1;
      if (sent === 40) res.end();
      else sent += 1;
    };
    res.on('drain', write);
    write();
    await until(() => res.writableNeedDrain);
    client.destroy();
    await once(res, 'close');
    expect(res.writableFinished).toBe(true);
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });

  it("onClientClose 'continue': ends with the upstream where that dies: one summary, of the client that left", async () => {
    const { proxy, usages, asked } = await left(openaiChat, 2, CONTINUE);
    asked.die();
    await expectOneSummary(proxy, {
      outcome: 'client-closed',
      attempts: [{ statusCode: 200, error: 'UPSTREAM_TRUNCATED' }],
      usage: { complete: false },
    });
    expect(usages.count).toBe(1);
  });

  it("onClientClose 'continue': ends with the upstream where that dies before the head, and nothing is tried again", async () => {
    const { upstream, proxy, asked } = await left(openaiChat, -1, { ...CONTINUE, retry: { minTimeout: 1 } });
    let requests = 0;
    void upstream.next().then(() => {
      requests += 1;
    });
    asked.die();
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: [{ error: expect.any(String) }] });
    expect(requests).toBe(0);
  });

  it.each([
    ['headers', -1],
    ['idle', 2],
  ] as const)(
    "onClientClose 'continue': does not wait for an upstream for longer than `timeouts.%s`",
    async (name, parts) => {
      const { proxy, asked } = await left(openaiChat, parts, { ...CONTINUE, timeouts: { [name]: 300 } });
      await asked.closed;
      await expectOneSummary(proxy, { outcome: 'client-closed' });
    },
  );

  it("onClientClose 'continue': aborts an upload that broke off: it will not be answered", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...CONTINUE });
    const client = openRequest(proxy.url, { method: 'POST' });
    client.write('half');
    const received = await requests.next();
    await once(received.req, 'data');
    client.destroy();
    await received.closed;
    expect(received.req.complete).toBe(false);
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });

  it("onClientClose 'continue': does not begin anything for a client that left before its request was sent", async () => {
    const { url, requests } = await manualUpstream();
    const called = signal();
    const pending = signal<string>();
    const proxy = await proxyApp({
      router: () => {
        called.resolve();
        return pending.promise;
      },
      ...CONTINUE,
    });
    const client = openRequest(proxy.url).end();
    await called.promise;
    client.destroy();
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: { length: 0 } });
    pending.resolve(url);
    await turns();
    expect(requests.count).toBe(0);
  });

  it("onClientClose 'continue': keeps the place of the exchange until the answer was read", async () => {
    const { upstream, proxy, asked } = await left(openaiChat, 2, {
      ...CONTINUE,
      limits: { concurrency: 1, queue: { size: 1 } },
    });
    openRequest(`${proxy.url}/next`).end();
    await until(() => proxy.proxy.active === 2);
    asked.end();
    await proxy.summary();
    expect((await upstream.next()).req.url).toBe('/next');
  });

  it("onClientClose 'continue': is of no matter to a client that has got everything", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...CONTINUE });
    const client = openRequest(proxy.url).end();
    (await requests.next()).res.end('fine');
    (await responseTo(client)).resume();
    await expectOneSummary(proxy, { outcome: 'completed' });
  });
});

describe('what is read on for a client that has left', () => {
  it("onClientClose 'continue': what is read on is no more than 64 MiB", async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...CONTINUE });
    const client = openRequest(proxy.url).end();
    const received = await requests.next();
    const { res } = received;
    eventStream(res);
    await responseTo(client);
    client.destroy();
    const chunk = Buffer.alloc(1024 * 1024);
    let written = 0;
    const write = (): void => {
      while (!res.destroyed && res.write(chunk)) written += 1;
      written += 1;
    };
    res.on('drain', write);
    write();
    await received.closed;
    expect(written).toBeGreaterThan(63);
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });

  it("onClientClose 'continue': what is read on is what comes within five minutes; then no timer is left", async () => {
    stopTheClock();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...CONTINUE, timeouts: { idle: false, headers: false } });
    const client = openRequest(proxy.url).end();
    const received = await requests.next();
    eventStream(received.res).write('data: 1\n\n');
    await once(await responseTo(client), 'data');
    client.destroy();
    while ((await connections(proxy.server)) > 0) await turns(1);
    await turns();
    jest.advanceTimersByTime(5 * 60_000 - 1);
    await turns();
    expect(proxy.proxy.active).toBe(1);

    jest.advanceTimersByTime(1);
    await received.closed;
    await expectOneSummary(proxy, { outcome: 'client-closed' });
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('onClientClose as a function', () => {
  it.each(['abort', 'continue'] as const)(
    'onClientClose as a function: decides, once per exchange whose client leaves: %s',
    async (decision) => {
      const exchanges = new Queue<Exchange>();
      const { proxy, asked } = await left(openaiChat, 2, {
        onClientClose: (exchange) => {
          exchanges.push(exchange);
          return decision;
        },
      });
      expect(await exchanges.next()).toMatchObject({ path: openaiChat.path, attempts: [{ statusCode: 200 }] });
      if (decision === 'continue') {
        expect(proxy.proxy.active).toBe(1);
        asked.send(openaiChat.parts.slice(2));
        asked.end();
      } else {
        await asked.closed;
      }
      await expectOneSummary(proxy, {
        outcome: 'client-closed',
        usage: { complete: decision === 'continue' },
      });
      expect(exchanges.count).toBe(1);
    },
  );

  it('onClientClose as a function that throws is logged, and the work ends', async () => {
    const { logger, errors } = logbook();
    const { proxy, asked } = await left(openaiChat, 2, {
      logger,
      onClientClose: () => {
        throw new Error('no');
      },
    });
    await asked.closed;
    await expectOneSummary(proxy, { outcome: 'client-closed' });
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/onClientClose failed/);
  });

  it('onClientClose as a function: is not asked about a client that has got everything', async () => {
    const asked = new Queue<Exchange>();
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url,
      onClientClose: (exchange) => {
        asked.push(exchange);
        return 'continue';
      },
    });
    const client = openRequest(proxy.url).end();
    (await requests.next()).res.end('fine');
    (await responseTo(client)).resume();
    await expectOneSummary(proxy, { outcome: 'completed' });
    expect(asked.count).toBe(0);
  });
});
