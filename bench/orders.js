// @ts-check
// What the load asks of the upstream. The order is the prompt of an ordinary chat completion, so that it passes gateways
// that look into requests.

/**
 * @typedef {object} Order
 * @property {number} stream Its number
 * @property {'paced' | 'burst' | 'silent' | 'flood' | 'once' | 'json'} kind An opening event and then, at a word, events at
 *   an interval, or as fast as they are taken; an opening event only; events without waiting for a word; one event and the
 *   end; a JSON answer
 * @property {number} [events] Of a stream, behind the opening
 * @property {number} [perWrite] Events in one write, and so in one chunk, of a burst
 * @property {number} [interval] Milliseconds between two events
 */

/**
 * @param {Order} order
 * @param {number} size Of the body, at least
 */
export function requestBody(order, size = 0) {
  const body = (/** @type {string} */ prompt) =>
    JSON.stringify({
      model: 'gpt-5-mini',
      stream: order.kind !== 'json',
      messages: [
        { role: 'system', content: prompt },
        { role: 'user', content: JSON.stringify(order) },
      ],
    });
  return Buffer.from(body('x'.repeat(Math.max(0, size - body('').length))));
}

/**
 * @param {Buffer} body
 * @returns {Order}
 */
export function orderOf(body) {
  return JSON.parse(JSON.parse(body.toString()).messages[1].content);
}
