import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { accessLog, type SseProxyOptions, type Usage } from '../../../lib/index.js';
import {
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  openaiCompatible,
  type Provider,
} from '../../../lib/providers/index.js';
import { readAll, reader } from '../../support/clients/http.js';
import { SERVERS_KEY as apiKey, post } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream } from '../../support/servers/upstreams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const data = (payload: unknown): string => `data: ${JSON.stringify(payload)}\n\n`;
const typed = (payload: { type: string; [name: string]: unknown }): string =>
  `event: ${payload.type}\n${data(payload)}`;
const line = (payload: unknown): string => `${JSON.stringify(payload)}\n`;

const SSE = 'text/event-stream';
const CHAT = '/v1/chat/completions';
const chunk = data({ id: 'c', model: 'm', choices: [{ index: 0, delta: { content: 'a' }, finish_reason: null }] });
const candidate = {
  candidates: [{ index: 0, content: { parts: [{ text: 'a' }] } }],
  usageMetadata: { promptTokenCount: 1 },
};
const message = typed({ type: 'message_start', message: { model: 'm', usage: { input_tokens: 1, output_tokens: 1 } } });
const delta = typed({ type: 'response.output_text.delta', delta: 'a' });
const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
const failed = {
  id: 'r',
  object: 'response',
  model: 'm',
  status: 'failed',
  error: { code: 'server_error', message: 'x' },
};
const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };

type Create = (target: string) => Provider;
const chat: Create = (target) => openai({ target, apiKey });
const compatible: Create = (target) => openaiCompatible({ name: 'x', target, apiKey, includeUsage: true });

const CASES: readonly [string, Create, string, string, string, number, string | undefined][] = [
  ['a chunk with an error', chat, CHAT, SSE, chunk + data({ error: { code: 429, message: 'x' } }), 429, undefined],
  [
    'an error before [DONE]',
    compatible,
    CHAT,
    SSE,
    `${chunk}${data({ error: { type: 'server_error' } })}data: [DONE]\n\n`,
    500,
    'server_error',
  ],
  ['an error at once', chat, CHAT, SSE, data({ error: { code: 'rate_limit_exceeded' } }), 429, 'rate_limit_exceeded'],
  [
    'an error by its object',
    compatible,
    CHAT,
    SSE,
    chunk + data({ object: 'error', type: 'BadRequest', message: 'x' }),
    502,
    'BadRequest',
  ],
  ['an error by its event', chat, CHAT, SSE, `${chunk}event: error\ndata: no more\n\n`, 502, undefined],
  [
    'an error without its blank line',
    chat,
    CHAT,
    SSE,
    chunk + data({ error: { code: 'overloaded' } }).trimEnd(),
    503,
    'overloaded',
  ],
  [
    'an error beside choices',
    compatible,
    CHAT,
    SSE,
    chunk + data({ error: { code: 502 }, choices: [{ index: 0, delta: {}, finish_reason: 'error' }] }),
    502,
    undefined,
  ],
  [
    'an error of Responses',
    chat,
    '/v1/responses',
    SSE,
    delta + typed({ type: 'error', code: 'rate_limit_exceeded', message: 'x' }),
    429,
    'rate_limit_exceeded',
  ],
  [
    'a failed response',
    chat,
    '/v1/responses',
    SSE,
    delta + typed({ type: 'response.failed', response: { ...failed, usage } }),
    500,
    'server_error',
  ],
  [
    'a failed response that says no more',
    chat,
    '/v1/responses',
    SSE,
    delta + typed({ type: 'response.failed', response: { status: 'failed' } }),
    502,
    'response.failed',
  ],
  [
    'Anthropic',
    (target) => anthropic({ target, apiKey }),
    '/v1/messages',
    SSE,
    message + typed(overloaded),
    529,
    'overloaded_error',
  ],
  [
    'Gemini',
    (target) => gemini({ target, apiKey }),
    '/v1beta/models/m:streamGenerateContent?alt=sse',
    SSE,
    data(candidate) + data({ error: { code: 503, status: 'UNAVAILABLE' } }),
    503,
    'UNAVAILABLE',
  ],
  [
    "Gemini's array",
    (target) => gemini({ target, apiKey }),
    '/v1beta/models/m:streamGenerateContent',
    'application/json',
    `[${JSON.stringify(candidate)},\n${JSON.stringify({ error: { code: 503, status: 'UNAVAILABLE' } })}]`,
    503,
    'UNAVAILABLE',
  ],
  [
    'Mistral',
    (target) => mistral({ target, apiKey }),
    CHAT,
    SSE,
    chunk + data({ object: 'error', type: 'rate_limit_error' }),
    429,
    'rate_limit_error',
  ],
  [
    'Ollama',
    (target) => ollama({ target }),
    '/api/chat',
    'application/x-ndjson',
    line({ model: 'm', done: false }) + line({ error: 'out of memory' }),
    502,
    undefined,
  ],
  [
    "Ollama's last line",
    (target) => ollama({ target }),
    '/api/chat',
    'application/x-ndjson',
    line({ error: 'out of memory' }).trimEnd(),
    502,
    undefined,
  ],
];

describe('an error event inside a 200', () => {
  it.each(CASES)(
    'error events: are the outcome, whose bytes pass: %s',
    async (_name, create, path, type, body, statusCode, code) => {
      for (const coding of ['none', 'decoded', 'aside']) {
        const head = { 'content-type': type, ...(coding !== 'none' && { 'content-encoding': 'gzip' }) };
        const bytes = coding === 'none' ? body : zlib.gzipSync(body);
        const usages: Usage[] = [];
        const lines: string[] = [];
        const provider = create(await answeringUpstream(bytes, head));
        const log = accessLog({ write: (text) => void lines.push(text) });
        const proxy = await proxyApp({ provider, onUsage: (given) => void usages.push(given), onFinish: log });
        const headers = coding === 'aside' ? { 'accept-encoding': 'gzip' } : {};
        const response = await post(proxy.url + path, '{"stream":true}', headers);
        const received = await readAll(response);
        const isCoded = response.headers['content-encoding'] === 'gzip';
        expect((isCoded ? zlib.gunzipSync(received) : received).toString()).toBe(body);
        const summary = await proxy.summary();
        expect(summary).toMatchObject({ outcome: 'upstream-error', statusCode: 200, usage: { complete: false } });
        const { error } = summary;
        expect(error).toMatchObject({ code: 'UPSTREAM_ERROR_EVENT', statusCode, cause: expect.any(Error) });
        expect((error?.cause as { code?: unknown } | undefined)?.code).toBe(code);
        expect(summary.attempts).toHaveLength(1);
        expect(summary.attempts[0]).not.toHaveProperty('error');
        expect(usages).toHaveLength(1);
        expect(lines).toEqual([expect.stringContaining(` 200 upstream-error UPSTREAM_ERROR_EVENT ${code ?? 'at'} `)]);
      }
    },
  );

  it.each([
    ['null', chunk + data({ error: null, choices: [] })],
    ['empty', chunk + data({ error: '', choices: [] })],
    [
      'in a text',
      data({ choices: [{ index: 0, delta: { content: '{"error":{"code":500}}' }, finish_reason: 'stop' }] }),
    ],
    ['behind the end', `${chunk}data: [DONE]\n\n${data({ error: { code: 500 } })}`],
    [
      'of a response that goes on',
      `${delta}${typed({ type: 'response.completed', response: { status: 'completed', error: null } })}`,
    ],
  ])('error events: one that is none leaves the exchange completed: %s', async (_what, body) => {
    const proxy = await proxyApp({ provider: chat(await answeringUpstream(body, { 'content-type': SSE })) });
    await readAll(await post(proxy.url + CHAT));
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed' });
  });

  it('error events: JSON in one piece, and a response whose status says it, are as they were', async () => {
    const error = JSON.stringify({ error: { code: 'server_error' } });
    for (const [status, type] of [
      [200, 'application/json'],
      [500, SSE],
    ] as const) {
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ provider: chat(url) });
      const coming = post(proxy.url + CHAT);
      (await requests.next()).res
        .writeHead(status, { 'content-type': type })
        .end(type === SSE ? `data: ${error}\n\n` : error);
      await readAll(await coming);
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: status });
    }
  });

  it('error events: are the outcome also where the client leaves because of one', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: chat(url) });
    const coming = post(proxy.url + CHAT);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': SSE }).write(chunk);
    const response = await coming;
    const client = reader(response);
    res.write(data({ error: { code: 503 } }));
    await client.until('503}}\n\n');
    response.destroy();
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', error: { statusCode: 503 } });
  });

  it('error events: where the answer is cut behind one, the cut is told', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: chat(url) });
    const coming = post(proxy.url + CHAT);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': SSE }).write(chunk + data({ error: { code: 503 } }), () => res.destroy());
    await readAll(await coming).catch(() => {});
    expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', usage: { complete: false } });
  });

  it('error events: are those of a provider of the user, also of one that reads nothing', async () => {
    const own: Create = (target) => ({
      ...chat(target),
      read() {},
      errorStatus: ({ data: text }) => (text === 'oops' ? 418 : undefined),
    });
    const options: SseProxyOptions[] = [{}, { onEvent() {} }, { transformEvent: (event) => event }];
    for (const more of options) {
      const provider = own(await answeringUpstream('data: 1\n\ndata: oops\n\n', { 'content-type': SSE }));
      const proxy = await proxyApp({ provider, ...more });
      expect((await readAll(await post(proxy.url + CHAT))).toString()).toBe('data: 1\n\ndata: oops\n\n');
      expect(await proxy.summary()).toMatchObject({
        outcome: 'upstream-error',
        error: { statusCode: 418, cause: { message: 'oops' } },
      });
    }
  });

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('of the hook');
      },
    ],
    ['rejects', () => Promise.reject(new Error('of the hook'))],
  ])('error events: an errorStatus that %s is logged once, and asked no more', async (_what, errorStatus) => {
    const { logger, errors } = logbook();
    const target = await answeringUpstream('data: 1\n\ndata: 2\n\n', { 'content-type': SSE });
    const provider = { ...chat(target), errorStatus: errorStatus as () => undefined };
    const proxy = await proxyApp({ provider, logger });
    await readAll(await post(proxy.url + CHAT));
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed' });
    expect(errors).toEqual([expect.stringContaining('errorStatus failed')]);
  });

  it('error events: that repeat the key are masked in the cause', async () => {
    const body = chunk + data({ error: { code: 'invalid_api_key', message: `No such key: ${apiKey}` } });
    const proxy = await proxyApp({ provider: chat(await answeringUpstream(body, { 'content-type': SSE })) });
    await readAll(await post(proxy.url + CHAT));
    const { error } = await proxy.summary();
    expect(error).toMatchObject({ statusCode: 401 });
    expect(String((error?.cause as Error | undefined)?.stack)).not.toContain(apiKey);
  });

  it('error events: in the midst of a stream do not open the circuit of their target', async () => {
    const own = await answeringUpstream(chunk + data({ error: { code: 503 } }), { 'content-type': SSE });
    const other = await answeringUpstream(chunk, { 'content-type': SSE });
    const proxy = await proxyApp({ provider: chat(own), fallbacks: [{ target: other }] });
    for (let i = 0; i < 7; i += 1) {
      await readAll(await post(proxy.url + CHAT));
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-error', target: own });
    }
  });
});
