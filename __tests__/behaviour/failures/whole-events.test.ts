/** `truncation: 'event'`: what the client has of a stream that breaks off is whole events, one error event, and the cut. */
import net from 'node:net';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { listen } from '../../support/servers/listen.js';
import { proxyApp, proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const EVENT = 'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n';
const ERROR = /data: \{"error":\{[^\n]*\}\}\n\n$/;
const PROVIDER = openai({ apiKey: 'sk-1234567890' });

/** An upstream that sends these pieces, each in a read of its own, and dies. */
async function dying(pieces: readonly (string | Buffer)[], type = 'text/event-stream'): Promise<string> {
  const { url } = await upstream(async (_req, res) => {
    res.writeHead(200, { 'content-type': type });
    for (const piece of pieces) {
      res.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    res.destroy();
  });
  return url;
}

describe.each(VERSIONS)('to a client of %s', (version) => {
  const HALVES: [string, string[]][] = [
    ['half an event in a read of its own', [EVENT, 'data: {"choi']],
    ['half an event behind a whole one', [`${EVENT}data: {"choi`]],
    ['half an event in several reads', [EVENT, 'data: {"cho', 'ices":[{"del', 'ta":']],
    ['an event without its blank line', [EVENT, 'data: {}\n']],
    ['half a field', [EVENT, 'da']],
    ['nothing but half an event', ['data: {"choi']],
    ['half a comment', [EVENT, ': pi']],
  ];

  it.each(HALVES)('%s is left out, and the error event stands by itself', async (_what, pieces) => {
    const { ask, summary } = await proxyIn(version, { target: await dying(pieces), provider: PROVIDER });
    const { text, cut } = await (await ask()).ended();
    expect(cut).toBe(true);
    const whole = pieces.join('').includes(EVENT) ? EVENT : '';
    expect(text.startsWith(whole)).toBe(true);
    expect(text.slice(whole.length)).toMatch(/^data: \{"error":/);
    expect(text).toMatch(ERROR);
    expect(await summary()).toMatchObject({ outcome: 'upstream-truncated', bytes: Buffer.byteLength(text) });
  });

  it.each(['\n', '\r\n', '\r'])('with lines that end in %j, split anywhere', async (end) => {
    const event = `event: a${end}data: b${end}${end}`;
    for (let at = 1; at < event.length; at += 1) {
      const target = await dying([event + event.slice(0, at), event.slice(at) + event.slice(0, at)]);
      const { ask } = await proxyIn(version, { target, truncation: 'event' });
      const { text } = await (await ask()).ended();
      const [whole = ''] = text.split('event: error');
      // Of a CRLF that ends the last event, the LF may have been still to come.
      expect([event + event, (event + event).slice(0, -1)]).toContain(whole);
    }
  });

  it.each([0, 5])(
    'nothing comes behind the error event where only the end of the connection would end the body: %d ms',
    async (delay) => {
      const server = net.createServer((socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nd', () => {
            setTimeout(() => socket.resetAndDestroy(), delay);
          });
        });
        socket.on('error', () => {});
      });
      const target = `http://127.0.0.1:${await listen(server)}`;
      const { ask, summary } = await proxyIn(version, { target, truncation: 'event' });
      const { text, cut } = await (await ask()).ended();
      expect([text.replace(/data: .*\n/, 'data\n'), cut]).toEqual(['event: error\ndata\n\n', true]);
      expect(await summary()).toMatchObject({ outcome: 'upstream-truncated', bytes: Buffer.byteLength(text) });
    },
  );

  it('a line of NDJSON', async () => {
    const target = await dying(['{"a":1}\n{"b":', '2}\n{"c"'], 'application/x-ndjson');
    const { ask } = await proxyIn(version, { target, truncation: 'event' });
    const { text } = await (await ask()).ended();
    expect(text).toMatch(/^\{"a":1\}\n\{"b":2\}\n\{"error":.*\}\n$/);
  });

  it('whole events leave at once, and what is between them as well', async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await proxyIn(version, { target: url, provider: PROVIDER });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write(EVENT);
    const answer = await asked;
    expect(await answer.until(EVENT)).toBe(EVENT);
    res.write(`: comment\n\n${EVENT}data: {"half":`);
    expect(await answer.until(EVENT)).toBe(`: comment\n\n${EVENT}`);
    res.write('1}\n\n');
    expect(await answer.until('\n\n')).toBe('data: {"half":1}\n\n');
    res.end();
    await answer.ended();
  });

  it('a stream that ends in half an event passes to its last byte', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end(`${EVENT}data: {"usage":null}`));
    const { ask, summary } = await proxyIn(version, { target: url, provider: PROVIDER });
    expect(await (await ask()).ended()).toEqual({ text: `${EVENT}data: {"usage":null}`, cut: false });
    expect((await summary()).outcome).toBe('completed');
  });

  it('of an event that is larger than limits.eventSize nothing is held', async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await proxyIn(version, { target: url, provider: PROVIDER, limits: { eventSize: '1kb' } });
    const asked = ask();
    const { res } = await requests.next();
    const large = `data: ${'x'.repeat(3000)}`;
    eventStream(res).write(EVENT + large);
    const answer = await asked;
    expect(await answer.until(large)).toBe(EVENT + large);
    res.end(`\n\n${EVENT}`);
    expect((await answer.ended()).text).toBe(`${EVENT}${large}\n\n${EVENT}`);
  });

  it('a heartbeat goes between events also while the next one is on its way', async () => {
    const { url, requests } = await manualUpstream();
    const { ask } = await proxyIn(version, { target: url, provider: PROVIDER, heartbeat: { interval: 20 } });
    const asked = ask();
    const { res } = await requests.next();
    eventStream(res).write(`\ufeff${EVENT}data: {"half":`);
    const answer = await asked;
    await answer.until(`${EVENT}: ping\n\n`);
    res.end('1}\n\n');
    const { text } = await answer.ended();
    expect(text.replaceAll(': ping\n\n', '').replace('\ufeff', '')).toBe(`${EVENT}data: {"half":1}\n\n`);
  });

  it.each([
    ['with a provider', { provider: PROVIDER }],
    ['without one', { truncation: 'event' as const }],
  ])('two proxies in a row tell once: %s', async (_who, options: SseProxyOptions) => {
    const inner = await proxyApp({ target: await dying([EVENT, 'data: {"choi']), ...options });
    const { ask } = await proxyIn(version, { ...options, target: inner.url });
    const { text, cut } = await (await ask()).ended();
    expect(cut).toBe(true);
    expect(text.match(/"error":\{/g)).toHaveLength(1);
    expect(text.startsWith(EVENT)).toBe(true);
  });

  it('`[DONE]` in two reads is an end all the same: no error event follows it', async () => {
    const { ask } = await proxyIn(version, {
      target: await dying([EVENT, 'data: [DO', 'NE]\n\n']),
      provider: PROVIDER,
    });
    expect(await (await ask()).ended()).toEqual({ text: `${EVENT}data: [DONE]\n\n`, cut: true });
  });

  it("with `truncation: 'destroy'` nothing is held", async () => {
    const target = await dying([EVENT, 'data: {"choi']);
    const { ask } = await proxyIn(version, { target, provider: PROVIDER, truncation: 'destroy' });
    expect(await (await ask()).ended()).toEqual({ text: `${EVENT}data: {"choi`, cut: true });
  });
});

it('a client that has left does not keep what is held', async () => {
  const { url, requests } = await manualUpstream();
  const { ask, summary } = await proxyIn('HTTP/1.1', { target: url, provider: PROVIDER, onClientClose: 'continue' });
  const asked = ask();
  const { res } = await requests.next();
  eventStream(res).write(`${EVENT}data: {"half":`);
  const answer = await asked;
  await answer.until(EVENT);
  answer.leave();
  res.end('1}\n\ndata: [DONE]\n\n');
  expect(await summary()).toMatchObject({ outcome: 'client-closed' });
});
