import type { IncomingMessage } from 'node:http';
import { replaceMethod } from './replace-method.js';
import { IS_FAST_PATH_ON } from './switch.js';

/**
 * Hands on the pieces of a body as Node's parser finds them, past the machinery of a Readable: that costs more than all that is
 * done with a piece.
 *
 * `take` has to be the listener of the source's `data` as well. It is told by that where a piece is to wait, and where somebody
 * beside it listens, such as a hook in `on.proxyRes`.
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

/** It flows, nothing waits in it, and nobody but us listens. */
export function flowsToOne(source: IncomingMessage): boolean {
  return (
    source.readableFlowing === true &&
    source.readableLength === 0 &&
    !source.destroyed &&
    source.listenerCount('data') === 1
  );
}
