/** The lines of a header as one (RFC 9110 5.3). */
export function combined(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}

/** What a header lists, in lower case. */
export function elementsOf(value: string | string[] | undefined): string[] {
  return combined(value)
    .split(',')
    .map((element) => element.trim().toLowerCase());
}

/** The value of a header that has one, however it is held. */
export function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** The lines of each header, by lower-case name. In older versions of Node `headersDistinct` throws for some names. */
export function linesOf(rawHeaders: readonly string[]): Map<string, string[]> {
  const linesByName = new Map<string, string[]>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = String(rawHeaders[i]).toLowerCase();
    const lines = linesByName.get(name);
    if (lines === undefined) linesByName.set(name, [String(rawHeaders[i + 1])]);
    else lines.push(String(rawHeaders[i + 1]));
  }
  return linesByName;
}
