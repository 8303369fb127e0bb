import net from 'node:net';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { codingOf, createDecoder, isDecodable } from '../../lib/headers/content-coding.js';
import { parseMediaType } from '../../lib/headers/media-type.js';
import type { Outcome, SseProxyOptions, StreamSummary } from '../../lib/index.js';
import { openaiCompatible } from '../../lib/providers/index.js';
import { readText, request } from '../support/clients/http.js';
import {
  anyAnswer,
  type BrokenAnswer,
  isRight,
  responseReader,
  type Script,
  type ScriptedUpstream,
  type Seen,
  scriptedUpstream,
  wireOf,
} from '../support/fuzz/broken-http.js';
import { bytewise, cutAt, referenceReading, runs, TIMEOUT } from '../support/fuzz/runs.js';
import { connections } from '../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { isEventStreamType } from '../support/streams/event-streams.js';
import { closeAndWatchEachTest, watchProcess } from '../support/watch/process.js';
import { turns, until } from '../support/watch/wait.js';

closeAndWatchEachTest();

// --- what the client does -----------------------------------------------------------------------------------------

interface Asked {
  method: 'GET' | 'HEAD' | 'POST';
  version: '1.0' | '1.1';
  acceptsGzip: boolean;
  /** After so many bytes of the response, and how. */
  leaves: { after: number; by: 'destroy' | 'reset' | 'end' } | null;
}

const anyRequest: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom('GET', 'GET', 'GET', 'POST', 'HEAD'),
  version: fc.constantFrom('1.1', '1.1', '1.1', '1.0'),
  acceptsGzip: fc.boolean(),
  leaves: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    fc.record({
      after: fc.oneof(fc.constant(0), fc.nat({ max: 800 })),
      by: fc.constantFrom('destroy' as const, 'reset' as const, 'end' as const),
    }),
  ),
});

interface Got {
  seen: Seen;
  /** Of the final response. */
  head: string;
  /** All of it, of a short one. */
  raw: string;
  left: boolean;
}

async function ask(port: number, path: string, asked: Asked): Promise<Got> {
  const { method, version, acceptsGzip, leaves } = asked;
  const reader = responseReader(method, 1024 * 1024);
  const socket = net.connect(port, '127.0.0.1');
  let size = 0;
  let left = false;
  let raw = '';
  let error: Error | undefined;
  const leave = (): void => {
    if (leaves === null || left || size < leaves.after) return;
    left = true;
    if (leaves.by === 'destroy') socket.destroy();
    else if (leaves.by === 'reset') socket.resetAndDestroy();
    else socket.end();
  };
  socket.on('data', (chunk) => {
    size += chunk.length;
    if (raw.length < 50_000) raw += chunk.toString('latin1');
    reader.push(chunk);
    leave();
  });
  socket.on('error', (cause) => {
    error = cause;
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const fields = [
    ...['Host: proxy.example', 'Connection: close'],
    ...(acceptsGzip ? ['Accept-Encoding: gzip'] : []),
    ...(method === 'POST' ? ['Content-Length: 5'] : []),
  ];
  socket.write(
    `${method} ${path} HTTP/${version}\r\n${fields.join('\r\n')}\r\n\r\n${method === 'POST' ? 'hello' : ''}`,
    leave,
  );
  await closed;
  await turns(2);
  // Whoever leaves does not take that for the end of what it was reading.
  reader.end(left ? new Error('left') : error);
  const head = raw.split('\r\n\r\n').find((block) => !block.startsWith('HTTP/1.1 1')) ?? '';
  return { seen: await reader.closed, head, raw, left };
}

// --- the proxies --------------------------------------------------------------------------------------------------

/** Of the upstream: long enough for a heartbeat. Milliseconds. */
const PAUSE = 3;

/** Too small for some events. Bytes. */
const EVENT_SIZE = 80;

/** What comes at once, if it was sent at once. Bytes. */
const ONE_READ = 10_000;

const COMMENT = 'fuzz';
const BEAT = `: ${COMMENT}\n\n`;
const MARK = Buffer.from('\ufeff').toString('latin1');

const CONFIGS = {
  plain: {},
  onEvent: { onEvent() {} },
  transformEvent: { transformEvent: (event) => event },
  'async transformEvent': { transformEvent: async (event) => event, noTransform: 'ignore', truncation: 'event' },
  'small events': { transformEvent() {}, limits: { eventSize: EVENT_SIZE } },
  provider: {
    onUsage() {},
    onEvent() {},
    provider: openaiCompatible({ name: 'x', target: 'http://x', apiKey: 'key' }),
  },
  heartbeat: { heartbeat: { interval: 1, comment: COMMENT }, truncation: 'event' },
  commit: { commit: 'first-event' },
  retry: { retry: { maxRetries: 1, minTimeout: 1, maxTimeout: 1 } },
  rewriting: { autoRewrite: true, protocolRewrite: 'https', cookieDomainRewrite: 'x', preserveHeaderKeyCase: true },
  continue: { onClientClose: 'continue', onEvent() {}, truncation: 'event' },
} as const satisfies Record<string, SseProxyOptions>;
type ConfigName = keyof typeof CONFIGS;

interface Bench extends ProxyUnderTest {
  options: SseProxyOptions;
  arrived: Map<string, number>;
  finished: Map<string, StreamSummary[]>;
}

async function bench(options: SseProxyOptions, target: string): Promise<Bench> {
  const arrived = new Map<string, number>();
  const finished = new Map<string, StreamSummary[]>();
  const onFinish: SseProxyOptions['onFinish'] = (summary, { req }) => {
    const path = String(req.url);
    finished.set(path, [...(finished.get(path) ?? []), summary]);
  };
  const proxy = await proxyApp({ target, ...options, onFinish }, (app) =>
    app.use((req, _res, next) => {
      arrived.set(req.url, (arrived.get(req.url) ?? 0) + 1);
      next();
    }),
  );
  return { ...proxy, options, arrived, finished };
}

// --- what must hold -----------------------------------------------------------------------------------------------

/** What the client may get at the most, and whether it may take that for the whole. */
interface Expected {
  body: Buffer;
  isWhole: boolean;
  isTransformed: boolean;
  /** Codes of failures that a response with nothing wrong in its framing is the reason for. */
  failures: (string | undefined)[];
}

async function expectedOf(config: SseProxyOptions, { acceptsGzip, method }: Asked, oracle: Seen): Promise<Expected> {
  const { headers, statusCode = 0 } = oracle;
  const expected: Expected = { body: oracle.body, isWhole: oracle.isComplete, isTransformed: false, failures: [] };
  const type = headers['content-type'];
  if (!isEventStreamType(type) || method === 'HEAD' || statusCode === 204 || statusCode === 304) return expected;
  const isSse = parseMediaType(type)?.essence === 'text/event-stream';
  const isForbidden =
    /(^|,)\s*no-transform\s*(,|$)/i.test(headers['cache-control'] ?? '') && config.noTransform !== 'ignore';
  expected.isTransformed = config.transformEvent !== undefined && !isForbidden;

  const coding = codingOf(headers['content-encoding']);
  const isReadable = coding === undefined || isDecodable(coding);
  if (expected.isTransformed && !isReadable) expected.failures.push('EVENTS_UNREADABLE');
  const plain = coding !== undefined && isReadable ? await decode(coding, oracle.body) : undefined;
  const isCoded = acceptsGzip && coding === 'gzip' && !expected.isTransformed && !(config.heartbeat && isSse);
  if (plain !== undefined && !isCoded) {
    expected.body = plain.bytes;
    expected.isWhole &&= plain.isWhole;
  }
  const hasEvents = isSse && eventsOf(plain?.bytes ?? oracle.body).length > 0;
  if (config.commit === 'first-event' && isReadable && !hasEvents) expected.failures.push('UPSTREAM_ERROR_EVENT');

  if (!expected.isTransformed) return expected;
  const { rest, blocks } = isSse
    ? referenceReading(expected.body)
    : { rest: Buffer.alloc(0), blocks: linesOf(expected.body) };
  if (config.limits !== undefined && [...blocks, rest].some(({ length }) => length > EVENT_SIZE))
    expected.isWhole = false;
  if (expected.isWhole) expected.body = expected.body.subarray(0, expected.body.length - rest.length);
  return expected;
}

const linesOf = (bytes: Buffer): string[] => bytes.toString('latin1').split(/(?<=\n)/);

const eventsOf = (bytes: Buffer) => referenceReading(bytes).events.filter((event) => event !== undefined);

async function decode(coding: string, bytes: Buffer): Promise<{ bytes: Buffer; isWhole: boolean }> {
  const inOnePiece = await decoded(coding, [bytes]);
  // What there is before an error is lost where it is in the same piece.
  return inOnePiece.isWhole ? inOnePiece : decoded(coding, bytewise(bytes));
}

async function decoded(coding: string, pieces: readonly Buffer[]): Promise<{ bytes: Buffer; isWhole: boolean }> {
  const decoder = createDecoder(coding);
  const chunks: Buffer[] = [];
  let isWhole = true;
  decoder.on('data', (chunk: Buffer) => chunks.push(chunk));
  decoder.on('error', () => {
    // No bytes at all are no broken coding.
    isWhole = pieces.every(({ length }) => length === 0);
  });
  const closed = new Promise((resolve) => decoder.once('close', resolve));
  for (const piece of pieces) decoder.write(piece);
  // An error would take with it what has not been read.
  await Promise.race([closed, new Promise((resolve) => decoder.write(Buffer.alloc(0), resolve))]);
  await turns(1);
  decoder.end();
  await closed;
  return { bytes: Buffer.concat(chunks), isWhole };
}

/** Without what the proxy may add where it was asked to. */
function withoutOurs({ options }: Bench, seen: Buffer, expected: Buffer, code: string | undefined): Buffer {
  let text = seen.toString('latin1');
  const reportsErrors = options.truncation === 'event' || options.provider !== undefined;
  const added = reportsErrors && code !== undefined ? new RegExp(`^.*"${code}".*\\n+$`, 'm').exec(text) : null;
  if (added !== null) {
    // A line of its own.
    expect(JSON.parse(added[0].replace(/^data: /, ''))).toHaveProperty('error.code', code);
    text = text.slice(0, added.index).replace(/event: error\n$/, '');
    expect(text).toMatch(/(^|[\r\n])$/);
  }
  if (options.heartbeat === undefined || !text.includes(BEAT)) return Buffer.from(text, 'latin1');
  // Behind a heartbeat it would be none.
  const mark = text.startsWith(BEAT) && expected.toString('latin1').startsWith(MARK) ? MARK : '';
  const upstreams = Buffer.from(mark + text.replaceAll(BEAT, ''), 'latin1');
  expect(eventsOf(Buffer.from(text, 'latin1'))).toEqual(eventsOf(upstreams));
  return upstreams;
}

const OUTCOMES: Record<string, Outcome> = {
  UPSTREAM_CLOSED: 'upstream-error',
  UPSTREAM_INVALID_RESPONSE: 'upstream-error',
  UPSTREAM_ERROR_EVENT: 'upstream-error',
  UPSTREAM_TRUNCATED: 'upstream-truncated',
  EVENTS_UNREADABLE: 'failed',
  EVENT_TOO_LARGE: 'failed',
};

interface Run {
  config: ConfigName;
  asked: Asked;
  answers: BrokenAnswer[];
}

/** What the first answer is in half of the runs, where a configuration is about something that is rare. */
const OFTEN: { [name in ConfigName]?: Partial<BrokenAnswer>[] } = {
  retry: [{ statusLine: 'HTTP/1.1 429 Later' }, { statusLine: 'HTTP/1.1 503 Busy' }],
  rewriting: ['Location: http://other.example/', 'Location: http://[::', 'Set-Cookie: a=1; Domain=other.example'].map(
    (field) => ({ statusLine: 'HTTP/1.1 302 Found', fields: [field] }),
  ),
};

const anyRun: fc.Arbitrary<Run> = fc.constantFrom(...(Object.keys(CONFIGS) as ConfigName[])).chain((config) => {
  const often = fc.oneof(fc.constant({}), fc.constantFrom({}, ...(OFTEN[config] ?? [])));
  const first = fc.tuple(anyAnswer, often).map(([answer, instead]): BrokenAnswer => ({ ...answer, ...instead }));
  const answers = config === 'retry' ? fc.tuple(first, anyAnswer) : fc.tuple(first);
  return fc.record({ config: fc.constant(config), asked: anyRequest, answers });
});

describe('an exchange with an upstream that breaks HTTP at random', () => {
  it(
    'an exchange with an upstream that breaks HTTP: is honest about what the upstream said, and leaves nothing behind',
    async () => {
      const upstream = await scriptedUpstream();
      const benches = new Map<ConfigName, Bench>();
      for (const [name, options] of Object.entries(CONFIGS)) {
        benches.set(name as ConfigName, await bench(options, upstream.url));
      }
      const incidents = watchProcess();
      let count = 0;
      await fc.assert(
        fc.asyncProperty(anyRun, async (run) => {
          count += 1;
          await check(upstream, benches.get(run.config) as Bench, `/${count}`, run);
          expect(incidents).toEqual([]);
        }),
        runs(),
      );
      const outcomes = new Set(
        [...benches.values()].flatMap(({ summaries }) => summaries.map(({ outcome }) => outcome)),
      );
      // Of a few runs, as when one is repeated, nothing of the kind can be said.
      const met = count < 400 ? [] : ['completed', 'client-closed', 'upstream-truncated', 'upstream-error'];
      expect([...outcomes]).toEqual(expect.arrayContaining(met));
      for (const { url, proxy, arrived, finished, server } of benches.values()) {
        expect(await readText(await request(`${url}/plain`))).toBe('plain');
        await until(() => proxy.active === 0);
        for (const [path, times] of arrived) expect([path, finished.get(path)?.length]).toEqual([path, times]);
        await new Promise((resolve) => server.close(resolve));
      }
      await until(async () => (await connections(upstream.server)) === 0);
    },
    TIMEOUT,
  );
});

async function check(upstream: ScriptedUpstream, bench: Bench, path: string, { asked, answers }: Run): Promise<void> {
  const oracles = await Promise.all(answers.map((answer) => readingOf(answer, asked.method)));
  const pause = bench.options.heartbeat === undefined ? 0 : PAUSE;
  // What is not whole by then is waited for, unless its client is not there to wait.
  const leaves = asked.leaves?.after === 0 && bench.options.onClientClose === undefined;
  const isKept = answers.map((answer, i) => leaves || (isRight(answer) && oracles[i]?.isDelimited === true));
  const scripts = answers.map((answer, i) => scriptOf(answer, asked.method, pause, isKept[i] === true));
  upstream.scripts.set(path, scripts);

  const got = await ask(bench.port, path, asked);
  await settled(bench, path);
  // What it says behind the end of a message would be taken for the answer to the next request.
  await upstream.played.get(path);
  const socket = upstream.sockets.get(path);
  if (leaves && !oracles.some(({ isDelimited }) => isDelimited)) await until(() => socket?.destroyed !== false);

  const summaries = bench.finished.get(path) ?? [];
  expect(summaries).toHaveLength(bench.arrived.get(path) ?? 0);
  const [summary] = summaries;
  const turn = Math.min(upstream.asked.get(path) ?? 0, answers.length) - 1;
  const [answer, oracle] = [answers[turn], oracles[turn]];
  if (summary === undefined || answer === undefined || oracle === undefined) {
    // It has not come as far as that.
    expect(got.left).toBe(true);
    return;
  }
  const mustArrive = answers.slice(0, turn + 1).every(isRight) && isSure(answer, oracle);
  await checkResponse({ ...got, bench, asked, answer, oracle, summary, mustArrive });
}

interface Checked extends Got {
  bench: Bench;
  asked: Asked;
  /** The last that was given. */
  answer: BrokenAnswer;
  oracle: Seen;
  summary: StreamSummary;
  /** There is nothing that could keep it from its client. */
  mustArrive: boolean;
}

async function checkResponse(checked: Checked): Promise<void> {
  const { bench, asked, answer, oracle, seen, head, raw, left, summary, mustArrive } = checked;
  const { outcome, error } = summary;
  if (error !== undefined) expect([error.code, outcome]).toEqual([error.code, OUTCOMES[error.code]]);
  if (outcome === 'client-closed') expect(left).toBe(true);
  if (outcome === 'completed') expect(oracle.isComplete).toBe(true);
  if (answer.damages.length === 0) {
    expect(raw).not.toMatch(/hop-/);
    expect(seen.trailers).not.toHaveProperty('te');
  }
  expect(isLengthDelimited(head) && isChunked(head)).toBe(false);

  const expected = await expectedOf(bench.options, asked, oracle);
  if (seen.statusCode === undefined) expect(left).toBe(true);
  else if (isOwn(seen, asked, error)) {
    if (!left) expect(seen.isComplete).toBe(true);
    if (mustArrive) expect(expected.failures).toContain(error?.code);
  } else checkPassedOn(checked, expected);
}

const isLengthDelimited = (head: string): boolean => /^content-length:/im.test(head);
const isChunked = (head: string): boolean => /^transfer-encoding:/im.test(head);

/** The end of the message is in no doubt: it does not hang on how the connection ends. */
const isSure = ({ end }: BrokenAnswer, { isDelimited }: Seen): boolean =>
  isDelimited ? end !== 'reset' : end === 'close';

/** The response is one of the proxy's own, to a failure. */
function isOwn(seen: Seen, { method }: Asked, error: StreamSummary['error']): boolean {
  if (error === undefined || seen.statusCode !== error.statusCode) return false;
  return seen.headers['cache-control'] === 'no-store' && (method === 'HEAD' || seen.body.includes(`"${error.code}"`));
}

function checkPassedOn(checked: Checked, expected: Expected): void {
  const { bench, asked, answer, oracle, seen, head, left, summary, mustArrive } = checked;
  expect(seen.statusCode).toBe(oracle.statusCode);
  if (answer.damages.length === 0 && answer.fields.includes('X-Kept: kept'))
    expect(seen.headers['x-kept']).toBe('kept');
  const body = withoutOurs(bench, seen.body, expected.body, summary.error?.code);
  expect(expected.body.subarray(0, body.length)).toEqual(body);

  // libuv takes a reset for an end where bytes came with it: a body that lasts until the end is cut then, and nobody knows.
  const isReset = answer.end === 'reset' && !oracle.isDelimited;
  const isCut = asked.version === '1.0' && !isLengthDelimited(head) && summary.outcome !== 'completed';
  // Bytes behind a message break it. Where they come later than its end, or it has no body, its client has the whole of it by then.
  const isFollowed = answer.after !== '' || answer.framing === 'length too small' || answer.damages.length > 0;
  const isTooLate = answer.cuts.length > 0 || oracle.body.length === 0 || oracle.body.length > ONE_READ;
  if (seen.isComplete && !isCut) {
    expect(expected.isWhole).toBe(true);
    if (!isReset) expect(body.length).toBe(expected.body.length);
    if (!left && !(isFollowed && isTooLate)) expect(summary.outcome).toBe('completed');
  } else if (!left) {
    expect(['upstream-truncated', 'failed']).toContain(summary.outcome);
    expect(mustArrive && expected.isWhole).toBe(false);
  }
  const hasTrailers = seen.isComplete && isChunked(head) && !expected.isTransformed;
  if (mustArrive && hasTrailers && answer.framing === 'trailers') expect(seen.trailers['x-sum']).toBe('1');
}

async function readingOf(answer: BrokenAnswer, method: string): Promise<Seen> {
  const reader = responseReader(method);
  reader.push(wireOf(answer, method));
  await turns(2);
  reader.end();
  const oracle = await reader.closed;
  if (isRight(answer) && isSure(answer, oracle)) expect(oracle.isComplete).toBe(true);
  return oracle;
}

function scriptOf(answer: BrokenAnswer, method: string, pause: number, isKept: boolean): Script {
  const end = answer.end === 'keep' && !isKept ? 'close' : answer.end;
  return { pieces: cutAt(wireOf(answer, method), answer.cuts), pause, end };
}

/** Every exchange of this path has ended. */
async function settled({ proxy, arrived, finished }: Bench, path: string): Promise<void> {
  const end = Date.now() + 5_000;
  while (proxy.active > 0 || (finished.get(path)?.length ?? 0) < (arrived.get(path) ?? 0)) {
    if (Date.now() > end) throw new Error(`The exchange has not ended: ${proxy.active} active`);
    await turns(1);
  }
}
