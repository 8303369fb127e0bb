import type { IncomingMessage, ServerResponse } from 'node:http';
import { readText } from '../clients/http.js';
import { signal } from '../watch/wait.js';
import { eventStream, upstream } from './upstreams.js';

/** A streamed answer that the test gives, token by token. */
interface ProviderStream {
  /** What was asked. */
  headers: IncomingMessage['headers'];
  body: { model: string; stream?: boolean };
  token(text: string): void;
  /** With all that a whole answer ends with. */
  end(): void;
  /** In the middle of it. */
  die(): void;
  /** Resolves when the connection of this answer has closed, or the answer has ended. */
  closed: Promise<void>;
}

export interface ChatProvider {
  url: string;
  /** Resolves with the next streamed answer to give. */
  nextStream(): Promise<ProviderStream>;
}

/** Answers without a stream, by model. */
const ERRORS: Record<string, { status: number; headers: Record<string, string>; body: object }> = {
  limited: {
    status: 429,
    headers: { 'retry-after': '7', 'x-request-id': 'req_429', 'request-id': 'req_429' },
    body: { type: 'error', error: { type: 'rate_limit_error', code: 'rate_limit', message: 'Too many.', param: null } },
  },
  broken: {
    status: 500,
    headers: { 'x-request-id': 'req_500', 'request-id': 'req_500' },
    body: { type: 'error', error: { type: 'api_error', code: 'oops', message: 'Broken.', param: null } },
  },
};

const sse = (event: { type?: string; [field: string]: unknown }): string =>
  `${event.type === undefined ? '' : `event: ${event.type}\n`}data: ${JSON.stringify(event)}\n\n`;

/** A stand-in for OpenAI's Chat Completions and Anthropic's Messages. */
export async function chatProvider(): Promise<ChatProvider> {
  const ready: ProviderStream[] = [];
  const waiting: ((stream: ProviderStream) => void)[] = [];
  const { url } = await upstream(async (req, res) => {
    const body = JSON.parse(await readText(req)) as ProviderStream['body'];
    const error = ERRORS[body.model];
    if (error !== undefined) {
      res.writeHead(error.status, { ...error.headers, 'content-type': 'application/json' });
      res.end(JSON.stringify(error.body));
      return;
    }
    const speak = req.url === '/v1/messages' ? anthropic : openai;
    if (body.stream !== true) {
      res.setHeader('content-type', 'application/json').end(JSON.stringify(speak(body.model).whole));
      return;
    }
    const stream = streamOf(req, res, body, speak(body.model));
    const resolve = waiting.shift();
    if (resolve === undefined) ready.push(stream);
    else resolve(stream);
  });
  return {
    url,
    nextStream: () =>
      new Promise((resolve) => {
        const stream = ready.shift();
        if (stream === undefined) waiting.push(resolve);
        else resolve(stream);
      }),
  };
}

interface Dialect {
  start: string;
  token(text: string): string;
  end: string;
  whole: object;
}

function streamOf(
  req: IncomingMessage,
  res: ServerResponse,
  body: ProviderStream['body'],
  dialect: Dialect,
): ProviderStream {
  const closed = signal();
  res.once('close', closed.resolve);
  eventStream(res).write(dialect.start);
  return {
    headers: req.headers,
    body,
    token: (text) => void res.write(dialect.token(text)),
    end: () => void res.end(dialect.end),
    die: () => void res.destroy(),
    closed: closed.promise,
  };
}

function openai(model: string): Dialect {
  const head = { id: 'chatcmpl-1', created: 1, model };
  const chunk = (delta: object, finish: string | null = null): string =>
    sse({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] });
  const message = { role: 'assistant', content: 'Hello' };
  return {
    start: chunk({ role: 'assistant', content: '' }),
    token: (content) => chunk({ content }),
    end: `${chunk({}, 'stop')}data: [DONE]\n\n`,
    whole: { ...head, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: 'stop' }] },
  };
}

function anthropic(model: string): Dialect {
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model, stop_reason: null, stop_sequence: null };
  const usage = { input_tokens: 3, output_tokens: 1 };
  const content_block = { type: 'text', text: '' };
  return {
    start:
      sse({ type: 'message_start', message: { ...message, content: [], usage } }) +
      sse({ type: 'content_block_start', index: 0, content_block }),
    token: (text) => sse({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }),
    end:
      sse({ type: 'content_block_stop', index: 0 }) +
      sse({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } }) +
      sse({ type: 'message_stop' }),
    whole: { ...message, stop_reason: 'end_turn', content: [{ type: 'text', text: 'Hello' }], usage },
  };
}
