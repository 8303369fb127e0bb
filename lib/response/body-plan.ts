import type { IncomingMessage } from 'node:http';
import type { EventFormat } from '../formats/format.js';
import { json } from '../formats/json.js';
import { sse } from '../formats/sse.js';
import { acceptsEventStream } from '../formats/stream-formats.js';
import { unknownFormat } from '../formats/unknown-format.js';
import { forbidsTransform } from '../headers/cache-control.js';
import { codingOf, isAccepted, isDecodable } from '../headers/content-coding.js';
import { first } from '../headers/header-values.js';
import { essenceOf, isJsonType } from '../headers/media-type.js';
import type { Config } from '../types/config.js';
import type { HeaderFields } from '../types/http.js';
import type { Provider } from '../types/provider.js';

/** What is done with the body of one response. */
export interface BodyPlan {
  eventStream: boolean;
  /** How its events are found, read and written. */
  format: EventFormat;
  /** Nobody here knows how to find them, by its media type: it passes as it is. */
  isUnknown: boolean;
  /** The content coding that is decoded on the way to the client. */
  decode: string | undefined;
  /** It is decoded for an edit of the proxy's own only: without that, the client would get the coded bytes. */
  decodesForItself: boolean;
  /** The content coding that is decoded for the tap only: the client gets the coded bytes. */
  decodeAside: string | undefined;
  /** The provider reads its usage. */
  reads: boolean;
  /** `onEvent` is called with its events. */
  observes: boolean;
  /** `transformEvent` is called with its events. */
  edits: boolean;
  /** Events that are there only because the request was edited are removed. */
  removes: boolean;
  /** Its events may be changed, in either way. */
  transforms: boolean;
  /** `transformEvent` should be called, but its bytes cannot be decoded or its events cannot be written. */
  unreadable: boolean;
  /** Heartbeats are sent while it is silent. */
  beats: boolean;
  /** An error event is sent if it breaks off. */
  reportsErrors: boolean;
  /** It goes to an EventSource, which can be told when to reconnect. */
  reconnects: boolean;
}

/** What the plan depends on. */
export interface PlanContext {
  config: Config;
  /** The client's request. */
  req: IncomingMessage;
  /** The headers of the upstream's response, by lower-case name. */
  headers: HeaderFields;
  /** The format of its events; `undefined` where it is no event stream. */
  streamFormat: EventFormat | undefined;
  /** The request was edited, and the response may have events that are there only because of that. */
  hasExtras: boolean;
  provider: Provider | undefined;
}

/** Decides once per response, by its head. A feature that is off, or that does not apply to this response, costs nothing. */
export function planBody({ config, req, headers, streamFormat, hasExtras, provider }: PlanContext): BodyPlan {
  const contentType = first(headers['content-type']);
  const type = essenceOf(contentType);
  const coding = codingOf(headers['content-encoding']);
  const eventStream = streamFormat !== undefined;
  const format = streamFormat ?? json;
  const isUnknown = format === unknownFormat;
  // That it is a stream, `isEventStream` may have said; which format it has is another question.
  const hasEvents = eventStream && !isUnknown;

  const reads = config.reads && provider !== undefined && (hasEvents || (!eventStream && isJsonType(contentType)));
  const observes = hasEvents && config.onEvent !== undefined;
  const mayTransform = config.noTransform === 'ignore' || !forbidsTransform(headers);
  const truncation = config.truncation ?? (provider === undefined ? 'destroy' : (provider.truncation ?? 'event'));
  const edits = hasEvents && config.transformEvent !== undefined && mayTransform;
  const beats = hasEvents && config.heartbeat !== undefined && takesHeartbeats(format, type);

  const known = coding !== undefined && isDecodable(coding);
  // Where it cannot be done it is left undone. In a format without an encoder, an event cannot be taken from its neighbours.
  const removes = hasEvents && hasExtras && format.encode !== undefined && (coding === undefined || known);
  const transforms = edits || removes;
  const isAskedFor = known && eventStream && (edits || beats || !isAccepted(req, coding));
  const onTheWay = isAskedFor || (known && removes);
  const isPlain = coding === undefined || onTheWay;
  // A body of known length, or in a content coding, has no room for anything that the proxy inserts.
  const hasRoom = isPlain && (transforms || onTheWay || headers['content-length'] === undefined);
  return {
    eventStream,
    format,
    isUnknown,
    decode: onTheWay ? coding : undefined,
    decodesForItself: onTheWay && !isAskedFor,
    decodeAside: isPlain ? undefined : coding,
    reads,
    observes,
    edits,
    removes,
    transforms,
    unreadable: edits && (!isPlain || format.encode === undefined),
    beats: beats && hasRoom,
    reconnects: format === sse && hasRoom && acceptsEventStream(req.headers.accept),
    reportsErrors: hasEvents && truncation === 'event' && format.encode !== undefined && hasRoom,
  };
}

/** Whether clients of this media type ignore the comments that heartbeats are made of. */
function takesHeartbeats({ encodeComment, mediaTypes }: EventFormat, type: string): boolean {
  return encodeComment !== undefined && mediaTypes.includes(type);
}
