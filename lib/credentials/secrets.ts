import { Transform, type TransformCallback } from 'node:stream';
import { types } from 'node:util';
import { MAX_CAUSES, MIN_SECRET_LENGTH } from '../defaults.js';
import type { HeaderFields } from '../types/http.js';
import { isBegun, longest, patternOf, type Spelled, spell } from './spellings.js';

/** The credentials that were put on a request, to be found again in what comes back. */
export class Secrets {
  /** The longest first: one may be the beginning of another. */
  readonly #values: readonly Spelled[];
  /** Finds each place where one begins, also within another. */
  readonly #pattern: RegExp;

  /** @param credentials header fields; `Bearer` and the like are no secret, nor is the space around a value */
  constructor(credentials: Readonly<Record<string, string>>) {
    this.#values = Object.values(credentials)
      .map((value) => value.trim().replace(/^[a-z]+\s+/i, ''))
      .filter((value) => value.length >= MIN_SECRET_LENGTH)
      .sort((a, b) => b.length - a.length)
      .map(spell);
    this.#pattern = new RegExp(`(?=(${this.#values.map(patternOf).join('|')}))`, 'g');
  }

  /** There is nothing to look for. */
  get isEmpty(): boolean {
    return this.#values.length === 0;
  }

  /** The text with `*` in the place of each character of a secret. */
  mask(text: string): string {
    if (this.isEmpty) return text;
    let masked = '';
    for (const { index, 1: found = '' } of text.matchAll(this.#pattern)) {
      // It may begin within the one before, and even end there.
      masked += text.slice(masked.length, index);
      masked += '*'.repeat(Math.max(0, index + found.length - masked.length));
    }
    return masked + text.slice(masked.length);
  }

  /** Masks header fields, in place. */
  maskFields(headers: HeaderFields): void {
    for (const [name, value] of Object.entries(headers)) {
      headers[name] = Array.isArray(value) ? value.map((line) => this.mask(line)) : this.mask(value);
    }
  }

  /** Masks what an error and its causes say, in place: Node quotes in them what it could not read. */
  maskError(error: unknown): void {
    let cause = error;
    for (let i = 0; i < MAX_CAUSES && types.isNativeError(cause); i += 1) {
      for (const name of Object.getOwnPropertyNames(cause)) {
        const value = memberOf(cause, name);
        // Its parser has all that came in a buffer.
        if (ArrayBuffer.isView(value)) Reflect.deleteProperty(cause, name);
        const masked = typeof value === 'string' ? this.mask(value) : value;
        if (masked !== value) Reflect.set(cause, name, masked);
      }
      cause = memberOf(cause, 'cause');
    }
  }

  /** Masks a body on its way; it keeps its length. */
  createMasker(): Transform {
    return new SecretMasker(this, this.#values);
  }
}

/** A member of what was thrown, whatever that is. */
export function memberOf(error: unknown, name: string): unknown {
  try {
    return Reflect.get(error as object, name);
  } catch {
    // A getter that throws says nothing, nor does what is no object.
    return undefined;
  }
}

/** Holds back no more than what may be the beginning of a secret. */
class SecretMasker extends Transform {
  readonly #secrets: Secrets;
  readonly #values: readonly Spelled[];
  /** The most characters that one of them may have. */
  readonly #longest: number;
  /** As it came: what is held back, behind what a secret that ends in it may begin in. */
  #text = '';
  /** How much of that has left. */
  #left = 0;

  constructor(secrets: Secrets, values: readonly Spelled[]) {
    super();
    this.#secrets = secrets;
    this.#values = values;
    this.#longest = Math.max(...values.map(longest));
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    // A character per byte, whatever the bytes mean.
    const text = this.#text + chunk.toString('latin1');
    const masked = this.#secrets.mask(text);
    let end = Math.max(this.#left, text.length - this.#beginningAtEndOf(text));
    // Of these it is known already.
    while (masked[end] === '*') end += 1;
    const leaving = masked.slice(this.#left, end);
    const context = Math.max(0, end - this.#longest);
    this.#text = text.slice(context);
    this.#left = end - context;
    callback(null, leaving === '' ? undefined : Buffer.from(leaving, 'latin1'));
  }

  override _flush(callback: TransformCallback): void {
    const begun = this.#beginningAtEndOf(this.#text);
    const rest = this.#secrets.mask(this.#text);
    // Most of a secret is not to be seen either, where a body breaks off.
    const end = begun < MIN_SECRET_LENGTH ? rest : rest.slice(0, rest.length - begun) + '*'.repeat(begun);
    callback(null, end.length === this.#left ? undefined : Buffer.from(end.slice(this.#left), 'latin1'));
  }

  #beginningAtEndOf(text: string): number {
    for (let start = Math.max(0, text.length - this.#longest + 1); start < text.length; start += 1) {
      if (this.#values.some((value) => isBegun(value, text, start))) return text.length - start;
    }
    return 0;
  }
}
