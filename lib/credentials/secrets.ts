import type { Transform } from 'node:stream';
import { types } from 'node:util';
import { MAX_CAUSES, MIN_SECRET_LENGTH } from '../defaults.js';
import type { HeaderFields } from '../types/http.js';
import { describe } from '../util/error-log.js';
import type { LogError } from '../util/hooks.js';
import { memberOf } from '../util/member-of.js';
import { SecretMasker } from './secret-masker.js';
import { patternOf, type Spelled, spell } from './spellings.js';

/** The credentials that were put on a request, and masks for them in whatever comes back. */
export class Secrets {
  /** The longest first: one secret may be the beginning of another. */
  readonly #values: readonly Spelled[];
  /** Finds each place where a secret begins, also within another one. */
  readonly #pattern: RegExp;

  /**
   * @param credentials headers; a scheme such as `Bearer` is not part of the secret, nor is the space around it
   * @param others secrets as they are
   */
  constructor(credentials: Readonly<Record<string, string>>, others: readonly string[] = []) {
    const values = Object.values(credentials).map((value) => value.trim().replace(/^[a-z]+\s+/i, ''));
    this.#values = [...new Set([...values, ...others])]
      .filter((value) => value.length >= MIN_SECRET_LENGTH)
      .sort((a, b) => b.length - a.length)
      .map(spell);
    this.#pattern = new RegExp(`(?=(${this.#values.map(patternOf).join('|')}))`, 'g');
  }

  /** Whether there is nothing to mask. */
  get isEmpty(): boolean {
    return this.#values.length === 0;
  }

  /** The text with `*` in the place of each character of a secret. */
  mask(text: string): string {
    if (this.isEmpty) return text;
    let masked = '';
    for (const { index, 1: found = '' } of text.matchAll(this.#pattern)) {
      // A match may begin within the one before, and even end there.
      masked += text.slice(masked.length, index);
      masked += '*'.repeat(Math.max(0, index + found.length - masked.length));
    }
    return masked + text.slice(masked.length);
  }

  /** Masks headers, in place. */
  maskHeaders(headers: HeaderFields): void {
    for (const [name, value] of Object.entries(headers)) {
      headers[name] = Array.isArray(value) ? value.map((line) => this.mask(line)) : this.mask(value);
    }
  }

  /** Masks the properties of an error and its causes, in place: Node quotes in them what it could not parse. */
  maskError(error: unknown): void {
    let cause = error;
    for (let i = 0; i < MAX_CAUSES && types.isNativeError(cause); i += 1) {
      for (const name of Object.getOwnPropertyNames(cause)) {
        const value = memberOf(cause, name);
        // An error of Node's parser has the bytes that came.
        if (ArrayBuffer.isView(value)) Reflect.deleteProperty(cause, name);
        const masked = typeof value === 'string' ? this.mask(value) : value;
        if (masked !== value) Reflect.set(cause, name, masked);
      }
      cause = memberOf(cause, 'cause');
    }
  }

  /** A transform that masks a body, which keeps its length. */
  createMasker(): Transform {
    return new SecretMasker(this, this.#values);
  }
}

/** Masks what is logged: the error of a hook that could not read an event may quote it. */
export function maskedLog(logError: LogError, secrets: Secrets | undefined): LogError {
  if (secrets === undefined) return logError;
  return (...what) => {
    secrets.maskError(what[1]);
    logError(secrets.mask(describe(...what)));
  };
}

/** The secrets of a proxy's requests. Most requests have those of the one before, which are not prepared anew. */
export class KnownSecrets {
  #credentials: readonly string[] = [];
  #others: readonly string[] = [];
  #secrets: Secrets | undefined;

  /** As the arguments of {@link Secrets}; `undefined` if there is nothing to mask. */
  of(credentials: Readonly<Record<string, string>> | undefined, others: readonly string[]): Secrets | undefined {
    const values = Object.values(credentials ?? {});
    if (values.length + others.length === 0) return undefined;
    if (!isSame(values, this.#credentials) || !isSame(others, this.#others)) {
      const secrets = new Secrets(credentials ?? {}, others);
      this.#credentials = values;
      this.#others = others;
      this.#secrets = secrets.isEmpty ? undefined : secrets;
    }
    return this.#secrets;
  }
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((value, i) => value === b[i]));
