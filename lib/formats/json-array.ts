import { type EventFormat, ParsedEvent } from './format.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = new Set([0x5b, 0x7b]);
const CLOSE = new Set([0x5d, 0x7d]);

/** A JSON array that is streamed element by element: each object or array in it is an event. */
export const jsonArray: EventFormat = {
  mediaTypes: ['application/json'],
  isText: true,
  isJson: true,
  endsWithStream: false,
  scanner() {
    let depth = 0;
    let inString = false;
    let escaped = false;
    return (chunk, from) => {
      for (let i = from; i < chunk.length; i += 1) {
        const byte = chunk[i] as number;
        if (inString) {
          if (escaped) escaped = false;
          else if (byte === BACKSLASH) escaped = true;
          else if (byte === QUOTE) inString = false;
        } else if (byte === QUOTE) inString = true;
        else if (OPEN.has(byte)) depth += 1;
        else if (CLOSE.has(byte)) {
          depth -= 1;
          if (depth === 1) return i + 1;
        }
      }
      return -1;
    };
  },
  parser() {
    // The array's bracket precedes the first element, a comma each of the others. JSON that is no array has no events.
    // Of an array whose first elements are too large to be read, the first that is seen has the comma.
    let expected = /^(?:\[|,\s*[[{])/;
    return (block) => {
      const text = block.toString().trim();
      if (!expected.test(text)) return undefined;
      expected = /^,/;
      return new ParsedEvent(text.slice(1).trimStart());
    };
  },
};
