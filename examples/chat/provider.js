// @ts-check
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { anthropic, openai } from './dialects.js';
import { replyTo } from './replies.js';

/** @typedef {import('./dialects.js').Dialect} Dialect */
/** @typedef {import('./dialects.js').Completion} Completion */

/**
 * A request chooses what happens to it by the header `x-stand-in`:
 *
 * - `error-429`, `error-500`: that status, in the provider's own shape
 * - `slow-head`: the head is held back for `slowHead` milliseconds
 * - `die-mid-stream`: the connection is reset after half of the tokens
 * - `error-in-stream`: after half of the tokens an error event, and the end of the body
 */
const BEHAVIOURS = Object.freeze(['error-429', 'error-500', 'slow-head', 'die-mid-stream', 'error-in-stream']);

/** @typedef {{ provider: string, tokens: number, total: number }} Stopped `tokens` of `total` had been written */

/**
 * @typedef {object} StandInOptions
 * @property {string} [apiKey] The only key that is accepted; any key is, where none is given
 * @property {number} [tokenDelay] Mean pause between two tokens in milliseconds; default 30, which varies from 20 to 40
 * @property {number} [slowHead] Milliseconds that `slow-head` waits; default 3000
 * @property {(provider: string) => void} [onStart] Called when an answer begins, before its head is sent
 * @property {(stopped: Stopped) => void} [onStop] Called when the client went away before the end of the answer
 */

/**
 * A stand-in for an AI provider: OpenAI's Chat Completions and Anthropic's Messages with canned text.
 *
 * @param {StandInOptions} [options]
 * @returns {import('express').Router}
 */
function createStandIn(options = {}) {
  const router = express.Router();
  router.use(express.json({ limit: '20mb' }));
  router.post('/v1/chat/completions', (req, res) => answer(openai, req, res, options));
  router.post('/v1/messages', (req, res) => answer(anthropic, req, res, options));
  router.use((req, res) => {
    const message = `Invalid URL (${req.method} ${req.originalUrl})`;
    res.status(404).json(dialectOf(req).error(404, message));
  });
  router.use(badJson);
  return router;
}

/**
 * The stand-in on an HTTP server of its own, for a proxy to point at.
 *
 * @param {StandInOptions} [options]
 */
export async function startStandIn(options) {
  const server = createServer(express().disable('x-powered-by').use(createStandIn(options)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());

  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/**
 * @param {unknown} _error
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {import('express').NextFunction} _next Express knows an error handler by its four parameters
 */
function badJson(_error, req, res, _next) {
  res.status(400).json(dialectOf(req).error(400, 'We could not parse the JSON body of your request.'));
}

/** @param {import('express').Request} req */
const dialectOf = (req) => (req.path.startsWith('/v1/messages') ? anthropic : openai);

/**
 * @param {Dialect} dialect
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {StandInOptions} options
 */
async function answer(dialect, req, res, { apiKey, tokenDelay = 30, slowHead = 3000, onStart, onStop }) {
  const refused = refusal(dialect, req, apiKey);
  if (refused) {
    const [status, message] = refused;
    if (status === 429) res.set('retry-after', '1');
    res.status(status).json(dialect.error(status, message));
    return;
  }

  const behaviour = req.get('x-stand-in');
  const completion = complete(dialect, req.body);
  const total = completion.tokens.length;
  let tokens = 0;

  const gone = new AbortController();
  res.once('close', () => {
    if (res.writableEnded || res.errored) return;
    gone.abort();
    onStop?.({ provider: dialect.name, tokens, total });
  });
  /** @param {number} ms */
  const pause = (ms) => delay(ms, undefined, { signal: gone.signal });

  onStart?.(dialect.name);
  try {
    if (behaviour === 'slow-head') await pause(slowHead);
    if (req.body.stream !== true) {
      res.json(dialect.whole(completion));
      return;
    }

    res.set({ 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
    res.flushHeaders();
    await pause(tokenDelay);
    res.write(dialect.head(completion));
    for (const token of completion.tokens) {
      if (tokens >= total / 2 && behaviour === 'error-in-stream') {
        res.end(dialect.streamError());
        return;
      }
      if (tokens >= total / 2 && behaviour === 'die-mid-stream') {
        res.destroy(new Error('die-mid-stream'));
        return;
      }
      await pause(tokenDelay * (2 / 3 + Math.random() * (2 / 3)));
      res.write(dialect.token(completion, token));
      tokens += 1;
    }
    res.end(dialect.tail(completion));
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  }
}

/**
 * @param {Dialect} dialect
 * @param {import('express').Request} req
 * @param {string | undefined} apiKey
 * @returns {[status: import('./dialects.js').ErrorStatus, message: string] | undefined}
 */
function refusal(dialect, req, apiKey) {
  const key = dialect.apiKey(req);
  if (!key) return [401, "You didn't provide an API key."];
  if (apiKey !== undefined && key !== apiKey) return [401, 'Incorrect API key provided.'];
  if (dialect.refusesBrowser(req)) return [401, 'Requests from a browser are not allowed for this organization.'];
  if (!Array.isArray(req.body?.messages) || req.body.messages.length === 0)
    return [400, "'messages' must not be empty."];
  const behaviour = req.get('x-stand-in');
  if (behaviour === 'error-429') return [429, 'Rate limit reached for requests. Please try again in 1s.'];
  if (behaviour === 'error-500') return [500, 'The server had an error while processing your request.'];
  if (behaviour && !BEHAVIOURS.includes(behaviour))
    return [400, `x-stand-in must be one of: ${BEHAVIOURS.join(', ')}.`];
  return undefined;
}

/**
 * @param {Dialect} dialect
 * @param {Record<string, unknown> & { messages: unknown[] }} body
 * @returns {Completion}
 */
function complete(dialect, body) {
  const all = tokenize(replyTo(body.messages));
  const maxTokens = dialect.maxTokens(body) ?? all.length;
  const streamOptions = /** @type {{ include_usage?: boolean } | undefined} */ (body.stream_options);
  return {
    id: dialect.idPrefix + randomUUID().replaceAll('-', ''),
    created: Math.floor(Date.now() / 1000),
    model: typeof body.model === 'string' ? body.model : 'stand-in',
    tokens: all.slice(0, maxTokens),
    cutShort: maxTokens < all.length,
    inputTokens: tokenize(JSON.stringify(body.messages)).length,
    includeUsage: streamOptions?.include_usage === true,
  };
}

/** @param {string} text about as long as a real tokenizer's, and as careless about words */
const tokenize = (text) => text.match(/\s*\S{1,6}/gu) ?? [];
