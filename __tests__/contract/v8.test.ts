/**
 * What this package relies on in V8: what a minor garbage collection takes, and what it leaves to the next major one. Each trick is
 * held by what would be there without it, and all of them by whole exchanges.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';

const exec = promisify(execFile);

/** How much is left, in percent, of what has come and gone, when V8 has collected its young generation alone. */
async function leftOf(what: string): Promise<number> {
  const program = fileURLToPath(new URL('../support/programs/young-generation.js', import.meta.url));
  const { stdout } = await exec(process.execPath, ['--expose-gc', program, what]);
  return Number(stdout);
}

/** The last ones may still be on the stack. */
const NOTHING = 5;

const isFrom24On = Number(process.versions.node.split('.')[0]) >= 24;

// Programs of their own, with hundreds of collections: where the cores are busy otherwise, that takes a while.
jest.setTimeout(120_000);

describe('garbage collection: a minor collection', () => {
  it('V8, a minor garbage collection: takes whole exchanges', async () => {
    expect(await leftOf('exchange')).toBeLessThanOrEqual(NOTHING);
  });

  it('V8, a minor garbage collection: takes what a function closes over that replaces a method; not where the function is assigned as it is written', async () => {
    expect(await leftOf('replaceMethod')).toBeLessThanOrEqual(NOTHING);
    expect(await leftOf('assignment')).toBeGreaterThan(50);
  });

  it('V8, a minor garbage collection: takes exchanges that were active; not what was in a Set', async () => {
    expect(await leftOf('ActiveExchanges')).toBeLessThanOrEqual(NOTHING);
    expect(await leftOf('Set')).toBeGreaterThan(50);
  });

  it('V8, a minor garbage collection: takes an upstream response, which is no stream: Node 24 and later keep a Writable', async () => {
    expect(await leftOf('UpstreamResponse')).toBeLessThanOrEqual(NOTHING);
    const left = await leftOf('Writable');
    if (isFrom24On) expect(left).toBeGreaterThan(50);
    else expect(left).toBeLessThanOrEqual(NOTHING);
  });
});
