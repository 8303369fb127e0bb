import type { StreamBoundary } from '../types/format.js';
import type { EventFormat } from './format.js';

/** For formats in which the last four bytes show whether the stream is between two events. */
export class TailBoundary implements StreamBoundary {
  readonly #isBoundary: (tail: number) => boolean;
  /** The last four bytes. Before the start they are line ends, since the start is a boundary, too. */
  #tail = 0x0a0a0a0a;

  /** @param isBoundary whether a stream that ends in these four bytes, as a big-endian number, is between two events */
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

/** For formats in which the last bytes alone do not show it: a boundary is where a block ends. */
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

/** Of formats without an encoder: nothing can be inserted. */
const NO_BOUNDARY: StreamBoundary = { isReached: false, sent() {} };

/** A watch over one stream. */
export function createBoundary(format: EventFormat): StreamBoundary {
  if (format.encode === undefined) return NO_BOUNDARY;
  return format.boundary?.() ?? new BlockBoundary(format);
}
