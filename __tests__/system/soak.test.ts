import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from '@jest/globals';

interface Report {
  seed: number;
  exchanges: number;
  outcomes: Record<string, number>;
  over: Record<string, number>;
  heap: { half: number; end: number };
  problems: string[];
}

const EXCHANGES = 10_000;
/** How much the heap may seem to grow in the second half. */
const FLAT = 1.1;

let report: Report;

beforeAll(async () => {
  const options = { env: { ...process.env, EXCHANGES: String(EXCHANGES) }, maxBuffer: 100 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', 'bench/soak.js'], options).catch(
    (failed: { stdout: string }) => {
      // Where it has found something, it fails and has a report all the same.
      if (failed.stdout === '') throw failed;
      return failed;
    },
  );
  report = JSON.parse(stdout);
  // Where something is wrong, this repeats it.
  process.stderr.write(`SEED=${report.seed}\n`);
}, 180_000);

describe(`${EXCHANGES} exchanges in which anything may go wrong`, () => {
  it('bring each client what its summary says, and nothing that looks whole and is not', () => {
    expect(report.problems.slice(0, 5)).toEqual([]);
  });

  it('have one summary each', () => {
    const count = Object.values(report.outcomes).reduce((sum, n) => sum + n, 0);
    expect([report.exchanges, count]).toEqual([EXCHANGES, EXCHANGES]);
  });

  it('end in every way that a fault, a client or a limit can end them', () => {
    expect(Object.keys(report.outcomes).sort()).toEqual([
      'client-closed',
      'completed',
      'drained',
      'failed',
      'refused',
      'timeout',
      'upstream-error',
      'upstream-truncated',
    ]);
  });

  it('leave no socket, no timer and no listener behind', () => {
    expect(report.over).toEqual({});
  });

  it('leave the heap as it was', () => {
    expect(report.heap.end).toBeLessThan(report.heap.half * FLAT);
  });
});
