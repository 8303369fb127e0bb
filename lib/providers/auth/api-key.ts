import { validateHeaderValue } from 'node:http';
import { SseProxyError } from '../../errors.js';
import type { Exchange } from '../../types/hooks.js';
import type { Provider } from '../../types/provider.js';

/**
 * The provider's key, or a function that gives one per exchange, also as a promise. `false` if the provider is there to read responses
 * only: the caller's own credentials pass, and none are added.
 */
export type ApiKey = string | false | ((exchange: Exchange) => string | undefined | Promise<string | undefined>);

/** Options that the providers have in common. */
export interface ProviderOptions {
  /** The address of the API. Default: the vendor's own. For a gateway, or a stand-in in a test. */
  target?: string;
  /**
   * Default: the environment variable that the vendor's own SDK reads, such as `OPENAI_API_KEY`, as it is when the provider is made. A
   * `TypeError` where that is missing, too, and for `''`.
   */
  apiKey?: ApiKey | undefined;
}

/** Where the vendors' own SDKs look for a key. */
const VARIABLES = new Map([
  ['openai', 'OPENAI_API_KEY'],
  ['anthropic', 'ANTHROPIC_API_KEY'],
  ['gemini', 'GEMINI_API_KEY'],
  ['mistral', 'MISTRAL_API_KEY'],
  ['ollama', 'OLLAMA_API_KEY'],
  ['cohere', 'CO_API_KEY'],
  ['azureOpenAI', 'AZURE_OPENAI_API_KEY'],
  ['openrouter', 'OPENROUTER_API_KEY'],
  ['deepseek', 'DEEPSEEK_API_KEY'],
  ['groq', 'GROQ_API_KEY'],
  ['xai', 'XAI_API_KEY'],
  ['together', 'TOGETHER_API_KEY'],
  ['fireworks', 'FIREWORKS_API_KEY'],
  ['perplexity', 'PERPLEXITY_API_KEY'],
  ['cerebras', 'CEREBRAS_API_KEY'],
  ['moonshot', 'MOONSHOT_API_KEY'],
  ['huggingface', 'HF_TOKEN'],
  ['bedrock', 'AWS_BEARER_TOKEN_BEDROCK'],
]);

/**
 * The `credentials` of a provider whose requests carry a key in a header.
 *
 * @param given `undefined` for that of the vendor's environment variable
 * @throws {TypeError} if the key is missing, or has characters that no header can have; the key is not quoted
 */
export function keyIn(
  name: string,
  field: (key: string) => Record<string, string>,
  given: ApiKey | undefined,
): Pick<Provider, 'credentials'> {
  const variable = VARIABLES.get(name);
  const apiKey = given ?? (variable === undefined ? undefined : process.env[variable]);
  if (apiKey === false) return {};
  if (typeof apiKey === 'function') {
    return {
      async credentials(exchange) {
        const key = await apiKey(exchange);
        if (typeof key !== 'string' || key === '') throw new SseProxyError('CREDENTIALS_MISSING');
        return checked(name, field(key));
      },
    };
  }
  if (typeof apiKey !== 'string' || apiKey === '') {
    // A provider of no vendor has no variable that could be named.
    const question = variable === undefined ? '' : `. Is the environment variable ${variable} set?`;
    throw new TypeError(
      `${name}() needs \`apiKey\`: a string, a function that returns one, or false for the caller's own${question}`,
    );
  }
  const fields = checked(name, field(apiKey));
  return { credentials: () => fields };
}

/** The same for a server that asks for no key unless it was set up to: without one, no credentials travel. */
export function optionalKeyIn(name: string, given: ApiKey | undefined): Pick<Provider, 'credentials'> {
  return given === undefined ? { credentials: () => ({}) } : keyIn(name, bearer, given);
}

function checked(name: string, fields: Record<string, string>): Record<string, string> {
  try {
    for (const [header, value] of Object.entries(fields)) validateHeaderValue(header, value);
  } catch {
    throw new TypeError(
      `\`apiKey\` of ${name}() has characters that a header field cannot have: a line break at its end?`,
    );
  }
  return fields;
}

export function bearer(key: string): Record<string, string> {
  return { authorization: `Bearer ${key}` };
}
