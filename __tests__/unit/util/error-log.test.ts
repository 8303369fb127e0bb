import { describe, expect, it } from '@jest/globals';
import { DISTINCT_ERRORS, ERROR_TEXT } from '../../../lib/defaults.js';
import { createLogError, oncePerStream } from '../../../lib/util/error-log.js';
import { consoleBook } from '../../support/watch/console.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

class Unreadable extends Error {
  override get message(): string {
    throw new Error('a getter');
  }
}

const refuse = (): never => {
  throw new Error('a trap');
};

describe('the log of errors', () => {
  it('error log: tells the stack of an error, and those of its causes, in one string', () => {
    const book = consoleBook();
    createLogError(undefined)('onEvent failed', new Error('outer', { cause: new TypeError('inner') }));
    expect(book.error).toEqual([
      expect.stringMatching(
        /^\[express-sse-proxy\] onEvent failed: Error: outer\n +at .*error-log\.test.*TypeError: inner\n +at /s,
      ),
    ]);
  });

  it.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /: undefined$/],
    ['null', null, /: null$/],
    ['a string', 'no', /: 'no'$/],
    ['an object with a member of its own', { code: 'E', request: { headers: { authorization: 'sk-1' } } }, /code: 'E'/],
    ['an error with getters that throw', new Unreadable(), /(cannot be shown|\[object Error\])$/],
    ['a proxy whose traps throw', new Proxy({}, { get: refuse, ownKeys: refuse, getPrototypeOf: refuse }), /: /],
    ['what its own inspection throws at', { [Symbol.for('nodejs.util.inspect.custom')]: refuse }, /cannot be shown$/],
    ['a symbol', Symbol('s'), /Symbol\(s\)$/],
  ])('error log: never throws, whatever was thrown: %s', (_what, thrown, said) => {
    const book = consoleBook();
    createLogError(undefined)('a hook failed', thrown);
    expect(book.error).toEqual([expect.stringMatching(said)]);
    expect(book.error[0]).not.toContain('sk-1');
  });

  it.each<[string, unknown]>([
    ['a long message', new Error('x'.repeat(10_000_000))],
    ['a long string', 'x'.repeat(10_000_000)],
    ['a large buffer', Buffer.alloc(10_000_000)],
    ['a long list', Array.from({ length: 1_000_000 }, () => 'x')],
    ['many causes', Array.from({ length: 1000 }).reduce((cause) => new Error('x'.repeat(100), { cause }), undefined)],
  ])('error log: is of bounded length: %s', (_what, thrown) => {
    const book = consoleBook();
    createLogError(undefined)('a hook failed', thrown);
    expect(book.error[0]?.length).toBeLessThan(ERROR_TEXT + 100);
  });

  it('error log: does not move the cursor of a terminal', () => {
    const book = consoleBook();
    createLogError(undefined)('a hook failed', new Error('\u001b[2J\rcleared\u009b1m'));
    expect(book.error[0]).toContain('\\x1b[2J\\x0dcleared\\x9b1m');
  });

  it('error log: tells the console of each distinct error once, and a logger of each', () => {
    const book = consoleBook();
    const lines: unknown[][] = [];
    const logger = { info() {}, warn() {}, error: (...values: unknown[]) => void lines.push(values) };
    const fail = (message: string): Error => new Error(message);
    for (const logError of [createLogError(undefined), createLogError(logger)]) {
      for (let i = 0; i < 3; i += 1) for (const what of ['a', 'b']) logError('onEvent failed', fail(what));
      logError('onUsage failed', fail('a'));
      logError('a notice');
      logError('a notice');
    }
    const firstLine = (text: unknown): unknown => String(text).split('\n')[0]?.replace('[express-sse-proxy] ', '');
    expect(book.error.map(firstLine)).toEqual([
      'onEvent failed: Error: a',
      'onEvent failed: Error: b',
      'onUsage failed: Error: a',
      'a notice',
    ]);
    expect(lines.length).toBe(9);
    expect(lines.every((values) => values.length === 1)).toBe(true);
  });

  it('error log: remembers a bounded number of distinct errors', () => {
    const book = consoleBook();
    const logError = createLogError(undefined);
    for (let i = 0; i <= DISTINCT_ERRORS; i += 1) logError(`${i}`);
    // The last ones are remembered, and the first one is not any more.
    logError(`${DISTINCT_ERRORS}`);
    logError('0');
    expect(book.error.slice(DISTINCT_ERRORS)).toEqual([
      `[express-sse-proxy] ${DISTINCT_ERRORS}`,
      '[express-sse-proxy] 0',
    ]);
  });

  it('error log: a hook that fails with each event of a stream is told of once per stream', () => {
    const told: string[] = [];
    for (let stream = 0; stream < 2; stream += 1) {
      const logError = oncePerStream((message) => void told.push(message));
      for (let event = 0; event < 500; event += 1) logError('onEvent failed', new Error(`event ${event}`));
      logError('read failed', new Error('another hook'));
    }
    expect(told).toEqual(['onEvent failed', 'read failed', 'onEvent failed', 'read failed']);
  });

  it('error log: is harmless where the console throws', () => {
    consoleBook();
    console.error = refuse;
    expect(() => createLogError(undefined)('a hook failed', new Error('x'))).not.toThrow();
  });
});
