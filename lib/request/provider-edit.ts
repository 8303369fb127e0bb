import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { EDIT_LIMIT } from '../defaults.js';
import { codingOf, createDecoder, isDecodable } from '../headers/content-coding.js';
import { hasBody } from '../headers/framing.js';
import { isJsonType } from '../headers/media-type.js';
import type { Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { callHook, kindOf } from '../util/hooks.js';
import { replaceMembers } from './json-members.js';
import { readBody } from './read-body.js';
import { ReplayedBody, type RequestBody } from './replayed-body.js';

/** Whose request body it is: that of a route, and of its provider. */
type Editor = Pick<Route, 'provider' | 'model' | 'editBody'>;

/** Whether JSON request bodies may be edited on their way to this route. */
export function mayEdit({ provider, model, editBody }: Editor): boolean {
  return (model ?? editBody ?? provider?.editRequest) !== undefined;
}

/**
 * Reads a request body that may have to be edited, and undoes its content coding, or that the provider is to sign. Any other body, and one
 * above `maxSize`, is sent as it is.
 */
export async function readEditable(
  route: Editor,
  { req, body, maxSize }: { req: IncomingMessage; body: RequestBody; maxSize: number },
): Promise<RequestBody> {
  const coding = codingOf(req.headers['content-encoding']);
  const isReadable = coding === undefined || isDecodable(coding);
  const isEditable = mayEdit(route) && isJsonType(req.headers['content-type']) && isReadable;
  if (!isEditable && route.provider?.sign === undefined) return body;
  const mayBeRead = body === 'stream' && hasBody(req) && !req.readableEnded;
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
 * Edits a JSON request body: first as the route says, and then as its provider does. A body that nobody edits is sent in its own bytes.
 *
 * @returns with `edit` where the body is another one than the client's
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export function editRequest(
  route: Editor,
  exchange: Exchange,
  body: RequestBody,
): { body: RequestBody; edit: RequestEdit | undefined } {
  const { headers } = exchange.req;
  if (!(body instanceof ReplayedBody && isJsonType(headers['content-type']))) return { body, edit: undefined };
  const isCoded = body.encoded && body.decoded === undefined && codingOf(headers['content-encoding']) !== undefined;
  if (isCoded) return { body, edit: undefined };
  const bytes = body.decoded?.bytes ?? body.bytes;
  // Bytes that are no UTF-8 would not survive being read and written.
  if (!isUtf8(bytes)) return { body, edit: undefined };
  const received = bytes.toString();
  const text = editForRoute(route, exchange, received);
  const edit = editByProvider(route.provider, exchange, text) ?? (text === received ? undefined : { body: text });
  if (edit === undefined) return { body, edit };
  return { body: new ReplayedBody(Buffer.from(edit.body), false, body.contentType), edit };
}

function editForRoute({ model, editBody }: Editor, exchange: Exchange, body: string): string {
  const named = model === undefined ? undefined : replaceMembers(body, 'model', JSON.stringify(model));
  const text = named ?? body;
  if (editBody === undefined) return text;
  return callHook(
    'editBody',
    () => editBody(text, exchange),
    (edited: unknown) => (edited === undefined || edited === null ? text : textOf(edited)),
  );
}

/** @throws {TypeError} for what is no text, and cannot be written as JSON */
function textOf(edited: unknown): string {
  const text: unknown = typeof edited === 'object' && !ArrayBuffer.isView(edited) ? JSON.stringify(edited) : edited;
  if (typeof text === 'string') return text;
  throw new TypeError(`editBody must give a string or an object, got ${kindOf(edited)}`);
}

function editByProvider(provider: Provider | undefined, exchange: Exchange, body: string): RequestEdit | undefined {
  if (provider?.editRequest === undefined) return undefined;
  return callHook(
    'editRequest',
    () => provider.editRequest?.(body, exchange),
    (edit: RequestEdit | null | undefined) => (edit === undefined || edit === null ? undefined : checked(edit)),
  );
}

function checked(edit: RequestEdit): RequestEdit {
  const { body, isExtra } = edit;
  if (typeof body !== 'string') throw new TypeError(`\`body\` of editRequest must be a string, got ${kindOf(body)}`);
  if (isExtra !== undefined && typeof isExtra !== 'function') {
    throw new TypeError(`\`isExtra\` of editRequest must be a function, got ${kindOf(isExtra)}`);
  }
  return edit;
}

/** All of a body, empty where there is none; `undefined` where it was not read. */
export function wholeBody(req: IncomingMessage, body: RequestBody): Buffer | undefined {
  if (body instanceof ReplayedBody) return body.bytes;
  return hasBody(req) ? undefined : Buffer.alloc(0);
}
