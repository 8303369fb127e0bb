import type { StreamEvent } from '../types/hooks.js';
import type { RequestEdit } from '../types/provider.js';
import { callHook } from '../util/hooks.js';

/** Whether an event is removed from the stream. */
export type Removal = (event: StreamEvent) => boolean;

/**
 * The edit that the proxy makes for its own account, before the user's `transformEvent` sees the event: it removes events that are there
 * only because the request was edited. `undefined` if there are none.
 */
export function extrasOf(edit: RequestEdit | undefined): Removal | undefined {
  if (edit?.isExtra === undefined) return undefined;
  return (event) => callHook('isExtra', () => edit.isExtra?.(event), Boolean);
}
