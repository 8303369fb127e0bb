export type { Provider, ProviderFailure, Reading, RequestEdit, Usage } from '../types.js';
export { type AnthropicOptions, anthropic } from './anthropic.js';
export type { ApiKey, ProviderOptions } from './api-key.js';
export { gemini } from './gemini.js';
export { mistral } from './mistral.js';
export { type OllamaOptions, ollama } from './ollama.js';
export { type OpenAICompatibleOptions, type OpenAIOptions, openai, openaiCompatible } from './openai.js';
