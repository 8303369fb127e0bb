// @ts-check
// The figures of the streaming core: `npm run build && node bench/core.js`. The proxy runs in a process of its own, so that
// its memory is its own; what is timed is timed from here, over 127.0.0.1.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

const ROUNDS = 200;
const READERS = 50;
const MIB = 1024 * 1024;

if (process.argv[2] === 'proxy') await runProxy(process.argv[3] ?? '');
else await measure();

/** @param {string} target */
async function runProxy(target) {
  const { default: express } = await import('express');
  const { createSseProxy } = await import('express-sse-proxy');
  const server = express().use(createSseProxy({ target })).listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.on('message', () => {
    globalThis.gc?.();
    process.send?.({ rss: process.memoryUsage().rss });
  });
  process.send?.({ port: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
}

async function measure() {
  /** @type {Map<string, http.RequestListener>} */
  const routes = new Map();
  const upstream = http.createServer((req, res) => routes.get(req.url ?? '')?.(req, res));
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const { port: upstreamPort } = /** @type {import('node:net').AddressInfo} */ (upstream.address());
  const proxy = fork(fileURLToPath(import.meta.url), ['proxy', `http://127.0.0.1:${upstreamPort}`], {
    execArgv: ['--expose-gc'],
  });
  const [{ port }] = await once(proxy, 'message');
  const agent = new http.Agent({ keepAlive: true });
  const rss = async () => {
    proxy.send('memory');
    const [message] = await once(proxy, 'message');
    return /** @type {number} */ (message.rss);
  };

  routes.set('/silent', (_req, res) => res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders());
  for (const [name, to] of /** @type {const} */ ([
    ['head of a silent stream, direct', upstreamPort],
    ['head of a silent stream, through the proxy', port],
  ])) {
    print(name, await times(() => headLatency(to, agent)));
  }
  print('client abort to upstream close, silent', await times(() => abortLatency(routes, port, false)));
  print('client abort to upstream close, flowing', await times(() => abortLatency(routes, port, true)));

  const beforeUpload = await rss();
  const { peak, received } = await upload(routes, port, 50 * MIB, rss);
  console.log(
    `50 MiB upload: ${received === 50 * MIB ? 'whole' : 'NOT whole'}, RSS grew ${mib(peak - beforeUpload)} at most`,
  );

  const beforeReader = await rss();
  const { taken, grown } = await stoppedReaders(routes, port, rss, beforeReader);
  console.log(
    `${READERS} readers that stop: ${mib(taken)} each taken from the upstream (the kernel's buffers), RSS grew ${mib(grown)} each, then nothing moved any more`,
  );

  agent.destroy();
  proxy.kill();
  upstream.closeAllConnections();
  upstream.close();
}

/**
 * @param {number} port
 * @param {http.Agent} agent
 */
async function headLatency(port, agent) {
  const started = performance.now();
  const req = http.get({ port, host: '127.0.0.1', path: '/silent', agent });
  await once(req, 'response');
  const elapsed = performance.now() - started;
  req.destroy();
  return elapsed;
}

/**
 * @param {Map<string, http.RequestListener>} routes
 * @param {number} port
 * @param {boolean} flowing
 */
async function abortLatency(routes, port, flowing) {
  /** @type {Promise<number>} */
  const closed = new Promise((resolve) => {
    routes.set('/abort', (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      const timer = flowing ? setInterval(() => res.write('data: token\n\n'), 1) : undefined;
      res.once('close', () => {
        clearInterval(timer);
        resolve(performance.now());
      });
    });
  });
  const req = http.get({ port, host: '127.0.0.1', path: '/abort', agent: false });
  const [response] = await once(req, 'response');
  if (flowing) await once(response, 'data');
  const aborted = performance.now();
  req.destroy();
  return (await closed) - aborted;
}

/**
 * @param {Map<string, http.RequestListener>} routes
 * @param {number} port
 * @param {number} size
 * @param {() => Promise<number>} rss
 */
async function upload(routes, port, size, rss) {
  let received = 0;
  routes.set('/upload', (req, res) => {
    req.on('data', (/** @type {Buffer} */ chunk) => {
      received += chunk.length;
    });
    req.once('end', () => res.end());
  });
  const req = http.request({ port, host: '127.0.0.1', path: '/upload', method: 'POST', agent: false });
  const chunk = Buffer.alloc(64 * 1024);
  let peak = 0;
  for (let sent = 0; sent < size; sent += chunk.length) {
    if (!req.write(chunk)) await once(req, 'drain');
    if (sent % MIB === 0) peak = Math.max(peak, await rss());
  }
  req.end();
  const [response] = await once(req, 'response');
  response.resume();
  return { peak, received };
}

/**
 * @param {Map<string, http.RequestListener>} routes
 * @param {number} port
 * @param {() => Promise<number>} rss
 * @param {number} before
 */
async function stoppedReaders(routes, port, rss, before) {
  const event = `data: ${'x'.repeat(1000)}\n\n`;
  /** @type {Set<import('node:net').Socket>} */
  const sources = new Set();
  routes.set('/flood', (_req, res) => {
    if (res.socket !== null) sources.add(res.socket);
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const flood = () => {
      while (!res.destroyed && res.write(event));
    };
    res.on('drain', flood);
    flood();
  });
  const requests = [];
  for (let i = 0; i < READERS; i += 1) {
    const req = http.get({ port, host: '127.0.0.1', path: '/flood', agent: false });
    const [response] = await once(req, 'response');
    response.pause();
    requests.push(req);
  }
  // Until nothing has moved for a second: the buffers of the kernel and of both sides are full.
  let taken = -1;
  for (let now = 0; now !== taken; ) {
    taken = now;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    now = [...sources].reduce((sum, socket) => sum + socket.bytesWritten, 0);
  }
  const grown = (await rss()) - before;
  for (const req of requests) req.destroy();
  return { taken: taken / READERS, grown: grown / READERS };
}

/** @param {() => Promise<number>} run */
async function times(run) {
  const samples = [];
  for (let i = 0; i < ROUNDS; i += 1) samples.push(await run());
  return samples.sort((a, b) => a - b);
}

/**
 * @param {string} name
 * @param {number[]} sorted
 */
function print(name, sorted) {
  const at = (/** @type {number} */ q) => `${(sorted[Math.floor(q * (sorted.length - 1))] ?? 0).toFixed(2)} ms`;
  console.log(`${name}: p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} (${sorted.length} rounds)`);
}

/** @param {number} bytes */
function mib(bytes) {
  return `${(bytes / MIB).toFixed(2)} MiB`;
}
