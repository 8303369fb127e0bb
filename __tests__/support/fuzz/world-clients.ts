import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import net, { type Socket } from 'node:net';
import { turns } from '../watch/wait.js';

/** One message's fields, in order, with names in lower case. */
type Fields = [name: string, value: string][];

/** What came of one response. */
export interface Got {
  /** The 1xx in front of it. */
  early: { status: number; fields: Fields }[];
  /** `undefined` where no final head came. */
  status: number | undefined;
  fields: Fields;
  /** The bytes of its content. */
  body: string;
  trailers: Fields;
  framing: 'none' | 'length' | 'chunked' | 'close' | 'frames';
  /** Whoever reads it takes it for the whole. */
  isComplete: boolean;
}

/** One request as it goes out. */
export interface Sent {
  method: string;
  path: string;
  version: '1.1' | '1.0';
  body: string | undefined;
  framing: 'length' | 'chunked';
  expects: boolean;
  closes: boolean;
  /** More was promised than is ever sent. */
  isEndless: boolean;
  /** Of HTTP/2: after so many bytes of the response. */
  resets: { after: number; code: number } | undefined;
}

export interface Leaving {
  /** Bytes of all that comes over the connection. */
  after: number;
  by: 'end' | 'destroy' | 'reset';
}

/** A connection with the proxy. */
export interface WorldClient {
  got: Got[];
  /** What nobody may ever send. */
  faults: string[];
  /** It went before all was there. */
  readonly hasLeft: boolean;
  /** Those that this client has given up, or whose upload it never ended. */
  givenUp: Set<number>;
  /** Every response has come to its end, or cannot come any more. */
  readonly isSettled: boolean;
  /** What has not may wait for an upload that never ends. */
  readonly mayGiveUp: boolean;
  /** Gives up the uploads that never end. */
  giveUp(): void;
  /** Whatever it is that is left. */
  giveUpAll(): void;
  close(): Promise<void>;
}

function nothing(): Got {
  return { early: [], status: undefined, fields: [], body: '', trailers: [], framing: 'none', isComplete: false };
}

export const fieldOf = (fields: Fields, name: string): string | undefined =>
  fields.find(([each]) => each === name)?.[1];

// --- HTTP/1.1 ---------------------------------------------------------------------------------------------------------

const STATUS_LINE = /^HTTP\/1\.1 ([1-9]\d\d) [\t -~\x80-\xff]*$/;

const FIELD_LINE = /^([\w!#$%&'*+.^`|~-]+):[\t ]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[\t ]*$/;

/** Reads the responses of one connection by RFC 9112, to the letter and byte by byte. */
class ResponsesReader {
  readonly got: Got[];
  readonly faults: string[] = [];
  readonly #methods: readonly string[];
  #index = 0;
  #state: 'head' | 'length' | 'chunk' | 'chunk end' | 'trailers' | 'close' | 'broken' = 'head';
  #rest = '';
  #missing = 0;

  constructor(methods: readonly string[]) {
    this.#methods = methods;
    this.got = methods.map(nothing);
  }

  /** How many responses have come to their end. */
  get count(): number {
    return this.#index;
  }

  push(bytes: Buffer): void {
    this.#rest += bytes.toString('latin1');
    while (this.#step());
  }

  /** The connection has ended. */
  end(isReset: boolean): void {
    const current = this.got[this.#index];
    if (this.#state === 'close' && current !== undefined) current.isComplete = !isReset;
  }

  #broken(what: string): false {
    this.#state = 'broken';
    this.faults.push(`${what} at response ${this.#index}: ${JSON.stringify(this.#rest.slice(0, 200))}`);
    return false;
  }

  #done(): true {
    (this.got[this.#index] as Got).isComplete = true;
    this.#index += 1;
    this.#state = 'head';
    return true;
  }

  /** Whether there is more to be read. */
  #step(): boolean {
    if (this.#rest === '' || this.#state === 'broken') return false;
    const current = this.got[this.#index];
    if (current === undefined) return this.#broken('bytes behind the last response');
    switch (this.#state) {
      case 'head':
        return this.#readHead(current);
      case 'length':
        return this.#readLength(current);
      case 'chunk':
        return this.#readChunk(current);
      case 'chunk end':
        return this.#readChunkEnd();
      case 'trailers':
        return this.#readTrailers(current);
      default:
        current.body += this.#take(this.#rest.length);
        return false;
    }
  }

  #take(size: number): string {
    const taken = this.#rest.slice(0, size);
    this.#rest = this.#rest.slice(size);
    return taken;
  }

  #readHead(current: Got): boolean {
    // The first byte that cannot be one tells as much as a whole line of them.
    if (!'HTTP/1.1 '.startsWith(this.#rest.slice(0, 9))) return this.#broken('not a status line');
    const size = this.#rest.indexOf('\r\n\r\n');
    if (size < 0) return false;
    const [start = '', ...lines] = this.#rest.slice(0, size).split('\r\n');
    const status = Number(STATUS_LINE.exec(start)?.[1] ?? 0);
    const fields = fieldsOf(lines);
    if (status === 0 || fields === undefined) return this.#broken('not a head');
    this.#take(size + 4);
    const lengths = fields.filter(([name]) => name === 'content-length');
    const codings = fields.filter(([name]) => name === 'transfer-encoding');
    if (lengths.length + codings.length > 1) return this.#broken('framed twice');
    const isEarly = status < 200;
    if ((isEarly || status === 204) && lengths.length + codings.length > 0)
      return this.#broken(`framing of a ${status}`);
    if (isEarly) {
      current.early.push({ status, fields });
      return status === 101 ? this.#broken('101') : true;
    }
    current.status = status;
    current.fields = fields;
    if (this.#methods[this.#index] === 'HEAD' || status === 204 || status === 304) return this.#done();
    const [[, length] = [undefined, undefined]] = lengths;
    const [[, coding] = [undefined, undefined]] = codings;
    if (coding !== undefined) {
      if (coding !== 'chunked') return this.#broken('transfer coding');
      current.framing = 'chunked';
      this.#state = 'chunk';
    } else if (length !== undefined) {
      if (!/^\d+$/.test(length)) return this.#broken('not a length');
      current.framing = 'length';
      this.#missing = Number(length);
      this.#state = 'length';
      if (this.#missing === 0) return this.#done();
    } else {
      current.framing = 'close';
      this.#state = 'close';
    }
    return true;
  }

  #readLength(current: Got): boolean {
    const part = this.#take(this.#missing);
    current.body += part;
    this.#missing -= part.length;
    return this.#missing === 0 ? this.#done() : false;
  }

  #readChunk(current: Got): boolean {
    if (this.#missing > 0) {
      const part = this.#take(this.#missing);
      current.body += part;
      this.#missing -= part.length;
      if (this.#missing === 0) this.#state = 'chunk end';
      return true;
    }
    const size = this.#rest.indexOf('\r\n');
    const line = size < 0 ? this.#rest.replace(/\r$/, '') : this.#rest.slice(0, size);
    // The first byte that cannot be one tells as much as a whole line of them.
    if (!/^[\da-f]{0,8}$/i.test(line) || size === 0) return this.#broken('not the size of a chunk');
    if (size < 0) return false;
    this.#take(size + 2);
    this.#missing = Number.parseInt(line, 16);
    if (this.#missing === 0) this.#state = 'trailers';
    return true;
  }

  #readChunkEnd(): boolean {
    if (this.#rest.length < 2) return false;
    this.#state = 'chunk';
    return this.#take(2) === '\r\n' || this.#broken('no line end behind a chunk');
  }

  #readTrailers(current: Got): boolean {
    if (this.#rest.startsWith('\r\n')) {
      this.#take(2);
      return this.#done();
    }
    const size = this.#rest.indexOf('\r\n\r\n');
    if (size < 0) return false;
    const fields = fieldsOf(this.#rest.slice(0, size).split('\r\n'));
    if (fields?.every(([name]) => !/^(content-length|transfer-encoding|connection)$/.test(name)) !== true) {
      return this.#broken('not a trailer');
    }
    this.#take(size + 4);
    current.trailers = fields;
    return this.#done();
  }
}

function fieldsOf(lines: readonly string[]): Fields | undefined {
  const fields: Fields = [];
  for (const line of lines) {
    const [, name, value = ''] = FIELD_LINE.exec(line) ?? [];
    if (name === undefined) return undefined;
    fields.push([name.toLowerCase(), value]);
  }
  return fields;
}

/** The bytes of a request, head and body. */
function requestBytes(sent: Sent): { head: string; body: string } {
  const { method, path, version, body, framing, expects, closes, isEndless } = sent;
  const fields = ['Host: proxy.example'];
  if (body !== undefined) {
    fields.push('Content-Type: text/plain');
    fields.push(
      framing === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length + (isEndless ? 9 : 0)}`,
    );
  }
  if (expects) fields.push('Expect: 100-continue');
  if (closes) fields.push('Connection: close');
  const head = `${method} ${path} HTTP/${version}\r\n${fields.join('\r\n')}\r\n\r\n`;
  if (body === undefined) return { head, body: '' };
  if (framing === 'length') return { head, body };
  const chunk = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`;
  return { head, body: `${chunk}${isEndless ? '' : '0\r\n\r\n'}` };
}

const BAD_REQUEST = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n';

export interface Http1Plan {
  port: number;
  requests: readonly Sent[];
  /** All at once, each when the one before was answered, or in pieces that begin and end anywhere. */
  sending: 'at once' | 'in turn' | number[];
  leaves: Leaving | undefined;
  reads: 'at once' | 'slowly' | 'never';
  /** Called whenever something has happened. */
  moved(): void;
}

export function http1Client({ port, requests, sending, leaves, reads, moved }: Http1Plan): WorldClient {
  const reader = new ResponsesReader(requests.map(({ method }) => method));
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
  const givenUp = new Set<number>();
  let size = 0;
  let isClosed = false;
  let isReset = false;
  let hasLeft = false;
  let wake = (): void => {};
  const happened = (): void => {
    moved();
    wake();
  };
  const leave = (): void => {
    if (leaves === undefined || hasLeft || isClosed || size < leaves.after) return;
    hasLeft = true;
    leaveBy(socket, leaves.by);
  };
  socket.on('data', (chunk) => {
    size += chunk.length;
    // Node's own, to half a request that nothing follows.
    if (!(hasLeft || socket.writableEnded) || chunk.toString() !== BAD_REQUEST) reader.push(chunk);
    leave();
    happened();
    if (reads === 'slowly') {
      socket.pause();
      void turns(3).then(() => socket.resume());
    }
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    isReset ||= error.code === 'ECONNRESET';
  });
  const closed = new Promise<void>((resolve) =>
    socket.once('close', () => {
      isClosed = true;
      reader.end(isReset);
      happened();
      resolve();
    }),
  );
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition() && !isClosed) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const write = (bytes: string): void => {
    if (bytes !== '' && socket.writable && !hasLeft) socket.write(bytes, 'latin1');
    moved();
  };
  const send = async (): Promise<void> => {
    const messages = requests.map(requestBytes);
    if (sending === 'in turn') {
      for (const [i, { head, body }] of messages.entries()) {
        await until(() => reader.count >= i);
        if (requests[i]?.expects !== true) write(head + body);
        else {
          write(head);
          await until(() => (reader.got[i]?.early.length ?? 0) > 0 || reader.got[i]?.status !== undefined);
          write(body);
        }
      }
      return;
    }
    const all = messages.map(({ head, body }) => head + body).join('');
    const places =
      sending === 'at once' ? [] : sending.map((share) => Math.round(share * all.length)).sort((a, b) => a - b);
    for (const [i, end] of [...places, all.length].entries()) {
      if (i > 0) await turns(2);
      write(all.slice(places[i - 1] ?? 0, end));
    }
  };
  if (reads === 'never') socket.pause();
  socket.once('connect', () => {
    leave();
    void send();
  });
  return {
    got: reader.got,
    faults: reader.faults,
    givenUp,
    get hasLeft() {
      return hasLeft;
    },
    get isSettled() {
      return isClosed || reader.count >= requests.length || reader.faults.length > 0;
    },
    get mayGiveUp() {
      return requests.at(-1)?.isEndless === true && reader.count >= requests.length - 1;
    },
    giveUp() {
      const last = requests.length - 1;
      if (reader.got[last]?.isComplete !== true) givenUp.add(last);
      if (requests[last]?.isEndless === true) socket.destroy();
    },
    giveUpAll() {
      hasLeft = true;
      socket.destroy();
    },
    async close() {
      socket.end().resume();
      // What the other side has still to say belongs to nobody, but is looked at all the same.
      if (!isClosed) await closed;
    },
  };
}

function leaveBy(socket: Socket, by: Leaving['by']): void {
  if (by === 'end') socket.end();
  else if (by === 'destroy') socket.destroy();
  else socket.resetAndDestroy();
}

// --- HTTP/2 -----------------------------------------------------------------------------------------------------------

const DATA = 0;

const HEADERS = 1;

const RST_STREAM = 3;

const END_STREAM = 1;

/** What the frames of a connection say of each of its streams, whatever a client's library makes of them. */
class FrameReader {
  readonly ended = new Set<number>();
  readonly resets = new Map<number, number>();
  readonly faults: string[] = [];
  #rest: Buffer = Buffer.alloc(0);

  push(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const size = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < size) return;
      this.#read(this.#rest.subarray(0, size));
      this.#rest = this.#rest.subarray(size);
    }
  }

  #read(frame: Buffer): void {
    const [type, flags, stream] = [frame.readUInt8(3), frame.readUInt8(4), frame.readUInt32BE(5)];
    if (type === RST_STREAM) this.resets.set(stream, frame.readUInt32BE(9));
    if (type !== DATA && type !== HEADERS) return;
    if (this.ended.has(stream)) this.faults.push(`a frame behind the end of stream ${stream}`);
    if ((flags & END_STREAM) !== 0) this.ended.add(stream);
  }
}

export interface Http2Plan {
  port: number;
  requests: readonly Sent[];
  window: number;
  leaves: Leaving | undefined;
  reads: 'at once' | 'slowly' | 'never';
  moved(): void;
}

/** With a relay in between, which sees the frames: of an end without END_STREAM Node's client makes the end of a body. */
export async function http2Client({ port, requests, window, leaves, reads, moved }: Http2Plan): Promise<WorldClient> {
  const frames = new FrameReader();
  const sockets: Socket[] = [];
  let size = 0;
  let hasLeft = false;
  let isClosed = false;
  const relay = net.createServer((client) => {
    const server = net.connect({ port, host: '127.0.0.1', noDelay: true });
    client.setNoDelay(true);
    sockets.push(client, server);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('error', () => {});
      from.once('close', () => to.destroy());
    }
    client.on('data', (chunk) => server.write(chunk));
    client.on('end', () => server.end());
    server.on('data', (chunk) => {
      size += chunk.length;
      frames.push(chunk);
      if (!client.destroyed) client.write(chunk);
      moved();
      if (leaves === undefined || hasLeft || size < leaves.after) return;
      hasLeft = true;
      leaveBy(server, leaves.by);
      if (leaves.by === 'end') client.destroy();
    });
    server.on('end', () => client.end());
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(relay.address() as net.AddressInfo).port}`, {
    settings: { initialWindowSize: window },
  });
  session.on('error', () => {});
  session.once('close', () => {
    isClosed = true;
    moved();
  });
  const got = requests.map((): Got => ({ ...nothing(), early: [], framing: 'frames' }));
  const givenUp = new Set<number>();
  const streams = requests.map((sent, i) => ask(session, sent, got[i] as Got, reads, moved, () => givenUp.add(i)));
  const isOver = (i: number): boolean => {
    const stream = streams[i] as ClientHttp2Stream;
    return stream.closed || (stream.id !== undefined && frames.ended.has(stream.id) && stream.readableEnded);
  };
  const finish = (): void => {
    for (const [i, stream] of streams.entries()) {
      (got[i] as Got).isComplete = stream.id !== undefined && frames.ended.has(stream.id);
    }
  };
  return {
    got,
    faults: frames.faults,
    givenUp,
    get hasLeft() {
      return hasLeft;
    },
    get isSettled() {
      finish();
      return isClosed || requests.every((_sent, i) => isOver(i));
    },
    mayGiveUp: requests.some(({ isEndless }) => isEndless),
    giveUp() {
      for (const [i, stream] of streams.entries()) {
        if (stream.closed || requests[i]?.isEndless !== true) continue;
        if (stream.id === undefined || !frames.ended.has(stream.id)) givenUp.add(i);
        stream.close(requests[i]?.resets?.code ?? http2.constants.NGHTTP2_CANCEL);
      }
    },
    giveUpAll() {
      hasLeft = true;
      session.destroy();
    },
    async close() {
      finish();
      const closed = isClosed ? undefined : once(session, 'close');
      if (!isClosed) session.close();
      if (!isClosed) session.destroy();
      await closed;
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => relay.close(resolve));
    },
  };
}

function ask(
  session: ClientHttp2Session,
  sent: Sent,
  got: Got,
  reads: Http2Plan['reads'],
  moved: () => void,
  gaveUp: () => void,
): ClientHttp2Stream {
  const { method, path, body, framing, expects, isEndless, resets } = sent;
  const stream = session.request(
    {
      ':method': method,
      ':path': path,
      ...(body !== undefined && { 'content-type': 'text/plain' }),
      ...(body !== undefined &&
        framing === 'length' && { 'content-length': String(body.length + (isEndless ? 9 : 0)) }),
      ...(expects && { expect: '100-continue' }),
    },
    { endStream: body === undefined },
  );
  let size = 0;
  const reset = (): void => {
    if (resets === undefined || stream.closed || size < resets.after) return;
    gaveUp();
    stream.close(resets.code);
  };
  stream.on('headers', (headers: IncomingHttpHeaders) => {
    got.early.push({ status: Number(headers[':status']), fields: listOf(headers) });
    moved();
  });
  stream.on('response', (headers) => {
    got.status = Number(headers[':status']);
    got.fields = listOf(headers);
    moved();
    reset();
  });
  stream.on('trailers', (headers) => {
    got.trailers = listOf(headers);
  });
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    got.body += chunk.toString('latin1');
    moved();
    reset();
    if (reads !== 'slowly' || stream.closed) return;
    stream.pause();
    void turns(3).then(() => stream.resume());
  });
  stream.on('error', () => {}).once('close', moved);
  if (reads === 'never') stream.pause();
  if (body !== undefined) {
    if (body !== '') stream.write(body, 'latin1');
    if (!isEndless) stream.end();
  }
  if (resets !== undefined && resets.after < 0) setImmediate(reset);
  return stream;
}

function listOf(headers: IncomingHttpHeaders): Fields {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((line): [string, string] => [name, String(line)]),
  );
}
