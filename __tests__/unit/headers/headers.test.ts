import { afterEach, describe, expect, it } from '@jest/globals';
import {
  applyResponsePasses,
  type HeadContext,
  offersWebSocket,
  prepareRequestHeaders,
  prepareUpgradeHeaders,
  setForwarded,
} from '../../../lib/headers/headers.js';
import type { HeaderFields } from '../../../lib/types/types.js';
import { requestWith, unconnectedRequest } from '../../support/received.js';
import { closeAll } from '../../support/servers.js';

afterEach(closeAll);

describe('the fields of a request', () => {
  it.each([
    ['Connection', 'close'],
    ['Proxy-Connection', 'keep-alive'],
    ['Keep-Alive', 'timeout=5'],
    ['TE', 'trailers'],
    ['Upgrade', 'h2c'],
    ['Proxy-Authenticate', 'Basic'],
    ['Proxy-Authorization', 'Basic eDp5'],
    ['Trailer', 'X-Checksum'],
    ['Expect', '100-continue'],
  ])('%s concerns one connection and goes', async (name, value) => {
    const req = await requestWith(['X-Kept: 1', `${name}: ${value}`]);
    prepareRequestHeaders(req);
    expect(Object.keys(req.headers)).toEqual(['host', 'x-kept']);
  });

  it('go where Connection names them, in any case and over several lines', async () => {
    const req = await requestWith([
      'Connection: X-One,  x-TWO ,,',
      'Connection: x-three',
      'x-one: 1',
      'X-Two: 2',
      'x-three: 3',
      'x-four: 4',
    ]);
    prepareRequestHeaders(req);
    expect(req.headers).toEqual({ host: 'proxy.example', 'x-four': '4' });
  });

  it('go where they came in several lines', async () => {
    const req = await requestWith(['Connection: x-one, cookie', 'x-one: 1', 'x-one: 2', 'Cookie: a=1', 'Cookie: b=2']);
    prepareRequestHeaders(req);
    expect(req.headers).toEqual({ host: 'proxy.example' });
  });

  it('stay where the app has put them there, whatever the client says', async () => {
    const req = await requestWith([
      'Connection: authorization, x-tenant, x-user',
      'Authorization: Bearer client',
      'x-user: eve',
    ]);
    req.headers.authorization = 'Bearer server';
    req.headers['x-tenant'] = 'acme';
    prepareRequestHeaders(req);
    expect(req.headers).toEqual({ host: 'proxy.example', authorization: 'Bearer server', 'x-tenant': 'acme' });
  });

  it('that frame the message stay', async () => {
    const framing = ['Content-Length: 0', 'Content-Type: text/plain', 'Content-Encoding: identity'];
    const req = await requestWith(
      ['Connection: content-length, content-type, content-encoding, host', ...framing],
      'POST',
    );
    prepareRequestHeaders(req);
    expect(Object.keys(req.headers)).toEqual(['host', 'content-length', 'content-type', 'content-encoding']);
  });

  it('keep Transfer-Encoding, by which the upstream request is framed', async () => {
    const req = await requestWith(['Transfer-Encoding: chunked', 'Connection: transfer-encoding'], 'POST');
    prepareRequestHeaders(req);
    expect(req.headers['transfer-encoding']).toBe('chunked');
  });
});

describe('the fields of a WebSocket handshake', () => {
  it('are those of a request without the hop-by-hop ones, and with what the handshake needs', async () => {
    const req = await requestWith([
      'Connection: keep-alive, Upgrade, X-Hop, Sec-WebSocket-Key',
      'Upgrade: h2c, WebSocket',
      'X-Hop: 1',
      'X-End: 1',
      'TE: trailers',
      'Content-Length: 0',
      'Sec-WebSocket-Key: a',
      'Sec-WebSocket-Protocol: b',
    ]);
    prepareUpgradeHeaders(req);
    expect(req.headers).toEqual({
      host: 'proxy.example',
      'x-end': '1',
      'sec-websocket-key': 'a',
      'sec-websocket-protocol': 'b',
      connection: 'Upgrade',
      upgrade: 'websocket',
    });
  });

  it.each([
    [true, 'websocket'],
    [true, 'h2c, WebSocket'],
    [false, 'h2c'],
    [false, 'websockets'],
  ])('offer WebSocket: %s: %s', async (expected, value) => {
    expect(offersWebSocket(await requestWith(['Connection: Upgrade', `Upgrade: ${value}`]))).toBe(expected);
  });
});

describe('X-Forwarded', () => {
  async function forwarded(lines: string[]): Promise<Record<string, unknown>> {
    const request = unconnectedRequest();
    setForwarded(request, await requestWith(lines));
    const fields = Object.entries(request.getHeaders()).filter(([name]) => name.startsWith('x-forwarded-'));
    return Object.fromEntries(fields);
  }

  it('fields say who asked for what', async () => {
    expect(await forwarded([])).toEqual({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-port': '80',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'proxy.example',
    });
  });

  it('For gains the peer: a client cannot hide it', async () => {
    expect(await forwarded(['X-Forwarded-For: 203.0.113.7', 'X-Forwarded-For: 203.0.113.8'])).toMatchObject({
      'x-forwarded-for': '203.0.113.7, 203.0.113.8, 127.0.0.1',
    });
  });

  it('fields of a proxy in front stay', async () => {
    const request = await forwarded([
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: a.example',
      'X-Forwarded-Port: 8443',
    ]);
    expect(request).toEqual({ 'x-forwarded-for': '127.0.0.1' });
  });
});

/** The client's fields for an upstream's. */
function passed(headers: HeaderFields, context: Partial<HeadContext> = {}): HeaderFields {
  const defaults = {
    method: 'GET',
    httpVersion: '1.1',
    statusCode: 200,
    eventStream: false,
    decoded: false,
    transformed: false,
    withholds: () => false,
    own: {},
    app: {},
  };
  applyResponsePasses(headers, { ...defaults, ...context });
  return headers;
}

describe('the fields of a response', () => {
  it('that concern one connection go', () => {
    const fields = {
      connection: 'x-hop, content-length, keep-alive',
      'x-hop': '1',
      'keep-alive': 'timeout=5',
      'proxy-connection': 'keep-alive',
      'proxy-authenticate': 'Basic',
      'proxy-authorization': 'Basic eDp5',
      te: 'trailers',
      upgrade: 'h2c',
      'transfer-encoding': 'chunked',
      'content-length': '2',
      'x-kept': '1',
    };
    expect(passed(fields)).toEqual({ 'content-length': '2', 'x-kept': '1' });
  });

  it.each([
    ['stays with a chunked body', {}, 'x-sum'],
    ['goes to HTTP/1.0', { httpVersion: '1.0' }, undefined],
    ['goes to HTTP/2', { httpVersion: '2.0' }, undefined],
    ['goes from an answer to HEAD', { method: 'HEAD' }, undefined],
    ['goes from a 204', { statusCode: 204 }, undefined],
    ['goes from a 304', { statusCode: 304 }, undefined],
  ])('Trailer %s', (_case, context, expected) => {
    expect(passed({ 'transfer-encoding': 'chunked', trailer: 'x-sum' }, context).trailer).toBe(expected);
  });

  it('Trailer goes from a body that is not chunked', () => {
    expect(passed({ 'content-length': '2', trailer: 'x-sum' })).toEqual({ 'content-length': '2' });
  });

  it('a 204 has no Content-Length, a 304 may have one', () => {
    expect(passed({ 'content-length': '0' }, { statusCode: 204 })).toEqual({});
    expect(passed({ 'content-length': '9' }, { statusCode: 304 })).toEqual({ 'content-length': '9' });
  });

  it('a decoded body is described as it is now', () => {
    const upstream = { 'content-encoding': 'gzip', 'content-length': '9', vary: 'Accept' };
    expect(passed(upstream, { decoded: true })).toEqual({ vary: 'Accept, Accept-Encoding' });
    expect(passed({ vary: '*' }, { decoded: true })).toEqual({ vary: '*' });
    expect(passed({ vary: ['Accept', 'accept-encoding'] }, { decoded: true })).toEqual({
      vary: 'Accept, accept-encoding',
    });
  });
});

describe('what the app has set on the response', () => {
  it.each(['access-control-allow-origin', 'content-security-policy', 'cache-control', 'x-frame-options', 'server'])(
    '%s stays as the app has set it',
    (name) => {
      expect(passed({ [name]: 'upstream' }, { app: { [name]: 'app' } })).toEqual({ [name]: 'app' });
    },
  );

  it.each(['content-type', 'location', 'retry-after', 'www-authenticate', 'date', 'content-disposition'])(
    '%s is replaced by the upstream, and stands without one',
    (name) => {
      expect(passed({ [name]: 'upstream' }, { app: { [name]: 'app' } })).toEqual({ [name]: 'upstream' });
      expect(passed({}, { app: { [name]: 'app' } })).toEqual({ [name]: 'app' });
    },
  );

  it.each(['content-length', 'content-encoding', 'etag', 'trailer', 'transfer-encoding'])(
    '%s never describes the body of the upstream',
    (name) => {
      expect(passed({}, { app: { [name]: 'app' } })).toEqual({});
    },
  );

  it('cookies are joined by those of the upstream', () => {
    expect(passed({ 'set-cookie': ['b=2', 'c=3'] }, { app: { 'set-cookie': 'a=1' } })['set-cookie']).toEqual([
      'a=1',
      'b=2',
      'c=3',
    ]);
  });

  it('Vary is joined by that of the upstream', () => {
    expect(passed({ vary: 'Accept, origin' }, { app: { vary: 'Origin' } }).vary).toBe('Origin, Accept');
    expect(passed({ vary: '*' }, { app: { vary: 'Origin' } }).vary).toBe('*');
  });

  it.each(['', 'Accept Encoding', 'Accept,, ;', 'Accept-Encoding, \u00e9'])(
    'Vary stands a malformed one: %j',
    (vary) => {
      expect(String(passed({ vary }, { app: { vary: 'Origin' } }).vary)).toContain('Origin');
    },
  );

  it('numbers become text', () => {
    expect(passed({}, { app: { 'x-limit': 7 } })).toEqual({ 'x-limit': '7' });
  });
});

describe('the fields of an event stream', () => {
  it.each([
    [undefined, 'no-transform'],
    ['', 'no-transform'],
    ['no-cache, private', 'no-cache, private, no-transform'],
    [['no-cache', 'private'], 'no-cache, private, no-transform'],
    ['no-cache,no-transform', 'no-cache,no-transform'],
    // `compression` up to 1.8.1 matches case-sensitively.
    ['No-Transform', 'No-Transform, no-transform'],
    ['private="no-transform-not"', 'private="no-transform-not", no-transform'],
  ])('Cache-Control %j becomes %j', (given, expected) => {
    const headers = passed(given === undefined ? {} : { 'cache-control': given }, { eventStream: true });
    expect(headers).toEqual({ 'cache-control': expected, 'x-accel-buffering': 'no' });
  });

  it("Cache-Control is the app's, with no-transform", () => {
    const headers = passed({ 'cache-control': 'public' }, { eventStream: true, app: { 'cache-control': 'no-store' } });
    expect(headers['cache-control']).toBe('no-store, no-transform');
  });

  it('leave other responses alone', () => {
    expect(passed({ 'cache-control': 'public' })).toEqual({ 'cache-control': 'public' });
  });
});
