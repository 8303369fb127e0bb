// @ts-check
// What each stream has cost: model, tokens in and out, time to first token, outcome. `node examples/usage.js`.
import { EventEmitter, once } from 'node:events';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { anthropic, openai } from 'express-sse-proxy/providers';
import { startStandIn } from './chat/provider.js';

const standIn = await startStandIn({ apiKey: 'sk-secret', tokenDelay: 15 });
const ended = new EventEmitter();

const app = express();

app.use(
  '/openai',
  createSseProxy({
    // OpenAI reports the usage of a stream only where it is asked to. `includeUsage` asks, and keeps the client from it.
    provider: openai({ apiKey: 'sk-secret', includeUsage: true, target: standIn.url }),
    onFinish: report,
  }),
);

app.use(
  '/anthropic',
  createSseProxy({
    provider: anthropic({ apiKey: 'sk-secret', target: standIn.url }),
    onFinish: report,
  }),
);

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');

const chat = { path: '/openai/v1/chat/completions', model: 'gpt-4.1-mini' };
const messages = { path: '/anthropic/v1/messages', model: 'claude-haiku-4-5' };

console.log(row(['request', 'model', 'in', 'out', 'complete', 'first token', 'outcome']));
await ask(chat, { stream: true });
await ask(chat, { stream: false });
await ask(messages, { stream: true });
// What was reported until then is not lost. Anthropic counts the input first, OpenAI counts everything last.
await ask(messages, { stream: true, leavesAfter: 4 });
await ask(chat, { stream: true, leavesAfter: 4 });
await ask(messages, { stream: true, standIn: 'die-mid-stream' });

server.close();
await standIn.close();

/** @type {NonNullable<import('express-sse-proxy').SseProxyOptions['onFinish']>} */
function report({ outcome, model, usage, timings }, { req }) {
  const { inputTokens, outputTokens, complete } = usage ?? {};
  const firstToken = timings.firstToken === undefined ? undefined : `${Math.round(timings.firstToken)} ms`;
  // Under a router `req.url` is only what is left of the path.
  const { originalUrl } = /** @type {import('express').Request} */ (req);
  console.log(row([originalUrl, model, inputTokens, outputTokens, complete ? 'yes' : 'no', firstToken, outcome]));
  ended.emit('report');
}

/** @param {(string | number | undefined)[]} cells what was not reported is no number, and not 0 either */
function row(cells) {
  const widths = [29, 18, 5, 5, 10, 13, 0];
  return cells.map((cell, i) => `${cell ?? '-'}`.padEnd(widths[i] ?? 0)).join('');
}

/**
 * A client that reads the answer, or leaves after some pieces of it.
 *
 * @param {{ path: string, model: string }} api
 * @param {{ stream: boolean, leavesAfter?: number, standIn?: string }} options
 */
async function ask({ path, model }, { stream, leavesAfter, standIn }) {
  const reported = once(ended, 'report');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(standIn && { 'x-stand-in': standIn }) },
    body: JSON.stringify({ model, stream, max_tokens: 12, messages: [{ role: 'user', content: 'Hello' }] }),
  });
  let pieces = 0;
  try {
    for await (const _bytes of response.body ?? []) {
      pieces += 1;
      if (pieces === leavesAfter) break;
    }
  } catch {
    // The upstream died, and the client learns of it: the connection is cut.
  }
  await reported;
}
