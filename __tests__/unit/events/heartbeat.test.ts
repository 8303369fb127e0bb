import { afterEach, beforeEach, expect, it, jest } from '@jest/globals';
import { Heartbeat } from '../../../lib/events/heartbeat.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function beating(): { heartbeat: Heartbeat; beat: jest.Mock } {
  const beat = jest.fn();
  return { heartbeat: new Heartbeat(1000, beat), beat };
}

it('heartbeat: beats after each interval of silence, and not before', () => {
  const { beat } = beating();
  jest.advanceTimersByTime(999);
  expect(beat).not.toHaveBeenCalled();
  jest.advanceTimersByTime(1);
  expect(beat).toHaveBeenCalledTimes(1);
  jest.advanceTimersByTime(999);
  expect(beat).toHaveBeenCalledTimes(1);
  jest.advanceTimersByTime(2001);
  expect(beat).toHaveBeenCalledTimes(4);
});

it('heartbeat: counts the silence from the last bytes on', () => {
  const { heartbeat, beat } = beating();
  for (let i = 0; i < 10; i += 1) {
    jest.advanceTimersByTime(999);
    heartbeat.sent();
  }
  expect(beat).not.toHaveBeenCalled();
  jest.advanceTimersByTime(1000);
  expect(beat).toHaveBeenCalledTimes(1);
});

it('heartbeat: is still when it was stopped, and leaves no timer', () => {
  const { heartbeat, beat } = beating();
  jest.advanceTimersByTime(1000);
  heartbeat.stop();
  expect(jest.getTimerCount()).toBe(0);
  jest.advanceTimersByTime(10_000);
  expect(beat).toHaveBeenCalledTimes(1);
});

it('heartbeat: may be stopped by a beat', () => {
  const heartbeat = new Heartbeat(1000, () => heartbeat.stop());
  jest.advanceTimersByTime(1000);
  expect(jest.getTimerCount()).toBe(0);
});
