/**
 * The APIs that the proxy knows: where they are, how to authenticate, how they count, and how they say that
 * something went wrong.
 *
 * @module express-sse-proxy/providers
 */

export type { EventData, EventFormat, StreamBoundary } from '../types/format.js';
export type { Provider, ProviderFailure, Reading, RequestEdit, RequestToSign } from '../types/provider.js';
export type { Usage } from '../types/summary.js';
export { type AnthropicOptions, anthropic } from './anthropic.js';
export type { ApiKey, ProviderOptions } from './auth/api-key.js';
export type { AwsCredentials, AwsCredentialsSource } from './auth/aws-signature.js';
export type { AccessToken, TokenSource } from './auth/bearer-token.js';
export { type AzureOpenAIOptions, azureOpenAI } from './azure-openai.js';
export { type BedrockOptions, bedrock } from './bedrock.js';
export { cohere } from './cohere.js';
export {
  type CompatibleOptions,
  cerebras,
  deepseek,
  fireworks,
  groq,
  huggingface,
  moonshot,
  openrouter,
  perplexity,
  together,
  xai,
} from './compatible.js';
export { gemini } from './gemini.js';
export { type LocalOptions, llamaCpp, lmStudio, vllm } from './local.js';
export { mistral } from './mistral.js';
export { type OllamaOptions, ollama } from './ollama.js';
export { type OpenAICompatibleOptions, type OpenAIOptions, openai, openaiCompatible } from './openai.js';
export { type VertexOptions, vertex } from './vertex.js';
