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
