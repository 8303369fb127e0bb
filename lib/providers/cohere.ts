import type { Provider } from '../types/provider.js';
import { bearer, keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { cohereDialect } from './dialects/cohere.js';

/**
 * Cohere's API, version 2; and what is OpenAI's below `/compatibility/v1`. The key is sent as `Authorization: Bearer ...`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function cohere(options: ProviderOptions = {}): Provider {
  checkProviderOptions('cohere', options);
  const { target = 'https://api.cohere.com', apiKey } = options;
  return {
    ...speaking(cohereDialect),
    ...keyIn('cohere', bearer, apiKey),
    name: 'cohere',
    target,
    // Cohere's clients show an event that they do not know as one that is not valid, without what it says.
    truncation: 'destroy',
  };
}
