import { isUtf8 } from 'node:buffer';
import type { Attempt } from './attempt.js';
import { codingOf } from './content-coding.js';
import { SseProxyError } from './errors.js';
import { isJsonType } from './media-type.js';
import { hasBody, ReplayedBody, readBody } from './request-body.js';
import type { Exchange, Provider, RequestEdit } from './types.js';

/**
 * Has the provider change a JSON request body, where it wants to. Nothing is read of any other request, and what is not
 * changed is sent in its own bytes.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export async function editRequest(
  provider: Provider,
  exchange: Exchange,
  attempt: Attempt,
): Promise<RequestEdit | undefined> {
  const { req } = exchange;
  if (provider.editRequest === undefined || !isJsonType(req.headers['content-type']) || !hasBody(req)) return undefined;
  if (attempt.body === 'stream') {
    if (codingOf(req.headers['content-encoding']) !== undefined || req.readableDidRead) return undefined;
    attempt.body = (await readBody(req)) ?? 'stream';
  }
  // What cannot be read could not be written again either.
  if (!(attempt.body instanceof ReplayedBody) || !isUtf8(attempt.body.bytes)) return undefined;
  try {
    const edit = provider.editRequest(attempt.body.bytes.toString(), exchange);
    if (edit !== undefined) attempt.body = new ReplayedBody(Buffer.from(edit.body), false, attempt.body.contentType);
    return edit;
  } catch (cause) {
    throw new SseProxyError('HOOK_FAILED', { cause });
  }
}
