import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { ROOT, textOf } from '../support/programs/docs.js';

/** The test files that the page names, each from `__tests__/` on: they stand under a heading that is their folder. */
function namedFiles(): string[] {
  let folder = '';
  return textOf('__tests__/README.md')
    .split('\n')
    .flatMap((line) => {
      folder = /^#+ `(.+\/)`$/.exec(line)?.[1] ?? folder;
      if (!line.startsWith('| ')) return [];
      return [...line.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => folder + file);
    });
}

it('tests: __tests__/README.md names every test file once, and no other', () => {
  const files = readdirSync(join(ROOT, '__tests__'), { recursive: true, encoding: 'utf8' });
  const tests = files.filter((file) => file.endsWith('.test.ts')).map((file) => file.replaceAll('\\', '/'));
  expect(tests.length).toBeGreaterThan(100);
  expect(namedFiles().sort()).toEqual(tests.sort());
});
