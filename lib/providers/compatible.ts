import type { Provider } from '../types/provider.js';
import { aBoolean } from '../util/checks.js';
import { bearer, keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { openaiMembers } from './openai.js';

/** Options of the vendors whose API is OpenAI's. */
export interface CompatibleOptions extends ProviderOptions {
  /** See {@link OpenAICompatibleOptions.includeUsage}. */
  includeUsage?: boolean;
}

/** A vendor whose API is OpenAI's: it has an address, and a key of its own. */
function compatible(
  call: string,
  { name, target }: Pick<Provider, 'name' | 'target'>,
  options: CompatibleOptions,
): Provider {
  checkProviderOptions(call, options, { includeUsage: aBoolean });
  const { includeUsage, apiKey } = options;
  return { ...openaiMembers(includeUsage), ...keyIn(call, bearer, apiKey), name, target: options.target ?? target };
}

/**
 * OpenRouter: many vendors' models. Its comments (`: OPENROUTER PROCESSING`) pass; what it charges is in `usage.reported.cost`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function openrouter(options: CompatibleOptions = {}): Provider {
  return compatible('openrouter', { name: 'openrouter', target: 'https://openrouter.ai/api' }, options);
}

/**
 * DeepSeek.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function deepseek(options: CompatibleOptions = {}): Provider {
  return compatible('deepseek', { name: 'deepseek', target: 'https://api.deepseek.com' }, options);
}

/**
 * Groq. Its API is below `/openai/v1`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function groq(options: CompatibleOptions = {}): Provider {
  return compatible('groq', { name: 'groq', target: 'https://api.groq.com' }, options);
}

/**
 * xAI. Reasoning counts in `outputTokens`, although its `completion_tokens` leave it out.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function xai(options: CompatibleOptions = {}): Provider {
  return compatible('xai', { name: 'x_ai', target: 'https://api.x.ai' }, options);
}

/**
 * Together AI.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function together(options: CompatibleOptions = {}): Provider {
  return compatible('together', { name: 'together', target: 'https://api.together.xyz' }, options);
}

/**
 * Fireworks AI.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function fireworks(options: CompatibleOptions = {}): Provider {
  return compatible('fireworks', { name: 'fireworks', target: 'https://api.fireworks.ai/inference' }, options);
}

/**
 * Perplexity. Its API has no `/v1`: `/chat/completions`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function perplexity(options: CompatibleOptions = {}): Provider {
  return compatible('perplexity', { name: 'perplexity', target: 'https://api.perplexity.ai' }, options);
}

/**
 * Cerebras.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function cerebras(options: CompatibleOptions = {}): Provider {
  return compatible('cerebras', { name: 'cerebras', target: 'https://api.cerebras.ai' }, options);
}

/**
 * Moonshot AI (Kimi).
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function moonshot(options: CompatibleOptions = {}): Provider {
  return compatible('moonshot', { name: 'moonshot', target: 'https://api.moonshot.ai' }, options);
}

/**
 * Hugging Face's router of inference providers.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function huggingface(options: CompatibleOptions = {}): Provider {
  return compatible('huggingface', { name: 'huggingface', target: 'https://router.huggingface.co' }, options);
}
