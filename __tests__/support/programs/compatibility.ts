import { readFileSync } from 'node:fs';

export { ABORTS, ERRORS, HEARTBEATS, STREAMS } from '../../compatibility/titles.js';

/** A heartbeat on the wire. */
export const PING = ': ping\n\n';

/** What the package is compatible with: who calls it, whom it asks, what stands in front of it, and where it runs. */
export type Kind = 'client' | 'provider' | 'front' | 'host';

/**
 * The title of a `describe` block that is a row of the README's table of compatibility.
 *
 * @param version is left out where there is none
 */
export function compatible(kind: Kind, name: string, version = ''): string {
  return `${kind}: ${name} ${version}`.trimEnd();
}

/** The version of an installed package. */
export function versionOf(packageName: string): string {
  // Not with `require`: a package need not export it.
  const file = new URL(`../../../node_modules/${packageName}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')).version;
}
