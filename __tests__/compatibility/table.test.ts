import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { ABORTS, compatible, STREAMS } from '../support/programs/compatibility.js';

const script = fileURLToPath(new URL('table.js', import.meta.url));
const MARKERS = '<!-- compatibility, written by __tests__/compatibility/table.js -->\n<!-- /compatibility -->';

let directory: string;
let readme: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'table-'));
  readme = join(directory, 'README.md');
  await writeFile(readme, `before\n${MARKERS}\nafter\n`);
});

afterEach(() => rm(directory, { recursive: true }));

/** A test: its blocks, its own title and how it ended. */
type Made = [block: string, title: string, status?: 'passed' | 'failed'];

/** Runs it with a result of Jest's for each list of tests; resolves with what it has said of what is wrong. */
async function run(lists: Made[][], ...args: string[]): Promise<{ code: number; said: string }> {
  const files = await Promise.all(
    lists.map(async (tests, i) => {
      const file = join(directory, `${i}.json`);
      const assertionResults = tests.map(([block, title, status = 'passed']) => ({
        ancestorTitles: [block, 'inner'],
        title,
        status,
      }));
      await writeFile(file, JSON.stringify({ testResults: [{ assertionResults }] }));
      return file;
    }),
  );
  return new Promise((resolve) => {
    execFile(process.execPath, [script, '--readme', readme, ...args, ...files], (error, _stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), said: stderr });
    });
  });
}

const client = compatible('client', '@a/sdk', '1.10.0');

it('is written from results, with a row for each name and a mark for what was tested', async () => {
  const made: Made[] = [
    [compatible('host', 'Express', '5.0.0'), STREAMS],
    [client, STREAMS],
    [client, 'tools: one'],
    [client, 'tools: two'],
    [client, 'a thing'],
    ['the proxy', 'of which the table says nothing'],
  ];
  expect(await run([made])).toEqual({ code: 0, said: '' });
  expect(await readFile(readme, 'utf8')).toBe(
    [
      'before',
      '<!-- compatibility, written by __tests__/compatibility/table.js -->',
      '',
      '| Clients | version | one by one | abort | errors | heartbeats | also |',
      '| --- | --- | :-: | :-: | :-: | :-: | --- |',
      '| `@a/sdk` | 1.10.0 | ✓ |  |  |  | a thing; tools |',
      '',
      '| Hosts | version | one by one | abort | errors | heartbeats | also |',
      '| --- | --- | :-: | :-: | :-: | :-: | --- |',
      '| `Express` | 5.0.0 | ✓ |  |  |  |  |',
      '',
      '<!-- /compatibility -->',
      'after',
      '',
    ].join('\n'),
  );
});

it('has all versions of a name in one row, in order', async () => {
  const other = compatible('client', '@a/sdk', '1.9.0');
  await run([[[client, STREAMS]], [[other, STREAMS]]]);
  expect(await readFile(readme, 'utf8')).toContain('| `@a/sdk` | 1.9.0, 1.10.0 | ✓ |');
});

it('shows what has failed, and says so', async () => {
  const made: Made[] = [
    [client, `${STREAMS}: one`],
    [client, `${STREAMS}: two`, 'failed'],
    [client, ABORTS],
    [client, 'tools', 'failed'],
  ];
  expect(await run([made])).toEqual({ code: 1, said: 'Tests of the client @a/sdk have failed.\n' });
  expect(await readFile(readme, 'utf8')).toContain('| `@a/sdk` | 1.10.0 | ✗ | ✓ |  |  | ✗ tools |');
});

it('leaves the README alone where there is nothing to say', async () => {
  const { code, said } = await run([[['the proxy', 'works']]]);
  expect([code, said]).toEqual([1, 'There are no tests of compatibility in these results.\n']);
  expect(await readFile(readme, 'utf8')).toContain(MARKERS);
});

it('does not write into a README without a place for it', async () => {
  await writeFile(readme, 'nothing\n');
  const { code, said } = await run([[[client, STREAMS]]]);
  expect([code, said.includes('The README has no <!-- compatibility')]).toEqual([1, true]);
  expect(await readFile(readme, 'utf8')).toBe('nothing\n');
});

it('tells whether the README says what the results say, in whatever versions', async () => {
  const check = async (...made: Made[]): Promise<number> => (await run([made], '--check')).code;
  expect(await check([client, STREAMS])).toBe(1);
  await run([[[client, STREAMS]]]);
  expect(await check([client, STREAMS])).toBe(0);
  expect(await check([compatible('client', '@a/sdk', '2.0.0'), STREAMS])).toBe(0);
  expect(await check([client, STREAMS], [client, ABORTS])).toBe(1);
  expect(await check([compatible('client', 'other', '1.10.0'), STREAMS])).toBe(1);
});
