// @ts-check
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import compression from 'compression';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { anthropic, openai } from 'express-sse-proxy/providers';
import helmet from 'helmet';
import { startStandIn } from './provider.js';

/**
 * @typedef {object} ServerOptions
 * @property {number} [port] 0 takes any free one; default 3000
 * @property {(line: string) => void} [log] default `console.log`
 * @property {Record<string, string | undefined>} [env] where the keys are looked for; default `process.env`
 * @property {Omit<import('./provider.js').StandInOptions, 'apiKey'>} [standIn]
 * @property {import('express-sse-proxy').SseProxyOptions['onFinish']} [onFinish]
 */

/**
 * A chat page, and the proxy that it talks to. A provider without a key is replaced by the stand-in.
 *
 * @param {ServerOptions} [options]
 */
export async function startServer(options = {}) {
  const { port = 3000, log = console.log, env = process.env, onFinish } = options;
  const standInKey = 'sk-stand-in';
  const standIn = await startStandIn({
    ...options.standIn,
    apiKey: standInKey,
    onStop(stopped) {
      log(`${stopped.provider}: the stand-in was stopped after ${stopped.tokens} of ${stopped.total} tokens`);
      options.standIn?.onStop?.(stopped);
    },
  });

  const openaiKey = env.OPENAI_API_KEY;
  const anthropicKey = env.ANTHROPIC_API_KEY;

  const app = express();
  app.disable('x-powered-by');
  app.use(helmet({ contentSecurityPolicy: { useDefaults: false, directives: csp } }));
  app.use(compression());
  app.use(sameOriginOnly);

  app.get('/config.json', (_req, res) => {
    res.json({
      openai: { label: 'OpenAI', model: env.OPENAI_MODEL ?? 'gpt-4.1-mini', standIn: !openaiKey },
      anthropic: { label: 'Anthropic', model: env.ANTHROPIC_MODEL ?? 'claude-haiku-4-5', standIn: !anthropicKey },
    });
  });

  /** @type {import('express-sse-proxy').SseProxyOptions} */
  const shared = {
    heartbeat: { interval: 15_000 },
    onFinish(summary, exchange) {
      log(describe(summary, exchange));
      onFinish?.(summary, exchange);
    },
  };

  app.use(
    '/openai',
    createSseProxy({
      ...shared,
      provider: openai({
        includeUsage: true,
        ...(openaiKey ? { apiKey: openaiKey } : { apiKey: standInKey, target: standIn.url }),
      }),
    }),
  );
  app.use(
    '/anthropic',
    createSseProxy({
      ...shared,
      provider: anthropic(anthropicKey ? { apiKey: anthropicKey } : { apiKey: standInKey, target: standIn.url }),
    }),
  );

  app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));

  const server = createServer(app);
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    await standIn.close();
    throw error;
  }
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());

  return {
    url: `http://127.0.0.1:${address.port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await Promise.all([closed, standIn.close()]);
    },
  };
}

const csp = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

/**
 * Keeps other web pages from spending the keys: neither their own requests nor a host name of theirs that resolves to this
 * machine get through.
 *
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {import('express').NextFunction} next
 */
function sameOriginOnly(req, res, next) {
  const site = req.get('sec-fetch-site') ?? 'none';
  if (['127.0.0.1', 'localhost'].includes(req.hostname) && ['same-origin', 'none'].includes(site)) next();
  else res.status(403).type('text').send('Only this page may ask.');
}

/**
 * @param {import('express-sse-proxy').StreamSummary} summary
 * @param {import('express-sse-proxy').Exchange} exchange
 */
function describe({ outcome, statusCode, model, usage, timings, error }, { req }) {
  const path = /** @type {import('express').Request} */ (req).originalUrl;
  const { firstToken } = timings;
  return [
    `${req.method} ${path} ${statusCode ?? '-'} ${outcome}`,
    ...(model ? [model] : []),
    ...(usage?.inputTokens === undefined ? [] : [`${usage.inputTokens} tokens in, ${usage.outputTokens ?? '?'} out`]),
    ...(firstToken === undefined ? [] : [`first token after ${Math.round(firstToken)} ms`]),
    `${(timings.total / 1000).toFixed(1)} s`,
    ...(error ? [error.message] : []),
  ].join(', ');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await startServer({ port: Number(process.env.PORT ?? 3000) });
  console.log(`express-sse-proxy example: ${server.url}`);
  console.log(
    `curl --no-buffer ${server.url}/openai/v1/chat/completions -H 'content-type: application/json' ` +
      `-d '{"model":"gpt-4.1-mini","stream":true,"messages":[{"role":"user","content":"Hello"}]}'`,
  );
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void server.close());
}
