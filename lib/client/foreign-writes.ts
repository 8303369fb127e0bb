import type { ServerResponse } from 'node:http';
import { replaceMethod } from '../fast-path/replace-method.js';

interface Writable {
  /** Whether the client can still be sent anything. */
  isOpen(): boolean;
  /** Whether the response has a body. Asked after each write, since the first one commits the head. */
  takesBody(): boolean;
}

/** Calls back with the size of each part of the body that others write to a response. */
export function countWrites(
  res: ServerResponse,
  { isOpen, takesBody }: Writable,
  onBytes: (size: number) => void,
): void {
  /** `end` of HTTP/2, and that of middleware, may call `write` for its last part. */
  let isEnding = false;

  const { write, end } = res as unknown as Record<'write' | 'end', (...args: unknown[]) => unknown>;
  const counted = (method: typeof write, args: unknown[]): unknown => {
    const isSent = isOpen() && !isEnding;
    const result = Reflect.apply(method, res, args);
    if (isSent && takesBody()) onBytes(sizeOf(args));
    return result;
  };

  replaceMethod(res, 'write', ((...args: unknown[]) => counted(write, args)) as ServerResponse['write']);
  replaceMethod(res, 'end', ((...args: unknown[]) => {
    return counted((...all) => {
      isEnding = true;
      try {
        return Reflect.apply(end, res, all);
      } finally {
        isEnding = false;
      }
    }, args);
  }) as ServerResponse['end']);
}

/** The bytes of what is handed to `write` or `end`, in front of their callback. */
function sizeOf([chunk, encoding]: readonly unknown[]): number {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encodingOf(encoding));
  return chunk instanceof Uint8Array ? chunk.byteLength : 0;
}

function encodingOf(encoding: unknown): BufferEncoding {
  return typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8';
}

/**
 * Lets others set headers on a response over HTTP/2 as they would over HTTP/1.1: an upstream's, copied as they are. Those that HTTP/2
 * must not have are dropped, and the reason phrase, which it does not have. Node would drop some of them with a warning, and throw for
 * the others when the first byte is written.
 */
export function dropForbiddenHeaders(res: ServerResponse, isForbidden: (name: string) => boolean): void {
  const { setHeader, appendHeader, writeHead } = res as unknown as Record<string, (...args: unknown[]) => unknown>;
  const skipping = (method: typeof setHeader) => (name: unknown, value: unknown) => {
    if (!isForbidden(String(name).trim().toLowerCase())) Reflect.apply(method as () => void, res, [name, value]);
    return res;
  };
  replaceMethod(res, 'setHeader', skipping(setHeader) as ServerResponse['setHeader']);
  // Since Node 20.12.
  if (appendHeader !== undefined)
    replaceMethod(res, 'appendHeader', skipping(appendHeader) as ServerResponse['appendHeader']);
  replaceMethod(res, 'writeHead', ((statusCode: number, ...rest: unknown[]) => {
    const headers = rest.find((arg) => typeof arg === 'object' && arg !== null);
    const passed = headers === undefined ? [] : [without(headers, isForbidden)];
    return Reflect.apply(writeHead as () => void, res, [statusCode, ...passed]);
  }) as ServerResponse['writeHead']);
  Object.defineProperty(res, 'statusMessage', { value: '', writable: true, configurable: true });
}

/** The headers as `writeHead` takes them: an object, pairs, or names and values in turn. */
function without(headers: object, isForbidden: (name: string) => boolean): object {
  const isKept = (name: unknown): boolean => !isForbidden(String(name).trim().toLowerCase());
  if (!Array.isArray(headers)) return Object.fromEntries(Object.entries(headers).filter(([name]) => isKept(name)));
  if (Array.isArray(headers[0])) return headers.filter(([name]) => isKept(name));
  return headers.filter((_, index) => isKept(headers[index - (index % 2)]));
}
