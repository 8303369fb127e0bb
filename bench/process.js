// @ts-check
// Processes of their own, how they are asked for something, and what they have used.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {Record<string, (...args: any[]) => unknown>} Handlers */

const [, allowed = ''] = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
/** The cores that we may use: `0-1,4`. */
const CORES = allowed.split(',').flatMap((range) => {
  const [first = 0, last = first] = range.split('-').map(Number);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
});

/**
 * Who runs where. What is measured has a core of its own where there are two; from three on upstream and load have, too.
 *
 * @type {Record<'subject' | 'upstream' | 'load', number | undefined>}
 */
export const PLACES =
  CORES.length < 2
    ? { subject: undefined, upstream: undefined, load: undefined }
    : { subject: CORES[0], upstream: CORES[1], load: CORES[2] ?? CORES[1] };

/** How many files and sockets a process may have open. */
export const FILES = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);

/** @type {Set<ChildProcess>} */
const running = new Set();
// Programs that are not ours do not notice that we have gone.
process.on('exit', () => {
  for (const child of running) child.kill();
});

/**
 * Starts a program on its core, with as many open files as we may have.
 *
 * @param {keyof typeof PLACES} place
 * @param {string[]} command
 * @param {NodeJS.ProcessEnv} [env]
 */
export function start(place, command, env = {}) {
  const core = PLACES[place];
  const pinned = core === undefined ? command : ['taskset', '-c', String(core), ...command];
  const child = spawn('sh', ['-c', `ulimit -n ${FILES}; exec "$@"`, 'sh', ...pinned], {
    // What others log is not ours to show.
    stdio: ['ignore', 'ignore', place === 'subject' ? 'ignore' : 'inherit', 'ipc'],
    env: { ...process.env, ...env },
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** @param {ChildProcess} child */
export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill();
  const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
  await exited;
  clearTimeout(timer);
}

// --- asking -----------------------------------------------------------------------------------------------------------

let calls = 0;

/**
 * Has a process do something, and gives what it answers.
 *
 * @param {ChildProcess} child One that called {@link serve}
 * @param {string} name
 * @param {...unknown} args
 * @returns {Promise<any>}
 */
export function call(child, name, ...args) {
  calls += 1;
  const id = calls;
  return new Promise((resolve, reject) => {
    const onMessage = (/** @type {any} */ message) => {
      if (message.id !== id) return;
      finish();
      if (message.error === undefined) resolve(message.result);
      else reject(new Error(`${name}: ${message.error}`));
    };
    const onExit = () => {
      finish();
      reject(new Error(`${name}: the process has ended`));
    };
    const finish = () => {
      child.off('message', onMessage);
      child.off('exit', onExit);
    };
    child.on('message', onMessage);
    child.on('exit', onExit);
    child.send({ id, name, args });
  });
}

/**
 * Does what the parent process asks for; ends with it.
 *
 * @param {Handlers} handlers
 */
export function serve(handlers) {
  process.on('disconnect', () => process.exit());
  process.on('message', async (/** @type {any} */ { id, name, args }) => {
    try {
      process.send?.({ id, result: await handlers[name]?.(...args) });
    } catch (error) {
      process.send?.({ id, error: /** @type {Error} */ (error).stack });
    }
  });
}

/** Microseconds of a clock that all processes of the machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1000;
}

// --- what was used ----------------------------------------------------------------------------------------------------

/**
 * The CPU time, user and system, that a process and its children have used so far, in microseconds: the scheduler's own
 * account of each thread, which has nanoseconds, where `/proc/<pid>/stat` has hundredths of a second.
 *
 * @param {ChildProcess} child
 */
export function cpuTime(child) {
  let nanoseconds = 0;
  for (const pid of family(child.pid)) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0]);
    }
  }
  return nanoseconds / 1000;
}

/**
 * The resident memory of a process and its children, in bytes.
 *
 * @param {ChildProcess} child
 */
export function memory(child) {
  return family(child.pid)
    .map((pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * A process and its children, such as nginx's workers.
 *
 * @param {number | undefined} pid
 * @returns {number[]}
 */
function family(pid) {
  if (pid === undefined) return [];
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').flatMap((child) => family(Number(child))))];
}
