import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import {
  createSseProxy,
  type Exchange,
  type SseProxyError,
  type SseProxyOptions,
  type StreamEvent,
  type Usage,
} from '../../../lib/index.js';
import { anthropic, ollama, openai } from '../../../lib/providers/index.js';
import {
  openRequest,
  readAll,
  reader,
  readText,
  readUntilCut,
  request,
  responseTo,
} from '../../support/clients/http.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, eventStream, manualUpstream, upstream } from '../../support/servers/upstreams.js';
import {
  anthropicText,
  bytesOf,
  openaiChat,
  openaiChatWhole,
  toldBy,
  usageChunk,
  usageFrom,
} from '../../support/streams/dialects.js';
import { FIXTURES } from '../../support/streams/fixtures.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { expectOneSummary } from '../../support/watch/summary.js';
import { Queue, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const FIRST_EVENT = { commit: 'first-event' } as const;
const OVERLOADED = '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}';
const OVERLOADED_EVENT = `event: error\ndata: ${OVERLOADED}\n\n`;

/** Answers with these bodies in turn, the last one over and over; all of them are 200s. */
async function answering(
  ...bodies: [string | Buffer, ...(string | Buffer)[]]
): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const { url } = await upstream(async (req, res) => {
    const body = bodies[Math.min(seen.length, bodies.length - 1)];
    seen.push(await readText(req));
    eventStream(res).end(body);
  });
  return { url, seen };
}

interface Waiting {
  proxy: ProxyUnderTest;
  client: ReturnType<typeof openRequest>;
  /** The upstream's response, whose head is at the proxy. */
  res: ServerResponse;
  upstreamClosed: Promise<void>;
}

/** A stream whose head has come, and whose first event has not. */
async function waiting(options: SseProxyOptions): Promise<Waiting> {
  const { url, requests } = await manualUpstream();
  const headCame = signal();
  const proxy = await proxyApp({ target: url, on: { proxyRes: () => headCame.resolve() }, ...options });
  const client = openRequest(proxy.url).end();
  const { res, closed } = await requests.next();
  eventStream(res);
  await headCame.promise;
  return { proxy, client, res, upstreamClosed: closed };
}

describe("commit: 'first-event'", () => {
  it('commit on the first event: holds the head back until the first event is whole, and then nothing any more', async () => {
    const { proxy, client, res } = await waiting(FIRST_EVENT);
    let hasHead = false;
    client.once('response', () => {
      hasHead = true;
    });
    res.write(': a comment\n\ndata: fir');
    await turns(20);
    expect(hasHead).toBe(false);

    res.write('st\n\n');
    const stream = reader(await responseTo(client));
    expect(await stream.until('\n\ndata: first\n\n')).toBe(': a comment\n\ndata: first\n\n');
    res.write('data: sec');
    expect(await stream.until('sec')).toBe('data: sec');
    res.end('ond\n\n');
    expect(await stream.until('\n\n')).toBe('ond\n\n');
    await expectOneSummary(proxy, { outcome: 'completed', statusCode: 200, bytes: 40 });
  });

  it.each(FIXTURES)('commit on the first event: leaves every byte as it is: $name', async (fixture) => {
    const { bytes, contentType } = fixture;
    const url = await answeringUpstream(bytes, { 'content-type': contentType });
    const proxy = await proxyApp({ target: url, ...FIRST_EVENT });
    expect(await readAll(await request(proxy.url))).toEqual(bytes);
    await expectOneSummary(proxy, { outcome: 'completed', bytes: bytes.length });
  });

  it.each(FIXTURES)(
    'commit on the first event: leaves every byte as it is, also where they come one by one: $name',
    async ({ bytes, contentType }) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(200, { 'content-type': contentType });
        let sent = 0;
        const send = (): void => {
          if (sent === bytes.length) return void res.end();
          sent += 1;
          res.write(bytes.subarray(sent - 1, sent), () => setImmediate(send));
        };
        send();
      });
      const proxy = await proxyApp({ target: url, ...FIRST_EVENT });
      expect(await readAll(await request(proxy.url))).toEqual(bytes);
    },
  );

  it('commit on the first event: leaves every event to those who read them', async () => {
    const { url } = await answering(bytesOf(openaiChat.parts));
    const events = new Queue<string>();
    const usages: Usage[] = [];
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: SERVERS_KEY }),
      ...FIRST_EVENT,
      onEvent: ({ data }) => events.push(data),
      onUsage: (usage) => usages.push(usage),
    });
    expect(await readAll(await post(`${proxy.url}${openaiChat.path}`))).toEqual(bytesOf(openaiChat.parts));
    await expectOneSummary(proxy, { outcome: 'completed', events: openaiChat.parts.length });
    expect(events.count).toBe(openaiChat.parts.length);
    expect(usages).toEqual([usageFrom(toldBy(openaiChat.parts))]);
  });

  it('commit on the first event: goes together with a transform, and with what is taken out of the answer', async () => {
    const { url } = await answering(bytesOf(openaiChat.parts));
    const proxy = await proxyApp({
      provider: openai({ target: url, apiKey: SERVERS_KEY, includeUsage: true }),
      ...FIRST_EVENT,
      transformEvent: ({ data }) => (data === '[DONE]' ? [{ comment: 'the end' }, { data }] : undefined),
    });
    const response = await post(`${proxy.url}${openaiChat.path}`, '{"messages":[],"stream":true}');
    const shown = bytesOf(openaiChat.parts.filter((part) => part !== usageChunk)).toString();
    expect(await readText(response)).toBe(shown.replace('data: [DONE]', ': the end\n\ndata: [DONE]'));
  });

  it('commit on the first event: is of no matter to an answer that is no stream', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
    const client = openRequest(`${proxy.url}${openaiChatWhole.path}`).end();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const response = await responseTo(client);
    res.end('{"error":{"type":"server_error"}}');
    expect([response.statusCode, await readText(response)]).toEqual([200, '{"error":{"type":"server_error"}}']);
  });

  it('commit on the first event: is of no matter to a stream that has a status of its own', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(400, { 'content-type': 'text/event-stream' }).end(OVERLOADED_EVENT);
    });
    const proxy = await proxyApp({ provider: anthropic({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
    const response = await post(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([400, OVERLOADED_EVENT]);
  });

  it('commit on the first event: is of no matter to HEAD', async () => {
    const { url } = await upstream((_req, res) => eventStream(res).end());
    const proxy = await proxyApp({ target: url, ...FIRST_EVENT });
    expect((await request(proxy.url, { method: 'HEAD' })).statusCode).toBe(200);
  });

  it.each([
    ['that is a whole stream', Buffer.from('data: 1\n\ndata: 2\n\n')],
    ['that is large', Buffer.from(`data: 1\n\n${'data: x\n\n'.repeat(50_000)}`)],
  ])(
    'commit on the first event: reads a compressed first event, and leaves the bytes compressed: %s',
    async (_, text) => {
      const zipped = gzipSync(text);
      const proxy = await proxyApp({
        target: await answeringUpstream(zipped, { 'content-encoding': 'gzip' }),
        ...FIRST_EVENT,
      });
      const response = await request(proxy.url, { headers: { 'accept-encoding': 'gzip' } });
      expect(response.headers['content-encoding']).toBe('gzip');
      expect(await readAll(response)).toEqual(zipped);
      await expectOneSummary(proxy, { outcome: 'completed' });
    },
  );

  it('commit on the first event: finds an error in a compressed stream', async () => {
    const url = await answeringUpstream(gzipSync(OVERLOADED_EVENT), { 'content-encoding': 'gzip' });
    const proxy = await proxyApp({ provider: anthropic({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
    expect((await post(proxy.url)).statusCode).toBe(529);
  });

  it('commit on the first event: passes on what it cannot read: a coding that it does not know', async () => {
    const proxy = await proxyApp({
      target: await answeringUpstream('opaque', { 'content-encoding': 'x-own' }),
      ...FIRST_EVENT,
    });
    const response = await request(proxy.url, { headers: { 'accept-encoding': 'x-own' } });
    expect([response.statusCode, await readText(response)]).toEqual([200, 'opaque']);
  });

  it('commit on the first event: passes on what has no event within `limits.eventSize`', async () => {
    const { proxy, client, res } = await waiting({ ...FIRST_EVENT, limits: { eventSize: 100 } });
    res.write(`data: ${'x'.repeat(100)}`);
    const stream = reader(await responseTo(client));
    await stream.until('x'.repeat(100));
    res.end('\n\n');
    await stream.until('\n\n');
    await expectOneSummary(proxy, { outcome: 'completed', bytes: 108 });
  });
});

describe('a stream that begins with an error', () => {
  it('commit on the first event: a stream that begins with an error is retried, and the client sees nothing of it', async () => {
    const { url, seen } = await answering(OVERLOADED_EVENT, bytesOf(anthropicText.parts));
    const proxy = await proxyApp({
      provider: anthropic({ target: url, apiKey: SERVERS_KEY }),
      ...FIRST_EVENT,
      retry: { minTimeout: 1 },
    });
    const response = await post(`${proxy.url}${anthropicText.path}`, '{"stream":true}');
    expect(response.statusCode).toBe(200);
    expect(await readAll(response)).toEqual(bytesOf(anthropicText.parts));
    expect(seen).toEqual(['{"stream":true}', '{"stream":true}']);
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [
        { target: url, statusCode: 200, error: 'UPSTREAM_ERROR_EVENT' },
        { target: url, statusCode: 200 },
      ],
      usage: usageFrom(toldBy(anthropicText.parts)),
    });
    expect(proxy.summaries[0]?.attempts[1]).not.toHaveProperty('error');
  });

  it('commit on the first event: a stream that begins with an error has a fallback take its place', async () => {
    const first = await answering(OVERLOADED_EVENT);
    const second = await answering(bytesOf(openaiChat.parts));
    const proxy = await proxyApp({
      provider: anthropic({ target: first.url, apiKey: 'a' }),
      fallbacks: [{ provider: openai({ target: second.url, apiKey: 'b' }) }],
      ...FIRST_EVENT,
    });
    expect(await readAll(await post(`${proxy.url}${openaiChat.path}`))).toEqual(bytesOf(openaiChat.parts));
    await expectOneSummary(proxy, {
      outcome: 'completed',
      target: second.url,
      attempts: [{ error: 'UPSTREAM_ERROR_EVENT' }, { statusCode: 200 }],
    });
  });

  it('commit on the first event: a stream that begins with an error becomes a response with its status and its JSON when nothing is left', async () => {
    const { url, seen } = await answering(OVERLOADED_EVENT);
    const rewritten = new Queue<number>();
    const usages = new Queue<Usage>();
    const proxy = await proxyApp({
      provider: anthropic({ target: url, apiKey: SERVERS_KEY }),
      ...FIRST_EVENT,
      retry: { minTimeout: 1, maxRetries: 1 },
      rewriteHeaders: ({ statusCode }) => rewritten.push(statusCode),
      onUsage: (usage) => usages.push(usage),
    });
    const response = await post(proxy.url);
    expect(response.statusCode).toBe(529);
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(await readText(response)).toBe(OVERLOADED);
    expect(seen).toHaveLength(2);
    await expectOneSummary(proxy, {
      outcome: 'upstream-error',
      statusCode: 529,
      attempts: [{ error: 'UPSTREAM_ERROR_EVENT' }, { error: 'UPSTREAM_ERROR_EVENT' }],
      error: { code: 'UPSTREAM_ERROR_EVENT', statusCode: 529 },
    });
    expect([rewritten.count, usages.count]).toEqual([1, 1]);
  });

  it('commit on the first event: a stream that begins with an error is not retried where the method must not be: a POST without a provider', async () => {
    const { url, seen } = await answering('data: no\n\n');
    const proxy = await proxyApp({ target: url, commit: () => false, retry: { minTimeout: 1 } });
    expect((await post(proxy.url)).statusCode).toBe(502);
    expect(seen).toHaveLength(1);
  });

  it.each([
    ['{"error":{"message":"Slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}', 429],
    ['{"error":{"message":"Oops","type":"server_error"}}', 500],
    ['{"error":{"message":"Bad gateway","code":503}}', 503],
    ['{"error":{"message":"Nobody knows"}}', 502],
  ])(
    'commit on the first event: a stream that begins with an error has the status that it stands for: OpenAI’s %s',
    async (data, status) => {
      const { url } = await answering(`data: ${data}\n\n`);
      const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
      const response = await post(proxy.url);
      expect([response.statusCode, await readText(response)]).toEqual([status, data]);
    },
  );

  it.each([
    { type: 'error', sequence_number: 0, code: 'rate_limit_exceeded', message: 'Slow down.', param: null },
    {
      type: 'response.failed',
      response: { status: 'failed', error: { code: 'rate_limit_exceeded', message: 'Slow down.' } },
    },
  ])(
    'commit on the first event: a stream that begins with an error has an error body in its place: Responses’ %j',
    async (event) => {
      const { url } = await answering(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
      const proxy = await proxyApp({ provider: openai({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
      const response = await post(`${proxy.url}/v1/responses`);
      const error = { message: 'Slow down.', type: 'server_error', param: null, code: 'rate_limit_exceeded' };
      expect([response.statusCode, JSON.parse(await readText(response))]).toEqual([429, { error }]);
    },
  );

  const chunk = (delta: object): string =>
    `data: ${JSON.stringify({ model: 'm', choices: [{ index: 0, delta }] })}\n\n`;
  const OPENAI_ERROR =
    'data: {"error":{"message":"Slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}\n\n';
  const ANTHROPIC_START =
    'event: message_start\ndata: {"type":"message_start","message":{"model":"m","content":[]}}\n\n';
  const PING = 'event: ping\ndata: {"type":"ping"}\n\n';
  const CREATED = 'event: response.created\ndata: {"type":"response.created","response":{"status":"in_progress"}}\n\n';

  it.each<[string, string, string, number]>([
    [
      'a comment and a role',
      '/v1/chat/completions',
      `: OPENROUTER PROCESSING\n\n${chunk({ role: 'assistant', content: '' })}${OPENAI_ERROR}`,
      429,
    ],
    ['message_start and a ping', '/v1/messages', `${ANTHROPIC_START}${PING}${OVERLOADED_EVENT}`, 529],
    [
      'response.created',
      '/v1/responses',
      `${CREATED}event: error\ndata: {"type":"error","code":"server_error","message":"No."}\n\n`,
      500,
    ],
  ])('commit on the first content: looks past %s to an error', async (_name, path, body, status) => {
    const { url, seen } = await answering(body);
    const provider = openai({ target: url, apiKey: SERVERS_KEY });
    const proxy = await proxyApp({ provider, commit: 'first-content', retry: { minTimeout: 1, maxRetries: 1 } });
    const response = await post(proxy.url + path);
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(response.statusCode).toBe(status);
    await readText(response);
    expect(seen).toHaveLength(2);
    await proxy.summary();
    // With the other name, the first event is what counts.
    const first = await proxyApp({ provider, commit: 'first-event' });
    expect(await readText(await post(first.url + path))).toBe(body);
  });

  it('commit on the first content: leaves every byte as it is, where there is content, an end, or neither', async () => {
    const role = chunk({ role: 'assistant', content: '' });
    const many = role.repeat(150);
    for (const body of [
      role + chunk({ content: 'Hi' }) + OPENAI_ERROR,
      `${role}data: [DONE]\n\n`,
      role,
      many + OPENAI_ERROR,
    ]) {
      const { url } = await answering(body);
      const provider = openai({ target: url, apiKey: SERVERS_KEY });
      const proxy = await proxyApp({ provider, commit: 'first-content' });
      const response = await post(`${proxy.url}/v1/chat/completions`);
      expect([response.statusCode, await readText(response)]).toEqual([200, body]);
      expect((await proxy.summary()).events).toBe(body.split('data: ').length - 1);
    }
  });

  it('commit on the first content: needs a provider', () => {
    expect(() => createSseProxy({ target: 'http://127.0.0.1:1', commit: 'first-content' })).toThrow(
      'needs a `provider`',
    );
  });

  it('commit on the first event: a stream that begins with an error may be a line of NDJSON', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/x-ndjson' }).end('{"error":"model not loaded"}\n');
    });
    const proxy = await proxyApp({ provider: ollama({ target: url }), ...FIRST_EVENT });
    const response = await post(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([502, '{"error":"model not loaded"}']);
  });

  it('commit on the first event: a stream that begins with an error is handed to Express where `onError` says so', async () => {
    const { url } = await answering(OVERLOADED_EVENT);
    const errors = new Queue<SseProxyError>();
    const proxy = await proxyApp({
      provider: anthropic({ target: url, apiKey: SERVERS_KEY }),
      ...FIRST_EVENT,
      onError: 'next',
    });
    proxy.app.use(
      (
        error: SseProxyError,
        _req: unknown,
        res: { status(code: number): { send(body: string): void } },
        _next: unknown,
      ) => {
        errors.push(error);
        res.status(error.statusCode).send('handled');
      },
    );
    const response = await post(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([529, 'handled']);
    expect(await errors.next()).toMatchObject({ code: 'UPSTREAM_ERROR_EVENT' });
    await expectOneSummary(proxy, { outcome: 'upstream-error', statusCode: 529 });
  });

  it('commit on the first event: a stream that begins with an error is passed on as it is without `commit`', async () => {
    const { url } = await answering(OVERLOADED_EVENT);
    const proxy = await proxyApp({
      provider: anthropic({ target: url, apiKey: SERVERS_KEY }),
      retry: { minTimeout: 1 },
    });
    const response = await post(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([200, OVERLOADED_EVENT]);
  });

  it('commit on the first event: a stream that has begun well is passed on: only the first event counts', async () => {
    const body = `event: message_start\ndata: {"type":"message_start"}\n\n${OVERLOADED_EVENT}`;
    const { url } = await answering(body);
    const proxy = await proxyApp({ provider: anthropic({ target: url, apiKey: SERVERS_KEY }), ...FIRST_EVENT });
    const response = await post(proxy.url);
    expect([response.statusCode, await readText(response)]).toEqual([200, body]);
  });
});

describe('a stream without an event', () => {
  it.each(['', ': only a comment\n\n'])(
    'commit on the first event: a stream without an event is a 502 where it ends: %j',
    async (body) => {
      const { url } = await answering(body);
      const proxy = await proxyApp({ target: url, ...FIRST_EVENT });
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_ERROR_EVENT');
      await expectOneSummary(proxy, { outcome: 'upstream-error', error: { code: 'UPSTREAM_ERROR_EVENT' } });
    },
  );

  it('commit on the first event: a stream without an event is retried where it ends', async () => {
    const { url, seen } = await answering('', 'data: 1\n\n');
    const proxy = await proxyApp({ target: url, ...FIRST_EVENT, retry: { minTimeout: 1 } });
    expect(await readText(await request(proxy.url))).toBe('data: 1\n\n');
    expect(seen).toHaveLength(2);
  });

  it('commit on the first event: a stream without an event is a 502 where it breaks off', async () => {
    const { proxy, client, res } = await waiting(FIRST_EVENT);
    res.write('data: hal', () => res.destroy());
    const response = await responseTo(client);
    expect(response.statusCode).toBe(502);
    expect(JSON.parse(await readText(response)).error.code).toBe('UPSTREAM_CLOSED');
    await expectOneSummary(proxy, {
      outcome: 'upstream-error',
      attempts: [{ statusCode: 200, error: 'UPSTREAM_CLOSED' }],
      bytes: 0,
    });
  });

  it('commit on the first event: a stream without an event is retried where it breaks off', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({ target: url, ...FIRST_EVENT, retry: { minTimeout: 1 } });
    const response = request(proxy.url);
    const first = await requests.next();
    eventStream(first.res).write('data: hal', () => first.res.destroy());
    eventStream((await requests.next()).res).end('data: whole\n\n');
    expect(await readText(await response)).toBe('data: whole\n\n');
    await expectOneSummary(proxy, {
      outcome: 'completed',
      attempts: [{ statusCode: 200, error: 'UPSTREAM_CLOSED' }, { statusCode: 200 }],
    });
  });

  it('commit on the first event: a first event that does not come within `timeouts.headers` is a 504', async () => {
    const { proxy, client, res, upstreamClosed } = await waiting({ ...FIRST_EVENT, timeouts: { headers: 100 } });
    res.write(': still thinking\n\n');
    const response = await responseTo(client);
    expect(response.statusCode).toBe(504);
    expect(response.headers['x-should-retry']).toBe('false');
    await upstreamClosed;
    await expectOneSummary(proxy, { outcome: 'timeout', error: { code: 'UPSTREAM_TIMEOUT' } });
  });

  it('commit on the first event: a stream without an event is the end of the exchange where the client leaves, and the upstream is closed', async () => {
    const { proxy, client, res, upstreamClosed } = await waiting({ ...FIRST_EVENT, retry: { minTimeout: 1 } });
    res.write('data: hal');
    client.destroy();
    await upstreamClosed;
    await expectOneSummary(proxy, { outcome: 'client-closed', attempts: [{ statusCode: 200 }] });
    expect(proxy.summaries[0]).not.toHaveProperty('statusCode');
  });
});

describe('commit as a function', () => {
  it('commit on the first event: commit as a function is asked once, about the first event, and decides when the head leaves', async () => {
    const asked = new Queue<StreamEvent>();
    const decision = signal<boolean>();
    const { proxy, client, res } = await waiting({
      commit: (event) => {
        asked.push(event);
        return decision.promise;
      },
    });
    let hasHead = false;
    client.once('response', () => {
      hasHead = true;
    });
    res.write('event: hello\ndata: {"a":1}\n\ndata: second\n\n');
    const event = await asked.next();
    expect([event.event, event.data, event.json()]).toEqual(['hello', '{"a":1}', { a: 1 }]);
    await turns(20);
    expect(hasHead).toBe(false);
    decision.resolve(true);
    const response = await responseTo(client);
    res.end('data: third\n\n');
    expect(await readText(response)).toBe('event: hello\ndata: {"a":1}\n\ndata: second\n\ndata: third\n\n');
    await expectOneSummary(proxy, { outcome: 'completed' });
    expect(asked.count).toBe(1);
  });

  it.each([
    ['', () => false],
    [' by a promise', async () => false],
  ])(
    'commit on the first event: commit as a function has an attempt fail that it says `false` of%s',
    async (_, commit) => {
      const { url, seen } = await answering('data: no\n\n');
      const proxy = await proxyApp({ target: url, commit, retry: { minTimeout: 1, maxRetries: 1 } });
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(seen).toHaveLength(2);
      await expectOneSummary(proxy, { outcome: 'upstream-error', error: { code: 'UPSTREAM_ERROR_EVENT' } });
    },
  );

  it('commit on the first event: commit as a function is given the exchange, and decides in the place of the provider', async () => {
    const { url } = await answering(OVERLOADED_EVENT);
    const exchanges = new Queue<Exchange>();
    const proxy = await proxyApp({
      provider: anthropic({ target: url, apiKey: SERVERS_KEY }),
      commit: (_event, exchange) => {
        exchanges.push(exchange);
        return true;
      },
    });
    const response = await post(`${proxy.url}/v1/messages`);
    expect([response.statusCode, await readText(response)]).toEqual([200, OVERLOADED_EVENT]);
    expect(await exchanges.next()).toMatchObject({ path: '/v1/messages', attempts: [{ statusCode: 200 }] });
  });

  it.each([
    [
      'throws',
      (): boolean => {
        throw new Error('no');
      },
    ],
    ['rejects', async () => Promise.reject(new Error('no'))],
  ])(
    'commit on the first event: commit as a function that %s ends the exchange with a 502, and is not retried',
    async (_, commit) => {
      const { url, seen } = await answering('data: 1\n\n');
      const proxy = await proxyApp({ target: url, commit, retry: { minTimeout: 1 } });
      const response = await request(proxy.url);
      expect(response.statusCode).toBe(502);
      expect(JSON.parse(await readText(response)).error.code).toBe('HOOK_FAILED');
      expect(seen).toHaveLength(1);
      await expectOneSummary(proxy, { outcome: 'failed', error: { code: 'HOOK_FAILED' } });
    },
  );

  it('commit on the first event: commit as a function that does not decide within `timeouts.headers` is a 504, and what it says then is not heard', async () => {
    const decision = signal<boolean>();
    const { url } = await answering('data: 1\n\n');
    const proxy = await proxyApp({ target: url, commit: () => decision.promise, timeouts: { headers: 50 } });
    const response = await request(proxy.url);
    expect(response.statusCode).toBe(504);
    decision.resolve(true);
    await readAll(response);
    await expectOneSummary(proxy, { outcome: 'timeout', statusCode: 504 });
  });

  it('commit on the first event: commit as a function that has not decided yet when the client leaves is not heard any more', async () => {
    const asked = signal();
    const decision = signal<boolean>();
    const { proxy, client, res, upstreamClosed } = await waiting({
      commit: () => {
        asked.resolve();
        return decision.promise;
      },
    });
    res.write('data: 1\n\n');
    await asked.promise;
    client.destroy();
    await upstreamClosed;
    decision.resolve(false);
    await expectOneSummary(proxy, { outcome: 'client-closed' });
  });

  it('commit on the first event: commit as a function is not in the way of a stream that breaks off later', async () => {
    const { client, res } = await waiting({ commit: () => true });
    res.write('data: 1\n\n');
    const response = await responseTo(client);
    response.once('data', () => res.destroy());
    const { body, cut } = await readUntilCut(response);
    expect([body.toString(), cut]).toEqual(['data: 1\n\n', true]);
  });
});
