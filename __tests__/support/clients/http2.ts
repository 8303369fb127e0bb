import type { ClientHttp2Stream } from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { onCleanUp } from '../watch/clean-up.js';

const DATA = 0;

const HEADERS = 1;

const RST_STREAM = 3;

const SETTINGS = 4;

const GOAWAY = 7;

const END_STREAM = 1;

const END_HEADERS = 4;

type Field = readonly [name: string, value: string];

/** What a client of HTTP/2 sends in one stream. */
export interface Stream {
  fields: readonly Field[];
  data?: readonly string[];
  trailers?: readonly Field[];
  /** It is not ended. */
  isOpen?: boolean;
}

/** RFC 9113 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 9113 3.4. */
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0)]);

/** RFC 7541 5.1 and 5.2: a string in its own bytes. */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length = [Math.min(bytes.length, 127)];
  for (let rest = bytes.length - 127; rest >= 0; rest = rest < 128 ? -1 : rest >>> 7) {
    length.push(rest < 128 ? rest : (rest & 127) | 128);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** RFC 7541 6.2.2: fields that are not indexed, in any bytes at all. */
function block(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function frames({ fields, data = [], trailers, isOpen = false }: Stream): Buffer[] {
  const isEnd = (i: number): number => (i === data.length && trailers === undefined && !isOpen ? END_STREAM : 0);
  return [
    frame(HEADERS, END_HEADERS | isEnd(0), 1, block(fields)),
    ...data.map((text, i) => frame(DATA, isEnd(i + 1), 1, Buffer.from(text, 'latin1'))),
    ...(trailers === undefined ? [] : [frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers))]),
  ];
}

/** Sends one stream on a connection of its own, in the clear; returns what resets it with a code. */
export function sendFramesInTheClear(port: number, stream: Stream): (code: number) => void {
  const socket = net.connect(port, '127.0.0.1');
  onCleanUp(() => void socket.destroy());
  socket.on('error', () => {}).resume();
  socket.write(Buffer.concat([PREFACE, ...frames(stream)]));
  return (code) => void socket.write(frame(RST_STREAM, 0, 1, Buffer.from([0, 0, 0, code])));
}

/**
 * Sends one stream, well-formed or not, on a connection of its own, and resolves with the body of the answer;
 * `undefined` where the stream was refused.
 */
export async function sendFrames(port: number, stream: Stream): Promise<string | undefined> {
  const socket = tls.connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false });
  onCleanUp(() => void socket.destroy());
  socket.write(Buffer.concat([PREFACE, ...frames(stream)]));
  let bytes = Buffer.alloc(0);
  let body = '';
  return new Promise((resolve) => {
    const read = (): void => {
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const size = 9 + bytes.readUIntBE(0, 3);
        const [type, flags] = [bytes.readUInt8(3), bytes.readUInt8(4)];
        if (type === DATA) body += bytes.toString('latin1', 9, size);
        if (type === RST_STREAM || type === GOAWAY) resolve(undefined);
        if ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0) resolve(body);
        bytes = bytes.subarray(size);
      }
    };
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      read();
    });
    socket.on('error', () => {}).once('close', () => resolve(undefined));
  });
}

/** Resolves when the stream has closed: with its body, and the code with which it was reset, 0 for none. */
export async function closing(stream: ClientHttp2Stream): Promise<{ body: string; code: number }> {
  let body = '';
  stream.on('data', (chunk) => {
    body += chunk;
  });
  stream.on('error', () => {});
  if (!stream.closed) await new Promise<void>((resolve) => void stream.once('close', resolve));
  return { body, code: stream.rstCode ?? -1 };
}
