/**
 * What the vendors' responses say of the account. All of them with every provider that is made here: behind a gateway, or an API that is
 * compatible with another's, may be any of them.
 */
export const ACCOUNT_HEADERS = ['openai-organization', 'openai-project', 'anthropic-organization-id'] as const;
