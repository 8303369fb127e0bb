// @ts-check
// Several providers behind one router, each with options of its own: `node examples/per-route.js`.
import { once } from 'node:events';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { anthropic, openai } from 'express-sse-proxy/providers';
import { startStandIn } from './chat/provider.js';

const standIn = await startStandIn({ apiKey: 'sk-secret', tokenDelay: 5 });

const ai = express.Router();

ai.use(
  '/openai',
  createSseProxy({
    provider: openai({ target: standIn.url, apiKey: 'sk-secret', includeUsage: true }),
    rewriteHeaders(head) {
      head.headers['x-provider'] = 'openai';
    },
    onFinish: report('openai'),
  }),
);

ai.use(
  '/anthropic',
  createSseProxy({
    provider: anthropic({ target: standIn.url, apiKey: 'sk-secret' }),
    rewriteHeaders(head) {
      head.headers['x-provider'] = 'anthropic';
      // The clients of this app know one kind of overload.
      if (head.statusCode === 429) head.statusCode = 503;
    },
    onFinish: report('anthropic'),
  }),
);

const app = express();
app.use('/ai', ai);

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');

await ask('/ai/openai/v1/chat/completions');
await ask('/ai/anthropic/v1/messages');
await ask('/ai/anthropic/v1/messages', { 'x-stand-in': 'error-429' });

server.close();
await standIn.close();

/**
 * @param {string} route
 * @returns {(summary: import('express-sse-proxy').StreamSummary) => void}
 */
function report(route) {
  return ({ outcome, statusCode, bytes, usage, timings }) => {
    const tokens = usage?.totalTokens ?? 'unknown';
    console.log(
      `  ${route} finished: ${outcome}, ${statusCode}, ${bytes} bytes, ${tokens} tokens, ${Math.round(timings.total)} ms`,
    );
  };
}

/**
 * @param {string} path
 * @param {Record<string, string>} [headers]
 */
async function ask(path, headers) {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ stream: true, max_tokens: 12, messages: [{ role: 'user', content: 'Hello' }] }),
  });
  console.log(`POST ${path}: ${response.status}, x-provider: ${response.headers.get('x-provider')}`);
  const events = (await response.text()).split('\n\n').filter((event) => event !== '');
  console.log(`  ${events.length} events, the last: ${events.at(-1)?.replaceAll('\n', ' | ')}`);
}
