import { UNSETTLED_ANSWERS } from '../defaults.js';
import { pathOf } from '../util/request-target.js';

/** One answer, as an exchange has seen it. */
export interface SeenAnswer {
  /** Path and query of the request that it was given to. */
  path: string;
  /** The provider's id of it; `undefined` where it has none, or none that can be asked for again. */
  id: unknown;
  /** Its final figures were read. */
  complete: boolean;
}

/**
 * Which answers the proxy has seen begin, and not how they ended: those that providers give in the background, and those that were
 * left or cut. Whoever asks for one of them later is told its figures, and each answer is counted once: its figures belong to the
 * request that has caused it.
 */
export class UnsettledAnswers {
  readonly #ids = new Set<string>();

  /** `true` where the figures were counted before, or are for another proxy to count: the request only asked for them again. */
  settle({ path, id, complete }: SeenAnswer): boolean {
    if (typeof id !== 'string' || id === '') return false;
    const asksAgain = namesId(path, id);
    if (complete) {
      const isFirst = this.#ids.delete(id);
      return asksAgain && !isFirst;
    }
    if (!asksAgain) this.#remember(id);
    return asksAgain;
  }

  #remember(id: string): void {
    this.#ids.add(id);
    const [oldest] = this.#ids;
    if (this.#ids.size > UNSETTLED_ANSWERS && oldest !== undefined) this.#ids.delete(oldest);
  }
}

/** A request for a stored response, completion, run or batch names it: `GET /v1/responses/resp_1`, `POST .../resp_1/cancel`. */
function namesId(path: string, id: string): boolean {
  return pathOf(path)
    .split('/')
    .some((segment) => segment === id || decoded(segment) === id);
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
