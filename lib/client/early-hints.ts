import type { InformationEvent, ServerResponse } from 'node:http';
import { combined } from '../headers/header-values.js';
import { removeConnectionHeaders } from '../headers/hop-by-hop.js';

/** Whether an interim response is 103 (Early Hints), and has any. */
export function isEarlyHints({ statusCode, headers }: InformationEvent): boolean {
  return statusCode === 103 && headers.link !== undefined;
}

/**
 * Sends early hints in front of a response.
 *
 * @param fieldFor a header as this version of HTTP can have it; `undefined` where it cannot
 */
export function writeEarlyHints(
  res: ServerResponse,
  { headers }: InformationEvent,
  fieldFor: (name: string, value: string | string[]) => string | string[] | undefined,
): void {
  const fields = { ...headers };
  removeConnectionHeaders(fields);
  // RFC 9110 8.6: it would be taken for that of the final response.
  delete fields['content-length'];
  const hints: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of Object.entries(fields)) {
    const field = value === undefined ? undefined : fieldFor(name, value);
    if (field !== undefined) hints[name] = field;
  }
  // Node wants one link per element.
  hints.link = combined(headers.link ?? '').split(/,\s*(?=<)/);
  try {
    res.writeEarlyHints(hints);
  } catch {
    // A Link field that Node cannot read. It was only a hint.
  }
}
