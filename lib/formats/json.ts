import { type EventFormat, ParsedEvent } from './format.js';

/** A JSON body: one event, which is all of it. */
export const json: EventFormat = {
  mediaTypes: ['application/json'],
  isText: true,
  isJson: true,
  endsWithStream: true,
  scanner: () => () => -1,
  parser: () => (block) => new ParsedEvent(block.toString()),
};
