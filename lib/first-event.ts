import type { IncomingMessage } from 'node:http';
import { createDecoder, isDecodable } from './content-coding.js';
import { EventReader } from './event-reader.js';
import type { EventFormat, ParsedEvent } from './formats/format.js';

/**
 * Waits for the first event of a response, and puts every byte that it has read for that back.
 *
 * Resolves with the event; with `'none'` where the response ended without one; with `'unknown'` where there is none in
 * the first `limit` bytes, or the bytes cannot be read. Does not resolve where the response breaks off: whoever reports
 * that of the attempt does so.
 */
export function firstEvent(
  source: IncomingMessage,
  format: EventFormat,
  coding: string | undefined,
  limit: number,
): Promise<ParsedEvent | 'none' | 'unknown'> {
  if (coding !== undefined && !isDecodable(coding)) return Promise.resolve('unknown');
  return new Promise((resolve) => {
    const reader = new EventReader(format, limit);
    const decoder = coding === undefined ? undefined : createDecoder(coding);
    const chunks: Buffer[] = [];
    let size = 0;

    const settle = (result: ParsedEvent | 'none' | 'unknown'): void => {
      source.removeListener('readable', onReadable);
      decoder?.removeAllListeners('data').destroy();
      if (chunks.length > 0) source.unshift(Buffer.concat(chunks.splice(0)));
      resolve(result);
    };
    const read = (bytes: Buffer): void => {
      try {
        for (const { event } of reader.read(bytes)) {
          if (event === undefined) continue;
          settle(event);
          return;
        }
      } catch {
        settle('unknown');
      }
    };
    const onReadable = (): void => {
      // Not with nothing there: that would be the end of the source, and nothing could be put back any more.
      const chunk: Buffer | null = source.readableLength > 0 ? source.read() : null;
      if (chunk === null) {
        if (source.complete) settle(reader.end().event ?? 'none');
        return;
      }
      chunks.push(chunk);
      size += chunk.length;
      if (size > limit) settle('unknown');
      else if (decoder === undefined) read(chunk);
      else decoder.write(chunk);
    };

    decoder?.on('data', read).on('error', () => settle('unknown'));
    source.on('readable', onReadable);
  });
}
