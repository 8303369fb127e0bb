import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

interface Results {
  skipped: Record<string, string>;
  scenarios: Record<string, { figures: object; subjects: Record<string, SubjectResults> }>;
}

interface SubjectResults {
  figures: object;
  streams: { checked: number; whole: number };
}

/** Those that need nothing but what the package itself needs. */
const SUBJECTS = ['direct', 'tcp', 'node-http', 'ours', 'ours-usage', 'hpm'];
/** A scenario, and how many of its streams are read to their ends, for each subject. */
const READ: [scenario: string, streams: number][] = [
  ['token-pace-50', 50],
  ['bursts', 20],
  ['first-byte', 120],
  ['json', 100],
];
const SCENARIOS = [...READ.map(([name]) => name), 'open-1000', 'abort-flowing', 'abort-silent', 'stopped-reader'];

const run = promisify(execFile);
let directory: string;
let results: Results;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'bench-'));
  const output = join(directory, 'quick.json');
  const args = [
    '--quick',
    '--rounds',
    '1',
    '--only',
    SCENARIOS.join(),
    '--subjects',
    SUBJECTS.join(),
    '--output',
    output,
  ];
  await run(process.execPath, ['bench/run.js', ...args], { timeout: 280_000 });
  results = JSON.parse(readFileSync(output, 'utf8'));
}, 300_000);

afterAll(() => rmSync(directory, { recursive: true }));

describe('the benchmark', () => {
  it('starts every subject', () => {
    expect(results.skipped).toEqual({});
  });

  it.each(READ)('has every stream of %s arrive whole', (scenario, streams) => {
    const { subjects = {} } = results.scenarios[scenario] ?? {};
    expect(Object.entries(subjects).map(([name, { streams }]) => [name, streams])).toEqual(
      SUBJECTS.map((name) => [name, { checked: streams, whole: streams }]),
    );
  });

  it.each(SCENARIOS)('has every figure of %s', (scenario) => {
    const { figures = {}, subjects = {} } = results.scenarios[scenario] ?? {};
    for (const name of ['ours', 'hpm']) {
      expect(Object.keys(subjects[name]?.figures ?? {}).sort()).toEqual(Object.keys(figures).sort());
    }
  });

  it('is what the README says', async () => {
    await run(process.execPath, ['bench/readme.js', '--check']);
  });
});
