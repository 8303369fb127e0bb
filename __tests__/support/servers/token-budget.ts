import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Response } from 'express';
import { createTokenBudget, type TokenBudgetOptions } from '../../../examples/token-budget/budget.js';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai, type ProviderOptions } from '../../../lib/providers/index.js';
import type { Provider } from '../../../lib/types/provider.js';
import { readAll } from '../clients/http.js';
import { Queue } from '../watch/wait.js';
import { post, SERVERS_KEY } from './provider.js';
import { type ProxyUnderTest, proxyApp } from './proxies.js';
import { upstream } from './upstreams.js';

const event = (data: object): string => `data: ${JSON.stringify(data)}\n\n`;

/** The end of an OpenAI stream that has cost so much. */
export const costs = (tokens: number): string =>
  event({ choices: [], usage: { prompt_tokens: 0, completion_tokens: tokens, total_tokens: tokens } }) +
  'data: [DONE]\n\n';

/** Begins an event stream with one event. */
export const beginStream = (res: ServerResponse, first: object): void =>
  void res.writeHead(200, { 'content-type': 'text/event-stream' }).write(event(first));

export interface PricedUpstream {
  url: string;
  /** What is asked for at another path is for the test to answer. */
  others: Queue<ServerResponse>;
}

/** Answers `/cost/30` with a stream that has cost 30 tokens. */
export async function pricedUpstream(): Promise<PricedUpstream> {
  const others = new Queue<ServerResponse>();
  const { url } = await upstream((req, res) => {
    const tokens = /^\/cost\/(\d+)$/.exec(req.url ?? '')?.[1];
    if (tokens === undefined) others.push(res);
    else res.writeHead(200, { 'content-type': 'text/event-stream' }).end(costs(Number(tokens)));
  });
  return { url, others };
}

export interface BudgetApp {
  proxy: ProxyUnderTest;
  /** A request of a user's. */
  ask(user: string, path?: string): Promise<IncomingMessage>;
  /** Asks for something of this cost, and resolves when it is charged; throws where it is refused. */
  spend(user: string, tokens: number): Promise<void>;
  /** Whether the user has nothing left. */
  isRefused(user: string): Promise<boolean>;
}

/** A proxy whose users say who they are, and have a budget of 100 tokens. */
export async function budgetApp(
  target: string,
  { create = openai, budget: limits, ...options }: BudgetAppOptions = {},
): Promise<BudgetApp> {
  const budget = createTokenBudget({ tokens: 100, estimate: 20, userOf: (res) => res.locals.user, ...limits });
  const provider = create({ target, apiKey: SERVERS_KEY });
  const proxy = await proxyApp({ provider, onUsage: budget.charge, ...options }, (app) => {
    app.use((req, res: Response, next) => {
      res.locals.user = req.get('x-user');
      next();
    });
    app.use(budget.guard);
  });
  const ask = (user: string, path = '/other'): Promise<IncomingMessage> =>
    post(`${proxy.url}${path}`, '{"stream":true}', { 'x-user': user });
  const statusOf = async (user: string, tokens: number): Promise<number | undefined> => {
    const response = await ask(user, `/cost/${tokens}`);
    await readAll(response);
    if (response.statusCode !== 429) await proxy.summary();
    return response.statusCode;
  };
  return {
    proxy,
    ask,
    async spend(user, tokens) {
      const status = await statusOf(user, tokens);
      if (status !== 200) throw new Error(`${user} was answered with ${status}`);
    },
    isRefused: async (user) => (await statusOf(user, 0)) === 429,
  };
}

interface BudgetAppOptions extends Omit<SseProxyOptions, 'provider' | 'onUsage'> {
  create?: (options: ProviderOptions) => Provider;
  budget?: Partial<TokenBudgetOptions>;
}
