import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { HeaderFields } from '../types/http.js';
import { combined, elementsOf, linesOf } from './header-values.js';

/** RFC 9110 7.6.1 and, beyond it, the headers that concern a single connection by common practice. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'upgrade',
  'proxy-authenticate',
  'proxy-authorization',
  'trailer',
]);

/** Headers that say how to read the message. A Connection header that names one of them is mistaken or an attack. */
const NEVER_NOMINATED = new Set(['content-length', 'content-type', 'content-encoding', 'host', 'transfer-encoding']);

const NO_NAMES: ReadonlySet<string> = new Set();

/** The headers that a Connection header names, each once, without those that are hop-by-hop in any case. */
export function nominatedBy(connection: string | string[] | undefined): ReadonlySet<string> {
  // The common values, which name no header.
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NO_NAMES;
  const names = elementsOf(connection);
  return new Set(names.filter((name) => name !== '' && !HOP_BY_HOP.has(name) && !NEVER_NOMINATED.has(name)));
}

/** Removes from a client's request, in place, those of the nominated headers that the client itself has sent. */
export function removeNominatedBy(nominated: ReadonlySet<string>, { headers, rawHeaders }: IncomingMessage): void {
  if (nominated.size === 0) return;
  const lines = linesOf(rawHeaders);
  // A client must not be able to strip what the app has put there, credentials above all.
  for (const name of nominated) if (isFrom(lines.get(name), headers[name])) delete headers[name];
}

/** Whether a header has the value that the client has sent, in these lines. */
function isFrom(lines: string[] | undefined, header: string | string[] | undefined): boolean {
  const value = combined(header);
  return lines !== undefined && (lines[0] === value || lines.join(', ') === value || lines.join('; ') === value);
}

/** Removes from the head of a response, in place, what concerns the connection to the upstream only. */
export function removeConnectionHeaders(headers: IncomingHttpHeaders | HeaderFields): void {
  for (const name of nominatedBy(headers.connection)) delete headers[name];
  for (const name of HOP_BY_HOP) delete headers[name];
  delete headers['transfer-encoding'];
}
