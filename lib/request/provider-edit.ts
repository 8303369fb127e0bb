import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { EDIT_LIMIT } from '../defaults.js';
import { codingOf, createDecoder, isDecodable } from '../headers/content-coding.js';
import { hasBody } from '../headers/framing.js';
import { isJsonType } from '../headers/media-type.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { callHook, kindOf } from '../util/hooks.js';
import { readBody } from './read-body.js';
import { ReplayedBody, type RequestBody } from './replayed-body.js';

/**
 * Reads a request body that the provider may want to edit, and undoes its content coding, or that it is to sign. Any other body, and one
 * above `maxSize`, is sent as it is.
 */
export async function readEditable(
  provider: Provider,
  { req, body, maxSize }: { req: IncomingMessage; body: RequestBody; maxSize: number },
): Promise<RequestBody> {
  const coding = codingOf(req.headers['content-encoding']);
  const isReadable = coding === undefined || isDecodable(coding);
  const isEditable = provider.editRequest !== undefined && isJsonType(req.headers['content-type']) && isReadable;
  if (!isEditable && provider.sign === undefined) return body;
  const mayBeRead = body === 'stream' && hasBody(req) && !req.readableDidRead;
  const read = mayBeRead ? await readBody(req, maxSize) : undefined;
  const known = read ?? body;
  if (
    isEditable &&
    coding !== undefined &&
    known instanceof ReplayedBody &&
    known.encoded &&
    known.decoded === undefined
  ) {
    const bytes = await decode(known.bytes, coding);
    if (bytes !== undefined) known.decoded = { bytes, coding };
  }
  return known;
}

/** Undoes a content coding; `undefined` for what is not in it, and for more than `EDIT_LIMIT` bytes. */
function decode(bytes: Buffer, coding: string): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const decoder = createDecoder(coding);
    const chunks: Buffer[] = [];
    let size = 0;
    decoder
      .on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size > EDIT_LIMIT) decoder.destroy();
      })
      .once('end', () => resolve(Buffer.concat(chunks)))
      .once('close', () => resolve(undefined))
      .on('error', () => resolve(undefined))
      .end(bytes);
  });
}

/**
 * Lets the provider edit a JSON request body. A body that it does not edit is sent in its own bytes.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export function editRequest(
  provider: Provider,
  exchange: Exchange,
  body: RequestBody,
): { body: RequestBody; edit: RequestEdit | undefined } {
  const isEditable = body instanceof ReplayedBody && isJsonType(exchange.req.headers['content-type']);
  if (!isEditable) return { body, edit: undefined };
  const bytes = body.decoded?.bytes ?? body.bytes;
  // Bytes that are no UTF-8 would not survive being read and written.
  if (!isUtf8(bytes)) return { body, edit: undefined };
  return callHook(
    'editRequest',
    () => provider.editRequest?.(bytes.toString(), exchange),
    (edit: RequestEdit | null | undefined) => {
      if (edit === undefined || edit === null) return { body, edit: undefined };
      return { body: new ReplayedBody(bytesOf(edit), false, body.contentType), edit };
    },
  );
}

function bytesOf({ body, isExtra }: RequestEdit): Buffer {
  if (typeof body !== 'string') throw new TypeError(`\`body\` of editRequest must be a string, got ${kindOf(body)}`);
  if (isExtra !== undefined && typeof isExtra !== 'function') {
    throw new TypeError(`\`isExtra\` of editRequest must be a function, got ${kindOf(isExtra)}`);
  }
  return Buffer.from(body);
}

/** All of a body, empty where there is none; `undefined` where it was not read. */
export function wholeBody(req: IncomingMessage, body: RequestBody): Buffer | undefined {
  if (body instanceof ReplayedBody) return body.bytes;
  return hasBody(req) ? undefined : Buffer.alloc(0);
}
