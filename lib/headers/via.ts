/*
 * `Via`: who has forwarded a message, and by which version of HTTP it was received (RFC 9110 7.6.3).
 */

/** The entry of this proxy; `undefined` where it adds none. `httpVersion` is that of the message that was received. */
export function viaEntry(pseudonym: string | undefined, httpVersion: string): string | undefined {
  // The version of HTTP/2 has one digit (RFC 9113 8.3.1), which Node writes as 2.0.
  return pseudonym === undefined ? undefined : `${httpVersion === '2.0' ? '2' : httpVersion} ${pseudonym}`;
}

/** The field with an entry at its end: each has been added by the one that forwarded the message next. */
export function appendVia(present: number | string | readonly string[] | undefined, entry: string): string {
  return [present ?? [], entry]
    .flat()
    .filter((value) => value !== '')
    .join(', ');
}
