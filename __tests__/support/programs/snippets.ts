/** Runs code blocks that are parts of programs, within the test. */

import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from '@jest/globals';
import express, { type Express } from 'express';
import { type AccessLogOptions, accessLog, createSseProxy, type SseProxyOptions } from '../../../lib/index.js';
import * as providers from '../../../lib/providers/index.js';
import { reader } from '../clients/http.js';
import { listen } from '../servers/listen.js';
import { post } from '../servers/provider.js';
import { manualUpstream, type PendingRequest } from '../servers/upstreams.js';
import { onCleanUp } from '../watch/clean-up.js';
import { Queue } from '../watch/wait.js';
import { type ChatRequest, tokenByToken } from './docs.js';

/** The names that a block has from the lines around it. */
type Scope = Record<string, unknown>;

/** Runs a block as the body of a function. What it imports is in `scope.imports`. */
export async function evaluate(code: string, scope: Scope): Promise<void> {
  const body = code.replace(/^import (\{ .* \}) from '(.*)';$/gm, "const $1 = imports['$2'];");
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  await new AsyncFunction(...Object.keys(scope), body)(...Object.values(scope));
}

export const CHAT = '/v1/chat/completions';

const QUESTION = JSON.stringify({ model: 'gpt-5-mini', stream: true, messages: [] });

export interface Mounted {
  url: string;
  /** What was handed to `console.log`, joined by spaces, and to `process.stdout.write`. */
  printed: Queue<string>;
  /** What the API is asked. */
  requests: Queue<PendingRequest>;
}

/** An app with the proxy that a block makes, behind a middleware that gives each request its user. */
export async function mounted(code: string, scope: Scope = {}): Promise<Mounted> {
  const { url: target, requests } = await manualUpstream();
  const app = express();
  app.use((req, _res, next) => {
    Object.assign(req, { user: { name: 'ada', tenant: 'acme' } });
    next();
  });
  const printed = new Queue<string>();
  const print = (...values: unknown[]): void => printed.push(values.join(' '));
  await evaluate(code.replaceAll('https://api.openai.com', target), {
    ...providers,
    openai: (options: providers.OpenAIOptions) => providers.openai({ target, ...options }),
    anthropic: (options: providers.AnthropicOptions) => providers.anthropic({ target, ...options }),
    createSseProxy: (options: SseProxyOptions) => app.use(createSseProxy(options)),
    accessLog: (options: AccessLogOptions) => accessLog({ write: print, ...options }),
    apiKey: 'sk-test',
    console: { log: print },
    process: { env: { OPENAI_API_KEY: 'sk-test' }, stdout: { write: print } },
    ...scope,
  });
  return { url: `http://127.0.0.1:${await listen(http.createServer(app))}`, printed, requests };
}

/** The server that a block opens with `express()` and `listen(3000)`, on a free port. */
export async function listening(code: string, scope: Scope): Promise<{ server: Server; url: string }> {
  const app = express();
  const opened = new Queue<Server>();
  const { listen } = app;
  app.listen = (port: unknown) => {
    expect(port).toBe(3000);
    const server = listen.call(app, 0, '127.0.0.1' as never);
    opened.push(server);
    return server;
  };
  await evaluate(code, { createSseProxy, express: (): Express => app, ...scope });
  const server = await opened.next();
  onCleanUp(() => {
    server.closeAllConnections();
    server.close();
  });
  if (!server.listening) await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** A client that asks, and what the API is asked. */
export async function ask(
  { url, requests }: Pick<Mounted, 'url' | 'requests'>,
  path = CHAT,
  headers: object = {},
): Promise<PendingRequest & { response: Promise<IncomingMessage> }> {
  const response = post(url + path, QUESTION, headers);
  return { response, ...(await requests.next()) };
}

/** A client that asks for a chat completion, and has each token before the next is sent; resolves with what the API was asked. */
export async function streams(
  app: Pick<Mounted, 'url' | 'requests'>,
  path = CHAT,
): Promise<{ headers: IncomingHttpHeaders; question: ChatRequest }> {
  const { response, req, res } = await ask(app, path, { authorization: 'Bearer of-the-caller' });
  const question = await tokenByToken(
    { req, res },
    response.then((response) => reader(response)),
  );
  return { headers: req.headers, question };
}
