// @ts-check
// What the event layer costs the proxy per event: `npm run build && node bench/events.js`, or `--quick` for a first look.
//
// Each subject is a proxy with one feature on, in a process of its own. In every round all of them carry the same streams,
// one subject after the other, in alternating order, and each is compared with "nothing on" of the same round. What is
// measured is the CPU time of the proxy's process from the first event to the end of the last stream, without the requests.
// Upstream and clients are in this process. Every stream is checked byte for byte.
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import os from 'node:os';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** @typedef {import('express-sse-proxy').SseProxyOptions} SseProxyOptions */

/** Counted by the hooks, in the process of a proxy: so that nothing is measured that did not happen. */
let seen = 0;
const provider = async (/** @type {boolean} */ includeUsage) => {
  const { openai } = await import('express-sse-proxy/providers');
  return openai({ apiKey: 'sk-secret', includeUsage });
};
const onUsage = (/** @type {import('express-sse-proxy').Usage} */ usage) => {
  seen += usage.outputTokens ?? 0;
};

/**
 * @typedef {object} Subject
 * @property {string} name
 * @property {() => SseProxyOptions | Promise<SseProxyOptions>} options
 * @property {boolean} [asks] The proxy asks for the usage, and keeps the chunk with it from the client
 * @property {'events' | 'tokens'} [sees] What `seen` counts
 */

/** @type {Subject[]} */
const SUBJECTS = [
  { name: 'nothing on', options: () => ({}) },
  {
    name: 'onEvent',
    sees: 'events',
    options: () => ({
      onEvent() {
        seen += 1;
      },
    }),
  },
  { name: 'usage', sees: 'tokens', options: async () => ({ provider: await provider(false), onUsage }) },
  {
    name: 'usage, includeUsage',
    asks: true,
    sees: 'tokens',
    options: async () => ({ provider: await provider(true), onUsage }),
  },
  {
    name: 'transformEvent',
    sees: 'events',
    options: () => ({
      transformEvent() {
        seen += 1;
      },
    }),
  },
  { name: 'heartbeat', options: () => ({ heartbeat: {} }) },
];

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {number} streams
 * @property {number} events per stream, without those at its end
 * @property {number} perWrite events in one write of the upstream
 * @property {number} interval milliseconds between two writes of one stream; 0 for as fast as they are taken
 */

const ROUNDS = 9;
const quick = process.argv.includes('--quick');
/** @type {Scenario[]} */
const SCENARIOS = [
  { name: 'token pace', streams: 50, events: quick ? 20 : 150, perWrite: 1, interval: 20 },
  { name: 'bursts', streams: 20, events: quick ? 2000 : 10_000, perWrite: 16, interval: 0 },
];
const EVENTS = Array.from({ length: 97 }, (_, i) => chunk([{ index: 0, delta: { content: word(i) } }]));
/** Nothing runs for longer, whatever happens. Milliseconds. */
const DEADLINE = 8 * 60_000;

if (process.argv[2] === 'proxy') await runProxy(process.argv[3] ?? '', process.argv[4] ?? '');
else await measure();

// --- a proxy, in a process of its own -------------------------------------------------------------------------------

/**
 * @param {string} name
 * @param {string} target
 */
async function runProxy(name, target) {
  process.on('disconnect', () => process.exit());
  const { default: express } = await import('express');
  const { createSseProxy } = await import('express-sse-proxy');
  const options = await SUBJECTS.find((subject) => subject.name === name)?.options();
  const proxy = createSseProxy({ ...options, target });
  const server = express().use(proxy).listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.on('message', () => {
    process.send?.({ cpu: process.cpuUsage(), seen, active: proxy.active });
  });
  process.send?.({ port: /** @type {import('node:net').AddressInfo} */ (server.address()).port });
}

/**
 * @typedef {object} Proxy
 * @property {Subject} subject
 * @property {import('node:child_process').ChildProcess} child
 * @property {number} port
 */

/**
 * @param {Subject} subject
 * @param {string} target
 * @returns {Promise<Proxy>}
 */
async function startProxy(subject, target) {
  const child = fork(fileURLToPath(import.meta.url), ['proxy', subject.name, target]);
  const [{ port }] = await once(child, 'message');
  return { subject, child, port };
}

/**
 * @param {Proxy} proxy
 * @returns {Promise<{ cpu: NodeJS.CpuUsage, seen: number, active: number }>}
 */
async function ask({ child }) {
  child.send('how much?');
  const [answer] = await once(child, 'message');
  return answer;
}

// --- the streams ----------------------------------------------------------------------------------------------------

/** @param {number} i */
function word(i) {
  return ` ${'tokens of several lengths, 日本 included'.slice(i % 17, (i % 17) + 1 + ((i * 7) % 23))}`;
}

/**
 * @param {object[]} choices
 * @param {object} [usage]
 */
function chunk(choices, usage) {
  const id = 'chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT';
  const base = { id, object: 'chat.completion.chunk', created: 1741569952, model: 'gpt-4.1-mini-2025-04-14' };
  return Buffer.from(`data: ${JSON.stringify({ ...base, choices, ...(usage && { usage }) })}\n\n`);
}

/**
 * The writes of one stream: tokens, the last choice, the usage where it is asked for, `[DONE]`.
 *
 * @param {Scenario} scenario
 * @param {number} stream
 * @param {boolean} includeUsage
 */
function writesOf({ events, perWrite }, stream, includeUsage) {
  const writes = [];
  for (let i = 0; i < events; i += perWrite) {
    const block = Array.from({ length: Math.min(perWrite, events - i) }, (_, j) => EVENTS[(stream + i + j) % 97]);
    writes.push(Buffer.concat(/** @type {Buffer[]} */ (block)));
  }
  const usage = { prompt_tokens: 10, completion_tokens: events, total_tokens: 10 + events };
  const tail = [
    chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]),
    ...(includeUsage ? [chunk([], usage)] : []),
    Buffer.from('data: [DONE]\n\n'),
  ];
  return { writes: [...writes, Buffer.concat(tail)], events: events + tail.length };
}

/** @typedef {{ scenario: Scenario, go: Promise<void> }} Run */

/**
 * The upstream of all subjects. It sends the heads at once, and the events at a word.
 *
 * @param {() => Run} current
 */
function createUpstream(current) {
  return http.createServer(async (req, res) => {
    const body = JSON.parse(await text(req));
    const { scenario, go } = current();
    const { writes } = writesOf(scenario, body.stream_number, body.stream_options?.include_usage === true);
    res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    await go;
    // Streams do not tick in step.
    if (scenario.interval > 0) await delay((scenario.interval * body.stream_number) / scenario.streams);
    for (const bytes of writes) {
      if (!res.write(bytes)) await once(res, 'drain');
      if (scenario.interval > 0) await delay(scenario.interval);
    }
    res.end();
  });
}

/**
 * A client of one stream, in two steps: the head is there, and all that has come is there.
 *
 * @param {number} port
 * @param {number} stream
 * @param {boolean} includeUsage
 */
async function open(port, stream, includeUsage) {
  const req = http.request({
    ...{ host: '127.0.0.1', port, agent: false, method: 'POST', path: '/v1/chat/completions' },
    headers: { 'content-type': 'application/json' },
  });
  const options = includeUsage ? { stream_options: { include_usage: true } } : {};
  req.end(JSON.stringify({ model: 'any', stream: true, messages: [], stream_number: stream, ...options }));
  const [response] = await once(req, 'response');
  return async () => {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of response) {
      hash.update(piece);
      bytes += piece.length;
    }
    return { bytes, sha256: hash.digest('hex') };
  };
}

// --- the measurement ------------------------------------------------------------------------------------------------

async function measure() {
  const deadline = setTimeout(() => {
    console.error('Took too long.');
    process.exit(1);
  }, DEADLINE);
  /** @type {Run} */
  let run;
  const upstream = createUpstream(() => run);
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (upstream.address());
  /** @type {Proxy[]} */
  const proxies = [];
  try {
    for (const subject of SUBJECTS) proxies.push(await startProxy(subject, `http://127.0.0.1:${port}`));
    const [cpu] = os.cpus();
    console.log(`Node ${process.version}, ${os.cpus().length} × ${cpu?.model.trim()}, ${ROUNDS} rounds`);
    for (const scenario of SCENARIOS) await compare(scenario);
  } finally {
    clearTimeout(deadline);
    for (const { child } of proxies) child.kill();
    upstream.closeAllConnections();
    upstream.close();
  }

  /** @param {Scenario} scenario */
  async function compare(scenario) {
    /** @type {Map<string, number[]>} microseconds per event, round by round */
    const costs = new Map(SUBJECTS.map(({ name }) => [name, []]));
    for (const proxy of proxies) await carry(proxy, scenario);
    for (let round = 0; round < ROUNDS; round += 1) {
      const order = round % 2 === 0 ? proxies : proxies.toReversed();
      for (const proxy of order) costs.get(proxy.subject.name)?.push(await carry(proxy, scenario));
    }
    print(scenario, costs);
  }

  /**
   * Has a proxy carry the streams of a scenario.
   *
   * @param {Proxy} proxy
   * @param {Scenario} scenario
   * @returns {Promise<number>} the CPU time that an event took, in microseconds
   */
  async function carry(proxy, scenario) {
    const { subject } = proxy;
    let start = () => {};
    const go = /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        start = () => resolve(undefined);
      })
    );
    run = { scenario, go };
    const numbers = Array.from({ length: scenario.streams }, (_, i) => i);
    const clients = await Promise.all(numbers.map((stream) => open(proxy.port, stream, subject.asks !== true)));

    const before = await ask(proxy);
    start();
    const received = await Promise.all(clients.map((read) => read()));
    let after = await ask(proxy);
    // What is observed is observed behind the client.
    for (let i = 0; after.active > 0 && i < 100; i += 1) {
      await delay(5);
      after = await ask(proxy);
    }

    let events = 0;
    for (const [stream, { bytes, sha256 }] of received.entries()) {
      const expected = writesOf(scenario, stream, subject.asks !== true);
      const whole = Buffer.concat(expected.writes);
      if (bytes !== whole.length || sha256 !== createHash('sha256').update(whole).digest('hex')) {
        throw new Error(`${subject.name}: stream ${stream} was changed on the way`);
      }
      events += expected.events;
    }
    const expected = { events, tokens: scenario.streams * scenario.events };
    if (subject.sees !== undefined && after.seen - before.seen !== expected[subject.sees]) {
      throw new Error(`${subject.name}: saw ${after.seen - before.seen} of ${expected[subject.sees]} ${subject.sees}`);
    }
    return (after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system) / events;
  }
}

/**
 * @param {Scenario} scenario
 * @param {Map<string, number[]>} costs
 */
function print({ name, streams, events, perWrite, interval }, costs) {
  const pace = interval > 0 ? `one every ${interval} ms` : `${perWrite} per write, as fast as they are taken`;
  console.log(`\n${name}: ${streams} streams of ${events} events, ${pace}`);
  console.log('                      CPU per event   ratio to nothing on: median (min to max)');
  const base = costs.get('nothing on') ?? [];
  for (const [subject, samples] of costs) {
    const ratios = sorted(samples.map((sample, round) => sample / (base[round] ?? Number.NaN)));
    const range = `${median(ratios).toFixed(2)} (${ratios[0]?.toFixed(2)} to ${ratios.at(-1)?.toFixed(2)})`;
    console.log(`${subject.padEnd(22)}${median(sorted(samples)).toFixed(2).padStart(7)} µs      ${range}`);
  }
}

/** @param {number[]} numbers */
function sorted(numbers) {
  return numbers.toSorted((a, b) => a - b);
}

/** @param {number[]} ordered an odd number of them */
function median(ordered) {
  return ordered[Math.floor(ordered.length / 2)] ?? Number.NaN;
}
