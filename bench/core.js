// @ts-check
// The steady measure beside the benchmark: `npm run build && node bench/core.js [<subject> ...]`. What an event costs the
// code of a proxy alone, without the kernel: a million events through one process, each sent when the one before it has
// arrived, over connections that are in memory. User time of the process, HTTP of upstream and client included.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { spread } from './statistics.js';
import { SERVERS } from './subjects/servers.js';

const SUBJECTS = ['node-http', 'hpm', 'ours', 'ours-onEvent', 'ours-usage', 'ours-transformEvent'];
const ROUNDS = 5;
const EVENTS = 1_000_000 / ROUNDS;
const WARM_UP = 50_000;

const DATA = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-5-mini","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n`;
const EVENT = Buffer.from(`${DATA.length.toString(16)}\r\n${DATA}\r\n`);
const HEAD = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n');
const REQUEST = Buffer.from('GET /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\r\n');

/** @param {string[]} names */
async function measure(names) {
  const subjects = (names.length > 0 ? names : SUBJECTS).map((name) => ({
    name,
    child: fork(fileURLToPath(import.meta.url), ['subject', name]),
    /** @type {number[]} */
    samples: [],
  }));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { child, samples } of round % 2 === 0 ? subjects : subjects.toReversed()) {
      child.send('go');
      const [microseconds] = await once(child, 'message');
      samples.push(microseconds);
    }
  }
  for (const { name, child, samples } of subjects) {
    child.disconnect();
    const { median, min, max } = spread(samples);
    console.log(`${name.padEnd(22)}${median.toFixed(2)} µs per event (${min.toFixed(2)} to ${max.toFixed(2)})`);
  }
}

/** @param {string} name */
async function runSubject(name) {
  const [ofUpstream, ofAgent] = connection();
  // Whatever agent a subject has, its connections are made by this.
  http.Agent.prototype.createConnection = () => ofAgent;
  const server = await SERVERS[name]?.(new URL('http://127.0.0.1:80'));
  if (server === undefined) throw new Error(`There is no subject ${name}`);
  const [client, ofServer] = connection();
  server.emit('connection', ofServer);

  client.write(REQUEST);
  await once(ofUpstream, 'data');
  ofUpstream.write(HEAD);
  // Not all send a head before there is a body.
  ofUpstream.write(EVENT);
  for (let seen = ''; !seen.endsWith(`${DATA}\r\n`); ) seen += String((await once(client, 'data'))[0]);

  /** @param {number} events */
  const carry = (events) =>
    new Promise((resolve) => {
      let arrived = 0;
      let bytes = 0;
      const onData = (/** @type {Buffer} */ chunk) => {
        bytes += chunk.length;
        if (bytes < EVENT.length) return;
        if (bytes > EVENT.length) throw new Error(`${name} sends what it was not sent`);
        bytes = 0;
        arrived += 1;
        if (arrived < events) ofUpstream.write(EVENT);
        else resolve(client.off('data', onData));
      };
      client.on('data', onData);
      ofUpstream.write(EVENT);
    });
  await carry(WARM_UP);
  process.on('disconnect', () => process.exit());
  process.on('message', async () => {
    const before = process.cpuUsage();
    await carry(EVENTS);
    process.send?.(process.cpuUsage(before).user / EVENTS);
  });
}

/** One end of a connection in memory, with what `node:http` asks of a socket. */
class End extends Duplex {
  /** @type {End | undefined} */
  peer;
  remoteAddress = '127.0.0.1';

  /**
   * @override
   * @param {Buffer} chunk
   * @param {BufferEncoding} _encoding
   * @param {() => void} callback
   */
  _write(chunk, _encoding, callback) {
    // As from a socket: in a turn of its own.
    setImmediate(() => {
      this.peer?.push(chunk);
      callback();
    });
  }

  /**
   * @override
   * @param {{ chunk: Buffer }[]} chunks
   * @param {() => void} callback
   */
  _writev(chunks, callback) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'utf8', callback);
  }

  /** @override */
  _read() {}

  setNoDelay() {
    return this;
  }

  setKeepAlive() {
    return this;
  }

  setTimeout() {
    return this;
  }
}

function connection() {
  const ends = /** @type {const} */ ([new End(), new End()]);
  [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
  return ends;
}

if (process.argv[2] === 'subject') await runSubject(process.argv[3] ?? '');
else await measure(process.argv.slice(2));
