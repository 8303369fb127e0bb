import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { ResolvedHeaderPolicy, withheldFromClient, withheldFromProvider } from '../../../lib/headers/header-policy.js';
import { anthropic, gemini, mistral, ollama, openai, openaiCompatible } from '../../../lib/providers/index.js';
import type { Exchange } from '../../../lib/types/hooks.js';
import type { HeaderPolicy } from '../../../lib/types/options.js';
import type { Provider } from '../../../lib/types/provider.js';

function thrownBy(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

const policy = (given: HeaderPolicy): ResolvedHeaderPolicy => new ResolvedHeaderPolicy('requestHeaders', given);
const all = { has: () => true };
const exchange: Exchange = {
  id: 'test',
  req: {} as IncomingMessage,
  res: {} as ServerResponse,
  attempts: [],
  target: undefined,
  path: '/v1',
  locals: {},
};

describe('a policy', () => {
  it('header policy: withholds nothing by itself', () => {
    expect(policy({}).withholds('cookie', undefined)).toBe(false);
  });

  it.each<[string, HeaderPolicy, string, boolean]>([
    ['a default', {}, 'cookie', true],
    ['a default that another name passes', { pass: ['cookies', 'cook'] }, 'cookie', true],
    ['what passes by name', { pass: ['Cookie'] }, 'cookie', false],
    ['what passes by a name with a star', { pass: ['X-*-Limit'] }, 'x-rate-limit', false],
    ['what only begins like a name with a star', { pass: ['x-*-limit'] }, 'x-rate-limits', true],
    ['what a name with a star and a dot does not mean', { pass: ['x.*'] }, 'x-a', true],
    ['what passes by a pattern', { pass: [/^X-/] }, 'x-a', false],
    ['what a pattern passes that remembers where it was', { pass: [/^x-/gy] }, 'x-a', false],
    ['what is removed although it passes', { pass: ['x-a'], remove: ['x-a'] }, 'x-a', true],
  ])('header policy: decides on %s', (_what, given, name, expected) => {
    const decided = policy(given);
    // Twice: a pattern may have a memory.
    expect([decided.withholds(name, all), decided.withholds(name, all)]).toEqual([expected, expected]);
  });

  it.each(['host', 'content-length', 'content-encoding', 'transfer-encoding', 'connection', 'trailer'])(
    'header policy: never takes %s away, and complains where it is told to by name',
    (name) => {
      expect(policy({ remove: [/./, '*'] }).withholds(name, all)).toBe(false);
      for (const given of [{ remove: [name.toUpperCase()] }, { set: { [name]: '1' } }]) {
        expect(() => policy(given)).toThrow(new RegExp(`\`requestHeaders\` cannot change \`${name}\``, 'i'));
      }
    },
  );

  it.each([{ 'x a': '1' }, { '': '1' }, { 'x-a': 'a\nb' }])(
    'header policy: complains of what no header can have: %j',
    (set) => {
      expect(() => policy({ set: set as Record<string, string> })).toThrow(/header/i);
    },
  );

  it('header policy: puts in values, and what functions say of an exchange', () => {
    const set = { 'X-A': '1', 'x-b': ({ path }: Exchange) => path, 'x-c': () => undefined };
    expect(policy({ set }).headersFor(exchange)).toEqual({ 'x-a': '1', 'x-b': '/v1' });
  });

  it('header policy: takes a number for its digits, as Node does', () => {
    const set = { 'x-a': () => 42 as unknown as string };
    expect(policy({ set }).headersFor(exchange)).toEqual({ 'x-a': '42' });
  });

  it.each<[string, () => unknown, RegExp]>([
    ['a line break', () => 'a\nb', /Invalid character/],
    ['a promise', async () => 'a', /`requestHeaders\.set\["x-a"\]` must be synchronous/],
    [
      'a promise that rejects',
      async () => Promise.reject(new Error('no')),
      /`requestHeaders\.set\["x-a"\]` must be synchronous/,
    ],
    ['an object', () => ({ secret: 1 }), /`requestHeaders\.set\["x-a"\]` must give a string, got object$/],
    ['null', () => null, /`requestHeaders\.set\["x-a"\]` must give a string, got null$/],
    ['a boolean', () => true, /got boolean$/],
    ['a symbol', () => Symbol('x'), /got symbol$/],
  ])('header policy: fails, by the name of the function, where it gives %s', (_what, give, message) => {
    const broken = policy({ set: { 'X-A': give as () => string } });
    const error = thrownBy(() => broken.headersFor(exchange));
    expect(error).toMatchObject({ code: 'HOOK_FAILED', hook: 'requestHeaders.set["x-a"]', statusCode: 500 });
    expect((error as Error).cause).toMatchObject({ message: expect.stringMatching(message) });
  });
});

/** Each that is made here, and one of a user's that says nothing of it. */
const PROVIDERS: readonly (readonly [string, Provider])[] = [
  openai({ apiKey: 'sk' }),
  openaiCompatible({ name: 'openaiCompatible', target: 'http://127.0.0.1:1', apiKey: 'sk' }),
  anthropic({ apiKey: 'sk' }),
  gemini({ apiKey: 'sk' }),
  mistral({ apiKey: 'sk' }),
  ollama(),
  { ...openai({ apiKey: 'sk' }), name: "a user's", withheld: undefined } as unknown as Provider,
].map((provider) => [provider.name, provider]);

describe.each(PROVIDERS)('by default, with a provider: %s', (_name, provider) => {
  const WITHHELD_FROM_PROVIDER = {
    withCredentials: withheldFromProvider(provider, true) ?? { has: () => undefined },
    withoutCredentials: withheldFromProvider(provider, false) ?? { has: () => undefined },
  };
  const WITHHELD_FROM_CLIENT = withheldFromClient(provider) ?? { has: () => undefined };

  it.each([
    'x-forwarded-for',
    'x-forwarded-proto',
    'forwarded',
    'x-real-ip',
    'cf-connecting-ip',
    'cookie',
    'proxy-x',
    'traceparent',
    'tracestate',
    'baggage',
    'x-b3-spanid',
  ])('header policy by default: %s is withheld from a provider', (name) => {
    expect(WITHHELD_FROM_PROVIDER.withCredentials.has(name)).toBe(true);
    expect(WITHHELD_FROM_PROVIDER.withoutCredentials.has(name)).toBe(true);
  });

  it.each(['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'])(
    'header policy by default: %s is where there are credentials',
    (name) => {
      expect(WITHHELD_FROM_PROVIDER.withCredentials.has(name)).toBe(true);
      expect(WITHHELD_FROM_PROVIDER.withoutCredentials.has(name)).toBe(false);
    },
  );

  it.each([
    'accept',
    'content-type',
    'user-agent',
    'anthropic-version',
    'anthropic-beta',
    'openai-beta',
    'idempotency-key',
    'mcp-session-id',
    'last-event-id',
    'x-stainless-lang',
    'x-request-id',
  ])('header policy by default: %s goes on to a provider', (name) => {
    expect(WITHHELD_FROM_PROVIDER.withCredentials.has(name)).toBe(false);
  });

  it.each([
    'x-ratelimit-limit-requests',
    'anthropic-ratelimit-tokens-reset',
    'ratelimit',
    'ratelimit-policy',
    'x-rate-limit-limit',
    'set-cookie',
    'access-control-allow-origin',
    'openai-organization',
    'openai-project',
    'anthropic-organization-id',
    'cf-ray',
    'server',
  ])('header policy by default: %s is withheld from a client', (name) => {
    expect(WITHHELD_FROM_CLIENT.has(name)).toBe(true);
  });

  it.each([
    'x-request-id',
    'request-id',
    'retry-after',
    'retry-after-ms',
    'x-should-retry',
    'content-type',
    'cache-control',
    'openai-processing-ms',
    'openai-version',
    'mcp-session-id',
    'www-authenticate',
    'location',
  ])('header policy by default: %s goes on to a client', (name) => {
    expect(WITHHELD_FROM_CLIENT.has(name)).toBe(false);
  });
});

describe('`withheld` of a provider', () => {
  const withheld = { request: ['X-Tenant', 'x-internal-*'], response: ['x-account'] };
  const provider = { ...openai({ apiKey: 'sk' }), withheld };

  it.each([true, false])(
    'header policy: `withheld` of a provider names headers that are withheld beside the general ones: with credentials %p',
    (has) => {
      const names = withheldFromProvider(provider, has);
      expect(['x-tenant', 'x-internal-a', 'cookie', 'accept'].map((name) => names?.has(name))).toEqual([
        true,
        true,
        true,
        false,
      ]);
    },
  );

  it('header policy: `withheld` of a provider stands in the place of the account headers of other providers', () => {
    const names = withheldFromClient(provider);
    expect(['x-account', 'x-ratelimit-a', 'openai-organization'].map((name) => names?.has(name))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('header policy: `withheld` of a provider is nothing without a provider', () => {
    expect([withheldFromClient(undefined), withheldFromProvider(undefined, true)]).toEqual([undefined, undefined]);
  });
});

describe('a pattern with `*`', () => {
  const removes = (pattern: string, name: string): boolean =>
    new ResolvedHeaderPolicy('responseHeaders', { remove: [pattern] }).withholds(name, undefined);

  it.each([
    ['x-*', ['x-', 'x-a', 'x-a-b'], ['y-a', 'ax-', 'x']],
    ['*-x', ['-x', 'a-x'], ['x', 'a-xb']],
    ['*x*', ['x', 'axb'], ['', 'ab']],
    ['a*a', ['aa', 'aba'], ['a', 'ab']],
    ['a*b*c', ['abc', 'a-b-c', 'abbcc', 'a-b-c-c'], ['acb', 'ab', 'ac', 'abcd']],
    ['X-*-A', ['x-1-a'], ['x-a']],
    ['*', ['', 'a'], []],
    ['**', ['', 'a'], []],
    ['a**b', ['ab', 'acb'], ['a']],
    ['a.*', ['a.b'], ['ab']],
  ])('header policy, pattern with `*`: %s', (pattern, matching, others) => {
    for (const name of matching) expect([name, removes(pattern, name)]).toEqual([name, true]);
    for (const name of others) expect([name, removes(pattern, name)]).toEqual([name, false]);
  });

  it.each(['x-*-a-*-b-*-c', '*a*a*a*a*a*a*b', '**********b'])(
    'header policy, pattern with `*`: takes no time that grows faster than the name: %s',
    (pattern) => {
      const name = `x-${'-a-b-c'.repeat(30_000)}d`;
      const start = performance.now();
      expect(removes(pattern, name)).toBe(false);
      expect(performance.now() - start).toBeLessThan(500);
    },
  );
});
