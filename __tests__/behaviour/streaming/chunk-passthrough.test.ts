// Whole chunks are relayed past Node's parser. It must make of the rest what it would have made of all.
import '../../support/streams/fast-path-on.js';
import type { IncomingMessage } from 'node:http';
import { beforeAll, describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { rawClient } from '../../support/clients/raw.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { type ResponseReading, readByParser, readDirectly } from '../../support/streams/chunk-reading.js';
import { FIXTURES } from '../../support/streams/fixtures.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

const chunk = (text: string): string => `${Buffer.byteLength(text, 'latin1').toString(16)}\r\n${text}\r\n`;
const END = '0\r\n\r\n';

const wire = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Each line of a stream a chunk of its own. */
const chunked = (text: string): string => (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).map(chunk).join('');

const STREAMS = FIXTURES.map(({ name, bytes }) => [name, HEAD + chunked(bytes.toString('latin1')) + END] as const);

const AROUND = [chunk('data: 1\n\n'), chunk('data: 2\n\n')] as const;
const body = (middle: string, end = END): string => HEAD + AROUND[0] + middle + AROUND[1] + end;

/** What is not beyond doubt, and is for the parser to judge. */
const DOUBTFUL: [name: string, response: string][] = [
  ['a chunk extension', body('3;name=value\r\nabc\r\n')],
  ['a quoted chunk extension', body('3;name="\\"\r\n"\r\nabc\r\n')],
  ['a space behind a size', body('3 \r\nabc\r\n')],
  ['an extension of the last chunk', body('', '0;x=y\r\n\r\n')],
  ['trailers', body('', '0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n')],
  ['no last chunk', body('', '')],
  ['a last chunk of many digits', body('', '0000000000\r\n\r\n')],
  ['a size of many digits', body('0000000003\r\nabc\r\n')],
  ['a size that is too large', body('FFFFFFFFFFFFFFFFF\r\nabc\r\n')],
  ['a size that is none', body('xyz\r\nabc\r\n')],
  ['a negative size', body('-3\r\nabc\r\n')],
  ['no size', body('\r\nabc\r\n')],
  ['a size behind LF', body('3\nabc\r\n')],
  ['a chunk behind CR', body('3\rabc\r\n')],
  ['a chunk that ends in LF', body('3\r\nabc\n')],
  ['a chunk that ends in CR', body('3\r\nabc\r')],
  ['a chunk that is longer than its size', body('3\r\nabcdef\r\n')],
  ['a chunk that is shorter than its size', body('6\r\nabc\r\n')],
  ['chunks within a chunk', body(chunk(AROUND.join('') + END))],
  ['another response behind the end', body('', `${END}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`)],
  ['chunks behind the end', body('', END + AROUND.join('') + END)],
  ['a blank line behind the end', body('', `${END}\r\n`)],
  ['an early response in front', `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${body('')}`],
  ['blank lines in front', `\r\n\r\n${body('')}`],
  ['a response of HTTP/1.0', body('').replace('HTTP/1.1', 'HTTP/1.0')],
  ['two codings', body('').replace('chunked', 'gzip, chunked')],
  ['a length as well', body('').replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n')],
  ['no body', body('').replace('200 OK', '204 No Content')],
];

/** Cut into two at every place, and byte by byte. */
const cuts = (bytes: Buffer): Buffer[][] => [
  [bytes],
  ...Array.from({ length: bytes.length - 1 }, (_, i) => [bytes.subarray(0, i + 1), bytes.subarray(i + 1)]),
  Array.from(bytes, (_byte, i) => bytes.subarray(i, i + 1)),
];

describe.each([...STREAMS, ...DOUBTFUL])('a response with %s', (_name, text) => {
  const responses = cuts(wire(text));
  /** What the parser makes of each. */
  const parsed: ResponseReading[] = [];

  beforeAll(async () => {
    for (const reads of responses) parsed.push(await readByParser(reads));
  });

  it('chunk passthrough: a response is read as the parser reads it, cut at any place', async () => {
    for (const [i, reads] of responses.entries()) {
      const { direct: _, ...read } = await readDirectly(reads);
      expect(read).toEqual(parsed[i]);
    }
  });

  it('chunk passthrough: a response is read as the parser reads it where the way past the parser opens and closes', async () => {
    for (const [i, reads] of responses.entries()) {
      let asked = 0;
      const { direct: _, ...read } = await readDirectly(reads, { isWanted: () => (asked++ & 1) === 1 });
      expect(read).toEqual(parsed[i]);
    }
  });
});

it('chunk passthrough: is not for a response to HEAD, which has no body', async () => {
  const reads = [wire(HEAD), wire(AROUND[0])];
  const { direct, ...read } = await readDirectly(reads, { method: 'HEAD' });
  expect(direct).toBe(0);
  expect(read).toEqual(await readByParser(reads, { method: 'HEAD' }));
});

describe('past the parser go', () => {
  it('chunk passthrough: past the parser go all chunks that a read has whole, from the second read on', async () => {
    const reads = [
      HEAD + AROUND[0],
      AROUND[1],
      AROUND.join(''),
      `${AROUND[0]}5\r\nda`,
      'ta:\r',
      `\n${AROUND[1]}${END}`,
    ];
    const { body: text, isComplete, direct } = await readDirectly(reads.map(wire));
    expect(text).toBe('data: 1\n\ndata: 2\n\ndata: 1\n\ndata: 2\n\ndata: 1\n\ndata:data: 2\n\n');
    expect(isComplete).toBe(true);
    // But the first, and the one in pieces.
    expect(direct).toBe(text.length - 9 - 5);
  });

  it('chunk passthrough: past the parser go no chunks behind one that was in doubt', async () => {
    const reads = [HEAD, AROUND[0], '3;x=y\r\nabc\r\n', AROUND[1], END];
    const { body: text, direct } = await readDirectly(reads.map(wire));
    expect(text).toBe('data: 1\n\nabcdata: 2\n\n');
    expect(direct).toBe(9);
  });
});

describe('on the wire', () => {
  /** Has two events pass, each with a size that Node would write in another way. */
  async function seen(options: SseProxyOptions, before?: Parameters<typeof proxyApp>[1]) {
    let say = (_text: string): void => {};
    const { url } = await rawUpstream((socket) => {
      say = (text) => void socket.write(text);
      socket.write(HEAD);
    });
    const proxy = await proxyApp({ target: url, ...options }, before);
    const client = await rawClient(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const head = await client.until('\r\n\r\n');
    say('0A\r\ndata: 1\n\n\n\r\n');
    await client.until('data: 1\n\n\n\r\n');
    say('00B\r\ndata: 22\n\n\n\r\n0\r\n\r\n');
    const text = await client.until('\r\n0\r\n\r\n');
    const { bytes, outcome } = await proxy.summary();
    return { body: text.slice(head.length), bytes, outcome };
  }

  it.each<[string, SseProxyOptions]>([
    ['pass', {}],
    ['are read', { onEvent: () => {} }],
    ['have heartbeats between them', { heartbeat: { interval: 60_000 } }],
  ])(
    'chunk passthrough, on the wire: chunks are as the upstream has sent them, where events %s',
    async (_what, options) => {
      const body = '0A\r\ndata: 1\n\n\n\r\n00B\r\ndata: 22\n\n\n\r\n0\r\n\r\n';
      expect(await seen(options)).toEqual({ body, bytes: 21, outcome: 'completed' });
    },
  );

  it.each<[string, SseProxyOptions]>([
    ['are changed', { transformEvent: () => {} }],
    ['are listened to', { on: { proxyRes: (proxyRes: IncomingMessage) => void proxyRes.on('data', () => {}) } }],
  ])('chunk passthrough, on the wire: they are made anew where events %s', async (_what, options) => {
    const body = 'a\r\ndata: 1\n\n\n\r\nb\r\ndata: 22\n\n\n\r\n0\r\n\r\n';
    expect(await seen(options)).toEqual({ body, bytes: 21, outcome: 'completed' });
  });

  it('chunk passthrough, on the wire: they are made anew where middleware has put something in front of the connection', async () => {
    const body = 'a\r\ndata: 1\n\n\n\r\nb\r\ndata: 22\n\n\n\r\n0\r\n\r\n';
    const { body: got } = await seen({}, (app) =>
      app.use((_req, res, next) => {
        const { write } = res;
        res.write = ((...args: Parameters<typeof write>) => write.apply(res, args)) as typeof write;
        next();
      }),
    );
    expect(got).toBe(body);
  });
});
