import { createHmac } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { createSseProxy } from '../../../lib/index.js';
import type { Provider, RequestToSign } from '../../../lib/types/provider.js';
import { readAll, request } from '../../support/clients/http.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { recorder } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

function providerAt(target: string, members: Partial<Provider>): Provider {
  return {
    name: 'own',
    target,
    read() {},
    errorEvent: () => ({ data: 'failed' }),
    errorBody: () => ({ sorry: true }),
    ...members,
  };
}

const JSON_BODY = { 'content-type': 'application/json' };
const SIGNING_KEY = 'signing-key-of-the-server';

/** HMAC over method, path, a header and the body. */
const signature = ({ method, path, headers, body }: Omit<RequestToSign, 'exchange'>): string =>
  createHmac('sha256', SIGNING_KEY)
    .update([method, path, String(headers['content-type']), String(body)].join('\n'))
    .digest('hex');

async function proxied(members: Partial<Provider>, answer = '{}') {
  const { url, received } = await recorder((_req, res) => void res.end(answer));
  const proxy = await proxyApp({ provider: providerAt(url, members) });
  return { proxy, received };
}

async function expectRefused(proxy: ProxyUnderTest, received: readonly unknown[], error: object): Promise<void> {
  const response = await request(proxy.url);
  await readAll(response);
  expect(await proxy.summary()).toMatchObject({ attempts: [], error });
  expect(received).toEqual([]);
}

describe('rewritePath of a provider', () => {
  it('provider, rewritePath: gives the path and query that are sent, from what pathRewrite has left', async () => {
    const paths: unknown[] = [];
    const { proxy, received } = await proxied({
      rewritePath(path, exchange) {
        paths.push([path, exchange.path]);
        return `/deployments/a${path}&api-version=1`;
      },
    });
    await readAll(await request(`${proxy.url}/v1/chat?b=%20`));
    expect(received[0]?.url).toBe('/deployments/a/v1/chat?b=%20&api-version=1');
    expect(paths).toEqual([['/v1/chat?b=%20', '/v1/chat?b=%20']]);
  });

  it.each<[string, Partial<Provider>, string]>([
    ['without credentials, the query passes', {}, '/v1?a=1&key=callers'],
    ['with credentials, `key` is taken out', { credentials: () => ({}) }, '/v1?a=1'],
    ['with a signature, `key` is taken out', { sign: () => ({}) }, '/v1?a=1'],
    [
      'with its own rewritePath, it decides',
      { credentials: () => ({}), rewritePath: (path) => path },
      '/v1?a=1&key=callers',
    ],
  ])('provider, rewritePath: by default: %s', async (_what, members, expected) => {
    const { proxy, received } = await proxied(members);
    await readAll(await request(`${proxy.url}/v1?a=1&key=callers`));
    expect(received[0]?.url).toBe(expected);
  });

  it.each<[string, () => unknown, object]>([
    ['no string', () => 5, { code: 'HOOK_FAILED', hook: 'rewritePath' }],
    ['no absolute path', () => 'v1', { code: 'HOOK_FAILED', hook: 'rewritePath' }],
    ['a promise', () => Promise.resolve('/v1'), { code: 'HOOK_FAILED', hook: 'rewritePath' }],
    ['a path that leads out of the target', () => '/a/../../b', { code: 'PATH_OUTSIDE_TARGET' }],
  ])('provider, rewritePath that gives %s: nothing is sent', async (_what, rewritePath, error) => {
    const { proxy, received } = await proxied({ rewritePath: rewritePath as () => string });
    await expectRefused(proxy, received, error);
  });
});

describe('sign of a provider', () => {
  it('provider, sign: is called with what is sent: method, rewritten path, headers, edited body', async () => {
    const signed: Omit<RequestToSign, 'exchange'>[] = [];
    const { proxy, received } = await proxied({
      headers: { 'x-version': '1' },
      credentials: () => ({ 'x-account': 'account-of-the-server' }),
      rewritePath: (path) => `/base${path}`,
      editRequest: (body) => ({ body: `[${body}]` }),
      async sign({ exchange, ...given }) {
        expect(exchange.path).toBe('/v1?a=1');
        signed.push(given);
        return { authorization: `HMAC ${signature(given)}` };
      },
    });
    const headers = { ...JSON_BODY, authorization: 'Bearer callers', 'x-a': 'b', cookie: 'c=d' };
    await readAll(await request(`${proxy.url}/v1?a=1`, { method: 'POST', headers, body: '{"a":1}' }));
    const [sent] = received;
    expect(sent).toMatchObject({ method: 'POST', url: '/base/v1?a=1', body: Buffer.from('[{"a":1}]') });
    const [given] = signed;
    expect(given).toMatchObject({
      method: 'POST',
      path: '/base/v1?a=1',
      body: Buffer.from('[{"a":1}]'),
      headers: { ...JSON_BODY, 'x-a': 'b', 'x-version': '1', 'x-account': 'account-of-the-server' },
    });
    expect(given?.headers).not.toHaveProperty('authorization');
    expect(given?.headers).not.toHaveProperty('cookie');
    for (const [name, value] of Object.entries(given?.headers ?? {})) expect(sent?.headers[name]).toBe(value);
    expect(sent?.headers.authorization).toBe(`HMAC ${signature(given as RequestToSign)}`);
  });

  it('provider, sign: has an empty body where there is none, and any other body whole', async () => {
    const bodies: unknown[] = [];
    const { proxy } = await proxied({
      sign({ body }) {
        bodies.push(body);
        return {};
      },
    });
    await readAll(await request(proxy.url));
    await readAll(
      await request(proxy.url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'text' }),
    );
    expect(bodies).toEqual([Buffer.alloc(0), Buffer.from('text')]);
  });

  it('provider, sign: signs each attempt anew, and what it gives is masked in what comes back', async () => {
    const secret = 'signature-of-the-server';
    let calls = 0;
    const { url, received } = await recorder((req, res) => {
      res
        .writeHead(calls < 2 ? 503 : 400, { 'x-echo': String(req.headers.authorization) })
        .end(req.headers.authorization);
    });
    const sign = (): Record<string, string> => {
      calls += 1;
      return { authorization: `HMAC ${secret}-${calls}` };
    };
    const proxy = await proxyApp({ provider: providerAt(url, { sign }), retry: { minTimeout: 1 } });
    const response = await request(proxy.url);
    const body = String(await readAll(response));
    expect(received.map(({ headers }) => headers.authorization)).toEqual([`HMAC ${secret}-1`, `HMAC ${secret}-2`]);
    expect(response.statusCode).toBe(400);
    expect(body).toBe(`HMAC ${'*'.repeat(secret.length + 2)}`);
    expect(response.headers['x-echo']).toBe(body);
  });

  it.each<[string, () => unknown]>([
    ['throws', () => JSON.parse('{')],
    ['rejects', () => Promise.reject(new Error('no'))],
    ['gives nothing', () => undefined],
    ['gives text', () => 'signature'],
    ['gives a name that no header can have', () => ({ 'a b': 'c' })],
    ['gives a value that no header can have', async () => ({ a: 'b\nc' })],
  ])('provider, sign that %s: nothing is sent', async (_what, sign) => {
    const { proxy, received } = await proxied({ sign: sign as () => Record<string, string> });
    await expectRefused(proxy, received, { code: 'HOOK_FAILED', hook: 'sign', statusCode: 500 });
  });

  it('provider, sign: is waited for no longer than timeouts.headers', async () => {
    const { url, received } = await recorder((_req, res) => void res.end());
    const sign = (): Promise<never> => new Promise(() => {});
    const proxy = await proxyApp({ provider: providerAt(url, { sign }), timeouts: { headers: 20 } });
    await expectRefused(proxy, received, { code: 'UPSTREAM_TIMEOUT', hook: 'sign' });
  });
});

describe('a provider of wrong shape', () => {
  it.each<[string, object]>([
    ['rewritePath', { rewritePath: '/v1' }],
    ['sign', { sign: 'key' }],
    ['formatOf', { formatOf: 'sse' }],
    ['withheld', { withheld: ['x-a'] }],
    ['names in withheld', { withheld: { response: 'x-a' } }],
    ['patterns in withheld', { withheld: { request: [/x/] } }],
    ['other members of withheld', { withheld: { trailers: [] } }],
  ])('is refused at construction: %s', (_what, members) => {
    const provider = providerAt('http://127.0.0.1:1', members as Partial<Provider>);
    expect(() => createSseProxy({ provider })).toThrow(TypeError);
  });
});
