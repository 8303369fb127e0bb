/**
 * What the proxy has to know of Node, or tell it, and Node does not document: no tricks, but what is needed to be correct. Each
 * member is held by a test in `__tests__/contract/node.test.ts`.
 */
import type {
  Agent,
  ClientRequest,
  IncomingMessage,
  OutgoingMessage,
  RequestOptions,
  Server,
  ServerResponse,
} from 'node:http';
import type { Http2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/** What Node has and its types do not name. */
interface Internals {
  /** Of a server's connection: the response that has its turn. */
  readonly _httpMessage?: ServerResponse | null;
  /** Of a server's connection. */
  readonly server?: Server;
  /** Of a response. */
  readonly _hasBody: boolean;
  /** Of a response. */
  readonly _contentLength: number | null;
  /** Of an HTTP/2 stream. */
  readonly headRequest: boolean;
  /** Of a Readable. */
  readonly _readableState?: { decoder?: { lastNeed?: number } | null };
  /** Of an agent. */
  addRequest(request: ClientRequest, options: RequestOptions): void;
}

const internals = (object: object): Internals => object as Internals;

// --- connections ------------------------------------------------------------------------------------------------------

/** The server that a connection came in by; `undefined` for a stand-in for a connection. */
export function serverOf(socket: Socket): Server | undefined {
  return internals(socket).server;
}

/**
 * The response that a client's connection carries now (RFC 9112 9.3.2: pipelined requests are answered in their order).
 * `undefined` where there is none.
 */
export function responseInTurn(socket: Socket): ServerResponse | undefined {
  return internals(socket)._httpMessage ?? undefined;
}

/** Calls back when a pipelined response gets its connection: its turn has come. */
export function onceAssigned(res: ServerResponse, callback: () => void): void {
  res.once('socket', callback);
}

/** Gives a connection to a response of our own making. Another response that has it, and has not ended, loses it. */
export function assignConnection(res: ServerResponse, socket: Socket): void {
  responseInTurn(socket)?.detachSocket(socket);
  res.assignSocket(socket);
}

/** Takes the connection from its response, and leaves it open. */
export function detachConnection(res: ServerResponse, socket: Socket): void {
  res.detachSocket(socket);
}

// --- what Node has decided of a message -------------------------------------------------------------------------------

/** Whether a response has a body (RFC 9110 6.4.1): by the method as it was received, and by the status once that is written. */
export function hasResponseBody(res: ServerResponse): boolean {
  return internals(res)._hasBody;
}

/** How long the head that was written says the body is; `undefined` where it says nothing. */
export function promisedLength(res: ServerResponse): number | undefined {
  return internals(res)._contentLength ?? undefined;
}

/** Whether the body of a response has the chunked transfer coding. Known when its head is written. */
export function isChunked(res: ServerResponse): boolean {
  return res.chunkedEncoding;
}

/** Whether the connection is to be used again after this message. */
export function isKeptAlive(message: OutgoingMessage): boolean {
  return message.shouldKeepAlive;
}

/** Has the connection close behind this message. */
export function closeBehind(message: OutgoingMessage): void {
  message.shouldKeepAlive = false;
}

/** Whether an HTTP/2 stream is one of a HEAD, which middleware cannot change as it can the method of a request. */
export function isHeadStream(stream: Http2Stream): boolean {
  return internals(stream).headRequest;
}

/** Whether nothing of a character that is not complete waits in the decoder of a message with an encoding. */
export function isDecoderEmpty(message: IncomingMessage): boolean {
  return internals(message)._readableState?.decoder?.lastNeed === 0;
}

// --- agents -----------------------------------------------------------------------------------------------------------

/** Has an agent find a connection for a request: the contract between Node's requests and whatever is given them as an agent. */
export function addRequest(agent: Agent, request: ClientRequest, options: RequestOptions): void {
  internals(agent).addRequest(request, options);
}
