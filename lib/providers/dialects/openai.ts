import type { StreamEvent } from '../../types/hooks.js';
import type { Reading } from '../../types/provider.js';
import { isMoreOfTheSame, readChat } from './chat.js';
import type { Dialect } from './dialect.js';
import { member } from './figures.js';
import { errorBody, errorBodyOf, errorEvent, errorStatus } from './openai-errors.js';
import { readResponse, readResponsesEvent } from './responses.js';

/** OpenAI: Chat Completions, Completions, Responses, and what else of its API answers with a `usage` object. */
export const openaiDialect: Dialect = { read, errorEvent, errorBody, errorBodyOf, errorStatus };

/** An answer says of itself what it is. */
function read(event: StreamEvent, reading: Reading): void {
  if (isMoreOfTheSame(event, reading)) return;
  // No JSON: the exception would cost more than all the rest of the chunk.
  if (event.data === '[DONE]') {
    readChat(event, reading);
    return;
  }
  const payload = event.json();
  const type = member(payload, 'type');
  if (typeof type === 'string' && type.startsWith('response.')) readResponsesEvent(type, payload, reading);
  else if (member(payload, 'object') === 'response') readResponse(payload, reading, false);
  else readChat(event, reading);
}
