// @ts-check
// Masks e-mail addresses in a text that comes in pieces, wherever it was cut: a class that knows nothing of events, and a
// `transformEvent` that gives it the text of chat completions.

/** @typedef {import('express-sse-proxy').StreamEvent} StreamEvent */
/** @typedef {import('express-sse-proxy').Exchange} Exchange */
/** @typedef {import('express-sse-proxy').EventFields} EventFields */

export const MASK = '[e-mail]';

/**
 * An address, as most of them are written. The limits (64 characters in front of the `@`, 63 between two dots) are those of
 * RFC 5321 and RFC 1035; they also limit what has to be held back.
 */
export const ADDRESS = /[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,126}[a-z]{2,63}(?![\w-])/gi;

/** How an address may begin, up to the end of the text so far: it may still become one, or a longer one. */
const BEGINNING = /[\w.%+-]{1,64}(?:@(?:[\w-]{1,63}\.){0,126}[\w-]{0,63})?$/;

/**
 * From left to right, what comes first of the two. Where a beginning reaches the end of the text, nothing is decided yet;
 * where it does not, whatever may follow cannot change what is there.
 */
const BEGINNING_OR_ADDRESS = new RegExp(`(${BEGINNING.source})|${ADDRESS.source}`, 'gi');

/** Masks the addresses in one text. */
export class AddressMask {
  /** The end of the text so far, where it is the beginning of an address. Never more than that. */
  #held = '';

  /**
   * @param {string} text the next piece
   * @returns {string} as much of the text as is decided by it
   */
  push(text) {
    const undecided = this.#held + text;
    this.#held = '';
    return undecided.replace(BEGINNING_OR_ADDRESS, (_match, /** @type {string | undefined} */ beginning) => {
      if (beginning === undefined) return MASK;
      this.#held = beginning;
      return '';
    });
  }

  /** @returns {string} the rest, when nothing will follow */
  end() {
    const rest = this.#held.replace(ADDRESS, MASK);
    this.#held = '';
    return rest;
  }
}

/**
 * @typedef {object} Choice
 * @property {number} index
 * @property {{ content?: string | null }} [delta]
 * @property {object | null} [logprobs]
 * @property {string | null} [finish_reason]
 */

/** @typedef {{ choices?: Choice[], usage?: object | null }} Chunk */

/**
 * What one exchange has to remember from event to event.
 *
 * @typedef {object} Masking
 * @property {Map<number, AddressMask>} masks by the index of a choice: with `n: 2`, two texts come interleaved
 * @property {Chunk} [last] the last chunk that had choices
 */

/**
 * A `transformEvent` for OpenAI's Chat Completions. It masks `content`; what else has text in it, such as the arguments of
 * a tool call, would need a mask of its own. An event without anything to mask keeps its bytes.
 *
 * @param {StreamEvent} event
 * @param {Exchange} exchange
 * @returns {EventFields | EventFields[]}
 */
export function maskAddresses(event, { locals }) {
  locals.masking ??= { masks: new Map() };
  const masking = /** @type {Masking} */ (locals.masking);
  if (event.data === '[DONE]') return [...restOf(masking), event];

  const chunk = /** @type {Chunk | null | undefined} */ (event.json());
  if (!Array.isArray(chunk?.choices) || chunk.choices.length === 0) return event;
  masking.last = chunk;
  let changed = false;
  for (const choice of chunk.choices) {
    const mask = masking.masks.get(choice.index) ?? new AddressMask();
    masking.masks.set(choice.index, mask);

    const text = choice.delta?.content ?? '';
    // The last chunk of a choice: there is nothing left to wait for.
    const masked = mask.push(text) + (choice.finish_reason ? mask.end() : '');
    if (masked !== text) {
      choice.delta = { ...choice.delta, content: masked };
      changed = true;
    }
    // They spell out each token.
    if (choice.logprobs) {
      choice.logprobs = null;
      changed = true;
    }
  }
  if (changed) event.data = JSON.stringify(chunk);
  return event;
}

/**
 * What is still held back when the stream ends without a `finish_reason`, in a chunk of our own.
 *
 * @param {Masking} masking
 * @returns {EventFields[]}
 */
function restOf({ masks, last }) {
  const choices = [...masks]
    .map(([index, mask]) => ({ index, delta: { content: mask.end() }, logprobs: null, finish_reason: null }))
    .filter(({ delta }) => delta.content !== '');
  return choices.length === 0 ? [] : [{ data: JSON.stringify({ ...last, choices }) }];
}
