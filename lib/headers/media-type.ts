import { MIMEType } from 'node:util';
import { KNOWN_TYPES } from '../defaults.js';

interface MediaType {
  parsed: MIMEType | undefined;
  essence: string;
}

/** Media types that were parsed before. */
const known = new Map<string, MediaType>();

function lookUp(contentType: string): MediaType {
  let type = known.get(contentType);
  if (type === undefined) {
    const parsed = parse(contentType);
    type = { parsed, essence: parsed?.essence ?? '' };
    if (known.size === KNOWN_TYPES) known.clear();
    known.set(contentType, type);
  }
  return type;
}

function parse(contentType: string): MIMEType | undefined {
  try {
    // The time that Node takes for a run of white space is quadratic.
    return new MIMEType(contentType.replace(/[\t ]+/g, ' '));
  } catch {
    return undefined;
  }
}

/** Parses a media type by the WHATWG rules, which forgive malformed parameters; `undefined` where there is none. */
export function parseMediaType(contentType: string | undefined): MIMEType | undefined {
  return contentType === undefined ? undefined : lookUp(contentType).parsed;
}

/** The media type without its parameters, in lower case; empty where there is none. */
export function essenceOf(contentType: string | undefined): string {
  return contentType === undefined ? '' : lookUp(contentType).essence;
}

/** Whether a Content-Type says `application/json`, or JSON by its suffix (RFC 6839). */
export function isJsonType(contentType: string | undefined): boolean {
  const essence = essenceOf(contentType);
  return essence === 'application/json' || /^application\/.+\+json$/.test(essence);
}
