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

/** The members of the object that a valid JSON text is; not those of the objects within it. */
function* membersOf(text: string): Generator<Member> {
  let at = text.indexOf('{') + 1;
  for (;;) {
    const keyStart = text.indexOf('"', at);
    if (keyStart < 0) return;
    const keyEnd = endOfString(text, keyStart);
    const start = endOfSpace(text, text.indexOf(':', keyEnd) + 1);
    const end = endOfValue(text, start);
    yield { key: JSON.parse(text.slice(keyStart, keyEnd)) as string, start, end };
    at = endOfSpace(text, end);
    if (text[at] !== ',') return;
  }
}

function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  for (; at < text.length; at += 1) {
    const character = text[at] as string;
    if (character === '"') at = endOfString(text, at) - 1;
    else if ('{['.includes(character)) depth += 1;
    else if (depth === 0 && (character === ',' || isSpace(character) || character === '}')) return at;
    else if ('}]'.includes(character)) depth -= 1;
  }
  return at;
}

/** Behind its closing quote: the first one with an even number of backslashes before it. */
function endOfString(text: string, start: number): number {
  let at = start;
  let backslashes: number;
  do {
    at = text.indexOf('"', at + 1);
    backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes += 1;
  } while (backslashes % 2 === 1);
  return at + 1;
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
