import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { createSseProxy, type SseProxyOptions, type Usage } from '../../../lib/index.js';
import { anthropic, ollama, openai, type Provider } from '../../../lib/providers/index.js';
import { openRequest, reader, responseTo } from '../../support/clients/http.js';
import { listen } from '../../support/servers/listen.js';
import { SERVERS_KEY as apiKey } from '../../support/servers/provider.js';
import { proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { manualUpstream, type PendingRequest } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

type Create = (target: string) => Provider;
const chat: Create = (target) => openai({ target, apiKey });

const data = (payload: unknown): string => `data: ${JSON.stringify(payload)}\n\n`;
const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
const chunk = data({ model: 'm', choices: [{ index: 0, delta: { content: 'a' }, finish_reason: null }] });
const usageChunk = data({ model: 'm', choices: [], usage });
const DONE = 'data: [DONE]\n\n';

/** A question whose client leaves when it has this text. */
interface Case {
  create?: Create;
  path?: string;
  type?: string;
  sent?: string;
  until?: string;
  options?: SseProxyOptions;
}

describe.each(VERSIONS)('a client that leaves at the end of the dialect, %s', (version) => {
  /** Resolves when the proxy has seen that the client has left. */
  async function left({
    create = chat,
    path = '/v1/chat/completions',
    type = 'text/event-stream',
    sent = chunk + usageChunk + DONE,
    until = sent,
    options = {},
  }: Case = {}) {
    const { url, requests } = await manualUpstream();
    const usages: Usage[] = [];
    let gone = signal();
    const front = (_req: IncomingMessage, res: ServerResponse, next: () => void): void => {
      res.once('close', () => gone.resolve());
      next();
    };
    const provider = create(url);
    const run = await proxyIn(version, { provider, onUsage: (given) => void usages.push(given), ...options }, front);
    const ask = async (): Promise<PendingRequest> => {
      gone = signal();
      const body = '{"stream":true}';
      // Of an upload of unknown length a pooled connection is not risked.
      const headers = { 'content-type': 'application/json', 'content-length': String(body.length) };
      const coming = run.ask({ method: 'POST', path, headers, body });
      const pending = await requests.next();
      pending.res.writeHead(200, { 'content-type': type }).write(sent);
      const answer = await coming;
      await answer.until(until);
      answer.leave();
      await gone.promise;
      await turns();
      return pending;
    };
    return { ...run, ask, usages, requests };
  }

  const ENDS: [string, Case][] = [
    ['[DONE]', {}],
    ['[DONE], with includeUsage', { create: (target) => openai({ target, apiKey, includeUsage: true }), until: DONE }],
    ['[DONE], where events are changed', { options: { transformEvent: (event) => event } }],
    ['[DONE], where events are observed', { options: { onEvent() {}, heartbeat: true } }],
    ['[DONE], where it is cut plainly', { options: { truncation: 'destroy' } }],
    [
      'response.completed',
      {
        path: '/v1/responses',
        sent: `event: response.completed\n${data({ type: 'response.completed', response: { model: 'm', status: 'completed', usage: { input_tokens: 1, output_tokens: 2, total_tokens: 3 } } })}`,
      },
    ],
    [
      'message_stop',
      {
        create: (target) => anthropic({ target, apiKey }),
        path: '/v1/messages',
        sent: [
          { type: 'message_start', message: { model: 'm', usage: { input_tokens: 1, output_tokens: 1 } } },
          { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } },
          { type: 'message_stop' },
        ]
          .map((event) => `event: ${event.type}\n${data(event)}`)
          .join(''),
      },
    ],
    [
      '"done": true',
      {
        create: (target) => ollama({ target }),
        path: '/api/chat',
        type: 'application/x-ndjson',
        sent: `${JSON.stringify({ model: 'm', done: true, prompt_eval_count: 1, eval_count: 2 })}\n`,
      },
    ],
  ];

  it.each(ENDS)('leaving at the end: is completed, and the pooled connection is kept: %s', async (_end, given) => {
    const { ask, summary, usages, proxy } = await left(given);
    const first = await ask();
    expect(proxy.active).toBe(1);
    first.res.end();
    expect(await summary()).toMatchObject({ outcome: 'completed', usage: { totalTokens: 3, complete: true } });
    expect(usages).toEqual([expect.objectContaining({ totalTokens: 3, complete: true })]);
    const second = await ask();
    expect(second.req.socket === first.req.socket).toBe(true);
    second.res.end();
    expect(await summary()).toMatchObject({ outcome: 'completed' });
    expect(proxy.active).toBe(0);
  });

  it('leaving at the end: the rest of the body is waited for no longer than a moment', async () => {
    const { ask, summary } = await left();
    const { res } = await ask();
    await closed(res);
    expect(await summary()).toMatchObject({ outcome: 'completed', usage: { complete: true } });
  });

  it('leaving at the end: no more than a few bytes are read on', async () => {
    const { ask, summary } = await left({ options: { onClientClose: 'continue' } });
    const { res } = await ask();
    res.write(`: ${'x'.repeat(70_000)}\n\n`);
    await closed(res);
    expect(await summary()).toMatchObject({ outcome: 'completed' });
  });

  it('leaving at the end: `onClientClose` is not asked, and a later failure of the upstream does not matter', async () => {
    let asked = 0;
    const onClientClose = (): 'abort' => {
      asked += 1;
      return 'abort';
    };
    const { ask, summary } = await left({ options: { onClientClose } });
    const { res } = await ask();
    res.destroy();
    expect(await summary()).toMatchObject({ outcome: 'completed', usage: { complete: true } });
    expect(asked).toBe(0);
  });

  it('leaving at the end: drain() does not wait for the rest', async () => {
    const { ask, summary, proxy } = await left();
    await ask();
    await proxy.drain({ grace: 0 });
    expect(await summary()).toMatchObject({ outcome: 'completed' });
  });

  it.each<[string, Case]>([
    ['before it', { sent: chunk + usageChunk }],
    ['in the midst of it', { sent: chunk + DONE.slice(0, -1), until: chunk }],
    [
      'where the hook has still to give it',
      {
        until: chunk,
        options: { transformEvent: (event) => (event.data === '[DONE]' ? new Promise(() => {}) : event) },
      },
    ],
    ['where it is only said in a text', { sent: data({ choices: [{ index: 0, delta: { content: DONE } }] }) }],
  ])('leaving at the end: is that of a client that has closed, %s', async (_when, given) => {
    const { ask, summary } = await left(given);
    const { res } = await ask();
    await closed(res);
    expect(await summary()).toMatchObject({ outcome: 'client-closed' });
  });

  it('leaving at the end: without a provider nobody knows the end', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary } = await proxyIn(version, { target: url });
    const coming = ask();
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write(DONE);
    const answer = await coming;
    await answer.until(DONE);
    answer.leave();
    await closed(res);
    expect(await summary()).toMatchObject({ outcome: 'client-closed' });
  });

  it('leaving at the end: is known also of a compressed stream', async () => {
    const { url, requests } = await manualUpstream();
    const { ask, summary } = await proxyIn(version, { provider: chat(url) });
    const coming = ask({ headers: { 'accept-encoding': 'gzip' } });
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
    const coder = zlib.createGzip();
    coder.on('data', (bytes: Buffer) => res.write(bytes));
    coder.write(chunk + usageChunk + DONE);
    const flushed = new Promise<void>((resolve) => coder.flush(() => resolve()));
    const answer = await coming;
    await flushed;
    await turns(20);
    answer.leave();
    await closed(res);
    coder.destroy();
    expect(await summary()).toMatchObject({ outcome: 'completed', usage: { totalTokens: 3, complete: true } });
  });
});

it('leaving at the end: keeps the pooled connection also where nothing is reported', async () => {
  const { url, requests } = await manualUpstream();
  const proxy = createSseProxy({ provider: chat(url) });
  let gone = signal();
  const port = await listen(
    http.createServer((req, res) => {
      res.once('close', () => gone.resolve());
      void proxy(req, res);
    }),
  );
  const sockets = new Set();
  for (let i = 0; i < 3; i += 1) {
    gone = signal();
    const client = openRequest(`http://127.0.0.1:${port}/v1/chat/completions`).end();
    const { req, res } = await requests.next();
    sockets.add(req.socket);
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write(chunk + DONE);
    const response = await responseTo(client);
    await reader(response).until(DONE);
    response.destroy();
    await gone.promise;
    await turns();
    res.end();
    await until(() => proxy.active === 0);
  }
  expect(sockets.size).toBe(1);
});
