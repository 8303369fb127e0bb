import { Transform, type TransformCallback } from 'node:stream';
import type { HeaderFields } from './types.js';

/** What is shorter is no secret, and would be found everywhere. */
const MIN_LENGTH = 8;

/** The credentials that were put on a request, to be found again in what comes back. */
export class Secrets {
  /** The longest first: one may be the beginning of another. */
  readonly #values: readonly string[];

  /** @param credentials header fields; `Bearer` and the like are no secret */
  constructor(credentials: Readonly<Record<string, string>>) {
    this.#values = Object.values(credentials)
      .map((value) => value.replace(/^[a-z]+ +/i, ''))
      .filter((value) => value.length >= MIN_LENGTH)
      .sort((a, b) => b.length - a.length);
  }

  /** The text with `*` in the place of each character of a secret. */
  mask(text: string): string {
    return this.#values.reduce((masked, value) => masked.replaceAll(value, '*'.repeat(value.length)), text);
  }

  /** Masks header fields, in place. */
  maskFields(headers: HeaderFields): void {
    for (const [name, value] of Object.entries(headers)) {
      headers[name] = Array.isArray(value) ? value.map((line) => this.mask(line)) : this.mask(value);
    }
  }

  /** Masks a body on its way; it keeps its length. */
  createMasker(): Transform {
    return new SecretMasker(this, this.#values);
  }
}

/** Holds back no more than what may be the beginning of a secret. */
class SecretMasker extends Transform {
  readonly #secrets: Secrets;
  readonly #values: readonly string[];
  #held = '';

  constructor(secrets: Secrets, values: readonly string[]) {
    super();
    this.#secrets = secrets;
    this.#values = values;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    // A character per byte, whatever the bytes mean.
    const text = this.#secrets.mask(this.#held + chunk.toString('latin1'));
    const kept = this.#beginningAtEndOf(text);
    this.#held = text.slice(text.length - kept);
    callback(null, kept === text.length ? undefined : Buffer.from(text.slice(0, text.length - kept), 'latin1'));
  }

  override _flush(callback: TransformCallback): void {
    callback(null, this.#held === '' ? undefined : Buffer.from(this.#held, 'latin1'));
  }

  #beginningAtEndOf(text: string): number {
    const lengths = this.#values.map((value) => {
      for (let length = Math.min(value.length - 1, text.length); length > 0; length -= 1) {
        if (text.endsWith(value.slice(0, length))) return length;
      }
      return 0;
    });
    return Math.max(0, ...lengths);
  }
}
