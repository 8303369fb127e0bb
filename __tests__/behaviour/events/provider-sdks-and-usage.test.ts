import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions, Usage } from '../../../lib/index.js';
import { gemini, ollama, openai, type Provider, type ProviderOptions } from '../../../lib/providers/index.js';
import { openRequest, readAll } from '../../support/clients/http.js';
import { CALLERS_KEY, SDKS, tappedFetch } from '../../support/clients/sdks.js';
import { closedPort } from '../../support/servers/listen.js';
import { post, proxiedProvider, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import {
  bytesOf,
  geminiArray,
  ollamaChat,
  ollamaCompatible,
  openaiChat,
  openaiChatUnasked,
  type ProviderAnswer,
  partsWithText,
  TEXT,
  toldBy,
  usageFrom,
} from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const ERROR_EVENT = /^(event: error\n)?data: \{.*before its response was complete/;

describe.each(SDKS)('$name', (sdk) => {
  const { parts, path } = sdk.streamed;
  const begun = parts.slice(0, partsWithText(sdk.streamed));
  const rest = parts.slice(begun.length);
  const textOf = (some: typeof parts): string => bytesOf(some).toString();

  /** A stream of which the SDK has read the first text. */
  async function beginning(options?: SseProxyOptions) {
    const set = await proxiedProvider(sdk.provider, options);
    const tap = tappedFetch();
    const coming = sdk.stream(set.proxy.url, tap.fetch);
    const asked = await set.upstream.next();
    asked.start(sdk.streamed);
    asked.send(begun);
    const stream = await coming;
    // The provider has sent no more than that yet.
    await stream.untilText(TEXT[0]);
    return { ...set, tap, asked, stream };
  }

  it("SDK through the proxy: asks with the server's key, and gets the stream as it comes", async () => {
    const { asked, stream, proxy, tap } = await beginning();
    const { url, rawHeaders } = asked.req;
    expect(url).toBe(path);
    expect(rawHeaders.join('\n')).toContain(SERVERS_KEY);
    expect(rawHeaders.join('\n')).not.toContain(CALLERS_KEY);
    asked.send(rest);
    asked.end();
    await stream.toEnd();
    expect(stream.said.text).toBe(TEXT.join(''));
    expect(tap.wire).toBe(textOf(parts));
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('SDK through the proxy: has its usage told as the SDK tells it, once', async () => {
    const { asked, stream, proxy, usages } = await beginning();
    asked.send(rest);
    asked.end();
    await stream.toEnd();
    const { model, finishReason } = toldBy(parts);
    const summary = await proxy.summary();
    const usage = await usages.next();
    const { serviceTier: _tier, ...counted } = usage;
    expect(counted).toEqual({ ...stream.said.usage, reported: expect.any(Object), complete: true });
    expect(usage).toEqual(usageFrom(toldBy(parts)));
    expect(summary).toMatchObject({ usage, model, finishReason, events: parts.length });
    expect(summary.timings.firstToken).toBeGreaterThan(0);
    expect(usages.count).toBe(1);
  });

  it('SDK through the proxy: has its usage told as the SDK tells it where the answer is in one piece', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(sdk.provider);
    const coming = sdk.ask(proxy.url);
    (await upstream.next()).give(sdk.whole);
    const said = await coming;
    expect(said.text).toBe(TEXT.join(''));
    const { model, finishReason } = toldBy(sdk.whole.parts);
    const summary = await proxy.summary();
    const usage = await usages.next();
    const { serviceTier: _tier, ...counted } = usage;
    expect(counted).toEqual({ ...said.usage, reported: expect.any(Object), complete: true });
    expect(summary).toMatchObject({ outcome: 'completed', usage, model, finishReason });
    expect(usages.count).toBe(1);
  });

  it('SDK through the proxy: has told what it saw where the SDK aborts', async () => {
    const { asked, stream, proxy, usages } = await beginning();
    stream.abort();
    // Some throw at an abort of their own, others end.
    await stream.toEnd().catch(() => {});
    await asked.closed;
    const summary = await proxy.summary();
    const usage = await usages.next();
    const { reported: _reported, serviceTier: _tier, ...figures } = usage;
    expect(figures).toEqual({ ...stream.said.usage, complete: false });
    expect(usage).toEqual(usageFrom(toldBy(begun)));
    expect(summary).toMatchObject({ outcome: 'client-closed', usage, model: toldBy(begun).model });
    expect(usages.count).toBe(1);
  });

  it('SDK through the proxy: has told what it saw where the provider fails', async () => {
    const { asked, stream, proxy, usages } = await beginning();
    asked.die();
    await expect(stream.toEnd()).rejects.toThrow();
    const summary = await proxy.summary();
    const usage = await usages.next();
    const { reported: _reported, serviceTier: _tier, ...figures } = usage;
    expect(figures).toEqual({ ...stream.said.usage, complete: false });
    expect(usage).toEqual(usageFrom(toldBy(begun)));
    expect(summary).toMatchObject({ outcome: 'upstream-truncated', usage });
    expect(usages.count).toBe(1);
  });

  it('SDK through the proxy: throws a readable error, and no usage is told, where the provider cannot be reached', async () => {
    const usages: Usage[] = [];
    const target = `http://127.0.0.1:${await closedPort()}`;
    const provider = sdk.provider({ target, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage) });
    const failed = sdk.stream(proxy.url).then((stream) => stream.toEnd());
    await expect(failed).rejects.toThrow('The upstream could not be reached.');
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', statusCode: 502 });
    expect(usages).toEqual([]);
  });

  it('SDK through the proxy: throws where the provider dies between two events, of which it is told last', async () => {
    const { asked, stream, tap } = await beginning();
    asked.die();
    if (sdk.showsErrors) await expect(stream.toEnd()).rejects.toThrow('before its response was complete');
    else await expect(stream.toEnd()).rejects.toThrow();
    expect(tap.wire.startsWith(textOf(begun))).toBe(true);
    expect(tap.wire.slice(textOf(begun).length)).toMatch(sdk.showsErrors ? ERROR_EVENT : /^$/);
  });

  it('SDK through the proxy: throws where the provider dies in the middle of an event, which is left out where an error is told', async () => {
    const { asked, stream, tap } = await beginning();
    asked.send([{ bytes: textOf(rest).slice(0, 40) }]);
    asked.die();
    await expect(stream.toEnd()).rejects.toThrow();
    expect(tap.wire.startsWith(textOf(begun))).toBe(true);
    const half = textOf(rest).slice(0, 40);
    expect(tap.wire.slice(textOf(begun).length)).toMatch(sdk.showsErrors ? ERROR_EVENT : half);
  });

  it('SDK through the proxy: throws where the provider dies and nothing is to be told', async () => {
    const { asked, stream, tap } = await beginning({ truncation: 'destroy' });
    asked.die();
    await expect(stream.toEnd()).rejects.toThrow();
    expect(tap.wire).toBe(textOf(begun));
  });

  it('SDK through the proxy: reads a stream with heartbeats in all its silences', async () => {
    const { upstream, proxy } = await proxiedProvider(sdk.provider, { heartbeat: { interval: 20 } });
    const tap = tappedFetch();
    const beat = sdk.heartbeat;
    const pings = (): number => tap.wire.split(beat).length - 1;
    const reading = sdk.stream(proxy.url, tap.fetch).then(async (stream) => {
      await stream.toEnd();
      return stream.said;
    });
    const asked = await upstream.next();
    asked.start(sdk.streamed);
    for (const part of parts) {
      const before = pings();
      await tap.until(() => pings() >= before + 2);
      asked.send([part]);
    }
    asked.end();
    const said = await reading;
    expect(said.text).toBe(TEXT.join(''));
    expect(tap.wire.replaceAll(beat, '')).toBe(textOf(parts));
    const usage = usageFrom(toldBy(parts));
    const { reported: _reported, serviceTier: _tier, ...figures } = usage;
    expect({ ...said.usage, complete: true }).toEqual(figures);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', usage, events: parts.length });
  });
});

describe('usage', () => {
  it.each<[string, (options: ProviderOptions) => Provider, ProviderAnswer]>([
    ['ollama', ollama, ollamaChat],
    ["ollama, at OpenAI's endpoint", ollama, ollamaCompatible],
    ['gemini, as a JSON array', gemini, geminiArray],
  ])('usage: is told of %s, whose bytes pass as they came', async (_name, create, answer) => {
    const { upstream, proxy, usages } = await proxiedProvider(create);
    const coming = post(proxy.url + answer.path);
    (await upstream.next()).give(answer);
    expect(await readAll(await coming)).toEqual(bytesOf(answer.parts));
    const { model, finishReason } = toldBy(answer.parts);
    const usage = await usages.next();
    expect(usage).toEqual(usageFrom(toldBy(answer.parts)));
    expect(await proxy.summary()).toMatchObject({ usage, model, finishReason });
    expect(usages.count).toBe(1);
  });

  it('usage: is told before the summary, once, also where the hook throws', async () => {
    const calls: string[] = [];
    const { upstream, proxy } = await proxiedProvider(openai, {
      onUsage: () => {
        calls.push('onUsage');
        throw new Error('The database is down');
      },
      onFinish: () => void calls.push('onFinish'),
    });
    const coming = post(proxy.url + openaiChat.path);
    (await upstream.next()).give(openaiChat);
    await readAll(await coming);
    await proxy.summary();
    expect(calls).toEqual(['onUsage', 'onFinish']);
  });

  it('usage that was not reported is absent', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(openai);
    const coming = post(proxy.url + openaiChatUnasked.path);
    (await upstream.next()).give(openaiChatUnasked);
    await readAll(await coming);
    expect(await usages.next()).toEqual({ complete: false });
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', finishReason: 'length' });
  });

  it('usage of an error of the provider is told, and empty', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(openai);
    const coming = post(proxy.url + openaiChat.path);
    const { res } = await upstream.next();
    res.writeHead(429, { 'content-type': 'application/json' }).end('{"error":{"message":"Too many."}}');
    await readAll(await coming);
    expect(await usages.next()).toEqual({ complete: false });
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 429 });
  });

  it('usage: is told, and empty, where the client leaves before anything has come', async () => {
    const { upstream, proxy, usages } = await proxiedProvider(openai);
    const req = openRequest(proxy.url + openaiChat.path, { method: 'POST' });
    req.end();
    const asked = await upstream.next();
    req.destroy();
    await asked.closed;
    expect(await proxy.summary()).toMatchObject({ outcome: 'client-closed', attempts: { length: 1 } });
    expect(await usages.next()).toEqual({ complete: false });
    expect(usages.count).toBe(1);
  });
});
