// @ts-check
// What is measured. A scenario measures one subject once; `run.js` has the subjects take turns, round by round.
import { setTimeout as delay } from 'node:timers/promises';
import { call, cpuTime, FILES, memory } from './process.js';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {import('./orders.js').Order} Order */
/** @typedef {import('./upstream.js').Sent} Sent */
/** @typedef {import('./load.js').Received} Received */

/**
 * @typedef {object} Bench
 * @property {import('./subjects.js').Running} subject
 * @property {ChildProcess} upstream
 * @property {ChildProcess} load
 */

/**
 * What one turn gave: the figures, and how many streams were looked at, and how many of them arrived whole.
 *
 * @typedef {object} Turn
 * @property {Record<string, number | null>} figures `null` where there is none
 * @property {{ checked: number, whole: number }} streams
 */

/** @typedef {import('./format.js').Kind} Kind */

/**
 * @typedef {object} Scenario
 * @property {string} title
 * @property {Record<string, Kind>} figures
 * @property {{ quick: number, full: number }} rounds
 * @property {boolean} [fresh] Each turn has a new process of the subject, because its memory is measured
 * @property {boolean} [tls] The upstream has a certificate
 * @property {readonly string[]} [without] Subjects of which there is nothing to measure
 * @property {(bench: Bench, quick: boolean) => Promise<Turn>} measure
 */

/** How long nothing may open before the streams that have not are given up. Milliseconds. */
const PATIENCE = 2000;

/** @type {Record<string, Scenario>} */
export const SCENARIOS = {
  'token-pace-50': tokenPace(50),
  'token-pace-200': tokenPace(200),

  bursts: {
    title: '20 streams of events that are sent as fast as they are taken, 16 in one write',
    figures: { 'CPU per event': 'cpu' },
    rounds: { quick: 5, full: 9 },
    async measure(bench, quick) {
      const events = quick ? 1600 : 16_000;
      const { figures, streams } = await carry(bench, orders(20, { kind: 'burst', events }), events);
      return { figures: { 'CPU per event': figures['CPU per event'] }, streams };
    },
  },

  'first-byte': {
    title: 'A POST of 4 KB that is answered with an event stream: one at a time, and 20 at a time',
    figures: {
      'p50, one at a time': 'latency',
      'p99, one at a time': 'latency',
      p50: 'latency',
      p99: 'latency',
      'CPU per request': 'cpu',
    },
    rounds: { quick: 5, full: 7 },
    async measure(bench, quick) {
      const count = quick ? 60 : 400;
      const alone = await request(bench, orders(count, { kind: 'once' }), { concurrency: 1, size: 4096 });
      const many = await request(bench, orders(count, { kind: 'once' }), { concurrency: 20, size: 4096 });
      return {
        figures: { ...many.figures, 'p50, one at a time': alone.figures.p50, 'p99, one at a time': alone.figures.p99 },
        streams: sum(alone.streams, many.streams),
      };
    },
  },

  json: {
    title: 'Plain JSON requests, 20 at a time',
    figures: { p50: 'latency', p99: 'latency', 'CPU per request': 'cpu' },
    rounds: { quick: 5, full: 7 },
    async measure(bench, quick) {
      return request(bench, orders(quick ? 100 : 1000, { kind: 'json' }), { concurrency: 20 });
    },
  },

  'open-1000': openStreams(1000, { quick: 1, full: 5 }),
  // Each needs two files of the proxy.
  'open-10000': openStreams(Math.min(10_000, Math.floor(FILES / 2) - 100), { quick: 0, full: 3 }),

  'abort-flowing': abort('paced', 'that flow'),
  'abort-silent': abort('silent', 'that are silent'),

  'stopped-reader': {
    title: '10 clients that do not read a stream of 64 MB each',
    // What is taken from the upstream is in the buffers of the kernel, too.
    figures: { 'taken per stream': 'bytes', 'memory per stream': 'bytes' },
    rounds: { quick: 1, full: 5 },
    fresh: true,
    async measure(bench) {
      const { subject, upstream, load } = bench;
      await warmUp(bench);
      const before = subject.child && memory(subject.child);
      const count = 10;
      await call(load, 'open', subject, orders(count, { kind: 'flood', events: 300_000 }), {
        patience: PATIENCE,
        reads: false,
      });
      // Until nothing has moved for half a second.
      let taken = -1;
      for (let next = 0; next !== taken; next = await call(upstream, 'taken')) {
        taken = next;
        await delay(500);
      }
      const after = subject.child && memory(subject.child);
      return {
        figures: { 'taken per stream': taken / count, 'memory per stream': per(count, before, after) },
        streams: NONE,
      };
    },
  },

  reuse: {
    title: '100 requests, one after the other, each from a connection of its own, to an https upstream',
    figures: { handshakes: 'count', 'handshakes, Connection: close': 'count' },
    rounds: { quick: 1, full: 3 },
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
    rounds: { quick: count > 50 ? 0 : 5, full: 9 },
    async measure(bench, quick) {
      const events = quick ? 50 : 150;
      return carry(bench, orders(count, { kind: 'paced', events, interval: 20 }), events);
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
    figures: { served: 'count', 'memory per stream': 'bytes' },
    rounds,
    fresh: true,
    async measure(bench) {
      const { subject, load } = bench;
      await warmUp(bench);
      const before = subject.child && memory(subject.child);
      const served = await call(load, 'open', subject, orders(count, { kind: 'silent' }), { patience: PATIENCE });
      await delay(500);
      const after = subject.child && memory(subject.child);
      return {
        figures: { served, 'memory per stream': per(served, before, after) },
        streams: NONE,
      };
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
    rounds: { quick: 3, full: 7 },
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
      const at = (/** @type {number} */ q) => times[Math.min(times.length - 1, Math.floor(q * times.length))] ?? null;
      return { figures: { p50: at(0.5), p99: at(0.99), reached: times.length }, streams: NONE };
    },
  };
}

// --- what they are made of --------------------------------------------------------------------------------------------

const NONE = { checked: 0, whole: 0 };

/**
 * @param {number} count
 * @param {Omit<Order, 'stream'>} order
 * @returns {Order[]}
 */
function orders(count, order) {
  return Array.from({ length: count }, (_, stream) => ({ ...order, stream }));
}

/**
 * Opens streams, has the events flow when all are open, and reads them to their ends. Only the events are in the figures, not
 * the requests.
 *
 * @param {Bench} bench
 * @param {Order[]} streams
 * @param {number} events per stream
 */
async function carry({ subject, upstream, load }, streams, events) {
  const served = /** @type {number} */ (await call(load, 'open', subject, streams, { patience: PATIENCE }));
  const before = subject.child && cpuTime(subject.child);
  await call(upstream, 'go');
  const { received, latency } = await call(load, 'finish');
  const after = subject.child && cpuTime(subject.child);
  return {
    figures: {
      ...latency,
      'CPU per event': per(served * events, before, after),
      served,
    },
    streams: compare(await call(upstream, 'account'), received),
  };
}

/**
 * @param {Bench} bench
 * @param {Order[]} requests
 * @param {object} how
 */
async function request({ subject, upstream, load }, requests, how) {
  await call(upstream, 'reset');
  const before = subject.child && cpuTime(subject.child);
  const { received, firstByte } = await call(load, 'request', subject, requests, how);
  const after = subject.child && cpuTime(subject.child);
  return {
    figures: { p50: firstByte.p50, p99: firstByte.p99, 'CPU per request': per(requests.length, before, after) },
    streams: compare(await call(upstream, 'account'), received),
  };
}

/**
 * Has a new process do for once all that it needs memory for only once.
 *
 * @param {Bench} bench
 */
async function warmUp({ subject, upstream, load }) {
  await call(load, 'open', subject, orders(50, { kind: 'silent' }), { patience: PATIENCE });
  await call(load, 'reset');
  await call(upstream, 'reset');
  await delay(200);
}

/**
 * @param {number} count
 * @param {number | undefined} before `undefined` where there is no process
 * @param {number | undefined} after
 */
function per(count, before, after) {
  return before === undefined || after === undefined ? null : (after - before) / count;
}

/**
 * Compares what was sent with what was received, byte for byte: as many, and the same hash.
 *
 * @param {Sent[]} sent
 * @param {Received[]} received
 */
function compare(sent, received) {
  const byNumber = new Map(sent.map((stream) => [stream.stream, stream]));
  const whole = received.filter(({ stream, bytes, sha256, ended }) => {
    const original = byNumber.get(stream);
    return ended && original?.bytes === bytes && original.sha256 === sha256;
  });
  return { checked: received.length, whole: whole.length };
}

/**
 * @param {Turn['streams']} a
 * @param {Turn['streams']} b
 */
function sum(a, b) {
  return { checked: a.checked + b.checked, whole: a.whole + b.whole };
}
