/** @typedef {{ role: 'user' | 'assistant', content: string }} Turn */
/** @typedef {{ text?: string, tokens?: number, error?: string, end?: true }} Progress What one event says. */

/**
 * @typedef {object} Api
 * @property {string} path
 * @property {Record<string, string>} headers
 * @property {(model: string, messages: Turn[]) => object} body
 * @property {(event: import('./sse.js').ServerSentEvent) => Progress} read
 */

/** @type {Record<string, Api>} */
export const apis = {
  openai: {
    path: '/openai/v1/chat/completions',
    headers: {},
    body: (model, messages) => ({ model, messages, stream: true, stream_options: { include_usage: true } }),
    read({ data }) {
      if (data === '[DONE]') return { end: true };
      const chunk = JSON.parse(data);
      // The proxy's own word for a stream that broke off. The connection says so right after it, whichever is noticed first.
      if (chunk.error?.code === 'UPSTREAM_TRUNCATED') return {};
      if (chunk.error) return { error: chunk.error.message };
      return { text: chunk.choices[0]?.delta.content, tokens: chunk.usage?.completion_tokens };
    },
  },

  anthropic: {
    path: '/anthropic/v1/messages',
    headers: { 'anthropic-version': '2023-06-01' },
    body: (model, messages) => ({ model, messages, max_tokens: 4096, stream: true }),
    read({ event, data }) {
      if (event === 'message_stop') return { end: true };
      const message = JSON.parse(data);
      if (event === 'error') return { error: message.error.message };
      if (event === 'content_block_delta') return { text: message.delta.text };
      if (event === 'message_delta') return { tokens: message.usage.output_tokens };
      return {};
    },
  },
};

/** @param {Response} response an answer that is not a stream: both APIs say why in `error.message` */
export async function reason(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text.slice(0, 300) || response.statusText;
  }
}
