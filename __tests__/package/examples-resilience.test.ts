import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { anthropic, openai } from '../../lib/providers/index.js';
import { openRequest, readAll, readText, readUntilCut, responseTo } from '../support/clients/http.js';
import { closedPort } from '../support/servers/listen.js';
import { beginStream, budgetApp, costs, pricedUpstream } from '../support/servers/token-budget.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { closed, turns, until } from '../support/watch/wait.js';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url);

closeAndWatchEachTest();

/** The lines of what an example prints. Fails where it does not exit with 0 by itself. */
async function example(name: string): Promise<string[]> {
  const env = { ...process.env, REDIS_URL: '' };
  const { stdout, stderr } = await run(process.execPath, [`examples/${name}.js`], { cwd: root, env, timeout: 20_000 });
  expect(stderr).toBe('');
  return stdout.trimEnd().split('\n');
}

describe('token-budget.js', () => {
  it('token-budget.js: shows a user who spends the budget and is refused, while another goes on', async () => {
    expect(await example('token-budget')).toEqual([
      'ada: 200, completed, 18 tokens',
      'ada: 200, client-closed, 18 tokens',
      'ada: 200, completed, 18 tokens',
      expect.stringMatching(/^ada: 429, retry after \d\d s: Your budget of 50 tokens in 60 seconds is spent\.$/),
      'bob: 200, completed, 18 tokens',
    ]);
  }, 30_000);
});

describe('graceful.js', () => {
  it('graceful.js: shows what the clients see of a SIGTERM, and the account of each stream', async () => {
    const lines = await example('graceful');
    const at = (start: string) => lines.findIndex((line) => line.startsWith(start));
    const account = lines.flatMap((line) => {
      const [, stream, outcome] = /^server {3}POST \S+\?stream=(\w+) 200 (\S+) \d+ B /.exec(line) ?? [];
      return stream === undefined ? [] : [`${stream} ${outcome}`];
    });

    expect(account.sort()).toEqual(['1 completed', '2 completed', '3 drained', '4 completed', '5 drained']);
    for (const name of [1, 2, 4]) expect(lines[at(`client   ${name}: whole`)]).toMatch(/data: \[DONE\]$/);
    for (const name of [3, 5]) expect(lines[at(`client   ${name}: broken off`)]).toContain('"code":"DRAINED"');
    expect(lines).toContain('client   late: ECONNREFUSED');
    expect(lines).toContain('server   drained');
    expect(lines.at(-1)).toBe('the server has exited with code 0');
  }, 30_000);
});

describe('a budget of tokens', () => {
  it('token budget: refuses with 429 and Retry-After when it is spent, and nothing is sent upstream', async () => {
    const { url, others } = await pricedUpstream();
    const app = await budgetApp(url);
    await app.spend('ada', 99);
    await app.spend('ada', 30);

    const response = await app.ask('ada');
    expect(response.statusCode).toBe(429);
    expect(Number(response.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(Number(response.headers['retry-after'])).toBeLessThanOrEqual(60);
    expect(JSON.parse(await readText(response))).toEqual({
      error: {
        message: 'Your budget of 100 tokens in 60 seconds is spent.',
        type: 'rate_limit_error',
        code: 'TOKEN_BUDGET_SPENT',
      },
    });
    await turns();
    expect(others.count).toBe(0);
  });

  it('token budget: is spent with its last token', async () => {
    const app = await budgetApp((await pricedUpstream()).url);
    await app.spend('ada', 99);
    expect(await app.isRefused('ada')).toBe(false);
    await app.spend('ada', 1);
    expect(await app.isRefused('ada')).toBe(true);
  });

  it('token budget: is one per user', async () => {
    const app = await budgetApp((await pricedUpstream()).url);
    await app.spend('ada', 100);
    expect(await app.isRefused('ada')).toBe(true);
    expect(await app.isRefused('bob')).toBe(false);
  });

  it('token budget: is there again in the next period', async () => {
    const app = await budgetApp((await pricedUpstream()).url, { budget: { seconds: 1 } });
    await app.spend('ada', 100);
    const refused = await app.ask('ada');
    expect(refused.statusCode).toBe(429);
    expect(refused.headers['retry-after']).toBe('1');
    await readAll(refused);
    await until(async () => !(await app.isRefused('ada')));
    await app.spend('ada', 100);
    expect(await app.isRefused('ada')).toBe(true);
  });

  it('token budget: is charged with all that run at the same time, also what is beyond it', async () => {
    const { url, others } = await pricedUpstream();
    const errors: unknown[] = [];
    const logger = { info() {}, warn() {}, error: (...message: unknown[]) => errors.push(message) };
    const app = await budgetApp(url, { logger, budget: { tokens: 150 } });
    const answers = [app.ask('ada'), app.ask('ada')];
    for (const res of [await others.next(), await others.next()]) {
      beginStream(res, {});
      res.end(costs(90));
    }
    for (const answer of answers) expect(await readText(await answer)).toMatch(/\[DONE\]\n\n$/);
    await app.proxy.summary();
    await app.proxy.summary();
    expect(await app.isRefused('ada')).toBe(true);
    expect(errors).toEqual([]);
  });

  it('token budget: pays in full for an answer that its user has left, where the proxy reads on', async () => {
    const { url, others } = await pricedUpstream();
    const app = await budgetApp(url, { onClientClose: 'continue' });
    const req = openRequest(app.proxy.url, { method: 'POST', headers: { 'x-user': 'ada' } });
    req.end('{"stream":true}');
    const res = await others.next();
    beginStream(res, { choices: [{ delta: { content: 'Hi' } }] });
    await responseTo(req);
    req.destroy();
    await closed(req);
    res.end(costs(100));
    expect(await app.proxy.summary()).toMatchObject({ outcome: 'client-closed', usage: { complete: true } });
    expect(await app.isRefused('ada')).toBe(true);
  });

  const chunk = { choices: [{ delta: { content: 'Hi' } }] };
  const messageStart = { type: 'message_start', message: { usage: { input_tokens: 59, output_tokens: 1 } } };

  it.each([
    ['the estimate, where nothing was reported', openai, chunk, 70],
    ['the estimate, where less was reported', anthropic, messageStart, 70],
    ['what was reported, where that is more', anthropic, messageStart, 20],
  ])('token budget: pays for an answer that broke off: %s', async (_name, create, first, estimate) => {
    const { url, others } = await pricedUpstream();
    const tokens = Math.max(estimate, create === anthropic ? 60 : 0);
    // With one token more there is something left.
    for (const [budget, isSpent] of [
      [tokens, true],
      [tokens + 1, false],
    ] as const) {
      const app = await budgetApp(url, { create, budget: { tokens: budget, estimate } });
      const answer = app.ask('ada');
      const res = await others.next();
      beginStream(res, first);
      res.write('', () => res.destroy());
      expect((await readUntilCut(await answer)).cut).toBe(true);
      expect((await app.proxy.summary()).outcome).toBe('upstream-truncated');
      expect(await app.isRefused('ada')).toBe(isSpent);
    }
  });

  it.each([400, 429, 500])('token budget: does not pay for an upstream error: %i', async (status) => {
    const { url, others } = await pricedUpstream();
    const app = await budgetApp(url, { budget: { estimate: 100 } });
    const answer = app.ask('ada');
    (await others.next()).writeHead(status, { 'content-type': 'application/json' }).end('{"error":{}}');
    expect((await answer).statusCode).toBe(status);
    await app.proxy.summary();
    expect(await app.isRefused('ada')).toBe(false);
  });

  it('token budget: does not pay where no provider was reached', async () => {
    const app = await budgetApp(`http://127.0.0.1:${await closedPort()}`, { budget: { estimate: 100 } });
    for (let i = 0; i < 2; i += 1) {
      const response = await app.ask('ada');
      expect(response.statusCode).toBe(502);
      await readAll(response);
      await app.proxy.summary();
    }
  });
});
