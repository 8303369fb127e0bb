import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import type { CostContext, SseProxyOptions, StreamSummary, Usage } from '../../../lib/index.js';
import { accessLog } from '../../../lib/index.js';
import { anthropic, gemini, openai } from '../../../lib/providers/index.js';
import { openRequest, readText, responseTo } from '../../support/clients/http.js';
import { post, proxiedProvider } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream } from '../../support/servers/upstreams.js';
import { anthropicText, bytesOf, geminiSse, openaiChat } from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const BODY = JSON.stringify({ model: 'gpt-5-mini', stream: true, messages: [{ role: 'user', content: 'Hi' }] });

/** The summary of one exchange, and what `cost` was given. */
async function exchanged(options: SseProxyOptions, body: string | Buffer = BODY, headers: object = {}) {
  const given: [Usage, CostContext][] = [];
  const set = await proxiedProvider(openai, {
    cost: (usage, context) => {
      given.push([usage, context]);
      return 0.25;
    },
    ...options,
  });
  const coming = post(set.proxy.url + openaiChat.path, body, headers);
  (await set.upstream.next()).give(openaiChat);
  await readText(await coming);
  const usage = await set.usages.next();
  return { given, usage, summary: (await set.proxy.summary()) as StreamSummary };
}

describe('cost', () => {
  it('cost: is asked once, with the figures and of what they are, and told everywhere', async () => {
    const { given, usage, summary } = await exchanged({});
    expect(given).toEqual([
      [
        expect.objectContaining({ inputTokens: 1117, outputTokens: 146, complete: true }),
        { provider: 'openai', model: 'gpt-5-mini-2025-08-07', requestModel: 'gpt-5-mini', serviceTier: 'default' },
      ],
    ]);
    expect(given[0]?.[0]).not.toHaveProperty('cost');
    expect(usage).toMatchObject({ inputTokens: 1117, cost: 0.25 });
    expect(summary).toMatchObject({ cost: 0.25, usage: { cost: 0.25 }, requestModel: 'gpt-5-mini', stream: true });
    expect(summary.attempts).toEqual([expect.objectContaining({ requestModel: 'gpt-5-mini', stream: true })]);
  });

  it.each<[string, unknown, boolean]>([
    ['does not know', undefined, false],
    ['gives null', null, false],
    ['gives text', '0.25', true],
    ['gives NaN', Number.NaN, true],
    ['gives less than nothing', -1, true],
    ['gives a promise', Promise.resolve(1), true],
  ])('cost: is left out where it %s', async (_name, result, isLogged) => {
    const errors: string[] = [];
    const logger = { info() {}, warn() {}, error: (text: string) => errors.push(text) };
    const { usage, summary } = await exchanged({ cost: () => result as number, logger });
    expect(usage).not.toHaveProperty('cost');
    expect(summary).not.toHaveProperty('cost');
    expect(errors).toEqual(isLogged ? [expect.stringContaining('cost')] : []);
  });

  it('cost: of what throws, the exchange knows nothing', async () => {
    const errors: string[] = [];
    const logger = { info() {}, warn() {}, error: (text: string) => errors.push(text) };
    const cost = (): number => {
      throw new Error('no price list');
    };
    const { summary } = await exchanged({ cost, logger });
    expect(summary).toMatchObject({ outcome: 'completed' });
    expect(errors).toEqual([expect.stringContaining('no price list')]);
  });

  it('cost: is not asked where nothing was reported', async () => {
    let asked = 0;
    const { upstream, proxy } = await proxiedProvider(openai, {
      cost: () => {
        asked += 1;
        return 1;
      },
    });
    const coming = post(`${proxy.url}/v1/chat/completions`);
    (await upstream.next()).res.writeHead(500, { 'content-type': 'application/json' }).end('{"error":{}}');
    await readText(await coming);
    await proxy.summary();
    expect(asked).toBe(0);
  });

  it('cost: is in a line of the access log', async () => {
    const lines: string[] = [];
    const text = accessLog({ write: (line) => lines.push(line) });
    const json = accessLog({ write: (line) => lines.push(line), format: 'json' });
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: 'sk' }),
      cost: () => 0.0012345,
      onFinish: (summary, exchange) => {
        text(summary, exchange);
        json(summary, exchange);
      },
    });
    const coming = post(`${proxy.url}/v1/chat/completions`, BODY);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(openaiChat.parts));
    await readText(await coming);
    await proxy.summary();
    expect(lines[0]).toContain(' 1117+146 tokens cost 0.00123 ');
    expect(JSON.parse(String(lines[1]))).toMatchObject({ cost: 0.0012345, 'gen_ai.request.model': 'gpt-5-mini' });
  });
});

describe('what was asked for', () => {
  it('requestModel: is known of a body that streams, large or small, and of one that a parser has consumed', async () => {
    const large = JSON.stringify({ model: 'gpt-5-mini', stream: true, messages: [{ content: 'x'.repeat(300_000) }] });
    for (const body of [BODY, large]) {
      expect((await exchanged({}, body)).summary).toMatchObject({ requestModel: 'gpt-5-mini', stream: true });
      const chunked = await exchanged({}, body, { 'transfer-encoding': 'chunked' });
      expect(chunked.summary).toMatchObject({ requestModel: 'gpt-5-mini', stream: true });
    }
    const { url, requests } = await manualUpstream();
    const provider = openai({ target: url, apiKey: 'sk' });
    const proxy = await proxyApp({ provider }, (app) => app.use(express.json({ limit: '1mb' })));
    const coming = post(`${proxy.url}/v1/chat/completions`, large);
    (await requests.next()).res.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    await readText(await coming);
    expect(await proxy.summary()).toMatchObject({ requestModel: 'gpt-5-mini', stream: true });
  });

  it('requestModel: is absent where the body is coded, or no JSON', async () => {
    const coded = await exchanged({}, gzipSync(BODY), { 'content-encoding': 'gzip' });
    expect(coded.summary).not.toHaveProperty('requestModel');
    const form = await exchanged({}, BODY, { 'content-type': 'text/plain' });
    expect(form.summary).not.toHaveProperty('requestModel');
  });

  it('requestModel: is what each attempt has asked for', async () => {
    const first = await manualUpstream();
    const second = await manualUpstream();
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'sk' }),
      fallbacks: [{ provider: anthropic({ target: second.url, apiKey: 'sk' }), model: 'claude' }],
    });
    const coming = post(`${proxy.url}/v1/messages`, BODY);
    (await first.requests.next()).res.writeHead(503).end();
    const { res } = await second.requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(anthropicText.parts));
    await readText(await coming);
    const summary = await proxy.summary();
    expect(summary).toMatchObject({ requestModel: 'claude', provider: 'anthropic' });
    expect(summary.attempts).toMatchObject([{ requestModel: 'gpt-5-mini' }, { requestModel: 'claude' }]);
  });

  it('requestModel: is in the path of Google’s', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: gemini({ target: url, apiKey: 'sk' }) });
    const req = openRequest(proxy.url, { method: 'POST', path: geminiSse.path });
    req.end('{}');
    (await requests.next()).res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(geminiSse.parts));
    await readText(await responseTo(req));
    expect(await proxy.summary()).toMatchObject({ requestModel: expect.stringMatching(/^gemini-/), stream: true });
  });
});
