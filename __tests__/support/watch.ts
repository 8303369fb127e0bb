import { once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net, { type Socket } from 'node:net';
import vm from 'node:vm';
import { afterEach, beforeEach, expect } from '@jest/globals';
import { closeAll, listen, onCleanUp, upstream } from './servers.js';

/** Jest gives tests a copy of `process`; this is the one on which Node emits. */
export const realProcess: NodeJS.Process = vm.runInThisContext('process');

/** Collects what must never happen: unhandled rejections, uncaught exceptions, warnings. */
export function watchProcess(): unknown[] {
  const seen: unknown[] = [];
  const see = (what: unknown): void => {
    // Of Node's own making: modules in a `vm` context, say.
    const name = typeof what === 'object' && what !== null && 'name' in what ? what.name : '';
    if (name !== 'ExperimentalWarning') seen.push(what);
  };
  const events = ['unhandledRejection', 'uncaughtException', 'warning'];
  for (const event of events) realProcess.on(event, see);
  onCleanUp(() => {
    for (const event of events) realProcess.removeListener(event, see);
  });
  return seen;
}

/** For a whole test file: everything that a test opens is closed after it, and nothing may have happened that never must. */
export function closeAndWatchEachTest(): void {
  let incidents: unknown[];
  beforeEach(() => {
    incidents = watchProcess();
  });
  afterEach(async () => {
    await closeAll();
    expect(incidents).toEqual([]);
  });
}

/** Lets everything run that is due: promises, ticks and the I/O that is ready. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

export interface Signal<T> {
  promise: Promise<T>;
  resolve(value: T): void;
}

export function signal<T = void>(): Signal<T> {
  let resolve = (_value: T): void => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** What is pushed, in order; `next()` waits for it. */
export class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];
  /** How many were pushed. */
  count = 0;

  push(item: T): void {
    this.count += 1;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#items.push(item);
    else waiting(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(item);
  }
}

export interface Received {
  req: IncomingMessage;
  res: ServerResponse;
  /** The connection that it came on has closed. */
  closed: Promise<void>;
}

/** An HTTP upstream whose requests the test answers one by one. */
export async function manualUpstream(): Promise<{ server: Server; url: string; requests: Queue<Received> }> {
  const requests = new Queue<Received>();
  const { server, url } = await upstream((req, res) => requests.push({ req, res, closed: closed(req.socket) }));
  return { server, url, requests };
}

/** Resolves when a socket, a request or a response has closed, with an error or without. */
export function closed(emitter: Socket | ClientRequest | IncomingMessage | ServerResponse): Promise<void> {
  return emitter.closed ? Promise.resolve() : new Promise((resolve) => emitter.once('close', () => resolve()));
}

/** A request that the test may leave half-way: its errors are expected. */
export function openRequest(url: string, options: http.RequestOptions = {}): ClientRequest {
  const req = http.request(url, { agent: false, ...options });
  req.on('error', () => {});
  onCleanUp(() => {
    req.destroy();
  });
  return req;
}

export async function responseTo(req: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(req, 'response');
  response.on('error', () => {});
  return response;
}

export interface RawClient {
  socket: Socket;
  closed: Promise<void>;
  /** Everything that has come. */
  text(): string;
  /** Resolves when `text` has come as often as `times` says. */
  until(text: string, times?: number): Promise<void>;
  /** Resolves when the other side has closed; `reset` tells how. */
  end(): Promise<{ text: string; reset: boolean }>;
}

/** A client that speaks raw bytes. */
export async function rawClient(port: number): Promise<RawClient> {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  let reset = false;
  let wake = (): void => {};
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    wake();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reset = error.code === 'ECONNRESET';
  });
  const end = closed(socket);
  onCleanUp(() => {
    socket.destroy();
  });
  return {
    socket,
    closed: end,
    text: () => text,
    async until(wanted, times = 1) {
      while (text.split(wanted).length <= times) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async end() {
      await end;
      return { text, reset };
    },
  };
}

/** A port of 127.0.0.1 where nothing listens. */
export async function closedPort(): Promise<number> {
  const server = net.createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** Open connections of a server. */
export function connections(server: net.Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

/** Waits for a condition that no event announces; gives up after some seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 800; i += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`Waited in vain: ${condition}`);
}
