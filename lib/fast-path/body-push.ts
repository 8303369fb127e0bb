import type { IncomingMessage } from 'node:http';
import { replaceMethod } from './replace-method.js';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Calls `take` with each piece of a body as soon as Node's parser has found it, bypassing the machinery of a Readable, which costs more
 * than all that is done with a piece.
 *
 * `take` has to be a listener of `data` of the source as well: that is how it gets a piece if the source is paused, or if somebody
 * else listens, too, such as a hook in `on.proxyRes`.
 */
export function takePieces(source: IncomingMessage, take: (piece: Buffer) => void): void {
  if (!IS_FAST_PATH_ON) return;
  const { push } = source;
  replaceMethod(source, 'push', (piece: Buffer | null, ...rest) => {
    if (piece === null || !flowsToOne(source)) return push.call(source, piece, ...rest);
    take(piece);
    return true;
  });
}

/** Whether a body flows, has nothing buffered, and has one listener: ours. */
export function flowsToOne(source: IncomingMessage): boolean {
  return (
    source.readableFlowing === true &&
    source.readableLength === 0 &&
    !source.destroyed &&
    source.listenerCount('data') === 1
  );
}
