import type { StreamEvent } from '../types/hooks.js';
import type { RequestEdit } from '../types/provider.js';
import { callHook } from '../util/hooks.js';

/** Whether an event is to be kept from the client. */
export type Removal = (event: StreamEvent) => boolean;

/**
 * The edits that the proxy makes to a stream on its own account, before the user's `transformEvent` sees it: it takes out what is
 * there only because the request was changed. `undefined` where there is nothing to take out.
 */
export function extrasOf(edit: RequestEdit | undefined): Removal | undefined {
  if (edit?.isExtra === undefined) return undefined;
  return (event) => callHook('isExtra', () => edit.isExtra?.(event), Boolean);
}
