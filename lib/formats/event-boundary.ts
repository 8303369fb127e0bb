import type { StreamBoundary } from '../types/format.js';
import type { EventFormat } from './format.js';

/** A boundary that the last four bytes tell. */
export class TailBoundary implements StreamBoundary {
  readonly #isBoundary: (tail: number) => boolean;
  /** The last four bytes. A stream that has not begun is between two events, as after line ends. */
  #tail = 0x0a0a0a0a;

  /** @param isBoundary whether a stream that ends in these bytes (a big-endian number) is between two events */
  constructor(isBoundary: (tail: number) => boolean) {
    this.#isBoundary = isBoundary;
  }

  get isReached(): boolean {
    return this.#isBoundary(this.#tail);
  }

  sent(chunk: Buffer): void {
    for (let i = Math.max(0, chunk.length - 4); i < chunk.length; i += 1) {
      this.#tail = (this.#tail << 8) | (chunk[i] as number);
    }
  }
}

/** A boundary where a block ends: for formats in which the last bytes alone do not tell. */
export class BlockBoundary implements StreamBoundary {
  readonly #scan: ReturnType<EventFormat['scanner']>;
  #isReached = true;

  constructor(format: EventFormat) {
    this.#scan = format.scanner();
  }

  get isReached(): boolean {
    return this.#isReached;
  }

  sent(chunk: Buffer): void {
    let end = 0;
    for (let from = 0; from < chunk.length && end >= 0; from = end) {
      end = this.#scan(chunk, from);
      this.#isReached = end === chunk.length;
    }
  }
}

/** A stream into which nothing can be written. */
const NO_BOUNDARY: StreamBoundary = { isReached: false, sent() {} };

/** The boundary of one stream. */
export function createBoundary(format: EventFormat): StreamBoundary {
  if (format.encode === undefined) return NO_BOUNDARY;
  return format.boundary?.() ?? new BlockBoundary(format);
}
