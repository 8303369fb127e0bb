import type http from 'node:http';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { Usage } from '../../../lib/index.js';
import {
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  openaiCompatible,
  type Provider,
} from '../../../lib/providers/index.js';
import { readUntilCut, request } from '../../support/clients/http.js';
import { SERVERS_KEY as apiKey } from '../../support/servers/provider.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import {
  type Account,
  cutsOf,
  ENDS,
  type End,
  EVENT_SIZE,
  expectedOf,
  headOf,
  SHAPES,
  type Shape,
  UNFINISHED,
} from '../../support/streams/accounts.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const PROVIDERS: Record<Shape['dialect'], (target: string) => Provider> = {
  openai: (target) => openai({ target, apiKey, includeUsage: true }),
  compatible: (target) => openaiCompatible({ name: 'compatible', target, apiKey }),
  mistral: (target) => mistral({ target, apiKey }),
  anthropic: (target) => anthropic({ target, apiKey }),
  gemini: (target) => gemini({ target, apiKey }),
  ollama: (target) => ollama({ target }),
};

const CODINGS = {
  plain: undefined,
  gzip: () => zlib.createGzip(),
  deflate: () => zlib.createDeflate(),
  // Of its default quality it would take most of the time of these tests.
  br: () => zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
};
type Coding = keyof typeof CODINGS;

/** One exchange: which figures, in which shape, coded and ended how, and split where. */
interface Case {
  shape: Shape;
  account: Account;
  coding: Coding;
  end: End;
  /** How many parts are sent. */
  count: number;
  /** The largest piece in which they are. */
  piece: number;
}

/** The bytes of the parts that are sent, as they are coded: whatever was sent can be decoded. */
async function encoded({ shape, account, coding, count }: Case, isWhole: boolean): Promise<Buffer> {
  const text = shape
    .parts(account)
    .slice(0, count)
    .map((part) => part.text)
    .join('');
  const create = CODINGS[coding];
  if (create === undefined) return Buffer.from(text);
  const coder = create();
  const chunks: Buffer[] = [];
  coder.on('data', (chunk: Buffer) => chunks.push(chunk));
  await promisify(coder.write.bind(coder) as (text: string, done: (error?: Error | null) => void) => void)(text);
  await new Promise<void>((resolve) => (isWhole ? coder.once('end', resolve).end() : coder.flush(() => resolve())));
  return Buffer.concat(chunks);
}

/** What is told of each case, and what is to be told. */
async function accountsOf(cases: readonly Case[]): Promise<{ told: object[]; expected: object[] }> {
  const { url } = await upstream(async (req, res) => {
    const test = cases[Number(req.headers['x-case'])] as Case;
    const isWhole = test.end === 'whole';
    const bytes = await encoded(test, isWhole);
    res.writeHead(200, headOf(test.shape, test.coding === 'plain' ? undefined : test.coding)).flushHeaders();
    for (let at = 0; at < bytes.length; at += test.piece) {
      res.write(bytes.subarray(at, at + test.piece));
      await turns(1);
    }
    if (isWhole) res.end();
    else res.write('', () => setImmediate(() => res.destroy()));
  });
  const told: object[] = [];
  const finished: (() => void)[] = [];
  const onUsage = ({ reported, ...figures }: Usage, { req }: { req: http.IncomingMessage }): void => {
    const index = Number(req.headers['x-case']);
    if (told[index] !== undefined) throw new Error('told twice');
    told[index] = figures;
    finished[index]?.();
  };
  const proxies = new Map<string, ProxyUnderTest>();
  for (const [dialect, create] of Object.entries(PROVIDERS)) {
    proxies.set(
      dialect,
      await proxyApp({
        provider: create(url),
        onUsage,
        limits: { eventSize: EVENT_SIZE },
        requestHeaders: { pass: ['x-case'] },
      }),
    );
  }
  const ask = async ({ shape, coding, piece }: Case, index: number): Promise<void> => {
    const isTold = new Promise<void>((resolve) => {
      finished[index] = resolve;
    });
    const accepts = coding === 'plain' || piece % 2 === 0 ? {} : { 'accept-encoding': coding };
    const { url: front } = proxies.get(shape.dialect) as ProxyUnderTest;
    const headers = { 'x-case': String(index), 'content-type': 'application/json', ...accepts };
    await readUntilCut(await request(front + shape.path, { method: 'POST', headers, body: '{"stream":true}' }));
    await isTold;
  };
  const waiting = cases.map((test, index) => ({ test, index }));
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await ask(next.test, next.index);
  };
  await Promise.all(Array.from({ length: 8 }, work));
  const expected = cases.map(({ shape, account, count }) => expectedOf(shape.parts(account), count));
  return { told, expected };
}

const ALL_SHAPES = [...SHAPES, ...UNFINISHED];

const ACCOUNT: Account = { input: 1_117, output: 146, cached: 1_024, written: 64, reasoning: 128 };

describe('accounting matrix: dialect x shape x end x coding', () => {
  it.each(Object.keys(CODINGS) as Coding[])('accounting matrix: %s', async (coding) => {
    const cases = ALL_SHAPES.flatMap((shape) => {
      const parts = shape.parts(ACCOUNT);
      const common = { shape, account: ACCOUNT, coding };
      const whole = { ...common, end: 'whole' as const, count: parts.length };
      const cuts = cutsOf(parts).map((count) => ({ ...common, end: 'cut' as const, count }));
      return [whole, ...cuts].flatMap((test) => [29, 1_000].map((piece) => ({ ...test, piece })));
    });
    const { told, expected } = await accountsOf(cases);
    expect(cases.map((test, i) => ({ ...nameOf(test), told: told[i] }))).toEqual(
      cases.map((test, i) => ({ ...nameOf(test), told: expected[i] })),
    );
  });
});

const nameOf = ({ shape, coding, end, count, piece }: Case): object => ({
  shape: shape.name,
  coding,
  end,
  count,
  piece,
});

/** Numbers that are the same with each run (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

it('accounting: 1,000 seeded exchanges, plain and coded, are told with exactly equal figures', async () => {
  const below = random(17);
  const cases = Array.from({ length: 1_000 }, (): Case => {
    const input = 1 + below(200_000);
    const output = 2 + below(30_000);
    const cached = below(input + 1);
    const account = { input, output, cached, written: below(input - cached + 1), reasoning: below(output - 1) };
    const shape = ALL_SHAPES[below(ALL_SHAPES.length)] as Shape;
    const coding = (Object.keys(CODINGS) as Coding[])[below(4)] as Coding;
    const parts = shape.parts(account);
    const cuts = cutsOf(parts);
    const end = cuts.length > 0 ? (ENDS[below(2)] as End) : 'whole';
    const count = end === 'whole' ? parts.length : (cuts[below(cuts.length)] as number);
    return { shape, account, coding, end, count, piece: 30 + below(600) };
  });
  const { told, expected } = await accountsOf(cases);
  const wrong = cases.flatMap((test, i) =>
    JSON.stringify(sorted(told[i])) === JSON.stringify(sorted(expected[i]))
      ? []
      : [{ ...nameOf(test), told: told[i], expected: expected[i] }],
  );
  expect(wrong).toEqual([]);
}, 120_000);

const sorted = (figures: object | undefined): unknown[] => Object.entries(figures ?? {}).sort();
