import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { REDIS_OPTIONS } from '../../examples/token-budget/budget.js';
import { readAll, readText } from '../support/clients/http.js';
import { stop } from '../support/programs/run.js';
import { closedPort } from '../support/servers/listen.js';
import { type BudgetApp, budgetApp, pricedUpstream } from '../support/servers/token-budget.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { until } from '../support/watch/wait.js';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url);

closeAndWatchEachTest();

/** A Redis that keeps nothing on disk. */
async function redisServer(port: number): Promise<ChildProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'redis-'));
  onCleanUp(() => rm(folder, { recursive: true, force: true }));
  const where = ['--bind', '127.0.0.1', '--port', `${port}`, '--dir', folder];
  const child = spawn(process.env.REDIS_SERVER_PATH ?? 'redis-server', [...where, '--save', '', '--appendonly', 'no'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onCleanUp(() => kill(child));
  let log = '';
  for await (const chunk of child.stdout) {
    log += chunk;
    if (log.includes('Ready to accept connections')) break;
  }
  if (!log.includes('Ready to accept connections')) throw new Error(`redis-server did not start: ${log}`);
  return child;
}

/** Even where it is stopped. */
const kill = (child: ChildProcess): Promise<void> => stop(child, 'SIGKILL');

interface Instance {
  app: BudgetApp;
  redis: Redis;
}

interface RedisTimes {
  commandTimeout?: number;
  retryStrategy?: () => number;
}

/** An instance of the app, with a Redis client of its own. */
async function instance(upstreamUrl: string, redisPort: number, options: RedisTimes = {}): Promise<Instance> {
  const redis = new Redis(redisPort, '127.0.0.1', { ...REDIS_OPTIONS, retryStrategy: () => 20, ...options });
  onCleanUp(() => redis.disconnect());
  redis.on('error', () => {});
  await once(redis, 'ready');
  return { redis, app: await budgetApp(upstreamUrl, { budget: { redis } }) };
}

/** Resolves when Redis has it, so that it holds for all. */
async function spend({ app, redis }: Instance, user: string, tokens: number): Promise<void> {
  await app.spend(user, tokens);
  await redis.ping();
}

async function twoInstances(): Promise<{ port: number; server: ChildProcess; one: Instance; two: Instance }> {
  const port = await closedPort();
  const server = await redisServer(port);
  const { url } = await pricedUpstream();
  return { port, server, one: await instance(url, port), two: await instance(url, port) };
}

describe('budgets in Redis', () => {
  it('are shared by two instances', async () => {
    const { one, two } = await twoInstances();
    await spend(one, 'ada', 60);
    await spend(two, 'ada', 39);
    expect(await one.app.isRefused('ada')).toBe(false);
    await spend(two, 'ada', 1);

    for (const { app } of [one, two]) {
      const response = await app.ask('ada');
      expect(response.statusCode).toBe(429);
      expect(Number(response.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(Number(response.headers['retry-after'])).toBeLessThanOrEqual(60);
      await readAll(response);
      expect(await app.isRefused('bob')).toBe(false);
    }
  });

  it('count every token of many answers at a time', async () => {
    const { one, two } = await twoInstances();
    await Promise.all(Array.from({ length: 40 }, (_, i) => spend(i % 2 === 0 ? one : two, 'ada', 2)));
    expect(await one.redis.get('tokens:ada')).toBe('80');
  });

  it('end with their period, in Redis as well', async () => {
    const { one } = await twoInstances();
    await spend(one, 'ada', 100);
    const ttl = await one.redis.pttl('tokens:ada');
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(60_000);
    // As if it had passed.
    await one.redis.pexpire('tokens:ada', 1);
    await until(async () => !(await one.app.isRefused('ada')));
  });
});

describe('a Redis that goes away', () => {
  it('leaves each instance with budgets of its own, until it is back', async () => {
    const { port, server, one, two } = await twoInstances();
    await spend(one, 'ada', 100);
    expect(await two.app.isRefused('ada')).toBe(true);

    const closes = [one, two].map(({ redis }) => once(redis, 'close'));
    await kill(server);
    await Promise.all(closes);
    // Nobody is locked out, and nobody spends without a limit.
    for (const { app } of [one, two]) {
      await app.spend('ada', 100);
      expect(await app.isRefused('ada')).toBe(true);
      expect(await app.isRefused('bob')).toBe(false);
    }

    // Not `once` of `node:events`, which rejects with the errors until then.
    const readies = [one, two].map(({ redis }) => new Promise((resolve) => redis.once('ready', resolve)));
    await redisServer(port);
    await Promise.all(readies);
    expect(await one.app.isRefused('ada')).toBe(false);
    await spend(one, 'ada', 100);
    expect(await two.app.isRefused('ada')).toBe(true);
  });

  it('is not waited for', async () => {
    const port = await closedPort();
    const server = await redisServer(port);
    const late = { commandTimeout: 600_000, retryStrategy: () => 600_000 };
    const { app, redis } = await instance((await pricedUpstream()).url, port, late);
    const close = once(redis, 'close');
    await kill(server);
    await close;
    await app.spend('ada', 100);
    expect(await app.isRefused('ada')).toBe(true);
  });

  it('in the middle of an answer leaves the answer whole, and charged', async () => {
    const port = await closedPort();
    const server = await redisServer(port);
    const { url, others } = await pricedUpstream();
    const { app, redis } = await instance(url, port);

    const answer = app.ask('ada');
    const res = await others.next();
    const close = once(redis, 'close');
    await kill(server);
    await close;
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"usage":{"total_tokens":100}}');
    expect(await readText(await answer)).toBe('{"usage":{"total_tokens":100}}');
    expect((await app.proxy.summary()).outcome).toBe('completed');
    expect(await app.isRefused('ada')).toBe(true);
  });

  it('without a word does not hold requests up', async () => {
    const { server, one } = await twoInstances();
    server.kill('SIGSTOP');
    await one.app.spend('ada', 100);
    // Charged when Redis is given up, which is after the answer.
    await until(() => one.app.isRefused('ada'));
    server.kill('SIGCONT');
    // It was only slow: what it was told is not lost.
    await until(async () => (await one.redis.get('tokens:ada').catch(() => null)) === '100');
  });
});

describe('token-budget.js', () => {
  it('keeps its budgets in the Redis of REDIS_URL, from one run to the next', async () => {
    const port = await closedPort();
    await redisServer(port);
    const env = { ...process.env, REDIS_URL: `redis://127.0.0.1:${port}` };
    const example = async (): Promise<string[]> =>
      (await run(process.execPath, ['examples/token-budget.js'], { cwd: root, env, timeout: 20_000 })).stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.slice(0, 8));

    expect(await example()).toEqual(['ada: 200', 'ada: 200', 'ada: 200', 'ada: 429', 'bob: 200']);
    expect(await example()).toEqual(['ada: 429', 'ada: 429', 'ada: 429', 'ada: 429', 'bob: 200']);
  }, 30_000);
});
