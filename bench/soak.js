// @ts-check
// Many exchanges in which anything may go wrong, and nothing may be left of them:
// `npm run build && node --expose-gc bench/soak.js`, with `EXCHANGES` (10,000) and `SEED`, which repeats what another run drew.
//
// Each exchange draws a proxy (plain, observed, transformed, ...), what its upstream does, and what its client does. Proxies,
// upstreams and clients are in this process, so that whatever any of them leaves behind is seen. Checked for each exchange:
// one summary, which says what the client has seen; a client that got a whole response got the whole answer, and one that did
// not has a beginning of it, byte for byte. Checked at the end: sockets, timers and listeners are as many as in the beginning,
// and so is the heap.
import { randomInt } from 'node:crypto';
import dns from 'node:dns';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import express from 'express';
import { createSseProxy } from '../dist/index.js';
import { openaiCompatible } from '../dist/providers/index.js';

/** @typedef {import('../dist/index.js').SseProxyOptions} SseProxyOptions */
/** @typedef {import('../dist/index.js').StreamSummary} StreamSummary */

const SEED = Number(process.env.SEED ?? randomInt(2 ** 31));
const EXCHANGES = Number(process.env.EXCHANGES ?? 10_000);
const CONCURRENCY = 50;
/** What is made once, is made by these. */
const WARM_UP = 500;
/** These meet proxies that are drained. */
const LAST_ONES = 200;
/** No exchange takes so long. Milliseconds. */
const DEADLINE = 20_000;
/** How much the heap may seem to grow in the second half. */
const FLAT = 1.1;
/** Problems, to know that there are some. */
const ENOUGH = 50;

/** Long enough for whatever is no fault, with all of it on one event loop. */
const TIMEOUTS = { connect: 1000, headers: 1000, idle: 1000, drain: 1000 };
/** Of these streams more is sent than all buffers on the way can hold. */
const FLOOD = 16 * 1024 * 1024;
const FLOOD_EVENT = 512 * 1024;
const NO_SUCH_NAME = 'does-not-exist.invalid';

// --- what happens in an exchange --------------------------------------------------------------------------------------

const CONNECT_FAULTS = /** @type {const} */ (['refused', 'no such name', 'no TLS', 'stalled handshake']);
const SOCKET_FAULTS = /** @type {const} */ (['stall', 'reset', 'garbage', 'short body', 'close', 'half-close']);
const ANSWERS = /** @type {const} */ (['whole', 'status', 'error event', 'stale connection']);

/**
 * @typedef {object} Plan
 * @property {number} id
 * @property {string} proxy
 * @property {typeof CONNECT_FAULTS[number] | typeof SOCKET_FAULTS[number] | typeof ANSWERS[number]} upstream
 * @property {number} times How many attempts meet that; those that follow get an answer
 * @property {'upload' | 'head' | 'body'} at Where a connection breaks
 * @property {number} events How many the answer has
 * @property {number} after How many of them come before a connection breaks
 * @property {boolean} inEvent It breaks in the middle of the next
 * @property {number} pace Milliseconds between two events; 0 for a turn of the event loop, -1 for none
 * @property {'reads' | 'pauses' | 'stops' | 'leaves'} client
 * @property {'arrival' | 'upload' | 'head' | 'event'} leavesAt
 * @property {boolean} resets How it leaves
 * @property {'GET' | 'POST' | 'HEAD'} method
 * @property {boolean} isHttp2 Of the client
 * @property {boolean} isUpgrade A WebSocket, which its upstream or its client ends
 * @property {number} uploadPace Milliseconds between two pieces of a request's body; 0 for one piece
 * @property {boolean} keepAlive
 * @property {boolean} hookThrows
 */

/** mulberry32: the same numbers for the same seed. */
let state = SEED;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

/**
 * @template T
 * @param {readonly T[]} choices
 * @returns {T}
 */
function pick(choices) {
  return /** @type {T} */ (choices[Math.floor(random() * choices.length)]);
}

/**
 * @param {number} id
 * @returns {Plan}
 */
function draw(id) {
  const events = 1 + Math.floor(random() * 20);
  const plan = /** @type {Plan} */ ({
    id,
    proxy: pick(Object.keys(PROXIES)),
    upstream: pick([...CONNECT_FAULTS, ...SOCKET_FAULTS, ...SOCKET_FAULTS.slice(1), ...ANSWERS, ...ANSWERS]),
    times: pick([1, 1, 2, 9]),
    at: pick(['upload', 'head', 'body', 'body', 'body']),
    events,
    after: Math.floor(random() * (events + 1)),
    inEvent: random() < 0.3,
    pace: pick([-1, 0, 0, 1, 3]),
    client: pick(['reads', 'reads', 'reads', 'pauses', 'leaves']),
    leavesAt: pick(['arrival', 'upload', 'head', 'event']),
    resets: random() < 0.5,
    method: pick(['GET', 'POST', 'POST', 'POST', 'HEAD']),
    isHttp2: random() < 0.25,
    isUpgrade: random() < 0.03,
    uploadPace: pick([0, 0, 1, 4]),
    keepAlive: random() < 0.6,
    hookThrows: random() < 0.1,
  });
  if (random() >= 0.003) return plan;
  const proxy = pick(['plain', 'observed', 'transformed']);
  return {
    ...plan,
    proxy,
    upstream: 'whole',
    events: FLOOD / FLOOD_EVENT,
    pace: -1,
    client: 'stops',
    method: 'POST',
    isHttp2: false,
    isUpgrade: false,
  };
}

/**
 * @param {Plan} plan
 * @param {number} i
 */
function event({ id, client }, i) {
  const text = client === 'stops' ? 'x'.repeat(FLOOD_EVENT) : 'é🙂 '.repeat(1 + ((id + i) % 40));
  const content = `${id}.${i} ${text}`;
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;
}

const USAGE = { prompt_tokens: 3, completion_tokens: 2 };
const LAST = `data: ${JSON.stringify({ choices: [], usage: USAGE })}\n\ndata: [DONE]\n\n`;
const ERROR = `data: ${JSON.stringify({ error: { message: 'overloaded', code: 503 } })}\n\n`;
const PING = ': ping\n\n';

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket' };
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/**
 * The whole answer, as the client is to get it.
 *
 * @param {Plan} plan
 */
function answerTo(plan) {
  const answer = Array.from({ length: plan.events }, (_, i) => event(plan, i)).join('') + LAST;
  return plan.proxy === 'transformed' ? marked(answer) : answer;
}

/** @param {string} events */
function marked(events) {
  return events.replaceAll(/^data: /gm, 'data: ~');
}

// --- upstreams --------------------------------------------------------------------------------------------------------

/** @type {Map<string, Exchange>} by what the requests have in `x-soak` */
const exchanges = new Map();

const upstream = http.createServer(
  quietly(async (req, res) => {
    const exchange = exchangeOf(req);
    const { plan } = exchange;
    const { socket } = req;
    const fails = exchange.tries <= plan.times;
    const breaks = fails && isOneOf(SOCKET_FAULTS, plan.upstream);
    if (breaks && plan.at === 'upload') {
      if (plan.method === 'POST') await once(req, 'data');
      return strike(plan, socket);
    }
    for await (const _ of req);
    if (plan.proxy === 'redirected' && !req.url?.startsWith('/again')) {
      res.writeHead(307, { location: `/again${req.url}` }).end();
      return;
    }
    if (breaks && plan.at === 'head') return strike(plan, socket);
    if (fails && plan.upstream === 'status') {
      res.writeHead(503, { 'retry-after-ms': '1', 'content-type': 'application/json' }).end('{"error":{}}');
      return;
    }
    const size = breaks && plan.upstream === 'short body' ? { 'content-length': String(FLOOD) } : {};
    res.writeHead(200, { 'content-type': 'text/event-stream', ...size }).flushHeaders();
    if (plan.method === 'HEAD') {
      res.end();
      return;
    }
    if (fails && plan.upstream === 'error event') {
      res.end(ERROR);
      return;
    }
    const count = breaks ? plan.after : plan.events;
    for (let i = 0; i < count && !res.destroyed; i += 1) {
      res.write(event(plan, i));
      if (plan.pace > 0) await delay(plan.pace);
      else if (plan.pace === 0) await turn();
    }
    if (breaks) {
      const half = Buffer.from(plan.after < plan.events ? event(plan, plan.after) : LAST);
      res.write(half.subarray(0, plan.inEvent ? half.length / 2 : 0), () => strike(plan, socket));
      return;
    }
    res.end(LAST);
    if (fails && plan.upstream === 'stale connection') res.once('finish', () => setImmediate(() => socket.destroy()));
  }),
);

// A tunnel that sends back what it is sent.
upstream.on('upgrade', (req, socket) => {
  socket.on('error', () => {}).on('data', (data) => void (socket.writable && socket.write(data)));
  socket.once('end', () => socket.end());
  socket.write(SWITCHED);
  const { plan } = exchangeOf(req);
  if (plan.client !== 'leaves') setTimeout(() => (plan.resets ? socket.destroy() : socket.end()), plan.events);
});

/**
 * @param {Plan} plan
 * @param {net.Socket} socket
 */
function strike(plan, socket) {
  if (plan.upstream === 'reset') socket.resetAndDestroy();
  else if (plan.upstream === 'garbage') socket.write('SSH-2.0-OpenSSH_9.6\r\n\r\n');
  else if (plan.upstream === 'half-close') socket.end();
  else if (plan.upstream !== 'stall') socket.destroy();
}

// A resolver may take its time, and cannot be told to stop.
const { lookup } = dns;
const neverFound = (/** @type {unknown[]} */ ...args) => {
  if (args[0] !== NO_SUCH_NAME) return Reflect.apply(lookup, dns, args);
  const callback = /** @type {(error: Error) => void} */ (args.at(-1));
  setImmediate(callback, Object.assign(new Error('No such name'), { code: 'ENOTFOUND' }));
};
dns.lookup = /** @type {typeof lookup} */ (neverFound);

/** Takes connections, and says nothing. */
const silent = net.createServer((socket) => void socket.on('error', () => {}).resume());

/**
 * Where the next attempt goes, as `router` is asked.
 *
 * @param {http.IncomingMessage} req
 */
function route(req) {
  const exchange = exchangeOf(req);
  exchange.tries += 1;
  const fault = exchange.tries <= exchange.plan.times ? exchange.plan.upstream : undefined;
  if (fault === 'refused') return `http://127.0.0.1:${closedPort}`;
  if (fault === 'no such name') return `http://${NO_SUCH_NAME}`;
  if (fault === 'no TLS') return `https://127.0.0.1:${portOf(upstream)}`;
  if (fault === 'stalled handshake') return `https://127.0.0.1:${portOf(silent)}`;
  return target;
}

// --- proxies ----------------------------------------------------------------------------------------------------------

await listen(upstream);
await listen(silent);
const closedPort = await aClosedPort();
const target = `http://127.0.0.1:${portOf(upstream)}`;
const provider = openaiCompatible({ name: 'soak', target, apiKey: false });
const retry = { maxRetries: 2, minTimeout: 1, methods: ['GET', 'POST'] };

/** @type {Record<string, SseProxyOptions>} */
const PROXIES = {
  plain: {},
  observed: { provider, onEvent() {}, onUsage: (_usage, { req }) => void exchangeOf(req).usages++ },
  transformed: {
    async transformEvent({ data }, { req }) {
      const { plan } = exchangeOf(req);
      if (plan.hookThrows && data === '[DONE]') throw new Error('as planned');
      if (plan.id % 2 === 0) await turn();
      return { data: `~${data}` };
    },
  },
  heartbeat: { heartbeat: { interval: 2 } },
  retry: { retry },
  fallback: { retry: { ...retry, maxRetries: 1 }, fallbacks: [`http://127.0.0.1:${closedPort}`, target] },
  commit: { provider, commit: 'first-event', retry },
  limited: { limits: { concurrency: 4, queue: { size: 2, timeout: 50 } } },
  continued: { provider, onClientClose: 'continue' },
  redirected: { followRedirects: true },
  allowed: { allow: ['GET /v1/chat/completions'] },
  answered: {
    on: {
      error(_error, _req, res) {
        if ('writeHead' in res && !res.headersSent) res.writeHead(418).end('{"error":{}}');
      },
    },
  },
  'handed over': {
    selfHandleResponse: true,
    // The proxy's own deadlines end where the response is handed over.
    proxyTimeout: TIMEOUTS.idle,
    on: {
      proxyRes(response, _req, res) {
        res.statusCode = response.statusCode ?? 0;
        response.pipe(res);
      },
    },
  },
};

/** @type {Record<string, number>} */
const outcomes = {};
/** @type {string[]} */
const problems = [];

const app = express();
/** @type {Map<string, ReturnType<typeof createSseProxy>>} */
const proxiesByName = new Map();
const proxies = Object.entries(PROXIES).map(([name, options]) => {
  const proxy = createSseProxy({
    target,
    router: route,
    timeouts: TIMEOUTS,
    ...options,
    onFinish: (summary, { req }) => exchangeOf(req).finished(summary),
  });
  proxiesByName.set(name, proxy);
  app.use(`/${encodeURIComponent(name)}`, (req, _res, next) => {
    exchangeOf(req).arrived();
    next();
  });
  app.use(`/${encodeURIComponent(name)}`, proxy);
  return proxy;
});
const server = http.createServer(app);
server.on('upgrade', (req, socket, head) => {
  exchangeOf(req).arrived();
  proxyOf(req).upgrade(req, /** @type {net.Socket} */ (socket), head);
});
await listen(server);
const http2Server = http2.createServer((req, res) => {
  const message = /** @type {http.IncomingMessage} */ (/** @type {unknown} */ (req));
  exchangeOf(message).arrived();
  void proxyOf(message)(message, /** @type {http.ServerResponse} */ (/** @type {unknown} */ (res)));
});
await listen(http2Server);

/**
 * The proxy that a request names, whose URL loses that name, as in Express.
 *
 * @param {http.IncomingMessage} req
 */
function proxyOf(req) {
  const [, name = '', ...rest] = (req.url ?? '').split('/');
  req.url = `/${rest.join('/')}`;
  const proxy = proxiesByName.get(decodeURIComponent(name));
  if (proxy === undefined) throw new Error(`There is no proxy ${name}`);
  return proxy;
}

// --- one exchange -----------------------------------------------------------------------------------------------------

class Exchange {
  tries = 0;
  usages = 0;
  /** @type {StreamSummary[]} */
  summaries = [];
  arrived = () => {};
  settled = () => {};
  /** The proxy has the request. */
  arrival = new Promise((resolve) => {
    this.arrived = () => resolve(undefined);
  });
  /** The proxy is done with it. */
  end = new Promise((resolve) => {
    this.settled = () => resolve(undefined);
  });

  /** @param {Plan} plan */
  constructor(plan) {
    this.plan = plan;
  }

  /** @param {StreamSummary} summary */
  finished(summary) {
    this.summaries.push(summary);
    outcomes[summary.outcome] = (outcomes[summary.outcome] ?? 0) + 1;
    this.settled();
  }

  /** @param {string} what */
  complain(what) {
    problems.push(`${what}: ${JSON.stringify({ plan: this.plan, summaries: this.summaries })}`);
  }
}

/** @param {http.IncomingMessage} req */
function exchangeOf(req) {
  const exchange = exchanges.get(String(req.headers['x-soak']));
  if (exchange === undefined) throw new Error('Something happened to an exchange that had ended');
  return exchange;
}

/**
 * @param {Plan} plan
 * @param {Clients} clients
 */
async function run(plan, { agent, session }) {
  const exchange = new Exchange(plan);
  exchanges.set(String(plan.id), exchange);
  /** @param {Exchange} it */
  const askAs = (it) => {
    if (plan.isUpgrade) return upgrade(it);
    return plan.isHttp2 ? askHttp2(it, session) : ask(it, agent);
  };
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, DEADLINE);
  });
  const seen = await Promise.race([late, Promise.all([askAs(exchange), exchange.end]).then(([all]) => all)]);
  clearTimeout(timer);
  if (seen === undefined) exchange.complain('Takes too long');
  else check(exchange, /** @type {Seen} */ (seen));
}

/** @typedef {{ agent: http.Agent, session: http2.ClientHttp2Session }} Clients */

/**
 * @typedef {object} Seen What a client has seen of its response
 * @property {boolean} left
 * @property {{ statusCode?: number | undefined, complete: boolean }} [response]
 * @property {string} body
 */

/**
 * @param {Exchange} exchange
 * @param {http.Agent} agent
 * @returns {Promise<Seen>}
 */
async function ask({ plan, arrival, end }, agent) {
  const req = http.request({
    port: portOf(server),
    host: '127.0.0.1',
    path: pathOf(plan),
    method: plan.method,
    headers: { 'x-soak': String(plan.id), 'content-type': 'application/json' },
    agent: plan.keepAlive ? agent : false,
  });
  /** @type {Seen} */
  const seen = { left: false, body: '' };
  const leave = (/** @type {Plan['leavesAt']} */ at) => {
    if (plan.client !== 'leaves' || plan.leavesAt !== at || seen.left) return;
    seen.left = true;
    // What was never there leaves no trace.
    void arrival.then(turn).then(() => {
      // It has its response, and another may have its connection.
      if (req.destroyed) return;
      if (plan.resets) req.socket?.resetAndDestroy();
      req.destroy();
    });
  };
  const closed = closing(req);
  /** Later than the request, where some of it is still to be read. */
  let responseClosed = Promise.resolve();
  /** @type {Buffer[]} */
  const chunks = [];
  req.once('response', (response) => {
    seen.response = response;
    responseClosed = closing(response);
    leave('head');
    if (plan.client === 'stops') {
      // Its connection was cut, and it would notice when it reads.
      void end.then(() => req.destroy());
      return;
    }
    response.on('data', (chunk) => {
      chunks.push(chunk);
      leave('event');
      if (plan.client !== 'pauses' || chunks.length > 2) return;
      response.pause();
      setTimeout(() => response.resume(), 2);
    });
  });
  leave('arrival');
  await upload(plan, req, leave);
  await closed;
  await responseClosed;
  seen.body = Buffer.concat(chunks).toString();
  return seen;
}

/** @param {Plan} plan */
function pathOf({ proxy }) {
  return `/${encodeURIComponent(proxy)}/v1/chat/completions`;
}

/**
 * @param {Exchange} exchange
 * @param {http2.ClientHttp2Session} session
 * @returns {Promise<Seen>}
 */
async function askHttp2({ plan, arrival }, session) {
  const stream = session.request(
    { ':method': plan.method, ':path': pathOf(plan), 'x-soak': String(plan.id), 'content-type': 'application/json' },
    { endStream: plan.method !== 'POST' },
  );
  /** @type {Seen} */
  const seen = { left: false, body: '' };
  const leave = (/** @type {Plan['leavesAt']} */ at) => {
    if (plan.client !== 'leaves' || plan.leavesAt !== at || seen.left) return;
    seen.left = true;
    void arrival.then(turn).then(() => stream.close(http2.constants.NGHTTP2_CANCEL));
  };
  const closed = new Promise((resolve) => stream.on('error', () => {}).once('close', resolve));
  /** @type {Buffer[]} */
  const chunks = [];
  let statusCode = 0;
  stream.once('response', (head) => {
    statusCode = Number(head[':status']);
    leave('head');
  });
  stream.on('data', (chunk) => {
    chunks.push(chunk);
    leave('event');
    if (plan.client !== 'pauses' || chunks.length > 2) return;
    stream.pause();
    setTimeout(() => stream.resume(), 2);
  });
  leave('arrival');
  if (plan.method === 'POST') await upload(plan, stream, leave);
  await closed;
  seen.body = Buffer.concat(chunks).toString();
  if (statusCode > 0) seen.response = { statusCode, complete: stream.rstCode === http2.constants.NGHTTP2_NO_ERROR };
  return seen;
}

/**
 * A WebSocket of which nothing is checked but that it opens, or fails with an answer, and ends.
 *
 * @param {Exchange} exchange
 * @returns {Promise<Seen>}
 */
async function upgrade({ plan, arrival }) {
  const headers = { ...UPGRADE, 'x-soak': String(plan.id) };
  const req = http.request({ port: portOf(server), host: '127.0.0.1', path: pathOf(plan), headers, agent: false });
  req.end();
  const closed = new Promise((resolve) => {
    req.on('error', () => {}).once('close', resolve);
    req.once('response', (response) => closing(response.resume()).then(resolve));
    req.once('upgrade', (_response, socket) => {
      socket
        .on('error', () => {})
        .resume()
        .once('close', resolve);
      socket.once('end', () => socket.end());
      socket.write('some bytes');
      if (plan.client === 'leaves') setTimeout(() => socket.destroy(), plan.events);
    });
  });
  if (plan.client === 'leaves' && plan.leavesAt === 'arrival') void arrival.then(turn).then(() => req.destroy());
  await closed;
  // What it has seen is no answer of the kind that is checked.
  return { left: true, body: '' };
}

/**
 * Resolves when it has closed, with an error or without.
 *
 * @param {http.ClientRequest | http.IncomingMessage} message
 * @returns {Promise<void>}
 */
function closing(message) {
  return new Promise((resolve) => message.on('error', () => {}).once('close', () => resolve()));
}

/**
 * @param {Plan} plan
 * @param {http.ClientRequest | http2.ClientHttp2Stream} req
 * @param {(at: Plan['leavesAt']) => void} leave
 */
async function upload({ method, uploadPace }, req, leave) {
  if (method !== 'POST') {
    req.end();
    return;
  }
  for (let i = 0; i < 4; i += 1) {
    req.write(' '.repeat(5000));
    if (i === 1) leave('upload');
    if (uploadPace > 0) await delay(uploadPace);
  }
  req.end('{"stream":true}');
}

/**
 * @param {Exchange} exchange
 * @param {Seen} seen
 */
function check(exchange, { left, response, body }) {
  const { plan, summaries, usages } = exchange;
  const [summary] = summaries;
  if (summary === undefined) return exchange.complain('Has no summary');
  if (plan.proxy === 'observed' && usages > 1) exchange.complain('Has its usage reported more than once');
  if (left || plan.client === 'stops') return;
  if (response === undefined) {
    exchange.complain('Has no response, and has not left');
    return;
  }
  const { statusCode, complete } = response;
  if (summary.outcome === 'client-closed') exchange.complain('Is said to have left');
  if (summary.statusCode !== statusCode) exchange.complain(`Has the status ${statusCode}`);
  if (statusCode === 200) {
    // One that is drained may have been written to its end.
    // An error event inside a 200 passes as it came, and the stream ends behind it.
    const isToldInside = summary.error?.code === 'UPSTREAM_ERROR_EVENT';
    const mayBeWhole = summary.outcome === 'drained' || summary.outcome === 'completed' || isToldInside;
    if (complete ? !mayBeWhole : summary.outcome === 'completed')
      exchange.complain(`Is ${complete ? '' : 'not '}complete`);
    if (plan.method === 'HEAD') {
      if (body !== '') exchange.complain('Has a body');
      return;
    }
    if (complete && plan.proxy === 'handed over' && summary.bytes !== Buffer.byteLength(body)) {
      exchange.complain(`Has ${Buffer.byteLength(body)} bytes`);
    }
    if (!isHonest(plan, body, complete)) exchange.complain(`Has the wrong bytes (${JSON.stringify(body)})`);
  } else if (plan.method === 'HEAD') {
    if (!complete || body !== '') exchange.complain('Has a bad answer to HEAD');
  } else if (!complete || typeof JSON.parse(body).error !== 'object') {
    exchange.complain(`Has a bad error response (${body})`);
  }
}

/**
 * @param {Plan} plan
 * @param {string} body
 * @param {boolean} complete
 */
function isHonest(plan, body, complete) {
  const answers = [answerTo(plan), ...(plan.upstream === 'error event' ? [ERROR, marked(ERROR)] : [])];
  const got = body.replaceAll(PING, '');
  if (complete) return answers.includes(got);
  const beginning = got
    .replace(/retry: \d+\n\n$/, '')
    .replace(/data: \{"error":.*\n\n$/, '')
    .replace(/\ufffd+$/, '');
  return answers.some((answer) => answer.startsWith(beginning));
}

// --- the run ----------------------------------------------------------------------------------------------------------

for (const name of ['unhandledRejection', 'uncaughtException', 'warning']) {
  process.on(name, (what) => problems.push(`${name}: ${what instanceof Error ? what.stack : what}`));
}

console.error(`SEED=${SEED}`);
const startedAt = performance.now();
let drawn = 0;
await runUntil(Math.min(WARM_UP, EXCHANGES / 10));
const baseline = await rest();
await runUntil(EXCHANGES / 2);
const half = await rest();
await runUntil(EXCHANGES - LAST_ONES);
const last = runUntil(EXCHANGES);
// Some have begun, and some are still to come.
await until('the last exchanges', () => drawn > EXCHANGES - LAST_ONES / 2);
await Promise.all([last, ...proxies.map((proxy) => proxy.drain({ grace: 1 }))]);
const end = await rest();

if (end.heap > half.heap * FLAT) problems.push(`The heap has grown from ${half.heap} to ${end.heap} bytes`);
const over = Object.keys({ ...baseline.counts, ...end.counts })
  .map((name) => [name, (end.counts[name] ?? 0) - (baseline.counts[name] ?? 0)])
  .filter(([, count]) => count !== 0);
const report = {
  seed: SEED,
  exchanges: drawn,
  outcomes,
  seconds: Math.round((performance.now() - startedAt) / 1000),
  /** More, or fewer, of these than before. */
  over: Object.fromEntries(over),
  heap: { baseline: baseline.heap, half: half.heap, end: end.heap },
  problems,
};
const isFine = problems.length === 0 && over.length === 0;
// Whatever was left behind would keep the process from ending.
process.stdout.write(`${JSON.stringify(report, null, 2)}\n`, () => process.exit(isFine ? 0 : 1));

/** @param {number} count */
async function runUntil(count) {
  const agent = new http.Agent({ keepAlive: true });
  const session = http2.connect(`http://127.0.0.1:${portOf(http2Server)}`);
  session.on('error', (error) => problems.push(`The session: ${error.stack}`));
  const work = async () => {
    while (drawn < count && problems.length < ENOUGH) {
      drawn += 1;
      await run(draw(drawn), { agent, session });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  agent.destroy();
  session.destroy();
}

/** Waits until nothing happens any more; says what is there then. */
async function rest() {
  await until('exchanges', () => proxies.every(({ active }) => active === 0));
  await until(
    'connections of clients',
    async () =>
      (await connections(server)) +
        (await connections(/** @type {net.Server} */ (/** @type {unknown} */ (http2Server)))) ===
      0,
  );
  upstream.closeIdleConnections();
  await until(
    'connections of upstreams',
    async () => (await connections(upstream)) + (await connections(silent)) === 0,
  );
  await until('sockets', () => !process.getActiveResourcesInfo().includes('TCPSocketWrap'));
  // A summary too many would have come by now.
  for (const exchange of exchanges.values()) {
    if (exchange.summaries.length > 1) exchange.complain('Has more than one summary');
  }
  exchanges.clear();
  return { counts: countAll(), heap: await settledHeap() };
}

function countAll() {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1;
  for (const [name, emitter] of Object.entries({ process, server, http2Server, upstream, silent })) {
    for (const event of emitter.eventNames()) {
      counts[`${name} ${String(event)}`] = emitter.listenerCount(String(event));
    }
  }
  return counts;
}

/** In bytes, with everything collected that can be. */
async function settledHeap() {
  if (globalThis.gc === undefined) throw new Error('Run with --expose-gc');
  let heap = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 10; i += 1) {
    await delay(20);
    globalThis.gc();
    heap = Math.min(heap, process.memoryUsage().heapUsed);
  }
  return heap;
}

/**
 * @param {string} what
 * @param {() => boolean | Promise<boolean>} condition
 */
async function until(what, condition) {
  for (let i = 0; i < 1000; i += 1) {
    if (await condition()) return;
    await delay(10);
  }
  problems.push(`There are still ${what}`);
}

/** @param {net.Server} of */
async function connections(of) {
  return new Promise((resolve, reject) => {
    of.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

/** @param {net.Server} of */
async function listen(of) {
  of.listen(0, '127.0.0.1');
  await once(of, 'listening');
}

/** @param {net.Server} of */
function portOf(of) {
  return /** @type {net.AddressInfo} */ (of.address()).port;
}

async function aClosedPort() {
  const closing = net.createServer();
  await listen(closing);
  const port = portOf(closing);
  closing.close();
  await once(closing, 'close');
  return port;
}

/**
 * A listener whose request may break off at any time.
 *
 * @param {(req: http.IncomingMessage, res: http.ServerResponse) => Promise<void>} listener
 * @returns {http.RequestListener}
 */
function quietly(listener) {
  return (req, res) => {
    res.on('error', () => {});
    listener(req, res).catch((error) => {
      if (!req.destroyed && !res.destroyed) problems.push(`In the upstream: ${error.stack}`);
    });
  };
}

/**
 * @template {string} T
 * @param {readonly T[]} choices
 * @param {string} value
 * @returns {value is T}
 */
function isOneOf(choices, value) {
  return choices.some((choice) => choice === value);
}
