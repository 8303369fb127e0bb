import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import net, { type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { looseWire } from '../servers/bare-http.js';
import { listen } from '../servers/listen.js';
import { FIXTURES } from '../streams/fixtures.js';
import { onCleanUp } from '../watch/clean-up.js';
import { turns } from '../watch/wait.js';
import { anyCuts, aShare, cutAt, type Damage, damaged, someDamage } from './runs.js';

// --- what an upstream may say -----------------------------------------------------------------------------------------

const STATUS_LINES = [
  ...[204, 205, 206, 302, 304, 404, 429, 500, 503, 599, 999].map((status) => `HTTP/1.1 ${status} Reason`),
  'HTTP/1.1 200',
  'HTTP/1.1 200 caf\xe9 \x80',
];

const WRONG_STATUS_LINES = [
  ...['HTTP/1.0 200 OK', 'HTTP/1.1 200 bad\x01reason', 'HTTP/1.1 000 Zero', 'HTTP/1.1 099 Low', 'HTTP/1.1 99 Short'],
  ...['HTTP/1.1 1000 Long', 'HTTP/1.1 abc', 'HTTP/2.0 200 OK', 'HTTP/3.7 200 OK', 'ICY 200 OK', 'SSH-2.0-server', ''],
];

/** With `hop-` in what must not arrive. */
const FIELDS = [
  ...['Connection: X-Named, keep-alive\r\nX-Named: hop-1', 'Keep-Alive: hop-2', 'Proxy-Authenticate: hop-3'],
  ...['TE: hop-4', 'Upgrade: hop-5', 'Proxy-Connection: hop-6', 'Connection: close', 'Trailer: X-Sum'],
  ...['X-Kept: kept', 'Vary: Origin', 'Cache-Control: no-transform', 'Set-Cookie: a=1', 'Set-Cookie: b=2'],
  ...['__proto__: x', 'constructor: y', 'X-Empty:', 'X-High: \xe9\xff', 'Location: /there', 'Retry-After: 0'],
];

const WRONG_FIELDS = [
  ...['X-Bad\x01: 1', 'no colon', ' X-Folded: 1', 'X-Null: a\0b', 'Location: http://[::', 'X-Cr: a\rb', ': no name'],
  `X-Long: ${'x'.repeat(17_000)}`,
];

const EARLY = ['100 Continue', '102 Processing', '103 Early Hints\r\nLink: </a>; rel=preload\r\nKeep-Alive: hop-0'];

const WRONG_EARLY = ['101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x', '103 Early Hints\r\nLink: <'];

const TYPES = [
  'text/event-stream; charset=utf-8',
  'application/x-ndjson',
  'application/json',
  'text/plain',
  'garbage',
  '',
];

const FRAMINGS = ['length', 'chunks', 'trailers', 'close'] as const;

const WRONG_FRAMINGS = [
  ...(['length too large', 'length too small', 'two lengths', 'length and chunks'] as const),
  ...(['no last chunk', 'broken chunk'] as const),
];

export interface BrokenAnswer {
  early: string[];
  statusLine: string;
  fields: string[];
  type: string;
  coding: '' | 'gzip' | 'gzip, broken' | 'unknown';
  framing: (typeof FRAMINGS | typeof WRONG_FRAMINGS)[number];
  body: Buffer;
  /** Where the body is cut into chunks. */
  chunks: number[];
  before: string;
  after: string;
  damages: Damage[];
  /** The share of it all that is sent. */
  sent: number;
  /** Where that is cut into writes. */
  cuts: number[];
  end: 'keep' | 'close' | 'reset';
}

/** What is wrong in every way is wrong at once, and shows little: each way is rare. */
function mostly<T>(usual: fc.Arbitrary<T>, others: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof({ weight: 19, arbitrary: usual }, fc.constantFrom(...others));
}

const bodies = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...FIXTURES.map(({ bytes }) => bytes)) },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.constantFrom(...FIXTURES), someDamage()).map(([{ bytes }, list]) => damaged(bytes, list)),
  },
  fc.constantFrom(
    Buffer.alloc(0),
    Buffer.from('{"error":{"message":"no"}}'),
    Buffer.from('data: {"error":{"message":"no"}}\n\n'),
    Buffer.from('data: x\n\n'.repeat(30_000)),
  ),
);

export const anyAnswer: fc.Arbitrary<BrokenAnswer> = fc.record({
  early: mostly(
    mostly<string[]>(fc.constant([]), [EARLY, ...EARLY.map((line) => [line])]),
    WRONG_EARLY.map((line) => [line]),
  ),
  statusLine: mostly(mostly(fc.constant('HTTP/1.1 200 OK'), STATUS_LINES), WRONG_STATUS_LINES),
  fields: fc
    .tuple(
      fc.subarray(FIELDS, { maxLength: 6 }),
      mostly<string[]>(
        fc.constant([]),
        WRONG_FIELDS.map((field) => [field]),
      ),
    )
    .map((lists) => lists.flat()),
  type: mostly(fc.constant('text/event-stream'), TYPES),
  coding: mostly<BrokenAnswer['coding']>(fc.constant(''), ['gzip', 'gzip, broken', 'unknown']),
  framing: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom<BrokenAnswer['framing']>(...FRAMINGS) },
    fc.constantFrom<BrokenAnswer['framing']>(...WRONG_FRAMINGS),
  ),
  body: bodies,
  chunks: anyCuts,
  before: mostly(fc.constant(''), ['\r\n', 'garbage\r\n', '\0']),
  after: mostly(fc.constant(''), ['\r\n', 'garbage', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx', '0\r\n\r\n']),
  damages: fc.oneof({ weight: 5, arbitrary: someDamage(0) }, someDamage(2)),
  sent: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, aShare),
  cuts: anyCuts,
  end: fc.constantFrom('keep', 'keep', 'close', 'close', 'reset'),
});

/** Nothing is wrong with it, and all of it is sent. */
export function isRight({ early, statusLine, fields, framing, before, after, damages, sent }: BrokenAnswer): boolean {
  return (
    !early.some((line) => WRONG_EARLY.includes(line)) &&
    !WRONG_STATUS_LINES.includes(statusLine) &&
    !fields.some((field) => WRONG_FIELDS.includes(field)) &&
    FRAMINGS.some((right) => right === framing) &&
    before + after === '' &&
    damages.length === 0 &&
    sent === 1
  );
}

/** The bytes of an answer to a request with this method. */
export function wireOf(answer: BrokenAnswer, method: string): Buffer {
  const { early, statusLine, fields, type, coding, framing, before, after, damages, sent } = answer;
  const isBodiless = method === 'HEAD' || /^HTTP\/1\.1 (204|304)/.test(statusLine);
  const coded = coding.startsWith('gzip') ? gzipSync(answer.body) : answer.body;
  const body = coding === 'gzip, broken' ? damaged(coded, [{ kind: 'flip', at: 0.5, bit: 3 }]) : coded;
  const head = [
    ...[statusLine, ...fields],
    ...(type === '' ? [] : [`Content-Type: ${type}`]),
    ...(coding === '' ? [] : [`Content-Encoding: ${coding.replace(', broken', '')}`]),
    ...lengthsOf(framing, body.length).map((length) => `Content-Length: ${length}`),
    ...(isChunked(framing) ? ['Transfer-Encoding: chunked'] : []),
  ];
  const whole = Buffer.concat([
    Buffer.from(before + early.map((line) => `HTTP/1.1 ${line}\r\n\r\n`).join(''), 'latin1'),
    Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'),
    ...(isBodiless ? [] : isChunked(framing) ? chunksOf(body, answer) : [body]),
    Buffer.from(after),
  ]);
  const broken = damaged(whole, damages);
  return broken.subarray(0, Math.round(sent * broken.length));
}

const isChunked = (framing: BrokenAnswer['framing']): boolean => /chunk|trailers/.test(framing);

function lengthsOf(framing: BrokenAnswer['framing'], length: number): number[] {
  if (framing === 'length too large') return [length + 7];
  if (framing === 'length too small') return [Math.max(0, length - 3)];
  if (framing === 'two lengths') return [length, length + 1];
  return framing === 'length' || framing === 'length and chunks' ? [length] : [];
}

function chunksOf(body: Buffer, { framing, chunks }: BrokenAnswer): Buffer[] {
  const pieces = cutAt(body, chunks).filter((piece) => piece.length > 0);
  const last =
    framing === 'trailers' ? '0\r\nX-Sum: 1\r\nTE: hop-7\r\n\r\n' : framing === 'no last chunk' ? '' : '0\r\n\r\n';
  return [
    ...pieces.flatMap((piece, i) => {
      const size = framing === 'broken chunk' && i === pieces.length - 1 ? 'xyz' : piece.length.toString(16);
      return [Buffer.from(`${size}\r\n`), piece, Buffer.from('\r\n')];
    }),
    Buffer.from(last),
  ];
}

// --- who says it ------------------------------------------------------------------------------------------------------

/** What one connection of the upstream says, and how it ends. */
export interface Script {
  pieces: Buffer[];
  /** Between two pieces. Milliseconds; 0 for some turns of the event loop. */
  pause: number;
  end: BrokenAnswer['end'];
}

export interface ScriptedUpstream {
  url: string;
  server: net.Server;
  /** By path: what is said to the first request, the second, and so on; the last of them stands for the rest. */
  scripts: Map<string, Script[]>;
  /** By path: how many requests have come. */
  asked: Map<string, number>;
  /** By path: where the last of them came from. */
  sockets: Map<string, Socket>;
  /** By path: resolves when the last of them has had its answer. */
  played: Map<string, Promise<void>>;
}

const PLAIN: Script = {
  pieces: [Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain')],
  pause: 0,
  end: 'keep',
};

/** An upstream that says what it is told to; to any other path it says `plain`. */
export async function scriptedUpstream(): Promise<ScriptedUpstream> {
  const scripts: ScriptedUpstream['scripts'] = new Map();
  const asked: ScriptedUpstream['asked'] = new Map();
  const sockets: ScriptedUpstream['sockets'] = new Map();
  const played: ScriptedUpstream['played'] = new Map();
  const open = new Set<Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => {}).setNoDelay(true);
    let received = '';
    let playing = Promise.resolve();
    socket.on('data', (data) => {
      received += data.toString('latin1');
      const [head = '', body] = received.split('\r\n\r\n', 2);
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
      if (body === undefined || body.length < length) return;
      received = '';
      const path = head.split(' ', 2)[1] ?? '';
      const count = asked.get(path) ?? 0;
      asked.set(path, count + 1);
      sockets.set(path, socket);
      const list = scripts.get(path) ?? [PLAIN];
      const script = list[Math.min(count, list.length - 1)] ?? PLAIN;
      // The last one may still have to end the connection, which closes in front of this answer then, and not within it.
      playing = playing.then(() => play(socket, script));
      played.set(path, playing);
    });
  });
  onCleanUp(() => open.forEach((socket) => void socket.destroy()));
  return { server, scripts, asked, sockets, played, url: `http://127.0.0.1:${await listen(server)}` };
}

async function play(socket: Socket, { pieces, pause, end }: Script): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece);
    await (pause > 0 ? new Promise((resolve) => setTimeout(resolve, pause)) : turns(2));
  }
  if (end === 'close') socket.end();
  if (end === 'reset') socket.resetAndDestroy();
}

// --- how it is understood ---------------------------------------------------------------------------------------------

/** What Node's own HTTP client makes of the bytes of one response. */
export interface Seen {
  /** Of the final response; `undefined` where there was none. */
  statusCode: number | undefined;
  headers: IncomingHttpHeaders;
  trailers: NodeJS.Dict<string>;
  body: Buffer;
  /** The body has come to its end. */
  isComplete: boolean;
  /** It has done so before its connection did. */
  isDelimited: boolean;
}

export interface ResponseReader {
  push(bytes: Buffer): void;
  /** The connection has ended: has failed, where there is an error. */
  end(error?: Error): void;
  /** Resolves when nothing more is to be read. */
  closed: Promise<Seen>;
}

/** Has Node's HTTP client read the response to such a request from memory. */
export function responseReader(method: string, maxHeaderSize?: number): ResponseReader {
  const wire = looseWire();
  const req = http.request({ method, createConnection: () => wire, ...(maxHeaderSize && { maxHeaderSize }) });
  const body: Buffer[] = [];
  let response: IncomingMessage | undefined;
  let isDelimited = false;
  let isReset = false;
  req.once('response', (res) => {
    response = res;
    const { push } = res;
    // What comes in the same read as an error is no event any more.
    res.push = (chunk: Buffer | null, ...rest) => {
      if (chunk !== null) body.push(chunk);
      return push.call(res, chunk, ...rest);
    };
    res.on('error', () => {}).resume();
  });
  req.on('upgrade', (_res, socket) => socket.destroy());
  req.on('error', () => {});
  wire.on('error', () => {});
  const closed = new Promise<Seen>((resolve) => {
    wire.once('close', () => {
      resolve({
        statusCode: response?.statusCode,
        headers: response?.headers ?? {},
        trailers: response?.trailers ?? {},
        body: Buffer.concat(body),
        // Node takes the end of a connection for the end of such a body, however it ends.
        isComplete: isReset ? isDelimited : response?.complete === true,
        isDelimited,
      });
    });
  });
  req.end();
  return {
    push: (bytes) => void wire.push(bytes),
    end(error) {
      isDelimited = response?.complete === true;
      isReset = error !== undefined;
      if (error === undefined) wire.push(null);
      else wire.destroy(error);
    },
    closed,
  };
}
