import type { IncomingMessage } from 'node:http';
import type { EventFormat } from '../formats/format.js';
import { json, jsonArray } from '../formats/json.js';
import { ndjson } from '../formats/ndjson.js';
import { sse } from '../formats/sse.js';
import { forbidsTransform } from '../headers/cache-control.js';
import { codingOf, isAccepted, isDecodable } from '../headers/content-coding.js';
import { first } from '../headers/header-values.js';
import { acceptsEventStream, essenceOf, isJsonLinesType, isJsonType } from '../headers/media-type.js';
import type { Config } from '../types/config.js';
import type { HeaderFields } from '../types/http.js';

/** What is to be done with the body of one response. */
export interface BodyPlan {
  eventStream: boolean;
  /** How its events are found. */
  format: EventFormat;
  /** The content coding to undo on the way to the client. */
  decode: string | undefined;
  /** The content coding to undo for ourselves only. */
  decodeAside: string | undefined;
  /** A provider reads it. */
  reads: boolean;
  /** `onEvent` is told of its events. */
  observes: boolean;
  /** `transformEvent` is called with its events. */
  edits: boolean;
  /** Its events may be changed, by that or by us. */
  transforms: boolean;
  /** It has events that are to be changed, in bytes that cannot be read. */
  unreadable: boolean;
  /** Heartbeats go into its silence. */
  beats: boolean;
  /** An error event tells of its breaking off. */
  reportsErrors: boolean;
  /** It goes to an EventSource, which can be told when to come back. */
  reconnects: boolean;
}

/** What a plan is made by. */
export interface PlanContext {
  config: Config;
  /** The client's request. */
  req: IncomingMessage;
  /** Of the upstream's response, by lower-case name. */
  headers: HeaderFields;
  eventStream: boolean;
  /** The request was changed, and its answer may have events that are there only because of that. */
  hasExtras: boolean;
  hasProvider: boolean;
}

/** Decides once per response, by its head. A feature that is off, or that this response is not for, leaves no trace. */
export function planBody({ config, req, headers, eventStream, hasExtras, hasProvider }: PlanContext): BodyPlan {
  const contentType = first(headers['content-type']);
  const type = essenceOf(contentType);
  const coding = codingOf(headers['content-encoding']);
  const format = eventStream ? formatOf(contentType, type) : json;

  const reads = config.reads && hasProvider && (eventStream || isJsonType(contentType));
  const observes = eventStream && config.onEvent !== undefined;
  const mayTransform = config.noTransform === 'ignore' || !forbidsTransform(headers);
  const edits = eventStream && config.transformEvent !== undefined && mayTransform;
  const transforms = eventStream && (edits || hasExtras);
  const beats = eventStream && config.heartbeat !== undefined && type === 'text/event-stream';

  const known = coding !== undefined && isDecodable(coding);
  const onTheWay = known && eventStream && (transforms || beats || !isAccepted(req, coding));
  const isPlain = coding === undefined || onTheWay;
  // Whatever is counted or coded has no room for anything of ours.
  const hasRoom = isPlain && (transforms || onTheWay || headers['content-length'] === undefined);
  return {
    eventStream,
    format,
    decode: onTheWay ? coding : undefined,
    decodeAside: isPlain ? undefined : coding,
    reads,
    observes,
    edits,
    transforms,
    unreadable: transforms && (!isPlain || format.encode === undefined),
    beats: beats && hasRoom,
    reconnects: format === sse && hasRoom && acceptsEventStream(req.headers.accept),
    reportsErrors: eventStream && config.truncation === 'event' && format.isBoundary !== undefined && hasRoom,
  };
}

function formatOf(contentType: string | undefined, type: string): EventFormat {
  if (type === 'application/json') return jsonArray;
  return isJsonLinesType(contentType) ? ndjson : sse;
}
