import { createParser } from 'eventsource-parser';
import type { EventFields } from '../types/hooks.js';
import { TailBoundary } from './event-boundary.js';
import { assertText, type EventFormat, LINE_END, ParsedEvent } from './format.js';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DATA = Buffer.from('data:');

/**
 * Server-Sent Events (WHATWG HTML, 9.2). A block ends with a blank line. Lines end in LF, CR or CRLF, also if a CRLF is split over two
 * chunks. An event that is incomplete at the end of the stream is discarded.
 */
export const sse: EventFormat = {
  mediaTypes: ['text/event-stream'],
  isText: true,
  isJson: true,
  endsWithStream: false,
  ending: Buffer.from('\n\n'),
  scanner,
  parser,
  encode: (fields) => Buffer.from(encode(fields)),
  // EventSource ignores comments (WHATWG HTML, 9.2.6).
  encodeComment: (comment) => Buffer.from(encode({ comment })),
  boundary: () => new TailBoundary(isBoundary),
};

function scanner(): (chunk: Buffer, from: number) => number {
  let atLineStart = true;
  let afterCr = false;
  /** The chunk, if it has no CR, as nearly all have none: then `indexOf` finds its line ends, which is many times faster. */
  let plain: Buffer | undefined;
  return (chunk, from) => {
    if (from === 0) plain = !afterCr && chunk.indexOf(CR) < 0 ? chunk : undefined;
    if (plain === chunk) {
      const end = endOfBlock(chunk, from, atLineStart);
      if (from < chunk.length) atLineStart = end >= 0 || chunk[chunk.length - 1] === LF;
      if (end < 0) plain = undefined;
      return end;
    }
    for (let i = from; i < chunk.length; i += 1) {
      const byte = chunk[i];
      if (byte !== LF && byte !== CR) {
        atLineStart = false;
        afterCr = false;
        continue;
      }
      const endsCrLf = byte === LF && afterCr;
      afterCr = byte === CR;
      if (endsCrLf) continue;
      if (!atLineStart) {
        atLineStart = true;
        continue;
      }
      // An LF at the start of the next chunk is a block by itself: it does not wait for the next event, and does not belong to it.
      afterCr = false;
      return byte === CR && chunk[i + 1] === LF ? i + 2 : i + 1;
    }
    return -1;
  };
}

/** The index after the first blank line, or -1, in a chunk without CR. */
function endOfBlock(chunk: Buffer, from: number, atLineStart: boolean): number {
  if (atLineStart && chunk[from] === LF) return from + 1;
  for (let i = chunk.indexOf(LF, from); i >= 0; i = chunk.indexOf(LF, i + 1)) if (chunk[i + 1] === LF) return i + 2;
  return -1;
}

/** Most blocks are one line of data. Those are read here, which is faster, and all others by `eventsource-parser`. */
function parser(): (block: Buffer) => ParsedEvent | undefined {
  let parseAny: ((block: string) => ParsedEvent | undefined) | undefined;
  let isStart = true;
  return (block) => {
    const event = lineOfData(block);
    if (event === undefined) parseAny ??= anyParser(isStart);
    isStart = false;
    return event ?? parseAny?.(block.toString());
  };
}

/** The event of a block that is one `data:` line and a blank line, both ended by LF; `undefined` for any other block. */
function lineOfData(block: Buffer): ParsedEvent | undefined {
  const end = block.length - 2;
  if (block[end + 1] !== LF || block[end] !== LF) return undefined;
  for (let i = 0; i < DATA.length; i += 1) if (block[i] !== DATA[i]) return undefined;
  const text = block.toString('utf8', block[DATA.length] === SPACE ? DATA.length + 1 : DATA.length, end);
  return text.includes('\n') || text.includes('\r') ? undefined : new ParsedEvent(text);
}

/** @param isStart its first block is the first of the stream, which may begin with a byte order mark */
function anyParser(isStart: boolean): (block: string) => ParsedEvent | undefined {
  let event: ParsedEvent | undefined;
  let comment: string | undefined;
  let retry: number | undefined;
  const inner = createParser({
    onEvent: (message) => {
      event = new ParsedEvent(message.data, message.event, message.id, retry, comment);
    },
    onComment: (line) => {
      comment = comment === undefined ? line : `${comment}\n${line}`;
    },
    onRetry: (milliseconds) => {
      // A larger number loses digits, and could not be written again.
      if (Number.isSafeInteger(milliseconds)) retry = milliseconds;
    },
  });
  // A blank line is no event, and ends the start of the stream for the parser.
  if (!isStart) inner.feed('\n');
  return (block) => {
    event = comment = retry = undefined;
    inner.feed(block);
    return event;
  };
}

/** Without `data` the block is no event for any client, but a comment, or a new `id` or `retry`. */
function encode({ comment, event, id, retry, data }: EventFields): string {
  let block = '';
  // Comments come first, as is common: the Google GenAI SDK takes all that follows `data:`, up to the blank line, for JSON.
  if (comment !== undefined) block += lines(':', 'comment', comment);
  if (event !== undefined && event !== '') block += line('event', event);
  if (id !== undefined) block += line('id', id);
  if (retry !== undefined) {
    if (!Number.isSafeInteger(retry) || retry < 0) {
      throw new TypeError('`retry` of an event must be a whole number of milliseconds, 0 or more');
    }
    block += `retry: ${retry}\n`;
  }
  if (data !== undefined) block += lines('data:', 'data', data);
  return `${block}\n`;
}

function lines(prefix: string, name: string, text: unknown): string {
  assertText(name, text);
  if (!text.includes('\n') && !text.includes('\r')) return `${prefix} ${text}\n`;
  return text
    .split(LINE_END)
    .map((part) => `${prefix} ${part}\n`)
    .join('');
}

function line(name: string, value: unknown): string {
  assertText(name, value);
  if (LINE_END.test(value)) throw new TypeError(`\`${name}\` of an event must not have line breaks`);
  // Clients ignore an `id` with NUL (WHATWG HTML, 9.2.6).
  if (name === 'id' && value.includes('\0')) throw new TypeError('`id` of an event must not have NUL in it');
  return `${name}: ${value}\n`;
}

/** Whether the stream ends in a blank line. Before the start its tail is all line ends, so that the start counts, too. */
function isBoundary(tail: number): boolean {
  const last = tail & 0xff;
  const before = (tail >>> 8) & 0xff;
  const third = (tail >>> 16) & 0xff;
  if (last !== LF && last !== CR) return false;
  // Most likely half of a CRLF: not every client would understand something in between.
  if (last === CR && before === LF && third === CR) return false;
  const previous = last === LF && before === CR ? third : before;
  return previous === LF || previous === CR;
}
