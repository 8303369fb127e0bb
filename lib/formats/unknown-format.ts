import type { EventFormat } from './format.js';

/** Of a stream whose media type says nothing of events: none is found in it. */
export const unknownFormat: EventFormat = {
  mediaTypes: [],
  isText: false,
  endsWithStream: false,
  scanner: () => () => -1,
  parser: () => () => undefined,
};
