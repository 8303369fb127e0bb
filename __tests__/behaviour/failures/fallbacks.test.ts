import { describe, expect, it } from '@jest/globals';
import {
  type AttemptFailed,
  accessLog,
  type Fallback,
  SseProxyError,
  type SseProxyOptions,
  type Usage,
} from '../../../lib/index.js';
import { anthropic, openai, openaiCompatible } from '../../../lib/providers/index.js';
import { openRequest, readAll, readText, request, responseTo } from '../../support/clients/http.js';
import { post } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringTarget, badTarget, goodTarget, refusingTarget } from '../../support/servers/targets.js';
import { manualUpstream, rawUpstream } from '../../support/servers/upstreams.js';
import {
  anthropicText,
  anthropicWhole,
  bytesOf,
  openaiChat,
  openaiChatUnasked,
  toldBy,
  usageChunk,
  usageFrom,
} from '../../support/streams/dialects.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

describe('the next target', () => {
  it('fallbacks: the next target is asked when the first has failed, and its answer is the answer', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    expect(await readText(await request(`${proxy.url}/path?a=b`))).toBe('good');
    expect([first.seen.length, second.seen.length]).toEqual([1, 1]);
    expect(second.seen[0]?.url).toBe('/path?a=b');
    await expectOneSummary(proxy, {
      outcome: 'completed',
      target: second.url,
      attempts: [
        { target: first.url, statusCode: 503 },
        { target: second.url, statusCode: 200 },
      ],
    });
  });

  it('fallbacks: the next target is asked whatever the cause of the failure does when it is looked at', async () => {
    const { url } = await goodTarget();
    let calls = 0;
    const cause = Object.defineProperty(new Error('mine'), 'code', {
      get() {
        throw new Error('no');
      },
    });
    const proxy = await proxyApp({
      target: url,
      router() {
        calls += 1;
        if (calls === 1) throw new SseProxyError('UPSTREAM_CLOSED', { cause });
        return url;
      },
      fallbacks: [url],
    });
    expect(await readText(await request(proxy.url))).toBe('good');
  });

  it('fallbacks: the next target is asked when the retries of the one before are spent, and has as many of its own', async () => {
    const [first, second, third] = [await badTarget(), await badTarget(500), await goodTarget()];
    const proxy = await proxyApp({
      target: first.url,
      fallbacks: [second.url, third.url],
      retry: { maxRetries: 2, minTimeout: 1 },
    });
    expect(await readText(await request(proxy.url))).toBe('good');
    expect([first.seen.length, second.seen.length, third.seen.length]).toEqual([3, 3, 1]);
  });

  it('fallbacks: the next target gets a POST with its whole body, although POST is not retried', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url], retry: { minTimeout: 1 } });
    const body = 'x'.repeat(100_000);
    expect(await readText(await post(proxy.url, body))).toBe('good');
    expect([first.seen.length, second.seen.length]).toEqual([1, 1]);
    expect(second.seen[0]?.body).toBe(body);
  });

  it.each([
    ['refuses the connection', refusingTarget],
    ['does not speak HTTP', async () => (await rawUpstream((socket) => socket.end('SSH-2.0\r\n\r\n'))).url],
    ['closes the connection', async () => (await rawUpstream((socket) => socket.end())).url],
    ['is not connected in time', async () => (await rawUpstream(() => {})).url.replace('http:', 'https:')],
    ['does not speak TLS', async () => (await goodTarget()).url.replace('http:', 'https:')],
    ['does not answer in time', async () => (await manualUpstream()).url],
  ])('fallbacks: the next target is asked where the first %s', async (_, makeTarget) => {
    const second = await goodTarget();
    const proxy = await proxyApp({
      target: await makeTarget(),
      fallbacks: [second.url],
      timeouts: { connect: 50, headers: 50 },
    });
    expect(await readText(await post(proxy.url))).toBe('good');
    expect(second.seen.map(({ body }) => body)).toEqual(['{}']);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [{ error: expect.stringMatching(/^UPSTREAM_/) }, { statusCode: 200 }],
    });
  });

  it('fallbacks: the next target is asked where the user handles the response, and the first failure is no failure of the second', async () => {
    const { url } = await rawUpstream(() => {});
    const { url: second, requests } = await manualUpstream();
    const proxy = await proxyApp({
      target: url.replace('http:', 'https:'),
      fallbacks: [second],
      timeouts: { connect: 20 },
      selfHandleResponse: true,
      on: { proxyRes: (proxyRes, _req, res) => void proxyRes.pipe(res) },
    });
    const client = openRequest(proxy.url).end();
    const { res } = await requests.next();
    await turns();
    res.end('good');
    expect(await readText(await responseTo(client))).toBe('good');
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [{ error: 'UPSTREAM_CONNECT_TIMEOUT' }, { target: second }],
    });
  });

  it('fallbacks: the next target is not asked about an answer that is none of its kind', async () => {
    const [first, second] = [await badTarget(400), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    expect((await request(proxy.url)).statusCode).toBe(400);
    expect(second.seen).toEqual([]);
  });

  it('fallbacks: the next target is not asked when the client has left', async () => {
    const { url, requests } = await manualUpstream();
    const second = await goodTarget();
    const proxy = await proxyApp({ target: url, fallbacks: [second.url] });
    const client = openRequest(proxy.url).end();
    const received = await requests.next();
    client.destroy();
    await received.closed;
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: [{ target: url }] });
    expect(second.seen).toEqual([]);
  });

  it('fallbacks: the next target is not asked where the failure is on this side', async () => {
    const second = await goodTarget();
    const proxy = await proxyApp({
      provider: openai({
        target: second.url,
        apiKey: () => {
          throw new Error('the vault is closed');
        },
      }),
      fallbacks: [second.url],
    });
    expect((await post(proxy.url)).statusCode).toBe(500);
    expect(second.seen).toEqual([]);
  });
});

describe('a fallback', () => {
  it('fallbacks: a fallback has credentials of its own: the first one’s, and the `headers` of the options, never reach it', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'sk-first', organization: 'org-first' }),
      headers: { 'x-internal': 'for the first' },
      fallbacks: [{ provider: anthropic({ target: second.url, apiKey: 'sk-second' }) }],
    });
    const response = await post(proxy.url, '{}', { authorization: 'Bearer sk-callers', cookie: 'session=1' });
    expect(await readText(response)).toBe('good');
    expect(first.seen[0]?.headers).toMatchObject({
      authorization: 'Bearer sk-first',
      'openai-organization': 'org-first',
      'x-internal': 'for the first',
    });
    const { headers } = second.seen[0] ?? {};
    expect(headers).toMatchObject({ 'x-api-key': 'sk-second', 'anthropic-version': '2023-06-01' });
    expect(JSON.stringify(headers)).not.toMatch(/first|callers|session/);
  });

  it('fallbacks: a fallback without credentials gets none of the first one’s', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'sk-first' }),
      fallbacks: [{ provider: openaiCompatible({ name: 'vllm', target: second.url, apiKey: false }) }],
    });
    expect(await readText(await post(proxy.url))).toBe('good');
    expect(second.seen[0]?.headers).not.toHaveProperty('authorization');
  });

  it('fallbacks: a fallback that is a target alone is spoken to as the proxy’s own provider', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'sk-ours' }),
      fallbacks: [second.url],
    });
    expect(await readText(await post(proxy.url))).toBe('good');
    expect(second.seen[0]?.headers.authorization).toBe('Bearer sk-ours');
  });

  it('fallbacks: a fallback has its own target, `pathRewrite` and `headers`', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      target: first.url,
      pathRewrite: { '^/v1': '/first' },
      fallbacks: [
        {
          target: second.url,
          pathRewrite: (path) => path.replace('/v1', '/api/v1'),
          headers: { 'X-Internal': 'for the second' },
        },
      ],
    });
    expect(await readText(await request(`${proxy.url}/v1/chat?x=1`))).toBe('good');
    expect(first.seen[0]?.url).toBe('/first/chat?x=1');
    expect(second.seen[0]).toMatchObject({ url: '/api/v1/chat?x=1', headers: { 'x-internal': 'for the second' } });
  });

  it('fallbacks: a fallback without a `pathRewrite` has that of the options', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({
      target: first.url,
      pathRewrite: { '^/v1': '/v2' },
      fallbacks: [{ target: second.url }],
    });
    await readText(await request(`${proxy.url}/v1/chat`));
    expect(second.seen[0]?.url).toBe('/v2/chat');
  });

  it('fallbacks: a fallback has its requests edited, and its answers read, in its own dialect', async () => {
    const usages: Usage[] = [];
    const [first, second] = [await badTarget(529), await answeringTarget(openaiChat)];
    const proxy = await proxyApp({
      provider: anthropic({ target: first.url, apiKey: 'a' }),
      fallbacks: [{ provider: openai({ target: second.url, apiKey: 'b', includeUsage: true }) }],
      onUsage: (usage) => usages.push(usage),
    });
    const response = await post(`${proxy.url}${openaiChat.path}`, '{"messages":[],"stream":true}');
    expect(await readText(response)).toBe(bytesOf(openaiChat.parts.filter((part) => part !== usageChunk)).toString());
    expect(first.seen[0]?.body).toBe('{"messages":[],"stream":true}');
    expect(second.seen[0]?.body).toBe('{"stream_options":{"include_usage":true},"messages":[],"stream":true}');
    expect(usages).toEqual([usageFrom(toldBy(openaiChat.parts))]);
  });

  it('fallbacks: a fallback that edits nothing gets the bytes of the client, and nothing is taken out of its answer', async () => {
    const [first, second] = [await badTarget(), await answeringTarget(openaiChat)];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'a', includeUsage: true }),
      fallbacks: [{ provider: openai({ target: second.url, apiKey: 'b' }) }],
    });
    const body = '{"messages":[],"stream":true}';
    const response = await post(`${proxy.url}${openaiChat.path}`, body);
    expect(await readAll(response)).toEqual(bytesOf(openaiChat.parts));
    expect(second.seen[0]).toMatchObject({ body, headers: { 'content-length': String(body.length) } });
  });

  it('fallbacks: the summary says which provider answered, and whom each attempt has asked', async () => {
    const [first, second] = [await badTarget(529), await answeringTarget(anthropicText)];
    const lines: string[] = [];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'a' }),
      fallbacks: [{ provider: anthropic({ target: second.url, apiKey: 'b' }) }],
      onFinish: accessLog({ format: 'json', write: (line) => lines.push(line) }),
    });
    await readAll(await post(`${proxy.url}${anthropicText.path}`));
    await expectOneSummary(proxy, {
      provider: 'anthropic',
      attempts: [
        { provider: 'openai', target: first.url },
        { provider: 'anthropic', target: second.url },
      ],
    });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ 'gen_ai.provider.name': 'anthropic', attempts: 2 }]);
  });

  it('fallbacks: the summary has no provider where none was named', async () => {
    const [first, second] = [await badTarget(), await goodTarget()];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    await readText(await request(proxy.url));
    const summary = await expectOneSummary(proxy, { outcome: 'completed' });
    expect([summary, ...summary.attempts].filter((part) => 'provider' in part)).toEqual([]);
  });

  it.each([
    ['a stream', anthropicText],
    ['a whole answer', anthropicWhole],
  ])('fallbacks: a fallback is read in its own dialect: %s', async (_, answer) => {
    const usages: Usage[] = [];
    const [first, second] = [await badTarget(), await answeringTarget(answer)];
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'a' }),
      fallbacks: [{ provider: anthropic({ target: second.url, apiKey: 'b' }) }],
      onUsage: (usage) => usages.push(usage),
    });
    expect(await readAll(await post(`${proxy.url}${answer.path}`))).toEqual(bytesOf(answer.parts));
    expect(usages).toEqual([usageFrom(toldBy(answer.parts))]);
  });
});

describe('when all have failed', () => {
  it('fallbacks: when all have failed, the last answer is the answer', async () => {
    const [first, second] = [await badTarget(503), await badTarget(500)];
    const proxy = await proxyApp({ target: first.url, fallbacks: [second.url] });
    const response = await request(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([500, 'bad 500']);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      statusCode: 500,
      attempts: [{ statusCode: 503 }, { statusCode: 500 }],
    });
  });

  it('fallbacks: when all have failed, the last error is the answer, in the shape of the last provider', async () => {
    const first = await badTarget();
    const second = await refusingTarget();
    const proxy = await proxyApp({
      provider: openai({ target: first.url, apiKey: 'a' }),
      fallbacks: [{ provider: anthropic({ target: second, apiKey: 'b' }) }],
    });
    const response = await post(proxy.url);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response))).toMatchObject({ type: 'error', error: { type: expect.any(String) } });
    await expectOneSummary(proxy, {
      outcome: 'upstream-error',
      target: second,
      attempts: [
        { target: first.url, statusCode: 503 },
        { target: second, error: 'UPSTREAM_UNREACHABLE' },
      ],
      error: { code: 'UPSTREAM_UNREACHABLE' },
    });
  });
});

describe('`fallbacks` as a function', () => {
  it('fallbacks as a function: is told of the failure and of the attempts, and names the next target', async () => {
    const [first, third] = [await badTarget(), await goodTarget()];
    const second = await refusingTarget();
    const calls: { failed: AttemptFailed; attempts: number }[] = [];
    const targets: Fallback[] = [second, { target: third.url, headers: { 'x-third': 'yes' } }];
    const proxy = await proxyApp({
      target: first.url,
      fallbacks: (failed, { attempts }) => {
        calls.push({ failed, attempts: attempts.length });
        return targets.shift();
      },
    });
    expect(await readText(await request(proxy.url))).toBe('good');
    expect(calls).toEqual([
      { failed: { statusCode: 503 }, attempts: 1 },
      { failed: { error: expect.objectContaining({ code: 'UPSTREAM_UNREACHABLE' }) }, attempts: 2 },
    ]);
    expect(third.seen[0]?.headers['x-third']).toBe('yes');
  });

  it('fallbacks as a function: says by `undefined` that the failure is the answer', async () => {
    const first = await badTarget();
    const proxy = await proxyApp({ target: first.url, fallbacks: () => undefined });
    expect((await request(proxy.url)).statusCode).toBe(503);
    expect(first.seen).toHaveLength(1);
  });

  it('fallbacks as a function: is not asked for ever', async () => {
    const first = await badTarget();
    const proxy = await proxyApp({ target: first.url, fallbacks: () => first.url });
    expect((await request(proxy.url)).statusCode).toBe(503);
    expect(first.seen).toHaveLength(10);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['returns what is no target', () => ({ headers: {} })],
  ] as [string, NonNullable<SseProxyOptions['fallbacks']>][])(
    'fallbacks as a function that %s is logged, and the failure is the answer',
    async (_, fallbacks) => {
      const first = await badTarget();
      const { logger, errors } = logbook();
      const proxy = await proxyApp({ target: first.url, fallbacks, logger });
      expect((await request(proxy.url)).statusCode).toBe(503);
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(/fallbacks failed/);
    },
  );
});

it('fallbacks: a body that is too large to be kept keeps a request at its target', async () => {
  const [first, second] = [await badTarget(), await answeringTarget(openaiChatUnasked)];
  const proxy = await proxyApp({ target: first.url, fallbacks: [second.url], retry: { maxBodySize: 10 } });
  const response = await post(proxy.url, 'x'.repeat(11));
  expect([response.statusCode, await readText(response)]).toEqual([503, 'bad 503']);
  expect(second.seen).toEqual([]);
});
