import { once } from 'node:events';
import type { Server } from 'node:http';
import net, { type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { expect } from '@jest/globals';
import { onCleanUp } from '../watch/clean-up.js';
import { closed, Queue } from '../watch/wait.js';

/** Sends raw bytes and resolves with all that comes back until the other side closes, and whether it was a reset. */
export async function rawExchange(port: number, bytes: string): Promise<{ text: string; reset: boolean }> {
  const socket = net.connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  let reset = false;
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reset = error.code === 'ECONNRESET';
  });
  socket.write(bytes, 'latin1');
  await once(socket, 'close').catch(() => {});
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return { text: Buffer.concat(chunks).toString('latin1'), reset };
}

export interface RawClient {
  socket: Socket;
  closed: Promise<void>;
  /** Everything that has come. */
  text(): string;
  /** Resolves with all that has come when `text` is in it as often as `times` says; rejects where the connection closes before. */
  until(text: string, times?: number): Promise<string>;
  /** Resolves when the other side has closed; `reset` tells how. */
  end(): Promise<{ text: string; reset: boolean }>;
}

/** A client that speaks raw bytes. */
export async function rawClient(port: number): Promise<RawClient> {
  const socket = net.connect(port, '127.0.0.1');
  onCleanUp(() => {
    socket.destroy();
  });
  await once(socket, 'connect');
  let text = '';
  let reset = false;
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const check of waiting) check();
  };
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    wake();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reset = error.code === 'ECONNRESET';
  });
  socket.once('close', wake);
  const end = closed(socket);
  return {
    socket,
    closed: end,
    text: () => text,
    until: (wanted, times = 1) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          const isThere = text.split(wanted).length > times;
          if (!isThere && !socket.closed) return;
          waiting.delete(check);
          if (isThere) resolve(text);
          else reject(new Error(`closed without ${JSON.stringify(wanted)}: ${text}`));
        };
        waiting.add(check);
        check();
      }),
    async end() {
      await end;
      return { text, reset };
    },
  };
}

/** The values of the header lines of one name, one per line, from `rawHeaders`. */
export function headerLines(raw: readonly string[], name: string): string[] {
  return raw.filter((_value, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === name);
}

/** The answers in what has come, each with the 1xx in front of it. Fails where something stands between them. */
export function answersIn(text: string): { informational: string[]; status: number; body: string }[] {
  const answers = [];
  let rest = text;
  let informational: string[] = [];
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n') + 4;
    const head = rest.slice(0, end);
    expect(head).toMatch(/^HTTP\/1.1 \d{3} /);
    rest = rest.slice(end);
    const status = Number(head.slice(9, 12));
    if (status < 200) {
      informational.push(head);
      continue;
    }
    const length = /^content-length: (\d+)\r$/im.exec(head)?.[1];
    let body = '';
    if (length !== undefined) {
      body = rest.slice(0, Number(length));
      rest = rest.slice(Number(length));
    } else {
      for (let size = -1; size !== 0; ) {
        const [line = ''] = rest.split('\r\n', 1);
        expect(line).toMatch(/^[\da-f]+$/);
        size = Number.parseInt(line, 16);
        body += rest.slice(line.length + 2, line.length + 2 + size);
        rest = rest.slice(line.length + 4 + size);
      }
    }
    answers.push({ informational, status, body });
    informational = [];
  }
  return answers;
}

/** Sends these bytes; resolves with all that has come when `isEnough` says so, or the connection has closed. */
export async function speak(
  socket: Socket,
  bytes: string,
  isEnough: (text: string) => boolean,
): Promise<{ text: string; isClosed: boolean }> {
  let text = '';
  socket.write(bytes, 'latin1');
  return new Promise((resolve) => {
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      if (isEnough(text)) resolve({ text, isClosed: false });
    });
    socket.once('close', () => resolve({ text, isClosed: true }));
  });
}

/** A client on a connection that takes what is written to it and never says that it has: it does not read. */
export function stuckClient(
  server: Server,
  head = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
): { socket: Duplex; taken: Queue<string> } {
  const taken = new Queue<string>();
  const socket = Object.assign(
    new Duplex({
      read() {},
      write: (chunk: Buffer) => taken.push(chunk.toString('latin1')),
      writev: (chunks) => taken.push(chunks.map(({ chunk }) => chunk.toString('latin1')).join('')),
    }),
    { setNoDelay() {} },
  );
  onCleanUp(() => {
    socket.destroy();
  });
  server.emit('connection', socket);
  socket.push(head);
  return { socket, taken };
}
