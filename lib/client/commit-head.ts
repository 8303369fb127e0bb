import { type ServerResponse, STATUS_CODES, validateHeaderValue } from 'node:http';
import type { HeaderFields, ResponseHead } from '../types/http.js';

/** @throws {RangeError} if the status code is not that of a final response */
export function checkStatus(statusCode: number): void {
  if (!Number.isInteger(statusCode) || statusCode < 200 || statusCode > 999) {
    throw new RangeError(`The status code of a response must be 200 to 999, got ${statusCode}`);
  }
}

/**
 * Removes the framing that hooks may have set: Node frames the body. With a transfer coding that nobody applies, or a Content-Length
 * that is no number, the client could not tell where the next response begins.
 */
export function leaveFramingToNode(headers: HeaderFields, statusCode: number): void {
  delete headers['transfer-encoding'];
  const length = headers['content-length'];
  if (length === undefined) return;
  // RFC 9110 8.6: a 204 has no Content-Length.
  if (statusCode === 204 || !/^\d+$/.test(String(length))) delete headers['content-length'];
}

interface Replacement {
  /** The headers that the response has now. */
  present: Readonly<HeaderFields>;
  /** The headers that it is to have. */
  headers: Readonly<HeaderFields>;
  /** Says how a version of HTTP can send a header; `undefined` if it cannot. Default: unchanged */
  as?: { headerFor(name: string, value: string | string[]): string | string[] | undefined };
  /** The letter case in which a header is sent. Default: lower case */
  nameOf?: ((key: string) => string) | undefined;
}

/** Gives the response these headers, and removes all others. */
export function replaceHeaders(res: ServerResponse, { present, headers, as, nameOf }: Replacement): void {
  for (const name of Object.keys(present)) if (headers[name] === undefined) res.removeHeader(name);
  for (const key of Object.keys(headers)) {
    const given = headers[key];
    if (given === undefined) continue;
    const value = as === undefined ? given : as.headerFor(key, given);
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
    // It has characters that HTTP forbids: the response goes without this header.
    res.removeHeader(key);
  }
}

/** Writes the head of a response over HTTP/1. Node sends it with the first bytes of the body, or when it is flushed. */
export function writeHttp1Head(res: ServerResponse, { statusCode, statusMessage }: ResponseHead): void {
  // Without a reason phrase, Node sends the standard one.
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
