import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { Browser, Page } from 'playwright-core';
import { CHROMIUM, launchChromium } from '../support/programs/chromium.js';
import { ABORTS, ERRORS, STREAMS } from '../support/programs/compatibility.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, type PendingRequest } from '../support/servers/upstreams.js';
import { closeAll } from '../support/watch/clean-up.js';
import { Queue } from '../support/watch/wait.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launchChromium();
}, 60_000);

afterAll(async () => {
  await browser?.close();
});

describe(CHROMIUM, () => {
  /** What was asked for upstream. */
  let requests: Queue<PendingRequest>;
  /** What the page has acknowledged, by a request of its own. */
  let acks: Queue<string>;
  let proxy: ProxyUnderTest;
  let page: Page;

  beforeEach(async () => {
    acks = new Queue();
    const manual = await manualUpstream();
    requests = manual.requests;
    proxy = await proxyApp({ target: manual.url }, (app) => {
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

  /** The next request, which is answered with a stream. */
  const nextStream = async (): Promise<PendingRequest> => {
    const received = await requests.next();
    eventStream(received.res);
    return received;
  };

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

  it(`${STREAMS}: EventSource`, async () => {
    await openEventSource();
    const { req, res } = await nextStream();
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

  it('Last-Event-ID', async () => {
    await openEventSource();
    const first = await nextStream();
    expect(first.req.headers['last-event-id']).toBeUndefined();
    expect(await acks.next()).toBe('open');
    first.res.end('retry: 1\nid: 41\ndata: 1\n\n');
    expect(await acks.next()).toBe('41:1');
    expect(await acks.next()).toBe('error');

    const second = await nextStream();
    expect(second.req.headers['last-event-id']).toBe('41');
    expect(await acks.next()).toBe('open');
    second.res.write('id: 42\ndata: 2\n\n');
    expect(await acks.next()).toBe('42:2');
    second.res.destroy();
    expect(await acks.next()).toBe('error');

    const third = await nextStream();
    expect(third.req.headers['last-event-id']).toBe('42');
    expect((await proxy.summary()).outcome).toBe('completed');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it(`${ABORTS}: EventSource`, async () => {
    await openEventSource();
    const { closed } = await nextStream();
    expect(await acks.next()).toBe('open');
    await page.evaluate(() => Reflect.get(globalThis, 'source').close());
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(`${ABORTS}: a page that is left`, async () => {
    await openEventSource();
    const { closed } = await nextStream();
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

  it(`${STREAMS}: fetch`, async () => {
    await read();
    const { res } = await nextStream();
    expect(await acks.next()).toBe('200');
    for (const event of ['data: 1\n\n', 'data: 🙂\n\n', 'data: 3\n\n']) {
      res.write(event);
      expect(await acks.next()).toBe(event);
    }
    res.end();
    expect(await acks.next()).toBe('done');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it(`${ABORTS}: fetch`, async () => {
    await read();
    const { res, closed } = await nextStream();
    expect(await acks.next()).toBe('200');
    res.write('data: 1\n\n');
    expect(await acks.next()).toBe('data: 1\n\n');
    await page.evaluate(() => Reflect.get(globalThis, 'controller').abort());
    expect(await acks.next()).toBe('AbortError');
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    await read();
    const { res } = await requests.next();
    res.writeHead(429, { 'content-type': 'application/json' }).end('{"error":{}}');
    for (const seen of ['429', '{"error":{}}', 'done']) expect(await acks.next()).toBe(seen);
  });

  it('an upstream that dies', async () => {
    await read();
    const { res } = await nextStream();
    expect(await acks.next()).toBe('200');
    res.write('data: 1\n\n');
    expect(await acks.next()).toBe('data: 1\n\n');
    res.destroy();
    expect(await acks.next()).toBe('TypeError');
  });
});
