import type { EventFormat as AnyEventFormat } from '../types/format.js';
import type { EventFields, StreamEvent } from '../types/hooks.js';

/** A format whose parser gives `ParsedEvent`s. */
export interface EventFormat extends AnyEventFormat<ParsedEvent> {
  /** Its blocks are JSON, or text with JSON in it, so that one can be read of which long strings and arrays were left out. */
  readonly isJson?: boolean;
  /** What ends a block: to read one that lacks it at the end of a stream. */
  readonly ending?: Buffer;
}

/** An event that was read. Its fields may be changed; the block that it was read from keeps the original bytes. */
export class ParsedEvent implements StreamEvent {
  #parsed: unknown;
  /** The `data` that `#parsed` was parsed from. */
  #source: string | undefined;

  constructor(
    public data: string,
    public event?: string | undefined,
    public id?: string | undefined,
    public retry?: number | undefined,
    public comment?: string | undefined,
  ) {}

  json<T = unknown>(): T | undefined {
    if (this.#source !== this.data) {
      this.#parsed = parseJson(this.data);
      this.#source = this.data;
    }
    return this.#parsed as T | undefined;
  }

  /** A new event with the same fields. */
  copy(): ParsedEvent {
    return new ParsedEvent(this.data, this.event, this.id, this.retry, this.comment);
  }

  /** Whether another event has the same fields. */
  equals(other: EventFields): boolean {
    return (
      other.data === this.data &&
      other.event === this.event &&
      other.id === this.id &&
      other.retry === this.retry &&
      other.comment === this.comment
    );
  }
}

/** `undefined` for text that is no JSON, such as `[DONE]`. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The byte order mark in UTF-8. It counts at the very start of a stream only. */
export const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** The line ends of an event stream. */
export const LINE_END = /\r\n|\r|\n/;

/** @throws {TypeError} naming the field and the type that was given instead */
export function assertText(name: string, value: unknown): asserts value is string {
  if (typeof value === 'string') return;
  const hint = name === 'data' && typeof value === 'object' ? '. Write it with JSON.stringify()' : '';
  throw new TypeError(`\`${name}\` of an event must be a string, got ${value === null ? 'null' : typeof value}${hint}`);
}
