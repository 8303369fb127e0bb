// @ts-check
// The upstream of all subjects, in a process of its own: it sends what the order in the request says, and keeps account of
// what it has sent.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { orderOf } from './orders.js';
import { now, serve } from './process.js';

/**
 * @typedef {object} Sent
 * @property {number} stream
 * @property {number} bytes Of the body
 * @property {string} sha256
 * @property {number} [closed] When the connection was lost before the end: see `now()`
 */

/** @type {Map<number, Stream>} */
const streams = new Map();
let handshakes = 0;
let go = () => {};
/** @type {Promise<void>} */
let word;

class Stream {
  #hash = createHash('sha256');
  bytes = 0;
  /** @type {number | undefined} */
  closed;

  /**
   * @param {number} number
   * @param {http.ServerResponse} res
   */
  constructor(number, res) {
    this.number = number;
    this.res = res;
    res.once('close', () => {
      if (!res.writableFinished) this.closed = now();
    });
  }

  /** @param {Buffer} bytes */
  write(bytes) {
    this.#hash.update(bytes);
    this.bytes += bytes.length;
    return this.res.write(bytes);
  }

  /** @returns {Sent} */
  account() {
    const { number: stream, bytes, closed } = this;
    return { stream, bytes, sha256: this.#hash.copy().digest('hex'), ...(closed !== undefined && { closed }) };
  }
}

// --- what is sent -----------------------------------------------------------------------------------------------------

/**
 * @param {object} delta
 * @param {object} [more]
 */
function event(delta, more) {
  const chunk = {
    id: 'chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT',
    object: 'chat.completion.chunk',
    created: 1741569952,
    model: 'gpt-5-mini-2025-08-07',
    choices: [{ index: 0, delta, finish_reason: null }],
  };
  return Buffer.from(`data: ${JSON.stringify({ ...chunk, ...more })}\n\n`);
}

const OPENING = event({ role: 'assistant', content: '' });
const TOKENS = Array.from({ length: 97 }, (_, i) =>
  event({ content: ` ${'tokens of several lengths, 日本 included'.slice(i % 17, (i % 17) + 1 + ((i * 7) % 23))}` }),
);
const DONE = Buffer.from('data: [DONE]\n\n');
const ANSWER = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    choices: [{ message: { content: 'x'.repeat(1000) } }],
  }),
);

/** @type {Record<import('./orders.js').Order['kind'], (stream: Stream, order: import('./orders.js').Order) => unknown>} */
const KINDS = {
  /** Each event has the time in it at which it was sent. */
  async paced(stream, { events = 0, interval = 0 }) {
    stream.write(OPENING);
    await word;
    // Streams do not tick in step.
    await delay((stream.number * 7) % interval);
    let sent = 0;
    const timer = setInterval(() => {
      if (stream.res.destroyed) clearInterval(timer);
      else if (sent < events) {
        sent += 1;
        stream.write(event({ content: ' token' }, { sent: Math.round(now()) }));
      } else {
        clearInterval(timer);
        end(stream);
      }
    }, interval);
  },

  async burst(stream, { events = 0, perWrite = 1 }) {
    stream.write(OPENING);
    await word;
    for (let i = 0; i < events && !stream.res.destroyed; i += perWrite) {
      if (!stream.write(block(i, Math.min(perWrite, events - i)))) await drained(stream.res);
    }
    end(stream);
  },

  silent(stream) {
    stream.write(OPENING);
  },

  async flood(stream, { events = 0 }) {
    const perWrite = 16;
    stream.write(OPENING);
    for (let i = 0; i < events && !stream.res.destroyed; i += perWrite) {
      if (!stream.write(block(i, perWrite))) await drained(stream.res);
    }
  },

  once(stream) {
    stream.write(OPENING);
    end(stream);
  },

  json(stream) {
    stream.res.setHeader('content-length', ANSWER.length);
    stream.write(ANSWER);
    stream.res.end();
  },
};

/** @param {Stream} stream */
function end(stream) {
  stream.write(DONE);
  stream.res.end();
}

/**
 * @param {number} from
 * @param {number} count
 */
function block(from, count) {
  return Buffer.concat(Array.from({ length: count }, (_, i) => TOKENS[(from + i) % TOKENS.length] ?? DONE));
}

/**
 * @param {http.ServerResponse} res
 * @returns {Promise<void>}
 */
function drained(res) {
  return new Promise((resolve) => {
    const settle = () => {
      res.off('drain', settle).off('close', settle);
      resolve();
    };
    res.on('drain', settle).on('close', settle);
  });
}

// --- the server -------------------------------------------------------------------------------------------------------

/**
 * @param {http.IncomingMessage} req
 * @param {http.ServerResponse} res
 */
async function answer(req, res) {
  res.on('error', () => {});
  try {
    const order = orderOf(await buffer(req));
    const stream = new Stream(order.stream, res);
    streams.set(order.stream, stream);
    res.setHeader('content-type', order.kind === 'json' ? 'application/json' : 'text/event-stream');
    await KINDS[order.kind](stream, order);
  } catch (error) {
    if (req.destroyed) return;
    res.statusCode = 400;
    res.end(String(error));
  }
}

function reset() {
  for (const { res } of streams.values()) res.destroy();
  streams.clear();
  handshakes = 0;
  word = new Promise((resolve) => {
    go = () => resolve();
  });
}

const { UPSTREAM_KEY: key, UPSTREAM_CERT: cert } = process.env;
const server =
  key === undefined || cert === undefined ? http.createServer(answer) : https.createServer({ key, cert }, answer);
server.on('secureConnection', () => {
  handshakes += 1;
});
// A kept-alive connection is not to be closed under a subject.
server.keepAliveTimeout = 120_000;
server.requestTimeout = 0;
reset();

serve({
  async listen() {
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
    await once(server, 'listening');
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    return `${key === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  },
  /** Forgets what was, and closes what is still open of it. */
  reset,
  /** Has paced streams and bursts begin. */
  go: () => go(),
  account: () => [...streams.values()].map((stream) => stream.account()),
  /** Bytes that the next hop has taken. */
  taken: () => [...streams.values()].reduce((sum, { res, bytes }) => sum + bytes - res.writableLength, 0),
  handshakes: () => handshakes,
});
