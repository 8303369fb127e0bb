import type { Provider } from '../types/provider.js';
import { withoutParameter } from '../util/request-target.js';
import { keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { geminiDialect } from './dialects/gemini.js';

/**
 * Google's Gemini API: `generateContent`, and `streamGenerateContent` with and without `alt=sse`; its Interactions; and what is OpenAI's
 * below `/v1beta/openai`. The key is sent as `x-goog-api-key`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function gemini(options: ProviderOptions = {}): Provider {
  checkProviderOptions('gemini', options);
  const { target = 'https://generativelanguage.googleapis.com', apiKey } = options;
  return {
    ...speaking(geminiDialect),
    ...keyIn('gemini', (key) => ({ 'x-goog-api-key': key }), apiKey),
    // Callers may send their key in the query instead.
    ...(apiKey !== false && { rewritePath: (path: string) => withoutParameter(path, 'key') }),
    name: 'gcp.gemini',
    target,
  };
}
