import { createParser } from 'eventsource-parser';
import type { EventFields } from '../types/hooks.js';
import { TailBoundary } from './event-boundary.js';
import { assertText, type EventFormat, LINE_END, ParsedEvent } from './format.js';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DATA = Buffer.from('data:');

/**
 * Server-Sent Events (WHATWG HTML, 9.2). A block ends with a blank line; lines end in LF, CR or CRLF, also when a CRLF is
 * split over two chunks. An event that is unfinished at the end of the stream is none.
 */
export const sse: EventFormat = {
  mediaTypes: ['text/event-stream'],
  isText: true,
  endsWithStream: false,
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
  /** The chunk, where it is without CR, as nearly all are: Node finds the line ends in it many times faster. */
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
      // An LF that comes in the next chunk is a block by itself: it does not wait for the next event, nor belong to it.
      afterCr = false;
      return byte === CR && chunk[i + 1] === LF ? i + 2 : i + 1;
    }
    return -1;
  };
}

/** Behind the first blank line; -1 where there is none. In a chunk without CR. */
function endOfBlock(chunk: Buffer, from: number, atLineStart: boolean): number {
  if (atLineStart && chunk[from] === LF) return from + 1;
  for (let i = chunk.indexOf(LF, from); i >= 0; i = chunk.indexOf(LF, i + 1)) if (chunk[i + 1] === LF) return i + 2;
  return -1;
}

/** Most blocks are one line of data. These are read here, and all others by `eventsource-parser`. */
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

/** The event of a block that is `data:`, text without line breaks, and a blank line; `undefined` for any other block. */
function lineOfData(block: Buffer): ParsedEvent | undefined {
  const end = block.length - 2;
  if (block[end + 1] !== LF || block[end] !== LF) return undefined;
  for (let i = 0; i < DATA.length; i += 1) if (block[i] !== DATA[i]) return undefined;
  const text = block.toString('utf8', block[DATA.length] === SPACE ? DATA.length + 1 : DATA.length, end);
  return text.includes('\n') || text.includes('\r') ? undefined : new ParsedEvent(text);
}

/** @param isStart its first block is the stream's, which may begin with a byte order mark */
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
      // More digits than a number has could not be written again.
      if (Number.isSafeInteger(milliseconds)) retry = milliseconds;
    },
  });
  // A blank line, which is no event, but is not the start.
  if (!isStart) inner.feed('\n');
  return (block) => {
    event = comment = retry = undefined;
    inner.feed(block);
    return event;
  };
}

/** Without `data` it is a block that no client takes for an event: a comment, or a new `id` or `retry`. */
function encode({ comment, event, id, retry, data }: EventFields): string {
  let block = '';
  // In front, as is common: the Google GenAI SDK takes what follows `data:` up to the blank line for JSON.
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
  // The specification has clients ignore an `id` with NUL.
  if (name === 'id' && value.includes('\0')) throw new TypeError('`id` of an event must not have NUL in it');
  return `${name}: ${value}\n`;
}

/** Behind a blank line. A stream that has not begun counts as such: its tail is all line ends. */
function isBoundary(tail: number): boolean {
  const last = tail & 0xff;
  const before = (tail >>> 8) & 0xff;
  const third = (tail >>> 16) & 0xff;
  if (last !== LF && last !== CR) return false;
  // Half of a CRLF, most likely: not every client would understand what went in between.
  if (last === CR && before === LF && third === CR) return false;
  const previous = last === LF && before === CR ? third : before;
  return previous === LF || previous === CR;
}
