import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/**
 * Loads a package that only some users need, and that they install themselves. At once, since a format's parser may not wait for one.
 *
 * @param use what it is for, as the subject of a sentence
 * @throws {Error} saying what to install
 */
export function optionalPackage<T>(name: string, use: string): T {
  try {
    return require(name) as T;
  } catch (cause) {
    throw new Error(`${use} needs the package ${name}. Install it: npm install ${name}`, { cause });
  }
}
