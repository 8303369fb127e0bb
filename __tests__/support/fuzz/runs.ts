import fc from 'fast-check';
import { FIXTURES } from '../streams/fixtures.js';
import { realProcess } from '../watch/process.js';

/**
 * How often each property is tried, and from where. By itself always the same runs, so that what fails is what was changed. For
 * longer, and others: `FUZZ_RUNS=100000 FUZZ_SEED=$RANDOM npm test -- __tests__/fuzz`; for once more what a failure has printed:
 * `FUZZ_SEED=... FUZZ_PATH=... npm test -- __tests__/fuzz/<file> -t <name>`.
 */
export const RUNS = Number(process.env.FUZZ_RUNS ?? 400);

const SEED = Number(process.env.FUZZ_SEED ?? 1);

const PATH = process.env.FUZZ_PATH;

/** For each test: a long run takes as long as it does, and has what it finds shrunk. Milliseconds. */
export const TIMEOUT = 60_000 + RUNS * 60;

realProcess.stderr.write(`fuzz: FUZZ_RUNS=${RUNS} FUZZ_SEED=${SEED}\n`);

/** What `fc.assert` is given. */
export function runs<T>(): fc.Parameters<T> {
  return {
    numRuns: RUNS,
    seed: SEED,
    // Of one run. Milliseconds.
    timeout: 10_000,
    ...(PATH !== undefined && { path: PATH }),
    reporter: (details) => {
      if (!details.failed) return;
      const replay = `FUZZ_SEED=${details.seed} FUZZ_PATH=${details.counterexamplePath}`;
      throw new Error(`${replay} for the same once more\n${fc.defaultReportMessage(details)}`, {
        cause: details.errorInstance,
      });
    },
  };
}

/** Somewhere between the two ends. Of doubles, as fast-check has them, most are next to nothing. */
export const aShare = fc.nat({ max: 1_000 }).map((thousandths) => thousandths / 1_000);

/** Where to cut; twice at one place gives a chunk without bytes. */
export const anyCuts = fc.array(aShare, { maxLength: 12 });

export function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = cuts.map((cut) => Math.round(cut * bytes.length)).sort((a, b) => a - b);
  return [...places, bytes.length].map((end, i) => bytes.subarray(places[i - 1] ?? 0, end));
}

export const bytewise = (bytes: Buffer): Buffer[] => Array.from(bytes, (_byte, i) => bytes.subarray(i, i + 1));

/** One thing that goes wrong with bytes on their way; the numbers are shares of their length. */
export type Damage =
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'delete'; at: number; length: number }
  | { kind: 'repeat'; at: number; length: number }
  | { kind: 'insert'; at: number; bytes: Buffer };

const length = fc.integer({ min: 1, max: 40 });

/** Bytes that mean something to somebody, and some that mean nothing to anybody. */
const splices = fc.oneof(
  fc
    .constantFrom('\n', '\r', '\r\n', '\n\n', '\r\n\r\n', '\0', '\ufeff', ':', 'data: ', '"', '\\', '[', '}', '🙂')
    .map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(...FIXTURES).map(({ bytes }) => bytes.subarray(0, 60)),
);

const anyDamage: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: aShare, bit: fc.nat({ max: 7 }) }),
  fc.record({ kind: fc.constant('delete' as const), at: aShare, length }),
  fc.record({ kind: fc.constant('repeat' as const), at: aShare, length }),
  fc.record({ kind: fc.constant('insert' as const), at: aShare, bytes: splices }),
);

/** None, or some: one after the other. */
export const someDamage = (maxLength = 4): fc.Arbitrary<Damage[]> => fc.array(anyDamage, { maxLength });

export function damaged(bytes: Buffer, damages: readonly Damage[]): Buffer {
  return damages.reduce(damagedOnce, bytes);
}

function damagedOnce(bytes: Buffer, damage: Damage): Buffer {
  const at = Math.floor(damage.at * bytes.length);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (damage.kind) {
    case 'flip': {
      const [byte = 0, ...rest] = after;
      return Buffer.concat([before, Buffer.from([byte ^ (1 << damage.bit), ...rest])]);
    }
    case 'delete':
      return Buffer.concat([before, after.subarray(damage.length)]);
    case 'repeat':
      return Buffer.concat([before, after.subarray(0, damage.length), after]);
    case 'insert':
      return Buffer.concat([before, damage.bytes, after]);
  }
}

interface ReferenceEvent {
  data: string;
  event: string | undefined;
  id: string | undefined;
}

/** A stream of Server-Sent Events, read line by line as WHATWG HTML 9.2.6 has it. */
interface ReferenceReading {
  /** What is up to a blank line, with that. Nothing else can be an event. */
  blocks: Buffer[];
  /** The event of each block, if it is one. */
  events: (ReferenceEvent | undefined)[];
  /** Behind the last blank line. */
  rest: Buffer;
}

export function referenceReading(bytes: Buffer): ReferenceReading {
  const blocks: Buffer[] = [];
  const events: ReferenceReading['events'] = [];
  let begin = 0;
  let lines: string[] = [];
  for (const { 0: match, 1: line = '', index } of bytes.toString('latin1').matchAll(/([^\r\n]*)(?:\r\n|\r|\n)/g)) {
    if (line !== '') {
      lines.push(Buffer.from(line, 'latin1').toString());
      continue;
    }
    const end = index + match.length;
    blocks.push(bytes.subarray(begin, end));
    events.push(eventOf(begin === 0 ? lines.map((text, i) => (i === 0 ? text.replace(/^\ufeff/, '') : text)) : lines));
    begin = end;
    lines = [];
  }
  return { blocks, events, rest: bytes.subarray(begin) };
}

function eventOf(lines: readonly string[]): ReferenceEvent | undefined {
  const data: string[] = [];
  let event: string | undefined;
  let id: string | undefined;
  for (const line of lines) {
    const [, name = line, value = ''] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
    if (name === 'data') data.push(value);
    if (name === 'event') event = value === '' ? undefined : value;
    if (name === 'id' && !value.includes('\0')) id = value;
  }
  return data.length === 0 ? undefined : { data: data.join('\n'), event, id };
}
