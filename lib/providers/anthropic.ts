import type { Provider } from '../types/provider.js';
import { aText } from '../util/checks.js';
import { keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { anthropicDialect } from './dialects/anthropic.js';
import { speaking } from './dialects/by-path.js';

/** Options of {@link anthropic}. */
export interface AnthropicOptions extends ProviderOptions {
  /** `anthropic-version` of requests that name none. Default: `2023-06-01`. */
  version?: string;
}

/**
 * Anthropic's Messages. The key is sent as `x-api-key`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function anthropic(options: AnthropicOptions = {}): Provider {
  checkProviderOptions('anthropic', options, { version: aText });
  const { target = 'https://api.anthropic.com', apiKey, version = '2023-06-01' } = options;
  return {
    ...speaking(anthropicDialect),
    ...keyIn('anthropic', (key) => ({ 'x-api-key': key }), apiKey),
    name: 'anthropic',
    target,
    headers: { 'anthropic-version': version },
  };
}
