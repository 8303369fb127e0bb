import { type ServerResponse, STATUS_CODES, validateHeaderValue } from 'node:http';
import type { HeaderFields, ResponseHead } from '../types/http.js';

/** @throws {RangeError} for a status code that is not one of a final response */
export function checkStatus(statusCode: number): void {
  if (!Number.isInteger(statusCode) || statusCode < 200 || statusCode > 999) {
    throw new RangeError(`The status code of a response must be 200 to 999, got ${statusCode}`);
  }
}

/**
 * Whatever hooks say of it, it is Node that frames the body: with a transfer coding that nobody applies, or a length that cannot be
 * read, nobody would know where the next response begins.
 */
export function leaveFramingToNode(headers: HeaderFields, statusCode: number): void {
  delete headers['transfer-encoding'];
  const length = headers['content-length'];
  if (length === undefined) return;
  // RFC 9110 8.6: a 204 has none.
  if (statusCode === 204 || !/^\d+$/.test(String(length))) delete headers['content-length'];
}

interface Replacement {
  /** What the response has now. */
  present: Readonly<HeaderFields>;
  /** What it is to have. */
  headers: Readonly<HeaderFields>;
  /** A header as its version of HTTP can have it; `undefined` where it cannot. Default: as it is */
  as?: { fieldFor(name: string, value: string | string[]): string | string[] | undefined };
  /** In which letter case a header is sent. Default: in lower case */
  nameOf?: ((key: string) => string) | undefined;
}

/** Makes these headers the response's, whole: what is not among them goes. */
export function replaceHeaders(res: ServerResponse, { present, headers, as, nameOf }: Replacement): void {
  for (const name of Object.keys(present)) if (headers[name] === undefined) res.removeHeader(name);
  for (const key of Object.keys(headers)) {
    const given = headers[key];
    if (given === undefined) continue;
    const value = as === undefined ? given : as.fieldFor(key, given);
    if (value === undefined) res.removeHeader(key);
    else if (present[key] !== value) setHeader(res, { key, name: nameOf?.(key) ?? key, value });
  }
}

function setHeader(
  res: ServerResponse,
  { key, name, value }: { key: string; name: string; value: string | string[] },
): void {
  try {
    res.setHeader(name, value);
  } catch {
    // Characters that HTTP forbids: the header is left out, the response is not lost for it.
    res.removeHeader(key);
  }
}

/** Writes the head of a response over HTTP/1, which leaves with the first bytes of its body, or when it is flushed. */
export function writeHttp1Head(res: ServerResponse, { statusCode, statusMessage }: ResponseHead): void {
  // Node puts the standard phrase where there is none.
  const isUsable = statusMessage === STATUS_CODES[statusCode] || isValue(statusMessage);
  res.statusMessage = isUsable ? statusMessage : '';
  res.writeHead(statusCode);
}

function isValue(value: string): boolean {
  try {
    validateHeaderValue('value', value);
    return true;
  } catch {
    return false;
  }
}
