// @ts-check
// Writes the README's section about the benchmark: `node bench/readme.js`, from results/full.json.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { CHARTS } from './charts.js';
import { format } from './format.js';
import { BASE, SUBJECTS } from './subjects.js';

/** @typedef {import('./results.js').Results} Results */

const BEGIN = '<!-- benchmark, written by bench/readme.js -->\n';
const END = '<!-- /benchmark -->\n';

const README = new URL('../README.md', import.meta.url);
const RESULTS = new URL('results/full.json', import.meta.url);

/**
 * The columns: a scenario, figures of it, which of their values, and whether the ratio to `BASE` stands beside it.
 *
 * @type {{ title: string, scenario: string, figures: string[], of?: 'value' | 'added', compared?: boolean }[]}
 */
const COLUMNS = [
  { title: 'added per event: p50, p99', scenario: 'token-pace-50', figures: ['p50', 'p99'], of: 'added' },
  { title: 'CPU per event', scenario: 'token-pace-50', figures: ['CPU per event'], compared: true },
  { title: 'in bursts', scenario: 'bursts', figures: ['CPU per event'], compared: true },
  { title: 'CPU per request', scenario: 'first-byte', figures: ['CPU per request'], compared: true },
  { title: 'memory per open stream', scenario: 'open-1000', figures: ['memory per stream'] },
  { title: 'streams served of 1,000', scenario: 'open-1000', figures: ['served'] },
  { title: 'abort to upstream close: p50, p99', scenario: 'abort-silent', figures: ['p50', 'p99'] },
  { title: 'TLS handshakes per 100 requests', scenario: 'reuse', figures: ['handshakes, Connection: close'] },
];

/**
 * @param {Results} results
 * @returns {string} Markdown
 */
function section({ machine, versions, skipped, scenarios }) {
  const rows = Object.keys(versions)
    .filter((name) => name in SUBJECTS && name !== 'direct')
    .map((name) => [
      name.startsWith('ours') ? `**${SUBJECTS[name]?.label}**` : `${SUBJECTS[name]?.label}`,
      ...COLUMNS.map(({ scenario, figures, of = 'value', compared = false }) => {
        const { figures: kinds = {}, subjects = {} } = scenarios[scenario] ?? {};
        const cells = figures.map((figure) => {
          const { [of]: spread, ratio } = subjects[name]?.figures[figure] ?? {};
          const kind = kinds[figure];
          if (spread === undefined || kind === undefined) return undefined;
          const told = compared && ratio !== undefined ? ` (×${ratio.median.toFixed(2)})` : '';
          return format(spread.median, kind) + told;
        });
        return cells.every((cell) => cell === undefined) ? '–' : cells.join(', ');
      }),
    ]);
  const header = ['', ...COLUMNS.map(({ title }) => title)];
  const table = [header, header.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map(
    (row) => `| ${row.join(' | ')} |`,
  );
  const { node, ...others } = versions;
  const told = [
    ...new Set(Object.entries(others).map(([name, version]) => `${SUBJECTS[name]?.label.split(',')[0]} ${version}`)),
  ]
    .filter((label) => !label.endsWith(` ${node}`))
    .join(', ');
  return [
    ...CHARTS.map(
      ({ name, title }) =>
        `<picture><source media="(prefers-color-scheme: dark)" srcset="bench/results/${name}-dark.svg"><img src="bench/results/${name}-light.svg" alt="${title}"></picture>`,
    ),
    '',
    ...table,
    '',
    `Medians, and in brackets ratios to ${SUBJECTS[BASE]?.label}, taken within each round; the spread, and all else, is in`,
    '[`bench/results/full.json`](bench/results/full.json). A dash: nothing to measure, or an abort that does not reach the upstream within',
    'a second.',
    `Node ${node}, ${machine.cores} × ${machine.cpu}, ${machine.kernel}; ${told}.`,
    ...Object.entries(skipped).map(([name, why]) => `${SUBJECTS[name]?.label} was skipped: ${why}.`),
    '',
  ].join('\n');
}

/**
 * The README with the section as it is to be.
 *
 * @param {string} readme
 */
function written(readme) {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`The README has no ${BEGIN}`);
  if (!existsSync(RESULTS)) return readme;
  return readme.slice(0, begin + BEGIN.length) + section(JSON.parse(readFileSync(RESULTS, 'utf8'))) + readme.slice(end);
}

const readme = readFileSync(README, 'utf8');
if (process.argv[2] !== '--check') writeFileSync(README, written(readme));
else if (written(readme) !== readme) {
  console.error('The README does not say what results/full.json says: run node bench/readme.js');
  process.exitCode = 1;
}
