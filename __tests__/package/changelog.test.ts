import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from '@jest/globals';

const script = fileURLToPath(new URL('../../.changeset/changelog.js', import.meta.url));

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'changelog-'));
  await writeFile(join(directory, 'package.json'), '{ "version": "1.2.0" }');
});

afterEach(() => rm(directory, { recursive: true }));

/** What a release makes of a changelog. */
async function released(changelog: string): Promise<string> {
  const file = join(directory, 'CHANGELOG.md');
  await writeFile(file, changelog);
  await promisify(execFile)(process.execPath, [script], { cwd: directory });
  return readFile(file, 'utf8');
}

it('changelog script: gives what is unreleased the version of the package, and leaves the place above it for what comes next', async () => {
  const made = await released('# Changelog\n\nForm.\n\n## Unreleased\n\n### Added\n\n- `b`\n\n## 1.1.0\n\n- `a`\n');
  expect(made.replace(/\d{4}-\d\d-\d\d/, 'DAY')).toBe(
    '# Changelog\n\nForm.\n\n## Unreleased\n\n## 1.2.0\n\nDAY\n\n### Added\n\n- `b`\n\n## 1.1.0\n\n- `a`\n',
  );
});

it('changelog script: fails where there is no such place', async () => {
  await expect(released('# Changelog\n\n## 1.1.0\n')).rejects.toThrow('CHANGELOG.md has no "Unreleased"');
});

it('changelog script: is written in the form that the script looks for', async () => {
  const changelog = await readFile(new URL('../../CHANGELOG.md', import.meta.url), 'utf8');
  expect(await released(changelog)).toMatch(/^## Unreleased\n\n## 1\.2\.0\n\n\d{4}-\d\d-\d\d\n\n##/m);
});
