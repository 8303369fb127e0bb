import { createHmac } from 'node:crypto';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import type { FallbackTarget, SseProxyOptions } from '../../../lib/index.js';
import { anthropic, gemini, openai, openaiCompatible, type Provider } from '../../../lib/providers/index.js';
import { exchange, openRequest, readAll, readText, responseTo } from '../../support/clients/http.js';
import { closedPort } from '../../support/servers/listen.js';
import { post } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringTarget, badTarget, goodTarget, type Target } from '../../support/servers/targets.js';
import { bytesOf, openaiChat, usageChunk } from '../../support/streams/dialects.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { signal } from '../../support/watch/wait.js';

closeAndWatchEachTest();

/** As clients write them: space, a number that JavaScript cannot hold, an escape, and a `model` that is none. */
const ASKED = '{ "model": "gpt-5-mini",\n  "seed": 12345678901234567890, "messages": [{ "model": "\\u00e9" }] }';
const asked = (model: string): string => ASKED.replace('gpt-5-mini', model);

const vllm = (target: string, more: Partial<Provider> = {}): Provider => ({
  ...openaiCompatible({ name: 'vllm', target, apiKey: false }),
  ...more,
});

/** A proxy whose own target fails, and whose fallback is as this says. */
async function failing(
  fallback: Omit<FallbackTarget, 'target'> & { provider?: Provider },
  {
    second,
    options = {},
    before,
  }: { second?: Target; options?: SseProxyOptions; before?: Parameters<typeof proxyApp>[1] } = {},
) {
  const first = await badTarget();
  const last = second ?? (await goodTarget());
  const provider = openai({ target: first.url, apiKey: 'a' });
  const proxy = await proxyApp({ provider, ...options, fallbacks: [{ target: last.url, ...fallback }] }, before);
  return { proxy, first, second: last };
}

describe('a provider among the fallbacks', () => {
  it('fallbacks: may be providers, with their address, credentials and dialect', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'a' }),
      fallbacks: [anthropic({ target: second.url, apiKey: 'b' })],
    });
    expect(await readText(await post(proxy.url))).toBe('good');
    expect(second.seen[0]?.headers).toMatchObject({ 'x-api-key': 'b' });
    expect(second.seen[0]?.headers).not.toHaveProperty('authorization');
    await expectOneSummary(proxy, { provider: 'anthropic', target: second.url });
  });

  it('fallbacks: may be providers that a function names', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      target: first.url,
      fallbacks: (_failed, { attempts }) =>
        attempts.length === 1 ? anthropic({ target: second.url, apiKey: 'b' }) : undefined,
    });
    expect(await readText(await post(proxy.url))).toBe('good');
    await expectOneSummary(proxy, { provider: 'anthropic' });
  });
});

describe('the model of a fallback', () => {
  it.each<[string, (target: string) => Partial<FallbackTarget>]>([
    ["with a provider of the fallback's own", (target) => ({ provider: vllm(target) })],
    ["with the proxy's provider", () => ({})],
  ])('fallbacks: `model` takes the place of the model, and all else keeps its bytes: %s', async (_how, more) => {
    const second = await goodTarget();
    const { proxy, first } = await failing({ ...more(second.url), model: 'llama-3.3' }, { second });
    expect(await readText(await post(proxy.url, ASKED))).toBe('good');
    expect(first.seen.map(({ body }) => body)).toEqual([ASKED]);
    const body = asked('llama-3.3');
    expect(second.seen).toMatchObject([{ body, headers: { 'content-length': String(Buffer.byteLength(body)) } }]);
  });

  it('fallbacks: `model` needs no provider', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [{ target: second.url, model: 'llama-3.3' }] });
    expect(await readText(await post(proxy.url, ASKED))).toBe('good');
    expect(second.seen.map(({ body }) => body)).toEqual([asked('llama-3.3')]);
  });

  it('fallbacks: `model` of each is put into what the client sent', async () => {
    const targets = [await badTarget(), await badTarget(), await badTarget(), await goodTarget()] as const;
    const [own, ...others] = targets;
    const models: (string | undefined)[] = ['a "quoted" one', 'b', undefined];
    const proxy = await proxyApp({
      target: own.url,
      retry: { maxRetries: 1, minTimeout: 1, methods: ['POST'] },
      fallbacks: others.map(({ url }, i) => ({ target: url, ...(models[i] !== undefined && { model: models[i] }) })),
    });
    expect(await readText(await post(proxy.url, ASKED))).toBe('good');
    expect(targets.map(({ seen }) => seen.map(({ body }) => body))).toEqual([
      [ASKED, ASKED],
      [asked('a \\"quoted\\" one'), asked('a \\"quoted\\" one')],
      [asked('b'), asked('b')],
      [ASKED],
    ]);
  });

  it("fallbacks: `model` goes together with the provider's own edit, which is undone in the answer", async () => {
    const second = await answeringTarget(openaiChat);
    const provider = openaiCompatible({ name: 'vllm', target: second.url, apiKey: false, includeUsage: true });
    const { proxy } = await failing({ provider, model: 'llama-3.3' }, { second });
    const response = await post(`${proxy.url}${openaiChat.path}`, '{"model":"gpt-5-mini","stream":true}');
    expect(await readAll(response)).toEqual(bytesOf(openaiChat.parts.filter((part) => part !== usageChunk)));
    expect(second.seen.map(({ body }) => body)).toEqual([
      '{"stream_options":{"include_usage":true},"model":"llama-3.3","stream":true}',
    ]);
  });

  it('fallbacks: `model` is in what is signed', async () => {
    const second = await goodTarget();
    const signature = (body: string | Buffer): string => createHmac('sha256', 'k').update(body).digest('hex');
    const sign: Provider['sign'] = ({ body }) => ({ 'x-signature': signature(body ?? '') });
    const { proxy } = await failing({ provider: vllm(second.url, { sign }), model: 'llama-3.3' }, { second });
    await readText(await post(proxy.url, ASKED));
    const body = asked('llama-3.3');
    expect(second.seen).toMatchObject([{ body, headers: { 'x-signature': signature(body) } }]);
  });

  it.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
  ])(
    'fallbacks: `model` is put into a body in the content coding %s, and the next target gets the coded bytes',
    async (coding, encode) => {
      const bytes = encode(ASKED);
      const [first, second] = [await badTarget(), await badTarget()];
      const third = await goodTarget();
      const proxy = await proxyApp({
        target: first.url,
        fallbacks: [{ target: second.url, model: 'llama-3.3' }, third.url],
      });
      await readText(await post(proxy.url, bytes, { 'content-encoding': coding }));
      expect(second.seen).toMatchObject([{ body: asked('llama-3.3') }]);
      expect(second.seen[0]?.headers).not.toHaveProperty('content-encoding');
      expect(third.seen).toMatchObject([
        { headers: { 'content-encoding': coding, 'content-length': String(bytes.length) } },
      ]);
    },
  );

  it('fallbacks: `model` is put into a body that a parser has consumed', async () => {
    const { proxy, second } = await failing({ model: 'llama-3.3' }, { before: (app) => app.use(express.json()) });
    await readText(await post(proxy.url, '{"model":"gpt-5-mini","n":1}'));
    expect(second.seen.map(({ body }) => body)).toEqual(['{"model":"llama-3.3","n":1}']);
  });

  it.each<[string, string | Uint8Array, Record<string, string>]>([
    ['has no model', '{"messages":[{"model":"a"}]}', {}],
    ['is no JSON', '{"model":"gpt-5-mini"', {}],
    ['is no object', '["model"]', {}],
    ['is of another type', '{"model":"gpt-5-mini"}', { 'content-type': 'text/plain' }],
    ['is in a coding that nobody knows', '{"model":"gpt-5-mini"}', { 'content-encoding': 'rot13' }],
    ['is not in UTF-8', Buffer.from('{"model":"\xe9"}', 'latin1'), {}],
  ])('fallbacks: `model` leaves a body that %s', async (_how, body, headers) => {
    const { proxy, second } = await failing({ model: 'llama-3.3' });
    expect(await readText(await post(proxy.url, body, headers))).toBe('good');
    expect(second.seen).toMatchObject([
      { body: Buffer.from(body as string).toString(), headers: { 'content-length': String(Buffer.byteLength(body)) } },
    ]);
  });

  it('fallbacks: `model` of a fallback that is the first to be tried, since the circuit of the first is open, is asked for', async () => {
    const { proxy, first, second } = await failing({ model: 'llama-3.3' });
    for (let i = 0; i < 6; i += 1) await readText(await post(proxy.url, ASKED));
    expect(first.seen).toHaveLength(5);
    expect(second.seen.map(({ body }) => body)).toEqual(Array(6).fill(asked('llama-3.3')));
  });

  it('fallbacks: a model in the path is replaced by `pathRewrite`', async () => {
    const second = await goodTarget();
    const { proxy } = await failing(
      {
        provider: gemini({ target: second.url, apiKey: 'b' }),
        pathRewrite: (path) => path.replace('gemini-3-pro', 'gemini-3-flash'),
      },
      { second },
    );
    await readText(await post(`${proxy.url}/v1beta/models/gemini-3-pro:generateContent`, '{"contents":[]}'));
    expect(second.seen).toMatchObject([
      { url: '/v1beta/models/gemini-3-flash:generateContent', body: '{"contents":[]}' },
    ]);
  });
});

describe('editBody of a fallback', () => {
  it.each<[string, NonNullable<FallbackTarget['editBody']>, string]>([
    ['a text', (body) => body.replace('"seed"', '"s"'), asked('m').replace('"seed"', '"s"')],
    ['an object', (body) => ({ ...JSON.parse(body), seed: undefined, messages: [] }), '{"model":"m","messages":[]}'],
    ['nothing', () => undefined, asked('m')],
  ])('fallbacks: `editBody` gives %s, after `model`', async (_what, editBody, expected) => {
    const { proxy, second } = await failing({ model: 'm', editBody });
    expect(await readText(await post(proxy.url, ASKED))).toBe('good');
    expect(second.seen).toMatchObject([
      { body: expected, headers: { 'content-length': String(Buffer.byteLength(expected)) } },
    ]);
  });

  it('fallbacks: `editBody` is given the text that the client sent, and the exchange, with each attempt', async () => {
    const second = await badTarget();
    const given: unknown[] = [];
    const { proxy } = await failing(
      {
        editBody(body, { attempts, path }) {
          given.push([body, attempts.length, path]);
          return '{"edited":true}';
        },
      },
      { second, options: { retry: { maxRetries: 1, minTimeout: 1, methods: ['POST'] } } },
    );
    await readText(await post(`${proxy.url}/v1/chat`, ASKED));
    expect(given).toEqual([
      [ASKED, 2, '/v1/chat'],
      [ASKED, 3, '/v1/chat'],
    ]);
    expect(second.seen.map(({ body }) => body)).toEqual(['{"edited":true}', '{"edited":true}']);
  });

  const cause = new Error('mine');
  it.each<[string, () => unknown, object]>([
    [
      'throws',
      () => {
        throw cause;
      },
      cause,
    ],
    ['gives a promise', async () => '{}', { message: '`editBody` must be synchronous, but has returned a promise' }],
    ['gives a number', () => 5, { message: 'editBody must give a string or an object, got number' }],
    ['gives bytes', () => Buffer.from('{}'), { message: 'editBody must give a string or an object, got object' }],
    ['gives what JSON cannot express', () => ({ n: 1n }), { message: expect.stringContaining('BigInt') }],
    ['gives an object that is none in JSON', () => ({ toJSON: () => undefined }), { message: expect.any(String) }],
  ])('fallbacks: nothing is sent where `editBody` %s', async (_how, editBody, expected) => {
    const { proxy, second } = await failing({ editBody: (() => editBody()) as FallbackTarget['editBody'] & object });
    const { status, body } = await exchange(proxy.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: ASKED,
    });
    expect([status, JSON.parse(body).error.code]).toEqual([500, 'HOOK_FAILED']);
    expect(second.seen).toEqual([]);
    const summary = await expectOneSummary(proxy, {
      outcome: 'failed',
      error: { code: 'HOOK_FAILED', hook: 'editBody' },
    });
    expect(summary.error?.cause).toMatchObject(expected);
  });
});

describe('an upload that is under way when its target fails', () => {
  it.each([300, 300_000])('fallbacks: is asked for their model all the same: %d bytes', async (size) => {
    const last = await goodTarget();
    const hasFailed = signal();
    const proxy = await proxyApp({
      target: `http://127.0.0.1:${await closedPort()}`,
      fallbacks: () => {
        hasFailed.resolve();
        return { target: last.url, model: 'other' };
      },
    });
    const body = JSON.stringify({ model: 'asked', messages: ['x'.repeat(size)] });
    const headers = { 'content-type': 'application/json', 'content-length': String(body.length) };
    const req = openRequest(proxy.url, { method: 'POST', headers });
    const response = responseTo(req);
    req.write(body.slice(0, 100));
    await hasFailed.promise;
    req.end(body.slice(100));
    expect((await response).statusCode).toBe(200);
    expect(last.seen.map((seen) => seen.body)).toEqual([body.replace('asked', 'other')]);
  });
});
