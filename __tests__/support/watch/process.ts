import vm from 'node:vm';
import { afterEach, beforeEach, expect } from '@jest/globals';
import { closeAll, onCleanUp } from './clean-up.js';

/** Jest gives tests a copy of `process`; this is the one on which Node emits. */
export const realProcess: NodeJS.Process = vm.runInThisContext('process');

/** Collects what must never happen: unhandled rejections, uncaught exceptions, warnings. */
export function watchProcess(): unknown[] {
  const seen: unknown[] = [];
  const see = (what: unknown): void => {
    // Of Node's own making: modules in a `vm` context, say.
    const name = typeof what === 'object' && what !== null && 'name' in what ? what.name : '';
    if (name !== 'ExperimentalWarning') seen.push(what);
  };
  const events = ['unhandledRejection', 'uncaughtException', 'warning'];
  for (const event of events) realProcess.on(event, see);
  onCleanUp(() => {
    for (const event of events) realProcess.removeListener(event, see);
  });
  return seen;
}

/** Keeps what proxies say of failures out of the tests' report, where failures are caused on purpose. */
function mute(): void {
  for (const level of ['warn', 'error'] as const) {
    const { [level]: write } = console;
    console[level] = (...values: unknown[]) => {
      if (!String(values[0]).startsWith('[express-sse-proxy]')) write(...values);
    };
    onCleanUp(() => {
      console[level] = write;
    });
  }
}

/** For a whole test file: everything that a test opens is closed after it, and nothing may have happened that never must. */
export function closeAndWatchEachTest(): void {
  let incidents: unknown[];
  beforeEach(() => {
    incidents = watchProcess();
    mute();
  });
  afterEach(async () => {
    await closeAll();
    expect(incidents).toEqual([]);
  });
}
