import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Deadlines } from '../../../lib/exchange/deadlines.js';
import type { Phase, Timeouts } from '../../../lib/types/config.js';

const PHASES = ['connect', 'headers', 'idle', 'drain'] as const;
const OFF: Timeouts = { connect: false, headers: false, idle: false, drain: false, total: false };
/** Each another, so that none can be taken for another. */
const TIMEOUTS: Timeouts = { connect: 100, headers: 200, idle: 300, drain: 400, total: 500 };
const SAME: Timeouts = { connect: 100, headers: 100, idle: 100, drain: 100, total: 1000 };

/** Deadlines, and the phases whose time was over, in order. */
function timed(timeouts: Timeouts = TIMEOUTS): { deadlines: Deadlines; over: Phase[] } {
  const over: Phase[] = [];
  return { deadlines: new Deadlines(timeouts, (phase) => over.push(phase)), over };
}

describe('the deadline of a phase', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it.each(PHASES)('deadline of a phase: %s: passes once, after its own time and not before', (phase) => {
    const { deadlines, over } = timed();
    deadlines.enter(phase);
    jest.advanceTimersByTime(Number(TIMEOUTS[phase]) - 1);
    expect(over).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(over).toEqual([phase]);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([phase]);
  });

  it.each(PHASES)('deadline of a phase: %s: is none where it is false', (phase) => {
    const { deadlines, over } = timed({ ...TIMEOUTS, [phase]: false });
    deadlines.enter(phase);
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(1_000_000);
    expect(over).toEqual([]);
  });

  it.each(PHASES)('deadline of a phase: %s: runs from the beginning where it begins again', (phase) => {
    const { deadlines, over } = timed();
    const timeout = Number(TIMEOUTS[phase]);
    for (let i = 0; i < 5; i += 1) {
      deadlines.enter(phase);
      jest.advanceTimersByTime(timeout - 1);
    }
    expect(over).toEqual([]);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(1);
    expect(over).toEqual([phase]);
  });

  it.each(PHASES)('deadline of a phase: %s: does not pass where it is over, and may begin anew', (phase) => {
    const { deadlines, over } = timed();
    deadlines.enter(phase);
    deadlines.leave();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([]);
    deadlines.enter(phase);
    jest.advanceTimersByTime(Number(TIMEOUTS[phase]));
    expect(over).toEqual([phase]);
  });

  it.each([
    ['other times', TIMEOUTS],
    ['the same time', SAME],
  ])('deadline of a phase: is over when the next one begins, which has %s', (_which, timeouts) => {
    const { deadlines, over } = timed(timeouts);
    deadlines.enter('connect');
    jest.advanceTimersByTime(99);
    deadlines.enter('headers');
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(Number(timeouts.headers) - 1);
    expect(over).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(over).toEqual(['headers']);
  });

  it('deadline of a phase: is over when one begins that has none', () => {
    const { deadlines, over } = timed({ ...TIMEOUTS, drain: false });
    deadlines.enter('idle');
    deadlines.enter('drain');
    expect(jest.getTimerCount()).toBe(0);
    deadlines.enter('idle');
    jest.advanceTimersByTime(300);
    expect(over).toEqual(['idle']);
  });

  it('deadline of a phase: may begin again when it has passed', () => {
    const { deadlines, over } = timed();
    deadlines.enter('headers');
    jest.advanceTimersByTime(200);
    deadlines.enter('headers');
    jest.advanceTimersByTime(199);
    expect(over).toEqual(['headers']);
    jest.advanceTimersByTime(1);
    expect(over).toEqual(['headers', 'headers']);
  });

  it('deadline of a phase: does not mind that of the whole exchange, which runs from its beginning', () => {
    const { deadlines, over } = timed();
    deadlines.begin();
    deadlines.enter('idle');
    jest.advanceTimersByTime(250);
    deadlines.enter('idle');
    jest.advanceTimersByTime(249);
    expect(over).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(over).toEqual(['total']);
    jest.advanceTimersByTime(50);
    expect(over).toEqual(['total', 'idle']);
  });

  it('deadline of a phase: is stopped with that of the exchange, and then no timer is left', () => {
    const { deadlines, over } = timed();
    deadlines.begin();
    deadlines.enter('headers');
    expect(jest.getTimerCount()).toBe(2);
    deadlines.stop();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([]);
  });

  it('deadline of a phase: costs nothing where none is wanted', () => {
    const { deadlines } = timed(OFF);
    deadlines.begin();
    for (const phase of PHASES) deadlines.enter(phase);
    expect(jest.getTimerCount()).toBe(0);
    deadlines.stop();
  });

  it('deadline of a phase: may be stopped by the one that passes', () => {
    const deadlines = new Deadlines(TIMEOUTS, () => deadlines.stop());
    deadlines.begin();
    deadlines.enter('connect');
    jest.advanceTimersByTime(100);
    expect(jest.getTimerCount()).toBe(0);
  });
});

// What becomes of a timer that fires, or was stopped, and is then refreshed is for Node to say.
describe("a deadline with a timer of Node's", () => {
  it("deadline with a timer of Node's: may be put off by what it calls, again and again", async () => {
    const times = await new Promise<number>((resolve) => {
      let count = 0;
      const deadlines = new Deadlines({ ...OFF, headers: 5 }, () => {
        count += 1;
        if (count < 3) deadlines.enter('headers');
        else resolve(count);
      });
      deadlines.enter('headers');
    });
    expect(times).toBe(3);
  });

  it("deadline with a timer of Node's: passes where it was over and began anew", async () => {
    const phase = await new Promise<Phase>((resolve) => {
      const deadlines = new Deadlines({ ...OFF, idle: 5 }, resolve);
      deadlines.enter('idle');
      deadlines.leave();
      deadlines.enter('idle');
    });
    expect(phase).toBe('idle');
  });
});
