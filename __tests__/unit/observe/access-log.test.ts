import { createServer } from 'node:http';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import type { Request, Response } from 'express';
import fc from 'fast-check';
import { SseProxyError } from '../../../lib/errors.js';
import { accessLog, createSseProxy, type StreamSummary } from '../../../lib/index.js';
import type { AccessLogOptions } from '../../../lib/observe/access-log.js';
import { pathOf, word } from '../../../lib/observe/log-text.js';
import { openai } from '../../../lib/providers/index.js';
import { readAll, readText, request } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { post, proxiedProvider, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream } from '../../support/servers/upstreams.js';
import { bytesOf, exchangeFor, openaiChat } from '../../support/streams/dialects.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();
afterEach(() => {
  jest.restoreAllMocks();
});

const ATTEMPT = { target: 'https://api.openai.com' };

const WHOLE: StreamSummary = {
  outcome: 'completed',
  statusCode: 200,
  attempts: [ATTEMPT],
  target: ATTEMPT.target,
  bytes: 17_306,
  events: 20,
  usage: { inputTokens: 12, outputTokens: 345, totalTokens: 357, complete: true },
  model: 'gpt-5-mini',
  finishReason: 'stop',
  timings: { headers: 100, firstByte: 110, firstToken: 312.4, total: 4_213.7 },
};

const LEAST: StreamSummary = { outcome: 'client-closed', attempts: [], bytes: 0, timings: { total: 0.3 } };

/** The line of an exchange that ended so. */
function lineOf(
  summary: StreamSummary,
  options: AccessLogOptions = {},
  url = '/openai/v1/chat/completions?key=k',
  method = 'POST',
): string {
  const lines: string[] = [];
  const exchange = exchangeFor(url);
  Object.assign(exchange.req, { method, url });
  accessLog({ write: (line) => lines.push(line), ...options })(summary, exchange);
  expect(lines).toHaveLength(1);
  return String(lines[0]);
}

const json = (summary: StreamSummary, url?: string): Record<string, unknown> =>
  JSON.parse(lineOf(summary, { format: 'json' }, url));

describe('a line of text', () => {
  it('access log: a line of text has all that is known', () => {
    expect(lineOf(WHOLE)).toBe(
      'POST /openai/v1/chat/completions 200 completed gpt-5-mini 12+345 tokens 16.9 KB first token 312 ms total 4.2 s',
    );
  });

  it('access log: a line of text leaves out what is not known', () => {
    expect(lineOf(LEAST)).toBe('POST /openai/v1/chat/completions - client-closed 0 B total 0 ms');
  });

  it.each([
    ['each attempt, where they differ', ['openai', 'openai', 'vllm'], ' 3 attempts (openai, openai, vllm) '],
    ['each attempt that had one', [undefined, 'vllm'], ' 2 attempts (-, vllm) '],
    ['no attempt, where all are of one', ['openai', 'openai'], ' 2 attempts total'],
    ['no attempt, where there is none', [undefined, undefined], ' 2 attempts total'],
    ['an attempt in one word', ['a b\n', 'c'], ' 2 attempts (a\\u0020b\\n, c) '],
  ])('access log: a line of text has the provider of %s', (_of, names, expected) => {
    const attempts = names.map((provider) => ({ ...ATTEMPT, ...(provider !== undefined && { provider }) }));
    expect(lineOf({ ...LEAST, attempts })).toContain(expected);
  });

  it('access log: a line of text has why an exchange failed, and how often it was tried', () => {
    const error = new SseProxyError('UPSTREAM_UNREACHABLE', { cause: new Error('secret') });
    const summary = {
      ...LEAST,
      outcome: 'upstream-error',
      statusCode: 502,
      attempts: [ATTEMPT, ATTEMPT],
      error,
    } as const;
    expect(lineOf(summary)).toBe(
      'POST /openai/v1/chat/completions 502 upstream-error UPSTREAM_UNREACHABLE 0 B 2 attempts total 0 ms',
    );
  });

  it.each([
    [{ inputTokens: 12, outputTokens: 345, complete: true }, ' 12+345 tokens '],
    [{ inputTokens: 0, outputTokens: 0, complete: true }, ' 0+0 tokens '],
    [{ inputTokens: 12, outputTokens: 3, complete: false }, ' 12+3 tokens (incomplete) '],
    [{ inputTokens: 12, complete: true }, ' 12+? tokens '],
    [{ outputTokens: 3, complete: true }, ' ?+3 tokens '],
    [{ complete: false }, ' completed 0 B '],
  ])('access log: a line of text has the tokens that were reported, and no others: %j', (usage, expected) => {
    expect(lineOf({ ...LEAST, outcome: 'completed', usage })).toContain(expected);
  });

  it.each([
    [0, '0 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [61_000, '61.0 s'],
  ])('access log: a line of text has %d ms as %s', (total, expected) => {
    expect(lineOf({ ...LEAST, timings: { total } })).toMatch(new RegExp(`total ${expected}$`));
  });
});

describe('a line of JSON', () => {
  it('access log: a line of JSON has the names of the semantic conventions', () => {
    const usage = { cachedInputTokens: 4, cacheCreationInputTokens: 5, reasoningTokens: 100 };
    expect(json({ ...WHOLE, usage: { ...WHOLE.usage, ...usage, complete: true } })).toEqual({
      'http.request.method': 'POST',
      'url.path': '/openai/v1/chat/completions',
      'http.response.status_code': 200,
      'http.response.body.size': 17_306,
      outcome: 'completed',
      'server.address': 'api.openai.com',
      'server.port': 443,
      'gen_ai.response.model': 'gpt-5-mini',
      'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.usage.input_tokens': 12,
      'gen_ai.usage.output_tokens': 345,
      'gen_ai.usage.cache_read.input_tokens': 4,
      'gen_ai.usage.cache_creation.input_tokens': 5,
      'gen_ai.usage.reasoning.output_tokens': 100,
      attempts: 1,
      first_token_ms: 312,
      total_ms: 4214,
    });
  });

  it('access log: a line of JSON has the provider that answered', () => {
    expect(json({ ...WHOLE, provider: 'gcp.gemini' })).toMatchObject({ 'gen_ai.provider.name': 'gcp.gemini' });
    expect(json(WHOLE)).not.toHaveProperty(['gen_ai.provider.name']);
  });

  it('access log: a line of JSON leaves out what is not known', () => {
    expect(json(LEAST)).toEqual({
      'http.request.method': 'POST',
      'url.path': '/openai/v1/chat/completions',
      'http.response.body.size': 0,
      outcome: 'client-closed',
      attempts: 0,
      total_ms: 0,
    });
  });

  it.each([
    ['http://127.0.0.1:8000', '127.0.0.1', 8000],
    ['http://vllm', 'vllm', 80],
    ['wss://api.example', 'api.example', 443],
    ['unix:', undefined, undefined],
    ['not a URL', undefined, undefined],
  ])('access log: a line of JSON has the server of %s', (target, address, port) => {
    const { 'server.address': gotAddress, 'server.port': gotPort } = json({ ...LEAST, target });
    expect([gotAddress, gotPort]).toEqual([address, port]);
  });

  it.each([
    [502, 'UPSTREAM_CLOSED', 'UPSTREAM_CLOSED'],
    [200, 'UPSTREAM_TRUNCATED', 'UPSTREAM_TRUNCATED'],
    [429, undefined, '429'],
    [400, undefined, '400'],
    [399, undefined, undefined],
    [undefined, undefined, undefined],
  ] as const)(
    'access log: a line of JSON says of the status %p with the code %p that the error is %p',
    (statusCode, code, expected) => {
      const end = { ...(statusCode && { statusCode }), ...(code && { error: new SseProxyError(code) }) };
      expect(json({ ...LEAST, ...end })['error.type']).toBe(expected);
    },
  );
});

describe('what comes from elsewhere', () => {
  const formats = ['text', 'json'] as const;

  it.each(formats)(
    'access log: what comes from elsewhere stays on one line, as %s, and cannot be taken for another',
    (format) => {
      const evil = 'x\r\nPOST /admin 200 completed\u001b[2K\u009b2K\u2028\u2029\u202e\u0000';
      const line = lineOf({ ...WHOLE, model: evil, finishReason: evil }, { format }, `/${evil}?k`);
      expect(line).not.toMatch(/[\p{C}\u2028\u2029]/u);
      expect(line).toContain('/x\\r\\nPOST');
      if (format === 'text') expect(line).not.toContain('POST /admin');
      else expect(JSON.parse(line)).toMatchObject({ 'url.path': `/${evil}`, 'gen_ai.response.model': evil });
    },
  );

  it.each(formats)('access log: what comes from elsewhere is on one line whatever it is, as %s', (format) => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (path, model) => {
        const line = lineOf({ ...WHOLE, model }, { format }, `/${path}`);
        expect(line).not.toMatch(/[\p{C}\u2028\u2029]/u);
        // Between two words there is one space, of ours.
        if (format === 'text') expect(line.split(' ')).toHaveLength(model === '' ? 15 : 16);
      }),
    );
  });

  it('access log: what comes from elsewhere may be the method, where the app has changed it', () => {
    expect(lineOf(LEAST, {}, '/', 'GE\nT /admin')).toMatch(/^GE\\nT\\u0020\/admin \/ - /);
  });

  it('access log: what comes from elsewhere is not decoded', () => {
    expect(lineOf(LEAST, {}, '/a%0aPOST%20/admin%1b')).toMatch(/^POST \/a%0aPOST%20\/admin%1b - /);
    expect(json(LEAST, '/a%0ab')['url.path']).toBe('/a%0ab');
  });

  it('access log: what comes from elsewhere is a word that can be read back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(JSON.parse(`"${word(text)}"`)).toBe(text);
      }),
    );
  });

  it.each([
    ['/v1/models?key=secret', '/v1/models'],
    ['/v1/models#secret?x', '/v1/models'],
    ['/?\nsecret', '/'],
    ['http://user:secret@api.example/v1?key=secret', '/v1'],
    ['http://user:secret@api.example', '/'],
    ['', ''],
    [undefined, '/'],
  ])('access log: what comes from elsewhere is without queries and credentials: %j', (url, expected) => {
    const { req } = exchangeFor('/');
    expect(pathOf(Object.assign(req, { url }))).toBe(expected);
  });
});

describe('the options', () => {
  it.each([
    [{ write: 'x' }, "`accessLog.write` must be a function, got 'x'"],
    [{ format: 'xml' }, "`accessLog.format` must be 'text' or 'json', got 'xml'"],
    [{ formats: 'text' }, 'Unknown option `accessLog.formats`. Did you mean `format`?'],
    [null, 'accessLog needs an object of options, got null'],
    ['json', "accessLog needs an object of options, got 'json'"],
  ])('access log: the options throw for %j', (options, message) => {
    expect(() => accessLog(options as AccessLogOptions)).toThrow(new TypeError(message));
  });

  it('access log: the options may be undefined one by one', () => {
    expect(accessLog({ write: undefined, format: undefined } as unknown as AccessLogOptions)).toBeInstanceOf(Function);
  });

  it('access log: the options fit a proxy of Express’s requests', () => {
    createSseProxy<Request, Response>({ target: 'http://127.0.0.1:1', onFinish: accessLog() });
  });
});

describe('as `onFinish`', () => {
  it('access log as `onFinish`: writes to the console', async () => {
    const write = jest.spyOn(console, 'log').mockImplementation(() => {});
    const proxy = await proxyApp({ target: await answeringUpstream('data: 1\n\n'), onFinish: accessLog() });
    await readAll(await request(`${proxy.url}/v1/models?key=secret`));
    await proxy.summary();
    expect(write.mock.calls).toEqual([[expect.stringMatching(/^GET \/v1\/models 200 completed 9 B total \d+ ms$/)]]);
  });

  it('access log as `onFinish`: has model and tokens of a provider, and the path before it was mounted and rewritten', async () => {
    const lines: string[] = [];
    const { upstream, proxy } = await proxiedProvider(openai, {
      pathRewrite: { '^/chat': '/v1/chat/completions' },
      onFinish: accessLog({ write: (line) => lines.push(line) }),
    });
    const response = post(`${proxy.url}/chat?key=${SERVERS_KEY}`);
    (await upstream.next()).give(openaiChat);
    const { length } = await readAll(await response);
    const { model, usage } = await proxy.summary();
    const tokens = `${usage?.inputTokens}\\+${usage?.outputTokens} tokens`;
    expect(length).toBe(bytesOf(openaiChat.parts).length);
    expect(lines).toEqual([
      expect.stringMatching(
        new RegExp(`^POST /chat 200 completed ${model} ${tokens} [\\d.]+ (KB|B) first token \\d+ ms total \\d+ ms$`),
      ),
    ]);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('disk full');
      },
    ],
    ['rejects', () => Promise.reject(new Error('disk full'))],
  ])('access log as `onFinish`: is a hook that failed where `write` %s', async (_what, write) => {
    const { logger, errors } = logbook();
    const proxy = createSseProxy({
      target: await answeringUpstream('data: 1\n\n'),
      logger,
      onFinish: accessLog({ write }),
    });
    const port = await listen(createServer(proxy));
    expect(await readText(await request(`http://127.0.0.1:${port}`))).toBe('data: 1\n\n');
    await turns();
    expect(errors).toEqual([expect.stringMatching(/onFinish failed: Error: disk full/)]);
    expect(proxy.active).toBe(0);
  });
});
