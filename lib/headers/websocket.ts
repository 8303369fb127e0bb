import type { IncomingMessage } from 'node:http';
import { elementsOf } from './header-values.js';

/** RFC 6455 11.3: whether a header belongs to a WebSocket's handshake. */
export function isHandshakeHeader(name: string): boolean {
  return name.startsWith('sec-websocket-');
}

/** Whether WebSocket is one of the protocols that a message offers, or has switched, to (RFC 9110 7.8). */
export function offersWebSocket({ headers }: IncomingMessage): boolean {
  return elementsOf(headers.upgrade).includes('websocket');
}
