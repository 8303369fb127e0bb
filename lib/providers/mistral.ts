import type { Provider } from '../types/provider.js';
import { bearer, keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { mistralDialect } from './dialects/mistral.js';

/**
 * Mistral: its chat completions are OpenAI's, and report usage with the last chunk by themselves; its errors are its own.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function mistral(options: ProviderOptions = {}): Provider {
  checkProviderOptions('mistral', options);
  const { target = 'https://api.mistral.ai', apiKey } = options;
  return {
    ...speaking(mistralDialect),
    ...keyIn('mistral', bearer, apiKey),
    name: 'mistral_ai',
    target,
    // Mistral's clients show an error event as one that is not valid, without what it says.
    truncation: 'destroy',
  };
}
