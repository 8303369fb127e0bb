import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { onceAssigned, responseInTurn } from '../fast-path/node-internals.js';

// RFC 9112 9.3.2: pipelined requests are answered in their order.

/** Nothing else is to be written in front of this response. */
export function isInTurn(res: ServerResponse): boolean {
  return res.socket !== null || res.writableEnded;
}

/** Calls back when the turn of a pipelined response has come; not at all where the client is gone by then. */
export function onceInTurn(res: ServerResponse, callback: () => void): void {
  // A 1xx that Node has queued is written in the same tick. With a head of ours by then, it would land behind that.
  onceAssigned(res, () => process.nextTick(callback));
}

/**
 * Resolves when whatever was asked before on a connection is answered: what is written earlier would be in the middle of that
 * answer. For an upgrade, which has no response of Node's.
 */
export async function turnOn(socket: Socket): Promise<void> {
  for (;;) {
    const earlier = responseInTurn(socket);
    if (earlier === undefined || socket.destroyed) return;
    await new Promise<void>((resolve) => earlier.once('close', () => resolve()));
  }
}

/** Tells the responses that wait for their turn on a connection that it has closed, by one listener for all of them. */
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
