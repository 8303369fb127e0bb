import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import OpenAI from 'openai';
import type { Stopped } from '../../examples/chat/provider.js';
import { createParser, readEvents, type ServerSentEvent } from '../../examples/chat/public/sse.js';
import type { StreamSummary } from '../../lib/index.js';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url);

/** Fails where the example does not exit with 0 by itself. */
const example = async (name: string, env: NodeJS.ProcessEnv = process.env) =>
  (await run(process.execPath, [`examples/${name}.js`], { cwd: root, env, timeout: 20_000 })).stdout;

const milliseconds = (output: string) => [...output.matchAll(/^ *(\d+) ms /gm)].map((match) => Number(match[1]));

/** Twelve tokens take at least 12 × 20 ms; events that were held back arrive all at once. */
const expectSpread = (times: number[]) => expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(100);

describe('the examples in one file', () => {
  it('examples: curl.js shows each event when it arrives', async () => {
    const output = await example('curl');
    expect(output).toMatch(/^curl --no-buffer .*'\{"stream":true/);
    expect(output.match(/"delta":\{"content":"/g)).toHaveLength(12);
    expect(output).toMatch(/data: \[DONE\]\n$/);
    expectSpread(milliseconds(output));
  }, 30_000);

  it('examples: curl.js falls back to fetch where there is no curl', async () => {
    const output = await example('curl', { ...process.env, PATH: '/nowhere' });
    expect(output).toMatch(/data: \[DONE\]\n$/);
    expectSpread(milliseconds(output));
  }, 30_000);

  it('examples: drop-in.js keeps its pathRewrite and its hooks', async () => {
    const output = await example('drop-in');
    expect(output).toMatch(/ms {2}200 text\/event-stream/);
    expect(output).toContain('x-served-by: drop-in');
    expect(output).toContain('data: [DONE]');
    expectSpread(milliseconds(output));
  }, 30_000);

  it('examples: per-route.js gives each route its own key, head and report', async () => {
    const output = await example('per-route');
    expect(output).toContain('POST /ai/openai/v1/chat/completions: 200, x-provider: openai');
    expect(output).toContain('15 events, the last: data: [DONE]');
    expect(output).toContain('POST /ai/anthropic/v1/messages: 200, x-provider: anthropic');
    expect(output).toContain('the last: event: message_stop');
    expect(output).toContain('POST /ai/anthropic/v1/messages: 503, x-provider: anthropic');
    expect(output.match(/^ {2}openai finished: completed, 200, \d+ bytes/gm)).toHaveLength(1);
    expect(output.match(/^ {2}anthropic finished: completed, (200|503), \d+ bytes/gm)).toHaveLength(2);
  }, 30_000);
});

describe('the chat server', () => {
  let server: Awaited<ReturnType<typeof import('../../examples/chat/server.js').startServer>>;
  let openai: OpenAI;
  let anthropic: Anthropic;
  let started: (provider: string) => void = () => {};
  let stopped: (stopped: Stopped) => void = () => {};
  let finished: (url: string | undefined, summary: StreamSummary) => void = () => {};
  let logged: (line: string) => void = () => {};

  beforeAll(async () => {
    const { startServer } = await import('../../examples/chat/server.js');
    server = await startServer({
      port: 0,
      env: {},
      log: (line) => logged(line),
      standIn: {
        tokenDelay: 2,
        slowHead: 60_000,
        onStart: (provider) => started(provider),
        onStop: (event) => stopped(event),
      },
      onFinish: (summary, { req }) => finished(req.url, summary),
    });
    // The stand-in knows one key only, and it is not theirs: whatever succeeds does so with the proxy's.
    openai = new OpenAI({ baseURL: `${server.url}/openai/v1`, apiKey: 'not-this-one', maxRetries: 0 });
    anthropic = new Anthropic({ baseURL: `${server.url}/anthropic`, apiKey: 'not-this-one', maxRetries: 0 });
  });

  afterEach(() => {
    started = () => {};
    stopped = () => {};
    finished = () => {};
    logged = () => {};
  });

  afterAll(() => server.close());

  const messages = [{ role: 'user' as const, content: 'Why do emoji break in transit?' }];
  const toOpenAI = { model: 'gpt-4.1-mini', messages };
  const toAnthropic = { model: 'claude-haiku-4-5', max_tokens: 1000, messages };
  const standIn = (behaviour: string) => ({ headers: { 'x-stand-in': behaviour } });

  describe('with the OpenAI client', () => {
    it('chat server with the OpenAI client: streams the text of the whole answer, with its usage', async () => {
      const whole = await openai.chat.completions.create(toOpenAI);
      const text = whole.choices[0]?.message.content;
      expect(text).toContain('👩🏽‍🚀');

      const stream = await openai.chat.completions.create({
        ...toOpenAI,
        stream: true,
        stream_options: { include_usage: true },
      });
      const chunks: OpenAI.ChatCompletionChunk[] = [];
      for await (const chunk of stream) chunks.push(chunk);

      expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(text);
      expect(chunks[0]?.choices[0]?.delta.role).toBe('assistant');
      expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop');
      expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
      expect(whole.usage?.completion_tokens).toBe(chunks.length - 3);
    });

    it('chat server with the OpenAI client: stops at max_completion_tokens', async () => {
      const answer = await openai.chat.completions.create({ ...toOpenAI, max_completion_tokens: 3 });
      expect(answer).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 3 } });
    });

    it('chat server with the OpenAI client: throws the error of a 429', async () => {
      const error = await openai.chat.completions.create(toOpenAI, standIn('error-429')).catch((error) => error);
      expect(error).toBeInstanceOf(OpenAI.RateLimitError);
      expect(error).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
      expect(error.headers.get('retry-after')).toBe('1');
    });

    it('chat server with the OpenAI client: throws the error of a 500', async () => {
      const answer = openai.chat.completions.create(toOpenAI, standIn('error-500'));
      await expect(answer).rejects.toBeInstanceOf(OpenAI.InternalServerError);
    });

    it('chat server with the OpenAI client: throws where the provider dies in the middle of the stream', async () => {
      const stream = await openai.chat.completions.create({ ...toOpenAI, stream: true }, standIn('die-mid-stream'));
      const { chunks, error } = await drain(stream);
      expect(chunks.length).toBeGreaterThan(10);
      expect(error).toBeInstanceOf(OpenAI.APIError);
      expect(error).toMatchObject({
        code: 'UPSTREAM_TRUNCATED',
        message: expect.stringContaining('closed the connection'),
      });
    });

    it('chat server with the OpenAI client: throws where the provider sends an error in the stream', async () => {
      const stream = await openai.chat.completions.create({ ...toOpenAI, stream: true }, standIn('error-in-stream'));
      const { chunks, error } = await drain(stream);
      expect(chunks.length).toBeGreaterThan(10);
      expect(error).toMatchObject({ error: { type: 'server_error' } });
    });
  });

  describe('with the Anthropic client', () => {
    it('chat server with the Anthropic client: streams the text of the whole answer, with its usage', async () => {
      const whole = await anthropic.messages.create(toAnthropic);
      const [block] = whole.content;
      expect(block).toMatchObject({ type: 'text', text: expect.stringContaining('👩🏽‍🚀') });

      const stream = anthropic.messages.stream(toAnthropic);
      const types: string[] = [];
      stream.on('streamEvent', ({ type }) => types.push(type));
      const streamed = await stream.finalMessage();

      expect(streamed.content).toEqual([block]);
      expect(streamed).toMatchObject({ stop_reason: 'end_turn', usage: whole.usage });
      expect(types.filter((type) => type === 'content_block_delta')).toHaveLength(whole.usage.output_tokens);
      expect(types.slice(0, 3)).toEqual(['message_start', 'content_block_start', 'content_block_delta']);
      expect(types.slice(-3)).toEqual(['content_block_stop', 'message_delta', 'message_stop']);
    });

    it('chat server with the Anthropic client: stops at max_tokens', async () => {
      const answer = await anthropic.messages.create({ ...toAnthropic, max_tokens: 3 });
      expect(answer).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 3 } });
    });

    it('chat server with the Anthropic client: throws the error of a 429', async () => {
      const error = await anthropic.messages.create(toAnthropic, standIn('error-429')).catch((error) => error);
      expect(error).toBeInstanceOf(Anthropic.RateLimitError);
      expect(error).toMatchObject({ status: 429, error: { type: 'error', error: { type: 'rate_limit_error' } } });
      expect(error.headers.get('retry-after')).toBe('1');
    });

    it('chat server with the Anthropic client: throws where the provider dies in the middle of the stream', async () => {
      const stream = await anthropic.messages.create({ ...toAnthropic, stream: true }, standIn('die-mid-stream'));
      const { chunks, error } = await drain(stream);
      expect(chunks.length).toBeGreaterThan(10);
      expect(error).toBeInstanceOf(Anthropic.APIError);
      expect(error).toMatchObject({ type: 'api_error', message: expect.stringContaining('closed the connection') });
    });

    it('chat server with the Anthropic client: throws where the provider sends an error in the stream', async () => {
      const stream = await anthropic.messages.create({ ...toAnthropic, stream: true }, standIn('error-in-stream'));
      const { chunks, error } = await drain(stream);
      expect(chunks.length).toBeGreaterThan(10);
      expect(error).toMatchObject({ error: { error: { type: 'overloaded_error' } } });
    });
  });

  it('chat server: stops the provider when the client leaves, and says so', async () => {
    const stops = new Promise<Stopped>((resolve) => {
      stopped = resolve;
    });
    const finishes = new Promise<StreamSummary>((resolve) => {
      finished = (url, summary) => {
        if (url?.endsWith('?leaves=early')) resolve(summary);
      };
    });
    const lines: string[] = [];
    logged = (line) => lines.push(line);
    const stream = await openai.chat.completions.create({ ...toOpenAI, stream: true }, { query: { leaves: 'early' } });
    let chunks = 0;
    for await (const _chunk of stream) {
      chunks += 1;
      if (chunks === 5) break;
    }

    const { provider, tokens, total } = await stops;
    expect(provider).toBe('openai');
    expect(tokens).toBeGreaterThanOrEqual(chunks - 1);
    expect(tokens).toBeLessThan(total);
    expect(await finishes).toMatchObject({ outcome: 'client-closed', statusCode: 200 });
    expect(lines).toContain(`openai: the stand-in was stopped after ${tokens} of ${total} tokens`);
  });

  it('chat server: stops the provider when the client leaves before the head', async () => {
    const stops = new Promise<Stopped>((resolve) => {
      stopped = resolve;
    });
    const controller = new AbortController();
    const answer = fetch(`${server.url}/anthropic/v1/messages`, {
      ...post(toAnthropic, { 'x-stand-in': 'slow-head' }),
      signal: controller.signal,
    });
    started = () => controller.abort();
    await expect(answer).rejects.toMatchObject({ name: 'AbortError' });
    expect(await stops).toMatchObject({ provider: 'anthropic', tokens: 0 });
  });

  it('chat server: compresses the page, and leaves the stream alone', async () => {
    const page = await fetch(`${server.url}/app.js`, { headers: { 'accept-encoding': 'gzip' } });
    await page.text();
    expect(page.headers.get('content-encoding')).toBe('gzip');
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'");

    const stream = await fetch(
      `${server.url}/openai/v1/chat/completions`,
      post({ ...toOpenAI, stream: true }, { 'accept-encoding': 'gzip' }),
    );
    expect(stream.headers.get('content-encoding')).toBeNull();
    expect(await stream.text()).toMatch(/data: \[DONE\]\n\n$/);
  });

  it('chat server: logs a line when an exchange has ended', async () => {
    const line = new Promise<string>((resolve) => {
      logged = (line) => {
        if (line.includes('?logged')) resolve(line);
      };
    });
    await fetch(`${server.url}/openai/v1/chat/completions?logged`, post(toOpenAI));
    expect(await line).toMatch(
      /^POST \/openai\/v1\/chat\/completions\?logged 200 completed, gpt-4\.1-mini, \d+ tokens in, \d+ out, first token after \d+ ms, [\d.]+ s$/,
    );
  });

  it.each([
    ['from another site', { 'sec-fetch-site': 'cross-site' }],
    ['from another port of this machine', { 'sec-fetch-site': 'same-site' }],
  ])('chat server: refuses a request %s', async (_title, headers) => {
    const response = await fetch(`${server.url}/openai/v1/chat/completions`, post(toOpenAI, headers));
    expect(response.status).toBe(403);
    expect(await response.text()).toBe('Only this page may ask.');
  });
});

describe('the chat server as a program', () => {
  it('chat server as a program: prints where it is, and closes at SIGTERM', async () => {
    const env = { ...process.env, PORT: '0', OPENAI_API_KEY: '', ANTHROPIC_API_KEY: '' };
    const child = execFile(process.execPath, ['examples/chat/server.js'], { cwd: root, env });
    const exited = once(child, 'exit');
    try {
      let output = '';
      for await (const chunk of child.stdout ?? []) {
        output += chunk;
        if (output.includes('curl')) break;
      }
      const url = /^express-sse-proxy example: (http:\/\/127\.0\.0\.1:\d+)\n/.exec(output)?.[1];
      const page = await fetch(`${url}/`);
      expect(await page.text()).toContain('<title>Chat');
    } finally {
      child.kill('SIGTERM');
    }
    expect(await exited).toEqual([0, null]);
  }, 30_000);
});

describe("the page's parser", () => {
  const bytes = new TextEncoder().encode(
    '\uFEFF: a comment\r\n\r\ndata: {"text":"naïve 日本 👩🏽‍🚀"}\r\n\r\nevent: delta\rdata:one\rdata: two\r\rid: 7\n\ndata\n\n' +
      'event:ping\ndata:  x: y\nretry: 10\n\n\ndata: last\r\r',
  );
  const events: ServerSentEvent[] = [
    { event: 'message', data: '{"text":"naïve 日本 👩🏽‍🚀"}' },
    { event: 'delta', data: 'one\ntwo' },
    { event: 'message', data: '' },
    { event: 'ping', data: ' x: y' },
    { event: 'message', data: 'last' },
  ];

  const read = async (chunks: Uint8Array[]) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    const result: ServerSentEvent[] = [];
    for await (const event of readEvents(body)) result.push(event);
    return result;
  };

  it("chat page's parser: reads the same events wherever the bytes are cut in two", async () => {
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(await read([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(events);
    }
  });

  it("chat page's parser: reads the same events from single bytes", async () => {
    expect(await read(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(events);
  });

  it("chat page's parser: discards an event that the stream breaks off", async () => {
    expect(await read([new TextEncoder().encode('data: whole\n\ndata: half\n')])).toEqual([
      { event: 'message', data: 'whole' },
    ]);
  });

  it("chat page's parser: gives an event as soon as its blank line is there", () => {
    const parse = createParser();
    expect(parse('data: now\r')).toEqual([]);
    expect(parse('\n\r')).toEqual([{ event: 'message', data: 'now' }]);
    expect(parse('\n')).toEqual([]);
  });
});

const post = (body: object, headers: Record<string, string> = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

async function drain<T>(stream: AsyncIterable<T>) {
  const chunks: T[] = [];
  try {
    for await (const chunk of stream) chunks.push(chunk);
  } catch (error) {
    return { chunks, error };
  }
  return { chunks, error: undefined };
}
