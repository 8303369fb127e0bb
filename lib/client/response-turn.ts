import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { onceAssigned, responseInTurn } from '../fast-path/node-internals.js';

// RFC 9112 9.3.2: pipelined requests are answered in their order.

/** Whether no other response is to be written in front of this one. */
export function isInTurn(res: ServerResponse): boolean {
  return res.socket !== null || res.writableEnded;
}

/** Calls back when the turn of a pipelined response has come; never if the client leaves before that. */
export function onceInTurn(res: ServerResponse, callback: () => void): void {
  // Node writes a 1xx that it has queued in the same tick. It would land behind a head that is written before that.
  onceAssigned(res, () => process.nextTick(callback));
}

/**
 * Resolves when all earlier requests on a connection are answered: what is written before that would be in the middle of one of those
 * responses. For an upgrade, for which Node makes no response.
 */
export async function turnOn(socket: Socket): Promise<void> {
  for (;;) {
    const earlier = responseInTurn(socket);
    if (earlier === undefined || socket.destroyed) return;
    await new Promise<void>((resolve) => earlier.once('close', () => resolve()));
  }
}

/** Tells the responses that wait for their turn on a connection when it closes, with one listener for all of them. */
export class CloseNotifier {
  static readonly #notifiers = new WeakMap<Socket, CloseNotifier>();
  readonly #socket: Socket;
  readonly #callbacks = new Set<() => void>();
  readonly #onClose = (): void => {
    for (const callback of this.#callbacks) callback();
  };

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static of(socket: Socket): CloseNotifier {
    const notifier = CloseNotifier.#notifiers.get(socket) ?? new CloseNotifier(socket);
    CloseNotifier.#notifiers.set(socket, notifier);
    return notifier;
  }

  /** The callback must not have been added yet. */
  add(callback: () => void): void {
    if (this.#callbacks.size === 0) this.#socket.once('close', this.#onClose);
    this.#callbacks.add(callback);
  }

  delete(callback: () => void): void {
    this.#callbacks.delete(callback);
    if (this.#callbacks.size === 0) this.#socket.removeListener('close', this.#onClose);
  }
}
