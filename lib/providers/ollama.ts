import type { Provider } from '../types/provider.js';
import { type ApiKey, optionalKeyIn } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { ollamaDialect } from './dialects/ollama.js';

/** Options of {@link ollama}. */
export interface OllamaOptions {
  /** Where Ollama is. Default: `http://127.0.0.1:11434`. */
  target?: string;
  /** An Ollama of one's own asks for none; the caller's does not travel either, unless this is `false`. */
  apiKey?: ApiKey | undefined;
}

/**
 * Ollama: its own API, which streams NDJSON, and the one below `/v1` that is OpenAI's.
 *
 * @throws {TypeError} for an `apiKey` that is empty, or that cannot be in a header field
 */
export function ollama(options: OllamaOptions = {}): Provider {
  checkProviderOptions('ollama', options);
  const { target = 'http://127.0.0.1:11434', apiKey } = options;
  return {
    ...speaking(ollamaDialect),
    ...optionalKeyIn('ollama', apiKey),
    name: 'ollama',
    target,
  };
}
