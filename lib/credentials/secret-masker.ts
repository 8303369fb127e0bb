import { Transform, type TransformCallback } from 'node:stream';
import { MIN_SECRET_LENGTH } from '../defaults.js';
import { isBegun, longest, type Spelled } from './spellings.js';

/** Masks secrets in a text. */
export interface Masker {
  mask(text: string): string;
}

/** Masks secrets in a body, which keeps its length. Holds back only what may be the beginning of a secret. */
export class SecretMasker extends Transform {
  readonly #masker: Masker;
  readonly #values: readonly Spelled[];
  /** The most characters that one of them may have. */
  readonly #longest: number;
  /** Unmasked input: one secret's length of context, then the bytes held back. */
  #text = '';
  /** How much of it has left: the context. */
  #left = 0;

  /** @param values the secrets themselves, the longest first */
  constructor(masker: Masker, values: readonly Spelled[]) {
    super();
    this.#masker = masker;
    this.#values = values;
    this.#longest = Math.max(...values.map(longest));
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    // latin1: one character per byte, whatever the bytes mean.
    const text = this.#text + chunk.toString('latin1');
    const masked = this.#masker.mask(text);
    let end = Math.max(this.#left, text.length - this.#beginningAtEndOf(text));
    // These are masked whatever follows.
    while (masked[end] === '*') end += 1;
    const leaving = masked.slice(this.#left, end);
    const context = Math.max(0, end - this.#longest);
    this.#text = text.slice(context);
    this.#left = end - context;
    callback(null, leaving === '' ? undefined : Buffer.from(leaving, 'latin1'));
  }

  override _flush(callback: TransformCallback): void {
    const begun = this.#beginningAtEndOf(this.#text);
    const rest = this.#masker.mask(this.#text);
    // A body that breaks off may end in most of a secret: that is masked, too.
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
