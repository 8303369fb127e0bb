// @ts-check
// The wire formats of the stand-in provider: one object per API, the same members in each.

/**
 * @typedef {object} Completion What one request is answered with.
 * @property {string} id
 * @property {number} created seconds since 1970
 * @property {string} model
 * @property {string[]} tokens
 * @property {boolean} cutShort `max_tokens` ended it
 * @property {number} inputTokens
 * @property {boolean} includeUsage OpenAI's `stream_options.include_usage`
 */

/** @typedef {400 | 401 | 404 | 429 | 500} ErrorStatus */

/**
 * @typedef {object} Dialect
 * @property {string} name
 * @property {(req: import('express').Request) => string | undefined} apiKey what the caller authenticates with
 * @property {(req: import('express').Request) => boolean} refusesBrowser
 * @property {string} idPrefix
 * @property {(body: Record<string, unknown>) => number | undefined} maxTokens
 * @property {(completion: Completion) => object} whole the answer without `stream: true`
 * @property {(completion: Completion) => string} head the events in front of the first token
 * @property {(completion: Completion, token: string) => string} token
 * @property {(completion: Completion) => string} tail the events behind the last token
 * @property {(status: ErrorStatus, message: string) => object} error
 * @property {() => string} streamError an error event inside a 200
 */

/** @param {unknown} value */
const positive = (value) => (typeof value === 'number' && value > 0 ? value : undefined);

/** @param {unknown} data */
const event = (data) => `data: ${JSON.stringify(data)}\n\n`;

/** @param {{ type: string, [member: string]: unknown }} data Anthropic repeats the type in the `event:` line. */
const typedEvent = (data) => `event: ${data.type}\n${event(data)}`;

/** @type {Record<ErrorStatus, { type: string, code: string | null }>} */
const OPENAI_ERRORS = {
  400: { type: 'invalid_request_error', code: null },
  401: { type: 'invalid_request_error', code: 'invalid_api_key' },
  404: { type: 'invalid_request_error', code: 'unknown_url' },
  429: { type: 'requests', code: 'rate_limit_exceeded' },
  500: { type: 'server_error', code: null },
};

/** @type {Record<ErrorStatus, string>} */
const ANTHROPIC_ERRORS = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  500: 'api_error',
};

/** @type {Dialect} */
export const openai = {
  name: 'openai',
  apiKey: (req) => req.get('authorization')?.replace(/^Bearer /i, ''),
  refusesBrowser: () => false,
  idPrefix: 'chatcmpl-',
  maxTokens: (body) => positive(body.max_completion_tokens) ?? positive(body.max_tokens),

  whole: (completion) => ({
    id: completion.id,
    object: 'chat.completion',
    created: completion.created,
    model: completion.model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: completion.tokens.join(''), refusal: null },
        logprobs: null,
        finish_reason: completion.cutShort ? 'length' : 'stop',
      },
    ],
    usage: openaiUsage(completion),
  }),

  head: (completion) => openaiChunk(completion, { role: 'assistant', content: '', refusal: null }, null),
  token: (completion, token) => openaiChunk(completion, { content: token }, null),
  tail: (completion) =>
    openaiChunk(completion, {}, completion.cutShort ? 'length' : 'stop') +
    (completion.includeUsage
      ? event({ ...openaiChunkBase(completion), choices: [], usage: openaiUsage(completion) })
      : '') +
    'data: [DONE]\n\n',

  error: (status, message) => ({ error: { message, param: null, ...OPENAI_ERRORS[status] } }),
  streamError: () =>
    event(openai.error(500, 'The server had an error while processing your request. Sorry about that!')),
};

/** @param {Completion} completion */
const openaiChunkBase = ({ id, created, model }) => ({ id, object: 'chat.completion.chunk', created, model });

/**
 * @param {Completion} completion
 * @param {object} delta
 * @param {string | null} finishReason
 */
const openaiChunk = (completion, delta, finishReason) =>
  event({
    ...openaiChunkBase(completion),
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
    ...(completion.includeUsage ? { usage: null } : {}),
  });

/** @param {Completion} completion */
const openaiUsage = ({ inputTokens, tokens }) => ({
  prompt_tokens: inputTokens,
  completion_tokens: tokens.length,
  total_tokens: inputTokens + tokens.length,
});

/** @type {Dialect} */
export const anthropic = {
  name: 'anthropic',
  apiKey: (req) => req.get('x-api-key'),
  // The real API answers a request with a browser's Origin only where this header asks for it.
  refusesBrowser: (req) =>
    req.get('origin') !== undefined && req.get('anthropic-dangerous-direct-browser-access') !== 'true',
  idPrefix: 'msg_',
  maxTokens: (body) => positive(body.max_tokens),

  whole: (completion) => ({
    ...anthropicMessage(completion),
    content: [{ type: 'text', text: completion.tokens.join('') }],
    stop_reason: completion.cutShort ? 'max_tokens' : 'end_turn',
    usage: { input_tokens: completion.inputTokens, output_tokens: completion.tokens.length },
  }),

  head: (completion) =>
    typedEvent({ type: 'message_start', message: anthropicMessage(completion) }) +
    typedEvent({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }) +
    typedEvent({ type: 'ping' }),
  token: (_completion, token) =>
    typedEvent({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: token } }),
  tail: (completion) =>
    typedEvent({ type: 'content_block_stop', index: 0 }) +
    typedEvent({
      type: 'message_delta',
      delta: { stop_reason: completion.cutShort ? 'max_tokens' : 'end_turn', stop_sequence: null },
      // Cumulative: it repeats what message_start counted.
      usage: { output_tokens: completion.tokens.length },
    }) +
    typedEvent({ type: 'message_stop' }),

  error: (status, message) => ({ type: 'error', error: { type: ANTHROPIC_ERRORS[status], message } }),
  streamError: () => typedEvent({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
};

/** @param {Completion} completion */
const anthropicMessage = ({ id, model, inputTokens }) => ({
  id,
  type: 'message',
  role: 'assistant',
  model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  usage: { input_tokens: inputTokens, output_tokens: 1 },
});
