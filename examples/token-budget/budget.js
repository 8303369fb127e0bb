// @ts-check
// A budget of tokens for each user: `guard` goes in front of the proxy, `charge` is its `onUsage`.
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';

/**
 * @typedef {object} TokenBudgetOptions
 * @property {number} tokens what each user may spend in a period
 * @property {number} [seconds] how long a period is; it begins with the first answer that is charged. Default: 60
 * @property {number} estimate what an answer is charged with, at least, whose final figures never came: it broke off
 * @property {(res: import('express').Response) => string} userOf whom your authentication has found
 * @property {import('ioredis').Redis | undefined} [redis] for budgets that several instances share; without it they are in memory
 */

/** How the Redis client should be: a Redis that does not answer is not to hold requests up. */
export const REDIS_OPTIONS = Object.freeze({ commandTimeout: 500, maxRetriesPerRequest: 0 });

/**
 * What an answer costs is known at its end only. So a user is let in who has something left, and the last answers, those
 * that run at the same time, may overdraw the budget. Who must not have many of those gets a limit on requests, too.
 *
 * @param {TokenBudgetOptions} options
 */
export function createTokenBudget({ tokens, seconds = 60, estimate, userOf, redis }) {
  const limits = { points: tokens, duration: seconds, keyPrefix: 'tokens' };
  const memory = new RateLimiterMemory(limits);
  // While Redis is away each instance keeps budgets of its own: nobody is locked out, and nobody spends without a limit.
  const limiter = redis
    ? new RateLimiterRedis({ ...limits, storeClient: redis, rejectIfRedisNotReady: true, insuranceLimiter: memory })
    : memory;

  return {
    /**
     * Refuses whose budget is spent.
     *
     * @param {import('express').Request} _req
     * @param {import('express').Response} res
     * @param {import('express').NextFunction} next
     */
    async guard(_req, res, next) {
      const spent = await limiter.get(userOf(res));
      // What is left of a period that is just over does not count.
      if (spent === null || spent.consumedPoints < tokens || spent.msBeforeNext <= 0) next();
      else {
        const message = `Your budget of ${tokens} tokens in ${seconds} seconds is spent.`;
        res.status(429).set('retry-after', `${Math.ceil(spent.msBeforeNext / 1000)}`);
        res.json({ error: { message, type: 'rate_limit_error', code: 'TOKEN_BUDGET_SPENT' } });
      }
    },

    /**
     * Takes what an answer has cost, whatever became of it.
     *
     * @param {import('express-sse-proxy').Usage} usage
     * @param {import('express-sse-proxy').Exchange} exchange
     */
    async charge({ totalTokens = 0, complete, retrieved }, exchange) {
      // Another request has caused that answer, and was charged for it.
      if (retrieved) return;
      const res = /** @type {import('express').Response} */ (exchange.res);
      // An error instead of an answer costs nothing.
      const least = complete || res.statusCode >= 300 ? 0 : estimate;
      const cost = Math.max(totalTokens, least);
      // Not `consume()`, which rejects what is beyond the budget: it was spent all the same.
      if (cost > 0) await limiter.penalty(userOf(res), cost);
    },
  };
}
