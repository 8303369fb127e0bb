import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import type { Usage } from '../../../lib/index.js';
import { sdkAccount } from '../../support/clients/account-sdks.js';
import { type Below, pick, random } from '../../support/fuzz/random.js';
import {
  type AccountedExchange,
  accountsOf,
  CODINGS,
  type Coding,
  costOf,
  type End,
  FALLBACK_MODEL,
  FIRST,
  nameOf,
  type Told,
  type Way,
} from '../../support/servers/accounted.js';
import { type Dialect, type Form, readAccount } from '../../support/streams/account-reader.js';
import {
  type Account,
  cutsOf,
  EVENT_SIZE,
  expectedOf,
  SHAPES,
  type Shape,
  UNFINISHED,
} from '../../support/streams/accounts.js';
import { type DrawnAnswer, drawAnswer } from '../../support/streams/drawn-answers.js';
import { closeAndWatchEachTest, realProcess } from '../../support/watch/process.js';

closeAndWatchEachTest();

/** How many exchanges, and from where: each has a seed of its own, with which a failure can be run again by itself. */
const RUNS = Number(process.env.ACCOUNTING_RUNS ?? 500);
const SEED = Number(process.env.ACCOUNTING_SEED ?? 17);

// --- answers whose figures are known by construction ------------------------------------------------------------------

const ACCOUNT: Account = { input: 1_117, output: 146, cached: 1_024, written: 64, reasoning: 128 };

const ALL_SHAPES = [...SHAPES, ...UNFINISHED];

const bytesOf = (parts: ReturnType<Shape['parts']>, count = parts.length): Buffer =>
  Buffer.from(
    parts
      .slice(0, count)
      .map(({ text }) => text)
      .join(''),
  );

/** Each shape whole, and cut behind each of its parts. */
const builtOf = (account: Account) =>
  ALL_SHAPES.flatMap((shape) => {
    const parts = shape.parts(account);
    const whole = { shape, end: 'ended' as End, count: parts.length };
    const cuts = cutsOf(parts).map((count) => ({ shape, end: 'cut' as End, count }));
    return [whole, ...cuts].map((built) => ({
      ...{ ...built, bytes: bytesOf(parts, built.count), expected: expectedOf(parts, built.count) },
    }));
  });

describe('accounting matrix: dialect x shape x end x coding', () => {
  it.each(Object.keys(CODINGS) as Coding[])('accounting matrix: %s', async (coding) => {
    const cases = builtOf(ACCOUNT).flatMap((built) => [29, 1_000].map((piece) => ({ ...built, piece })));
    const told = await accountsOf(
      cases.map(({ shape, end, bytes, piece }) => ({
        ...{ vendor: shape.dialect, path: shape.path, contentType: shape.contentType, request: { stream: true } },
        ...{ coding, isAccepted: piece === 1_000, bytes, end, way: 'at once', piece },
        eventSize: EVENT_SIZE,
      })),
    );
    const named = cases.map(({ shape, end, count, piece }) => ({ shape: shape.name, coding, end, count, piece }));
    expect(named.map((name, i) => ({ ...name, told: told[i]?.usages.map(figuresOf) }))).toEqual(
      named.map((name, i) => ({ ...name, told: [cases[i]?.expected] })),
    );
  });
});

const figuresOf = ({ reported, cost, ...figures }: Usage): Omit<Usage, 'reported' | 'cost'> => figures;

// --- the second reader ------------------------------------------------------------------------------------------------

const DIALECTS: Record<string, Dialect> = {
  '/v1/responses': 'responses',
  '/v1/messages': 'messages',
  '/api/chat': 'ollama',
};

function readingOf({ contentType, path, dialect }: Shape): { dialect: Dialect; form: Form } {
  const isStream = path.includes(':stream');
  const forms: Record<string, Form> = { 'text/event-stream': 'sse', 'application/x-ndjson': 'lines' };
  return {
    dialect: dialect === 'gemini' ? 'gemini' : (DIALECTS[path] ?? 'chat'),
    form: forms[contentType] ?? (isStream ? 'array' : 'json'),
  };
}

function drawAccount(below: Below): Account {
  const input = 1 + below(200_000);
  const output = 2 + below(30_000);
  const cached = below(input + 1);
  return { input, output, cached, written: below(input - cached + 1), reasoning: below(output - 1) };
}

it('accounting: the second reader finds in each shape the figures that it was made of', () => {
  const below = random(SEED);
  for (const account of [ACCOUNT, ...Array.from({ length: 20 }, () => drawAccount(below))]) {
    const built = builtOf(account);
    const read = built.map(({ shape, end, bytes, count }) => {
      const { dialect, form } = readingOf(shape);
      const { figures, complete } = readAccount(dialect, form, bytes, end === 'ended');
      return { shape: shape.name, end, count, told: { ...figures, complete } };
    });
    expect(read).toEqual(
      built.map(({ shape, end, count, expected }) => ({ shape: shape.name, end, count, told: expected })),
    );
  }
});

// --- answers that are drawn -------------------------------------------------------------------------------------------

/** What becomes of an answer. */
const KINDS = ['whole', 'whole', 'ended early', 'cut', 'left', 'read on', 'failed inside'] as const;
type Kind = (typeof KINDS)[number];

interface Drawn extends AccountedExchange {
  seed: number;
  kind: Kind;
  answer: DrawnAnswer;
  /** Of the answer, all that the proxy can read. */
  read: Buffer;
}

/** A place in the answer; not between CR and LF, where nobody can tell whether a line has ended. */
function placeIn(below: Below, parts: readonly Buffer[]): number {
  const bytes = Buffer.concat(parts);
  const boundaries = parts.map((_part, i) => Buffer.concat(parts.slice(0, i)).length).slice(1);
  const isBoundary = boundaries.length > 0 && below(3) > 0;
  let place = isBoundary ? pick(below, boundaries) : 1 + below(bytes.length - 1);
  while (bytes[place - 1] === 13) place += 1;
  return place;
}

/** One of the shapes whose figures are known, of which the second reader is known to read them. */
function builtAnswer(below: Below): DrawnAnswer {
  const shape = pick(below, ALL_SHAPES);
  const { dialect: vendor, path, contentType } = shape;
  const parts = shape.parts(drawAccount(below)).map(({ text }) => Buffer.from(text));
  const { dialect, form } = readingOf(shape);
  const request = { ...(modelIn(path) === undefined && { model: 'asked-model' }), stream: form !== 'json' };
  return { name: `built: ${vendor}`, dialect, form, vendor, path, contentType, request, parts };
}

function draw(seed: number): Drawn {
  const below = random(seed);
  const answer = below(8) === 0 ? builtAnswer(below) : drawAnswer(below);
  const all = Buffer.concat(answer.parts);
  let kind: Kind = pick(below, KINDS);
  if (kind === 'failed inside' && answer.failure === undefined) kind = 'whole';
  const place = placeIn(below, answer.parts);
  const coding = pick(below, Object.keys(CODINGS) as Coding[]);
  const way = pick<Way>(below, ['at once', 'at once', 'retried', 'by a fallback']);
  // Of frames, which are no JSON, those above it are skipped.
  const eventSizes = answer.form === 'frames' ? [EVENT_SIZE, 1_000_000] : [300, EVENT_SIZE, 1_000_000];
  // Byte by byte only where there are few.
  const piece = Math.max(Math.ceil(all.length / 200), pick(below, [1 + below(40), 1 + below(600), 1e6]));
  const common = {
    seed,
    kind,
    answer,
    coding,
    way,
    isAccepted: below(2) === 0,
    piece,
    eventSize: pick(below, eventSizes),
  };
  const { vendor, path, request, contentType } = answer;
  const exchange = { ...common, vendor, path, request, contentType };
  switch (kind) {
    case 'whole':
      return { ...exchange, end: 'ended', bytes: all, read: all };
    case 'ended early':
      return { ...exchange, end: 'ended', bytes: all.subarray(0, place), read: all.subarray(0, place) };
    case 'cut':
    case 'left':
      return { ...exchange, end: kind, bytes: all.subarray(0, place), read: all.subarray(0, place) };
    case 'read on':
      return { ...exchange, end: kind, bytes: all.subarray(0, place), rest: all.subarray(place), read: all };
    case 'failed inside': {
      const before = answer.parts.slice(0, 1 + below(Math.max(1, answer.parts.length - 2)));
      const bytes = Buffer.concat([...before, answer.failure ?? Buffer.alloc(0)]);
      return { ...exchange, end: 'ended', bytes, read: bytes };
    }
  }
}

/** The model in the path, where it is there. */
const modelIn = (path: string): string | undefined => /\/(?:models?|deployments)\/([^/:?]+)/.exec(path)?.[1];

/** What each hook is to be told. */
function expectedBy({ answer, read, end, way, vendor, path, request }: Drawn): object {
  const isWhole = end === 'ended' || end === 'read on';
  const { figures, serviceTier, reported, complete, ...said } = readAccount(answer.dialect, answer.form, read, isWhole);
  const provider = nameOf(vendor);
  const isFallback = way === 'by a fallback';
  const asked = (request as { model?: string }).model;
  const requestModel = asked === undefined ? modelIn(path) : isFallback ? FALLBACK_MODEL : asked;
  const stream = answer.form !== 'json';
  const tier = serviceTier === undefined ? {} : { serviceTier };
  const isTold = Object.keys(figures).length > 0;
  const own = reported === undefined ? {} : { reported };
  const usage = { ...figures, ...tier, ...own, complete };
  const cost = costOf(figures);
  const context = { provider, ...(said.model !== undefined && { model: said.model }), requestModel, ...tier };
  const last = { provider, requestModel, stream, statusCode: 200 };
  const failed = {
    provider: isFallback ? FIRST : provider,
    requestModel: asked ?? modelIn(path),
    stream,
    statusCode: 503,
  };
  return {
    usages: [isTold ? { ...usage, cost } : usage],
    costs: isTold ? [[usage, context]] : [],
    summaries: [
      {
        ...said,
        ...(isTold && { cost }),
        ...{ provider, requestModel, stream, usage: isTold ? { ...usage, cost } : usage },
        attempts: way === 'at once' ? [last] : [failed, last],
      },
    ],
  };
}

/** What of all that was told is held against the second reader. */
function comparable({ answer }: Drawn, { usages, costs, summaries }: Told): object {
  // Its figures are members of what else its last line has.
  const usageOf = ({ reported, ...usage }: Usage): object =>
    answer.dialect === 'ollama' || reported === undefined ? usage : { ...usage, reported };
  return {
    usages: usages.map(usageOf),
    costs: costs.map(([usage, context]) => [usageOf(usage), context]),
    summaries: summaries.map(({ model, finishReason, cost, provider, requestModel, stream, usage, attempts }) => ({
      ...(model !== undefined && { model }),
      ...(finishReason !== undefined && { finishReason }),
      ...(cost !== undefined && { cost }),
      ...{ provider, requestModel, stream },
      usage: usage === undefined ? undefined : usageOf(usage),
      attempts: attempts.map(({ provider, requestModel, stream, statusCode }) => ({
        provider,
        requestModel,
        stream,
        statusCode,
      })),
    })),
  };
}

/** What holds of all figures, whatever was read. */
function contradictionsOf({ usages }: Told): string[] {
  return usages.flatMap((usage) => {
    const { inputTokens = Infinity, outputTokens = Infinity, totalTokens = Infinity } = usage;
    const { cachedInputTokens = 0, cacheCreationInputTokens = 0, reasoningTokens = 0 } = usage;
    const { audioInputTokens = 0, audioOutputTokens = 0, imageInputTokens = 0, imageOutputTokens = 0 } = usage;
    const holds: [string, boolean][] = [
      [
        'a part of the input is more than the input',
        Math.max(cachedInputTokens, cacheCreationInputTokens, audioInputTokens, imageInputTokens) <= inputTokens,
      ],
      [
        'a part of the output is more than the output',
        Math.max(reasoningTokens, audioOutputTokens, imageOutputTokens) <= outputTokens,
      ],
      ['the total is less than its parts', totalTokens >= (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)],
    ];
    return holds.filter(([, isTrue]) => !isTrue).map(([name]) => name);
  });
}

/** Where the vendor's SDK says something else of a whole answer than was told. */
async function disputedBy(exchange: Drawn, { usages: [usage], summaries: [summary] }: Told): Promise<object[]> {
  if (exchange.kind !== 'whole' && exchange.kind !== 'read on') return [];
  const isBuilt = exchange.answer.name.startsWith('built');
  const said = isBuilt ? undefined : await sdkAccount(exchange.answer);
  if (said === undefined) return [];
  const { figures = {}, ...members } = said;
  const told = { ...summary, ...usage };
  // A total that contradicts its parts is told by nobody but an SDK.
  if ((figures.totalTokens ?? Number.POSITIVE_INFINITY) < (figures.inputTokens ?? 0) + (figures.outputTokens ?? 0)) {
    delete figures.totalTokens;
  }
  return Object.entries({ ...figures, ...members }).flatMap(([name, value]) => {
    const ours = told[name as keyof typeof told];
    return value === undefined || isDeepStrictEqual(ours, value) ? [] : [{ name, told: ours, sdk: value }];
  });
}

it(
  `accounting: ${RUNS} seeded exchanges over all dialects are told as a second reader reads them`,
  async () => {
    const drawn = Array.from({ length: RUNS }, (_none, i) => draw(SEED + i));
    const told = await accountsOf(drawn);
    const table = new Map<string, Map<Kind, number>>();
    const disputed: object[][] = [];
    for (const [i, exchange] of drawn.entries()) disputed.push(await disputedBy(exchange, told[i] as Told));
    const wrong = drawn.flatMap((exchange, i) => {
      const { seed, kind, answer, coding, way, isAccepted } = exchange;
      const row = table.get(answer.name) ?? new Map<Kind, number>();
      table.set(answer.name, row.set(kind, (row.get(kind) ?? 0) + 1));
      const expected = withoutReported(exchange, expectedBy(exchange));
      const actual = comparable(exchange, told[i] as Told);
      const contradictions = contradictionsOf(told[i] as Told);
      const bySdk = disputed[i] as object[];
      if (contradictions.length === 0 && bySdk.length === 0 && isDeepStrictEqual(actual, expected)) return [];
      const again = `ACCOUNTING_RUNS=1 ACCOUNTING_SEED=${seed}`;
      return [
        { again, name: answer.name, kind, coding, way, isAccepted, contradictions, bySdk, told: actual, expected },
      ];
    });
    if (process.env.ACCOUNTING_TABLE !== undefined) realProcess.stderr.write(`${tableOf(table)}\n`);
    expect(wrong).toEqual([]);
  },
  60_000 + RUNS * 100,
);

function withoutReported({ answer }: Drawn, expected: object): object {
  if (answer.dialect !== 'ollama') return expected;
  return JSON.parse(JSON.stringify(expected, (name, value) => (name === 'reported' ? undefined : value)));
}

function tableOf(table: Map<string, Map<Kind, number>>): string {
  const kinds = [...new Set(KINDS)];
  const rows = [...table]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, row]) => [name, ...kinds.map((kind) => row.get(kind) ?? 0)]);
  return [['', ...kinds], ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
