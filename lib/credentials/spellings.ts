import { escaped } from '../util/escape-regexp.js';

/** Characters that JSON, URLs and HTML have no other spelling for, or one that nobody uses. */
const PLAIN = /[\w.~-]/;

/** Characters that JSON may have behind a backslash. */
const AFTER_BACKSLASH = '"\\/';

/** What HTML calls some characters. */
const ENTITIES: Readonly<Record<string, string>> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot', "'": 'apos' };

/** A secret, character by character, in whatever spelling it may come back: `/` also as `\/`, `\u002f`, `%2F` or `&#47;`. */
export type Spelled = readonly (readonly string[])[];

export function spell(value: string): Spelled {
  return [...value].map((character) => {
    if (PLAIN.test(character)) return [character];
    const code = character.charCodeAt(0);
    const lower = code.toString(16).padStart(2, '0');
    const spellings = [lower, lower.toUpperCase()].flatMap((hex) => [`\\u00${hex}`, `%${hex}`, `&#x${hex};`]);
    if (AFTER_BACKSLASH.includes(character)) spellings.push(`\\${character}`);
    const entity = ENTITIES[character];
    if (entity !== undefined) spellings.push(`&${entity};`);
    return [...new Set([character, `&#${code};`, ...spellings])];
  });
}

/** The most characters that a secret may have. */
export function longest(spelled: Spelled): number {
  return spelled.reduce((sum, spellings) => sum + Math.max(...spellings.map(({ length }) => length)), 0);
}

export function patternOf(spelled: Spelled): string {
  return spelled.map((spellings) => `(?:${spellings.map(escaped).join('|')})`).join('');
}

/** Whether what begins here, and goes on to the end of the text, is the beginning of the secret and no more. */
export function isBegun(spelled: Spelled, text: string, start: number): boolean {
  let places = [start];
  for (const spellings of spelled) {
    const next: number[] = [];
    for (const place of places) {
      for (const spelling of spellings) {
        if (text.startsWith(spelling, place)) next.push(place + spelling.length);
        else if (text.length - place < spelling.length && spelling.startsWith(text.slice(place))) return true;
      }
    }
    if (next.length === 0) return false;
    places = next;
  }
  return false;
}
