const CR = 0x0d;
const LF = 0x0a;

/** A size with more digits is larger than any read, or has leading zeros without end. */
const MAX_DIGITS = 7;

const HEX = new Int8Array(256).fill(-1);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

/** The whole chunks within one read: where they begin and end, and how many bytes of the body they hold. */
export interface WholeChunks {
  start: number;
  end: number;
  size: number;
}

/**
 * Follows the chunked transfer coding (RFC 9112 7.1) of one body from read to read, and finds the chunks that are whole within a read.
 *
 * It accepts only chunks beyond doubt: a size of hex digits and nothing else, as many bytes, and CRLF after each. At anything else,
 * above all at the last chunk, it is lost for good, and finds no more.
 */
export class ChunkScanner {
  #isLost = false;
  /** Bytes still to come of a chunk that has begun, including its CRLF. */
  #owed = 0;
  /** State of a size that continues in the next read: its digits, its value, and whether CR has come. */
  #digits = 0;
  #size = 0;
  #sawCr = false;

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Scans the next read. Before its whole chunks is the rest of one that began earlier, after `end` an incomplete chunk. */
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

  /** Finishes the chunk that began in an earlier read. @returns where it ends */
  #finish(read: Buffer): number {
    const from = this.#digits > 0 ? this.#readSize(read, 0) : 0;
    const end = this.#owed > 0 ? this.#consume(read, from) : from;
    return this.#isLost ? read.length : end;
  }

  /** Begins a chunk that ends in a later read, if it is one. */
  #begin(read: Buffer, from: number): void {
    if (this.#isLost || from === read.length) return;
    const start = this.#readSize(read, from);
    if (this.#owed > 0) this.#consume(read, start);
  }

  /** Reads as much as there is of a chunk. @returns where that ends */
  #consume(read: Buffer, from: number): number {
    const end = from + this.#owed;
    const there = Math.min(end, read.length);
    const isCr = this.#owed === 1 || there < end - 1 || read[end - 2] === CR;
    const isLf = there < end || read[end - 1] === LF;
    if (!isCr || !isLf) this.#isLost = true;
    this.#owed = end - there;
    return there;
  }

  /** Reads as much as there is of a size. @returns where that ends */
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

/** The value of a hex digit; negative for any other byte, and after the end. */
function digitAt(bytes: Buffer, i: number): number {
  return HEX[bytes[i] ?? CR] as number;
}

function isCrLf(bytes: Buffer, i: number): boolean {
  return bytes[i] === CR && bytes[i + 1] === LF;
}

/** Calls back with the bytes of each of several whole chunks. */
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
