// @ts-check
// What comes of the rounds, and what is kept of it.
import { format } from './format.js';
import { spread } from './statistics.js';
import { BASE } from './subjects.js';

/** @typedef {import('./format.js').Kind} Kind */
/** @typedef {import('./measure.js').Turn} Turn */
/** @typedef {import('./scenarios.js').Scenario} Scenario */
/** @typedef {import('./statistics.js').Spread} Spread */

/**
 * @typedef {object} Figure
 * @property {Spread} value Of all rounds
 * @property {Spread} [ratio] To that of `BASE`, taken within each round
 * @property {Spread} [added] What is above that of `direct`, taken within each round
 */

/**
 * @typedef {object} Results
 * @property {'quick' | 'full'} form
 * @property {{ cpu: string | undefined, cores: number, pinned: boolean, memory: number, kernel: string }} machine
 * @property {Record<string, string>} versions Of node, and of each subject
 * @property {Record<string, string>} skipped Subjects that were not there, and why
 * @property {Record<string, ScenarioResults>} scenarios
 */

/**
 * @typedef {object} ScenarioResults
 * @property {string} title
 * @property {Record<string, Kind>} figures
 * @property {number} rounds
 * @property {Record<string, { figures: Record<string, Figure>, streams: Turn['streams'] }>} subjects
 */

/**
 * @param {Scenario} scenario
 * @param {number} rounds
 * @param {Map<string, Turn[]>} turns
 * @returns {ScenarioResults}
 */
export function summarise({ title, figures }, rounds, turns) {
  /**
   * @param {string} subject
   * @param {string} figure
   */
  const samples = (subject, figure) => turns.get(subject)?.map((turn) => turn.figures[figure] ?? Number.NaN) ?? [];
  const subjects = [...turns].map(([subject, own]) => {
    /** @type {[string, Figure][]} */
    const rows = [];
    for (const [figure, kind] of Object.entries(figures)) {
      const values = samples(subject, figure);
      if (!values.every(Number.isFinite)) continue;
      const base = samples(BASE, figure);
      const direct = samples('direct', figure);
      const ratios = values.map((value, i) => value / (base[i] ?? Number.NaN));
      const above = values.map((value, i) => value - (direct[i] ?? Number.NaN));
      rows.push([
        figure,
        {
          value: spread(values),
          ...(kind !== 'count' && ratios.every(Number.isFinite) && { ratio: spread(ratios) }),
          ...(kind === 'latency' && above.every(Number.isFinite) && { added: spread(above) }),
        },
      ]);
    }
    const streams = own.map(({ streams }) => streams);
    const checked = streams.reduce((sum, { checked }) => sum + checked, 0);
    const whole = streams.reduce((sum, { whole }) => sum + whole, 0);
    return [subject, { figures: Object.fromEntries(rows), streams: { checked, whole } }];
  });
  return { title, figures, rounds, subjects: Object.fromEntries(subjects) };
}

/**
 * @param {string} name
 * @param {ScenarioResults} results
 * @param {number} seconds
 */
export function print(name, { title, rounds, figures, subjects }, seconds) {
  console.log(`\n${name}: ${title} (${rounds} rounds, ${seconds.toFixed(0)} s)`);
  /** @param {string[]} cells */
  const row = ([first = '', ...cells]) => first.padEnd(20) + cells.map((cell) => cell.padStart(38)).join('');
  console.log(row(['', ...Object.keys(figures)]));
  for (const [subject, { figures: own }] of Object.entries(subjects)) {
    const cells = Object.entries(figures).map(([figure, kind]) => {
      const { value, ratio } = own[figure] ?? {};
      if (value === undefined) return '-';
      const compared = ratio === undefined ? '' : `, ×${ratio.median.toFixed(2)}`;
      return `${format(value.median, kind)} (${format(value.min, kind)} to ${format(value.max, kind)})${compared}`;
    });
    console.log(row([subject, ...cells]));
  }
}
