import type { Transform } from 'node:stream';
import type { Secrets } from '../credentials/secrets.js';
import { SseProxyError } from '../errors.js';
import { codingOf, createDecoder, isDecodable } from '../headers/content-coding.js';
import type { Config } from '../types/config.js';
import type { ResponseHead } from '../types/http.js';

/** Masks the credentials in a body that may repeat them. Only an error or a TRACE does: other bodies are not searched. */
export class BodyMasking {
  readonly #secrets: Secrets;
  /** The content coding that is undone first: in coded bytes nothing can be found. */
  readonly coding: string | undefined;
  #stages: readonly Transform[] = [];

  /** @throws {SseProxyError} `UPSTREAM_INVALID_RESPONSE` for a content coding that cannot be undone */
  constructor(secrets: Secrets, { headers }: ResponseHead) {
    this.#secrets = secrets;
    this.coding = codingOf(headers['content-encoding']);
    // The upstream was asked for no coding, and might say in this one what nobody here can find.
    if (this.coding !== undefined && !isDecodable(this.coding)) throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
    delete headers['content-encoding'];
  }

  /** What the body goes through, in front of every other stage. To be called once. */
  createStages(): readonly Transform[] {
    const masker = this.#secrets.createMasker();
    this.#stages = this.coding === undefined ? [masker] : [createDecoder(this.coding), masker];
    return this.#stages;
  }

  destroy(): void {
    for (const stage of this.#stages) stage.destroy();
  }
}

/** Masks the head of a response, in place. */
export function maskHead(secrets: Secrets, head: ResponseHead): void {
  secrets.maskFields(head.headers);
  head.statusMessage = secrets.mask(head.statusMessage);
}

/** Masks what is logged: a hook that cannot read an event may quote it. */
export function maskedLog(logError: Config['logError'], secrets: Secrets): Config['logError'] {
  return (message, ...values) => {
    for (const value of values) secrets.maskError(value);
    logError(message, ...values);
  };
}
