import { jest } from '@jest/globals';
import { onCleanUp } from './clean-up.js';

/** Has timers run by hand, for one test; all that Node does by itself goes on. */
export function stopTheClock(): void {
  jest.useFakeTimers({
    doNotFake: [
      'Date',
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setInterval',
      'clearInterval',
    ],
  });
  onCleanUp(() => {
    jest.useRealTimers();
  });
}

/** As {@link stopTheClock}, and intervals and `performance.now` as well: for what looks at the time at intervals. */
export function stopAllClocks(): void {
  jest.useFakeTimers({ doNotFake: ['Date', 'hrtime', 'nextTick', 'queueMicrotask', 'setImmediate', 'clearImmediate'] });
  onCleanUp(() => {
    jest.useRealTimers();
  });
}

const { now } = Date;
let ahead = 0;

/** Lets `Date.now()`, by which idle connections are told, go ahead so far (again, where it has already), until the test has ended. */
export function passTime(milliseconds: number): void {
  ahead += milliseconds;
  const spy = jest.spyOn(Date, 'now').mockImplementation(() => now() + ahead);
  onCleanUp(() => {
    spy.mockRestore();
    ahead = 0;
  });
}
