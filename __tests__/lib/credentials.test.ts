import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { authenticate, withoutKey } from '../../lib/credentials.js';
import type { Provider } from '../../lib/types.js';
import { unconnectedRequest } from '../support/received.js';
import { closeAndWatchEachTest } from '../support/watch.js';

closeAndWatchEachTest();

const provider: Provider = {
  name: 'test',
  target: 'http://127.0.0.1:1',
  headers: { 'x-version': '1' },
  read: () => {},
  errorEvent: () => ({}),
  errorBody: () => ({}),
};

const CALLERS = {
  authorization: 'Bearer callers',
  'x-api-key': 'callers',
  'x-goog-api-key': 'callers',
  'api-key': 'callers',
};
const ABOUT_THE_APP = { cookie: 'session=1', origin: 'https://app.example', referer: 'https://app.example/chat' };

/** The header fields of a request that had these, once it is authenticated. */
function authenticated(
  headers: Record<string, string>,
  credentials: Record<string, string> | undefined,
  own: string[] = [],
): object {
  const request = unconnectedRequest({ headers, setHost: false });
  authenticate(request, provider, credentials, own);
  return { ...request.getHeaders() };
}

describe('authenticate', () => {
  it("puts the provider's credentials in the place of the caller's", () => {
    const headers = { ...CALLERS, 'content-type': 'application/json' };
    expect(authenticated(headers, { 'x-api-key': 'servers' })).toEqual({
      'content-type': 'application/json',
      'x-api-key': 'servers',
      'x-version': '1',
    });
  });

  it('knows the fields in any case', () => {
    const headers = { Authorization: 'callers', 'X-API-Key': 'callers', 'X-Goog-Api-Key': 'callers', Cookie: 'a=1' };
    expect(authenticated(headers, { authorization: 'servers' })).toEqual({
      authorization: 'servers',
      'x-version': '1',
    });
  });

  it("takes the caller's away also where the provider asks for none", () => {
    expect(authenticated(CALLERS, {})).toEqual({ 'x-version': '1' });
  });

  it("lets the caller's pass where there are none to put in, but not what concerns the app", () => {
    expect(authenticated({ ...CALLERS, ...ABOUT_THE_APP }, undefined)).toEqual({ ...CALLERS, 'x-version': '1' });
  });

  it('leaves what the options set', () => {
    const own = { cookie: 'of-the-options', 'x-api-key': 'of-the-options' };
    const headers = { ...CALLERS, ...ABOUT_THE_APP, ...own };
    expect(authenticated(headers, { authorization: 'servers' }, Object.keys(own))).toEqual({
      ...own,
      authorization: 'servers',
      'x-version': '1',
    });
  });

  it("leaves the caller's choice where the provider only has a default", () => {
    expect(authenticated({ 'X-Version': '2' }, undefined)).toEqual({ 'x-version': '2' });
  });
});

describe('withoutKey', () => {
  it.each([
    ['/v1/models', '/v1/models'],
    ['/v1/models?', '/v1/models?'],
    ['/v1/models?alt=sse', '/v1/models?alt=sse'],
    ['/v1/models?key=secret', '/v1/models'],
    ['/v1/models?key', '/v1/models'],
    ['/v1/models?key=', '/v1/models'],
    ['/v1/models?key=a&key=b', '/v1/models'],
    ['/v1/models?alt=sse&key=secret', '/v1/models?alt=sse'],
    ['/v1/models?key=secret&alt=sse', '/v1/models?alt=sse'],
    ['/v1/models?a=1&key=secret&b=2', '/v1/models?a=1&b=2'],
    ['/v1/models?%6bey=secret&%6B%65%79=secret&ke%79=secret&a=1', '/v1/models?a=1'],
    ['/v1/models?Key=1&keys=2&monkey=3&a=key', '/v1/models?Key=1&keys=2&monkey=3&a=key'],
    ['/v1/models?a=%20+%2B&key=secret&b=%zz&&c&=&%E4', '/v1/models?a=%20+%2B&b=%zz&&c&=&%E4'],
    ['/v1/models?a=1?key=2', '/v1/models?a=1?key=2'],
    ['/key=1/x?a', '/key=1/x?a'],
    ['?key=secret', ''],
  ])('%s becomes %s', (path, expected) => {
    expect(withoutKey(path)).toBe(expected);
  });

  it('leaves no parameter that a server reads as `key`, and all others as they were', () => {
    const name = fc.constantFrom('key', 'KEY', '%6bey', 'k%65y', 'k', 'keyed', '', '%', '+key', 'key%00', '%00key');
    const parameter = fc
      .tuple(name, fc.constantFrom('', '=', '=1', '=%20', '=a=b', '=?'))
      .map(([left, right]) => `${left}${right}`);
    fc.assert(
      fc.property(fc.array(parameter), (parameters) => {
        const kept = new URL(withoutKey(`/p?${parameters.join('&')}`), 'http://127.0.0.1').searchParams;
        const given = new URLSearchParams(parameters.join('&'));
        expect(kept.has('key')).toBe(false);
        expect([...kept]).toEqual([...given].filter(([decoded]) => decoded !== 'key'));
      }),
      { numRuns: 300 },
    );
  });
});
