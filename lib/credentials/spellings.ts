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
    const code = character.codePointAt(0) as number;
    const utf8 = Buffer.from(character);
    const units = Array.from({ length: character.length }, (_, i) => hexOf(character.charCodeAt(i), 4));
    const escapes = [`\\u${units.join('\\u')}`, inPercent(utf8), ...(code < 0x100 ? [`%${hexOf(code, 2)}`] : [])];
    const spellings = [...escapes, `&#x${hexOf(code, 2)};`].flatMap((text) => [text, inUpperCase(text)]);
    if (AFTER_BACKSLASH.includes(character)) spellings.push(`\\${character}`);
    const entity = ENTITIES[character];
    if (entity !== undefined) spellings.push(`&${entity};`);
    // Bodies are searched byte by byte.
    return [...new Set([character, utf8.toString('latin1'), `&#${code};`, ...spellings])];
  });
}

function hexOf(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

function inPercent(bytes: Buffer): string {
  return [...bytes].map((byte) => `%${hexOf(byte, 2)}`).join('');
}

/** An escape with its hexadecimal digits in upper case. */
function inUpperCase(text: string): string {
  return text.replace(/(?<=\\u|%|&#x)[\da-f]+/g, (digits) => digits.toUpperCase());
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
    // Two spellings of one character may begin alike.
    places = next.length > 1 ? [...new Set(next)] : next;
  }
  return false;
}
