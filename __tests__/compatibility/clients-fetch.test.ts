import { describe, expect, it } from '@jest/globals';
import { fetch as undiciFetch, request as undiciRequest } from 'undici';
import type { SseProxyOptions } from '../../lib/index.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, PING, STREAMS, versionOf } from '../support/programs/compatibility.js';
import { appStack } from '../support/servers/app-stack.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, type PendingRequest } from '../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

interface Answer {
  status: number;
  /** The header fields of this name, each by itself. */
  fields(name: string): string[];
  body: AsyncIterable<Uint8Array>;
}

interface Client {
  title: string;
  ask(url: string, signal: AbortSignal): Promise<Answer>;
}

type Fetch = (
  url: string,
  init: { signal: AbortSignal },
) => Promise<Pick<Response, 'status' | 'headers'> & { body: unknown }>;

const byFetch =
  (fetching: Fetch): Client['ask'] =>
  async (url, signal) => {
    const { status, headers, body } = await fetching(url, { signal });
    return {
      status,
      fields: (name) => (name === 'set-cookie' ? headers.getSetCookie() : [headers.get(name) ?? '']),
      body: body as AsyncIterable<Uint8Array>,
    };
  };

const CLIENTS: readonly Client[] = [
  { title: compatible('client', 'fetch of Node', process.versions.node), ask: byFetch(fetch) },
  { title: compatible('client', 'undici fetch', versionOf('undici')), ask: byFetch(undiciFetch as Fetch) },
  {
    title: compatible('client', 'undici request', versionOf('undici')),
    async ask(url, signal) {
      const { statusCode, headers, body } = await undiciRequest(url, { signal });
      return { status: statusCode, fields: (name) => [headers[name] ?? ''].flat(), body };
    },
  },
];

describe.each(CLIENTS)('$title', ({ ask }) => {
  interface Asking {
    controller: AbortController;
    coming: Promise<Answer>;
    asked: PendingRequest;
    proxy: ProxyUnderTest;
    log: string[];
  }

  async function asking(options: SseProxyOptions = {}): Promise<Asking> {
    const { url, requests } = await manualUpstream();
    const log: string[] = [];
    const proxy = await proxyApp({ target: url, ...options }, appStack(log));
    const controller = new AbortController();
    const coming = ask(`${proxy.url}/events`, controller.signal);
    return { controller, coming, asked: await requests.next(), proxy, log };
  }

  const textOf = async (body: AsyncIterable<Uint8Array>): Promise<string> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };

  it(STREAMS, async () => {
    const { coming, asked, proxy } = await asking();
    eventStream(asked.res);
    // The head, before there is an event.
    const { status, fields, body } = await coming;
    expect([status, ...fields('content-type')]).toEqual([200, 'text/event-stream']);
    const chunks = body[Symbol.asyncIterator]();
    for (const event of ['data: 1\n\n', 'data: 二\n\n', 'data: 🙂\n\n']) {
      asked.res.write(event);
      expect(Buffer.from((await chunks.next()).value ?? []).toString()).toBe(event);
    }
    asked.res.end();
    expect((await chunks.next()).done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it(ABORTS, async () => {
    const { controller, coming, asked, proxy } = await asking();
    eventStream(asked.res);
    const { body } = await coming;
    controller.abort();
    await expect(textOf(body)).rejects.toThrow();
    await asked.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('an abort before the head', async () => {
    const { controller, coming, asked, proxy } = await asking();
    controller.abort();
    await expect(coming).rejects.toThrow();
    await asked.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('loops that are left', async () => {
    const { coming, asked, proxy } = await asking();
    eventStream(asked.res).write('data: 1\n\n');
    for await (const _chunk of (await coming).body) break;
    await asked.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    const { coming, asked, proxy } = await asking();
    const error = '{"error":{"message":"Too many."}}';
    asked.res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' }).end(error);
    const { status, fields, body } = await coming;
    expect([status, ...fields('retry-after')]).toEqual([429, '7']);
    expect(await textOf(body)).toContain('Too many.');
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 429 });
  });

  it(HEARTBEATS, async () => {
    const { coming, asked } = await asking({ heartbeat: { interval: 10 } });
    eventStream(asked.res);
    const { body } = await coming;
    const chunks = body[Symbol.asyncIterator]();
    let text = '';
    const until = async (wanted: string): Promise<void> => {
      const { length } = text;
      while (!text.includes(wanted, length)) {
        const { done, value } = await chunks.next();
        if (done === true) throw new Error(`The stream ended without ${wanted}`);
        text += Buffer.from(value).toString();
      }
    };
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      await until(PING.repeat(2));
      asked.res.write(event);
      await until(event + PING);
    }
    asked.res.end();
    for (let chunk = await chunks.next(); !chunk.done; chunk = await chunks.next()) text += Buffer.from(chunk.value);
    expect(text.replaceAll(PING, '')).toBe('data: 1\n\ndata: 2\n\n');
  });

  it('an upstream that dies', async () => {
    const { coming, asked, proxy } = await asking();
    eventStream(asked.res).write('data: 1\n\n', () => asked.res.destroy());
    const { body } = await coming;
    await expect(textOf(body)).rejects.toThrow(/terminated|other side closed/);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it("the app's own header fields", async () => {
    const { coming, asked, proxy, log } = await asking();
    asked.res.setHeader('set-cookie', 'upstream=1').setHeader('x-upstream', '1');
    eventStream(asked.res).end('data: 1\n\n');
    const { fields, body } = await coming;
    expect(await textOf(body)).toBe('data: 1\n\n');
    expect(fields('x-upstream')).toEqual(['1']);
    expect(fields('x-content-type-options')).toEqual(['nosniff']);
    expect(fields('access-control-allow-origin')).toEqual(['https://app.example']);
    expect(fields('content-encoding')).toEqual(['']);
    expect(fields('set-cookie').map((cookie) => cookie.split('=')[0])).toEqual(
      expect.arrayContaining(['connect.sid', 'upstream']),
    );
    await proxy.summary();
    expect(log).toEqual(['GET /events 200']);
  });
});

it('the body of a fetch that is cancelled before a chunk of it is read', async () => {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url }, appStack());
  const coming = fetch(proxy.url);
  const { res, closed } = await requests.next();
  eventStream(res);
  await (await coming).body?.cancel();
  await closed;
  expect((await proxy.summary()).outcome).toBe('client-closed');
});
