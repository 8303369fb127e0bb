import { MIMEType } from 'node:util';

/** Streams of lines, each of them JSON. */
const LINE_TYPES = ['application/x-ndjson', 'application/jsonl', 'application/stream+json'];
const EVENT_STREAM_TYPES = new Set(['text/event-stream', ...LINE_TYPES]);

/** What was parsed before: an upstream has a handful of types. */
const known = new Map<string, MIMEType | undefined>();
const KNOWN_TYPES = 100;

/** Parses by the WHATWG rules, which forgive malformed parameters; `undefined` where there is no type to be had. */
export function parseMediaType(contentType: string | undefined): MIMEType | undefined {
  if (contentType === undefined) return undefined;
  if (known.has(contentType)) return known.get(contentType);
  const parsed = parse(contentType);
  if (known.size === KNOWN_TYPES) known.clear();
  known.set(contentType, parsed);
  return parsed;
}

function parse(contentType: string): MIMEType | undefined {
  try {
    // Node's time for a run of white space is the square of its length.
    return new MIMEType(contentType.replace(/[\t ]+/g, ' '));
  } catch {
    return undefined;
  }
}

/** Whether a Content-Type says that the body is a stream of events, in any letter case and with any parameters. */
export function isEventStreamType(contentType: string | undefined): boolean {
  return EVENT_STREAM_TYPES.has(parseMediaType(contentType)?.essence ?? '');
}

/** Whether a Content-Type says that each line of the body is JSON. */
export function isJsonLinesType(contentType: string | undefined): boolean {
  return LINE_TYPES.includes(parseMediaType(contentType)?.essence ?? '');
}

/** Whether a Content-Type says `application/json`, or JSON by its suffix (RFC 6839). */
export function isJsonType(contentType: string | undefined): boolean {
  return /^application\/(.+\+)?json$/.test(parseMediaType(contentType)?.essence ?? '');
}

/** Whether a request's Accept field names a stream of events. A wildcard does not: every client sends one. */
export function acceptsEventStream(accept: string | undefined): boolean {
  // Not parsed: there may be thousands, and what is malformed costs an exception each.
  return accept?.split(',').some((range) => EVENT_STREAM_TYPES.has(essenceOf(range))) ?? false;
}

function essenceOf(mediaRange: string): string {
  const [essence = ''] = mediaRange.split(';', 1);
  return essence.trim().toLowerCase();
}
