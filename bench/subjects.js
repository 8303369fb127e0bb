// @ts-check
// What is compared, and how it is started.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { call, start, stop } from './process.js';
import { PROGRAMS } from './subjects/programs.js';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */

/**
 * @typedef {object} Subject
 * @property {string} label
 * @property {string} [package] Of npm's, whose version is told
 */

/** @type {Record<string, Subject>} in the order of the tables */
export const SUBJECTS = {
  direct: { label: 'no proxy' },
  tcp: { label: 'raw TCP pipe' },
  'node-http': { label: '`node:http` pipe' },
  ours: { label: 'express-sse-proxy', package: 'express-sse-proxy' },
  'ours-onEvent': { label: 'express-sse-proxy, `onEvent`', package: 'express-sse-proxy' },
  'ours-usage': { label: 'express-sse-proxy, usage', package: 'express-sse-proxy' },
  'ours-transformEvent': { label: 'express-sse-proxy, `transformEvent`', package: 'express-sse-proxy' },
  'ours-heartbeat': { label: 'express-sse-proxy, heartbeat', package: 'express-sse-proxy' },
  hpm: { label: 'http-proxy-middleware', package: 'http-proxy-middleware' },
  'hpm-unlimited': { label: 'http-proxy-middleware, unlimited agent', package: 'http-proxy-middleware' },
  'http-proxy-3': { label: 'http-proxy-3', package: 'http-proxy-3' },
  'express-http-proxy': { label: 'express-http-proxy', package: 'express-http-proxy' },
  'fastify-http-proxy': { label: '@fastify/http-proxy', package: '@fastify/http-proxy' },
  portkey: { label: '@portkey-ai/gateway', package: '@portkey-ai/gateway' },
  nginx: { label: 'nginx' },
  haproxy: { label: 'haproxy' },
  caddy: { label: 'caddy' },
};

/** With what others are compared: what one takes for streams through Express without us. */
export const BASE = 'hpm-unlimited';

/**
 * A subject that waits for its next turn is idle, and V8 collects garbage then, with which it throws away most of what it has
 * compiled: the next turn would be that of a server that has just started.
 */
const NODE = [process.execPath, '--no-memory-reducer'];

const NODE_SUBJECTS = fileURLToPath(new URL('subjects/node.js', import.meta.url));
/**
 * @typedef {object} Running
 * @property {string} name
 * @property {ChildProcess | undefined} child None of `direct`
 * @property {number} port
 * @property {Record<string, string>} headers What a client has to send
 * @property {() => Promise<number>} [held] How many bytes it has in use, of those that run on Node here
 * @property {() => Promise<void>} stop
 */

/**
 * @param {string} name
 * @param {URL} target
 * @param {string} [ca] The file with the certificate of the upstream
 * @returns {Promise<Running>}
 */
export async function startSubject(name, target, ca) {
  const env = ca === undefined ? {} : { NODE_EXTRA_CA_CERTS: ca };
  const headers = { authorization: 'Bearer sk-of-the-client' };
  if (name === 'direct') return { name, child: undefined, port: Number(target.port), headers, stop: async () => {} };
  if (name === 'portkey') {
    const port = await freePort();
    // With the `@hono/node-server` that `overrides` in package.json names: with later ones it answers every stream with a 500.
    const gateway = fileURLToPath(import.meta.resolve('@portkey-ai/gateway/build/start-server.js'));
    const child = start('subject', [...NODE, gateway, `--port=${port}`, '--headless'], env);
    const route = { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${target.origin}/v1` };
    return running(name, child, port, { ...headers, ...route });
  }
  const program = PROGRAMS[name];
  if (program === undefined) {
    const child = start('subject', [...NODE, NODE_SUBJECTS, name, target.origin], env);
    return { ...(await running(name, child, await call(child, 'port'), headers)), held: () => call(child, 'held') };
  }
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'bench-'));
  const config = join(directory, 'config');
  writeFileSync(config, program.config(port, target, directory));
  const child = start('subject', program.command(config), { HOME: directory });
  child.once('exit', () => rmSync(directory, { recursive: true }));
  return running(name, child, port, headers);
}

/**
 * @param {string} name
 * @param {ChildProcess} child
 * @param {number} port
 * @param {Record<string, string>} headers
 * @returns {Promise<Running>}
 */
async function running(name, child, port, headers) {
  for (let i = 0; !(await listens(port)); i += 1) {
    if (i === 200 || child.exitCode !== null) throw new Error(`${name} did not start`);
    await delay(50);
  }
  return { name, child, port, headers, stop: () => stop(child) };
}

/** @param {number} port */
async function listens(port) {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * The version of a subject, or why it cannot be started.
 *
 * @param {string} name
 * @returns {{ version?: string, missing?: string }}
 */
export function versionOf(name) {
  const program = PROGRAMS[name];
  const { package: of } = SUBJECTS[name] ?? {};
  if (program !== undefined) {
    try {
      const [command = '', ...args] = program.version;
      const [version] =
        /\d+(\.\d+)+/.exec(execFileSync('sh', ['-c', `${command} ${args.join(' ')} 2>&1`], { encoding: 'utf8' })) ?? [];
      return version === undefined ? { missing: `it tells no version` } : { version };
    } catch {
      return { missing: 'there is no such program (apt-get install it)' };
    }
  }
  if (of === undefined) return { version: process.version.slice(1) };
  for (const directory of ['node_modules/', '../node_modules/']) {
    const file = new URL(`${of === 'express-sse-proxy' ? '..' : `${directory}${of}`}/package.json`, import.meta.url);
    if (existsSync(file)) return { version: JSON.parse(readFileSync(file, 'utf8')).version };
  }
  return { missing: 'its package is not installed (npm install in bench/)' };
}
