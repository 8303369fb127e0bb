import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import type { Usage } from '../../../lib/index.js';
import { openai, openaiCompatible, type Provider, type ProviderOptions } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, readUntilCut } from '../../support/clients/http.js';
import { messages, openaiClient, openaiSdk } from '../../support/clients/sdks.js';
import { post, proxiedProvider, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { recorder } from '../../support/servers/upstreams.js';
import { bytesOf, openaiChat, TEXT, toldBy, usageChunk, usageFrom } from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe('includeUsage', () => {
  const asking = (options: ProviderOptions): Provider => openai({ ...options, includeUsage: true });
  const { path, parts } = openaiChat;
  const all = bytesOf(parts).toString();
  const withoutExtra = bytesOf(parts.filter((part) => part !== usageChunk)).toString();
  const figures = usageFrom(toldBy(parts));

  it('includeUsage: asks for a client that has not, which never sees the chunk that comes of it', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(asking);
    const coming = post(proxy.url + path, '{"stream":true,"seed":12345678901234567890}');
    const asked = await upstream.next();
    expect(asked.body).toBe('{"stream_options":{"include_usage":true},"stream":true,"seed":12345678901234567890}');
    expect(asked.req.headers['content-length']).toBe(String(asked.body.length));
    asked.give(openaiChat);
    expect(await readText(await coming)).toBe(withoutExtra);
    expect(await usages.next()).toEqual(figures);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', usage: figures, events: parts.length });
  });

  it.each([
    '{"stream":true,"stream_options":{"include_usage":true}}',
    '{"stream":true, "stream_options":{"include_usage":true,"include_obfuscation":false}}',
  ])('includeUsage: leaves the chunk to a client that has asked by itself: %s', async (body) => {
    const { upstream, proxy, usages } = await proxiedProvider(asking);
    const coming = post(proxy.url + path, body);
    const asked = await upstream.next();
    expect(asked.body).toBe(body);
    asked.give(openaiChat);
    expect(await readText(await coming)).toBe(all);
    expect(await usages.next()).toEqual(figures);
  });

  it('includeUsage: is not noticed by an SDK that has not asked', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(asking);
    const coming = openaiClient(proxy.url).chat.completions.create({ model: 'm', messages, stream: true });
    const asked = await upstream.next();
    const expected = { model: 'm', messages, stream: true, stream_options: { include_usage: true } };
    expect(JSON.parse(asked.body)).toEqual(expected);
    asked.give(openaiChat);
    let text = '';
    for await (const { choices } of await coming) {
      expect(choices).toHaveLength(1);
      text += choices[0]?.delta.content ?? '';
    }
    expect(text).toBe(TEXT.join(''));
    expect(await usages.next()).toEqual(figures);
  });

  it('includeUsage: keeps nothing from an SDK that has asked, nor anything back', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(asking);
    const coming = openaiSdk.stream(proxy.url);
    const asked = await upstream.next();
    asked.start(openaiChat);
    asked.send(parts.slice(0, 2));
    const stream = await coming;
    // The provider has sent no more than that yet.
    await stream.untilText(TEXT[0]);
    asked.send(parts.slice(2));
    asked.end();
    await stream.toEnd();
    const { serviceTier: _, ...counted } = figures;
    expect({ ...stream.said.usage, reported: {}, complete: true }).toEqual(counted);
    expect(await usages.next()).toEqual(figures);
  });

  it('includeUsage: works behind a body parser', async () => {
    const { upstream, proxy } = await proxiedProvider(asking, {}, (app) => app.use(express.json()));
    const coming = post(proxy.url + path, '{ "stream": true }');
    const asked = await upstream.next();
    expect(JSON.parse(asked.body)).toEqual({ stream: true, stream_options: { include_usage: true } });
    asked.give(openaiChat);
    expect(await readText(await coming)).toBe(withoutExtra);
  });

  it('includeUsage: names the charset that the body is in after a parser has read another', async () => {
    const { upstream, proxy } = await proxiedProvider(asking, {}, (app) => app.use(express.json()));
    const body = Buffer.from('{"stream":true,"user":"Jürg 🙂"}', 'utf16le');
    const coming = post(proxy.url + path, body, { 'content-type': 'application/json; charset=utf-16le' });
    const asked = await upstream.next();
    expect(asked.req.headers['content-type']).toBe('application/json;charset=utf-8');
    expect(JSON.parse(asked.body)).toMatchObject({ user: 'Jürg 🙂', stream_options: { include_usage: true } });
    asked.give(openaiChat);
    await readAll(await coming);
  });

  it('includeUsage: works with compatible APIs', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(({ target = '', apiKey }) =>
      openaiCompatible({ name: 'vllm', target, apiKey, includeUsage: true }),
    );
    const coming = post(proxy.url + path, '{"stream":true}');
    const asked = await upstream.next();
    expect(asked.body).toBe('{"stream_options":{"include_usage":true},"stream":true}');
    asked.give(openaiChat);
    expect(await readText(await coming)).toBe(withoutExtra);
    expect(await usages.next()).toEqual(figures);
  });

  it.each([
    ['it cannot be read', '{"stream":true'],
    ['it does not stream', '{"stream":false}'],
  ])('includeUsage: changes neither the request nor the answer where %s', async (_why, body) => {
    const { upstream, proxy } = await proxiedProvider(asking);
    const coming = post(proxy.url + path, body);
    const asked = await upstream.next();
    expect(asked.body).toBe(body);
    asked.give(openaiChat);
    expect(await readText(await coming)).toBe(all);
  });

  it.each([
    ['that is not JSON', Buffer.from('{"stream":true}'), { 'content-type': 'text/plain' }],
    ['that is not what its coding says', Buffer.from('1f8b08', 'hex'), { 'content-encoding': 'gzip' }],
    ['in a coding that nobody knows', Buffer.from('{"stream":true}'), { 'content-encoding': 'lzma' }],
    ['in a coding, and has nothing to be changed', gzipSync('{"stream":false}'), { 'content-encoding': 'gzip' }],
    [
      'that stands for more than 10 MiB',
      gzipSync(`{"stream":true}${' '.repeat(10 * 1024 * 1024)}`),
      { 'content-encoding': 'gzip' },
    ],
    ['that is not UTF-8', Buffer.from('{"stream":true,"user":"J\xfcrg"}', 'latin1'), {}],
  ])('includeUsage: sends a body as it came %s', async (_what, body, headers) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ provider: asking({ target: url, apiKey: SERVERS_KEY }) });
    await readAll(await post(proxy.url + path, body, headers));
    expect(received.map((request) => request.body)).toEqual([body]);
    expect(received[0]?.headers).toMatchObject(headers);
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('includeUsage: asks in a body in the coding %s, which is undone', async (coding, encode) => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ provider: asking({ target: url, apiKey: SERVERS_KEY }) });
    await readAll(await post(proxy.url + path, encode('{"stream":true}'), { 'content-encoding': coding }));
    expect(received[0]?.body.toString()).toBe('{"stream_options":{"include_usage":true},"stream":true}');
    expect(received[0]?.headers).toMatchObject({ 'content-length': '55' });
    expect(received[0]?.headers).not.toHaveProperty('content-encoding');
  });

  it('includeUsage: sends a body in its coding to a fallback that changes nothing', async () => {
    const body = gzipSync('{"stream":true}');
    const failing = await recorder((_req, res) => void res.writeHead(503).end());
    const { url, received } = await recorder();
    const own = asking({ target: failing.url, apiKey: SERVERS_KEY });
    const fallback = openaiCompatible({ name: 'other', target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider: own, fallbacks: [{ provider: fallback }] });
    await readAll(await post(proxy.url + path, body, { 'content-encoding': 'gzip' }));
    expect(failing.received[0]?.headers).not.toHaveProperty('content-encoding');
    expect(received[0]).toMatchObject({ body, headers: { 'content-encoding': 'gzip' } });
  });

  it.each([
    ['says so', true],
    ['does not say so', false],
  ])('includeUsage: sends a body as it came that has more than 10 MiB and %s', async (_what, says) => {
    const body = Buffer.from(`{"stream":true,"messages":[{"content":"${'x'.repeat(10 * 1024 * 1024)}"}]}`);
    const length = says ? { 'content-length': String(body.length) } : { 'transfer-encoding': 'chunked' };
    const { url, received } = await recorder((_req, res) => {
      res.writeHead(200, { 'content-type': openaiChat.contentType }).end(all);
    });
    const usages = new Queue<Usage>();
    const provider = asking({ target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage) });
    const response = await post(proxy.url + path, body, length);
    // Nothing was asked for, so nothing is taken out.
    expect(await readText(response)).toBe(all);
    expect(received[0]?.body.equals(body)).toBe(true);
    expect(await usages.next()).toEqual(figures);
  });

  it('includeUsage: tells of an answer that broke off', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(asking);
    const coming = post(proxy.url + path, '{"stream":true}');
    const asked = await upstream.next();
    asked.start(openaiChat);
    asked.send(parts.slice(0, 3));
    asked.die();
    const { body, cut } = await readUntilCut(await coming);
    expect(cut).toBe(true);
    expect(body.toString()).toContain('"code":"UPSTREAM_TRUNCATED"');
    expect(await usages.next()).toEqual({ complete: false });
  });

  it('includeUsage: ends with a client that leaves in the middle of its request', async () => {
    const { url, received } = await recorder();
    const usages: Usage[] = [];
    const provider = asking({ target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage) });
    const req = openRequest(proxy.url + path, { method: 'POST', headers: { 'content-type': 'application/json' } });
    req.write('{"stream":');
    await new Promise((resolve) => proxy.server.once('request', resolve));
    req.destroy();
    expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed', attempts: { length: 0 } });
    expect([received, usages]).toEqual([[], []]);
  });
});
