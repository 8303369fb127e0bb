import type { StreamBoundary } from '../types/format.js';
import type { EventFormat } from './format.js';

const LF = 0x0a;
const CR = 0x0d;

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
    this.#tail = follow(this.#tail, chunk);
  }

  /** Whether it would be reached behind these chunks. */
  isReachedBehind(chunks: readonly Buffer[]): boolean {
    return this.#isBoundary(chunks.reduce(follow, this.#tail));
  }

  /** How much of the next chunk goes up to the last boundary in it; 0 where there is none. Backwards, from line end to line end. */
  lastIn(chunk: Buffer): number {
    let lf = chunk.lastIndexOf(LF);
    let cr = chunk.lastIndexOf(CR);
    while (lf >= 0 || cr >= 0) {
      const at = Math.max(lf, cr);
      // A CR whose LF follows ends only with that.
      const isHalf = chunk[at] === CR && chunk[at + 1] === LF;
      if (!isHalf && this.#isBoundary(follow(this.#tail, chunk.subarray(0, at + 1)))) return at + 1;
      if (at === lf) lf = at === 0 ? -1 : chunk.lastIndexOf(LF, at - 1);
      else cr = at === 0 ? -1 : chunk.lastIndexOf(CR, at - 1);
    }
    return 0;
  }
}

/** The last four bytes when a chunk has followed. */
function follow(tail: number, chunk: Buffer): number {
  let next = tail;
  for (let i = Math.max(0, chunk.length - 4); i < chunk.length; i += 1) next = (next << 8) | (chunk[i] as number);
  return next;
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
