import { monitorEventLoopDelay } from 'node:perf_hooks';
import { describe, expect, it, jest } from '@jest/globals';
import { openRequest, reader, responseTo } from '../../support/clients/http.js';
import { stuckClient } from '../../support/clients/raw.js';
import { opened } from '../../support/clients/web-sockets.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { openStream } from '../../support/streams/open-streams.js';
import { messagesOf } from '../../support/watch/channels.js';
import { stopAllClocks } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { type Queue, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const EVENT = 'data: 1\n\n';
const OFF = { connect: false, headers: false, idle: false, drain: false, total: false } as const;
const ABOUT_10_S = expect.closeTo(10_000, -3.4);

/** So many seconds pass, one after the other, with all that is due in each. */
async function pass(seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i += 1) {
    jest.advanceTimersByTime(1_000);
    await turns();
  }
}

/** The stalls that were told since. */
async function newsOf<T>(stalls: Queue<T>, seen: number): Promise<T[]> {
  return Promise.all(Array.from({ length: stalls.count - seen }, () => stalls.next()));
}

describe('stalls', () => {
  it('stalls: upstream: silent in the middle of a stream, told once, and again when that happens again', async () => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { proxy, res, response } = await openStream({ timeouts: OFF });
    const { until } = reader(response);
    for (let i = 0; i < 2; i += 1) {
      res.write(EVENT);
      await until(EVENT);
      await pass(9);
      expect(stalls.count).toBe(i);
      await pass(20);
      expect(await newsOf(stalls, i)).toEqual([
        { id: expect.any(String), cause: 'upstream', phase: 'idle', duration: ABOUT_10_S },
      ]);
    }
    res.end();
    await proxy.summary();
    await pass(20);
    expect(stalls.count).toBe(2);
  });

  it('stalls: upstream: no head', async () => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: OFF });
    const req = openRequest(proxy.url);
    req.end();
    const { res } = await requests.next();
    await pass(12);
    expect(await newsOf(stalls, 0)).toMatchObject([{ cause: 'upstream', phase: 'headers', duration: ABOUT_10_S }]);
    res.end();
    (await responseTo(req)).resume();
    await proxy.summary();
  });

  it('stalls: client: does not read (backpressure)', async () => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: OFF });
    const { socket } = stuckClient(proxy.server);
    const { res } = await requests.next();
    eventStream(res).write(Buffer.alloc(1024 * 1024, 'x'));
    // What it has taken by the first look is progress.
    await pass(15);
    expect(await newsOf(stalls, 0)).toMatchObject([{ cause: 'client', phase: 'drain', duration: ABOUT_10_S }]);
    socket.destroy();
    await proxy.summary();
  });

  it('stalls: client: does not send the rest of its request', async () => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, timeouts: OFF });
    const req = openRequest(proxy.url, { method: 'POST', headers: { 'content-length': 4 } });
    req.write('12');
    const { req: received } = await requests.next();
    received.resume();
    await pass(12);
    expect(await newsOf(stalls, 0)).toMatchObject([{ cause: 'client', phase: 'headers', duration: ABOUT_10_S }]);
    req.destroy();
    await proxy.summary();
  });

  it.each(['router', 'pathRewrite'] as const)('stalls: hook: an async %s that does not settle', async (name) => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { url, requests } = await manualUpstream();
    const asked = signal();
    const answer = signal<string>();
    const hook = (): Promise<string> => {
      asked.resolve();
      return answer.promise;
    };
    const proxy = await proxyApp({ target: url, timeouts: OFF, [name]: hook });
    const req = openRequest(proxy.url);
    req.end();
    await asked.promise;
    await pass(12);
    expect(await newsOf(stalls, 0)).toMatchObject([{ cause: 'hook', hook: name, duration: ABOUT_10_S }]);
    answer.resolve(name === 'router' ? url : '/v1');
    const { res } = await requests.next();
    res.end();
    (await responseTo(req)).resume();
    await proxy.summary();
  });

  it.each(['commit', 'transformEvent'] as const)('stalls: hook: an async %s that does not settle', async (name) => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { url, requests } = await manualUpstream();
    const asked = signal();
    const settled = signal<undefined>();
    const hook = (): Promise<undefined> => {
      asked.resolve();
      return settled.promise;
    };
    const proxy = await proxyApp({ target: url, timeouts: OFF, [name]: hook });
    const req = openRequest(proxy.url);
    req.end();
    const response = responseTo(req);
    const { res } = await requests.next();
    eventStream(res).write(EVENT);
    await asked.promise;
    await pass(13);
    expect(await newsOf(stalls, 0)).toMatchObject([{ cause: 'hook', hook: name, duration: ABOUT_10_S }]);
    settled.resolve(undefined);
    const { until } = reader(await response);
    await until(EVENT);
    await pass(13);
    // It is the upstream's turn again.
    expect(await newsOf(stalls, 1)).toMatchObject([{ cause: 'upstream', duration: ABOUT_10_S }]);
    res.end();
    await proxy.summary();
  });

  it('stalls: event loop: blocked, which is told of all exchanges, and for which nobody else is blamed', async () => {
    const stalls = messagesOf('stalled');
    const first = await openStream({ timeouts: OFF });
    const second = await openStream({ timeouts: OFF });
    // What measures the delay has to have begun, as one beside it that began later has.
    const delay = monitorEventLoopDelay({ resolution: 100 });
    delay.enable();
    await until(() => delay.count > 0);
    delay.disable();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
    const told = [await stalls.next(), await stalls.next()];
    expect(told).toMatchObject([{ cause: 'event-loop' }, { cause: 'event-loop' }]);
    expect(new Set(told.map(({ id }) => id)).size).toBe(2);
    expect(told[0]?.duration).toBeGreaterThan(1_300);
    for (const { res, response, proxy } of [first, second]) {
      res.end();
      response.resume();
      await proxy.summary();
    }
  });

  it('stalls: are none where something moves, or where nobody waits: a WebSocket', async () => {
    stopAllClocks();
    const stalls = messagesOf('stalled');
    const { res, response, proxy } = await openStream({ timeouts: OFF });
    const read = reader(response);
    const { url: target } = await echoUpstream();
    const { url } = await upgradeServer({ target });
    await opened(url);
    for (let i = 0; i < 4; i += 1) {
      await pass(8);
      res.write(EVENT);
      await read.until(EVENT);
    }
    expect(stalls.count).toBe(0);
    res.end();
    await proxy.summary();
  });

  it('stalls: are watched for by one timer for all, and by none where nobody has subscribed', async () => {
    stopAllClocks();
    const started = jest.spyOn(globalThis, 'setInterval');
    const unwatched = await openStream({ timeouts: OFF });
    expect(started).not.toHaveBeenCalled();
    messagesOf('stalled');
    const streams = [await openStream({ timeouts: OFF }), await openStream({ timeouts: OFF })];
    expect(started).toHaveBeenCalledTimes(1);
    const timers = jest.getTimerCount();
    for (const { res, response, proxy } of [unwatched, ...streams]) {
      res.end();
      response.resume();
      await proxy.summary();
    }
    await until(() => jest.getTimerCount() < timers);
    started.mockRestore();
  });
});
