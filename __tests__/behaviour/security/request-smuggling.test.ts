import http from 'node:http';
import net, { type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { sendFrames } from '../../support/clients/http2.js';
import { speak } from '../../support/clients/raw.js';
import { listen } from '../../support/servers/listen.js';
import { FRONTS, type Front, type FrontKind, front, http2Front, proxyApp } from '../../support/servers/proxies.js';
import {
  type Message,
  OK,
  type ReadingUpstream,
  readingUpstream,
  readStrictly,
  valuesOf,
} from '../../support/servers/strict-upstream.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const SMUGGLED = 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n';
const HELLO = '5\r\nhello\r\n0\r\n\r\n';
/** More than Node shows to a listener, and not too much for its parser. */
const MANY = 'a: b\r\n'.repeat(2_500);

const isAnswered = (text: string): boolean => text.includes('\r\n\r\nok');
const isAnsweredWithoutBody = (text: string): boolean => text.includes('\r\n\r\n');

/** A whole request for `/plain`, after which all that came before has been seen to. */
async function askPlainly({ connect }: Front): Promise<void> {
  const { text } = await speak(connect(), 'GET /plain HTTP/1.1\r\nHost: x\r\n\r\n', isAnswered);
  expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
}

/** Something well-behaved comes before and after, so that there is a pooled connection, and somebody to be harmed. */
async function ask(kind: FrontKind, bytes: string, options: SseProxyOptions = {}) {
  const upstream = await readingUpstream();
  const proxy = await front(kind, { target: upstream.url, ...options });
  await askPlainly(proxy);
  const { text } = await speak(proxy.connect(), bytes, bytes.startsWith('HEAD ') ? isAnsweredWithoutBody : isAnswered);
  await askPlainly(proxy);
  return { status: Number(/HTTP\/1\.1 ([2-5]\d\d)/.exec(text)?.[1]), seen: await requestsBetween(upstream), upstream };
}

/** What the upstream has seen between the two that were asked plainly. */
async function requestsBetween(upstream: ReadingUpstream): Promise<Message[]> {
  const plain = 'GET /plain HTTP/1.1';
  const requests = await upstream.requests();
  expect(requests.filter(({ start }) => start === plain)).toHaveLength(2);
  return requests.filter(({ start }) => start !== plain);
}

const message = (fields: string, body: string, line = 'POST /x HTTP/1.1'): string =>
  `${line}\r\nHost: front\r\n${fields}${fields === '' ? '' : '\r\n'}\r\n${body}`;
const chunked = (body: string, fields = ''): string => message(`${fields}Transfer-Encoding: chunked`, body);

// --- HTTP/1.1 -------------------------------------------------------------------------------------------------------

/** Refused by Node; nothing of it may be seen upstream as a request. */
const REFUSED: [name: string, bytes: string, status?: number][] = [
  ['CL.TE', message('Content-Length: 5\r\nTransfer-Encoding: chunked', `0\r\n\r\n${SMUGGLED}`)],
  ['TE.CL', message('Transfer-Encoding: chunked\r\nContent-Length: 4', `20\r\n${SMUGGLED}\r\n0\r\n\r\n`)],
  ['CL.TE of HTTP/1.0', message('Content-Length: 5\r\nTransfer-Encoding: chunked', HELLO, 'POST /x HTTP/1.0')],
  ['two lengths', message('Content-Length: 5\r\nContent-Length: 5', 'hello')],
  ['two lengths that differ', message(`Content-Length: 5\r\nContent-Length: 37`, `hello${SMUGGLED}`)],
  ...['5, 5', '+5', '-5', '0x5', '5 5', '5.0', '1e1', '', '18446744073709551621', '\x0b5'].map(
    (length): [string, string] => [`Content-Length: ${length}`, message(`Content-Length: ${length}`, 'hello')],
  ),
  ['Content-Length : 5', message('Content-Length : 5', 'hello')],
  ...['xchunked', 'chunked, identity', 'identity', 'chun\tked', '\x0bchunked', 'chunked;a=b', 'chunked, chunked'].map(
    (coding): [string, string] => [`Transfer-Encoding: ${coding}`, message(`Transfer-Encoding: ${coding}`, HELLO)],
  ),
  ...['chunked,', '"chunked"', 'x chunked', 'x=chunked', 'chunked\0', '', '\r\n chunked', 'x,\r\n\tchunked'].map(
    (coding): [string, string] => [`Transfer-Encoding: ${coding}`, message(`Transfer-Encoding: ${coding}`, HELLO)],
  ),
  ['Transfer-Encoding : chunked', message('Transfer-Encoding : chunked', HELLO)],
  ['two lines of chunked', message('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', HELLO)],
  ['chunked, then identity', message('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', HELLO)],
  ...['a\rb', 'a\nb', 'a\0b', 'a\rTransfer-Encoding: chunked', 'a\nTransfer-Encoding: chunked', 'a\r\n b'].map(
    (value): [string, string] => [`X-A: ${value}`, message(`X-A: ${value}`, HELLO)],
  ),
  ...['X\r-A: a', 'X\n-A: a', 'X\0-A: a', 'X-A : a', 'X-A', ': a', 'X A: a', 'X(A: a', ' X-A: a'].map(
    (line): [string, string] => [`the line ${line}`, message(line, '')],
  ),
  ['line feeds alone', `POST /x HTTP/1.1\nHost: front\nContent-Length: 5\n\nhello`],
  ...['GET\t/x HTTP/1.1', 'GET /x\tHTTP/1.1', 'GET /x HTTP/1.1 ', ' GET /x HTTP/1.1', 'GET /x y HTTP/1.1'].map(
    (line): [string, string] => [`the request line ${line}`, message('', '', line)],
  ),
  ...['GET /x http/1.1', 'GET /x HTTP/1.2', 'GET /x\rHTTP/1.1', 'GET /x\0 HTTP/1.1', 'GET x HTTP/1.1'].map(
    (line): [string, string] => [`the request line ${line}`, message('', '', line)],
  ),
  ...['FFFFFFFFFFFFFFFF1', '-5', '0x5', '5 ', ' 5', '+5', '', '5\n', '5;', '5 ;a=b', '5;a\n', '5;a\rb'].map(
    (size): [string, string] => [
      `the chunk size ${size}`,
      chunked(`${size}${size.endsWith('\n') ? '' : '\r\n'}hello\r\n0\r\n\r\n`),
    ],
  ),
  ['a chunk extension with a line break in quotes', chunked(`5;a="\r\n\r\n${SMUGGLED}"\r\nhello\r\n0\r\n\r\n`)],
  ['a chunk that ends in LF', chunked('5\r\nhello\n0\r\n\r\n')],
  ['a chunk that is longer than its size', chunked(`5\r\nhello${SMUGGLED}\r\n0\r\n\r\n`)],
  ['a last chunk that ends in LF', chunked('5\r\nhello\r\n0\r\n\n')],
  ['a trailer Content-Length', chunked(`5\r\nhello\r\n0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`)],
  ['a trailer Transfer-Encoding', chunked(`5\r\nhello\r\n0\r\nTransfer-Encoding: identity\r\n\r\n`)],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  [
    'an Expect that Node does not know',
    message('Expect: 200-maybe\r\nConnection: close\r\nContent-Length: 5', 'hello'),
    417,
  ],
  ['a chunk extension of 20 KB', chunked(`5;${'a'.repeat(20_000)}\r\nhello\r\n0\r\n\r\n`), 413],
  ['a field of 1 MB', message(`X-A: ${'a'.repeat(1024 * 1024)}\r\nContent-Length: 5`, 'hello'), 431],
  ['10,000 fields', message(`${'X-A: b\r\n'.repeat(10_000)}Content-Length: 5`, 'hello'), 431],
];

/** Sent on: as one request, with this body. */
const PASSED: [name: string, bytes: string, body: string][] = [
  ['a request in the body', message(`Content-Length: ${SMUGGLED.length}`, SMUGGLED), SMUGGLED],
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS'].flatMap((method): [string, string, string][] => [
    [
      `a request in the body of ${method}`,
      message(`Content-Length: ${SMUGGLED.length}`, SMUGGLED, `${method} /x HTTP/1.1`),
      SMUGGLED,
    ],
    [
      `a request in a chunk of ${method}`,
      message('Transfer-Encoding: chunked', `20\r\n${SMUGGLED}\r\n0\r\n\r\n`, `${method} /x HTTP/1.1`),
      SMUGGLED,
    ],
  ]),
  ['a length with zeros', message('Content-Length: 0005', 'hello'), 'hello'],
  ...['  chunked', '\tchunked', 'CHUNKED', 'identity, chunked', ', chunked', 'gzip, chunked'].map(
    (coding): [string, string, string] => [
      `Transfer-Encoding: ${coding}`,
      message(`Transfer-Encoding: ${coding}`, HELLO),
      'hello',
    ],
  ),
  ['identity, then chunked', message('Transfer-Encoding: identity\r\nTransfer-Encoding: chunked', HELLO), 'hello'],
  ['chunks of HTTP/1.0', message('Transfer-Encoding: chunked', HELLO, 'POST /x HTTP/1.0'), 'hello'],
  ['chunk extensions', chunked('5;a=b;c="d\\"e"\r\nhello\r\n0;x\r\n\r\n'), 'hello'],
  ['chunk sizes with zeros', chunked(`${'0'.repeat(30)}5\r\nhello\r\n000\r\n\r\n`), 'hello'],
  [
    'trailers',
    chunked('5\r\nhello\r\n0\r\nHost: evil\r\n__proto__: x\r\nConnection: close\r\nX-T: 1\r\n\r\n'),
    'hello',
  ],
  ...['GET', 'POST'].flatMap((method): [string, string, string][] => [
    [
      `Connection: content-length, with ${method}`,
      message('Connection: content-length\r\nContent-Length: 32', SMUGGLED, `${method} /x HTTP/1.1`),
      SMUGGLED,
    ],
    [
      `Connection: transfer-encoding, with ${method}`,
      message('Connection: transfer-encoding\r\nTransfer-Encoding: chunked', HELLO, `${method} /x HTTP/1.1`),
      'hello',
    ],
  ]),
  ['Connection: host, close', message('Connection: host, close\r\nContent-Length: 5', 'hello'), 'hello'],
  ['two Hosts', message('Host: evil\r\nContent-Length: 5', 'hello'), 'hello'],
  ['several Expects', message('Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5', 'hello'), 'hello'],
  ['an Expect with 100-continue in it', message('Expect: x-100-continue\r\nContent-Length: 5', 'hello'), 'hello'],
  [
    'an upgrade to HTTP/2',
    message(
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5',
      'hello',
    ),
    'hello',
  ],
  ...['POST  /x HTTP/1.1', 'POST /x  HTTP/1.1', '\r\nPOST /x HTTP/1.1', 'POST /x HTTP/2.0', 'POST /x HTTP/0.9'].map(
    (line): [string, string, string] => [
      `the request line ${line}`,
      message('Content-Length: 5', 'hello', line),
      'hello',
    ],
  ),
];

/** Some versions of Node refuse so many fields; others leave out the last of them, and frame by them all the same. */
const HIDDEN: [name: string, bytes: string, body: string][] = [
  ['no body', message(MANY.slice(0, -2), '', 'GET /x HTTP/1.1'), ''],
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST'].flatMap((method): [string, string, string][] => [
    [
      `the length of a body, with ${method}`,
      message(`${MANY}Content-Length: ${SMUGGLED.length}`, SMUGGLED, `${method} /x HTTP/1.1`),
      SMUGGLED,
    ],
    [
      `the chunks of a body, with ${method}`,
      message(`${MANY}Transfer-Encoding: chunked`, `20\r\n${SMUGGLED}\r\n0\r\n\r\n`, `${method} /x HTTP/1.1`),
      SMUGGLED,
    ],
  ]),
];

describe.each(FRONTS)('%s', (kind) => {
  it.each(REFUSED)(
    'request smuggling: a server refuses what is not a request to everybody: %j',
    async (_name, bytes, status = 400) => {
      expect(await ask(kind, bytes)).toMatchObject({ status, seen: [] });
    },
  );

  it.each(PASSED)(
    'request smuggling: a server sends on one request that is the same to everybody: %j',
    async (_name, bytes, body) => {
      const { status, seen } = await ask(kind, bytes);
      expect(status).toBe(200);
      expect(seen).toEqual([
        expect.objectContaining({ start: expect.stringMatching(/^[A-Z]+ \/x HTTP\/1\.1$/), body }),
      ]);
      const names = seen.flatMap(({ fields }) => fields.map(([name]) => name));
      for (const name of ['upgrade', 'http2-settings', 'expect', 'trailer', 'x-t']) expect(names).not.toContain(name);
    },
  );

  it.each(HIDDEN)(
    'request smuggling: a server is not fooled by thousands of headers in front of what frames: %s',
    async (_name, bytes, body) => {
      const { status, seen } = await ask(kind, bytes);
      expect([200, 431]).toContain(status);
      expect(seen.map((request) => request.body)).toEqual(status === 431 ? [] : [body]);
    },
  );

  it.each([
    ['a length beyond all numbers', message('Content-Length: 9007199254740993', 'hello')],
    ['a length that is not reached', message(`Content-Length: 60`, SMUGGLED)],
    ['no last line', chunked(`20\r\n${SMUGGLED}\r\n0\r\n`)],
  ])('request smuggling: a server does not make a whole request of one that is not: %s', async (_name, bytes) => {
    const upstream = await readingUpstream();
    const proxy = await front(kind, { target: upstream.url });
    await askPlainly(proxy);
    const client = proxy.connect();
    client.write(bytes);
    await until(() => upstream.connections.some((each) => each.bytes.includes('POST /x')));
    client.destroy();
    await askPlainly(proxy);
    expect(await requestsBetween(upstream)).toEqual([]);
  });
});

// --- HTTP/2 ---------------------------------------------------------------------------------------------------------

const head = (method = 'POST', path = '/x', authority = 'front'): [string, string][] => [
  [':method', method],
  [':scheme', 'https'],
  [':authority', authority],
  [':path', path],
];

const FRAMES: [name: string, fields: [string, string][], data?: string[], trailers?: [string, string][]][] = [
  ['a length below what comes', [...head(), ['content-length', '3']], ['hello']],
  ['a length above what comes', [...head(), ['content-length', '60']], [SMUGGLED]],
  ['a length of 0 and a request', [...head('GET'), ['content-length', '0']], [SMUGGLED]],
  ['a length and nothing', [...head(), ['content-length', '5']]],
  ['two lengths', [...head(), ['content-length', '5'], ['content-length', '5']], ['hello']],
  ...['+5', '5, 5', '', '0x5'].map((length): [string, [string, string][], string[]] => [
    `content-length: ${length}`,
    [...head(), ['content-length', length]],
    ['hello'],
  ]),
  ...['transfer-encoding: chunked', 'connection: close', 'proxy-connection: close', 'upgrade: h2c', 'te: gzip'].map(
    (field): [string, [string, string][], string[]] => [
      field,
      [...head(), field.split(': ') as [string, string]],
      [`0\r\n\r\n${SMUGGLED}`],
    ],
  ),
  ['a name in upper case', [...head(), ['X-A', '1']], ['hello']],
  ...['/x y', '/x\ty', `/x HTTP/1.1\r\n\r\n${SMUGGLED}`, 'http://evil/x', '*', '', 'x'].map(
    (path): [string, [string, string][]] => [`the path ${path}`, head('GET', path)],
  ),
  ['a method with a request line', head('GET /admin HTTP/1.1\r\nX:')],
  ['an authority with a line break', head('GET', '/x', 'h\r\nX: y')],
  ['two paths', [...head(), [':path', '/admin']]],
  ['a pseudo-field behind others', [[':method', 'GET'], ['x-a', '1'], ...head().slice(1)]],
  ['a pseudo-field that is none', [...head(), [':evil', '1']]],
  ['two hosts', [...head(), ['host', 'a'], ['host', 'b']]],
  ['a trailer content-length', head(), ['hello'], [['content-length', '3']]],
  ['a trailer transfer-encoding', head(), ['hello'], [['transfer-encoding', 'chunked']]],
  ['hundreds of fields', [...head(), ...Array.from({ length: 500 }, (_, i): [string, string] => [`x-${i}`, '1'])]],
];

const PASSED_FRAMES: [name: string, fields: [string, string][], data: string[], trailers?: [string, string][]][] = [
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST'].map((method): [string, [string, string][], string[]] => [
    `a request in the body of ${method}`,
    head(method),
    [SMUGGLED],
  ]),
  ['a length', [...head(), ['content-length', '5']], ['hel', 'lo']],
  ['te: trailers', [...head(), ['te', 'trailers']], ['hello']],
  ...['a\r\nContent-Length: 0\r\n\r\n', 'a\nb: c', 'a\rb', 'a\0b'].map(
    (value): [string, [string, string][], string[]] => [`x-a: ${value}`, [...head(), ['x-a', value]], ['hello']],
  ),
  ...['x-a: b\r\nx', 'x:a', '', 'content-length ', 'transfer-encoding ', '\x00x'].map(
    (name): [string, [string, string][], string[]] => [`the name ${name}`, [...head(), [name, '1']], ['hello']],
  ),
  ['a host besides the authority', [...head(), ['host', 'evil']], ['hello']],
  [
    'trailers',
    head(),
    ['hello'],
    [
      ['host', 'evil'],
      ['__proto__', 'x'],
      ['x-t', '1'],
    ],
  ],
  ['an expectation', [...head(), ['expect', '100-continue'], ['content-length', '5']], ['hello']],
];

describe('an HTTP/2 client', () => {
  async function askInFrames(...[, fields, data = [], trailers]: (typeof FRAMES)[number]) {
    const upstream = await readingUpstream();
    const { port } = await http2Front({ target: upstream.url });
    const plain = { fields: head('GET', '/plain') };
    expect(await sendFrames(port, plain)).toBe('ok');
    const answer = await sendFrames(port, { fields, data, ...(trailers !== undefined && { trailers }) });
    expect(await sendFrames(port, plain)).toBe('ok');
    return { answer, seen: await requestsBetween(upstream) };
  }

  it.each(FRAMES)(
    'request smuggling: an HTTP/2 client is refused with what is not well-formed: %j',
    async (...test) => {
      const { answer, seen } = await askInFrames(...test);
      expect(answer).toBeUndefined();
      // Its head may have been sent on before its frames contradicted it: that is a request without a body.
      expect(seen.filter(({ start, body }) => !/ \/x /.test(start) || body !== '')).toEqual([]);
    },
  );

  it.each(PASSED_FRAMES)(
    'request smuggling: an HTTP/2 client is sent on as one request that is the same to everybody: %j',
    async (...test) => {
      const [, , data] = test;
      const { answer, seen } = await askInFrames(...test);
      expect(answer).toBe(test[0].endsWith('HEAD') ? '' : 'ok');
      expect(seen).toEqual([
        expect.objectContaining({ start: expect.stringMatching(/^[A-Z]+ \/x HTTP\/1\.1$/), body: data.join('') }),
      ]);
      const names = seen.flatMap(({ fields }) => fields.map(([name]) => name));
      expect(names.filter((name) => !/^(host|connection|content-length|transfer-encoding)$/.test(name))).toEqual([]);
    },
  );

  it.each([
    ['the authority', head('GET'), 'front'],
    ['the authority, whatever Host says', [...head('GET'), ['host', 'evil']], 'front'],
    [
      'Host where there is no authority',
      [...head('GET').filter(([name]) => name !== ':authority'), ['host', 'h']],
      'h',
    ],
  ] as [string, [string, string][], string][])(
    'request smuggling: an HTTP/2 client has one Host, with changeOrigin: false: %s',
    async (_, fields, host) => {
      const upstream = await readingUpstream();
      const { port } = await http2Front({ target: upstream.url, changeOrigin: false });
      expect(await sendFrames(port, { fields })).toBe('ok');
      const [request] = await upstream.requests();
      expect(request && valuesOf(request, 'host')).toEqual([host]);
    },
  );
});

// --- other ways -----------------------------------------------------------------------------------------------------

/** An HTTP/1.1 server of the test's own. */
async function withServer(options: http.ServerOptions, onServer: (server: http.Server) => void = () => {}) {
  const upstream = await readingUpstream();
  const { app } = await proxyApp({ target: upstream.url });
  const server = http.createServer(options, app);
  onServer(server);
  const port = await listen(server);
  return { upstream, proxy: { port, summaries: [], connect: () => net.connect(port, '127.0.0.1') } };
}

it.each([
  ['CL.TE', message('Content-Length: 5\r\nTransfer-Encoding: chunked', HELLO)],
  ['TE.CL', message(`Transfer-Encoding: chunked\r\nContent-Length: ${SMUGGLED.length}`, HELLO)],
])('request smuggling with insecureHTTPParser the length goes where there are chunks: %s', async (_name, bytes) => {
  const { upstream, proxy } = await withServer({ insecureHTTPParser: true });
  await speak(proxy.connect(), bytes, isAnswered);
  const [request, ...others] = await upstream.requests();
  expect(others).toEqual([]);
  expect(request).toMatchObject({ body: 'hello' });
  expect(request && valuesOf(request, 'content-length')).toEqual([]);
});

it.each([
  ['whenever it comes', () => {}],
  // Node reads the connection by another way then: the request and its body are there in one tick.
  ['also in one tick with its head', (socket: Socket) => void socket.on('data', () => {})],
])('request smuggling: a body that the headers do not tell of is framed, %s', async (_name, onConnection) => {
  const upstream = await readingUpstream();
  const { port, server } = await proxyApp({ target: upstream.url }, (app) => {
    app.use((req, _res, next) => {
      delete req.headers['content-length'];
      next();
    });
  });
  server.on('connection', onConnection);
  await speak(net.connect(port, '127.0.0.1'), message('Content-Length: 32', SMUGGLED, 'GET /x HTTP/1.1'), isAnswered);
  expect(await upstream.requests()).toMatchObject([{ start: 'GET /x HTTP/1.1', body: SMUGGLED }]);
});

it.each(['xchunked', 'chunked;a=b', 'identity'])(
  'request smuggling: what Node refuses is no request either where the app answers clientError: %s',
  async (coding) => {
    const { upstream, proxy } = await withServer({}, (server) => {
      server.on('clientError', (_error, socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    });
    await askPlainly(proxy);
    const client = proxy.connect();
    const { text } = await speak(client, message(`Transfer-Encoding: ${coding}`, HELLO), isAnswered);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    await askPlainly(proxy);
    expect(await requestsBetween(upstream)).toEqual([]);
  },
);

it.each([
  ['a length', 'Content-Length: 60', ''],
  ['a length, and a request', `Content-Length: ${SMUGGLED.length}`, SMUGGLED],
  ['chunks', 'Transfer-Encoding: chunked', `20\r\n${SMUGGLED}\r\n0\r\n\r\n`],
])(
  'request smuggling: a WebSocket handshake has no body for the upstream to wait for: %s',
  async (_name, framing, body) => {
    const handshake = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${framing}`;
    const { status, seen } = await ask('an HTTP/1.1 server', message(handshake, body, 'GET /x HTTP/1.1'), { ws: true });
    // From Node 26 on a handshake whose body is still to come is not one that can be proxied: it fails, and nothing is sent of it.
    expect(seen.map((request) => request.body)).toEqual(status === 200 ? [''] : []);
    expect([200, 500]).toContain(status);
    if (body !== '') expect(status).toBe(200);
  },
);

it.each([
  ['a length', 'Content-Length: 60'],
  ['chunks', 'Transfer-Encoding: chunked'],
])(
  'request smuggling: a redirect that comes before the body does not leave the upstream waiting for it: %s',
  async (_name, framing) => {
    const redirect = 'HTTP/1.1 307 Temporary Redirect\r\nLocation: /moved\r\nContent-Length: 0\r\n\r\n';
    const connections: string[] = [];
    const known = new Map<Socket, number>();
    const { url, sockets } = await rawUpstream((socket, bytes) => {
      const place = known.get(socket) ?? connections.push('') - 1;
      known.set(socket, place);
      connections[place] += bytes;
      // Without waiting for a body.
      for (const [line] of bytes.matchAll(/^(?:GET|POST) .*$/gm)) socket.write(line.includes(' /x ') ? redirect : OK);
    });
    const proxy = await front('an HTTP/1.1 server', { target: url, followRedirects: true });
    const client = proxy.connect();
    const { text } = await speak(client, message(framing, ''), (all) => all.includes('\r\n\r\n'));
    expect(text).toMatch(/^HTTP\/1\.1 500 /);
    await askPlainly(proxy);
    client.destroy();
    await until(() => sockets.size <= 1);
    const seen = connections.flatMap((bytes) => readStrictly(bytes).messages.map(({ start }) => start));
    expect(seen).toEqual(['GET /plain HTTP/1.1']);
    expect(connections.join()).not.toContain('/moved');
  },
);

it('request smuggling: a body that was chunked is the last of its connection, as the upstream was told', async () => {
  const { seen, upstream } = await ask('an HTTP/1.1 server', chunked(HELLO));
  expect(seen.map((request) => valuesOf(request, 'connection'))).toEqual([['close']]);
  expect(upstream.connections).toHaveLength(2);
});

it('request smuggling: Connection cannot strip the key that a provider puts in', async () => {
  const upstream = await readingUpstream();
  const proxy = await front('an HTTP/1.1 server', { provider: openai({ target: upstream.url, apiKey: 'sk-servers' }) });
  const fields =
    'Connection: authorization, host, content-length\r\nAuthorization: Bearer callers\r\nContent-Length: 5';
  await speak(proxy.connect(), message(fields, 'hello'), isAnswered);
  const [request] = await upstream.requests();
  expect(request?.body).toBe('hello');
  expect(request && valuesOf(request, 'authorization')).toEqual(['Bearer sk-servers']);
});

describe('names that objects have by themselves', () => {
  const NAMES = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'valueOf', '__defineGetter__'];

  it.each(FRONTS)(
    'request smuggling, header names of Object.prototype: are headers like others, in heads and in trailers: %s',
    async (kind) => {
      const fields = NAMES.flatMap((name) => [`${name}: polluted`, `${name}: too`]).join('\r\n');
      const bytes = message(
        `${fields}\r\nX-Kept: 1\r\nTransfer-Encoding: chunked`,
        `5\r\nhello\r\n0\r\n${fields}\r\n\r\n`,
      );
      const { status, seen } = await ask(kind, bytes);
      expect(status).toBe(200);
      expect(seen).toHaveLength(1);
      for (const name of NAMES.slice(1)) {
        expect(seen[0] && valuesOf(seen[0], name.toLowerCase())).toEqual(['polluted, too']);
      }
      expect(seen[0] && valuesOf(seen[0], 'x-kept')).toEqual(['1']);
      expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    },
  );

  it.each(NAMES)(
    'request smuggling, header names of Object.prototype: may be named by Connection: %s',
    async (name) => {
      const { status, seen } = await ask(
        'an HTTP/1.1 server',
        message(`Connection: ${name}\r\n${name}: 1\r\nX-Kept: 1`, ''),
      );
      expect(status).toBe(200);
      expect(seen[0]?.fields.map(([each]) => each)).toEqual(['host', 'x-kept', 'connection', 'content-length']);
    },
  );
});
