import type { EventFields } from '../types/hooks.js';
import { TailBoundary } from './event-boundary.js';
import { assertText, type EventFormat, ParsedEvent } from './format.js';

const LF = 0x0a;

/** Newline-delimited JSON: an event is a line, and has `data` only. The last line may lack its line end. */
export const ndjson: EventFormat = {
  mediaTypes: [
    ...['application/x-ndjson', 'application/ndjson', 'application/jsonl', 'application/x-jsonl'],
    ...['application/jsonlines', 'application/x-jsonlines', 'application/json-lines', 'application/stream+json'],
  ],
  isText: true,
  isJson: true,
  endsWithStream: true,
  scanner: () => (chunk, from) => {
    const end = chunk.indexOf(LF, from);
    return end < 0 ? -1 : end + 1;
  },
  parser: () => (block) => {
    const data = block.toString().trim();
    return data === '' ? undefined : new ParsedEvent(data);
  },
  encode({ data = '' }: EventFields) {
    assertText('data', data);
    // In JSON, line breaks between tokens are white space. Those in strings are escaped.
    return Buffer.from(data === '' ? '' : `${data.replace(/[\r\n]+/g, ' ')}\n`);
  },
  boundary: () => new TailBoundary((tail) => (tail & 0xff) === LF),
};
