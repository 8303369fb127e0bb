// @ts-check
// Writes the README's table of compatibility from results of Jest: `npm run compatibility`, or
// `node __tests__/compatibility/table.js [--check] <results>...`, where `--check` only tells whether the README says what they say,
// in whatever versions.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ABORTS, ERRORS, HEARTBEATS, STREAMS } from './titles.js';

/**
 * @typedef {object} Test
 * @property {string[]} ancestorTitles
 * @property {string} title
 * @property {string} status
 */

/**
 * @typedef {object} Row
 * @property {string} kind
 * @property {string} name
 * @property {Set<string>} versions
 * @property {Test[]} tests
 */

const BEGIN = '<!-- compatibility, written by __tests__/compatibility/table.js -->\n';
const END = '<!-- /compatibility -->';

/** What has a column of its own. */
const COLUMNS = { 'one by one': STREAMS, abort: ABORTS, errors: ERRORS, heartbeats: HEARTBEATS };
const KINDS = { client: 'Clients', provider: 'Providers', front: 'In front', host: 'Hosts' };

/** What `compatible()` in `support/programs/compatibility.ts` makes: a kind, a name, and a version where there is one. */
const TITLE = /^(client|provider|front|host): (.+?)(?: (\d+(?:\.\d+)+))?$/;

/**
 * @param {{ testResults: { assertionResults: Test[] }[] }[]} results As Jest has them with `--json`
 * @returns {Row[]}
 */
function rowsOf(results) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  for (const test of results.flatMap(({ testResults }) => testResults.flatMap((file) => file.assertionResults))) {
    const [key = '', kind = '', name = '', version] = TITLE.exec(test.ancestorTitles[0] ?? '') ?? [];
    if (key === '') continue;
    const row = rows.get(`${kind}: ${name}`) ?? { kind, name, versions: new Set(), tests: [] };
    rows.set(`${kind}: ${name}`, row);
    if (version !== undefined) row.versions.add(version);
    row.tests.push(test);
  }
  const kinds = Object.keys(KINDS);
  return [...rows.values()].sort(
    (a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || a.name.localeCompare(b.name, 'en'),
  );
}

/** Of a test with a table of cases, what they have in common. @param {Test} test */
function titleOf({ title }) {
  return title.split(': ', 1)[0] ?? '';
}

/** @param {Test[]} tests */
function mark(tests) {
  if (tests.length === 0) return '';
  return tests.every(({ status }) => status === 'passed') ? '✓' : '✗';
}

/** @param {Row} row */
function cellsOf({ name, versions, tests }) {
  /** @param {string} title */
  const marked = (title) => mark(tests.filter((test) => titleOf(test) === title));
  const columns = Object.values(COLUMNS);
  const others = [...new Set(tests.map(titleOf))].filter((title) => !columns.includes(title)).sort();
  const failed = others.filter((title) => marked(title) === '✗').map((title) => `✗ ${title}`);
  const passed = others.filter((title) => marked(title) === '✓');
  return [
    `\`${name}\``,
    [...versions].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).join(', '),
    ...columns.map(marked),
    [...failed, ...passed].join('; '),
  ];
}

/** @param {Row[]} rows */
function table(rows) {
  const lines = Object.entries(KINDS).flatMap(([kind, title]) => {
    const own = rows.filter((row) => row.kind === kind);
    if (own.length === 0) return [];
    const header = [title, 'version', ...Object.keys(COLUMNS), 'also'];
    const rule = header.map((_, i) => (i > 1 && i < header.length - 1 ? ':-:' : '---'));
    return [...[header, rule, ...own.map(cellsOf)].map((cells) => `| ${cells.join(' | ')} |`), ''];
  });
  return `\n${lines.join('\n')}\n`;
}

/**
 * The README with the table as it is to be.
 *
 * @param {string} readme
 * @param {Row[]} rows
 */
function written(readme, rows) {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`The README has no ${BEGIN}`);
  return readme.slice(0, begin + BEGIN.length) + table(rows) + readme.slice(end);
}

/** Without the versions, which differ from machine to machine. @param {string} readme */
function timeless(readme) {
  return readme.replace(/^(\| `[^`]+` \|)[^|]*\|/gm, '$1 |');
}

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false }, readme: { type: 'string', default: 'README.md' } },
  allowPositionals: true,
});
const rows = rowsOf(positionals.map((file) => JSON.parse(readFileSync(file, 'utf8'))));
const readme = readFileSync(values.readme, 'utf8');
const failed = rows.filter(({ tests }) => mark(tests) === '✗');
for (const { kind, name } of failed) console.error(`Tests of the ${kind} ${name} have failed.`);
if (rows.length === 0) {
  console.error('There are no tests of compatibility in these results.');
} else if (!values.check) {
  writeFileSync(values.readme, written(readme, rows));
} else if (timeless(written(readme, rows)) !== timeless(readme)) {
  console.error('The README does not say what the tests say: npm run compatibility');
  process.exitCode = 1;
}
if (failed.length > 0 || rows.length === 0) process.exitCode = 1;
