import { describe, expect, it } from '@jest/globals';
import { type ErrorEvent, EventSource } from 'eventsource';
import type { SseProxyOptions } from '../../lib/index.js';
import { tappedFetch } from '../support/clients/sdks.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, PING, STREAMS, versionOf } from '../support/programs/compatibility.js';
import { appStack } from '../support/servers/app-stack.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, type PendingRequest } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import type { Queue } from '../support/watch/wait.js';

closeAndWatchEachTest();

/** An EventSource that asks through the proxy of an app, and what arrives upstream. */
async function subscribe(
  options: SseProxyOptions = {},
  tap = fetch,
): Promise<{ source: EventSource; proxy: ProxyUnderTest; requests: Queue<PendingRequest> }> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options }, appStack());
  const source = new EventSource(proxy.url, { fetch: tap });
  onCleanUp(() => source.close());
  return { source, proxy, requests };
}

const event = (source: EventSource, type: string): Promise<MessageEvent | Event | ErrorEvent> =>
  new Promise((resolve) => source.addEventListener(type, resolve, { once: true }));

describe(compatible('client', 'eventsource', versionOf('eventsource')), () => {
  it(STREAMS, async () => {
    const { source, requests } = await subscribe();
    const opened = event(source, 'open');
    const res = eventStream((await requests.next()).res);
    // Before there is an event.
    await opened;
    for (const data of ['one', 'zwei\n2', '三']) {
      const message = event(source, 'message');
      res.write(`${data.replace(/^/gm, 'data: ')}\n\n`);
      expect(await message).toMatchObject({ data });
    }
    const named = event(source, 'named');
    res.write('event: named\nid: 序\ndata: {}\n\n');
    expect(await named).toMatchObject({ data: '{}', lastEventId: '序' });
  });

  it(ABORTS, async () => {
    const { source, requests, proxy } = await subscribe();
    const opened = event(source, 'open');
    const { res, closed } = await requests.next();
    eventStream(res);
    await opened;
    source.close();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    const { source, requests } = await subscribe();
    const failed = event(source, 'error');
    (await requests.next()).res.writeHead(429, { 'content-type': 'text/event-stream' }).end();
    expect(await failed).toMatchObject({ code: 429 });
    // It does not try again.
    expect(source.readyState).toBe(source.CLOSED);
  });

  it(HEARTBEATS, async () => {
    const tap = tappedFetch();
    const { source, requests } = await subscribe({ heartbeat: { interval: 10 } }, tap.fetch);
    const res = eventStream((await requests.next()).res);
    const seen: unknown[] = [];
    source.onmessage = ({ data }) => seen.push(data);
    source.onerror = (error) => seen.push(error);
    for (const data of ['1', '2']) {
      const { length } = tap.wire;
      await tap.until(() => tap.wire.slice(length).includes(PING.repeat(2)));
      const message = event(source, 'message');
      res.write(`data: ${data}\n\n`);
      expect(await message).toMatchObject({ data });
    }
    expect(seen).toEqual(['1', '2']);
  });

  it('Last-Event-ID', async () => {
    const { source, requests } = await subscribe();
    const first = await requests.next();
    expect(first.req.headers['last-event-id']).toBeUndefined();
    const message = event(source, 'message');
    eventStream(first.res).write('retry: 1\nid: 41\ndata: 1\n\n');
    await message;
    const again = event(source, 'message');
    first.res.end('id: 42\ndata: 2\n\n');
    expect(await again).toMatchObject({ lastEventId: '42' });
    expect((await requests.next()).req.headers['last-event-id']).toBe('42');
  });

  it('an upstream that dies', async () => {
    const { source, requests, proxy } = await subscribe();
    const first = await requests.next();
    const message = event(source, 'message');
    eventStream(first.res).write('retry: 1\nid: 7\ndata: 1\n\n');
    await message;
    first.res.destroy();
    expect((await requests.next()).req.headers['last-event-id']).toBe('7');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('an upstream that has no stream', async () => {
    const { source, requests } = await subscribe();
    const failed = event(source, 'error');
    (await requests.next()).res.writeHead(204).end();
    await failed;
    expect(source.readyState).toBe(source.CLOSED);
  });
});
