import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions, StreamEvent, Usage } from '../../../lib/index.js';
import { anthropic, gemini, ollama, openai, openaiCompatible, type Provider } from '../../../lib/providers/index.js';
import { readAll, reader, readUntilCut } from '../../support/clients/http.js';
import { SERVERS_KEY as apiKey, post, proxiedProvider } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { answeringUpstream, manualUpstream } from '../../support/servers/upstreams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const MB = 1024 * 1024;
const CHAT = '/v1/chat/completions';
const SSE = { 'content-type': 'text/event-stream' };
const image = Buffer.alloc(3 * MB, 'iVBORw0KGgo').toString();

const data = (payload: unknown): string => `data: ${JSON.stringify(payload)}\n\n`;
const chunk = (delta: object, finish_reason: string | null = null): string =>
  data({ id: 'c', object: 'chat.completion.chunk', model: 'm', choices: [{ index: 0, delta, finish_reason }] });
const usage = { prompt_tokens: 12, completion_tokens: 34, total_tokens: 46 };
const usageChunk = data({ id: 'c', object: 'chat.completion.chunk', model: 'm', choices: [], usage });
const FIGURES = { inputTokens: 12, outputTokens: 34, totalTokens: 46, complete: true };

/** One answer, and what is told of it. */
async function told(
  create: (target: string) => Provider,
  path: string,
  head: object,
  body: string | Buffer,
  options: SseProxyOptions = {},
  headers: object = {},
) {
  const usages: Usage[] = [];
  const target = await answeringUpstream(body, head as Record<string, string>);
  const proxy = await proxyApp({ provider: create(target), onUsage: (given) => void usages.push(given), ...options });
  const response = await post(proxy.url + path, '{"stream":true}', headers);
  const received = await readAll(response);
  const bytes = response.headers['content-encoding'] === 'gzip' ? zlib.gunzipSync(received) : received;
  const summary = await proxy.summary();
  const { reported, ...figures } = summary.usage as Usage;
  expect(usages).toHaveLength(1);
  return { bytes, figures, summary };
}

const chat = (target: string): Provider => openai({ target, apiKey });
const asking = (target: string): Provider => openai({ target, apiKey, includeUsage: true });

describe('an answer with an event above limits.eventSize', () => {
  const largeChunk = chunk({ images: [{ image_url: { url: `data:image/png;base64,${image}` } }] });
  const finish = chunk({}, 'stop');

  it.each([
    ['is read', chat, usageChunk],
    ['is edited by includeUsage', asking, ''],
  ])('large events: pass, and the usage behind is told, where the stream %s', async (_what, create, rest) => {
    const body = [chunk({ content: 'a' }), largeChunk, finish, usageChunk, 'data: [DONE]\n\n'].join('');
    const { bytes, figures } = await told(create, CHAT, SSE, body);
    expect(bytes.toString() === body.replace(usageChunk, rest)).toBe(true);
    expect(figures).toEqual(FIGURES);
  });

  it.each([
    [
      'Responses',
      chat,
      '/v1/responses',
      SSE,
      (text: string) => {
        const output = [{ type: 'image_generation_call', result: text }];
        const response = {
          object: 'response',
          model: 'm',
          status: 'completed',
          output,
          usage: { input_tokens: 12, output_tokens: 34, total_tokens: 46 },
        };
        return `event: response.completed\r\ndata: ${JSON.stringify({ type: 'response.completed', response })}\r\n\r\n`;
      },
    ],
    [
      'images in JSON',
      chat,
      '/v1/images/generations',
      { 'content-type': 'application/json' },
      (text: string) =>
        JSON.stringify(
          {
            data: [{ b64_json: text }, { b64_json: text }],
            usage: { input_tokens: 12, output_tokens: 34, total_tokens: 46 },
          },
          null,
          2,
        ),
    ],
    [
      'JSON with the usage in front',
      chat,
      CHAT,
      { 'content-type': 'application/json' },
      (text: string) =>
        JSON.stringify({
          object: 'chat.completion',
          usage,
          choices: [{ index: 0, message: { content: text }, finish_reason: 'stop' }],
        }),
    ],
    [
      'embeddings',
      chat,
      '/v1/embeddings',
      { 'content-type': 'application/json' },
      () =>
        JSON.stringify({
          data: Array.from({ length: 100 }, (_, index) => ({
            index,
            embedding: Array.from({ length: 1536 }, () => 0.0123456789),
          })),
          usage: { prompt_tokens: 12, total_tokens: 46, completion_tokens: 34 },
        }),
    ],
    [
      'an Anthropic message',
      (target: string) => anthropic({ target, apiKey }),
      '/v1/messages',
      { 'content-type': 'application/json' },
      (text: string) =>
        JSON.stringify({
          type: 'message',
          model: 'm',
          content: [{ type: 'text', text }],
          stop_reason: 'end_turn',
          usage: { input_tokens: 12, output_tokens: 34 },
        }),
    ],
    [
      'a streamed Gemini array',
      (target: string) => gemini({ target, apiKey }),
      '/v1beta/models/m:streamGenerateContent',
      { 'content-type': 'application/json' },
      (text: string) =>
        `[${[text, 'b'].map((part) => JSON.stringify({ candidates: [{ index: 0, content: { parts: [{ inlineData: { data: part } }] }, finishReason: 'STOP' }], usageMetadata: { promptTokenCount: 12, candidatesTokenCount: 34, totalTokenCount: 46 } })).join(',\r\n')}]`,
    ],
    [
      'a line of Ollama',
      (target: string) => ollama({ target }),
      '/api/chat',
      { 'content-type': 'application/x-ndjson' },
      (text: string) =>
        `${JSON.stringify({ model: 'm', message: { content: text }, done: false })}\n${JSON.stringify({ model: 'm', done: true, prompt_eval_count: 12, eval_count: 34 })}\n`,
    ],
  ])('large events: what they tell is told: %s', async (_name, create, path, head, write) => {
    const body = write(image);
    const coded = { ...head, 'content-encoding': 'gzip' };
    const answers = [
      await told(create, path, head, body),
      await told(create, path, coded, zlib.gzipSync(body)),
      await told(create, path, coded, zlib.gzipSync(body), {}, { 'accept-encoding': 'gzip' }),
    ];
    for (const { bytes, figures, summary } of answers) {
      expect(bytes.toString() === body).toBe(true);
      expect(figures).toEqual(FIGURES);
      expect(summary.timings.firstToken).toEqual(path.endsWith('embeddings') ? undefined : expect.any(Number));
    }
  });

  it('large events: one in binary frames is skipped, those behind it are read, and the figures are not complete', async () => {
    // A length in four bytes, and then so many bytes.
    const frame = (text: string): Buffer => {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(text.length);
      return Buffer.concat([head, Buffer.from(text)]);
    };
    const scanner = () => {
      let left = 0;
      let head: number[] = [];
      return (bytes: Buffer, from: number): number => {
        let at = from;
        while (head.length < 4 && at < bytes.length) head.push(bytes[at++] as number);
        if (head.length < 4) return -1;
        if (left === 0) left = Buffer.from(head).readUInt32BE();
        const taken = Math.min(left, bytes.length - at);
        left -= taken;
        if (left > 0) return -1;
        head = [];
        return at + taken;
      };
    };
    const format = {
      mediaTypes: ['x/frames'],
      isText: false,
      endsWithStream: false,
      scanner,
      parser: () => (block: Buffer) => ({ data: block.subarray(4).toString() }),
    };
    const create = (target: string): Provider => ({ ...chat(target), formatOf: () => format });
    const small = [
      `{"model":"m","choices":[{"index":0,"finish_reason":"stop"}]}`,
      JSON.stringify({ choices: [], usage }),
      '[DONE]',
    ];
    const { logger, errors } = logbook();
    const body = Buffer.concat([small[0] as string, image, ...small.slice(1)].map(frame));
    const { bytes, figures } = await told(create, CHAT, { 'content-type': 'x/frames' }, body, { logger });
    expect(bytes.equals(body)).toBe(true);
    expect(figures).toEqual({ ...FIGURES, complete: false });
    expect(errors).toEqual([expect.stringContaining('`limits.eventSize`')]);
  });

  it('large events: onEvent is told of the others, and transformEvent still breaks off', async () => {
    const body = chunk({ content: 'a' }) + largeChunk + usageChunk;
    const seen: string[] = [];
    const { logger, errors } = logbook();
    const onEvent = (event: StreamEvent): void => void seen.push(event.data);
    const { figures } = await told(asking, CHAT, SSE, body, { onEvent, logger });
    expect(seen).toHaveLength(1);
    expect(errors).toEqual([expect.stringContaining('`limits.eventSize`')]);
    expect(figures).toMatchObject({ inputTokens: 12 });
    const proxy = await proxyApp({
      provider: asking(await answeringUpstream(body, SSE)),
      transformEvent: (event) => event,
    });
    const { body: sent, cut } = await readUntilCut(await post(proxy.url + CHAT, '{"stream":true}'));
    expect(cut).toBe(true);
    expect(sent.toString().startsWith(chunk({ content: 'a' }))).toBe(true);
    expect(await proxy.summary()).toMatchObject({ outcome: 'failed', error: { code: 'EVENT_TOO_LARGE' } });
  });
});

describe('a stream whose last event lacks its blank line', () => {
  const last = chunk({}, 'stop').trimEnd();
  it.each([
    ['usage', chat, usageChunk.trimEnd(), usageChunk.trimEnd()],
    ['usage and a line end', chat, usageChunk.slice(0, -1), usageChunk.slice(0, -1)],
    ['the end of the dialect', chat, `${usageChunk}data: [DONE]`, `${usageChunk}data: [DONE]`],
    ['the end of the dialect, with includeUsage', asking, `${usageChunk}data: [DONE]`, 'data: [DONE]'],
    ['a chunk, with includeUsage', asking, usageChunk + last, last],
    ['the usage that was asked for', asking, usageChunk.trimEnd(), ''],
  ])('unfinished events: are read and passed at a clean end: %s', async (_what, create, sent, passed) => {
    const head = chunk({ content: 'a' }) + chunk({}, 'stop');
    const { bytes, figures } = await told(create, CHAT, SSE, head + sent);
    expect(bytes.toString()).toBe(head + passed);
    expect(figures).toEqual(FIGURES);
  });

  it('unfinished events: of an answer that broke off, half an event is not read, and an error event follows whole ones', async () => {
    const { upstream, proxy, usages } = await proxiedProvider((options) => openai({ ...options, includeUsage: true }));
    const coming = post(proxy.url + CHAT, '{"stream":true}');
    const asked = await upstream.next();
    asked.res.writeHead(200, SSE).write(chunk({ content: 'a' }) + usageChunk.trimEnd());
    const response = await coming;
    asked.die();
    const { body } = await readUntilCut(response);
    expect(body.toString()).toMatch(/^data: .*\n\ndata: \{"error".*\n\n$/);
    expect(await usages.next()).toEqual({ complete: false });
  });

  it('unfinished events: pass with a cut where no error event follows, with includeUsage as without', async () => {
    for (const includeUsage of [true, false]) {
      const create = (options: { target?: string }): Provider => openai({ ...options, apiKey, includeUsage });
      const { upstream, proxy } = await proxiedProvider(create, { truncation: 'destroy' });
      const coming = post(proxy.url + CHAT, '{"stream":true}');
      const asked = await upstream.next();
      asked.res.writeHead(200, SSE).write(`${chunk({ content: 'a' })}data: {"half`);
      const response = await coming;
      asked.die();
      expect((await readUntilCut(response)).body.toString()).toBe(`${chunk({ content: 'a' })}data: {"half`);
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated' });
    }
  });
});

describe('includeUsage where it cannot be', () => {
  it.each([
    ['a coding that nobody knows', { ...SSE, 'content-encoding': 'lzma' }, Buffer.from('\0\x01\x02')],
    ['a chain of codings', { ...SSE, 'content-encoding': 'gzip, br' }, Buffer.from('\0\x01\x02')],
  ])('includeUsage: passes a stream as it came in %s', async (_what, head, body) => {
    const { logger, errors } = logbook();
    const provider = asking(await answeringUpstream(body, head));
    const proxy = await proxyApp({ provider, logger });
    const response = await post(proxy.url + CHAT, '{"stream":true}');
    expect(response.headers['content-encoding']).toBe(head['content-encoding']);
    expect(await readAll(response)).toEqual(body);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed' });
    expect(errors).toEqual([
      expect.stringContaining('stay in the stream'),
      expect.stringContaining('cannot be observed'),
    ]);
  });

  it.each(['gzip', 'x-gzip'])(
    'includeUsage: edits a stream that is not in its content coding, as its head says: %s',
    async (coding) => {
      const body = [chunk({ content: 'a' }), chunk({}, 'stop'), usageChunk, 'data: [DONE]\n\n'].join('');
      const head = { ...SSE, 'content-encoding': coding };
      const { bytes, figures, summary } = await told(asking, CHAT, head, body, {}, { 'accept-encoding': coding });
      expect(bytes.toString()).toBe(body.replace(usageChunk, ''));
      expect(figures).toEqual(FIGURES);
      expect(summary.outcome).toBe('completed');
    },
  );

  it('includeUsage: a stream in gzip is decoded for a client that accepts it, also with bytes behind its end', async () => {
    const body = [chunk({ content: 'a' }), chunk({}, 'stop'), usageChunk, 'data: [DONE]\n\n'].join('');
    const coded = Buffer.concat([zlib.gzipSync(body), Buffer.alloc(100)]);
    const head = { ...SSE, 'content-encoding': 'gzip' };
    const { bytes, figures, summary } = await told(asking, CHAT, head, coded, {}, { 'accept-encoding': 'gzip' });
    expect(bytes.toString()).toBe(body.replace(usageChunk, ''));
    expect([figures, summary.outcome]).toEqual([FIGURES, 'completed']);
  });

  it('includeUsage: passes an event as soon as it is whole', async () => {
    const { url, requests } = await manualUpstream();
    const proxy = await proxyApp({
      provider: openaiCompatible({ name: 'x', target: url, apiKey, includeUsage: true }),
    });
    const coming = post(proxy.url + CHAT, '{"stream":true}');
    const { res } = await requests.next();
    res.writeHead(200, SSE).flushHeaders();
    const client = reader(await coming);
    for (const text of ['a', 'b', 'c']) {
      res.write(usageChunk + chunk({ content: text }));
      expect(await client.until('\n\n')).toBe(chunk({ content: text }));
    }
    res.end();
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed' });
  });
});
