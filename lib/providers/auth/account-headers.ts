/**
 * Response headers that tell of the account. All of them are withheld by each of the providers here, since any vendor may be behind a
 * gateway, or behind an API that is compatible with another's.
 */
export const ACCOUNT_HEADERS = ['openai-organization', 'openai-project', 'anthropic-organization-id'] as const;
