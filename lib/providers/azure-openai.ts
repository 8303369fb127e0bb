import type { Provider } from '../types/provider.js';
import { aBoolean, aFunction, check } from '../util/checks.js';
import { ACCOUNT_HEADERS } from './auth/account-headers.js';
import { type ApiKey, keyIn } from './auth/api-key.js';
import { type TokenSource, tokenFrom } from './auth/bearer-token.js';
import { checkProviderOptions } from './auth/check-options.js';
import { openaiMembers } from './openai.js';

/** Options of {@link azureOpenAI}. */
export interface AzureOpenAIOptions {
  /** The name of the resource: `https://{resource}.openai.azure.com`. */
  resource?: string;
  /** In the place of `resource`: the whole address, for other clouds and for gateways. */
  target?: string;
  /** Sent as `api-key`. Default: the environment variable `AZURE_OPENAI_API_KEY`, unless there is a `token`. */
  apiKey?: ApiKey | undefined;
  /** In the place of `apiKey`: a token of Entra ID, sent as `Authorization: Bearer ...`. */
  token?: TokenSource;
  /** The `api-version` of requests that name none, below `/openai/deployments`. Those below `/openai/v1` need none. */
  apiVersion?: string;
  /** See {@link OpenAICompatibleOptions.includeUsage}. */
  includeUsage?: boolean;
}

/** What tells of the resource. */
const RESOURCE_HEADERS = ['x-ms-region', 'x-ms-deployment-name', 'azureml-*', 'operation-location'];

const aResource = check('the name of a resource', (value) => typeof value === 'string' && /^[a-z\d-]+$/i.test(value));
const aVersion = check(
  'a version, such as 2024-10-21',
  (value) => typeof value === 'string' && /^[\w.-]+$/.test(value),
);

/**
 * Azure OpenAI: what is below `/openai/v1`, and below `/openai/deployments/{deployment}`.
 *
 * @example
 * ```ts
 * import { DefaultAzureCredential } from '@azure/identity';
 *
 * const credential = new DefaultAzureCredential();
 * const scope = 'https://cognitiveservices.azure.com/.default';
 * azureOpenAI({ resource: 'my-resource', token: () => credential.getToken(scope) });
 * ```
 *
 * @throws {TypeError} without `resource` or `target`, without a key or a token, or for one that cannot be in a header field
 */
export function azureOpenAI(options: AzureOpenAIOptions): Provider {
  checkProviderOptions('azureOpenAI', options, {
    resource: aResource,
    token: aFunction,
    apiVersion: aVersion,
    includeUsage: aBoolean,
  });
  const { resource, apiKey, token, apiVersion, includeUsage } = options ?? {};
  const target = options?.target ?? (resource === undefined ? undefined : `https://${resource}.openai.azure.com`);
  if (target === undefined) throw new TypeError('azureOpenAI() needs `resource`, or `target`');
  if (token !== undefined && apiKey !== undefined)
    throw new TypeError('azureOpenAI() takes `apiKey` or `token`, not both');
  return {
    ...openaiMembers(includeUsage),
    ...(token === undefined ? keyIn('azureOpenAI', (key) => ({ 'api-key': key }), apiKey) : tokenFrom(token)),
    ...(apiVersion !== undefined && { rewritePath: (path: string) => withVersion(path, apiVersion) }),
    name: 'azure.ai.openai',
    target,
    withheld: { response: [...ACCOUNT_HEADERS, ...RESOURCE_HEADERS] },
  };
}

function withVersion(path: string, version: string): string {
  const [name = '', query] = path.split(/\?(.*)/s);
  const isNamed = new URLSearchParams(query).has('api-version');
  if (isNamed || !/\/deployments\//.test(name)) return path;
  return `${name}?${query ? `${query}&` : ''}api-version=${version}`;
}
