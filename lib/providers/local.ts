import type { Provider } from '../types/provider.js';
import { aBoolean } from '../util/checks.js';
import { type ApiKey, optionalKeyIn } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { openaiMembers } from './openai.js';

/** Options of the servers that one runs oneself. */
export interface LocalOptions {
  /** Where the server is, without its `/v1`. Default: this machine, at the server's own port. */
  target?: string;
  /** Most ask for none; the caller's does not travel either, unless this is `false`. */
  apiKey?: ApiKey | undefined;
  /** See {@link OpenAICompatibleOptions.includeUsage}. */
  includeUsage?: boolean;
}

function local(call: string, { name, target }: Pick<Provider, 'name' | 'target'>, options: LocalOptions): Provider {
  checkProviderOptions(call, options, { includeUsage: aBoolean });
  const { includeUsage, apiKey } = options;
  return { ...openaiMembers(includeUsage), ...optionalKeyIn(call, apiKey), name, target: options.target ?? target };
}

/**
 * vLLM. Usage so far in every chunk (`continuous_usage_stats`) is read as it comes. No key is needed.
 *
 * @throws {TypeError} for an `apiKey` that is empty, or that cannot be in a header field
 */
export function vllm(options: LocalOptions = {}): Provider {
  return local('vllm', { name: 'vllm', target: 'http://127.0.0.1:8000' }, options);
}

/**
 * The server of llama.cpp. No key is needed.
 *
 * @throws {TypeError} for an `apiKey` that is empty, or that cannot be in a header field
 */
export function llamaCpp(options: LocalOptions = {}): Provider {
  return local('llamaCpp', { name: 'llama.cpp', target: 'http://127.0.0.1:8080' }, options);
}

/**
 * LM Studio. No key is needed.
 *
 * @throws {TypeError} for an `apiKey` that is empty, or that cannot be in a header field
 */
export function lmStudio(options: LocalOptions = {}): Provider {
  return local('lmStudio', { name: 'lm_studio', target: 'http://127.0.0.1:1234' }, options);
}
