import http, { type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { prepareRequestHeaders } from '../../lib/headers/request-passes.js';
import { applyResponsePasses, type ResponseContext } from '../../lib/headers/response-passes.js';
import { endToEndTrailers } from '../../lib/headers/trailers.js';
import type { HeaderFields } from '../../lib/types/http.js';
import { runs, TIMEOUT } from '../support/fuzz/runs.js';
import { looseWire } from '../support/servers/bare-http.js';
import { closeAll, onCleanUp } from '../support/watch/clean-up.js';

afterEach(closeAll);

/** RFC 9110 7.6.1, and what goes with it by common practice; `trailer` has rules of its own. */
const HOP_BY_HOP = [
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'upgrade',
  'proxy-authenticate',
  'proxy-authorization',
  'transfer-encoding',
];
/** A Connection field cannot take these away. */
const FRAMING = ['content-length', 'content-type', 'content-encoding', 'host', 'transfer-encoding', 'trailer'];
/** RFC 9110 6.5.1: what is for framing, routing, caching or authentication, or says how to read the body, comes in front of it. */
const NEVER_TRAILERS = [
  ...HOP_BY_HOP,
  ...['trailer', 'content-length', 'host', '__proto__'],
  ...['content-encoding', 'content-type', 'content-range', 'content-location', 'accept-ranges'],
  ...['authorization', 'www-authenticate', 'cookie', 'set-cookie', 'set-cookie2'],
  ...['age', 'allow', 'cache-control', 'date', 'expires', 'location', 'pragma', 'retry-after', 'vary', 'warning'],
  ...['expect', 'max-forwards', 'range'],
  ...['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range'],
];
/** What is about the very bytes of a body. */
const ABOUT_BYTES = ['etag', 'accept-ranges', 'content-digest', 'repr-digest', 'content-md5', 'digest'];
/** Of these the upstream's are in the app's place. */
const DESCRIBES = [
  ...['accept-ranges', 'age', 'allow', 'content-disposition', 'content-encoding', 'content-language', 'content-length'],
  ...['content-location', 'content-range', 'content-type', 'date', 'etag', 'last-modified', 'location', 'retry-after'],
  ...['trailer', 'www-authenticate'],
];
const NEVER_THE_APPS = [
  ...['content-length', 'content-encoding', 'transfer-encoding', 'trailer'],
  ...ABOUT_BYTES.filter((name) => name !== 'accept-ranges'),
];
const ON_THEIR_WAY = [
  'set-cookie',
  'vary',
  'cache-control',
  'x-accel-buffering',
  'server',
  'x-request-id',
  'x-a',
  'x-b',
];
/** Names that mean something to objects. */
const OF_OBJECTS = ['__proto__', 'constructor', 'prototype', 'tostring', 'hasownproperty'];

const token = fc.string({
  unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"),
  minLength: 1,
  maxLength: 12,
});
const aName = fc
  .oneof(
    fc.constantFrom(...HOP_BY_HOP, ...FRAMING, ...ABOUT_BYTES, ...DESCRIBES),
    fc.constantFrom(...ON_THEIR_WAY, ...OF_OBJECTS),
    fc.constantFrom(...FRAMING),
    token,
  )
  .map((name) => name.toLowerCase());
/** As HTTP allows: visible characters, blanks and the bytes 0x80 to 0xff. */
const text = fc.string({
  unit: fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)) },
    fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)),
    fc.constantFrom(',', ' ', ', ', '\t', ';', '"'),
  ),
  maxLength: 20,
});
const aLine = fc.oneof(
  { weight: 6, arbitrary: text.map((value) => value.trim()) },
  // Lists of names, in any letter case, for Connection and Vary above all.
  {
    weight: 4,
    arbitrary: fc
      .array(fc.tuple(aName, fc.boolean()), { maxLength: 4 })
      .map((names) => names.map(([name, upper]) => (upper ? name.toUpperCase() : name)).join(', ')),
  },
  fc.constantFrom('no-cache', 'no-transform', 'No-Transform', 'max-age=1,no-transform', '*', 'gzip', 'chunked', '0'),
  fc.integer({ min: 1, max: 20_000 }).map((length) => 'x'.repeat(length)),
);
const aValue = fc.oneof({ weight: 4, arbitrary: aLine }, fc.array(aLine, { maxLength: 3 }));

/** As the proxy has them: by lower-case name, in an object without a prototype. */
const anyFields = fc
  .array(fc.tuple(aName, aValue), { maxLength: 10 })
  .map((entries) => toFields(entries.filter(([name]) => name !== 'connection')));
const anyHead = fc
  .tuple(anyFields, fc.option(aLine, { freq: 2 }))
  .map(([fields, connection]) => toFields([...Object.entries(fields), ...line('connection', connection)]));

function toFields(entries: readonly [string, string | string[]][]): HeaderFields {
  const fields: HeaderFields = Object.create(null);
  for (const [name, value] of entries) fields[name] = value;
  return fields;
}

const line = (name: string, value: string | null): [string, string][] => (value === null ? [] : [[name, value]]);

/** What the passes are told: all that they may be told is made here. */
function anyContext(): fc.Arbitrary<ResponseContext> {
  return fc.record({
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'OPTIONS', 'PROPFIND', undefined),
    httpVersion: fc.constantFrom('1.0', '1.1', '2.0'),
    statusCode: fc.oneof(fc.constantFrom(200, 204, 304), fc.integer({ min: 200, max: 999 })),
    eventStream: fc.boolean(),
    decoded: fc.boolean(),
    transformed: fc.boolean(),
    withholds: fc.constant(undefined),
    own: fc.constant({}),
    app: anyFields,
  });
}

const joined = (value: string | string[] | undefined): string => [value ?? []].flat().join(', ');

const names = (list: string | string[] | undefined): string[] =>
  joined(list)
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');

const nominated = (connection: string | string[] | undefined): string[] =>
  names(connection).filter((name) => !FRAMING.includes(name));

function passed(headers: HeaderFields, context: ResponseContext): HeaderFields {
  const fields = toFields(Object.entries(headers));
  applyResponsePasses(fields, context);
  return fields;
}

/** What every object has, before and after. */
const ofAllObjects = (): PropertyKey[] => Reflect.ownKeys(Object.prototype);

describe('any head of a response', () => {
  const check = (
    name: string,
    holds: (head: HeaderFields, context: ResponseContext, left: HeaderFields) => void,
  ): void => {
    it(
      name,
      () => {
        const before = ofAllObjects();
        fc.assert(
          fc.property(anyHead, anyContext(), (head, context) => holds(head, context, passed(head, context))),
          runs(),
        );
        expect(ofAllObjects()).toEqual(before);
      },
      TIMEOUT,
    );
  };

  check(
    'any response head: loses what concerns the connection to the upstream, and what that names',
    (head, { app, ...context }, left) => {
      const set = [
        ...(context.eventStream ? ['cache-control', 'x-accel-buffering'] : []),
        ...(context.decoded ? ['vary'] : []),
      ];
      for (const name of [...HOP_BY_HOP, ...nominated(head.connection)]) {
        // What the app says of the connection to the client is not the upstream's.
        if (app[name] !== undefined && !NEVER_THE_APPS.includes(name)) expect(left[name]).toBeDefined();
        else if (!set.includes(name)) expect([name, left[name]]).toEqual([name, undefined]);
      }
    },
  );

  check(
    'any response head: announces only trailers that can come, where they can',
    (head, { method, httpVersion, statusCode, transformed }, left) => {
      const isChunked = head['transfer-encoding'] !== undefined && httpVersion === '1.1';
      const hasBody = method !== 'HEAD' && statusCode !== 204 && statusCode !== 304;
      const mayCome = joined(head.trailer)
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '' && !NEVER_TRAILERS.includes(name.toLowerCase()));
      const announced = mayCome.length > 0 && isChunked && hasBody && !transformed ? mayCome.join(', ') : undefined;
      expect(left.trailer).toEqual(announced);
    },
  );

  check('any response head: says of a body only what is so', (head, { statusCode, decoded, transformed }, left) => {
    if (statusCode === 204 || decoded || transformed) expect(left).not.toHaveProperty('content-length');
    else expect(left['content-length']).toEqual(head['content-length']);
    if (decoded) expect(left).not.toHaveProperty('content-encoding');
    else expect(left['content-encoding']).toEqual(head['content-encoding']);
    if (decoded) expect(joined(left.vary)).toMatch(/accept-encoding|\*/i);
    const wrong = decoded || transformed ? ABOUT_BYTES.filter((name) => name !== 'accept-ranges') : [];
    for (const name of wrong) expect([name, left[name]]).toEqual([name, undefined]);
  });

  check(
    'any response head: of an event stream keeps everybody on the way from it',
    (head, { eventStream, app }, left) => {
      if (!eventStream) return;
      expect(left['x-accel-buffering']).toBe('no');
      const upstreams = nominated(head.connection).includes('cache-control') ? undefined : head['cache-control'];
      const given = joined((app['cache-control'] as string) ?? upstreams);
      const count = (text: string): number => text.split(',').filter((word) => word.trim() === 'no-transform').length;
      expect(count(joined(left['cache-control']))).toBe(Math.max(1, count(given)));
      expect(joined(left['cache-control']).startsWith(given)).toBe(true);
    },
  );

  check('any response head: keeps what the app has set, but for what describes the response', (head, context, left) => {
    const { app, eventStream } = context;
    const upstreams = passed(head, { ...context, app: {} });
    for (const [name, value] of Object.entries(app)) {
      if (NEVER_THE_APPS.includes(name)) expect(left[name]).toEqual(upstreams[name]);
      else if (eventStream && (name === 'cache-control' || name === 'x-accel-buffering')) continue;
      else if (upstreams[name] === undefined || !DESCRIBES.concat('set-cookie', 'vary').includes(name)) {
        expect([name, left[name]]).toEqual([name, value]);
      } else if (name === 'set-cookie') expect(left[name]).toEqual([value, upstreams[name]].flat());
      else if (name !== 'vary') expect(left[name]).toEqual(upstreams[name]);
      else if (!names(left.vary).includes('*')) {
        expect(names(left.vary)).toEqual(expect.arrayContaining([...names(value as string), ...names(upstreams.vary)]));
      }
    }
  });

  check('any response head: is otherwise what it was', (head, { app, decoded, transformed, eventStream }, left) => {
    const touched = new Set([
      ...HOP_BY_HOP,
      ...nominated(head.connection),
      ...Object.keys(app),
      ...['content-length', 'trailer'],
      ...(decoded ? ['content-encoding', 'vary'] : []),
      ...(decoded || transformed ? ABOUT_BYTES : []),
      ...(eventStream ? ['cache-control', 'x-accel-buffering'] : []),
    ]);
    const untouched = (fields: HeaderFields): [string, unknown][] =>
      Object.entries(fields).filter(([name]) => !touched.has(name));
    expect(untouched(left)).toEqual(untouched(head));
  });

  check(
    "any response head: has what the policy puts in, and of the upstream's nothing that it withholds",
    (head, context) => {
      const name = Object.keys(head)[0] ?? 'x-none';
      const own = { 'x-own': '1' };
      const left = passed(head, { ...context, app: {}, withholds: (field) => field === name, own });
      expect(left).toMatchObject(own);
      const isOurs = name === 'x-own' || (context.eventStream && ['cache-control', 'x-accel-buffering'].includes(name));
      if (!isOurs && !(context.decoded && name === 'vary')) expect(Object.keys(left)).not.toContain(name);
    },
  );

  check('any response head: is through after one time', (_head, context, left) => {
    // These say what has come, and are added to; and what was malformed is only put one behind the other.
    const app = toFields(
      Object.entries(context.app as HeaderFields).filter(([name]) => name !== 'set-cookie' && name !== 'vary'),
    );
    const once = passed(left, { ...context, app });
    expect(passed(once, { ...context, app })).toEqual(once);
  });
});

const anyRaw = fc.array(
  fc
    .tuple(
      aName,
      aLine.map((value) => value.slice(0, 2_000)),
      fc.boolean(),
    )
    .map(([name, value, upper]): [string, string] => [upper ? name.toUpperCase() : name, value]),
  { maxLength: 10 },
);

describe('any trailers', () => {
  it(
    'any trailers: are what came, without what does not belong there',
    () => {
      const before = ofAllObjects();
      const refused = new Set(NEVER_TRAILERS);
      fc.assert(
        fc.property(anyRaw, fc.boolean(), (lines, isOdd) => {
          const expected = new Map<string, string>();
          for (const [given, value] of lines) {
            const name = given.toLowerCase();
            const already = expected.get(name);
            if (!refused.has(name)) expected.set(name, already === undefined ? value : `${already}, ${value}`);
          }
          const trailers = endToEndTrailers([...lines.flat(), ...(isOdd ? ['x-alone'] : [])]);
          expect(new Map(Object.entries(trailers))).toEqual(expected);
        }),
        runs(),
      );
      expect(ofAllObjects()).toEqual(before);
    },
    TIMEOUT,
  );
});

/** The lines of a request, those of them that its Connection field names, and those that the app has put another value in. */
const anyRequest = anyRaw
  .map((lines) => lines.filter(([name]) => !/^(content-length|transfer-encoding|host|expect|upgrade)$/i.test(name)))
  .chain((lines) => {
    const someNames = fc.subarray(lines.map(([name]) => name)).chain((names) => {
      return fc.array(aName, { maxLength: 2 }).map((others) => [...names, ...others]);
    });
    const method = fc.constantFrom('GET', 'HEAD', 'DELETE');
    return fc.record({ method, lines: fc.constant(lines), named: fc.option(someNames), own: someNames });
  });

describe('any head of a request', () => {
  it(
    'any request head: loses what concerns one connection and what that names, but nothing of what the app has put there',
    async () => {
      const read = requestReader();
      const before = ofAllObjects();
      const ofConnection = [...HOP_BY_HOP, 'trailer', 'expect'].filter((name) => name !== 'transfer-encoding');
      fc.assert(
        fc.property(anyRequest, ({ method, lines, named, own }) => {
          const req = read(method, [...lines, ...line('Connection', named?.join(', ') ?? null)]);
          fc.pre(req !== undefined);
          const gone = [...ofConnection, ...nominated(req.headers.connection)];
          const expected = toFields(
            Object.entries(req.headers as HeaderFields).filter(([name]) => !gone.includes(name)),
          );
          for (const name of own.map((any) => any.toLowerCase())) {
            if ([...ofConnection, '__proto__', 'transfer-encoding', 'content-length'].includes(name)) continue;
            req.headers[name] = 'of the app';
            expected[name] = 'of the app';
          }
          prepareRequestHeaders(req);
          expect(toFields(Object.entries(req.headers as HeaderFields))).toEqual(expected);
        }),
        runs(),
      );
      expect(ofAllObjects()).toEqual(before);
    },
    TIMEOUT,
  );
});

/** Has a server of Node's read heads from memory; `undefined` for what it refuses. */
function requestReader(): (method: string, lines: readonly [string, string][]) => IncomingMessage | undefined {
  let received: IncomingMessage | undefined;
  const server = http.createServer({ maxHeaderSize: 1024 * 1024 }, (req) => {
    received = req;
  });
  // Bound to no port; its timers are what is to be stopped.
  onCleanUp(() => void server.close());
  return (method, lines) => {
    received = undefined;
    const connection = looseWire();
    server.emit('connection', connection);
    const head = [`${method} / HTTP/1.1`, 'Host: proxy.example', ...lines.map(([name, value]) => `${name}: ${value}`)];
    connection.emit('data', Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'));
    connection.destroy();
    return received;
  };
}
