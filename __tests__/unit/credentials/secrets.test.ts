import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Secrets } from '../../../lib/credentials/secrets.js';
import { readAll } from '../../support/clients/http.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const KEY = 'sk-7Qz9LmXw2RtYbN4v';
const hidden = (value: string): string => '*'.repeat(value.length);

/** Credentials in fields whose names do not matter. */
const secretsOf = (...values: string[]): Secrets =>
  new Secrets(Object.fromEntries(values.map((value, i) => [`x-${i}`, value])));

const SECRETS = secretsOf(KEY);

/** A body that comes in these pieces: what had left of it after each, in the same tick, and all of it. */
async function masked(secrets: Secrets, pieces: readonly string[]): Promise<{ left: string[]; all: string }> {
  const masker = secrets.createMasker();
  let all = '';
  const left = pieces.map((piece) => {
    masker.write(piece, 'latin1');
    all += masker.read()?.toString('latin1') ?? '';
    return all;
  });
  masker.end();
  return { left, all: all + (await readAll(masker)).toString('latin1') };
}

const inPieces = async (secrets: Secrets, ...pieces: string[]): Promise<string> => (await masked(secrets, pieces)).all;

/** Each piece of a text that is in two. */
const halves = (text: string): [string, string][] =>
  Array.from({ length: text.length + 1 }, (_, at) => [text.slice(0, at), text.slice(at)]);

/** What a key may stand in, and what is to become of it. */
const TEXTS: [what: string, text: string, expected: string][] = [
  ['nothing else', KEY, hidden(KEY)],
  ['the beginning', `${KEY} is wrong`, `${hidden(KEY)} is wrong`],
  ['the end', `wrong: ${KEY}`, `wrong: ${hidden(KEY)}`],
  ['two places', `${KEY}, ${KEY}.`, `${hidden(KEY)}, ${hidden(KEY)}.`],
  ['one place twice', KEY + KEY, hidden(KEY + KEY)],
  ['one place, begun before', `sk-7Q${KEY}`, `sk-7Q${hidden(KEY)}`],
  ['one place, begun again behind', `${KEY}sk-7Qx`, `${hidden(KEY)}sk-7Qx`],
  ['JSON', `{"error":"Bearer ${KEY}"}`, `{"error":"Bearer ${hidden(KEY)}"}`],
  [
    'a place of which something is missing',
    `${KEY.slice(1)} ${KEY.slice(0, 7)} ${KEY.slice(0, 7)}`,
    `${KEY.slice(1)} ${KEY.slice(0, 7)} ${KEY.slice(0, 7)}`,
  ],
  ['another case', KEY.toLowerCase(), KEY.toLowerCase()],
  ['bytes', `\x00\xff${KEY}\xf0\x9f\x99`, `\x00\xff${hidden(KEY)}\xf0\x9f\x99`],
];

/** Credentials that are not simply one key, a text in which they stand, and what is to become of it. */
const TWISTED: [what: string, values: string[], text: string, expected: string][] = [
  ['one that overlaps itself', ['sk-sk-sk-'], 'sk-sk-sk-sk-s', '************s'],
  ['one of a single character', ['aaaaaaaa'], 'aaaaaaaaa b aaaaaaa', '********* b aaaaaaa'],
  [
    'one that begins another',
    ['sk-abcde', 'sk-abcdefgh'],
    'sk-abcdefgh sk-abcde sk-abcdefg.',
    '*********** ******** ********fg.',
  ],
  ['one that ends another', ['abcdefgh', 'sk-abcdefgh'], 'sk-abcdefgh abcdefgh', '*********** ********'],
  ['one within another', ['bcdefghi', 'abcdefghijkl'], 'abcdefghijkl abcdefghij.', '************ a********j.'],
  ['two that overlap', ['abcdefgh', 'efghijkl'], 'abcdefghijkl', '************'],
  ['one with stars', ['*abcdefg'], '*abcdefgabcdefg', '********abcdefg'],
  ['one with signs that mean something in patterns', ['$&.(a|b)*[^'], 'x$&.(a|b)*[^$&', 'x***********$&'],
];

const SLASHED = 'sk-a/b+c&d"e\\f\'g=h';

/** How whoever repeats a key may write it. */
const SPELLINGS: [what: string, spell: (value: string) => string][] = [
  ['JSON', (value) => JSON.stringify(value).slice(1, -1)],
  ['JSON with `\\/` (PHP)', (value) => JSON.stringify(value).slice(1, -1).replaceAll('/', '\\/')],
  ['JSON with escapes in lower case (Go, Gson)', (value) => escapedIn(value, (code) => `\\u00${code}`)],
  ['JSON with escapes in upper case (.NET)', (value) => escapedIn(value, (code) => `\\u00${code.toUpperCase()}`)],
  ['a URL', encodeURIComponent],
  ['a URL in lower case', (value) => escapedIn(value, (code) => `%${code}`)],
  ['HTML', (value) => escapedIn(value, (code) => `&#x${code};`)],
  ['HTML by number', (value) => escapedIn(value, (code) => `&#${Number.parseInt(code, 16)};`)],
  ['HTML by name', (value) => value.replace(/[&"']/g, (sign) => `&${{ '&': 'amp', '"': 'quot', "'": 'apos' }[sign]};`)],
];

const escapedIn = (value: string, write: (code: string) => string): string =>
  value.replace(/[^\w-]/g, (sign) => write(sign.charCodeAt(0).toString(16)));

describe.each(SPELLINGS)('a key that is repeated in the spelling of %s', (_what, spell) => {
  const spelled = spell(SLASHED);
  const secrets = secretsOf(SLASHED);

  it('secret masking: a key that is repeated in another spelling is masked in a text', () => {
    expect(secrets.mask(`<${spelled}> ${spelled.slice(0, -1)}`)).toBe(`<${hidden(spelled)}> ${spelled.slice(0, -1)}`);
  });

  it('secret masking: a key that is repeated in another spelling is masked in a body, wherever that is split', async () => {
    const text = `{"error":"${spelled}"}`;
    const expected = `{"error":"${hidden(spelled)}"}`;
    for (const pieces of halves(text)) expect(await inPieces(secrets, ...pieces)).toBe(expected);
    expect(await inPieces(secrets, ...text)).toBe(expected);
  });
});

const FOREIGN = 'pässwörd-€-\u{1f511}';
const unitsOf = (value: string, write: (code: string) => string): string =>
  Array.from({ length: value.length }, (_, i) => value.charAt(i))
    .map((unit) => (unit < '\x80' ? unit : write(unit.charCodeAt(0).toString(16).padStart(4, '0'))))
    .join('');

describe.each<[what: string, spelled: string]>([
  ['as it is', FOREIGN],
  ['in JSON with escapes', unitsOf(FOREIGN, (code) => `\\u${code}`)],
  ['in JSON with escapes in upper case', unitsOf(FOREIGN, (code) => `\\u${code.toUpperCase()}`)],
  ['in a URL', encodeURIComponent(FOREIGN)],
  ['in a URL in lower case', encodeURIComponent(FOREIGN).toLowerCase()],
  ['in HTML', FOREIGN.replace(/[^\x20-\x7f]/gu, (character) => `&#x${character.codePointAt(0)?.toString(16)};`)],
])('a password with letters beyond ASCII, %s', (_what, spelled) => {
  const secrets = secretsOf(FOREIGN);

  it('secret masking: a password with letters beyond ASCII is masked in a text', () => {
    expect(secrets.mask(`<${spelled}>`)).toBe(`<${hidden(spelled)}>`);
  });

  it('secret masking: a password with letters beyond ASCII is masked in a body in UTF-8, wherever that is split', async () => {
    const bytes = Buffer.from(`<${spelled}>`);
    for (let i = 0; i <= bytes.length; i += 1) {
      const masker = secrets.createMasker();
      masker.write(bytes.subarray(0, i));
      masker.end(bytes.subarray(i));
      expect((await readAll(masker)).toString()).toBe(`<${'*'.repeat(bytes.length - 2)}>`);
    }
  });
});

describe('a text', () => {
  it.each(TEXTS)('secret masking: a text has stars in the place of a key in %s', (_what, text, expected) => {
    expect(SECRETS.mask(text)).toBe(expected);
  });

  it.each(TWISTED)('secret masking: a text has stars in the place of %s', (_what, values, text, expected) => {
    expect(secretsOf(...values).mask(text)).toBe(expected);
    expect(secretsOf(...values.toReversed()).mask(text)).toBe(expected);
  });

  it.each(['Bearer', 'bearer', 'Basic', 'Token'])('secret masking: a text keeps the scheme: %s', (scheme) => {
    expect(secretsOf(`${scheme} ${KEY}`).mask(`${scheme} ${KEY}, ${KEY}`)).toBe(
      `${scheme} ${hidden(KEY)}, ${hidden(KEY)}`,
    );
  });

  it.each([` ${KEY}`, `${KEY} `, `${KEY}\t`, `Bearer  ${KEY}`, ` Bearer ${KEY} `])(
    'secret masking: a text has stars also where a header loses the space around its value on the way: %j',
    (value) => {
      expect(secretsOf(value).mask(`<${KEY}>`)).toBe(`<${hidden(KEY)}>`);
    },
  );

  it.each(['', 'a', '1234567', 'Bearer 1234567'])(
    'secret masking: a text has none for what is too short to be a secret: %j',
    (value) => {
      const secrets = secretsOf(value);
      expect(secrets.isEmpty).toBe(true);
      expect(secrets.mask(`a ${value} 1234567 Bearer a`)).toBe(`a ${value} 1234567 Bearer a`);
    },
  );

  it('secret masking: a text has some for what is just long enough', () => {
    expect(secretsOf('12345678').isEmpty).toBe(false);
    expect(secretsOf('12345678').mask('123456789')).toBe('********9');
  });
});

describe('header fields', () => {
  it('secret masking: headers have stars in each of their lines', () => {
    const headers = { 'x-one': `a ${KEY}`, 'x-lines': ['b', `c=${KEY}; d`, KEY], 'x-none': 'e' };
    SECRETS.maskHeaders(headers);
    expect(headers).toEqual({
      'x-one': `a ${hidden(KEY)}`,
      'x-lines': ['b', `c=${hidden(KEY)}; d`, hidden(KEY)],
      'x-none': 'e',
    });
  });
});

describe('an error', () => {
  const circular = new Error(KEY);
  circular.cause = circular;
  const all = (error: unknown): string => inspect(error, { depth: 20, showHidden: true });

  it.each(['code', 'cause'])('secret masking: an error may have a getter that throws: %s', (name) => {
    const get = (): never => {
      throw new Error('no');
    };
    const error = Object.defineProperty(new Error(KEY), name, { get });
    SECRETS.maskError(error);
    expect(error.message).toBe(hidden(KEY));
  });

  it('secret masking: an error has stars in all that it says, and so has each of its causes', () => {
    const cause = Object.assign(new TypeError(`No JSON: ${KEY}`), { input: `http://[${KEY}`, line: 1 });
    const error = new Error(`Failed: ${KEY}`, { cause: new Error('No key', { cause }) });
    SECRETS.maskError(error);
    expect(error.message).toBe(`Failed: ${hidden(KEY)}`);
    expect(cause).toMatchObject({ message: `No JSON: ${hidden(KEY)}`, input: `http://[${hidden(KEY)}`, line: 1 });
    expect(cause.stack).toContain(cause.message);
    expect(all(error)).not.toContain(KEY);
  });

  it("secret masking: an error loses the bytes that Node's parser has not understood", () => {
    const error = Object.assign(new Error('Parse Error'), { code: 'HPE_X', rawPacket: Buffer.from(KEY) });
    SECRETS.maskError(error);
    expect(error).not.toHaveProperty('rawPacket');
    expect(error).toHaveProperty('code', 'HPE_X');
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a text', KEY],
    ['an object', { message: KEY }],
    ['one that is its own cause', circular],
    ['a frozen one', Object.freeze(new Error(KEY))],
  ])('secret masking: an error may be anything that was thrown: %s', (_what, thrown) => {
    expect(() => SECRETS.maskError(thrown)).not.toThrow();
  });
});

describe('a body', () => {
  it.each([...TEXTS.map(([what, text, expected]) => [what, [KEY], text, expected] as const), ...TWISTED])(
    'secret masking: a body has stars wherever it is split, around %s',
    async (_what, values, text, expected) => {
      const secrets = secretsOf(...values);
      for (const pieces of halves(text))
        expect([pieces, await inPieces(secrets, ...pieces)]).toEqual([pieces, expected]);
      expect(await inPieces(secrets, ...text)).toBe(expected);
    },
  );

  it('secret masking: a body is held back only as far as it may be the beginning of a secret', async () => {
    const pieces = ['wrong: s', 'x', ' sk-', 'sk-7', 'Q', ' and ', KEY, KEY.slice(0, 10), KEY.slice(10), 's'];
    const { left } = await masked(SECRETS, pieces);
    expect(left.map((text, i) => text.slice(left[i - 1]?.length ?? 0))).toEqual([
      'wrong: ',
      'sx',
      ' ',
      'sk-',
      '',
      'sk-7Q and ',
      hidden(KEY),
      '',
      hidden(KEY),
      '',
    ]);
  });

  it('secret masking: a body is not held back where a secret that ends as it begins is whole', async () => {
    const value = 'sk-abcdesk-';
    expect((await masked(secretsOf(value), [value, 'abcdesk-', 'x'])).left).toEqual([
      hidden(value),
      `${hidden(value)}********`,
      `${hidden(value)}********x`,
    ]);
  });

  it.each([8, 12, KEY.length - 1])(
    'secret masking: a body that ends in the middle of a secret shows none of its %i bytes',
    async (size) => {
      const beginning = KEY.slice(0, size);
      for (const pieces of halves(`x ${beginning}`))
        expect(await inPieces(SECRETS, ...pieces)).toBe(`x ${hidden(beginning)}`);
    },
  );

  it('secret masking: a body ends with what has only begun like a secret', async () => {
    expect(await inPieces(SECRETS, 'x sk-7Qz', '9')).toBe('x sk-7Qz9');
  });

  it('secret masking: a body keeps every byte that is not of a secret', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1');
    expect(await inPieces(SECRETS, bytes + KEY + bytes)).toBe(bytes + hidden(KEY) + bytes);
    expect(await inPieces(secretsOf(), bytes, bytes)).toBe(bytes + bytes);
  });

  it('secret masking: a body comes to the same whatever way it is split, as long as it was, and as soon as it can', async () => {
    const letters = fc.stringMatching(/^[ab*]{8,12}$/);
    const cases = fc.array(letters, { maxLength: 3 }).chain((values) =>
      fc.tuple(
        fc.constant(values),
        fc.array(
          fc
            .array(fc.oneof(fc.stringMatching(/^[ab*]{0,9}$/), fc.constantFrom('', ...values)), { maxLength: 4 })
            .map((parts) => parts.join('')),
          { maxLength: 8 },
        ),
      ),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ([values, pieces]) => {
        const { left, all } = await masked(secretsOf(...values), pieces);
        const text = pieces.join('');
        expect(all).toBe(byTheBook(text, values, true));
        expect(secretsOf(...values).mask(text)).toBe(byTheBook(text, values));
        for (const [i, sent] of left.entries()) {
          const come = pieces.slice(0, i + 1).join('');
          expect(sent).toBe(all.slice(0, sent.length));
          expect(come.length - sent.length).toBeLessThanOrEqual(begun(come, values));
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

/** Byte by byte: those that belong to a secret, and at the end those of the beginning of one that is as long as a secret. */
function byTheBook(text: string, values: readonly string[], isBody = false): string {
  const covered = new Set<number>();
  const cover = (from: number, length: number): void => {
    for (let i = from; i < from + length; i += 1) covered.add(i);
  };
  for (const value of values) {
    for (let at = 0; at < text.length; at += 1) if (text.startsWith(value, at)) cover(at, value.length);
  }
  const rest = begun(text, values);
  if (isBody && rest >= 8) cover(text.length - rest, rest);
  return [...text].map((byte, i) => (covered.has(i) ? '*' : byte)).join('');
}

/** How many bytes at the end of a text may be the beginning of a value. */
function begun(text: string, values: readonly string[]): number {
  const lengths = values.flatMap((value) =>
    [...value].map((_, length) => (text.endsWith(value.slice(0, length)) ? length : 0)),
  );
  return Math.max(0, ...lengths);
}
