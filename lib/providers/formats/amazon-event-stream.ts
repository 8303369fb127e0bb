import type { EventStreamCodec, MessageHeaders } from '@smithy/eventstream-codec';
import type { EventData, EventFormat } from '../../types/format.js';
import { optionalPackage } from '../optional-package.js';

type Codec = typeof import('@smithy/eventstream-codec');

export const AMAZON_EVENT_STREAM_TYPE = 'application/vnd.amazon.eventstream';

/** The type of the event that stands for a frame that is an error without a model (`:message-type: error`). */
export const ERROR_FRAME = 'error';

/** A frame of nothing: lengths and checksums. */
const SMALLEST_FRAME = 16;

/**
 * Amazon's event streams: frames of a total length, headers and a payload, with checksums. An event's type is that of the frame, or that
 * of the exception, and its data is the payload. Frames are read and never written: it has no encoder.
 *
 * The frames are found here, by their first four bytes, and decoded by AWS's own codec. That is loaded with the first frame: without it
 * the stream passes as it comes, and is not read.
 */
export const amazonEventStream: EventFormat = {
  mediaTypes: [AMAZON_EVENT_STREAM_TYPE],
  isText: false,
  endsWithStream: false,
  scanner: scanFrames,
  parser: () => (block) => {
    const { headers, body } = codec().decode(block);
    return eventOf(headers, Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
  },
};

/** @throws {RangeError} for a length that no frame can have: behind it no other can be found */
function scanFrames(): (chunk: Buffer, from: number) => number {
  let known = 0;
  let length = 0;
  /** Of this frame, the bytes that were seen. */
  let seen = 0;
  return (chunk, from) => {
    let at = from;
    for (; known < 4 && at < chunk.length; at += 1, known += 1) length = length * 256 + (chunk[at] as number);
    seen += at - from;
    if (known < 4) return -1;
    if (length < SMALLEST_FRAME) throw new RangeError(`An event stream of Amazon's has a frame of ${length} bytes`);
    const end = at + length - seen;
    if (end > chunk.length) {
      seen += chunk.length - at;
      return -1;
    }
    known = 0;
    length = 0;
    seen = 0;
    return end;
  };
}

let loaded: EventStreamCodec | undefined;

function codec(): EventStreamCodec {
  if (loaded === undefined) {
    const { EventStreamCodec } = optionalPackage<Codec>('@smithy/eventstream-codec', "Reading Amazon's event streams");
    loaded = new EventStreamCodec(
      (bytes) => (typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString()),
      (text) => Buffer.from(text),
    );
  }
  return loaded;
}

function eventOf(headers: MessageHeaders, payload: string): EventData {
  const of = (name: string): string | undefined => {
    const value = Object.hasOwn(headers, name) ? headers[name]?.value : undefined;
    return typeof value === 'string' ? value : undefined;
  };
  switch (of(':message-type')) {
    case 'exception':
      return { event: of(':exception-type'), data: payload };
    case 'error':
      return {
        event: ERROR_FRAME,
        data: JSON.stringify({ code: of(':error-code'), message: of(':error-message') }),
      };
    default:
      return { event: of(':event-type'), data: payload };
  }
}
