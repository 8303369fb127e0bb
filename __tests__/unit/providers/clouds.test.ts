import { afterEach, describe, expect, it } from '@jest/globals';
import { credentialsOf } from '../../../lib/credentials/resolve-credentials.js';
import { tokenFrom } from '../../../lib/providers/auth/bearer-token.js';
import { azureOpenAI, vertex } from '../../../lib/providers/index.js';
import { ANTHROPIC, exchangeFor, GEMINI, OPENAI, type ProviderAnswer } from '../../support/streams/dialects.js';
import { describeReading } from '../../support/streams/provider-reading.js';

const exchange = exchangeFor('/');
const before = { ...process.env };
afterEach(() => {
  process.env = { ...before };
});

const at = (path: string, answers: readonly ProviderAnswer[]): ProviderAnswer[] =>
  answers.map((answer) => ({ ...answer, path }));

describe('azureOpenAI()', () => {
  describeReading(azureOpenAI({ resource: 'r', apiKey: 'sk' }), OPENAI);

  it('azureOpenAI(): is at its resource, with its key, and keeps the resource from the client', async () => {
    const provider = azureOpenAI({ resource: 'my-resource', apiKey: 'sk' });
    expect(provider).toMatchObject({ name: 'azure.ai.openai', target: 'https://my-resource.openai.azure.com' });
    expect(await credentialsOf(provider, exchange)).toEqual({ 'api-key': 'sk' });
    expect(provider.withheld?.response).toEqual(expect.arrayContaining(['x-ms-deployment-name', 'operation-location']));
    expect(azureOpenAI({ target: 'https://r.openai.azure.us', apiKey: 'sk' }).target).toBe('https://r.openai.azure.us');
    process.env.AZURE_OPENAI_API_KEY = 'sk-e';
    expect(await credentialsOf(azureOpenAI({ resource: 'r' }), exchange)).toEqual({ 'api-key': 'sk-e' });
  });

  it('azureOpenAI(): sends a token as a bearer', async () => {
    const provider = azureOpenAI({ resource: 'r', token: async () => ({ token: 't' }) });
    expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer t' });
  });

  it.each([
    ['/openai/deployments/gpt/chat/completions', '/openai/deployments/gpt/chat/completions?api-version=2024-10-21'],
    [
      '/openai/deployments/gpt/chat/completions?a=b',
      '/openai/deployments/gpt/chat/completions?a=b&api-version=2024-10-21',
    ],
    ['/openai/deployments/gpt/embeddings?api-version=1', '/openai/deployments/gpt/embeddings?api-version=1'],
    ['/openai/v1/responses', '/openai/v1/responses'],
    ['/openai/v1/x?y=/deployments/', '/openai/v1/x?y=/deployments/'],
  ])('azureOpenAI(), apiVersion: %s becomes %s', (path, expected) => {
    const { rewritePath } = azureOpenAI({ resource: 'r', apiKey: 'sk', apiVersion: '2024-10-21' });
    expect(rewritePath?.(path, exchange)).toBe(expected);
  });

  it.each([
    [{ apiKey: 'sk' }, 'azureOpenAI() needs `resource`, or `target`'],
    [{ resource: 'r' }, 'Is the environment variable AZURE_OPENAI_API_KEY set?'],
    [{ resource: 'r.evil.com/', apiKey: 'sk' }, '`resource` of azureOpenAI() must be the name of a resource'],
    [{ resource: 'r', apiKey: 'sk', token: () => 't' }, 'takes `apiKey` or `token`, not both'],
    [{ resource: 'r', token: 't' }, '`token` of azureOpenAI() must be a function'],
    [{ endpoint: 'https://r.openai.azure.com', apiKey: 'sk' }, 'Unknown option `endpoint` of azureOpenAI()'],
    [undefined, 'azureOpenAI() needs `resource`'],
  ])('azureOpenAI(): refuses %j', (given, message) => {
    delete process.env.AZURE_OPENAI_API_KEY;
    const untyped = azureOpenAI as (options: unknown) => unknown;
    expect(() => untyped(given)).toThrow(message);
  });
});

describe('vertex()', () => {
  const options = { project: 'p-1', location: 'europe-west4', token: () => 't' };
  const path = '/v1/projects/p-1/locations/europe-west4/publishers/anthropic/models/claude:streamRawPredict';
  describeReading(vertex(options), [...GEMINI, ...at(path, ANTHROPIC)]);

  it.each([
    ['europe-west4', 'https://europe-west4-aiplatform.googleapis.com'],
    ['global', 'https://aiplatform.googleapis.com'],
    ['eu', 'https://aiplatform.eu.rep.googleapis.com'],
  ])('vertex(): at %s is %s', async (location, target) => {
    const provider = vertex({ ...options, location });
    expect(provider).toMatchObject({ name: 'gcp.vertex_ai', target });
    expect(await credentialsOf(provider, exchange)).toEqual({ authorization: 'Bearer t' });
  });

  const own = '/projects/p-1/locations/europe-west4';
  it.each([
    ['/v1/publishers/google/models/g:generateContent', `/v1${own}/publishers/google/models/g:generateContent`],
    [
      '/v1beta1/projects/x/locations/y/publishers/google/models/g:streamGenerateContent?alt=sse',
      `/v1beta1${own}/publishers/google/models/g:streamGenerateContent?alt=sse`,
    ],
    ['/v1beta/models/g:generateContent?key=AIza', `/v1${own}/publishers/google/models/g:generateContent`],
    ['/v1/projects/x/locations/y/endpoints/openapi/chat/completions', `/v1${own}/endpoints/openapi/chat/completions`],
    ['/v1/other', '/v1/other'],
  ])('vertex(): %s becomes %s', (asked, expected) => {
    expect(vertex(options).rewritePath?.(asked, exchange)).toBe(expected);
  });

  it.each([
    [{ ...options, project: undefined }, 'vertex() needs `project`'],
    [{ ...options, location: 'x/../y' }, '`location` of vertex() must be a name'],
    [{ ...options, token: undefined }, 'vertex() needs `token`'],
    [undefined, 'vertex() needs `project`'],
  ])('vertex(): refuses %j', (given, message) => {
    const untyped = vertex as (options: unknown) => unknown;
    expect(() => untyped(given)).toThrow(message);
  });
});

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

describe('a token that expires', () => {
  it('bearer token: a token without an expiry is for the request that has asked for it, and no other', async () => {
    const { credentials } = tokenFrom(async ({ path }) => `of ${path}`);
    const asked = ['a', 'b', 'c'].map((path) => credentials(exchangeFor(path)));
    expect(await Promise.all(asked)).toEqual([bearer('of a'), bearer('of b'), bearer('of c')]);
  });

  it('bearer token: a request that is refused a token has no other refused', async () => {
    const { credentials } = tokenFrom(async ({ path }) => {
      if (path === 'a') throw new Error('a is refused');
      return `of ${path}`;
    });
    const [refused, given] = await Promise.allSettled(['a', 'b'].map((path) => credentials(exchangeFor(path))));
    expect(refused?.status).toBe('rejected');
    expect(given).toEqual({ status: 'fulfilled', value: bearer('of b') });
  });

  it('bearer token: a source that does not settle once is asked again', async () => {
    let time = 0;
    let asked = 0;
    const { credentials } = tokenFrom(
      () => {
        asked += 1;
        return asked === 1 ? new Promise<never>(() => {}) : { token: 't2', expiresOnTimestamp: 3_600_000 };
      },
      () => time,
    );
    void credentials(exchange);
    time = 10_000;
    expect(await credentials(exchange)).toEqual(bearer('t2'));
  });

  it('bearer token: is kept until shortly before it expires, and asked for once at a time', async () => {
    let time = 0;
    let asked = 0;
    const { credentials } = tokenFrom(
      async () => {
        asked += 1;
        return { token: `t${asked}`, expiresOnTimestamp: time + 3_600_000 };
      },
      () => time,
    );
    expect(await Promise.all([credentials(exchange), credentials(exchange)])).toEqual([
      { authorization: 'Bearer t1' },
      { authorization: 'Bearer t1' },
    ]);
    time += 3_500_000;
    expect(await credentials(exchange)).toEqual({ authorization: 'Bearer t1' });
    time += 50_000;
    expect(await credentials(exchange)).toEqual({ authorization: 'Bearer t2' });
    expect(asked).toBe(2);
  });

  it('bearer token: without an expiry it is asked for each time', async () => {
    let asked = 0;
    const { credentials } = tokenFrom(() => {
      asked += 1;
      return `t${asked}`;
    });
    await credentials(exchange);
    expect(await credentials(exchange)).toEqual({ authorization: 'Bearer t2' });
  });

  it('bearer token: a failure is told, and not kept', async () => {
    let asked = 0;
    const { credentials } = tokenFrom(() => {
      asked += 1;
      if (asked === 1) throw new Error('no');
      return 't';
    });
    await expect(credentials(exchange)).rejects.toThrow('no');
    expect(await credentials(exchange)).toEqual({ authorization: 'Bearer t' });
  });

  it.each([[''], [undefined], [null], [{}], [{ token: '' }], [7]])('bearer token: %j is none', async (given) => {
    const { credentials } = tokenFrom(() => given as never);
    await expect(credentials(exchange)).rejects.toMatchObject({ code: 'CREDENTIALS_MISSING' });
  });

  it('bearer token: what no header can have is not quoted', async () => {
    const { credentials } = tokenFrom(() => 'secret\n');
    await expect(credentials(exchange)).rejects.toThrow(/^`token` has given characters/);
  });
});
