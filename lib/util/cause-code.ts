import { MAX_CAUSES } from '../defaults.js';
import { memberOf } from './member-of.js';

/** The code of what made an error: `ECONNREFUSED`, or a provider's own, such as `overloaded_error`; `undefined` where no cause has one. */
export function causeCode(error: unknown): string | undefined {
  let cause = memberOf(error, 'cause');
  for (let i = 0; i < MAX_CAUSES && cause !== undefined; i += 1) {
    const code = memberOf(cause, 'code');
    if (typeof code === 'string' && /^[A-Za-z][\w.-]{1,99}$/.test(code)) return code;
    cause = memberOf(cause, 'cause');
  }
  return undefined;
}
