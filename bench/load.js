// @ts-check
// The clients, in a process of their own.
import { createHash } from 'node:crypto';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { requestBody } from './orders.js';
import { now, serve } from './process.js';
import { percentile } from './statistics.js';

/** @typedef {import('./orders.js').Order} Order */

/**
 * @typedef {object} Received
 * @property {number} stream
 * @property {number} bytes Of the body
 * @property {string} sha256
 * @property {boolean} ended The response came to its end
 */

/**
 * @typedef {object} Target
 * @property {number} port
 * @property {Record<string, string>} headers
 */

/** How many ask for a stream at the same time. */
const OPENING = 100;

/** @type {Client[]} */
let clients = [];

/** One request, and the account of its response. */
class Client {
  #hash = createHash('sha256');
  #bytes = 0;
  #ended = false;
  /** What has come of an event that is not there as a whole. */
  #rest = '';
  /** @type {number[]} Microseconds on the way, of each event that says when it was sent */
  latencies = [];
  /** Resolves at the first bytes of the body of a 200; of one that is not read, at its head. */
  opened;
  /** Resolves when nothing comes any more. */
  closed;
  /** Microseconds from the request to the first bytes of the body. */
  firstByte = 0;

  /**
   * @param {Target} target
   * @param {Order} order
   * @param {http.Agent | false} agent
   * @param {{ size?: number, reads?: boolean }} [how]
   */
  constructor({ port, headers }, order, agent, { size, reads = true } = {}) {
    this.order = order;
    const body = requestBody(order, size);
    const started = now();
    this.req = http.request({
      ...{ host: '127.0.0.1', port, agent, method: 'POST', path: '/v1/chat/completions' },
      headers: { 'content-type': 'application/json', 'content-length': body.length, ...headers },
    });
    this.req.end(body);
    this.opened = /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        this.req.once('response', (res) => {
          if (res.statusCode !== 200) return;
          if (!reads) return resolve();
          res.once('data', () => {
            this.firstByte = now() - started;
            resolve();
          });
        });
      })
    );
    this.closed = /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        this.req.once('close', resolve);
        this.req.on('error', () => {});
        this.req.once('response', (res) => {
          res.on('error', () => {});
          if (!reads) return;
          res.on('data', (/** @type {Buffer} */ chunk) => this.#read(chunk));
          res.once('end', () => {
            this.#ended = res.complete && res.statusCode === 200;
          });
        });
      })
    );
  }

  /** @param {Buffer} chunk */
  #read(chunk) {
    const arrived = now();
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
    if (this.order.kind !== 'paced') return;
    const events = (this.#rest + chunk.toString('latin1')).split('\n\n');
    this.#rest = events.pop() ?? '';
    for (const event of events) {
      const [, sent] = /"sent":(\d+)/.exec(event) ?? [];
      if (sent !== undefined) this.latencies.push(arrived - Number(sent));
    }
  }

  /** @returns {Received} */
  account() {
    return { stream: this.order.stream, bytes: this.#bytes, sha256: this.#hash.digest('hex'), ended: this.#ended };
  }
}

/** A client's connection stays open for its next request, as a browser's or an SDK's does. */
function keepAlive() {
  return new http.Agent({ keepAlive: true });
}

/**
 * Opens streams, and waits for the first event of each. Those that have none when nothing has opened for `patience` ms are
 * given up.
 *
 * @param {Target} target
 * @param {Order[]} orders
 * @param {{ patience: number, reads?: boolean }} how
 * @returns {Promise<number>} how many are open
 */
async function open(target, orders, { patience, ...how }) {
  const agent = keepAlive();
  const waiting = [...orders];
  /** @type {Set<Client>} */
  const unopened = new Set();
  let last = now();
  let isGivenUp = false;
  const work = async () => {
    for (let order = waiting.shift(); order !== undefined && !isGivenUp; order = waiting.shift()) {
      const client = new Client(target, order, agent, how);
      unopened.add(client);
      const isOpen = await Promise.race([client.opened.then(() => true), client.closed.then(() => false)]);
      if (isGivenUp) return;
      unopened.delete(client);
      if (isOpen) {
        clients.push(client);
        last = now();
      }
    }
  };
  const all = Promise.all(Array.from({ length: OPENING }, work));
  const giveUp = async () => {
    while (now() - last < patience * 1000) await delay(20, undefined, { ref: false });
    isGivenUp = true;
  };
  await Promise.race([all, giveUp()]);
  isGivenUp = true;
  for (const { req } of unopened) req.destroy();
  return clients.length;
}

/** Reads all open streams to their ends. */
async function finish() {
  await Promise.all(clients.map(({ closed }) => closed));
  return {
    received: clients.map((client) => client.account()),
    latency: percentiles(clients.flatMap((c) => c.latencies)),
  };
}

/**
 * Has clients leave, one after the other.
 *
 * @param {number} spacing milliseconds
 * @returns {Promise<[stream: number, left: number][]>}
 */
async function leave(spacing) {
  /** @type {[number, number][]} */
  const left = [];
  for (const { req, order } of clients) {
    left.push([order.stream, now()]);
    req.destroy();
    await delay(spacing);
  }
  return left;
}

/** All that is still open ends. */
function reset() {
  for (const { req } of clients) req.destroy();
  clients = [];
}

/**
 * Makes requests, so many at a time, and reads what they bring.
 *
 * @param {Target} target
 * @param {Order[]} orders
 * @param {{ concurrency: number, size?: number, connections?: 'kept' | 'new' | 'closed' }} how With connections that are
 *   kept between requests, that are new for each, or that are new and say `Connection: close`
 */
async function request(target, orders, { concurrency, size, connections = 'kept' }) {
  const shared = keepAlive();
  const waiting = [...orders];
  /** @type {Received[]} */
  const received = [];
  /** @type {number[]} */
  const times = [];
  const work = async () => {
    for (let order = waiting.shift(); order !== undefined; order = waiting.shift()) {
      const own = connections === 'new' ? keepAlive() : undefined;
      const agent = connections === 'closed' ? false : (own ?? shared);
      const client = new Client(target, order, agent, size === undefined ? {} : { size });
      await client.closed;
      own?.destroy();
      received.push(client.account());
      if (client.firstByte > 0) times.push(client.firstByte);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  shared.destroy();
  return { received, firstByte: percentiles(times) };
}

/** @param {number[]} samples */
function percentiles(samples) {
  const sorted = samples.sort((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), 'p99.9': percentile(sorted, 0.999) };
}

serve({ open, finish, leave, reset, request });
