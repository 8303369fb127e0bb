import type { EventFormat } from './format.js';
import { jsonArray } from './json-array.js';
import { ndjson } from './ndjson.js';
import { sse } from './sse.js';

/** The formats whose media types say by themselves that a body is a stream of events. */
const STREAM_FORMATS: readonly EventFormat[] = [sse, ndjson];

const BY_MEDIA_TYPE = new Map(
  STREAM_FORMATS.flatMap((format) => format.mediaTypes.map((type): [string, EventFormat] => [type, format])),
);

/** What the formats that are built in are called by a provider's `formatOf`. */
export const FORMATS_BY_NAME = { sse, ndjson, 'json-array': jsonArray } as const;

/** The format of the streams of a media type, in lower case and without parameters; `undefined` where it names none. */
export function formatOfType(mediaType: string): EventFormat | undefined {
  return BY_MEDIA_TYPE.get(mediaType);
}

/** Whether a request's Accept header names a stream of events. A wildcard does not: every client sends one. */
export function acceptsEventStream(accept: string | undefined): boolean {
  // Not parsed: there may be thousands, and what is malformed costs an exception each.
  return accept?.split(',').some((range) => BY_MEDIA_TYPE.has(typeIn(range))) ?? false;
}

function typeIn(mediaRange: string): string {
  const [essence = ''] = mediaRange.split(';', 1);
  return essence.trim().toLowerCase();
}
