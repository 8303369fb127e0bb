import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { ConcurrencyLimiter } from '../../../lib/admission/concurrency-limiter.js';

const TIMEOUT = 1000;

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** What a limiter has said to each that came in, by its name, in order. */
function counter(concurrency: number, size = 0) {
  const limiter = new ConcurrencyLimiter(concurrency, { size, timeout: TIMEOUT });
  const said: string[] = [];
  return {
    said,
    enter: (name: string) =>
      limiter.enter(
        () => said.push(`${name} in`),
        (refusal) => said.push(`${name} ${refusal}`),
      ),
    leave: () => limiter.leave(),
    /** What was said since. */
    news: () => said.splice(0),
  };
}

describe('without a queue', () => {
  it('concurrency limiter without a queue: lets in as many as there are places, at once, and refuses the others, at once', () => {
    const { enter, news } = counter(2);
    for (const name of ['a', 'b', 'c', 'd']) enter(name);
    expect(news()).toEqual(['a in', 'b in', 'c full', 'd full']);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('concurrency limiter without a queue: lets in another when one has left, and only one', () => {
    const { enter, leave, news } = counter(2);
    for (const name of ['a', 'b']) enter(name);
    leave();
    for (const name of ['c', 'd']) enter(name);
    expect(news()).toEqual(['a in', 'b in', 'c in', 'd full']);
  });
});

describe('with a queue', () => {
  it('concurrency limiter with a queue: lets those that wait in one by one, in the order of their coming', () => {
    const { enter, leave, news } = counter(1, 3);
    for (const name of ['a', 'b', 'c', 'd']) enter(name);
    expect(news()).toEqual(['a in']);
    leave();
    expect(news()).toEqual(['b in']);
    leave();
    leave();
    expect(news()).toEqual(['c in', 'd in']);
  });

  it('concurrency limiter with a queue: refuses those for whom there is no room in it', () => {
    const { enter, leave, news } = counter(1, 2);
    for (const name of ['a', 'b', 'c', 'd']) enter(name);
    expect(news()).toEqual(['a in', 'd full']);
    // There is room again when the first of it has got in.
    leave();
    enter('e');
    enter('f');
    expect(news()).toEqual(['b in', 'f full']);
  });

  it('concurrency limiter with a queue: refuses those that have waited for too long, each by its own clock', () => {
    const { enter, news } = counter(1, 2);
    enter('a');
    enter('b');
    jest.advanceTimersByTime(TIMEOUT / 2);
    enter('c');
    jest.advanceTimersByTime(TIMEOUT / 2 - 1);
    expect(news()).toEqual(['a in']);
    jest.advanceTimersByTime(1);
    expect(news()).toEqual(['b timeout']);
    jest.advanceTimersByTime(TIMEOUT / 2);
    expect(news()).toEqual(['c timeout']);
  });

  it('concurrency limiter with a queue: does not let in one that was refused, and has its room again', () => {
    const { enter, leave, news } = counter(1, 1);
    enter('a');
    enter('b');
    jest.advanceTimersByTime(TIMEOUT);
    enter('c');
    leave();
    expect(news()).toEqual(['a in', 'b timeout', 'c in']);
  });

  it('concurrency limiter with a queue: says nothing more to one that has given up, and has its room again', () => {
    const { enter, leave, news } = counter(1, 1);
    enter('a');
    const giveUp = enter('b');
    giveUp?.();
    expect(jest.getTimerCount()).toBe(0);
    enter('c');
    leave();
    jest.advanceTimersByTime(10 * TIMEOUT);
    expect(news()).toEqual(['a in', 'c in']);
  });

  it('concurrency limiter with a queue: gives a place to the next in line where the first has given up', () => {
    const { enter, leave, news } = counter(1, 3);
    enter('a');
    const giveUp = enter('b');
    enter('c');
    giveUp?.();
    leave();
    expect(news()).toEqual(['a in', 'c in']);
  });

  it('concurrency limiter with a queue: has no wait to give up for one that was let in or refused at once', () => {
    const { enter, news } = counter(1, 0);
    expect(enter('a')).toBeUndefined();
    expect(enter('b')).toBeUndefined();
    expect(news()).toEqual(['a in', 'b full']);
  });

  it('concurrency limiter with a queue: takes giving up for nothing where there is no wait any more', () => {
    const { enter, leave, news } = counter(1, 1);
    enter('a');
    const giveUp = enter('b');
    leave();
    enter('c');
    giveUp?.();
    // The place of "b" is still its own, and "c" still waits.
    leave();
    expect(news()).toEqual(['a in', 'b in', 'c in']);
  });

  it('concurrency limiter with a queue: leaves no timer of one that got in', () => {
    const { enter, leave, news } = counter(1, 1);
    enter('a');
    enter('b');
    expect(jest.getTimerCount()).toBe(1);
    leave();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10 * TIMEOUT);
    expect(news()).toEqual(['a in', 'b in']);
  });

  it('concurrency limiter with a queue: has the place given back by one that leaves while it is let in', () => {
    const limiter = new ConcurrencyLimiter(1, { size: 5, timeout: TIMEOUT });
    const admitted: string[] = [];
    const enter = (name: string): unknown =>
      limiter.enter(
        () => {
          admitted.push(name);
          if (name !== 'a') limiter.leave();
        },
        () => {},
      );
    for (const name of ['a', 'b', 'c', 'd']) enter(name);
    limiter.leave();
    expect(admitted).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('whatever comes and goes', () => {
  /** What happens next; a number says to whom, of those to whom it can. */
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.constant({ kind: 'enter' } as const) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const), whom: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('giveUp' as const), whom: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), time: fc.nat(TIMEOUT) }) },
  );

  it('concurrency limiter: whatever comes and goes, it lets in what a plain list of places and a line in front of it would, and never more than the limit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.nat(4),
        fc.array(step, { maxLength: 60 }),
        (concurrency, size, steps) => {
          const { said, enter, leave } = counter(concurrency, size);
          const giveUps = new Map<string, (() => void) | undefined>();
          const expected: string[] = [];
          let running: string[] = [];
          let line: { name: string; until: number }[] = [];
          let clock = 0;
          const letIn = (name: string): void => {
            running.push(name);
            expected.push(`${name} in`);
          };

          for (const [i, next] of steps.entries()) {
            if (next.kind === 'enter') {
              const name = String(i);
              if (running.length < concurrency) letIn(name);
              else if (line.length < size) line.push({ name, until: clock + TIMEOUT });
              else expected.push(`${name} full`);
              const giveUp = enter(name);
              expect(giveUp !== undefined).toBe(line.some((waiting) => waiting.name === name));
              giveUps.set(name, giveUp);
            } else if (next.kind === 'leave') {
              if (running.length === 0) continue;
              running = running.toSpliced(next.whom % running.length, 1);
              const first = line.shift();
              if (first !== undefined) letIn(first.name);
              leave();
            } else if (next.kind === 'giveUp') {
              // Also by those that do not wait any more, to whom it must do nothing.
              const name = [...giveUps.keys()][next.whom % giveUps.size];
              if (name === undefined) continue;
              line = line.filter((waiting) => waiting.name !== name);
              giveUps.get(name)?.();
            } else {
              clock += next.time;
              for (const { name, until } of line) if (until <= clock) expected.push(`${name} timeout`);
              line = line.filter(({ until }) => until > clock);
              jest.advanceTimersByTime(next.time);
            }
            expect(running.length).toBeLessThanOrEqual(concurrency);
            expect(said).toEqual(expected);
            // One for each that waits, and none besides.
            expect(jest.getTimerCount()).toBe(line.length);
          }
          for (const giveUp of giveUps.values()) giveUp?.();
          expect(jest.getTimerCount()).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
