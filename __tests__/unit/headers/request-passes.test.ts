import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { ResolvedHeaderPolicy } from '../../../lib/headers/header-policy.js';
import {
  applyRequestPasses,
  applyUpgradePasses,
  prepareRequestHeaders,
  prepareUpgradeHeaders,
  type UpstreamRequestContext,
} from '../../../lib/headers/request-passes.js';
import type { HeaderPolicy } from '../../../lib/types/options.js';
import type { Provider } from '../../../lib/types/provider.js';
import { requestWith, unconnectedRequest } from '../../support/servers/bare-http.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

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

const noPolicy = new ResolvedHeaderPolicy('requestHeaders', {});

/** What the passes are told of a request that asks for nothing. */
async function contextWith(
  context: Partial<UpstreamRequestContext>,
  lines: string[] = [],
): Promise<UpstreamRequestContext> {
  return {
    req: await requestWith(lines),
    policy: noPolicy,
    provider: undefined,
    credentials: undefined,
    set: {},
    own: [],
    hasLeftOrigin: false,
    wantsIdentity: false,
    isForwarded: false,
    ...context,
  };
}

/** The headers of a request to a provider that had these, when the passes are over it; without Connection. */
async function authenticated(
  headers: Record<string, string>,
  credentials: Record<string, string> | undefined,
  { own = [], policy = {}, set = {} }: { own?: string[]; policy?: HeaderPolicy; set?: Record<string, string> } = {},
): Promise<object> {
  const request = unconnectedRequest({ headers, setHost: false });
  const resolved = new ResolvedHeaderPolicy('requestHeaders', policy);
  applyRequestPasses(request, await contextWith({ policy: resolved, provider, credentials, own, set }));
  const { connection: _connection, ...rest } = request.getHeaders();
  return rest;
}

describe('request passes over what the client has sent: headers', () => {
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
  ])('hop-by-hop request headers: %s concerns one connection and goes', async (name, value) => {
    const req = await requestWith(['X-Kept: 1', `${name}: ${value}`]);
    prepareRequestHeaders(req);
    expect(Object.keys(req.headers)).toEqual(['host', 'x-kept']);
  });

  it('hop-by-hop request headers: go where Connection names them, in any case and over several lines', async () => {
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

  it('hop-by-hop request headers: go where they came in several lines', async () => {
    const req = await requestWith(['Connection: x-one, cookie', 'x-one: 1', 'x-one: 2', 'Cookie: a=1', 'Cookie: b=2']);
    prepareRequestHeaders(req);
    expect(req.headers).toEqual({ host: 'proxy.example' });
  });

  it('hop-by-hop request headers: stay where the app has put them there, whatever the client says', async () => {
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

  it('hop-by-hop request headers that frame the message stay', async () => {
    const framing = ['Content-Length: 0', 'Content-Type: text/plain', 'Content-Encoding: identity'];
    const req = await requestWith(
      ['Connection: content-length, content-type, content-encoding, host', ...framing],
      'POST',
    );
    prepareRequestHeaders(req);
    expect(Object.keys(req.headers)).toEqual(['host', 'content-length', 'content-type', 'content-encoding']);
  });

  it('hop-by-hop request headers: keep Transfer-Encoding, by which the upstream request is framed', async () => {
    const req = await requestWith(['Transfer-Encoding: chunked', 'Connection: transfer-encoding'], 'POST');
    prepareRequestHeaders(req);
    expect(req.headers['transfer-encoding']).toBe('chunked');
  });
});

describe('request passes over a WebSocket handshake: headers', () => {
  it('request headers of a WebSocket handshake: are those of a request without the hop-by-hop ones, and with what the handshake needs', async () => {
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
});

describe('request passes over a request to a provider', () => {
  it("request headers to a provider: puts the provider's credentials in the place of the caller's", async () => {
    const headers = { ...CALLERS, 'content-type': 'application/json' };
    expect(await authenticated(headers, { 'x-api-key': 'servers' })).toEqual({
      'content-type': 'application/json',
      'x-api-key': 'servers',
      'x-version': '1',
    });
  });

  it('request headers to a provider: knows the headers in any case', async () => {
    const headers = { Authorization: 'callers', 'X-API-Key': 'callers', 'X-Goog-Api-Key': 'callers', Cookie: 'a=1' };
    expect(await authenticated(headers, { authorization: 'servers' })).toEqual({
      authorization: 'servers',
      'x-version': '1',
    });
  });

  it("request headers to a provider: takes the caller's away also where the provider asks for none", async () => {
    expect(await authenticated(CALLERS, {})).toEqual({ 'x-version': '1' });
  });

  it("request headers to a provider: lets the caller's pass where there are none to put in, but not what concerns the app", async () => {
    expect(await authenticated({ ...CALLERS, ...ABOUT_THE_APP }, undefined)).toEqual({ ...CALLERS, 'x-version': '1' });
  });

  it('request headers to a provider: leaves what the options set', async () => {
    const own = { cookie: 'of-the-options', 'x-api-key': 'of-the-options' };
    const headers = { ...CALLERS, ...ABOUT_THE_APP, ...own };
    expect(await authenticated(headers, { authorization: 'servers' }, { own: Object.keys(own) })).toEqual({
      ...own,
      authorization: 'servers',
      'x-version': '1',
    });
  });

  it("request headers to a provider: leaves the caller's choice where the provider only has a default", async () => {
    expect(await authenticated({ 'X-Version': '2' }, undefined)).toEqual({ 'x-version': '2' });
  });

  it('request headers to a provider: lets pass what the policy names, and never what it removes', async () => {
    const headers = { ...ABOUT_THE_APP, 'user-agent': 'app', 'x-tenant': 'acme' };
    const policy: HeaderPolicy = { pass: ['Origin', 'referer'], remove: [/^user-/, 'X-Tenant', 'referer'] };
    expect(await authenticated(headers, undefined, { policy })).toEqual({
      origin: ABOUT_THE_APP.origin,
      'x-version': '1',
    });
  });

  it('request headers to a provider: removes nothing that the options set', async () => {
    const headers = { 'user-agent': 'of-the-options' };
    expect(await authenticated(headers, undefined, { policy: { remove: ['*'] }, own: ['user-agent'] })).toEqual({
      ...headers,
      'x-version': '1',
    });
  });

  it('request headers to a provider: has the last word in what the policy sets', async () => {
    const set = { 'x-version': '3', 'x-api-key': 'of-the-policy' };
    expect(await authenticated({ 'x-version': '2' }, { 'x-api-key': 'servers' }, { set })).toEqual(set);
  });
});

describe('request passes over any upstream request', () => {
  it('request headers: a redirect to another origin: credentials and what was put in do not follow it', async () => {
    const headers = { authorization: 'servers', 'x-own': '1', 'x-set': '1', accept: '*/*', host: 'other.example' };
    const request = unconnectedRequest({ headers, setHost: false });
    const credentials = { Authorization: 'servers' };
    const context = { provider, credentials, set: { 'x-set': '1' }, own: ['x-own', 'host'], hasLeftOrigin: true };
    applyRequestPasses(request, await contextWith(context));
    const { connection: _connection, ...rest } = request.getHeaders();
    expect(rest).toEqual({ accept: '*/*', host: 'other.example', 'x-version': '1' });
  });

  it('request headers: Connection: is that of the agent, and not the one that httpxy has put there', async () => {
    const request = unconnectedRequest({ headers: { connection: 'close' } });
    request.shouldKeepAlive = true;
    applyRequestPasses(request, await contextWith({}));
    expect(request.getHeader('connection')).toBe('keep-alive');
  });

  it('request headers: Connection: a chunked request stays the last one on its connection, as httpxy has said', async () => {
    const request = unconnectedRequest({ headers: { connection: 'close', 'transfer-encoding': 'chunked' } });
    request.shouldKeepAlive = true;
    applyRequestPasses(request, await contextWith({}));
    expect(request.getHeader('connection')).toBe('close');
    expect(request.shouldKeepAlive).toBe(false);
  });

  it.each([
    ['gzip', false],
    ['identity', true],
  ])('request headers: Accept-Encoding: %s where no content coding is wanted (%s)', async (expected, wantsIdentity) => {
    const request = unconnectedRequest({ headers: { 'accept-encoding': 'gzip' } });
    applyRequestPasses(request, await contextWith({ wantsIdentity }));
    expect(request.getHeader('accept-encoding')).toBe(expected);
  });

  it('request headers: credentials: neither `util.inspect` nor JSON shows a request that has some', async () => {
    const request = unconnectedRequest({ method: 'POST', host: 'api.example', path: '/v1' });
    applyRequestPasses(request, await contextWith({ credentials: { authorization: 'Bearer secret' } }));
    const shown = 'ClientRequest { POST http://api.example/v1 }';
    expect(inspect(request)).toBe(shown);
    expect(JSON.stringify(request)).toBe(JSON.stringify(shown));
  });

  it('request headers: a WebSocket handshake: has the policy and `xfwd`, and keeps its Connection', async () => {
    const headers = { connection: 'Upgrade', 'x-gone': '1', 'x-own': '1', 'accept-encoding': 'gzip' };
    const request = unconnectedRequest({ headers, setHost: false });
    const policy = new ResolvedHeaderPolicy('requestHeaders', { remove: ['x-*'] });
    const { req } = await contextWith({});
    applyUpgradePasses(request, { req, policy, set: { 'x-set': '1' }, own: ['x-own'], isForwarded: true });
    expect({ ...request.getHeaders() }).toEqual({
      connection: 'Upgrade',
      'x-own': '1',
      'accept-encoding': 'gzip',
      'x-set': '1',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-port': '80',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'proxy.example',
    });
  });
});
