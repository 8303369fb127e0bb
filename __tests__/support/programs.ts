import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Ends a program that a test has started, if it runs; resolves when it has ended and all that it had to say has come. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const close = once(child, 'close');
  child.kill(signal);
  await close;
}
