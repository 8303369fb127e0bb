import { Transform } from 'node:stream';
import type { Secrets } from '../credentials/secrets.js';
import { codingOf, createDecoder, isDecodable } from '../headers/content-coding.js';
import type { Config } from '../types/config.js';
import type { ResponseHead } from '../types/http.js';

/**
 * Masks the credentials in a body that may repeat them. Only an error or a TRACE does: other bodies are not searched. A body in a content
 * coding that cannot be undone is withheld, since nobody here could find them in it; status and headers stay.
 */
export class BodyMasking {
  readonly #secrets: Secrets;
  /** The content coding that is decoded first, since nothing can be found in coded bytes. */
  readonly coding: string | undefined;
  readonly #logError: Config['logError'];
  #stages: readonly Transform[] = [];

  constructor(secrets: Secrets, { headers }: ResponseHead, logError: Config['logError']) {
    this.#secrets = secrets;
    this.#logError = logError;
    this.coding = codingOf(headers['content-encoding']);
    delete headers['content-encoding'];
  }

  /** The stages that mask the body; they come before all others. To be called once. */
  createStages(): readonly Transform[] {
    const masker = this.#secrets.createMasker();
    if (this.coding !== undefined && !isDecodable(this.coding)) {
      this.#logError(`a body in the content coding "${this.coding}" was withheld: it may hold the credentials`);
      this.#stages = [new Transform({ transform: (_chunk, _encoding, callback) => callback() })];
    } else this.#stages = this.coding === undefined ? [masker] : [createDecoder(this.coding), masker];
    return this.#stages;
  }

  destroy(): void {
    for (const stage of this.#stages) stage.destroy();
  }
}

/** Masks the head of a response, in place. */
export function maskHead(secrets: Secrets, head: ResponseHead): void {
  secrets.maskHeaders(head.headers);
  head.statusMessage = secrets.mask(head.statusMessage);
}
