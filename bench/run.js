// @ts-check
// The benchmark: `npm run bench` (quick) and `npm run bench:full`, or `node bench/run.js [--quick] [--only <scenarios>]
// [--subjects <subjects>] [--rounds <n>] [--output <file>]` after `npm run build` and `npm install --prefix bench`.
//
// Upstream, subject and load are processes of their own. All subjects of a scenario take their turns in every round, in
// alternating order, so that what the machine does beside them hits all of them; they are compared within a round.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { call, PLACES, start, stop } from './process.js';
import { print, summarise } from './results.js';
import { SCENARIOS } from './scenarios.js';
import { BASE, SUBJECTS, startSubject, versionOf } from './subjects.js';

/** @typedef {import('./scenarios.js').Scenario} Scenario */
/** @typedef {import('./measure.js').Turn} Turn */
/** @typedef {import('./results.js').Results} Results */
/** @typedef {import('./results.js').ScenarioResults} ScenarioResults */

/** The subjects of the quick form. */
const QUICK = ['direct', 'tcp', 'node-http', 'ours', 'ours-usage', 'hpm', BASE, 'fastify-http-proxy', 'nginx'];
/** Nothing runs for longer, whatever happens. Minutes. */
const DEADLINE = { quick: 15, full: 120 };

const { values: args } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    subjects: { type: 'string' },
    rounds: { type: 'string' },
    output: { type: 'string' },
  },
});
const form = args.quick ? 'quick' : 'full';
const wanted = chosen(args.subjects, Object.keys(SUBJECTS)) ?? (args.quick ? QUICK : Object.keys(SUBJECTS));
const scenarios = Object.entries(SCENARIOS)
  .filter(([name]) => chosen(args.only, Object.keys(SCENARIOS))?.includes(name) ?? true)
  .map(([name, scenario]) => ({ name, scenario, rounds: Number(args.rounds ?? scenario.rounds[form]) }))
  .filter(({ scenario }) => scenario.rounds[form] > 0 || args.only !== undefined);
const output = args.output ?? fileURLToPath(new URL(`results/${form}.json`, import.meta.url));

process.once('SIGTERM', () => process.exit(1));
setTimeout(() => {
  console.error('Took too long.');
  process.exit(1);
}, DEADLINE[form] * 60_000).unref();

const versions = Object.fromEntries(wanted.map((name) => [name, versionOf(name)]));
const subjects = wanted.filter((name) => versions[name]?.missing === undefined);
/** @type {Results} */
const results = {
  form,
  machine: {
    cpu: os.cpus()[0]?.model.trim(),
    cores: os.cpus().length,
    pinned: PLACES.subject !== undefined,
    memory: os.totalmem(),
    kernel: `${os.type()} ${os.release()}`,
  },
  versions: { node: process.version.slice(1), ...only(versions, 'version') },
  skipped: only(versions, 'missing'),
  scenarios: {},
};
for (const [name, why] of Object.entries(results.skipped)) console.log(`${name} is skipped: ${why}`);
for (const { name, scenario, rounds } of scenarios) results.scenarios[name] = await compare(name, scenario, rounds);
mkdirSync(dirname(output), { recursive: true });
writeFileSync(output, `${JSON.stringify(results, null, 1)}\n`);
console.log(`\nWritten to ${output}`);

const all = Object.values(results.scenarios).flatMap(({ subjects }) => Object.entries(subjects));
const changed = all.filter(([, { streams }]) => streams.whole < streams.checked);
for (const [name, { streams }] of changed)
  console.error(`${name}: ${streams.whole} of ${streams.checked} streams are whole`);
// Of others it is a result.
process.exitCode = changed.some(([name]) => name.startsWith('ours')) ? 1 : 0;

/**
 * @param {string} name
 * @param {Scenario} scenario
 * @param {number} rounds
 * @returns {Promise<ScenarioResults>}
 */
async function compare(name, scenario, rounds) {
  const started = performance.now();
  const compared = subjects.filter((subject) => scenario.without?.includes(subject) !== true);
  const directory = mkdtempSync(join(os.tmpdir(), 'bench-'));
  const load = node('load');
  const { upstream, target, ca } = await startUpstream(scenario.tls === true, directory);
  /** @type {import('./subjects.js').Running[]} */
  const running = [];
  /** @type {Map<string, Turn[]>} */
  const turns = new Map(compared.map((subject) => [subject, []]));
  const takeTurn = async (/** @type {import('./subjects.js').Running} */ subject) => {
    await call(upstream, 'reset');
    const turn = await scenario.measure({ subject, upstream, load }, args.quick);
    await call(load, 'reset');
    return turn;
  };
  try {
    if (!scenario.fresh) {
      for (const subject of compared) running.push(await startSubject(subject, target, ca));
      for (let i = 0; i < (args.quick ? 1 : (scenario.warmUp ?? 1)); i += 1) {
        for (const subject of running) await takeTurn(subject);
      }
    }
    for (let i = 0; i < rounds; i += 1) {
      for (const subject of i % 2 === 0 ? compared : compared.toReversed()) {
        const started = running.find(({ name }) => name === subject) ?? (await startSubject(subject, target, ca));
        try {
          turns.get(subject)?.push(await takeTurn(started));
        } finally {
          if (scenario.fresh) await started.stop();
        }
      }
    }
  } finally {
    await Promise.all([...running.map((subject) => subject.stop()), stop(load), stop(upstream)]);
    rmSync(directory, { recursive: true });
  }
  const summary = summarise(scenario, rounds, turns);
  print(name, summary, (performance.now() - started) / 1000);
  return summary;
}

/**
 * @param {boolean} tls
 * @param {string} directory
 */
async function startUpstream(tls, directory) {
  /** @type {NodeJS.ProcessEnv} */
  const env = {};
  let ca;
  if (tls) {
    const { generate } = await import('selfsigned');
    const { private: key, cert } = await generate([{ name: 'commonName', value: '127.0.0.1' }], {
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }],
    });
    ca = join(directory, 'ca.pem');
    writeFileSync(ca, cert);
    env.UPSTREAM_KEY = key;
    env.UPSTREAM_CERT = cert;
  }
  const upstream = node('upstream', env);
  return { upstream, target: new URL(await call(upstream, 'listen')), ca };
}

/**
 * @param {'upstream' | 'load'} name
 * @param {NodeJS.ProcessEnv} [env]
 */
function node(name, env) {
  return start(name, [process.execPath, fileURLToPath(new URL(`${name}.js`, import.meta.url))], env);
}

// --- arguments --------------------------------------------------------------------------------------------------------

/**
 * @param {string | undefined} list Names, or beginnings of names
 * @param {string[]} known
 */
function chosen(list, known) {
  return list?.split(',').flatMap((name) => {
    const found = known.includes(name) ? [name] : known.filter((other) => other.startsWith(name));
    if (found.length === 0) throw new TypeError(`"${name}" is none of ${known.join(', ')}`);
    return found;
  });
}

/**
 * @param {Record<string, { version?: string, missing?: string }>} from
 * @param {'version' | 'missing'} what
 */
function only(from, what) {
  return Object.fromEntries(
    Object.entries(from).flatMap(([name, { [what]: value }]) => (value === undefined ? [] : [[name, value]])),
  );
}
