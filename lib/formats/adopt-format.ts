import type { EventFormat as AnyEventFormat, EventData, StreamBoundary } from '../types/format.js';
import { BlockBoundary } from './event-boundary.js';
import { type EventFormat, ParsedEvent } from './format.js';

/** Each format is adopted once. */
const adopted = new WeakMap<AnyEventFormat, EventFormat>();

/**
 * Wraps a format that a provider of the user's gives: its events become `ParsedEvent`s, and a wrong result throws instead of doing harm.
 *
 * @throws {TypeError} for an object that is no format
 */
export function adoptFormat(format: AnyEventFormat): EventFormat {
  let ours = adopted.get(format);
  if (ours === undefined) {
    assertFormat(format);
    ours = adopt(format);
    adopted.set(format, ours);
  }
  return ours;
}

function assertFormat(format: AnyEventFormat): void {
  const isWhole = ['scanner', 'parser'].every((name) => typeof format[name as 'scanner'] === 'function');
  if (!isWhole || !Array.isArray(format.mediaTypes)) {
    throw new TypeError('A format must have `mediaTypes`, an array, and the functions `scanner` and `parser`');
  }
}

function adopt(format: AnyEventFormat): EventFormat {
  const ours: EventFormat = {
    mediaTypes: format.mediaTypes,
    isText: format.isText === true,
    endsWithStream: format.endsWithStream === true,
    scanner: () => checkedScan(format.scanner()),
    parser: () => {
      const parse = format.parser();
      return (block) => toEvent(parse(block));
    },
    ...(format.encode && { encode: (fields) => toBuffer('encode', format.encode?.(fields)) }),
    ...(format.encodeComment && {
      encodeComment: (comment) => toBuffer('encodeComment', format.encodeComment?.(comment)),
    }),
    boundary: () => new GuardedBoundary(format.boundary?.() ?? new BlockBoundary(ours)),
  };
  return ours;
}

/** A boundary that, once it has thrown, is never reached again: sending must not fail because of it. */
class GuardedBoundary implements StreamBoundary {
  #boundary: StreamBoundary | undefined;

  constructor(boundary: StreamBoundary) {
    this.#boundary = boundary;
  }

  get isReached(): boolean {
    return this.#boundary?.isReached === true;
  }

  sent(chunk: Buffer): void {
    try {
      this.#boundary?.sent(chunk);
    } catch {
      this.#boundary = undefined;
    }
  }
}

/** @throws {TypeError} for an end outside the chunk, or one that does not advance, which would loop for ever */
function checkedScan(scan: (chunk: Buffer, from: number) => number): (chunk: Buffer, from: number) => number {
  return (chunk, from) => {
    const end = scan(chunk, from);
    if (end === -1 || (Number.isInteger(end) && end > from && end <= chunk.length)) return end;
    throw new TypeError('`scanner` of a format must give the end of a block in the chunk, or -1');
  };
}

function toEvent(found: EventData | undefined): ParsedEvent | undefined {
  if (found === undefined || found === null || found instanceof ParsedEvent) return found ?? undefined;
  const { data, event, id, retry, comment } = found;
  return new ParsedEvent(data, event, id, retry, comment);
}

function toBuffer(name: string, block: Buffer | undefined): Buffer {
  if (block instanceof Uint8Array) return Buffer.isBuffer(block) ? block : Buffer.from(block);
  throw new TypeError(`\`${name}\` of a format must give a Buffer`);
}
