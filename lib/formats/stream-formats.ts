import type { EventFormat } from './format.js';
import { jsonArray } from './json-array.js';
import { ndjson } from './ndjson.js';
import { sse } from './sse.js';

/** The formats whose media types alone mark a body as an event stream. */
const STREAM_FORMATS: readonly EventFormat[] = [sse, ndjson];

const BY_MEDIA_TYPE = new Map(
  STREAM_FORMATS.flatMap((format) => format.mediaTypes.map((type): [string, EventFormat] => [type, format])),
);

/** The built-in formats, by the names that a provider's `formatOf` may give. */
export const FORMATS_BY_NAME = { sse, ndjson, 'json-array': jsonArray } as const;

/** The format of a media type, given in lower case and without parameters; `undefined` if it is no event stream. */
export function formatOfType(mediaType: string): EventFormat | undefined {
  return BY_MEDIA_TYPE.get(mediaType);
}

/** Whether a request's Accept header names an event stream. A wildcard does not count: every client sends one. */
export function acceptsEventStream(accept: string | undefined): boolean {
  // The ranges are not parsed: there may be thousands, and each malformed one would cost an exception.
  return accept?.split(',').some((range) => BY_MEDIA_TYPE.has(typeIn(range))) ?? false;
}

function typeIn(mediaRange: string): string {
  const [essence = ''] = mediaRange.split(';', 1);
  return essence.trim().toLowerCase();
}
