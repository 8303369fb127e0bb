// Gives what CHANGELOG.md has under "Unreleased" the version that `changeset version` has put into package.json. The heading is the
// version alone: by that, changesets/action finds what it quotes in a release.
import { readFileSync, writeFileSync } from 'node:fs';

const UNRELEASED = '## Unreleased\n';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const changelog = readFileSync('CHANGELOG.md', 'utf8');
if (!changelog.includes(UNRELEASED)) throw new Error('CHANGELOG.md has no "Unreleased"');
const day = new Date().toISOString().slice(0, 10);
writeFileSync('CHANGELOG.md', changelog.replace(UNRELEASED, `${UNRELEASED}\n## ${version}\n\n${day}\n`));
