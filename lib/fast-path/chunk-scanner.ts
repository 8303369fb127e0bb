const CR = 0x0d;
const LF = 0x0a;

/** With more of them a chunk is larger than any read, or its size is in doubt. */
const MAX_DIGITS = 7;

const HEX = new Int8Array(256).fill(-1);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

/** The whole chunks in one read: where they begin and end in it, and how many bytes of the body they hold. */
export interface WholeChunks {
  start: number;
  end: number;
  size: number;
}

/**
 * Follows the chunked transfer coding (RFC 9112 7.1) of one body from read to read, and finds the chunks that a read has whole.
 *
 * Of those there is no doubt: a size in hex digits and nothing beside it, as many bytes, and CRLF behind each. At anything else,
 * the last chunk above all, it is lost for good, and says nothing of what follows.
 */
export class ChunkScanner {
  #isLost = false;
  /** Bytes to come of a chunk that has begun, with the CRLF behind it. */
  #owed = 0;
  /** What has come of a size that a read has ended in. */
  #digits = 0;
  #size = 0;
  #sawCr = false;

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Goes on with the next read. In front of its whole chunks is the rest of one that began earlier, behind them what is none. */
  scan(read: Buffer): WholeChunks {
    const start = this.#finish(read);
    let end = start;
    let size = 0;
    for (;;) {
      let lineEnd = end;
      let length = 0;
      for (let value = digitAt(read, lineEnd); value >= 0; value = digitAt(read, lineEnd)) {
        length = 16 * length + value;
        lineEnd += 1;
      }
      const isSize = length > 0 && lineEnd - end <= MAX_DIGITS;
      const chunkEnd = lineEnd + 2 + length;
      if (!isSize || !isCrLf(read, lineEnd) || !isCrLf(read, chunkEnd)) break;
      size += length;
      end = chunkEnd + 2;
    }
    this.#begin(read, end);
    return { start, end, size };
  }

  /** Where the chunk ends that has begun earlier. */
  #finish(read: Buffer): number {
    const from = this.#digits > 0 ? this.#readSize(read, 0) : 0;
    const end = this.#owed > 0 ? this.#consume(read, from) : from;
    return this.#isLost ? read.length : end;
  }

  /** A chunk begins here that has its end in a later read, if it is one. */
  #begin(read: Buffer, from: number): void {
    if (this.#isLost || from === read.length) return;
    const start = this.#readSize(read, from);
    if (this.#owed > 0) this.#consume(read, start);
  }

  /** Takes in what there is of a chunk; returns where that ends. */
  #consume(read: Buffer, from: number): number {
    const end = from + this.#owed;
    const there = Math.min(end, read.length);
    const isCr = this.#owed === 1 || there < end - 1 || read[end - 2] === CR;
    const isLf = there < end || read[end - 1] === LF;
    if (!isCr || !isLf) this.#isLost = true;
    this.#owed = end - there;
    return there;
  }

  /** Returns where it ends. */
  #readSize(read: Buffer, from: number): number {
    for (let i = from; i < read.length; i += 1) {
      const byte = read[i] as number;
      const value = HEX[byte] as number;
      if (this.#sawCr && byte === LF && this.#size > 0) {
        this.#owed = this.#size + 2;
        this.#digits = 0;
        this.#size = 0;
        this.#sawCr = false;
        return i + 1;
      }
      if (!this.#sawCr && byte === CR && this.#digits > 0) this.#sawCr = true;
      else if (!this.#sawCr && value >= 0 && this.#digits < MAX_DIGITS) {
        this.#digits += 1;
        this.#size = 16 * this.#size + value;
      } else {
        this.#isLost = true;
        break;
      }
    }
    return read.length;
  }
}

/** Negative for what is none, and behind the end. */
function digitAt(bytes: Buffer, i: number): number {
  return HEX[bytes[i] ?? CR] as number;
}

function isCrLf(bytes: Buffer, i: number): boolean {
  return bytes[i] === CR && bytes[i + 1] === LF;
}

/** Calls back with the bytes in each of whole chunks. */
export function forEachChunk(chunks: Buffer, callback: (bytes: Buffer) => void): void {
  for (let i = 0; i < chunks.length; ) {
    let size = 0;
    for (; chunks[i] !== CR; i += 1) size = 16 * size + digitAt(chunks, i);
    const start = i + 2;
    const end = start + size;
    callback(chunks.subarray(start, end));
    i = end + 2;
  }
}
