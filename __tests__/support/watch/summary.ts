import { expect } from '@jest/globals';
import type { StreamSummary } from '../../../lib/index.js';
import type { ProxyUnderTest } from '../servers/proxies.js';
import { turns } from './wait.js';

/** The exchange is over: it has one summary with these members, and no other comes. */
export async function expectOneSummary(proxy: ProxyUnderTest, expected: object): Promise<StreamSummary> {
  const summary = await proxy.summary();
  expect(summary).toMatchObject(expected);
  expect(proxy.proxy.active).toBe(0);
  await turns(10);
  expect(proxy.summaries).toHaveLength(1);
  return summary;
}
