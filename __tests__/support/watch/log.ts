import { format } from 'node:util';
import type { SseProxyOptions } from '../../../lib/index.js';

/** A `logger`, and what the proxy itself told it of errors. */
export function logbook(): { logger: NonNullable<SseProxyOptions['logger']>; errors: string[] } {
  const errors: string[] = [];
  const error = (message: string, ...values: unknown[]): void => {
    if (message.startsWith('[express-sse-proxy]')) errors.push(format(message, ...values));
  };
  return { logger: { info() {}, warn() {}, error }, errors };
}
