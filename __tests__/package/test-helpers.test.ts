import { afterEach, expect, it } from '@jest/globals';
import { closeAll } from '../support/watch/clean-up.js';
import { realProcess, watchProcess } from '../support/watch/process.js';
import { turns } from '../support/watch/wait.js';

afterEach(closeAll);

it('watchProcess: sees what Node warns of', async () => {
  const seen = watchProcess();
  realProcess.emitWarning('a warning');
  await turns();
  expect(seen).toEqual([expect.objectContaining({ message: 'a warning' })]);
});
