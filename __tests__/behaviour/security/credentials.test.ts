import { describe, expect, it } from '@jest/globals';
import type { Usage } from '../../../lib/index.js';
import {
  type ApiKey,
  anthropic,
  gemini,
  mistral,
  ollama,
  openai,
  type Provider,
  type ProviderOptions,
} from '../../../lib/providers/index.js';
import { readAll, readText, request } from '../../support/clients/http.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { type RecordedRequest, recorder } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('credentials', () => {
  const callers = {
    authorization: 'Bearer sk-callers',
    'x-api-key': 'sk-callers',
    'x-goog-api-key': 'sk-callers',
    'api-key': 'sk-callers',
  };
  const aboutTheApp = { cookie: 'session=sk-callers', origin: 'https://app.example', referer: 'https://app.example/' };
  const path = '/v1/x?a=%20&key=sk-callers&b=1';

  /** What the provider gets of a request with all the credentials that there are. */
  async function sent(provider: (target: string) => Provider): Promise<RecordedRequest | undefined> {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ provider: provider(url) });
    const response = await post(proxy.url + path, '{}', { ...callers, ...aboutTheApp });
    await readAll(response);
    expect(response.statusCode).toBe(200);
    expect(received).toHaveLength(1);
    return received[0];
  }

  const PROVIDERS: [string, (options: ProviderOptions) => Provider, Record<string, string>][] = [
    ['openai', openai, { authorization: `Bearer ${SERVERS_KEY}` }],
    ['anthropic', anthropic, { 'x-api-key': SERVERS_KEY, 'anthropic-version': '2023-06-01' }],
    ['gemini', gemini, { 'x-goog-api-key': SERVERS_KEY }],
    ['mistral', mistral, { authorization: `Bearer ${SERVERS_KEY}` }],
    ['ollama', ollama, { authorization: `Bearer ${SERVERS_KEY}` }],
  ];

  describe.each(PROVIDERS)('of %s', (_name, create, fields) => {
    it.each<[string, ApiKey]>([
      ['a value', SERVERS_KEY],
      ['a function', () => SERVERS_KEY],
      ['an async function', async () => SERVERS_KEY],
    ])("credentials: are the server's, from %s, and none of the caller's", async (_kind, apiKey) => {
      const { url, headers, rawHeaders = [] } = (await sent((target) => create({ target, apiKey }))) ?? {};
      expect(url).toBe('/v1/x?a=%20&b=1');
      expect(headers).toMatchObject(fields);
      expect(rawHeaders.join('\n')).not.toMatch(/sk-callers|app\.example/);
      expect(rawHeaders.filter((value) => value.includes(SERVERS_KEY))).toHaveLength(1);
    });

    it("credentials: are the caller's where `apiKey` is false, but nothing of the app's", async () => {
      const { url, headers = {} } = (await sent((target) => create({ target, apiKey: false }))) ?? {};
      expect(url).toBe(path);
      expect(headers).toMatchObject(callers);
      for (const name of Object.keys(aboutTheApp)) expect(headers).not.toHaveProperty(name);
    });

    it.each<[string, ApiKey, string]>([
      ['gives none', () => undefined, 'CREDENTIALS_MISSING'],
      ['gives a promise of none', async () => undefined, 'CREDENTIALS_MISSING'],
      ['rejects', () => Promise.reject(new Error('The vault is closed')), 'HOOK_FAILED'],
      ['gives one with a line break', () => `${SERVERS_KEY}\n`, 'HOOK_FAILED'],
    ])('credentials: fail the request where their function %s, and nothing is sent', async (_what, apiKey, code) => {
      const { url, received } = await recorder();
      const usages: Usage[] = [];
      const provider = create({ target: url, apiKey });
      const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage) });
      const response = await post(proxy.url, '{}', callers);
      expect(response.statusCode).toBe(500);
      expect(await readText(response)).not.toMatch(/sk-|vault/);
      expect(await proxy.summary()).toMatchObject({ outcome: 'failed', attempts: { length: 0 }, error: { code } });
      expect([received, usages]).toEqual([[], []]);
    });
  });

  it("credentials of an Ollama without a key are none, the caller's neither", async () => {
    const { url, rawHeaders = [] } = (await sent((target) => ollama({ target }))) ?? {};
    expect(url).toBe('/v1/x?a=%20&b=1');
    expect(rawHeaders.join('\n')).not.toMatch(/sk-|app\.example|authorization/i);
  });

  it('credentials: may be chosen by the exchange', async () => {
    const { url, received } = await recorder();
    const apiKey: ApiKey = ({ req }) => `sk-of-${req.headers['x-tenant']}`;
    const proxy = await proxyApp({ provider: openai({ target: url, apiKey }) });
    for (const tenant of ['a', 'b']) await readAll(await request(proxy.url, { headers: { 'x-tenant': tenant } }));
    expect(received.map(({ headers }) => headers.authorization)).toEqual(['Bearer sk-of-a', 'Bearer sk-of-b']);
  });

  it('credentials: come with the version that the caller names', async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ provider: anthropic({ target: url, apiKey: SERVERS_KEY }) });
    await readAll(await request(proxy.url, { headers: { 'anthropic-version': '2024-10-22' } }));
    expect(received[0]?.headers['anthropic-version']).toBe('2024-10-22');
  });
});
