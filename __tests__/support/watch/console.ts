import { jest } from '@jest/globals';
import { onCleanUp } from './clean-up.js';

/** What is written on the console from now on, by level. Nothing of it is printed. */
export function consoleBook(): Record<'log' | 'info' | 'warn' | 'error', string[]> {
  const book = { log: [] as string[], info: [] as string[], warn: [] as string[], error: [] as string[] };
  for (const level of ['log', 'info', 'warn', 'error'] as const) {
    const spy = jest.spyOn(console, level).mockImplementation((...values: unknown[]) => {
      // More than one value would be a format, which the proxy never uses.
      book[level].push(values.map(String).join('|'));
    });
    onCleanUp(() => spy.mockRestore());
  }
  return book;
}
