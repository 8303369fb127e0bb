import type { InformationEvent, ServerResponse } from 'node:http';
import { combined } from '../headers/header-values.js';
import { removeConnectionHeaders } from '../headers/hop-by-hop.js';

/** Whether an interim response is 103 (Early Hints), and has a Link header. */
export function isEarlyHints({ statusCode, headers }: InformationEvent): boolean {
  return statusCode === 103 && headers.link !== undefined;
}

/**
 * Sends early hints before the final response.
 *
 * @param headerFor the value of a header as this version of HTTP can send it; `undefined` if it cannot
 */
export function writeEarlyHints(
  res: ServerResponse,
  { headers }: InformationEvent,
  headerFor: (name: string, value: string | string[]) => string | string[] | undefined,
): void {
  const fields = { ...headers };
  removeConnectionHeaders(fields);
  // RFC 9110 8.6: the client would take it for that of the final response.
  delete fields['content-length'];
  const hints: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of Object.entries(fields)) {
    const field = value === undefined ? undefined : headerFor(name, value);
    if (field !== undefined) hints[name] = field;
  }
  // Node takes one link per element.
  hints.link = combined(headers.link ?? '').split(/,\s*(?=<)/);
  try {
    res.writeEarlyHints(hints);
  } catch {
    // Node cannot read the Link header. It was only a hint.
  }
}
