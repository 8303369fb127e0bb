import http, { type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { takePieces } from '../../../lib/fast-path/body-push.js';
import { takeChunks } from '../../../lib/fast-path/chunk-passthrough.js';
import { Connection } from '../../../lib/fast-path/connection.js';
import { looseWire } from '../servers/bare-http.js';
import { turns } from '../watch/wait.js';

/** What a reader has made of a response. */
export interface ResponseReading {
  body: string;
  isComplete: boolean;
  trailers: NodeJS.Dict<string>;
  /** What the connection ended with, before its end. */
  error: string | undefined;
}

export interface DirectReading extends ResponseReading {
  /** How many bytes of the body came in whole chunks, past the parser. */
  direct: number;
}

export interface ReadOptions {
  /** Asked before each take. */
  isWanted?: () => boolean;
  method?: string;
}

/** Has Node's parser alone read a response that comes in these reads. */
export function readByParser(reads: readonly Buffer[], { method }: ReadOptions = {}): Promise<ResponseReading> {
  return read(reads, method, () => {});
}

/** Has it read as a relay reads it: with whole chunks taken past the parser. */
export async function readDirectly(
  reads: readonly Buffer[],
  { isWanted = () => true, method }: ReadOptions = {},
): Promise<DirectReading> {
  let direct = 0;
  const reading = await read(reads, method, (source, take) => {
    takePieces(source, take);
    takeChunks(source, isWanted, (chunks, size) => {
      const bytes = dechunked(chunks);
      if (bytes.length !== size) throw new Error(`${size} bytes were told of, and ${bytes.length} came`);
      direct += size;
      take(bytes);
    });
  });
  return { ...reading, direct };
}

async function read(
  reads: readonly Buffer[],
  method = 'GET',
  follow: (source: IncomingMessage, take: (piece: Buffer) => void) => void,
): Promise<ResponseReading> {
  const wire = looseWire();
  const req = http.request({ method, createConnection: () => wire });
  const closed = new Promise((resolve) => wire.once('close', resolve));
  const body: Buffer[] = [];
  let response: IncomingMessage | undefined;
  let error: string | undefined;
  req.once('response', (res) => {
    response = res;
    const take = (piece: Buffer): void => void body.push(piece);
    res.on('error', () => {}).on('data', take);
    follow(res, take);
  });
  req.once('error', (cause: NodeJS.ErrnoException) => {
    error = cause.code;
  });
  req.end();
  Connection.of(wire as unknown as Socket).watch(req);
  await turns();
  for (const bytes of reads) {
    if (!wire.destroyed && bytes.length > 0) wire.push(bytes);
    await turns();
  }
  wire.push(null);
  await turns();
  wire.destroy();
  await closed;
  return {
    body: Buffer.concat(body).toString('latin1'),
    isComplete: response?.complete === true,
    trailers: response?.trailers ?? {},
    error,
  };
}

/** What strict chunks hold; throws for anything else. */
function dechunked(chunks: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let rest = chunks; rest.length > 0; ) {
    const [line = '', digits = ''] = /^([\da-f]+)\r\n/i.exec(rest.toString('latin1')) ?? [];
    const end = line.length + Number.parseInt(digits, 16);
    if (digits === '' || rest.toString('latin1', end, end + 2) !== '\r\n') throw new Error(`no chunk: ${rest}`);
    pieces.push(rest.subarray(line.length, end));
    rest = rest.subarray(end + 2);
  }
  return Buffer.concat(pieces);
}
