import { errorMonitor } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type Readable, Stream, type Writable } from 'node:stream';
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
 * for the streams that the body is piped through, such as a decoder, which may find that it is not what its Content-Encoding says.
 *
 * @param res the client's response, which is guarded elsewhere
 */
export function guardHandedOver(response: IncomingMessage, res: unknown, guards: HandedOverBody): void {
  guard(response, { ...guards, res, isAnswer: () => true });
}

interface Guarded extends HandedOverBody {
  res: unknown;
  /** Whether the client is answered from this stream alone: then its failure is that of the body. */
  isAnswer(): boolean;
}

function guard(stream: Writable | Readable, guarded: Guarded): void {
  guardListeners(stream, guarded);
  if (!('pipe' in stream)) return;
  const { pipe } = stream as Readable;
  replaceMethod(stream as Readable, 'pipe', (destination, options) => {
    if (isMadeFor(destination, options, guarded)) {
      // With another reader beside it, a decoder may be there for something else.
      const isOnlyReader = (): boolean => stream.listenerCount('data') === 1;
      guard(destination as unknown as Writable, {
        ...guarded,
        isAnswer: () => isDecoder(destination) && isOnlyReader(),
      });
    }
    return pipe.call(stream, destination, options) as typeof destination;
  });
}

function guardListeners(stream: Writable | Readable, { failed, broken, isAnswer }: Guarded): void {
  replaceMethod(stream as Readable, 'emit', (event: string | symbol, ...args: unknown[]) => {
    const observers = event === 'error' ? stream.rawListeners(errorMonitor) : [];
    const listeners = stream.rawListeners(event);
    if (event === 'error' && isAnswer()) broken(args[0]);
    else if (event === 'error' && listeners.length === 0) failed(args[0]);
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

/** Whether a stream is there for one body, and ends with it. Others may outlive it, such as that of a log. */
function isMadeFor(
  destination: unknown,
  options: { end?: boolean | undefined } | undefined,
  { res }: Guarded,
): boolean {
  if (options?.end === false || destination === res) return false;
  return destination instanceof Stream && destination !== process.stdout && destination !== process.stderr;
}

function isDecoder(stream: unknown): boolean {
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
