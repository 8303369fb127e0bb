import { adoptFormat } from '../formats/adopt-format.js';
import type { EventFormat } from '../formats/format.js';
import { jsonArray } from '../formats/json-array.js';
import { FORMATS_BY_NAME, formatOfType } from '../formats/stream-formats.js';
import { unknownFormat } from '../formats/unknown-format.js';
import { first } from '../headers/header-values.js';
import { essenceOf, isJsonType } from '../headers/media-type.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Provider } from '../types/provider.js';
import { isObject, quote } from '../util/checks.js';
import { callHook } from '../util/hooks.js';

export interface StreamContext {
  config: Pick<Config, 'isEventStream'>;
  exchange: Exchange;
  provider: Provider | undefined;
}

/**
 * The format of a response's events; `undefined` if it is no event stream. `isEventStream` decides whether it is one, if it is given;
 * otherwise the provider does, and then the media type.
 *
 * @throws {SseProxyError} `HOOK_FAILED`
 */
export function streamFormatOf(head: ResponseHead, context: StreamContext): EventFormat | undefined {
  const { isEventStream } = context.config;
  const contentType = first(head.headers['content-type']);
  const mediaType = essenceOf(contentType);
  if (isEventStream === undefined) {
    const format = ofProvider(head, context) ?? formatOfType(mediaType);
    return format ?? (isStreamedArray(contentType, context) ? jsonArray : undefined);
  }
  if (!callHook('isEventStream', () => isEventStream(head), Boolean, 502)) return undefined;
  const format = ofProvider(head, context) ?? formatOfType(mediaType);
  return format ?? (isJsonType(contentType) ? jsonArray : unknownFormat);
}

function ofProvider(head: ResponseHead, { exchange, provider }: StreamContext): EventFormat | undefined {
  if (provider?.formatOf === undefined) return undefined;
  return callHook('formatOf', () => provider.formatOf?.(head, exchange), toFormat, 502);
}

function isStreamedArray(contentType: string | undefined, { exchange, provider }: StreamContext): boolean {
  if (provider?.streamsArray === undefined || !isJsonType(contentType)) return false;
  return callHook('streamsArray', () => provider.streamsArray?.(exchange), Boolean, 502);
}

/** @throws {TypeError} for a value that is neither a format nor the name of one */
function toFormat(given: unknown): EventFormat | undefined {
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string' && Object.hasOwn(FORMATS_BY_NAME, given)) {
    return FORMATS_BY_NAME[given as keyof typeof FORMATS_BY_NAME];
  }
  if (isObject(given)) return adoptFormat(given as unknown as Parameters<typeof adoptFormat>[0]);
  const names = Object.keys(FORMATS_BY_NAME).join("', '");
  throw new TypeError(`\`formatOf\` must give a format, or '${names}', got ${quote(given)}`);
}
