// @ts-check
// What scenarios are made of: how one subject is measured once.
import { setTimeout as delay } from 'node:timers/promises';
import { call, cpuTime, memory } from './process.js';

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
 * @property {Record<string, number | null>} figures `null` or `NaN` where there is none
 * @property {{ checked: number, whole: number }} streams
 */

/** How long nothing may open before the streams that have not are given up. Milliseconds. */
export const PATIENCE = 3000;

export const NONE = { checked: 0, whole: 0 };

/**
 * @param {number} count
 * @param {Omit<Order, 'stream'>} order
 * @returns {Order[]}
 */
export function orders(count, order) {
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
export async function carry({ subject, upstream, load }, streams, events) {
  const served = /** @type {number} */ (await call(load, 'open', subject, streams, { patience: PATIENCE }));
  const before = subject.child && cpuTime(subject.child);
  await call(upstream, 'go');
  const { received, latency } = await call(load, 'finish');
  const after = subject.child && cpuTime(subject.child);
  return {
    figures: { ...latency, 'CPU per event': per(served * events, before, after), served },
    streams: compare(await call(upstream, 'account'), received),
  };
}

/**
 * @param {Bench} bench
 * @param {Order[]} requests
 * @param {object} how
 */
export async function request({ subject, upstream, load }, requests, how) {
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
 * By how many bytes the memory of the proxy grows for each of what is done: what it has in use, where it can tell, and what it
 * has of the system, of which it gives back only a part when it is not in use any more. What a new process needs memory for only
 * once is done before.
 *
 * @param {Bench} bench
 * @param {() => Promise<number>} act Says how many it has done
 */
export async function grown({ subject, upstream, load }, act) {
  await call(load, 'open', subject, orders(50, { kind: 'silent' }), { patience: PATIENCE });
  await call(load, 'reset');
  await call(upstream, 'reset');
  await delay(200);
  const held = await subject.held?.();
  const before = subject.child && memory(subject.child);
  const count = await act();
  const after = subject.child && memory(subject.child);
  return {
    'held per stream': per(count, held, await subject.held?.()),
    'memory per stream': per(count, before, after),
  };
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
export function sum(a, b) {
  return { checked: a.checked + b.checked, whole: a.whole + b.whole };
}
