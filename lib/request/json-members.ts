/**
 * Gives the members of this name, of the object that a JSON text is, another value. All else keeps its bytes: the digits of numbers, the
 * order of members, and the space between them. Of members that are there twice, parsers take one or the other: both are replaced.
 *
 * @param value in JSON
 * @returns `undefined` where the text is no JSON object, or has no such member
 */
export function replaceMembers(text: string, name: string, value: string): string | undefined {
  if (!isObjectText(text)) return undefined;
  let edited = '';
  let copied = 0;
  for (const { key, start, end } of membersOf(text)) {
    if (key !== name) continue;
    edited += text.slice(copied, start) + value;
    copied = end;
  }
  return copied === 0 ? undefined : edited + text.slice(copied);
}

function isObjectText(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** A member of an object, and where its value is in the text. */
interface Member {
  key: string;
  start: number;
  end: number;
}

/**
 * The texts of the values of some members of the object that a JSON text is. The text may be cut anywhere, and may be no JSON at all: then
 * only what is whole counts.
 */
export function memberTexts(text: string, names: ReadonlySet<string>): Map<string, string> {
  const found = new Map<string, string>();
  if (text[endOfSpace(text, 0)] !== '{') return found;
  for (const { key, start, end } of membersOf(text)) {
    if (end < text.length && names.has(key)) found.set(key, text.slice(start, end));
  }
  return found;
}

/** The members of the object that a JSON text is, in their order; not those of the objects within it. Ends at what is no JSON. */
function* membersOf(text: string): Generator<Member> {
  let at = text.indexOf('{') + 1;
  for (;;) {
    const keyStart = endOfSpace(text, at);
    if (text[keyStart] !== '"') return;
    const keyEnd = endOfString(text, keyStart);
    const colon = endOfSpace(text, keyEnd);
    if (text[colon] !== ':') return;
    const start = endOfSpace(text, colon + 1);
    const end = endOfValue(text, start);
    const key = keyOf(text.slice(keyStart, keyEnd));
    if (key === undefined) return;
    yield { key, start, end };
    at = endOfSpace(text, end);
    if (text[at] !== ',') return;
    at += 1;
  }
}

/** Without a parser where nothing is escaped, as in nearly all keys. */
function keyOf(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}

/** Where a value may end, or nest, or be a string. */
const STRUCTURE = /["{}[\],]/g;

function endOfValue(text: string, start: number): number {
  let depth = 0;
  STRUCTURE.lastIndex = start;
  for (let next = STRUCTURE.exec(text); next !== null; next = STRUCTURE.exec(text)) {
    const { 0: character, index } = next;
    if (character === '"') STRUCTURE.lastIndex = endOfString(text, index);
    else if (character === '{' || character === '[') depth += 1;
    else if (depth === 0) return trimmed(text, start, index);
    else if (character !== ',') depth -= 1;
  }
  return text.length;
}

/** The end without the space before it. */
function trimmed(text: string, start: number, end: number): number {
  let at = end;
  while (at > start && isSpace(text[at - 1])) at -= 1;
  return at;
}

/** Behind its closing quote: the first one with an even number of backslashes before it; the end of the text where there is none. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return at + 1;
  }
  return text.length;
}

function endOfSpace(text: string, start: number): number {
  let at = start;
  while (isSpace(text[at])) at += 1;
  return at;
}

/** RFC 8259 2. */
function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t';
}
