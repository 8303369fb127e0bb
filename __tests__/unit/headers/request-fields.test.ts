import { describe, expect, it } from '@jest/globals';
import { ResolvedHeaderPolicy } from '../../../lib/headers/header-policy.js';
import { applyRequestFields, removeRequestFields } from '../../../lib/headers/request-fields.js';
import type { HeaderPolicy, Provider } from '../../../lib/types/types.js';
import { unconnectedRequest } from '../../support/received.js';
import { closeAndWatchEachTest } from '../../support/watch.js';

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

/** The header fields of a request that had these, once it is one of the proxy's own. */
function authenticated(
  headers: Record<string, string>,
  credentials: Record<string, string> | undefined,
  { own = [], policy = {}, set = {} }: { own?: string[]; policy?: HeaderPolicy; set?: Record<string, string> } = {},
): object {
  const request = unconnectedRequest({ headers, setHost: false });
  const fields = { policy: new ResolvedHeaderPolicy('requestHeaders', policy), provider, credentials, own, set };
  applyRequestFields(request, fields);
  return { ...request.getHeaders() };
}

describe('the fields of a request to a provider', () => {
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
    expect(authenticated(headers, { authorization: 'servers' }, { own: Object.keys(own) })).toEqual({
      ...own,
      authorization: 'servers',
      'x-version': '1',
    });
  });

  it("leaves the caller's choice where the provider only has a default", () => {
    expect(authenticated({ 'X-Version': '2' }, undefined)).toEqual({ 'x-version': '2' });
  });

  it('lets pass what the policy names, and never what it removes', () => {
    const headers = { ...ABOUT_THE_APP, 'user-agent': 'app', 'x-tenant': 'acme' };
    const policy: HeaderPolicy = { pass: ['Origin', 'referer'], remove: [/^user-/, 'X-Tenant', 'referer'] };
    expect(authenticated(headers, undefined, { policy })).toEqual({ origin: ABOUT_THE_APP.origin, 'x-version': '1' });
  });

  it('removes nothing that the options set', () => {
    const headers = { 'user-agent': 'of-the-options' };
    expect(authenticated(headers, undefined, { policy: { remove: ['*'] }, own: ['user-agent'] })).toEqual({
      ...headers,
      'x-version': '1',
    });
  });

  it('has the last word in what the policy sets', () => {
    const set = { 'x-version': '3', 'x-api-key': 'of-the-policy' };
    expect(authenticated({ 'x-version': '2' }, { 'x-api-key': 'servers' }, { set })).toEqual(set);
  });
});

describe('the fields of a request that was redirected to another origin', () => {
  it('are without those that were put in', () => {
    const headers = { authorization: 'servers', 'x-own': '1', 'x-set': '1', accept: '*/*', host: 'other.example' };
    const request = unconnectedRequest({ headers, setHost: false });
    const policy = new ResolvedHeaderPolicy('requestHeaders', {});
    const credentials = { Authorization: 'servers' };
    removeRequestFields(request, { policy, provider, credentials, set: { 'x-set': '1' }, own: ['x-own', 'host'] });
    expect({ ...request.getHeaders() }).toEqual({ accept: '*/*', host: 'other.example' });
  });
});
