import type { EventFields } from '../types/hooks.js';
import { assertText, type EventFormat, ParsedEvent } from './format.js';

const LF = 0x0a;

/** Newline-delimited JSON: an event is a line, and has nothing but `data`. The last line may lack its line end. */
export const ndjson: EventFormat = {
  scanner: () => (chunk, from) => {
    const end = chunk.indexOf(LF, from);
    return end < 0 ? -1 : end + 1;
  },
  parser: () => (block) => {
    const data = block.trim();
    return data === '' ? undefined : new ParsedEvent(data);
  },
  encode({ data = '' }: EventFields) {
    assertText('data', data);
    // In JSON, line breaks are white space: those in strings are escaped.
    return data === '' ? '' : `${data.replace(/[\r\n]+/g, ' ')}\n`;
  },
  isBoundary: (tail) => (tail & 0xff) === LF,
  endsWithStream: true,
};
