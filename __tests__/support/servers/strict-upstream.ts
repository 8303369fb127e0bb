import type { Socket } from 'node:net';
import { rawUpstream } from './upstreams.js';

export interface Message {
  /** The request line, or the status line. */
  start: string;
  /** With names in lower case. */
  fields: [name: string, value: string][];
  body: string;
}

/** Whole messages, and what is left of the bytes: the beginning of another one. */
export interface MessageReading {
  messages: Message[];
  rest: string;
}

type Read = (bytes: string) => { message: Message; size: number } | undefined;

function readAllMessages(bytes: string, read: Read): MessageReading {
  const messages: Message[] = [];
  let rest = bytes;
  for (let found = read(rest); found !== undefined; found = read(rest)) {
    messages.push(found.message);
    rest = rest.slice(found.size);
  }
  return { messages, rest };
}

/** The values of the lines of one field. */
export function valuesOf({ fields }: Message, name: string): string[] {
  return fields.filter(([each]) => each === name).map(([, value]) => value);
}

// --- to the letter ----------------------------------------------------------------------------------------------------

const REQUEST_LINE = /^[\w!#$%&'*+.^`|~-]+ [!-~]+ HTTP\/1\.1$/;

const STATUS_LINE = /^HTTP\/1\.1 [1-9]\d\d [\t -~\x80-\xff]*$/;

const FIELD_LINE = /^([\w!#$%&'*+.^`|~-]+):[\t ]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[\t ]*$/;

const CODINGS = /^(?:gzip, )?chunked$/;

/**
 * The requests in these bytes, by RFC 9112 to the letter.
 *
 * @throws {Error} for anything else
 */
export function readStrictly(bytes: string): MessageReading {
  let isLast = false;
  return readAllMessages(bytes, (rest) => {
    if (isLast && rest !== '') throw new Error(`behind Connection: close: ${JSON.stringify(rest)}`);
    const found = readStrictMessage(rest, REQUEST_LINE, () => undefined);
    if (found === undefined) return undefined;
    if (valuesOf(found.message, 'host').length !== 1) throw new Error(`not one Host: ${JSON.stringify(rest)}`);
    isLast = valuesOf(found.message, 'connection').includes('close');
    return found;
  });
}

/** The same for responses to a request with this method; a body that the end of the connection ends is never whole. */
export function readResponsesStrictly(bytes: string, method = 'GET'): MessageReading {
  return readAllMessages(bytes, (rest) =>
    readStrictMessage(rest, STATUS_LINE, (start) =>
      method === 'HEAD' || /^HTTP\/1\.1 (1|204|304)/.test(start) ? 'no body' : 'unframed',
    ),
  );
}

function readStrictMessage(
  bytes: string,
  startLine: RegExp,
  bodyOf: (start: string) => 'no body' | 'unframed' | undefined,
): ReturnType<Read> {
  const headSize = bytes.indexOf('\r\n\r\n') + 4;
  if (headSize < 4) return undefined;
  const [start = '', ...lines] = bytes.slice(0, headSize - 4).split('\r\n');
  if (!startLine.test(start)) throw new Error(`not a first line: ${JSON.stringify(start)}`);
  const fields = lines.map((line): [string, string] => {
    const [, name, value = ''] = FIELD_LINE.exec(line) ?? [];
    if (name === undefined) throw new Error(`not a field: ${JSON.stringify(line)}`);
    return [name.toLowerCase(), value];
  });
  const message = { start, fields, body: '' };
  const kind = bodyOf(start);
  if (kind === 'no body') return { message, size: headSize };
  const lengths = valuesOf(message, 'content-length');
  const codings = valuesOf(message, 'transfer-encoding');
  if (lengths.length + codings.length > 1) throw new Error(`framed more than once: ${JSON.stringify(bytes)}`);
  if (codings.some((coding) => !CODINGS.test(coding)) || lengths.some((length) => !/^\d+$/.test(length))) {
    throw new Error(`not framed: ${JSON.stringify(bytes)}`);
  }
  if (codings.length === 0 && lengths.length === 0 && kind === 'unframed') return undefined;
  const body = codings.length > 0 ? strictChunks(bytes, headSize) : ofLength(bytes, headSize, Number(lengths[0] ?? 0));
  return body === undefined ? undefined : { message: { ...message, body: body.text }, size: body.end };
}

function ofLength(bytes: string, start: number, length: number): { text: string; end: number } | undefined {
  const end = start + length;
  return end > bytes.length ? undefined : { text: bytes.slice(start, end), end };
}

function strictChunks(bytes: string, start: number): { text: string; end: number } | undefined {
  let text = '';
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = bytes.slice(at, lineEnd);
    const chunk = ofLength(bytes, lineEnd + 2, Number.parseInt(size, 16));
    if (chunk === undefined || chunk.end + 2 > bytes.length) return undefined;
    if (!/^[\da-f]+$/i.test(size) || bytes.slice(chunk.end, chunk.end + 2) !== '\r\n') {
      if (/^0+$/.test(size)) return trailers(bytes, text, lineEnd + 2);
      throw new Error(`not a chunk: ${JSON.stringify(bytes.slice(at))}`);
    }
    at = chunk.end + 2;
    if (chunk.text === '') return { text, end: at };
    text += chunk.text;
  }
}

function trailers(bytes: string, text: string, start: number): { text: string; end: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n', start);
  if (end < 0) return undefined;
  for (const line of bytes.slice(start, end).split('\r\n')) {
    if (!FIELD_LINE.test(line) || /^(?:content-length|transfer-encoding|host):/i.test(line)) {
      throw new Error(`not a trailer: ${JSON.stringify(line)}`);
    }
  }
  return { text, end: end + 4 };
}

// --- as old and careless servers do ---------------------------------------------------------------------------------

/** The requests in these bytes, for one who takes all that has some resemblance to a request. */
function readLeniently(bytes: string): MessageReading {
  return readAllMessages(bytes, (all) => {
    const skipped = /^[\r\n]*/.exec(all)?.[0].length ?? 0;
    const head = /^[\s\S]*?(?:\r?\n\r?\n|\r\r)/.exec(all.slice(skipped))?.[0];
    if (head === undefined) return undefined;
    const [start = '', ...lines] = head
      .replace(/(?:\r\n|\r|\n)[\t ]+/g, ' ')
      .split(/\r\n|\r|\n/)
      .filter((line) => line !== '');
    const fields = lines.map((line): [string, string] => {
      const [name = '', ...value] = line.split(':');
      return [name.trim().toLowerCase(), value.join(':').trim()];
    });
    const message = { start, fields, body: '' };
    const from = skipped + head.length;
    const [length] = valuesOf(message, 'content-length');
    const isChunked = valuesOf(message, 'transfer-encoding').some((value) => /chunked/i.test(value));
    const size = Number.parseInt(length ?? '0', 10) || 0;
    const body = length === undefined && isChunked ? lenientChunks(all, from) : ofLength(all, from, size);
    return body === undefined ? undefined : { message: { ...message, body: body.text }, size: body.end };
  });
}

function lenientChunks(bytes: string, start: number): { text: string; end: number } | undefined {
  let text = '';
  for (let rest = bytes.slice(start); ; ) {
    const [line, size] = /^[\t ]*(?:0x)?([\da-f]*)[^\n]*\n/i.exec(rest) ?? [];
    if (line === undefined) return undefined;
    const chunk = ofLength(rest, line.length, Number.parseInt(size || '0', 16));
    const lineEnd = chunk === undefined ? undefined : /^\r?\n?/.exec(rest.slice(chunk.end))?.[0];
    if (chunk === undefined || lineEnd === undefined || rest.length === chunk.end) return undefined;
    rest = rest.slice(chunk.end + lineEnd.length);
    if (chunk.text === '') return { text, end: bytes.length - rest.length };
    text += chunk.text;
  }
}

// --- the upstream that reads in both ways ---------------------------------------------------------------------------

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

export interface ReadingUpstream {
  url: string;
  /** What has come over each connection, in the order in which they were made. */
  connections: { bytes: string; closed: Promise<void> }[];
  /**
   * The requests that came in whole, by both readings, which must be the same. Waits until the proxy has closed the
   * connections on which more has come than that.
   */
  requests(): Promise<Message[]>;
}

/** An upstream that keeps the bytes that come, and answers each request that is whole. */
export async function readingUpstream(answer: (request: Message) => string = () => OK): Promise<ReadingUpstream> {
  const connections: ReadingUpstream['connections'] = [];
  const known = new Map<Socket, { bytes: string; closed: Promise<void>; answered: number }>();
  const { url } = await rawUpstream((socket, bytes) => {
    let connection = known.get(socket);
    if (connection === undefined) {
      const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
      connection = { bytes: '', closed, answered: 0 };
      known.set(socket, connection);
      connections.push(connection);
    }
    connection.bytes += bytes;
    // By the careless reading: what one of the two takes for a request is answered.
    for (const request of readLeniently(connection.bytes).messages.slice(connection.answered)) {
      connection.answered += 1;
      socket.write(answer(request), 'latin1');
    }
  });
  return {
    url,
    connections,
    async requests() {
      const all: Message[] = [];
      for (const connection of connections) {
        if (readLeniently(connection.bytes).rest !== '') await connection.closed;
        const { messages } = readStrictly(connection.bytes);
        const { messages: others } = readLeniently(connection.bytes);
        if (JSON.stringify(others) !== JSON.stringify(messages)) {
          throw new Error(`read differently: ${JSON.stringify(connection.bytes)}`);
        }
        all.push(...messages);
      }
      return all;
    },
  };
}
