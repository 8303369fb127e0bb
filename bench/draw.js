// @ts-check
// Draws the README's charts: `node bench/draw.js`, from results/full.json. SVG, for light and for dark pages.
import { readFileSync, writeFileSync } from 'node:fs';
import { init } from 'echarts';
import { CHARTS } from './charts.js';
import { format } from './format.js';
import { SUBJECTS } from './subjects.js';

/** @typedef {import('./results.js').Results} Results */

/** Of the subjects, those that differ in what is drawn. */
const DRAWN = [
  'tcp',
  'node-http',
  'ours',
  'hpm-unlimited',
  'http-proxy-3',
  'express-http-proxy',
  'fastify-http-proxy',
  'portkey',
  'nginx',
  'haproxy',
  'caddy',
];

/** @type {Record<'light' | 'dark', { text: string, faint: string, ours: string[], others: string[] }>} */
const THEMES = {
  light: { text: '#1f2328', faint: '#59636e', ours: ['#0969da', '#80b3ec'], others: ['#8c959f', '#d0d7de'] },
  dark: { text: '#f0f6fc', faint: '#9198a1', ours: ['#4493f8', '#1f4f8f'], others: ['#6e7681', '#3d444d'] },
};

const WIDTH = 820;
const BAR = 13;

const results = /** @type {Results} */ (
  JSON.parse(readFileSync(new URL('results/full.json', import.meta.url), 'utf8'))
);
for (const chart of CHARTS) {
  for (const theme of /** @type {const} */ (['light', 'dark'])) {
    writeFileSync(new URL(`results/${chart.name}-${theme}.svg`, import.meta.url), draw(chart, THEMES[theme]));
  }
}

/**
 * @param {typeof CHARTS[number]} chart
 * @param {typeof THEMES['light']} theme
 */
function draw({ title, note, scenario, figures, of = 'value', missing = '' }, theme) {
  const { figures: kinds = {}, subjects = {} } = results.scenarios[scenario] ?? {};
  const names = DRAWN.filter((name) => name in subjects);
  const rows = names.map((name) => {
    const served = subjects[name]?.figures.served?.value.median;
    const label = SUBJECTS[name]?.label.replaceAll('`', '') ?? name;
    return scenario.startsWith('open') && served !== undefined ? `${label} (${format(served, 'count')})` : label;
  });
  const series = figures.map((figure, i) => ({
    type: /** @type {const} */ ('bar'),
    barWidth: BAR,
    barGap: '0%',
    data: names.map((name) => {
      const median = subjects[name]?.figures[figure]?.[of]?.median;
      const kind = kinds[figure];
      const absent = i === 0 ? missing : '';
      const text = median === undefined || kind === undefined ? absent : format(median, kind);
      const colours = name === 'ours' ? theme.ours : theme.others;
      return {
        value: Math.max(0, median ?? 0),
        itemStyle: { color: colours[i] ?? theme.text },
        label: { show: text !== '', formatter: text },
      };
    }),
    label: { show: true, position: /** @type {const} */ ('right'), color: theme.text, fontSize: 11 },
  }));
  const height = 66 + names.length * (figures.length * BAR + 9);
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    textStyle: { fontFamily: 'system-ui, sans-serif' },
    title: {
      text: title,
      subtext: `${note}; less is better`,
      left: 0,
      textStyle: { color: theme.text, fontSize: 15 },
      subtextStyle: { color: theme.faint, fontSize: 12 },
    },
    grid: { left: 295, right: 70, top: 62, bottom: 4 },
    xAxis: { type: 'value', show: false },
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows,
      axisLine: { show: false },
      axisTick: { show: false },
      axisLabel: { color: theme.text, fontSize: 12 },
    },
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}
