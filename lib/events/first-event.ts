import type { IncomingMessage } from 'node:http';
import { SseProxyError } from '../errors.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import { createDecoder, isDecodable } from '../headers/content-coding.js';
import { readBytes } from '../request/reader-encodings.js';
import { EventReader } from './event-reader.js';

/** How far events are looked past, in search of the first that counts. */
export interface LookPast {
  /** Whether an event is no answer yet. What it throws rejects. */
  isPassed(event: ParsedEvent): boolean;
  /** How many events. */
  events: number;
  /** For how long, from the first of them on. Milliseconds. */
  time: number;
}

/**
 * Waits for the first event of a response, and puts every byte that it read for that back.
 *
 * Resolves with the event; with `'none'` if the response ends without one; with `'unknown'` if there is none in the first `limit`
 * bytes, if the bytes cannot be read, or if all that came within the bounds was looked past. It does not resolve if the response breaks
 * off, which the attempt reports.
 */
export function firstEvent(
  source: IncomingMessage,
  format: EventFormat,
  coding: string | undefined,
  limit: number,
  lookPast?: LookPast,
): Promise<ParsedEvent | 'none' | 'unknown'> {
  if (coding !== undefined && !isDecodable(coding)) return Promise.resolve('unknown');
  return new Promise((resolve, reject) => {
    const reader = new EventReader(format, limit);
    const decoder = coding === undefined ? undefined : createDecoder(coding);
    const chunks: Buffer[] = [];
    let size = 0;
    let decodedSize = 0;
    let isSettled = false;
    let passed = 0;
    let timer: NodeJS.Timeout | undefined;

    const stop = (): void => {
      isSettled = true;
      clearTimeout(timer);
      source.removeListener('readable', onReadable).removeListener('close', stop);
      decoder?.removeAllListeners('data').destroy();
    };
    const settle = (result: ParsedEvent | 'none' | 'unknown'): void => {
      if (isSettled) return;
      stop();
      if (chunks.length > 0) source.unshift(Buffer.concat(chunks));
      resolve(result);
    };
    const pass = ({ events, time }: LookPast): void => {
      passed += 1;
      timer ??= setTimeout(() => settle('unknown'), time);
      if (passed >= events) settle('unknown');
    };
    const read = (bytes: Buffer): void => {
      try {
        for (const { event } of reader.read(bytes)) {
          if (event === undefined) continue;
          if (lookPast?.isPassed(event)) pass(lookPast);
          else settle(event);
          if (isSettled) return;
        }
      } catch (cause) {
        if (cause instanceof SseProxyError) {
          stop();
          reject(cause);
        } else settle('unknown');
      }
    };
    /** The end, or the limit, is reached. */
    const end = (): void => {
      const nothing = passed > 0 ? 'unknown' : 'none';
      settle(size > limit ? 'unknown' : (reader.end().event ?? nothing));
    };
    const onReadable = (): void => {
      const { readableLength } = source;
      if (readableLength > 0) {
        // By number, since `read()` would end a source that is complete, and nothing could be put back.
        const chunk = readBytes(source, readableLength) as Buffer;
        chunks.push(chunk);
        const readable = chunk.subarray(0, limit - size);
        size += chunk.length;
        if (decoder === undefined) read(readable);
        else decoder.write(readable);
      }
      if (isSettled || !(source.complete || size > limit)) return;
      source.removeListener('readable', onReadable);
      // The decoder may still be busy with what it was given.
      if (decoder === undefined) end();
      else decoder.end();
    };

    const readDecoded = (bytes: Buffer): void => {
      read(bytes.subarray(0, limit - decodedSize));
      decodedSize += bytes.length;
      if (decodedSize > limit) settle('unknown');
    };

    decoder
      ?.on('data', readDecoded)
      .once('end', end)
      .on('error', () => settle('unknown'));
    source.on('readable', onReadable).once('close', stop);
  });
}
