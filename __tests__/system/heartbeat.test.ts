import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { CHROMIUM, launchChromium } from '../support/programs/chromium.js';
import { HEARTBEATS } from '../support/programs/compatibility.js';
import { proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream } from '../support/servers/upstreams.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';
import { Queue, until } from '../support/watch/wait.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launchChromium();
}, 60_000);

afterAll(async () => {
  await browser?.close();
});

afterEach(closeAll);

describe(CHROMIUM, () => {
  it.each([
    ['plain', ''],
    ['with a byte order mark', '\ufeff'],
  ])(
    `${HEARTBEATS}: %s`,
    async (_name, start) => {
      const { url, requests } = await manualUpstream();
      /** What the page has seen, told by requests of its own. */
      const seen = new Queue<string>();
      let pings = 0;
      const proxy = await proxyApp({ target: url, heartbeat: { interval: 10 } }, (app) => {
        app.get('/page', (_req, res) => void res.type('html').send('<!doctype html><link rel=icon href=data:,>'));
        app.post('/seen/:what', (req, res) => {
          seen.push(req.params.what);
          res.sendStatus(204);
        });
        app.use((_req, res, next) => {
          const { write } = res;
          res.write = (chunk: unknown, ...rest: unknown[]) => {
            if (String(chunk) === ': ping\n\n') pings += 1;
            return Reflect.apply(write, res, [chunk, ...rest]) as boolean;
          };
          next();
        });
      });
      const page = await browser.newPage();
      onCleanUp(() => page.close());
      await page.goto(`${proxy.url}/page`);
      await page.evaluate(() => {
        const tell = (what: string) => fetch(`/seen/${encodeURIComponent(what)}`, { method: 'POST' });
        const source = new EventSource('/events');
        source.onopen = () => tell('open');
        source.onmessage = ({ data, lastEventId }) => tell(`${lastEventId}:${data}`);
        source.addEventListener('named', (event) => tell(`named:${Reflect.get(event, 'data')}`));
        source.onerror = () => tell('error');
      });
      const { res } = await requests.next();
      eventStream(res);
      expect(await seen.next()).toBe('open');

      /** Several heartbeats later, of which the page has told nothing. */
      const silence = async (): Promise<void> => {
        const enough = pings + 5;
        await until(() => pings >= enough);
      };
      await silence();
      for (let i = 0; i < 10; i += 1) {
        res.write(`${i === 0 ? start : ''}id: ${i}\ndata: 字${i}\n\n`);
        expect(await seen.next()).toBe(`${i}:字${i}`);
        await silence();
      }
      res.write('event: named\r\ndata: a\r\ndata: b\r\n\r\n');
      expect(await seen.next()).toBe('named:a\nb');
      await silence();
      expect(seen.count).toBe(12);
      expect(requests.count).toBe(1);
    },
    30_000,
  );
});
