/** `selfHandleResponse`: responses that are the user's to send, where their upstream dies or their client leaves. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { responseInterceptor, type SseProxyOptions } from '../../../lib/index.js';
import { proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const INTERCEPTOR = responseInterceptor(async (buffer) => `<${buffer}>`);

describe('selfHandleResponse with responseInterceptor', () => {
  it.each([
    ['plain', {}, Buffer.from('half')],
    ['gzip', { 'content-encoding': 'gzip' }, gzipSync('a text that is whole').subarray(0, 15)],
  ])(
    'selfHandleResponse: responseInterceptor does not answer a response that broke off as if it were whole: %s',
    async (_coding, head, half) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/plain', ...head }).write(half, () => res.destroy());
      });
      const options = { target: url, selfHandleResponse: true, on: { proxyRes: INTERCEPTOR } } as SseProxyOptions;
      const { ask, summary, proxy } = await proxyIn('HTTP/1.1', options);
      const answer = await ask();
      expect(answer.status).toBe(502);
      await answer.ended();
      expect(['upstream-truncated', 'upstream-error']).toContain((await summary()).outcome);
      expect(proxy.active).toBe(0);
    },
  );

  it('selfHandleResponse: responseInterceptor answers a whole response', async () => {
    const { url } = await upstream((_req, res) => res.end('whole'));
    const options = { target: url, selfHandleResponse: true, on: { proxyRes: INTERCEPTOR } } as SseProxyOptions;
    const { ask, summary } = await proxyIn('HTTP/1.1', options);
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([200, '<whole>']);
    expect((await summary()).outcome).toBe('completed');
  });
});

describe.each(VERSIONS)('selfHandleResponse, for a client of %s', (version) => {
  it("selfHandleResponse, with onClientClose: 'continue': is over when the upstream's answer is", async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary, proxy } = await proxyIn(version, {
      target: url,
      selfHandleResponse: true,
      onClientClose: 'continue',
      on: { proxyRes: (response, _req, res) => void response.pipe(res) },
    });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write('data: a\n\n');
    const answer = await asked;
    await answer.until('data: a');
    answer.leave();
    setTimeout(() => res.end('data: b\n\n'), 50);
    expect((await summary()).outcome).toBe('client-closed');
    expect(proxy.active).toBe(0);
  });
});
