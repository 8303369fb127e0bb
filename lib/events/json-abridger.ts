import { ABRIDGED_DEPTH, ABRIDGED_LIST, ABRIDGED_SIZE, ABRIDGED_TEXT } from '../defaults.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const NO_BYTES: Buffer = Buffer.alloc(0);

/** An object or an array that is open. */
interface Container {
  isList: boolean;
  /** Where its content begins in what is kept. */
  start: number;
}

/**
 * Abridges an event in JSON that is too large to be held, while it passes: long strings, such as images, become shorter, and long arrays
 * empty. What is left is JSON with all members of all objects, wherever they are, so that figures can be read from it. What is
 * around the JSON (`data:`, line ends) stays.
 */
export class JsonAbridger {
  readonly #open: Container[] = [];
  #kept: Buffer = Buffer.allocUnsafeSlow(ABRIDGED_TEXT);
  #size = 0;
  #isInText = false;
  /** How much of the string that the scan is in may still be kept; negative once it was cut. */
  #textRoom = 0;
  /** Where what is kept of that string begins. */
  #textStart = 0;
  /** Whether the next byte of the string is escaped. */
  #isEscaped = false;
  /** The index in `#open` of the first array; -1 where none is open. */
  #outermostList = -1;
  /** The index of the array whose content is left out; -1 where none is. */
  #leftOut = -1;
  #isTooLarge = false;

  /** Reads the next bytes: a little at a time, so that no more is kept meanwhile than in the end. */
  write(bytes: Buffer): void {
    for (let i = 0; i < bytes.length; i += ABRIDGED_LIST) this.#read(bytes.subarray(i, i + ABRIDGED_LIST));
  }

  #read(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length && !this.#isTooLarge) {
      from = this.#isInText ? this.#readText(bytes, from) : this.#readRest(bytes, from);
    }
  }

  /** The event, abridged; `undefined` where it is still too large. */
  end(): Buffer | undefined {
    return this.#isTooLarge ? undefined : this.#kept.subarray(0, this.#size);
  }

  /** Reads a string, up to its end or that of the bytes. Returns where to go on. */
  #readText(bytes: Buffer, from: number): number {
    const end = this.#endOfText(bytes, from);
    const content = bytes.subarray(from, end < 0 ? bytes.length : end);
    if (this.#leftOut < 0 && this.#textRoom >= 0) this.#keepText(content);
    if (end < 0) return bytes.length;
    this.#isInText = false;
    this.#keepRest(bytes.subarray(end, end + 1));
    return end + 1;
  }

  /** Of a long string nothing is kept behind its first escape or character of several bytes, of which it might keep a half. */
  #keepText(content: Buffer): void {
    const room = this.#textRoom;
    this.#textRoom -= content.length;
    this.#keep(content.subarray(0, room));
    if (this.#textRoom >= 0 || this.#leftOut >= 0) return;
    const kept = this.#kept.subarray(this.#textStart, this.#size);
    const half = kept.findIndex((byte) => byte === BACKSLASH || byte >= 0x80);
    if (half >= 0) this.#size = this.#textStart + half;
  }

  /** Where the quotation mark is that ends a string; -1 if it is not there yet. */
  #endOfText(bytes: Buffer, from: number): number {
    for (let start = from; ; ) {
      const quote = bytes.indexOf(QUOTE, start);
      const end = quote < 0 ? bytes.length : quote;
      let backslashes = 0;
      while (end - backslashes > start && bytes[end - backslashes - 1] === BACKSLASH) backslashes += 1;
      // Where all of it is backslashes, those before count, too.
      const isOdd = backslashes % 2 === 1;
      const isEscaped = backslashes === end - start && this.#isEscaped ? !isOdd : isOdd;
      if (quote < 0) {
        this.#isEscaped = isEscaped;
        return -1;
      }
      this.#isEscaped = false;
      if (!isEscaped) return quote;
      start = quote + 1;
    }
  }

  /** Reads up to the next string. Returns where to go on. */
  #readRest(bytes: Buffer, from: number): number {
    let start = from;
    for (let at = from; at < bytes.length; at += 1) {
      const byte = bytes[at] as number;
      // Most are digits, and white space.
      if (byte < OPEN_LIST && byte !== QUOTE) continue;
      const depth = this.#open.length;
      if (byte === QUOTE && depth > 0) {
        this.#keepRest(bytes.subarray(start, at + 1));
        this.#isInText = true;
        this.#textRoom = ABRIDGED_TEXT;
        this.#textStart = this.#size;
        return at + 1;
      }
      if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        this.#keepRest(bytes.subarray(start, at + 1));
        start = at + 1;
        if (depth === ABRIDGED_DEPTH) this.#giveUp();
        else this.#openContainer(byte === OPEN_LIST);
      } else if ((byte === CLOSE_LIST || byte === CLOSE_OBJECT) && depth > 0) {
        this.#keepRest(bytes.subarray(start, at));
        start = at;
        this.#closeContainer();
      }
      if (this.#isTooLarge) return bytes.length;
    }
    this.#keepRest(bytes.subarray(start));
    return bytes.length;
  }

  #openContainer(isList: boolean): void {
    if (isList && this.#outermostList < 0) this.#outermostList = this.#open.length;
    this.#open.push({ isList, start: this.#size });
  }

  #closeContainer(): void {
    this.#open.pop();
    const depth = this.#open.length;
    if (this.#outermostList === depth) this.#outermostList = -1;
    if (this.#leftOut === depth) this.#leftOut = -1;
  }

  #keepRest(bytes: Buffer): void {
    if (this.#leftOut < 0) this.#keep(bytes);
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const size = this.#size + bytes.length;
    if (size > this.#kept.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#kept.length, size));
      this.#kept.copy(larger, 0, 0, this.#size);
      this.#kept = larger;
    }
    bytes.copy(this.#kept, this.#size);
    this.#size = size;
    this.#shorten();
  }

  /** Empties an array that has become too long: the innermost that has most of what is too much. */
  #shorten(): void {
    const start = this.#open[this.#outermostList]?.start ?? this.#size;
    if (this.#size - start > ABRIDGED_LIST) {
      const most = (this.#size - start) / 2;
      this.#leftOut = this.#open.findLastIndex((inner) => inner.isList && this.#size - inner.start > most);
      this.#size = (this.#open[this.#leftOut] as Container).start;
    }
    if (this.#size > ABRIDGED_SIZE) this.#giveUp();
  }

  #giveUp(): void {
    this.#isTooLarge = true;
    this.#kept = NO_BYTES;
    this.#size = 0;
    this.#open.length = 0;
  }
}
