import { once } from 'node:events';
import { STATUS_CODES } from 'node:http';
import { constants } from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import fc from 'fast-check';
import type { ResponseHead, SseProxyErrorCode, StreamSummary } from '../../../lib/index.js';
import { onCleanUp } from '../watch/clean-up.js';
import { turns } from '../watch/wait.js';
import { aShare } from './runs.js';
import { fieldOf, type Got, type Leaving, type Sent } from './world-clients.js';

/** A proxy, an upstream, and one connection of a client, with all that happens to them. */
export interface World {
  front: 'http' | 'express' | 'http2';
  options: Options;
  requests: Asked[];
  /** Of HTTP/1.1. */
  sending: 'at once' | 'in turn' | number[];
  /** Of HTTP/2: what a stream may bring before its client has read of it. Bytes. */
  window: number;
  reads: 'at once' | 'slowly' | 'never';
  /** Of HTTP/1.1: what the last request says of the connection. */
  ends: 'keeps' | 'closes' | '1.0';
  leaves: Leaving | undefined;
  /** When so many requests have come. */
  drains: { at: number; grace: number } | undefined;
}

interface Options {
  followRedirects: boolean;
  retry: boolean;
  fallback: boolean;
  events: 'none' | 'onEvent' | 'same' | 'edited';
  commit: boolean;
  heartbeat: boolean;
  truncation: boolean;
  continues: boolean;
  limit: boolean;
  concurrency: number;
  queue: number;
  provider: boolean;
  /** What becomes of a 200. */
  status: { at: 'proxyRes' | 'rewriteHeaders'; is: number } | undefined;
  /** `rewriteHeaders` says how long the body is. */
  length: boolean;
  /** What middleware in front makes of it. */
  method: 'same' | 'HEAD is GET' | 'POST is PUT';
  write: 'plain' | 'strict' | 'wrapped' | 'wrapped, says nothing';
  xfwd: boolean;
  allow: boolean;
}

/** Of a request body, where it is limited. Bytes. */
export const LIMIT = 200;

interface Asked {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS';
  /** Bytes of its body; `undefined` for none. */
  body: number | undefined;
  framing: 'length' | 'chunked';
  expects: boolean;
  /** Over HTTP/1.1 only the last one can be. */
  isEndless: boolean;
  /** What the upstream says to the first attempt (or to the request that a redirect leads to), the second, and so on. */
  answers: Answer[];
  /** A pooled connection turns out to be dead. */
  drops: boolean;
  /** Of HTTP/2; negative for at once. */
  resets: { after: number; code: number } | undefined;
}

interface Answer {
  status: number;
  hints: number;
  type: 'sse' | 'json' | 'text';
  framing: 'length' | 'chunked' | 'close';
  /** Their sizes. Bytes. */
  pieces: number[];
  /** Turns of the event loop between two writes; with 0 all is one write. */
  gap: number;
  fields: string[];
  trailers: string[];
  /** Does not wait for the request's body. */
  isEarly: boolean;
  closes: boolean;
  cut: { at: number; by: 'end' | 'reset' } | undefined;
  /** The head, or the last piece, comes only when the answer to that other request has begun. */
  holds: { at: 'head' | 'end'; for: number } | undefined;
}

// --- what there may be ------------------------------------------------------------------------------------------------

/** Requests of one connection. */
const MOST = 6;

/** The first of them most of the time, and wherever it does not matter. */
const seldom = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> => {
  const many = Array.from({ length: 5 * others.length }, () => usual);
  return fc.constantFrom(...many, ...others);
};

const anyOptions: fc.Arbitrary<Options> = fc.record({
  followRedirects: seldom(false, true, true),
  retry: seldom(false, true, true),
  fallback: seldom(false, true),
  events: seldom<Options['events']>('none', 'onEvent', 'same', 'edited'),
  commit: seldom(false, true),
  heartbeat: seldom(false, true),
  truncation: seldom(false, true),
  continues: seldom(false, true),
  // Whoever is refused for it is waited for, for a second.
  limit: seldom(false, false, false, false, true),
  concurrency: seldom(0, 1, 2),
  queue: fc.constantFrom(0, 1, 4),
  provider: seldom(false, true),
  status: seldom<Options['status']>(
    undefined,
    { at: 'rewriteHeaders', is: 204 },
    { at: 'rewriteHeaders', is: 304 },
    { at: 'proxyRes', is: 204 },
    { at: 'proxyRes', is: 203 },
  ),
  length: seldom(false, true),
  method: seldom<Options['method']>('same', 'HEAD is GET', 'POST is PUT'),
  write: seldom<Options['write']>('plain', 'strict', 'wrapped', 'wrapped, says nothing'),
  xfwd: seldom(false, true),
  allow: seldom(false, true),
});

const FIELDS = [
  ...['X-Content-Type-Options: nosniff', 'Content-Language: en', 'Date: Thu, 01 Jan 1970 00:00:00 GMT', 'X-Same: 1'],
  ...['ETag: "1"', 'Set-Cookie: a=1', 'Link: </a>', 'Vary: Origin', 'Access-Control-Allow-Origin: *'],
].flatMap((line) => [`${line}\r\n${line}`, line]);

/** RFC 9113 8.2.2 has no place for most of them. */
const TRAILERS = ['X-Sum: 1', 'HTTP2-Settings: x', 'Keep-Alive: 1', 'Upgrade: x', 'TE: gzip', 'Proxy-Connection: x'];

const sizes = fc.oneof({ weight: 7, arbitrary: fc.nat(150) }, fc.nat(25_000));

const anyAnswer: fc.Arbitrary<Answer> = fc.record({
  status: seldom(200, 204, 304, 404),
  hints: seldom(0, 1, 2),
  type: fc.constantFrom('sse', 'sse', 'json', 'text'),
  framing: fc.constantFrom('chunked', 'chunked', 'length', 'close'),
  pieces: fc.array(sizes, { maxLength: 5 }),
  gap: fc.constantFrom(0, 1, 3),
  fields: fc.oneof({ weight: 4, arbitrary: fc.constant<string[]>([]) }, fc.subarray(FIELDS, { maxLength: 3 })),
  trailers: fc.oneof({ weight: 4, arbitrary: fc.constant<string[]>([]) }, fc.subarray(TRAILERS, { maxLength: 2 })),
  isEarly: seldom(false, true, true),
  closes: seldom(false, true),
  cut: fc.oneof(
    { weight: 5, arbitrary: fc.constant(undefined) },
    fc.record({ at: aShare, by: fc.constantFrom('end' as const, 'reset' as const) }),
  ),
  holds: fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    fc.record({ at: fc.constantFrom('end' as const, 'head' as const), for: fc.nat(MOST - 1) }),
  ),
});

/** In front of an answer: what a retry or a redirect leads away from. */
const anyPrelude: fc.Arbitrary<Answer> = fc
  .tuple(anyAnswer, fc.constantFrom(302, 503, 302, 307, 303, 500))
  .map(([answer, status]) => ({ ...answer, status, pieces: answer.pieces.slice(0, 1) }));

const someAnswers = fc.tuple(
  fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.array(anyPrelude, { minLength: 1, maxLength: 2 })),
  anyAnswer,
);

const anyAsked: fc.Arbitrary<Asked> = fc
  .record({
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'),
    body: fc.oneof({ weight: 6, arbitrary: fc.nat(300) }, fc.constant(undefined), fc.constantFrom(250, 70_000)),
    framing: fc.constantFrom('length' as const, 'chunked' as const),
    expects: seldom(false, true),
    isEndless: seldom(false, true),
    answers: someAnswers.map(([first, last]) => [...first, last]),
    drops: seldom(false, true),
    resets: fc.oneof(
      { weight: 4, arbitrary: fc.constant(undefined) },
      fc.record({
        after: fc.oneof(fc.constantFrom(-1, 0), fc.nat(400), fc.nat(20_000)),
        code: fc.constantFrom(constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR),
      }),
    ),
  })
  .map((asked) => {
    const hasBody = asked.method !== 'GET' && asked.method !== 'HEAD' && asked.method !== 'OPTIONS';
    const body = hasBody ? asked.body : undefined;
    const [expects, isEndless] = [asked.expects && body !== undefined, asked.isEndless && body !== undefined];
    return { ...asked, body, expects, isEndless } as Asked;
  });

export const anyWorld: fc.Arbitrary<World> = fc
  .record({
    front: fc.constantFrom('http' as const, 'http2' as const, 'express' as const, 'http2' as const),
    options: anyOptions,
    requests: fc.array(anyAsked, { minLength: 1, maxLength: MOST, size: 'max' }),
    sending: fc.oneof(
      { weight: 2, arbitrary: fc.constantFrom('at once' as const, 'in turn' as const) },
      fc.array(aShare, { minLength: 1, maxLength: 4 }),
    ),
    window: fc.constantFrom(65_535, 16_384, 1_024),
    reads: seldom<World['reads']>('at once', 'slowly'),
    ends: seldom<World['ends']>('keeps', 'closes', '1.0'),
    leaves: fc.oneof(
      { weight: 5, arbitrary: fc.constant(undefined) },
      fc.record({
        after: fc.oneof(fc.nat(600), fc.nat(30_000)),
        by: fc.constantFrom('end' as const, 'destroy' as const, 'reset' as const),
      }),
    ),
    drains: fc.oneof(
      { weight: 9, arbitrary: fc.constant(undefined) },
      fc.record({ at: fc.integer({ min: 1, max: MOST }), grace: fc.constantFrom(0, 1, 5) }),
    ),
  })
  .map(withName);

/** Clients that do not read, or that do not end what they send, and do not leave. */
export const anyStubbornWorld: fc.Arbitrary<World> = fc
  .tuple(
    anyWorld,
    fc.constantFrom('at once' as const, 'never' as const),
    fc.boolean(),
    fc.constantFrom(0, 65_535),
    fc.record({ at: fc.constantFrom(1, 2, 7), grace: fc.constantFrom(0, 5) }),
  )
  .map(([world, reads, isLarge, window, drains]) => {
    const requests = world.requests.map((asked, i) => {
      const answers = asked.answers.map((answer) => (isLarge && i === 0 ? { ...answer, pieces: [LARGE] } : answer));
      return { ...asked, answers, isEndless: asked.body !== undefined, resets: undefined };
    });
    const sending = world.sending === 'in turn' ? 'at once' : world.sending;
    return withName({ ...world, requests, sending, reads, window, drains, leaves: undefined });
  });

/** More than a connection takes whose client does not read. Bytes. */
const LARGE = 12_000_000;

function withName(world: World): World {
  return { ...world, [fc.toStringMethod]: () => describeWorld(world) } as World;
}

// --- what there is ----------------------------------------------------------------------------------------------------

/** For a failure: what is as usual is left out. */
export function describeWorld(world: World): string {
  const { front, options, requests, sending, window, reads, ends, leaves, drains } = world;
  const isHttp2 = front === 'http2';
  const set = Object.entries(options).filter(
    ([name, value]) =>
      value && !['none', 'same', 'plain'].includes(String(value)) && (name !== 'queue' || options.concurrency),
  );
  const lines = [
    `${front}, ${isHttp2 ? `window ${window}` : `sent ${JSON.stringify(sending)}, ${ends}`}, reads ${reads}`,
    ...(set.length > 0 ? [set.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(', ')] : []),
    ...requests.map((asked, i) => {
      const { method, body, framing, expects, isEndless, answers, drops, resets } = asked;
      const is = `${i}. ${method}${body === undefined ? '' : ` with ${body} bytes by ${framing}`}${expects ? ', expects 100' : ''}`;
      const happens = `${isEndless && (isHttp2 || isLast(world, i)) ? ', without end' : ''}${drops ? ', dropped once' : ''}${isHttp2 && resets ? `, reset ${JSON.stringify(resets)}` : ''}`;
      return `${is}${happens} -> ${answers.map(describeAnswer).join(' -> ')}`;
    }),
    ...(leaves ? [`the client leaves: ${JSON.stringify(leaves)}`] : []),
    ...(drains ? [`drain: ${JSON.stringify(drains)}`] : []),
  ];
  return `\n  ${lines.join('\n  ')}\n`;
}

function describeAnswer({ status, hints, type, framing, pieces, gap, ...rest }: Answer): string {
  const extras = Object.entries(rest).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value));
  const also = extras.map(([name, value]) => ` ${name}: ${JSON.stringify(value)}`).join('');
  return `${'103 '.repeat(hints)}${status} ${type} ${framing} [${pieces}] gap ${gap}${also}`;
}

/** What every byte of the content says whose it is. */
function piecesOf(id: string, { type, pieces }: Answer): string[] {
  return pieces.map((size, n) => {
    const text = `${id}.`.repeat(Math.ceil(size / (id.length + 1))).slice(0, size);
    if (type === 'sse') return `data: {"id":"${id}","n":${n},"text":"${text}"}\n\n`;
    return `${n === 0 ? '' : ','}{"id":"${id}","n":${n},"text":"${text}"}`;
  });
}

const TYPES = { sse: 'text/event-stream', json: 'application/json', text: 'text/plain' };

const bodyOfRequest = (id: string, size: number): string =>
  `${id},`.repeat(Math.ceil(size / (id.length + 1))).slice(0, size);

const isLast = ({ requests }: World, i: number): boolean => i === requests.length - 1;

/** The request as its client sends it. */
export function sentOf(world: World, i: number, id: string): Sent {
  const { method, body, framing, expects, isEndless, resets } = world.requests[i] as Asked;
  const isEnd = world.front !== 'http2' && isLast(world, i);
  const isOld = isEnd && world.ends === '1.0';
  return {
    ...{ method, path: `/${id}`, version: isOld ? '1.0' : '1.1', framing: isOld ? 'length' : framing, resets },
    expects: expects && !isOld,
    closes: isEnd && world.ends === 'closes',
    isEndless: isEndless && (isEnd || world.front === 'http2'),
    body: body === undefined ? undefined : bodyOfRequest(id, body),
  };
}

// --- the upstream -----------------------------------------------------------------------------------------------------

/** What became of one request upstream. */
interface Served {
  answer: Answer;
  /** As it arrived. */
  method: string;
  /** Of the content, in so far as it was sent. */
  size: number;
  /** All was sent. */
  isWhole: boolean;
}

/** What a world has seen so far, by the number of the request. */
export interface Events {
  world: World;
  /** Of the requests' paths. */
  ids: string[];
  served: Served[][];
  arrived: number[];
  summaries: StreamSummary[][];
  usages: number[];
  /** The answers that have begun, and the exchanges that are over. */
  begun: Set<number>;
  /** Nothing has moved for a while: whoever waits for another waits in vain. */
  isAtRest: boolean;
  faults: string[];
  moved(): void;
  /** How long the body of the answer is that this request is about to get, where `rewriteHeaders` is to say it. */
  lengthOf(index: number, head: ResponseHead): number | undefined;
}

/** Answers each request as the world that it belongs to says. */
export class WorldUpstream {
  readonly server: net.Server;
  url = '';
  events: Events | undefined;
  readonly sockets = new Set<Socket>();

  constructor() {
    this.server = net.createServer((socket) => this.#serve(socket));
  }

  begin(world: World, ids: string[]): Events {
    const events: Events = {
      world,
      ids,
      served: ids.map(() => []),
      arrived: ids.map(() => 0),
      summaries: ids.map(() => []),
      usages: ids.map(() => 0),
      begun: new Set(),
      isAtRest: false,
      faults: [],
      moved() {},
      lengthOf: (index, { statusCode, headers }) => {
        const served = events.served[index]?.at(-1);
        const isOther = served === undefined || headers['x-id'] !== ids[index];
        if (isOther || world.options.heartbeat || isBodiless(statusCode)) return undefined;
        return expectedBody(world, ids[index] as string, served.answer).length;
      },
    };
    this.events = events;
    return events;
  }

  async listen(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    onCleanUp(() => {
      for (const socket of this.sockets) socket.destroy();
      this.server.close();
    });
  }

  #serve(socket: Socket): void {
    this.sockets.add(socket);
    socket.setNoDelay(true).on('error', () => {});
    socket.once('close', () => {
      this.sockets.delete(socket);
      this.events?.moved();
    });
    let received = '';
    let request: { head: string; index: number; hasAnswer: boolean; body: string; isWhole: boolean } | undefined;
    let current: Served | undefined;
    let count = 0;
    const read = (): void => {
      const events = this.events;
      if (events === undefined || received === '') return;
      if (request === undefined) {
        const size = received.indexOf('\r\n\r\n');
        if (size < 0) return;
        const head = received.slice(0, size);
        const id = /^[A-Z]+ \/(?:fb\/)?([^/ ?]+)(?:\/hop)* HTTP\/1\.1$/m.exec(head)?.[1] ?? '';
        const index = events.ids.indexOf(id);
        if (index < 0) {
          events.faults.push(`the upstream got no request: ${JSON.stringify(received.slice(0, 200))}`);
          socket.destroy();
          return;
        }
        if (current?.isWhole === false)
          events.faults.push('the upstream got a request before it had answered the one before');
        received = received.slice(size + 4);
        request = { head, index, hasAnswer: false, body: '', isWhole: false };
        const asked = events.world.requests[index] as Asked;
        if (asked.drops && count > 0 && !dropped.has(id)) {
          dropped.add(id);
          socket.destroy();
          return;
        }
      }
      readBody();
      const { index, head, isWhole } = request;
      const answers = (events.world.requests[index] as Asked).answers;
      const served = events.served[index] as Served[];
      const answer = answers[Math.min(served.length, answers.length - 1)] as Answer;
      if (!request.hasAnswer && (isWhole || answer.isEarly)) {
        request.hasAnswer = true;
        count += 1;
        current = { answer, method: head.slice(0, head.indexOf(' ')), size: 0, isWhole: false };
        served.push(current);
        void play(socket, events, index, current);
      }
      if (!isWhole) return;
      const expected = bodyOfRequest(events.ids[index] as string, events.world.requests[index]?.body ?? 0);
      if (request.body !== expected && request.body !== '')
        events.faults.push(`request ${index} arrived with another body`);
      request = undefined;
      read();
    };
    const dropped = this.#dropped;
    const readBody = (): void => {
      if (request === undefined) return;
      const length = Number(/^content-length: (\d+)$/im.exec(request.head)?.[1] ?? 0);
      if (!/^transfer-encoding: chunked$/im.test(request.head)) {
        const missing = length - request.body.length;
        request.body += received.slice(0, missing);
        received = received.slice(missing);
        request.isWhole = request.body.length === length;
        return;
      }
      for (;;) {
        const [line, size = ''] = /^([\da-f]+)\r\n/i.exec(received) ?? [];
        if (line === undefined) return;
        const end = line.length + Number.parseInt(size, 16) + 2;
        if (received.length < end) return;
        request.body += received.slice(line.length, end - 2);
        request.isWhole = end === line.length + 2;
        received = received.slice(end);
        if (request.isWhole) return;
      }
    };
    socket.on('data', (chunk) => {
      this.events?.moved();
      received += chunk.toString('latin1');
      read();
    });
  }

  readonly #dropped = new Set<string>();
}

async function play(socket: Socket, events: Events, index: number, served: Served): Promise<void> {
  const { answer, method } = served;
  const { gap, hints, holds, cut, closes } = answer;
  const id = events.ids[index] as string;
  const { head, parts } = wireOf(id, answer, method);
  const size = head.length + parts.reduce((sum, { wire }) => sum + wire.length, 0);
  let left = cut === undefined ? Number.POSITIVE_INFINITY : Math.floor(cut.at * (size - 1));
  let pending = '';
  const flush = async (): Promise<void> => {
    if (pending !== '' && socket.writable) socket.write(pending, 'latin1');
    pending = '';
    events.moved();
    await turns(gap);
  };
  const say = async (wire: string): Promise<void> => {
    pending += wire;
    if (gap !== 0) await flush();
  };
  const write = (wire: string, content: number): Promise<void> => {
    const sent = wire.slice(0, left);
    const framing = wire.length === content ? 0 : wire.indexOf('\n') + 1;
    served.size += Math.min(content, Math.max(0, sent.length - framing));
    left -= sent.length;
    return say(sent);
  };
  if (holds?.at === 'head') await hold(events, index, holds.for);
  for (let n = 0; n < hints; n += 1) await say(`HTTP/1.1 103 Early Hints\r\nLink: </${id}/${n}>; rel=preload\r\n\r\n`);
  events.begun.add(index);
  // From before its last byte on: what follows on it may come before this goes on.
  served.isWhole = cut === undefined && parts.length === 0;
  await write(head, 0);
  for (const [n, { wire, content }] of parts.entries()) {
    if (left <= 0) break;
    if (holds?.at === 'end' && n === parts.length - 1) {
      await flush();
      await hold(events, index, holds.for);
    }
    served.isWhole = cut === undefined && n === parts.length - 1;
    await write(wire, content);
  }
  await flush();
  if (cut === undefined) {
    if (closes || answer.framing === 'close') socket.end();
  } else if (cut.by === 'end') socket.end();
  else socket.resetAndDestroy();
}

/** Until the answer to that other request has begun, or cannot begin any more. */
async function hold(events: Events, index: number, other: number): Promise<void> {
  if (index === other || other >= events.ids.length) return;
  while (!events.begun.has(other) && !events.isAtRest) await turns(1);
  await turns(2);
}

/** The bytes of an answer, and how many of the content each part brings. */
function wireOf(
  id: string,
  answer: Answer,
  method: string,
): { head: string; parts: { wire: string; content: number }[] } {
  const { status, type, framing, fields, trailers, closes } = answer;
  const pieces = piecesOf(id, answer);
  const hasNone = status === 204 || status === 304;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${TYPES[type]}`,
    `X-Id: ${id}`,
    ...fields,
    ...(status >= 300 && status < 400 && status !== 304 ? [`Location: /${id}/hop`] : []),
    ...(status >= 500 ? ['Retry-After: 0'] : []),
    ...(closes || framing === 'close' ? ['Connection: close'] : []),
    ...(hasNone || framing !== 'length' ? [] : [`Content-Length: ${pieces.join('').length}`]),
    ...(hasNone || framing !== 'chunked' ? [] : ['Transfer-Encoding: chunked']),
  ];
  const head = `${lines.join('\r\n')}\r\n\r\n`;
  if (hasNone || method === 'HEAD') return { head, parts: [] };
  if (framing !== 'chunked') return { head, parts: pieces.map((wire) => ({ wire, content: wire.length })) };
  const last = `0\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`;
  return {
    head,
    parts: [
      ...pieces.map((text) => ({ wire: `${text.length.toString(16)}\r\n${text}\r\n`, content: text.length })),
      { wire: last, content: 0 },
    ],
  };
}

// --- what must hold ---------------------------------------------------------------------------------------------------

export interface Seen extends Events {
  got: Got[];
  hasLeft: boolean;
  givenUp: ReadonlySet<number>;
  hasDrained: boolean;
  /** The connection brought what was no response. */
  isBroken: boolean;
}

const isBodiless = (status: number | undefined): boolean => status === 204 || status === 304;

/** All that is wrong with what has happened. */
export function judge(seen: Seen): string[] {
  return [
    ...seen.faults,
    ...seen.world.requests.flatMap((asked, i) => judgeOne(seen, asked, i).map((fault) => `${i}. ${fault}`)),
  ];
}

function judgeOne(seen: Seen, asked: Asked, i: number): string[] {
  const got = seen.got[i] as Got;
  const summaries = seen.summaries[i] as StreamSummary[];
  const arrived = seen.arrived[i] as number;
  const faults: string[] = judgeEarly(seen, asked, i);
  if (arrived > 1) faults.push(`came ${arrived} times`);
  if (summaries.length !== arrived) faults.push(`arrived ${arrived} times, reported ${summaries.length} times`);
  if ((seen.usages[i] as number) > 1) faults.push('usage reported twice');
  const [summary] = summaries;
  // To half a request Node itself answers.
  const isNodes = got.status === 400 && excuse(seen, i);
  if (isNodes && (summary === undefined || summary.outcome === 'client-closed')) return faults;
  if (summary === undefined) return got.status === undefined ? faults : [...faults, `answered ${got.status}, by whom?`];
  const { outcome, error, statusCode, bytes } = summary;
  const why = `${outcome}${error === undefined ? '' : ` ${error.code}`}, got ${got.status} with ${got.body.length} bytes${got.isComplete ? '' : ', not whole'}`;
  const fault = (what: string): void => void faults.push(`${what}: ${why}`);
  const isExcused = excuse(seen, i);
  const last = seen.served[i]?.at(-1);

  if (error !== undefined && !hasReason(seen, asked, i, error.code)) fault('no reason for this error');
  // Its upload is reset, or its connection closed, when it has its answer.
  const mayLeave = isExcused || (asked.isEndless && (seen.world.front === 'http2' || got.isComplete));
  if (outcome === 'client-closed' && !mayLeave) fault('the client has not left');
  if (outcome === 'completed' && !(isExcused || got.isComplete)) fault('not completed');
  if (got.status !== undefined && statusCode !== got.status) fault(`reported with ${statusCode}`);
  if (bytes < got.body.length && !isOwn(got, error)) fault(`reported with ${bytes} bytes`);

  if (got.status === undefined) {
    if (!isExcused && !(last?.answer.cut !== undefined && outcome === 'upstream-truncated') && outcome !== 'drained')
      fault('no response');
  } else if (isOwn(got, error)) {
    if (!got.isComplete && !isExcused) fault('own answer is not whole');
    const hasRead = !isExcused && seen.world.reads !== 'never';
    if (got.isComplete && hasRead && asked.method !== 'HEAD' && !got.body.includes(`"${error?.code}"`))
      fault(`own answer says ${got.body}`);
  } else if (last === undefined) fault('an answer that nobody gave');
  else faults.push(...judgePassedOn(seen, asked, i, last, isExcused).map((what) => `${what}: ${why}`));
  return faults;
}

/** The response is one of the proxy's own, to a failure. */
function isOwn(got: Got, error: StreamSummary['error']): boolean {
  return error !== undefined && got.status === error.statusCode && fieldOf(got.fields, 'cache-control') === 'no-store';
}

function judgeEarly(seen: Seen, asked: Asked, i: number): string[] {
  const id = seen.ids[i] as string;
  const faults: string[] = [];
  for (const { status, fields } of (seen.got[i] as Got).early) {
    const isOld = seen.world.front !== 'http2' && seen.world.ends === '1.0' && isLast(seen.world, i);
    if (isOld) faults.push(`a ${status} for HTTP/1.0`);
    if (status === 100 && asked.expects) continue;
    if (status === 103 && fieldOf(fields, 'link')?.includes(`</${id}/`) === true) continue;
    faults.push(`a ${status} of somebody else: ${JSON.stringify(fields)}`);
  }
  return faults;
}

/** Nobody can expect a whole answer any more. */
function excuse({ world, got, summaries, hasLeft, givenUp, isBroken, hasDrained }: Seen, i: number): boolean {
  if (hasLeft || givenUp.has(i)) return true;
  if (world.front === 'http2') return false;
  // What came there was not to be read any more.
  if (isBroken) return true;
  // It ends with this one, and is reset for those behind it, which are unread: that may take its answer with it.
  if (world.ends === '1.0' && world.sending !== 'in turn' && i + 1 < world.requests.length) return true;
  // A proxy that is drained closes the connection behind one of the next, with requests unread: that is a reset as well.
  const isDrained = (k: number): boolean => /^DRAIN/.test(summaries[k]?.[0]?.error?.code ?? '');
  if (hasDrained && world.sending !== 'in turn' && summaries.some((_own, k) => k > i && isDrained(k))) return true;
  // The connection has ended with one of those before: which may have been whole to its client, by its length, and not to the proxy.
  const isCut = (k: number): boolean =>
    /drained|truncated/.test(summaries[k]?.[0]?.outcome ?? '') && !isOwn(got[k] as Got, summaries[k]?.[0]?.error);
  return got
    .slice(0, i)
    .some(({ isComplete, fields }, k) => !isComplete || isCut(k) || fieldOf(fields, 'connection') === 'close');
}

function methodOf({ options }: World, { method }: Asked): string {
  if (options.method === 'HEAD is GET' && method === 'HEAD') return 'GET';
  return options.method === 'POST is PUT' && method === 'POST' ? 'PUT' : method;
}

/** What there must be in the world for a failure to be one. */
function hasReason(seen: Seen, asked: Asked, i: number, code: SseProxyErrorCode): boolean {
  const { world, hasDrained } = seen;
  const { options } = world;
  const served = seen.served[i] as Served[];
  const answer = served.at(-1)?.answer;
  switch (code) {
    case 'UPSTREAM_CLOSED':
    case 'UPSTREAM_TRUNCATED':
      return (
        served.some(({ answer: { cut } }) => cut !== undefined) ||
        // For a client that has left it is not sent again.
        // Nor is one that may have been acted on: its connection was busy a moment ago.
        (asked.drops && (excuse(seen, i) || methodOf(world, asked) === 'POST')) ||
        (answer?.isEarly === true && asked.body !== undefined && answer.closes)
      );
    case 'UPSTREAM_ERROR_EVENT':
      return options.commit && answer?.type === 'sse' && (answer.pieces.length === 0 || answer.cut !== undefined);
    case 'CONCURRENCY_LIMIT':
      return options.concurrency > 0;
    case 'REQUEST_BODY_TOO_LARGE':
      return options.limit && (asked.isEndless || (asked.body ?? 0) > LIMIT);
    case 'METHOD_NOT_ALLOWED':
      return options.allow && !['GET', 'HEAD', 'POST'].includes(methodOf(world, asked));
    case 'REQUEST_BODY_CONSUMED':
      return options.followRedirects && asked.body !== undefined && served.length > 0;
    case 'DRAINING':
    case 'DRAINED':
      return hasDrained;
    case 'EVENT_TOO_LARGE':
      return ['same', 'edited'].includes(options.events) && answer?.pieces.includes(LARGE) === true;
    default:
      return false;
  }
}

function judgePassedOn(seen: Seen, asked: Asked, i: number, last: Served, isExcused: boolean): string[] {
  const { options } = seen.world;
  const got = seen.got[i] as Got;
  const summary = seen.summaries[i]?.[0] as StreamSummary;
  const { answer } = last;
  const faults: string[] = [];
  const status = answer.status === 200 && options.status !== undefined ? options.status.is : answer.status;
  if (got.status !== status) faults.push(`not the upstream's ${status}`);
  if (fieldOf(got.fields, 'x-id') !== seen.ids[i]) faults.push(`the head of ${fieldOf(got.fields, 'x-id')}`);
  const hasNone = asked.method === 'HEAD' || last.method === 'HEAD' || isBodiless(got.status);
  const full = hasNone || isBodiless(answer.status) ? '' : expectedBody(seen.world, seen.ids[i] as string, answer);
  const body = withoutOurs(options, answer, got);
  if (!full.startsWith(body))
    faults.push(`other bytes: ${JSON.stringify(body.slice(commonLength(full, body) - 20).slice(0, 200))}`);
  // The end of the connection is the end of such a body, wherever it comes.
  const isUnsure =
    (answer.framing === 'close' && answer.cut !== undefined) ||
    // libuv takes a reset for an end where bytes came with it, at the client as well.
    (got.framing === 'close' && last.answer.cut !== undefined);
  const isFull = got.framing === 'length' && body.length === full.length;
  if (got.isComplete) {
    if (!hasNone && !last.isWhole && !isUnsure && !isFull && !isExcused) faults.push('looks whole');
    if (body.length < full.length && !isUnsure && !isExcused)
      faults.push(`${full.length - body.length} bytes are missing`);
    if (summary.outcome === 'completed' && !isExcused && summary.bytes !== got.body.length)
      faults.push(`reported with ${summary.bytes} bytes`);
  } else if (!isExcused && summary.outcome !== 'drained' && summary.error?.code !== 'REQUEST_BODY_TOO_LARGE') {
    if (last.isWhole) faults.push('lost');
    if (summary.outcome !== 'upstream-truncated') faults.push('not reported as truncated');
    const missing = last.size - body.length;
    // Half an event is kept from a client that is to be told of the cut by an error event.
    const isHeld = answer.type === 'sse' && (options.truncation || options.provider) && /(^|\n)$/.test(body);
    if (!hasNone && missing > 0 && !isHeld && arrives(seen.world, asked, answer))
      faults.push(`${missing} bytes came, and went no further`);
  }
  return faults;
}

/** Whether all that an upstream sends before it breaks off must reach the client. */
function arrives({ front, sending, options, reads, requests }: World, asked: Asked, { cut }: Answer): boolean {
  // What is reset may be lost on the way, on both sides: a connection that is closed with requests unread is. Node's client of
  // HTTP/2 drops what it has not handed over by then.
  const isRead =
    front === 'http2'
      ? reads === 'at once'
      : asked.body === undefined && (sending === 'in turn' || requests.length === 1);
  const isSame = options.events !== 'same' && options.events !== 'edited';
  return isRead && isSame && cut?.by === 'end';
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return Math.max(20, length);
}

function expectedBody({ options }: World, id: string, answer: Answer): string {
  const body = piecesOf(id, answer).join('');
  return answer.type === 'sse' && options.events === 'edited' ? body.replaceAll('\n\n', '!\n\n') : body;
}

export const COMMENT = 'beat';

/** Without what the proxy may add where it was asked to. */
function withoutOurs(options: Options, answer: Answer, got: Got): string {
  if (answer.type !== 'sse') return got.body;
  let { body } = got;
  if (options.heartbeat) body = body.replaceAll(`: ${COMMENT}\n\n`, '');
  // The end of the connection is the end of such a body, and a reset may look like one.
  const isWhole = got.isComplete && got.framing !== 'close';
  if (isWhole || !(options.truncation || options.provider)) return body;
  return body.replace(/(event: error\n)?data: \{"error":\{[^\n]*\n\n$/, '');
}
