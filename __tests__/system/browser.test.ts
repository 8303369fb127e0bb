import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { Browser, Page } from 'playwright-core';
import { launchChromium } from '../support/chromium.js';
import { closeAll, eventStream, type ProxyUnderTest, proxyApp, upstream } from '../support/servers.js';
import { Queue } from '../support/watch.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launchChromium();
}, 60_000);

afterAll(async () => {
  await browser?.close();
});

interface Stream {
  req: IncomingMessage;
  res: ServerResponse;
  closed: Promise<void>;
}

describe('Chromium, through compression() and the proxy', () => {
  /** The streams that were asked for upstream. */
  let streams: Queue<Stream>;
  /** What the page has acknowledged, by a request of its own. */
  let acks: Queue<string>;
  let proxy: ProxyUnderTest;
  let page: Page;

  beforeEach(async () => {
    streams = new Queue();
    acks = new Queue();
    const { url } = await upstream((req, res) => {
      const closed = new Promise<void>((resolve) => void res.once('close', resolve));
      streams.push({ req, res: eventStream(res), closed });
    });
    proxy = await proxyApp({ target: url }, (app) => {
      app.use(compression());
      app.get('/page', (_req, res) => void res.type('html').send('<!doctype html><link rel=icon href=data:,>'));
      app.post('/ack/:what', (req, res) => {
        acks.push(req.params.what);
        res.sendStatus(204);
      });
    });
    page = await browser.newPage();
    await page.goto(`${proxy.url}/page`);
  }, 30_000);

  afterEach(async () => {
    await page?.close();
    await closeAll();
  });

  const openEventSource = (): Promise<void> =>
    page.evaluate(() => {
      const ack = (what: string) => fetch(`/ack/${encodeURIComponent(what)}`, { method: 'POST' });
      const source = new EventSource('/events');
      source.onopen = () => ack('open');
      source.onmessage = ({ data, lastEventId }) => ack(`${lastEventId}:${data}`);
      source.addEventListener('named', (event) => ack(`named:${Reflect.get(event, 'data')}`));
      source.onerror = () => ack('error');
      Object.assign(globalThis, { source });
    });

  it('EventSource opens before the first event, and has each before the next is sent', async () => {
    await openEventSource();
    const { req, res } = await streams.next();
    expect(req.headers.accept).toBe('text/event-stream');
    expect(req.headers['accept-encoding']).toBe('identity');
    expect(await acks.next()).toBe('open');
    for (let i = 0; i < 20; i += 1) {
      res.write(`id: ${i}\ndata: 字${i}\n\n`);
      expect(await acks.next()).toBe(`${i}:字${i}`);
    }
    res.write('event: named\r\ndata: a\r\ndata: b\r\n\r\n');
    expect(await acks.next()).toBe('named:a\nb');
  });

  it('EventSource reconnects with Last-Event-ID, whether the upstream ends or dies', async () => {
    await openEventSource();
    const first = await streams.next();
    expect(first.req.headers['last-event-id']).toBeUndefined();
    expect(await acks.next()).toBe('open');
    first.res.end('retry: 1\nid: 41\ndata: 1\n\n');
    expect(await acks.next()).toBe('41:1');
    expect(await acks.next()).toBe('error');

    const second = await streams.next();
    expect(second.req.headers['last-event-id']).toBe('41');
    expect(await acks.next()).toBe('open');
    second.res.write('id: 42\ndata: 2\n\n');
    expect(await acks.next()).toBe('42:2');
    second.res.destroy();
    expect(await acks.next()).toBe('error');

    const third = await streams.next();
    expect(third.req.headers['last-event-id']).toBe('42');
    expect((await proxy.summary()).outcome).toBe('completed');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('EventSource that is closed stops the upstream', async () => {
    await openEventSource();
    const { closed } = await streams.next();
    expect(await acks.next()).toBe('open');
    await page.evaluate(() => Reflect.get(globalThis, 'source').close());
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('a page that is left stops the upstream', async () => {
    await openEventSource();
    const { closed } = await streams.next();
    expect(await acks.next()).toBe('open');
    await page.goto('about:blank');
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  /** Reads with `fetch` until it is aborted; acknowledges each chunk. */
  const read = (): Promise<void> =>
    page.evaluate(() => {
      const ack = (what: string) => fetch(`/ack/${encodeURIComponent(what)}`, { method: 'POST' });
      const controller = new AbortController();
      Object.assign(globalThis, { controller });
      const run = async () => {
        const response = await fetch('/chat', { method: 'POST', body: 'prompt', signal: controller.signal });
        await ack(`${response.status}`);
        const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { done, value } = (await reader?.read()) ?? { done: true };
          if (done) break;
          await ack(String(value));
        }
        await ack('done');
      };
      run().catch((error: Error) => ack(error.name));
    });

  it('fetch reads each chunk before the next is sent', async () => {
    await read();
    const { res } = await streams.next();
    expect(await acks.next()).toBe('200');
    for (const event of ['data: 1\n\n', 'data: 🙂\n\n', 'data: 3\n\n']) {
      res.write(event);
      expect(await acks.next()).toBe(event);
    }
    res.end();
    expect(await acks.next()).toBe('done');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('fetch that is aborted stops the upstream', async () => {
    await read();
    const { res, closed } = await streams.next();
    expect(await acks.next()).toBe('200');
    res.write('data: 1\n\n');
    expect(await acks.next()).toBe('data: 1\n\n');
    await page.evaluate(() => Reflect.get(globalThis, 'controller').abort());
    expect(await acks.next()).toBe('AbortError');
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('fetch fails where the upstream dies', async () => {
    await read();
    const { res } = await streams.next();
    expect(await acks.next()).toBe('200');
    res.write('data: 1\n\n');
    expect(await acks.next()).toBe('data: 1\n\n');
    res.destroy();
    expect(await acks.next()).toBe('TypeError');
  });
});
