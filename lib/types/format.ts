import type { EventFields } from './hooks.js';

/** What a format finds in a block: an event has `data` at the least. */
export type EventData = EventFields & { data: string };

/**
 * How the events of one kind of stream are found in its bytes, read, and written: Server-Sent Events, NDJSON, or binary frames. Those
 * that are built in are known by their names; this is the contract for one of your own, which a provider's `formatOf` gives.
 */
export interface EventFormat<TEvent extends EventData = EventData> {
  /** The media types of its streams, in lower case and without parameters. Heartbeats go into these only. */
  readonly mediaTypes: readonly string[];
  /**
   * A stream is lines of UTF-8: a byte order mark may stand in front of the first one, and the last one may lack its line end.
   * `false` for binary frames, of which no byte means anything by itself.
   */
  readonly isText: boolean;
  /** The last block is whole when the stream ends, even where nothing in it says so. */
  readonly endsWithStream: boolean;
  /**
   * A new scan over the chunks of one stream. Called with a chunk and where to go on in it, it returns where the next block ends
   * (behind its last byte), or -1 where that is not in this chunk; no byte is shown to it twice. A block holds one event, or what is
   * between two events: all blocks one after the other are the stream.
   */
  scanner(): (chunk: Buffer, from: number) => number;
  /** A new reader of the blocks of one stream, in order; `undefined` for a block without an event. A block is not to be changed. */
  parser(): (block: Buffer) => TEvent | undefined;
  /**
   * The block of an event, empty for one that cannot be expressed; absent where a single event cannot be written by itself.
   *
   * @throws {TypeError} for fields that the format does not allow
   */
  encode?(fields: EventFields): Buffer;
  /** A block that clients ignore, for heartbeats; absent where the format has none. */
  encodeComment?(comment: string): Buffer;
  /**
   * A new watch over what one client was sent. Default: a boundary is where a block ends, and the start.
   */
  boundary?(): StreamBoundary;
}

/** Whether what was sent so far ends between two events: the only place where something of the proxy's own may go. */
export interface StreamBoundary {
  readonly isReached: boolean;
  sent(chunk: Buffer): void;
}
