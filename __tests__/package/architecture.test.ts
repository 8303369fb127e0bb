import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { textOf as pageOf, ROOT } from '../support/programs/docs.js';

/** The rooms of `lib/`, from the ground up: a file imports from its own room and from floors below. */
const FLOORS = [
  ['errors.ts', 'defaults.ts'],
  ['types', 'util'],
  ['fast-path'],
  ['headers', 'formats'],
  ['request', 'credentials'],
  ['admission', 'failover', 'client', 'events', 'observe', 'providers'],
  ['upstream', 'response'],
  ['exchange'],
  ['options'],
  ['create-sse-proxy.ts'],
  ['index.ts'],
];

/** What has an entry of its own in the package's `exports`; the rest of it is the core. */
const SUBPATHS = ['providers'];

interface Import {
  from: string;
  /** A file of `lib/`, or a package. */
  to: string;
  /** It leaves no trace in what runs. */
  isType: boolean;
}

const LIB = join(ROOT, 'lib');
const FILES = readdirSync(LIB, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const textOf = (file: string): string => readFileSync(join(LIB, file), 'utf8');
/** Without comments, so that what they say breaks no rule. */
const codeOf = (file: string): string => textOf(file).replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');

const IMPORTS = FILES.flatMap((from): Import[] =>
  [...codeOf(from).matchAll(/^(?:import|export) (type )?(?:[^;]*? from )?'([^']*)';/gm)].map(
    ([, type, specifier = '']) => ({
      from,
      to: specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts') : specifier,
      isType: type !== undefined,
    }),
  ),
);
const INNER = IMPORTS.filter(({ to }) => FILES.includes(to));

const roomOf = (file: string): string => file.split('/', 1)[0] as string;
const floorOf = (file: string): number => FLOORS.findIndex((rooms) => rooms.includes(roomOf(file)));
const show = ({ from, to }: Import): string => `${from} -> ${to}`;

/** The files of one circle of imports; empty where there is none. */
function circle(): string[] {
  const isDone = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (isDone.has(file)) return [];
    for (const { to } of INNER.filter(({ from }) => from === file)) {
      const found = visit(to, [...path, file]);
      if (found.length > 0) return found;
    }
    isDone.add(file);
    return [];
  };
  for (const file of FILES) {
    const found = visit(file, []);
    if (found.length > 0) return found;
  }
  return [];
}

describe('the architecture', () => {
  it('floors: every file of lib/ is in a room that has one', () => {
    expect(FILES.length).toBeGreaterThan(50);
    expect(INNER.length).toBeGreaterThan(200);
    expect(FILES.filter((file) => floorOf(file) < 0)).toEqual([]);
  });

  it('floors: imports go downwards, or stay in the room', () => {
    const upwards = INNER.filter(({ from, to }) => roomOf(from) !== roomOf(to) && floorOf(to) >= floorOf(from));
    expect(upwards.map(show)).toEqual([]);
  });

  it('circles: no file imports itself, by whatever way', () => {
    expect(circle()).toEqual([]);
  });

  it('subpaths: the core imports none', () => {
    const isSubpath = (file: string): boolean => SUBPATHS.includes(roomOf(file));
    expect(INNER.filter(({ from, to }) => isSubpath(to) && !isSubpath(from)).map(show)).toEqual([]);
  });

  it('http-proxy-middleware: only upstream/hpm/ runs it, and the index hands on what its users need', () => {
    const runs = IMPORTS.filter(({ to, isType }) => /^(http-proxy-middleware|httpxy)/.test(to) && !isType);
    const rooms = new Set(runs.map(({ from }) => posix.dirname(from)));
    expect([...rooms].sort()).toEqual(['.', 'upstream/hpm']);
    expect(runs.filter(({ from }) => posix.dirname(from) === '.').map(({ from }) => from)).toEqual(['index.ts']);
  });

  it("responses: only client/ writes to Express's res", () => {
    const writes =
      /\bres\.(write|writeHead|end|setHeader|appendHeader|removeHeader|flushHeaders|write\w+|addTrailers|destroy)\(|\bres\.status(Code|Message) = /;
    const found = FILES.filter((file) => roomOf(file) !== 'client' && writes.test(codeOf(file)));
    expect(found).toEqual([]);
  });

  it('fast path: only fast-path/ uses what Node does not document', () => {
    // Node writes most of these so; a parameter that is not used and the methods that a Transform has to have do as well.
    const undocumented = [
      /(\.|\{ )_(?!transform|flush|read)[a-z]\w*|readonly _|_readableState|_httpMessage/i,
      /\.(addRequest|assignSocket|chunkedEncoding|detachSocket|headRequest|shouldKeepAlive)\b|socket( as \{|\.)\s*server\b/,
    ];
    const found = FILES.filter(
      (file) => roomOf(file) !== 'fast-path' && undocumented.some((members) => members.test(codeOf(file))),
    );
    expect(found).toEqual([]);
  });
});

describe('ARCHITECTURE.md', () => {
  const page = pageOf('ARCHITECTURE.md');

  it('architecture: names every room with its floor', () => {
    const rows = [...page.matchAll(/^\| (\d+) \| `([\w.-]+)\/?` \|/gm)].map(([, floor, room]) => `${floor} ${room}`);
    const rooms = FLOORS.flatMap((names, floor) => names.map((name) => `${floor} ${name}`));
    expect(rows.sort()).toEqual(rooms.sort());
  });

  it('architecture: names files and folders that are there', () => {
    const named = [...page.matchAll(/`((?:lib\/)?[\w-]+\/[\w./-]*|[\w-]+\.ts)`/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(50);
    const isThere = (path: string): boolean =>
      [path, `lib/${path}`].some((place) => existsSync(join(ROOT, place))) ||
      FILES.some((file) => posix.basename(file) === path);
    expect(named.filter((path) => !path.startsWith('express-sse-proxy') && !isThere(path))).toEqual([]);
  });
});
