import { once } from 'node:events';
import { WebSocket } from 'ws';
import { onCleanUp } from '../watch/clean-up.js';

export function connect(url: string, headers: Record<string, string> = {}): WebSocket {
  const socket = new WebSocket(url, { headers });
  onCleanUp(() => socket.terminate());
  return socket;
}

export async function opened(url: string, headers?: Record<string, string>): Promise<WebSocket> {
  const socket = connect(url, headers);
  await once(socket, 'open');
  return socket;
}

export async function echo(socket: WebSocket, message: string): Promise<string> {
  const answer = once(socket, 'message');
  socket.send(message);
  return String((await answer)[0]);
}

/** How a handshake failed. */
export async function failed(url: string): Promise<Error> {
  const socket = connect(url);
  return new Promise((resolve, reject) => {
    socket.once('error', resolve);
    socket.once('open', () => reject(new Error('it opened')));
  });
}

/** A handshake as it is on the wire. */
export function handshake(path = '/', fields: Record<string, string> = {}): string {
  const all = {
    Host: 'app.test',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...fields,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
