// @ts-check
// What is measured. A scenario measures one subject once; `run.js` has the subjects take turns, round by round.
import { setTimeout as delay } from 'node:timers/promises';
import { carry, grown, NONE, orders, PATIENCE, request, sum } from './measure.js';
import { call, FILES } from './process.js';
import { percentile } from './statistics.js';
import { SUBJECTS } from './subjects.js';

/** @typedef {import('./format.js').Kind} Kind */
/** @typedef {import('./measure.js').Bench} Bench */
/** @typedef {import('./measure.js').Turn} Turn */
/** @typedef {import('./upstream.js').Sent} Sent */

/**
 * @typedef {object} Scenario
 * @property {string} title
 * @property {Record<string, Kind>} figures
 * @property {{ quick: number, full: number }} rounds
 * @property {number} [warmUp] Turns before those that count, in which V8 finds out what to compile. Default: 1
 * @property {boolean} [fresh] Each turn has a new process of the subject, because its memory is measured
 * @property {boolean} [tls] The upstream has a certificate
 * @property {readonly string[]} [without] Subjects of which there is nothing to measure
 * @property {(bench: Bench, quick: boolean) => Promise<Turn>} measure
 */

/** With the thousands of requests of a turn, V8 still compiles in the third one. */
const REQUESTS_WARM_UP = 5;

/** @type {Record<string, Scenario>} */
export const SCENARIOS = {
  'token-pace-50': tokenPace(50),
  'token-pace-200': tokenPace(200),

  bursts: bursts(1, 'each a chunk of its own, as APIs send them'),
  'bursts-of-16': bursts(16, '16 in one chunk'),

  'first-byte': {
    title: 'A POST of 4 KB that is answered with an event stream: one at a time, and 20 at a time',
    figures: {
      'p50, one at a time': 'latency',
      'p99, one at a time': 'latency',
      p50: 'latency',
      p99: 'latency',
      'CPU per request': 'cpu',
    },
    rounds: { quick: 5, full: 5 },
    warmUp: REQUESTS_WARM_UP,
    async measure(bench, quick) {
      const once = (/** @type {number} */ count) => orders(count, { kind: 'once' });
      const alone = await request(bench, once(quick ? 60 : 400), { concurrency: 1, size: 4096 });
      const many = await request(bench, once(quick ? 60 : 2000), { concurrency: 20, size: 4096 });
      return {
        figures: { ...many.figures, 'p50, one at a time': alone.figures.p50, 'p99, one at a time': alone.figures.p99 },
        streams: sum(alone.streams, many.streams),
      };
    },
  },

  json: {
    title: 'Plain JSON requests, 20 at a time',
    figures: { p50: 'latency', p99: 'latency', 'CPU per request': 'cpu' },
    rounds: { quick: 5, full: 5 },
    warmUp: REQUESTS_WARM_UP,
    async measure(bench, quick) {
      return request(bench, orders(quick ? 100 : 4000, { kind: 'json' }), { concurrency: 20 });
    },
  },

  'open-1000': openStreams(1000, { quick: 1, full: 3 }),
  // Each needs two files of the proxy.
  'open-10000': {
    ...openStreams(Math.min(10_000, Math.floor(FILES / 2) - 100), { quick: 0, full: 1 }),
    // They have served less than a thousand, or are what they wrap.
    without: ['hpm', 'fastify-http-proxy', 'express-http-proxy', 'portkey'],
  },

  'abort-flowing': abort('paced', 'that flow'),
  'abort-silent': abort('silent', 'that are silent'),

  'stopped-reader': {
    title: '50 clients that do not read a stream of 64 MB each',
    // What is taken from the upstream is in the buffers of the kernel, too.
    figures: { 'taken per stream': 'bytes', 'held per stream': 'bytes', 'memory per stream': 'bytes' },
    rounds: { quick: 1, full: 3 },
    fresh: true,
    async measure(bench) {
      const { subject, upstream, load } = bench;
      const count = 50;
      let taken = -1;
      const memory = await grown(bench, async () => {
        await call(load, 'open', subject, orders(count, { kind: 'flood', events: 300_000 }), {
          patience: PATIENCE,
          reads: false,
        });
        // Until nothing has moved for half a second.
        for (let next = 0; next !== taken; next = await call(upstream, 'taken')) {
          taken = next;
          await delay(500);
        }
        return count;
      });
      return { figures: { 'taken per stream': taken / count, ...memory }, streams: NONE };
    },
  },

  reuse: {
    title: '100 requests, one after the other, each from a connection of its own, to an https upstream',
    figures: { handshakes: 'count', 'handshakes, Connection: close': 'count' },
    rounds: { quick: 1, full: 1 },
    tls: true,
    without: ['direct', 'tcp'],
    async measure(bench) {
      /** @param {'new' | 'closed'} connections */
      const count = async (connections) => {
        const { streams } = await request(bench, orders(100, { kind: 'json' }), { concurrency: 1, connections });
        return { streams, handshakes: /** @type {number} */ (await call(bench.upstream, 'handshakes')) };
      };
      const kept = await count('new');
      const closed = await count('closed');
      return {
        figures: { handshakes: kept.handshakes, 'handshakes, Connection: close': closed.handshakes },
        streams: sum(kept.streams, closed.streams),
      };
    },
  },
};

// --- kinds of scenarios -----------------------------------------------------------------------------------------------

/**
 * @param {number} count
 * @returns {Scenario}
 */
function tokenPace(count) {
  return {
    title: `${count} streams of 50 events per second each`,
    // From the write of the upstream to the read of the client.
    figures: { p50: 'latency', p99: 'latency', 'p99.9': 'latency', 'CPU per event': 'cpu', served: 'count' },
    rounds: { quick: count > 50 ? 0 : 5, full: count > 50 ? 5 : 9 },
    // What each of ours adds is seen with fewer.
    ...(count > 50 && { without: Object.keys(SUBJECTS).filter((name) => name.startsWith('ours-')) }),
    async measure(bench, quick) {
      const events = quick ? 40 : 100;
      return carry(bench, orders(count, { kind: 'paced', events, interval: 20 }), events);
    },
  };
}

/**
 * @param {number} perWrite
 * @param {string} how
 * @returns {Scenario}
 */
function bursts(perWrite, how) {
  return {
    title: `20 streams of events that are sent as fast as they are taken, ${how}`,
    figures: { 'CPU per event': 'cpu' },
    rounds: { quick: perWrite > 1 ? 0 : 5, full: 9 },
    async measure(bench, quick) {
      const events = quick ? 1600 : 8000;
      const { figures, streams } = await carry(bench, orders(20, { kind: 'burst', events, perWrite }), events);
      return { figures: { 'CPU per event': figures['CPU per event'] }, streams };
    },
  };
}

/**
 * @param {number} count
 * @param {Scenario['rounds']} rounds
 * @returns {Scenario}
 */
function openStreams(count, rounds) {
  return {
    title: `${count.toLocaleString('en-US')} streams that are open and silent`,
    figures: { served: 'count', 'held per stream': 'bytes', 'memory per stream': 'bytes' },
    rounds,
    fresh: true,
    async measure(bench) {
      let served = 0;
      const memory = await grown(bench, async () => {
        const silent = orders(count, { kind: 'silent' });
        served = await call(bench.load, 'open', bench.subject, silent, { patience: PATIENCE });
        await delay(500);
        return served;
      });
      return { figures: { served, ...memory }, streams: NONE };
    },
  };
}

/**
 * @param {'paced' | 'silent'} kind
 * @param {string} are
 * @returns {Scenario}
 */
function abort(kind, are) {
  return {
    title: `Clients that leave streams ${are}`,
    // From the leaving of the client to the close of the connection to the upstream; of 50, within a second.
    figures: { p50: 'latency', p99: 'latency', reached: 'count' },
    rounds: { quick: 3, full: 5 },
    async measure({ subject, upstream, load }) {
      await call(load, 'open', subject, orders(50, { kind, events: 10_000, interval: 20 }), { patience: PATIENCE });
      await call(upstream, 'go');
      /** @type {Map<number, number>} */
      const left = new Map(await call(load, 'leave', 3));
      /** @type {number[]} */
      let times = [];
      for (let waited = 0; waited < 1000 && times.length < left.size; waited += 50) {
        await delay(50);
        const account = /** @type {Sent[]} */ (await call(upstream, 'account'));
        times = account.flatMap(({ stream, closed }) =>
          closed === undefined ? [] : [closed - (left.get(stream) ?? Number.NaN)],
        );
      }
      times.sort((a, b) => a - b);
      return {
        figures: { p50: percentile(times, 0.5), p99: percentile(times, 0.99), reached: times.length },
        streams: NONE,
      };
    },
  };
}
