import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

/** Ends a program that a test has started, if it runs; resolves when it has ended and all that it had to say has come. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const close = once(child, 'close');
  child.kill(signal);
  await close;
}

/** Runs an ES module in a process of its own, with this package's dependencies. */
export async function runModule(source: string): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [exitCode] = await closed;
  return { exitCode: Number(exitCode), stdout, stderr };
}
