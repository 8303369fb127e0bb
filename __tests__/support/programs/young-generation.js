// @ts-check
// `node --expose-gc young-generation.js <case>`: how much of what has come and gone is still there when V8 has collected its young
// generation alone, in hundredths. Each thing holds a buffer, which is counted. Needs `npm run build`.
import { once } from 'node:events';
import http from 'node:http';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';

const COUNT = 100;
const SIZE = 64 * 1024;

const held = () => new ArrayBuffer(SIZE);
/** Only one of them holds something: that is what is counted. */
const several = () => [{ buffer: held() }, ...Array.from({ length: 9 }, () => ({ buffer: undefined }))];
const collect = /** @type {(options?: { type: 'minor' }) => void} */ (globalThis.gc);

/** A module of the package as it was built, of which there is nothing where types are checked. */
const built = (/** @type {string} */ file) => import(new URL(`../../../dist/${file}`, import.meta.url).href);
const { createSseProxy } = await built('index.js');
const { replaceMethod } = await built('fast-path/replace-method.js');
const { ActiveExchanges } = await built('fast-path/active-exchanges.js');
const { UpstreamResponse } = await built('upstream/upstream-response.js');

/** @type {Record<string, () => (() => unknown) | Promise<() => unknown>>} each gives what has one come and go */
const CASES = {
  assignment: () => () => {
    const buffer = held();
    const object = { method: () => buffer };
    object.method = () => buffer;
    object.method();
  },
  replaceMethod: () => () => {
    const buffer = held();
    const object = { method: () => buffer };
    replaceMethod(object, 'method', () => buffer);
    object.method();
  },

  Set: () => {
    const set = new Set();
    return () => {
      // Several at a time: what is in a table when there is a new one is what is kept.
      const items = several();
      for (const item of items) set.add(item);
      for (const item of items) set.delete(item);
    };
  },
  ActiveExchanges: () => {
    const active = new ActiveExchanges();
    return () => {
      for (const leave of several().map((item) => active.add(item))) leave();
    };
  },

  Writable: () => () => Object.assign(new Writable({ write() {} }), { buffer: held() }),
  UpstreamResponse: () => () => {
    const client = /** @type {any} */ ({});
    const nothing = () => {};
    return Object.assign(new UpstreamResponse(client, nothing, nothing), { buffer: held() });
  },

  async exchange() {
    const upstream = await listening((req, res) => {
      req.resume().once('end', () => res.end('answer'));
    });
    const proxy = createSseProxy({
      target: `http://127.0.0.1:${upstream}`,
      rewriteHeaders(/** @type {unknown} */ _head, /** @type {any} */ exchange) {
        if (exchange.path === '/holds') exchange.locals.buffer = held();
      },
    });
    const port = await listening((req, res) => void proxy(req, res));
    const agent = new http.Agent({ keepAlive: true });
    const ask = async (/** @type {string} */ path) => {
      const headers = { 'content-length': 7 };
      const request = http.request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }).end('request');
      const [response] = await once(request, 'response');
      await once(response.resume(), 'end');
    };
    return () => Promise.all(['/holds', '/', '/', '/'].map(ask));
  },
};

/** @param {http.RequestListener} listener */
async function listening(listener) {
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return /** @type {import('node:net').AddressInfo} */ (server.address()).port;
}

/** They are set free in the background. */
async function collectYoung() {
  for (let i = 0; i < 5; i += 1) {
    collect({ type: 'minor' });
    await turn();
  }
}

const comeAndGo = await CASES[process.argv[2] ?? '']?.();
if (comeAndGo === undefined) throw new Error(`There is no case ${process.argv[2]}`);
// Until V8 has compiled what there is to compile, and what stays is in its old generation.
for (let i = 0; i < 2 * COUNT; i += 1) await comeAndGo();
collect();
await turn();
collect();
const before = process.memoryUsage().arrayBuffers;
for (let i = 0; i < COUNT; i += 1) {
  await comeAndGo();
  await turn();
  collect({ type: 'minor' });
}
await collectYoung();
const left = (process.memoryUsage().arrayBuffers - before) / SIZE;
console.log(Math.round((100 * left) / COUNT));
process.exit();
