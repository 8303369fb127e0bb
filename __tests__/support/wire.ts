import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import net, { type Socket } from 'node:net';
import { onCleanUp } from './servers.js';

/** A keep-alive agent that the test's end closes. */
export function keepAliveAgent(maxSockets = 64): http.Agent {
  const agent = new http.Agent({ keepAlive: true, maxSockets });
  onCleanUp(() => agent.destroy());
  return agent;
}

export interface Connection {
  socket: Socket;
  /** All that has come so far. */
  readonly text: string;
  /** Resolves once `text` includes this; rejects where the connection closes without it. */
  until(expected: string): Promise<string>;
  /** Resolves with all that came once the connection has closed. */
  closed(): Promise<string>;
}

/** A client that speaks raw bytes. */
export async function rawClient(port: number): Promise<Connection> {
  const socket = net.connect(port, '127.0.0.1');
  onCleanUp(() => {
    socket.destroy();
  });
  let text = '';
  let isClosed = false;
  const changed = new Set<() => void>();
  const change = (): void => {
    for (const notify of changed) notify();
  };
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    change();
  });
  socket.on('error', () => {});
  socket.once('close', () => {
    isClosed = true;
    change();
  });
  await once(socket, 'connect');
  const when = (ready: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!ready()) return;
        changed.delete(check);
        resolve();
      };
      changed.add(check);
      check();
    });
  return {
    socket,
    get text() {
      return text;
    },
    async until(expected) {
      await when(() => isClosed || text.includes(expected));
      if (!text.includes(expected)) throw new Error(`closed without ${JSON.stringify(expected)}: ${text}`);
      return text;
    },
    async closed() {
      await when(() => isClosed);
      return text;
    },
  };
}

/** A promise, and what resolves it. */
export interface Signal<T = void> {
  promise: Promise<T>;
  resolve(value: T): void;
}

export function signal<T = void>(): Signal<T> {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((ready) => {
    resolve = ready;
  });
  return { promise, resolve };
}

/** The values of the header lines of one name, one per line, from `rawHeaders`. */
export function lines(raw: readonly string[], name: string): string[] {
  return raw.filter((_value, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === name);
}

/** Resolves when the whole request body was read. */
export async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks).toString();
}
