import { describe, expect, it } from '@jest/globals';
import { readText, request } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { badTarget, goodTarget, target } from '../../support/servers/targets.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('a target that is dead', () => {
  it('circuit breaker: a dead target is skipped after five failures in a row', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    for (let i = 0; i < 8; i += 1) expect(await readText(await request(proxy.url))).toBe('good');
    expect([first.seen.length, second.seen.length]).toEqual([5, 8]);
    expect(proxy.summaries.at(-1)?.attempts).toMatchObject([{ target: second.url, statusCode: 200 }]);
  });

  it('circuit breaker: a dead target is not one that has answered in between', async () => {
    let answers = 0;
    const first = await target((res) => {
      answers += 1;
      res.writeHead(answers % 5 === 0 ? 200 : 503).end('first');
    });
    const second = await goodTarget();
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    for (let i = 0; i < 12; i += 1) await readText(await request(proxy.url));
    expect(first.seen).toHaveLength(12);
  });

  it('circuit breaker: a dead target may be in the middle of the list', async () => {
    const [first, second, third] = [await badTarget(), await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      target: first.url,
      fallbacks: [second.url, third.url],
      retry: { maxRetries: 4, minTimeout: 1, timeoutFactor: 1 },
    });
    expect(await readText(await request(proxy.url))).toBe('good');
    expect(await readText(await request(proxy.url))).toBe('good');
    expect([first.seen.length, second.seen.length, third.seen.length]).toEqual([5, 5, 2]);
  });

  it('circuit breaker: a dead target is asked all the same where there is none that is not', async () => {
    const [first, second] = [await badTarget(), await badTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    for (let i = 0; i < 7; i += 1) expect((await request(proxy.url)).statusCode).toBe(503);
    expect([first.seen.length, second.seen.length]).toEqual([7, 5]);
  });

  it('circuit breaker: a dead target is asked all the same where it is the only one', async () => {
    const only = await badTarget();
    const proxy = await proxyApp({ target: only.url, retry: { maxRetries: 1, minTimeout: 1 } });
    for (let i = 0; i < 6; i += 1) expect((await request(proxy.url)).statusCode).toBe(503);
    expect(only.seen).toHaveLength(12);
  });
});
