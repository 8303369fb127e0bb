import type { Provider } from '../types/provider.js';
import { ACCOUNT_HEADERS } from './auth/account-headers.js';
import { bearer, keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { readChat } from './dialects/chat.js';
import { errorBody, errorEvent, errorStatus } from './openai.js';

/**
 * Mistral: its chat completions are OpenAI's, and report usage with the last chunk by themselves.
 *
 * @throws {TypeError} without `apiKey`, or for one that cannot be in a header field
 */
export function mistral(options: ProviderOptions): Provider {
  checkProviderOptions('mistral', options);
  const { target = 'https://api.mistral.ai', apiKey } = options ?? {};
  return {
    ...keyIn('mistral', bearer, apiKey),
    name: 'mistral_ai',
    target,
    read: readChat,
    errorEvent,
    errorBody,
    errorStatus,
    retryMethods: ['POST'],
    withheld: { response: ACCOUNT_HEADERS },
  };
}
