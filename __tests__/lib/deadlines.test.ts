import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Deadlines, type Phase, type Timeouts } from '../../lib/deadlines.js';

const PHASES = ['connect', 'headers', 'idle', 'drain', 'total'] as const;
const OFF: Timeouts = { connect: false, headers: false, idle: false, drain: false, total: false };
/** Each another, so that none can be taken for another. */
const TIMEOUTS: Timeouts = { connect: 100, headers: 200, idle: 300, drain: 400, total: 500 };

/** Deadlines, and the phases whose time was over, in order. */
function timed(timeouts: Timeouts = TIMEOUTS): { deadlines: Deadlines; over: Phase[] } {
  const over: Phase[] = [];
  return { deadlines: new Deadlines(timeouts, (phase) => over.push(phase)), over };
}

describe('a deadline', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it.each(PHASES)('%s: passes once, after its own time and not before', (phase) => {
    const { deadlines, over } = timed();
    deadlines.start(phase);
    jest.advanceTimersByTime(Number(TIMEOUTS[phase]) - 1);
    expect(over).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(over).toEqual([phase]);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([phase]);
  });

  it.each(PHASES)('%s: is none where it is false', (phase) => {
    const { deadlines, over } = timed({ ...TIMEOUTS, [phase]: false });
    deadlines.start(phase);
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(1_000_000);
    expect(over).toEqual([]);
  });

  it.each(PHASES)('%s: runs from the beginning where it is started again', (phase) => {
    const { deadlines, over } = timed();
    const timeout = Number(TIMEOUTS[phase]);
    for (let i = 0; i < 5; i += 1) {
      deadlines.start(phase);
      jest.advanceTimersByTime(timeout - 1);
    }
    expect(over).toEqual([]);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(1);
    expect(over).toEqual([phase]);
  });

  it.each(PHASES)('%s: does not pass where it was stopped, and may be started anew', (phase) => {
    const { deadlines, over } = timed();
    deadlines.start(phase);
    deadlines.stop(phase);
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([]);
    deadlines.start(phase);
    jest.advanceTimersByTime(Number(TIMEOUTS[phase]));
    expect(over).toEqual([phase]);
  });

  it('does not mind the others', () => {
    const { deadlines, over } = timed();
    const start = Date.now();
    for (const phase of PHASES) deadlines.start(phase);
    deadlines.stop('headers');
    jest.advanceTimersByTime(250);
    expect(over).toEqual(['connect']);
    deadlines.start('idle');
    for (const at of [400, 500, 550]) jest.advanceTimersByTime(at - Date.now() + start);
    expect(over).toEqual(['connect', 'drain', 'total', 'idle']);
  });

  it('may be started again when it has passed', () => {
    const { deadlines, over } = timed();
    deadlines.start('headers');
    jest.advanceTimersByTime(200);
    deadlines.start('headers');
    jest.advanceTimersByTime(199);
    expect(over).toEqual(['headers']);
    jest.advanceTimersByTime(1);
    expect(over).toEqual(['headers', 'headers']);
  });

  it('is stopped several at a time, whether they run or not', () => {
    const { deadlines, over } = timed();
    for (const phase of PHASES) deadlines.start(phase);
    deadlines.stop('connect', 'total');
    deadlines.stop('connect');
    expect(jest.getTimerCount()).toBe(3);
    jest.advanceTimersByTime(1000);
    expect(over).toEqual(['headers', 'idle', 'drain']);
  });

  it('is stopped with all of them, and then no timer is left', () => {
    const { deadlines, over } = timed();
    for (const phase of PHASES) deadlines.start(phase);
    expect(jest.getTimerCount()).toBe(PHASES.length);
    deadlines.stopAll();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10_000);
    expect(over).toEqual([]);
  });

  it('costs nothing where none is wanted', () => {
    const { deadlines } = timed(OFF);
    for (const phase of PHASES) deadlines.start(phase);
    expect(jest.getTimerCount()).toBe(0);
    deadlines.stopAll();
  });

  it('may be stopped by the one that passes', () => {
    const deadlines = new Deadlines(TIMEOUTS, () => deadlines.stopAll());
    for (const phase of PHASES) deadlines.start(phase);
    jest.advanceTimersByTime(100);
    expect(jest.getTimerCount()).toBe(0);
  });
});

// What becomes of a timer that fires, or was stopped, and is then refreshed is for Node to say.
describe("a deadline with a timer of Node's", () => {
  it('may be put off by what it calls, again and again', async () => {
    const times = await new Promise<number>((resolve) => {
      let count = 0;
      const deadlines = new Deadlines({ ...OFF, headers: 5 }, () => {
        count += 1;
        if (count < 3) deadlines.start('headers');
        else resolve(count);
      });
      deadlines.start('headers');
    });
    expect(times).toBe(3);
  });

  it('passes where it was stopped and started anew', async () => {
    const phase = await new Promise<Phase>((resolve) => {
      const deadlines = new Deadlines({ ...OFF, idle: 5 }, resolve);
      deadlines.start('idle');
      deadlines.stop('idle');
      deadlines.start('idle');
    });
    expect(phase).toBe('idle');
  });
});
