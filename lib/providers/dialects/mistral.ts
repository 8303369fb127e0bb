import type { StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure } from '../../types/provider.js';
import type { Dialect } from './dialect.js';
import { openaiDialect } from './openai.js';
import { errorIn } from './openai-errors.js';

/** Mistral's answers are OpenAI's, its errors are not: without an `error` around them, and with codes that are strings. */
export const mistralDialect: Dialect = {
  ...openaiDialect,
  variantOf: openaiDialect,
  errorBody: ({ message, code }: ProviderFailure) => ({ ...ERROR, message, type: 'proxy_error', code }),
  errorBodyOf,
};

/** Clients that check it, such as the AI SDK's, show no message where one of these members is missing. */
const ERROR = { object: 'error', message: '', type: '', param: null, code: null };

function errorBodyOf(event: StreamEvent): object | undefined {
  const error = errorIn(event);
  if (error === undefined) return undefined;
  const { message, type, param, code } = error;
  const text = (value: unknown): string | null => (value === null || value === undefined ? null : String(value));
  return { ...ERROR, message, type, param: text(param), code: text(code) };
}
