import { afterEach, describe, expect, it } from '@jest/globals';
import { applyResponsePasses, type ResponseContext } from '../../../lib/headers/response-passes.js';
import type { HeaderFields } from '../../../lib/types/http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

/** The client's headers for an upstream's. */
function passed(headers: HeaderFields, context: Partial<ResponseContext> = {}): HeaderFields {
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

describe('response passes: the headers of a response', () => {
  it('response headers: hop-by-hop headers go', () => {
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
  ])('response headers: Trailer %s', (_case, context, expected) => {
    expect(passed({ 'transfer-encoding': 'chunked', trailer: 'x-sum' }, context).trailer).toBe(expected);
  });

  it('response headers: Trailer goes from a body that is not chunked', () => {
    expect(passed({ 'content-length': '2', trailer: 'x-sum' })).toEqual({ 'content-length': '2' });
  });

  it('response headers: a 204 has no Content-Length, a 304 may have one', () => {
    expect(passed({ 'content-length': '0' }, { statusCode: 204 })).toEqual({});
    expect(passed({ 'content-length': '9' }, { statusCode: 304 })).toEqual({ 'content-length': '9' });
  });

  it('response headers: a decoded body is described as it is now', () => {
    const upstream = { 'content-encoding': 'gzip', 'content-length': '9', vary: 'Accept' };
    expect(passed(upstream, { decoded: true })).toEqual({ vary: 'Accept, Accept-Encoding' });
    expect(passed({ vary: '*' }, { decoded: true })).toEqual({ vary: '*' });
    expect(passed({ vary: ['Accept', 'accept-encoding'] }, { decoded: true })).toEqual({
      vary: 'Accept, accept-encoding',
    });
  });
});

describe('response passes: what the app has set on the response', () => {
  it.each(['access-control-allow-origin', 'content-security-policy', 'cache-control', 'x-frame-options', 'server'])(
    'response headers of the app: %s stays as the app has set it',
    (name) => {
      expect(passed({ [name]: 'upstream' }, { app: { [name]: 'app' } })).toEqual({ [name]: 'app' });
    },
  );

  it.each(['content-type', 'location', 'retry-after', 'www-authenticate', 'date', 'content-disposition'])(
    'response headers of the app: %s is replaced by the upstream, and stands without one',
    (name) => {
      expect(passed({ [name]: 'upstream' }, { app: { [name]: 'app' } })).toEqual({ [name]: 'upstream' });
      expect(passed({}, { app: { [name]: 'app' } })).toEqual({ [name]: 'app' });
    },
  );

  it.each(['content-length', 'content-encoding', 'etag', 'trailer', 'transfer-encoding'])(
    'response headers of the app: %s never describes the body of the upstream',
    (name) => {
      expect(passed({}, { app: { [name]: 'app' } })).toEqual({});
    },
  );

  it('response headers of the app: cookies are joined by those of the upstream', () => {
    expect(passed({ 'set-cookie': ['b=2', 'c=3'] }, { app: { 'set-cookie': 'a=1' } })['set-cookie']).toEqual([
      'a=1',
      'b=2',
      'c=3',
    ]);
  });

  it('response headers of the app: Vary is joined by that of the upstream', () => {
    expect(passed({ vary: 'Accept, origin' }, { app: { vary: 'Origin' } }).vary).toBe('Origin, Accept');
    expect(passed({ vary: '*' }, { app: { vary: 'Origin' } }).vary).toBe('*');
  });

  it.each(['', 'Accept Encoding', 'Accept,, ;', 'Accept-Encoding, \u00e9'])(
    'response headers of the app: Vary stands a malformed one: %j',
    (vary) => {
      expect(String(passed({ vary }, { app: { vary: 'Origin' } }).vary)).toContain('Origin');
    },
  );

  it('response headers of the app: numbers become text', () => {
    expect(passed({}, { app: { 'x-limit': 7 } })).toEqual({ 'x-limit': '7' });
  });
});

describe('response passes: the headers of an event stream', () => {
  it.each([
    [undefined, 'no-transform'],
    ['', 'no-transform'],
    ['no-cache, private', 'no-cache, private, no-transform'],
    [['no-cache', 'private'], 'no-cache, private, no-transform'],
    ['no-cache,no-transform', 'no-cache,no-transform'],
    // `compression` up to 1.8.1 matches case-sensitively.
    ['No-Transform', 'No-Transform, no-transform'],
    ['private="no-transform-not"', 'private="no-transform-not", no-transform'],
  ])("event stream's headers: Cache-Control %j becomes %j", (given, expected) => {
    const headers = passed(given === undefined ? {} : { 'cache-control': given }, { eventStream: true });
    expect(headers).toEqual({ 'cache-control': expected, 'x-accel-buffering': 'no' });
  });

  it("event stream's headers: Cache-Control is the app's, with no-transform", () => {
    const headers = passed({ 'cache-control': 'public' }, { eventStream: true, app: { 'cache-control': 'no-store' } });
    expect(headers['cache-control']).toBe('no-store, no-transform');
  });

  it("event stream's headers: other responses are left alone", () => {
    expect(passed({ 'cache-control': 'public' })).toEqual({ 'cache-control': 'public' });
  });
});
