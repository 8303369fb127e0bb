import { errorMonitor } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { replaceMethod } from '../../fast-path/replace-method.js';
import { runHook } from '../../util/hooks.js';

export interface HandedOverBody {
  /** One of the listeners has thrown, or rejected. */
  failed(cause: unknown): void;
  /** The body cannot be read to its end. Called in front of the listeners, which may answer with what they have of it. */
  broken(cause: unknown): void;
}

/**
 * Guards the body of a response that the user is to send (`selfHandleResponse`), for as long as it is read: what its listeners throw or
 * reject with would end the process, and `responseInterceptor` has no other way to say that the interceptor has failed. The same holds
 * for a decoder that the body is piped into, which may find that it is not what its Content-Encoding says.
 */
export function guardHandedOver(response: IncomingMessage, guards: HandedOverBody): void {
  guardListeners(response, guards, () => true);
  const { pipe } = response;
  replaceMethod(response, 'pipe', (destination, options) => {
    // With another reader beside it the decoder is not what the client is answered from.
    const isOnlyReader = (): boolean => response.listenerCount('data') === 1;
    if (isDecoder(destination)) guardListeners(destination, guards, isOnlyReader);
    return pipe.call(response, destination, options) as typeof destination;
  });
}

function guardListeners(stream: Readable, { failed, broken }: HandedOverBody, isAnswer: () => boolean): void {
  replaceMethod(stream, 'emit', (event: string | symbol, ...args: unknown[]) => {
    if (event === 'error' && isAnswer()) broken(args[0]);
    const observers = event === 'error' ? stream.rawListeners(errorMonitor) : [];
    const listeners = stream.rawListeners(event);
    for (const listener of [...observers, ...listeners]) {
      void runHook(
        String(event),
        () => Reflect.apply(listener, stream, args),
        (_message, cause) => failed(cause),
      );
    }
    return listeners.length > 0;
  });
}

/** A stream of Node's own that is made for one body. Others may outlive it, such as that of a log. */
function isDecoder(stream: unknown): stream is Readable {
  return DECODERS.some((decoder) => decoder !== undefined && stream instanceof decoder);
}

/** Zstandard: since Node 22.15. */
const DECODERS: readonly (undefined | (abstract new () => unknown))[] = [
  'Gunzip',
  'Inflate',
  'InflateRaw',
  'Unzip',
  'BrotliDecompress',
  'ZstdDecompress',
].map((name) => (zlib as unknown as Record<string, new () => unknown>)[name]);
