import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { until } from './wait.js';

setFlagsFromString('--expose-gc');

export const collectGarbage = runInNewContext('gc') as () => void;

/** The memory of all buffers that are in use. */
export async function buffersInUse(): Promise<number> {
  let last = 0;
  let times = 0;
  // They are set free in the background.
  await until(() => {
    collectGarbage();
    const now = process.memoryUsage().arrayBuffers;
    times = now === last ? times + 1 : 1;
    last = now;
    return times === 3;
  });
  return last;
}
