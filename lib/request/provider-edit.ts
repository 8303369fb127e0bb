import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { codingOf } from '../headers/content-coding.js';
import { hasBody } from '../headers/framing.js';
import { isJsonType } from '../headers/media-type.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { callHook, kindOf } from '../util/hooks.js';
import { ReplayedBody, type RequestBody, readBody } from './request-body.js';

/** Reads a request body that the provider may want to change; any other, and one above `maxSize`, goes on as it is. */
export async function readEditable(
  provider: Provider,
  req: IncomingMessage,
  body: RequestBody,
  maxSize: number,
): Promise<RequestBody> {
  const { 'content-type': contentType, 'content-encoding': coding } = req.headers;
  const isEditable = provider.editRequest !== undefined && isJsonType(contentType) && codingOf(coding) === undefined;
  if (body !== 'stream' || !isEditable || !hasBody(req) || req.readableDidRead) return body;
  return (await readBody(req, maxSize)) ?? body;
}

/**
 * Has the provider change a JSON request body, where it wants to. What is not changed is sent in its own bytes.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export function editRequest(
  provider: Provider,
  exchange: Exchange,
  body: RequestBody,
): { body: RequestBody; edit: RequestEdit | undefined } {
  const isEditable = body instanceof ReplayedBody && isJsonType(exchange.req.headers['content-type']);
  // What cannot be read could not be written again either.
  if (!isEditable || !isUtf8(body.bytes)) return { body, edit: undefined };
  return callHook(
    'editRequest',
    () => provider.editRequest?.(body.bytes.toString(), exchange),
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
