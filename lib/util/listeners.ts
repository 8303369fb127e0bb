import type { EventEmitter } from 'node:events';

/** Raises the number of listeners from which on Node warns of a leak: these are meant to be there. */
export function makeRoomForListeners(emitter: EventEmitter, more: number): void {
  const limit = emitter.getMaxListeners();
  // 0 is no limit.
  if (limit > 0) emitter.setMaxListeners(limit + more);
}
