import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions, StreamSummary } from '../../../lib/index.js';
import { closing } from '../../support/clients/http2.js';
import { rawClient, speak } from '../../support/clients/raw.js';
import { certificate } from '../../support/servers/certificate.js';
import { listen } from '../../support/servers/listen.js';
import { type Front, front, http2Front, proxyApp } from '../../support/servers/proxies.js';
import { type Message, readResponsesStrictly, valuesOf } from '../../support/servers/strict-upstream.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const OK = 'HTTP/1.1 200 OK\r\n';
const EVIL = `${OK}Content-Length: 4\r\n\r\nevil`;
const HELLO = '5\r\nhello\r\n0\r\n\r\n';

const whole = (text: string): string => `${OK}Content-Length: ${text.length}\r\n\r\n${text}`;
const message = (fields: string, body: string): string => `${OK}${fields}\r\n\r\n${body}`;
const chunked = (body: string): string => message('Transfer-Encoding: chunked', body);
const started = (line: string): string => `${line}\r\nContent-Length: 2\r\n\r\nok`;

/** Answers `/x` with these bytes, behind which it may close, and every other request with its path. */
async function upstreamSaying(bytes: string, closes = false): Promise<string> {
  const { url } = await rawUpstream((socket, request) => {
    const [, path = ''] = /^\S+ (\S+)/.exec(request) ?? [];
    if (path !== '/x') socket.write(whole(path));
    else if (closes) socket.end(bytes, 'latin1');
    else socket.write(bytes, 'latin1');
  });
  return url;
}

interface Seen {
  status: number;
  body: string;
  isWhole: boolean;
  informational: Message[];
}

const isFinal = ({ start }: Message): boolean => !start.startsWith('HTTP/1.1 1');

/** Something well-behaved comes before and after, so that there is a pooled connection, and somebody to be harmed. */
async function askPlainly({ connect }: Front, path: string): Promise<void> {
  const request = `GET ${path} HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n`;
  const { text } = await speak(connect(), request, () => false);
  const { messages, rest } = readResponsesStrictly(text);
  expect([messages.map(({ body }) => body), rest]).toEqual([[path], '']);
}

async function askOverHttp1(url: string, method: string, options: SseProxyOptions) {
  const proxy = await front('an HTTP/1.1 server', { target: url, ...options });
  await askPlainly(proxy, '/before');
  const client = proxy.connect();
  const read = (text: string): Message[] => readResponsesStrictly(text, method).messages;
  const { text } = await speak(client, `${method} /x HTTP/1.1\r\nHost: front\r\n\r\n`, (all) =>
    read(all).some(isFinal),
  );
  const finals = read(text).filter(isFinal);
  expect(finals.length).toBeLessThanOrEqual(1);
  if (finals.length > 0) expect(readResponsesStrictly(text, method).rest).toBe('');
  await askPlainly(proxy, '/after');
  const [final] = finals;
  const seen: Seen = {
    status: Number(/HTTP\/1\.1 ([2-9]\d\d)/.exec(text)?.[1]),
    body: final?.body ?? '',
    isWhole: final !== undefined,
    informational: read(text).filter((each) => !isFinal(each)),
  };
  return { seen, summaries: proxy.summaries };
}

async function askOverHttp2(url: string, method: string, options: SseProxyOptions) {
  const { port, summaries } = await http2Front({ target: url, ...options });
  const { cert } = await certificate();
  const session = http2.connect(`https://localhost:${port}`, { ca: cert, maxHeaderListPairs: 5_000 });
  session.on('error', () => {});
  onCleanUp(() => session.destroy());
  const request = async (path: string, method = 'GET'): Promise<Seen> => {
    const stream = session.request({ ':path': path, ':method': method });
    const closed = closing(stream);
    const [head] = await once(stream, 'response');
    const { body, code } = await closed;
    return { status: Number(head[':status']), body, isWhole: code === 0, informational: [] };
  };
  expect(await request('/before')).toMatchObject({ body: '/before', isWhole: true });
  const seen = await request('/x', method);
  expect(await request('/after')).toMatchObject({ body: '/after', isWhole: true });
  return { seen, summaries };
}

const CLIENTS = [
  ['HTTP/1.1', askOverHttp1],
  ['HTTP/2', askOverHttp2],
] as const;

async function outcomeOf(summaries: readonly StreamSummary[]): Promise<string | undefined> {
  await until(() => summaries.length >= 3);
  await turns();
  expect(summaries.map(({ outcome }) => outcome)).toEqual(['completed', expect.any(String), 'completed']);
  return summaries[1]?.outcome;
}

const INVALID: [name: string, bytes: string][] = [
  ['a length and chunks', message('Content-Length: 5\r\nTransfer-Encoding: chunked', HELLO)],
  ['chunks and a length', message('Transfer-Encoding: chunked\r\nContent-Length: 5', HELLO)],
  ['a length and identity', message('Content-Length: 5\r\nTransfer-Encoding: identity', 'hello')],
  ['two lengths', message('Content-Length: 5\r\nContent-Length: 5', 'hello')],
  ['two lengths that differ', message('Content-Length: 2\r\nContent-Length: 40', `ok${EVIL}`)],
  ...['5, 5', '+5', '-5', '0x5', '5.0', '5 5', '', '18446744073709551621'].map((length): [string, string] => [
    `Content-Length: ${length}`,
    message(`Content-Length: ${length}`, 'hello'),
  ]),
  ...['xchunked', 'chunked, identity', 'gzip', 'gzip, chunked', 'chunked, chunked', 'chunked;a=b'].map(
    (coding): [string, string] => [`Transfer-Encoding: ${coding}`, message(`Transfer-Encoding: ${coding}`, HELLO)],
  ),
  ...['\x0bchunked', 'chun\tked', '\r\n chunked', 'chunked,', '"chunked"', 'chunked\0'].map(
    (coding): [string, string] => [`Transfer-Encoding: ${coding}`, message(`Transfer-Encoding: ${coding}`, HELLO)],
  ),
  ['two lines of chunked', message('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', HELLO)],
  ['Transfer-Encoding : chunked', message('Transfer-Encoding : chunked', HELLO)],
  ...['X-A: a\nX-B: b', 'X-A: a\rX-B: b', 'X-A: a\0b', 'X-A: a\r\n b', 'X-A : a', 'X-A', ': a', 'X A: a'].map(
    (lines): [string, string] => [lines, message(`${lines}\r\nContent-Length: 2`, 'ok')],
  ),
  ['line feeds alone', whole('ok').replaceAll('\r', '')],
  ['a status line that ends in LF', whole('ok').replace('\r\n', '\n')],
  ['a status line that ends in CR', whole('ok').replace('\r\n', '\r')],
  ['a head that ends in LF', whole('ok').replace('\r\n\r\n', '\r\n\n')],
  ...[
    'HTTP/1.1  200 OK',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 20x OK',
    'HTTP/1.1 +200 OK',
    'ICY 200 OK',
  ].map((line): [string, string] => [`the status line ${line}`, started(line)]),
  ...[
    'HTTP/3.0 200 OK',
    'HTTP/1.10 200 OK',
    'http/1.1 200 OK',
    ' HTTP/1.1 200 OK',
    'HTTP/1.1\t200\tOK',
    'HTTP/1.1 200OK',
  ].map((line): [string, string] => [`the status line ${line}`, started(line)]),
  ...['HTTP/1.1 099 OK', 'GET /x HTTP/1.1', 'HTTP/1.1 200 O\rK'].map((line): [string, string] => [
    `the status line ${line}`,
    started(line),
  ]),
  ['a 101 and a response', `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n${EVIL}`],
  ['a 101 without an upgrade', `HTTP/1.1 101 Switching Protocols\r\n\r\n${EVIL}`],
  ['10,000 fields', message(`${'X-A: b\r\n'.repeat(10_000)}Content-Length: 2`, 'ok')],
  ['a field of 1 MB', message(`X-A: ${'a'.repeat(1024 * 1024)}\r\nContent-Length: 2`, 'ok')],
  ['a reason of 1 MB', started(`HTTP/1.1 200 ${'a'.repeat(1024 * 1024)}`)],
];

/** What a body is, as far as it comes, and why it is not whole. */
const BROKEN: [name: string, bytes: string, closes?: boolean][] = [
  ...['FFFFFFFFFFFFFFFF1', '-5', '0x5', '5 5', '+5', '5\n', '5;a\n', '5;a\rb'].map((size): [string, string] => [
    `the chunk size ${size}`,
    chunked(`5\r\nhello\r\n${size}${size.endsWith('\n') ? '' : '\r\n'}hello\r\n0\r\n\r\n`),
  ]),
  ['a chunk that ends in LF', chunked('5\r\nhello\n0\r\n\r\n')],
  ['a chunk that is longer than its size', chunked(`5\r\nhello${EVIL}\r\n0\r\n\r\n`)],
  ['a chunk without an end', chunked(`7FFFFFFFFFFFFFFF\r\nhello${EVIL}`), true],
  ['a last chunk that ends in LF', chunked('5\r\nhello\r\n0\r\n\n')],
  ['no last line', chunked('5\r\nhello\r\n0\r\n'), true],
  ['a trailer Content-Length', chunked(`5\r\nhello\r\n0\r\nContent-Length: 4\r\n\r\n`)],
  ['a length beyond all numbers', message('Content-Length: 9007199254740993', 'hello'), true],
  ['bytes that are no response behind the end', `${whole('hello')}evil\r\n\r\n`],
];

const GOOD: [name: string, bytes: string, body: string, closes?: boolean][] = [
  ['spaces around a length', message('Content-Length: \t5 ', 'hello'), 'hello'],
  ['a length with zeros', message('Content-Length: 0005', 'hello'), 'hello'],
  ...['CHUNKED', 'identity, chunked', ', chunked', '\tchunked'].map((coding): [string, string, string] => [
    `Transfer-Encoding: ${coding}`,
    message(`Transfer-Encoding: ${coding}`, HELLO),
    'hello',
  ]),
  ['Transfer-Encoding: identity', message('Transfer-Encoding: identity', 'hello'), 'hello', true],
  ['chunks of HTTP/1.0', chunked(HELLO).replace('1.1', '1.0'), 'hello', true],
  ['chunk extensions', chunked('5;a=b;c="d"\r\nhello\r\n0;x=y\r\n\r\n'), 'hello'],
  ['trailers that frame', chunked('5\r\nhello\r\n0\r\nHost: x\r\nConnection: close\r\nX-T: 1\r\n\r\n'), 'hello'],
  ['another response behind the end', `${whole('hello')}${EVIL}`, 'hello'],
  ['another response behind chunks', `${chunked(HELLO)}${EVIL}`, 'hello'],
  ['a blank line behind the end', `${whole('hello')}\r\n\r\n`, 'hello'],
  ...['HTTP/1.1 200', 'HTTP/1.1 200 ', 'HTTP/1.0 200 OK', 'HTTP/2.0 200 OK', '\r\nHTTP/1.1 200 OK'].map(
    (line): [string, string, string] => [`the status line ${line}`, started(line), 'ok'],
  ),
  ['the reason HTTP/1.1 404', started('HTTP/1.1 200 OK HTTP/1.1 404 x'), 'ok'],
  ['1,000 early hints', `${'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=x\r\n\r\n'.repeat(1_000)}${whole('ok')}`, 'ok'],
  ['1,000 times 100', `${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(1_000)}${whole('ok')}`, 'ok'],
  ['a 100 with chunks', `HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n${whole('ok')}`, 'ok'],
  ['a length behind thousands of fields', message(`${'a: b\r\n'.repeat(2_500)}Content-Length: 2`, 'ok'), 'ok'],
  [
    'chunks behind thousands of fields',
    message(`${'a: b\r\n'.repeat(2_500)}Transfer-Encoding: chunked`, HELLO),
    'hello',
  ],
  [
    'an end behind thousands of fields',
    message(`${'a: b\r\n'.repeat(2_500)}Connection: close`, 'hello'),
    'hello',
    true,
  ],
];

describe.each(CLIENTS)('a client of %s', (_version, ask) => {
  it.each(INVALID)(
    'response smuggling: a client gets a 502 for what can be read in more than one way: %j',
    async (_name, bytes) => {
      const { seen, summaries } = await ask(await upstreamSaying(bytes, true), 'GET', {});
      expect(seen).toMatchObject({ status: 502, isWhole: true });
      expect(JSON.parse(seen.body)).toMatchObject({ error: { code: 'UPSTREAM_INVALID_RESPONSE' } });
      expect(await outcomeOf(summaries)).toBe('upstream-error');
    },
  );

  it.each(BROKEN)(
    'response smuggling: a client is cut off where the framing breaks: %j',
    async (_name, bytes, closes = false) => {
      const { seen, summaries } = await ask(await upstreamSaying(bytes, closes), 'GET', {});
      expect(seen).toMatchObject({ status: 200, isWhole: false });
      expect(await outcomeOf(summaries)).toBe('upstream-truncated');
    },
  );

  it.each(GOOD)('response smuggling: a client gets one response: %j', async (_name, bytes, body, closes = false) => {
    const { seen, summaries } = await ask(await upstreamSaying(bytes, closes), 'GET', {});
    expect(seen).toMatchObject({ status: 200, body, isWhole: true });
    expect(await outcomeOf(summaries)).toBe('completed');
  });

  it.each([
    ['a body for HEAD', 'HEAD', 200, message('Content-Length: 4', 'body')],
    ['chunks for HEAD', 'HEAD', 200, chunked(HELLO)],
    ['a response as the body for HEAD', 'HEAD', 200, message(`Content-Length: ${EVIL.length}`, EVIL)],
    ['a body of a 204', 'GET', 204, 'HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody'],
    ['a response as the body of a 204', 'GET', 204, `HTTP/1.1 204 No Content\r\n\r\n${EVIL}`],
    ['a body of a 304', 'GET', 304, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody'],
    ['a response as the body of a 304', 'GET', 304, `HTTP/1.1 304 Not Modified\r\n\r\n${EVIL}`],
    ['chunks of a 304', 'GET', 304, `HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO}`],
  ])('response smuggling: a client gets no body where there is none: %s', async (_name, method, status, bytes) => {
    const { seen, summaries } = await ask(await upstreamSaying(bytes), method, {});
    expect(seen).toMatchObject({ status, body: '' });
    expect(await outcomeOf(summaries)).toMatch(/^(?:completed|upstream-truncated)$/);
  });
});

// --- what comes when nothing was asked ------------------------------------------------------------------------------

describe.each(['http', 'https'] as const)('a pooled connection (%s)', (protocol) => {
  /** An upstream that answers with the path; `connections` tells them apart, and when they close. */
  async function talkingUpstream(onConnection: (socket: Socket) => void = () => {}) {
    const connections: { socket: Socket; closed: Promise<unknown> }[] = [];
    const onSocket = (socket: Socket): void => {
      connections.push({ socket, closed: once(socket, 'close') });
      onConnection(socket);
      socket
        .on('error', () => {})
        .on('data', (request) => {
          const [, path = ''] = /^\S+ (\S+)/.exec(request.toString()) ?? [];
          socket.write(whole(path));
        });
    };
    const server = protocol === 'http' ? net.createServer(onSocket) : tls.createServer(await certificate(), onSocket);
    onCleanUp(() => connections.forEach(({ socket }) => void socket.destroy()));
    const port = await listen(server);
    const proxy = await front('an HTTP/1.1 server', { target: `${protocol}://127.0.0.1:${port}`, secure: false });
    return { proxy, connections };
  }

  it.each([
    ['a response', EVIL],
    ['the head of a response', message('Content-Length: 400', '')],
    ['a part of a head', 'HTTP/1.1 200 OK\r\nX-A: '],
    ['early hints', 'HTTP/1.1 103 Early Hints\r\nLink: </evil>; rel=x\r\n\r\n'],
    ['a line break', '\r\n'],
    ['a byte', '\0'],
  ])(
    'response smuggling: a pooled connection on which %s comes unasked is closed, and the next request goes on another',
    async (_name, bytes) => {
      const { proxy, connections } = await talkingUpstream();
      await askPlainly(proxy, '/1');
      connections[0]?.socket.write(bytes);
      await connections[0]?.closed;
      await askPlainly(proxy, '/2');
      expect(connections).toHaveLength(2);
    },
  );

  it('response smuggling: a pooled connection stays where nothing does', async () => {
    const { proxy, connections } = await talkingUpstream();
    for (const path of ['/1', '/2', '/3']) await askPlainly(proxy, path);
    expect(connections).toHaveLength(1);
  });

  it('response smuggling: a pooled connection on which a response comes before its request is closed before the next', async () => {
    const { proxy, connections } = await talkingUpstream((socket) => socket.write(whole('/early')));
    for (const i of [0, 1]) {
      const request = 'GET /asked HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n';
      const { text } = await speak(proxy.connect(), request, () => false);
      expect(readResponsesStrictly(text)).toMatchObject({ messages: [{ body: '/early' }], rest: '' });
      await connections[i]?.closed;
    }
    expect(proxy.summaries).toHaveLength(2);
  });
});

// --- fields ---------------------------------------------------------------------------------------------------------

it.each(CLIENTS)(
  'response smuggling: names that objects have by themselves are headers like others: %s',
  async (_version, ask) => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'valueOf', '__defineGetter__'];
    const fields = names.flatMap((name) => [`${name}: polluted`, `${name}: too`]).join('\r\n');
    const head = `Connection: ${names.join(', ')}x\r\n${fields}\r\nX-Kept: 1\r\nX-Kept: 2`;
    const hints = `HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=x\r\n${fields}\r\n\r\n`;
    const bytes = message(`${head}\r\nTransfer-Encoding: chunked`, `5\r\nhello\r\n0\r\n${fields}\r\nX-T: 1\r\n\r\n`);
    const { seen, summaries } = await ask(await upstreamSaying(hints + bytes), 'GET', {});
    expect(seen).toMatchObject({ status: 200, body: 'hello', isWhole: true });
    expect(await outcomeOf(summaries)).toBe('completed');
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
  },
);

it('response smuggling: early hints have no length, which would be taken for that of the response', async () => {
  const hints = 'HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </a>; rel=x\r\n\r\n';
  const { seen } = await askOverHttp1(await upstreamSaying(hints + whole('hello')), 'GET', {});
  expect(seen).toMatchObject({ body: 'hello', informational: [{ start: 'HTTP/1.1 103 Early Hints' }] });
  for (const each of seen.informational) expect(valuesOf(each, 'content-length')).toEqual([]);
});

// --- versions that a client may claim -------------------------------------------------------------------------------

describe.each(['HTTP/0.9', 'HTTP/1.0', 'HTTP/2.0'])('a client of an HTTP/1.1 server that claims %s', (version) => {
  it.each([
    ['chunks', 'Transfer-Encoding: chunked', '5\r\nhello\r\n'],
    ['a length', 'Content-Length: 50', 'hello'],
  ])(
    'response smuggling: a client that claims another version is not given half a response for a whole one: %s',
    async (_name, framing, body) => {
      const dying = signal<Socket>();
      const { url } = await rawUpstream((socket) => {
        socket.write(message(framing, body));
        dying.resolve(socket);
      });
      const proxy = await proxyApp({ target: url });
      const client = await rawClient(proxy.port);
      client.socket.write(`GET /x ${version}\r\nHost: front\r\n\r\n`);
      await client.until('hello');
      (await dying.promise).destroy();
      const { text, reset } = await client.end();
      expect(reset || /content-length: 50/i.test(text)).toBe(true);
      expect(await proxy.summary()).toMatchObject({ outcome: 'upstream-truncated', bytes: 5 });
    },
  );

  it('response smuggling: a client that claims another version is not sent early hints', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=x\r\n\r\n${whole('hello')}`);
    });
    const { port } = await proxyApp({ target: url });
    const client = await rawClient(port);
    client.socket.write(`GET /x ${version}\r\nHost: front\r\n\r\n`);
    const { text } = await client.end();
    expect(readResponsesStrictly(text)).toMatchObject({
      messages: [{ start: 'HTTP/1.1 200 OK', body: 'hello' }],
      rest: '',
    });
  });
});
