import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { onCleanUp } from '../watch/clean-up.js';
import { type Signal, signal } from '../watch/wait.js';
import { certificate } from './certificate.js';
import { closedPort, listen } from './listen.js';

/** What can go wrong with an upstream. */
export const FAULTS = [
  'refused',
  'reset',
  'no such name',
  'TLS failure',
  'stall',
  'garbage',
  'short body',
  'early close',
  'half-closed',
] as const;

/** How far an exchange has come when it does. */
export const PHASES = [
  'connect',
  'upload',
  'before the head',
  'before the first event',
  'in the middle of an event',
  'between events',
  'before the terminator',
  'before the last chunk',
] as const;

export type Fault = (typeof FAULTS)[number];

export type Phase = (typeof PHASES)[number];

const chunk = (members: object): string =>
  `data: ${JSON.stringify({ object: 'chat.completion.chunk', ...members })}\n\n`;

/** The answer: two pieces of text, the usage, and the terminator. */
export const EVENTS = [
  chunk({ choices: [{ index: 0, delta: { content: 'Hé' } }] }),
  chunk({ choices: [{ index: 0, delta: { content: 'llo 🙂' } }] }),
  chunk({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } }),
  'data: [DONE]\n\n',
] as const;

/** Inside of a character of several bytes. */
const half = Buffer.from(EVENTS[1]).subarray(0, Buffer.from(EVENTS[1]).indexOf('🙂') + 2);

/** What of the body has been sent when the fault comes; nothing is listed where not even the head has. */
const SENT: { [phase in Phase]?: Buffer } = {
  'before the first event': Buffer.alloc(0),
  'in the middle of an event': Buffer.concat([Buffer.from(EVENTS[0]), half]),
  'between events': Buffer.from(EVENTS[0]),
  'before the terminator': Buffer.from(EVENTS.slice(0, 3).join('')),
  'before the last chunk': Buffer.from(EVENTS.join('')),
};

/** The most that is missing of a body that is short. */
const MISSING = 100;

/** Nothing of it can be taken for HTTP, for the size of a chunk, or for TLS. */
const GARBAGE = 'SSH-2.0-OpenSSH_9.6\r\n\r\n';

const STRIKES: { [fault in Fault]?: (socket: Socket) => void } = {
  reset: (socket) => socket.resetAndDestroy(),
  'TLS failure': (socket) => socket.write(GARBAGE),
  stall: (socket) => socket.pause(),
  garbage: (socket) => socket.write(GARBAGE),
  'short body': (socket) => socket.destroy(),
  'early close': (socket) => socket.destroy(),
  // It goes on to read.
  'half-closed': (socket) => socket.end(),
};

export interface FaultyUpstream {
  url: string;
  /** Resolves when the phase is reached; with what was sent of the body, `undefined` where no head was. */
  reached: Promise<Buffer | undefined>;
  /** Lets the fault happen. Those of `connect` happen by themselves. */
  strike(): void;
  /** How many of its connections are open. */
  open(): number;
}

/** An upstream that fails in this way, at this point, with whatever asks it. */
export async function faultyUpstream(fault: Fault, phase: Phase): Promise<FaultyUpstream> {
  if (phase === 'connect') return failingToConnect(fault);
  const phaseReached = signal<Buffer | undefined>();
  const script = (socket: Socket): void => serve(socket, fault, phase, phaseReached);
  // Behind its handshake TLS fails when something on the way breaks into it.
  const inner = fault === 'TLS failure' ? await tlsServer(script) : undefined;
  const { port, connections } = await tcpServer(inner === undefined ? script : (socket) => pipeTo(inner, socket));
  return {
    url: `${inner === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    reached: phaseReached.promise,
    strike: () => connections.forEach((socket) => void STRIKES[fault]?.(socket)),
    open: () => count(connections),
  };
}

async function failingToConnect(fault: Fault): Promise<FaultyUpstream> {
  const upstream = { reached: Promise.resolve(undefined), strike: () => {}, open: () => 0 };
  if (fault === 'refused') return { ...upstream, url: `http://127.0.0.1:${await closedPort()}` };
  if (fault === 'no such name') return { ...upstream, url: 'http://does-not-exist.invalid' };
  // The certificate is one that nobody vouches for.
  if (fault === 'TLS failure') return { ...upstream, url: `https://127.0.0.1:${await tlsServer(() => {})}` };
  const { port, connections } = await tcpServer((socket) => {
    socket.resume();
    // Not before the other side knows that it is connected.
    setImmediate(() => STRIKES[fault]?.(socket));
  });
  // Without TLS a connection is made by the operating system: it takes a handshake to stall.
  const protocol = fault === 'stall' ? 'https' : 'http';
  return { ...upstream, url: `${protocol}://127.0.0.1:${port}`, open: () => count(connections) };
}

/** Reads a request, and answers it as far as the phase has it. */
function serve(socket: Socket, fault: Fault, phase: Phase, reached: Signal<Buffer | undefined>): void {
  let request = '';
  // A short body has a head, also where that comes in the middle of an upload.
  const sent = SENT[phase] ?? (fault === 'short body' ? Buffer.from(EVENTS[0]) : undefined);
  const onData = (data: Buffer): void => {
    request += data.toString('latin1');
    const [head = '', body] = request.split('\r\n\r\n');
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (body === undefined || body.length < (phase === 'upload' ? 1 : length)) return;
    socket.removeListener('data', onData).resume();
    if (sent !== undefined) socket.write(answer(sent, fault));
    reached.resolve(sent);
  };
  socket.on('data', onData);
}

function answer(body: Buffer, fault: Fault): Buffer {
  const framing = fault === 'short body' ? `Content-Length: ${body.length + MISSING}` : 'Transfer-Encoding: chunked';
  const head = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${framing}\r\n\r\n`);
  if (fault === 'short body' || body.length === 0) return Buffer.concat([head, body]);
  return Buffer.concat([head, Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]);
}

async function tcpServer(onConnection: (socket: Socket) => void): Promise<{ port: number; connections: Set<Socket> }> {
  const connections = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    // A reset is one way to close it.
    socket.on('error', () => {}).once('close', () => connections.delete(socket));
    // The other side is done with it.
    socket.once('end', () => socket.destroy());
    onConnection(socket);
  });
  onCleanUp(() => connections.forEach((socket) => void socket.destroy()));
  return { port: await listen(server), connections };
}

/** A server behind TLS; returns its port. */
async function tlsServer(onConnection: (socket: Socket) => void): Promise<number> {
  const { key, cert } = await certificate();
  const server = tls.createServer({ key, cert }, (socket) => {
    onConnection(socket.on('error', () => {}));
  });
  return listen(server);
}

function pipeTo(port: number, socket: Socket): void {
  const inner = net.connect(port, '127.0.0.1');
  inner.on('error', () => {}).once('close', () => socket.destroy());
  socket.once('close', () => inner.destroy());
  socket.pipe(inner).pipe(socket, { end: false });
}

function count(connections: Set<Socket>): number {
  // One that is paused would not notice that it was closed.
  for (const socket of connections) socket.resume();
  return connections.size;
}
