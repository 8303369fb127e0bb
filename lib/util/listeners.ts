import type { EventEmitter } from 'node:events';

/** Lets an emitter have so many listeners more before Node takes them for a leak: what is many here is meant. */
export function makeRoomForListeners(emitter: EventEmitter, more: number): void {
  const limit = emitter.getMaxListeners();
  // 0 is no limit.
  if (limit > 0) emitter.setMaxListeners(limit + more);
}
