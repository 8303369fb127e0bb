// @ts-check
// Each user has a budget of tokens per minute, charged with what each answer has cost: `node examples/token-budget.js`.
// With `REDIS_URL` the budgets are in Redis, for all instances. How that is done is in token-budget/budget.js.
import { EventEmitter, once } from 'node:events';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { openai } from 'express-sse-proxy/providers';
import { Redis } from 'ioredis';
import { startStandIn } from './chat/provider.js';
import { createTokenBudget, REDIS_OPTIONS } from './token-budget/budget.js';

const { REDIS_URL } = process.env;
const redis = REDIS_URL ? new Redis(REDIS_URL, REDIS_OPTIONS) : undefined;
// The client reconnects by itself; without a listener it would only log more.
redis?.on('error', (error) => console.error(`Redis: ${error.message}`));
if (redis) await once(redis, 'ready');

const standIn = await startStandIn({ apiKey: 'sk-secret', tokenDelay: 5 });
const ended = new EventEmitter();

const budget = createTokenBudget({ tokens: 50, estimate: 20, userOf: (res) => res.locals.user, redis });

const app = express();

app.use(
  '/openai',
  authenticate,
  budget.guard,
  createSseProxy({
    provider: openai({ apiKey: 'sk-secret', includeUsage: true, target: standIn.url }),
    // OpenAI counts last: only an answer that is read to its end, also when its client has left, has a price.
    onClientClose: 'continue',
    onUsage: budget.charge,
    onFinish({ outcome, usage }) {
      ended.emit('answer', `${outcome}, ${usage?.totalTokens ?? 'unknown'} tokens`);
    },
  }),
);

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');

await ask('ada');
await ask('ada', { leavesAfter: 3 });
await ask('ada');
await ask('ada');
await ask('bob');

server.close();
await standIn.close();
redis?.disconnect();

/**
 * In the place of your own authentication.
 *
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {import('express').NextFunction} next
 */
function authenticate(req, res, next) {
  const user = { 'Bearer key-of-ada': 'ada', 'Bearer key-of-bob': 'bob' }[req.get('authorization') ?? ''];
  res.locals.user = user;
  if (user === undefined) res.sendStatus(401);
  else next();
}

/**
 * A client that reads the answer, or leaves after some pieces of it.
 *
 * @param {string} user
 * @param {{ leavesAfter?: number }} [options]
 */
async function ask(user, { leavesAfter } = {}) {
  const answer = once(ended, 'answer');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const response = await fetch(`http://127.0.0.1:${port}/openai/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer key-of-${user}`, 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, max_tokens: 12, messages: [{ role: 'user', content: 'Hello' }] }),
  });
  if (response.status === 429) {
    const { error } = /** @type {{ error: { message: string } }} */ (await response.json());
    console.log(`${user}: 429, retry after ${response.headers.get('retry-after')} s: ${error.message}`);
    return;
  }
  let pieces = 0;
  for await (const _bytes of response.body ?? []) {
    pieces += 1;
    if (pieces === leavesAfter) break;
  }
  console.log(`${user}: ${response.status}, ${await answer}`);
}
