/** @typedef {{ event: string, data: string }} ServerSentEvent */

/**
 * Reads Server-Sent Events out of a response body, however its bytes are cut into chunks.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerSentEvent, void, undefined>}
 */
export async function* readEvents(body) {
  const reader = body.getReader();
  // Keeps the bytes of an unfinished character until the next chunk, and drops a leading byte order mark.
  const decoder = new TextDecoder();
  const parse = createParser();
  try {
    while (true) {
      const { done, value } = await reader.read();
      // An event without its blank line is discarded at the end, as the specification wants it.
      if (done) return;
      yield* parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @returns {(text: string) => ServerSentEvent[]} takes a piece of the stream, returns the events that it completes */
export function createParser() {
  let rest = '';
  let afterCR = false;
  let event = '';
  /** @type {string[]} */
  let data = [];

  return (text) => {
    /** @type {ServerSentEvent[]} */
    const events = [];
    if (text === '') return events;
    // A CR ends its line at once; where it was the first half of a CRLF, the other half has nothing left to end.
    rest += afterCR && text.startsWith('\n') ? text.slice(1) : text;
    afterCR = text.endsWith('\r');
    const lines = rest.split(/\r\n|\n|\r/);
    rest = lines.pop() ?? '';

    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) events.push({ event: event || 'message', data: data.join('\n') });
        event = '';
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event = value;
      else if (field === 'data') data.push(value);
    }
    return events;
  };
}
