/** Event streams as they are found in the wild, and as the specification allows them. */
export interface Fixture {
  name: string;
  contentType: string;
  bytes: Buffer;
}

function fixture(name: string, text: string, contentType = 'text/event-stream'): Fixture {
  return { name, contentType, bytes: Buffer.from(text) };
}

const openai = [
  'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}',
  'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
  'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
  'data: [DONE]',
]
  .map((line) => `${line}\n\n`)
  .join('');

const anthropic = [
  ['message_start', '{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":9}}}'],
  ['ping', '{"type":"ping"}'],
  ['content_block_delta', '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}'],
  ['message_delta', '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}'],
  ['message_stop', '{"type":"message_stop"}'],
]
  .map(([event, data]) => `event: ${event}\ndata: ${data}\n\n`)
  .join('');

const emoji = 'data: 🙂 👩‍👩‍👧‍👦 🇩🇪\n\ndata: e\u0301 \u{1f468}\u{1f3fd}\u200d\u{1f680}\n\n';

const cjk = 'event: 消息\ndata: 你好，世界。こんにちは。안녕하세요\nid: 序号一\n\n';

export const FIXTURES: readonly Fixture[] = [
  fixture('OpenAI chunks', openai),
  fixture('Anthropic events', anthropic),
  fixture('a byte order mark', '\ufeffdata: after the mark\n\ndata: \ufeffnot at the start\n\n'),
  fixture('comments', ': ping\n\n:\n\ndata: 1\n: between the lines\ndata: 2\n\n:no space\n\n'),
  fixture('LF', 'event: a\ndata: 1\nid: 1\n\n\n\ndata: 2\n\n'),
  fixture('CR', 'event: a\rdata: 1\rid: 1\r\r\r\rdata: 2\r\r'),
  fixture('CRLF', 'event: a\r\ndata: 1\r\nid: 1\r\n\r\n\r\n\r\ndata: 2\r\n\r\n'),
  fixture('mixed line ends', 'data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\n\rdata: 5\r\r\nretry: 10\n\n'),
  fixture('several data lines', 'data: first\ndata:second\ndata\ndata:\ndata:  two spaces\n\n'),
  fixture('emoji', emoji),
  fixture('CJK', cjk),
  fixture('an unfinished last event', 'data: whole\n\ndata: not finis'),
  fixture('bytes that are not UTF-8', 'data: \0\n\n'),
  fixture('NDJSON', '{"response":"Hé","done":false}\n{"response":"🙂","done":true}\r\n', 'application/x-ndjson'),
].map((entry) =>
  entry.name === 'bytes that are not UTF-8'
    ? { ...entry, bytes: Buffer.concat([entry.bytes, Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x80, 0x0a, 0x0a])]) }
    : entry,
);
