/**
 * Undocumented members of Node that the proxy needs to be correct: no tricks, so that the switch leaves them alone. Each has a test in
 * `__tests__/contract/node.test.ts`.
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

/** Members that Node's types do not name. */
interface Internals {
  /** Of a connection of a server: the response that has its turn. */
  readonly _httpMessage?: ServerResponse | null;
  /** Of a connection of a server. */
  readonly server?: Server;
  /** Of a response. */
  readonly _hasBody: boolean;
  /** Of a response. */
  readonly _contentLength: number | null;
  /** Of an HTTP/2 stream. */
  readonly headRequest: boolean;
  /** Of a Readable. */
  readonly _readableState?: { decoder?: { lastNeed?: number } | null };
  /** Of a request to an upstream. */
  agent?: object;
  /** Of an agent. */
  addRequest(request: ClientRequest, options: RequestOptions): void;
}

const internals = (object: object): Internals => object as Internals;

// --- connections ------------------------------------------------------------------------------------------------------

/** The server that accepted a connection; `undefined` for a stand-in such as serverless hosts make, which may have `null` for one. */
export function serverOf(socket: Socket): Server | undefined {
  return internals(socket).server ?? undefined;
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

/** Assigns a connection to a response that the proxy has made. Another response that has the connection loses it. */
export function assignConnection(res: ServerResponse, socket: Socket): void {
  responseInTurn(socket)?.detachSocket(socket);
  res.assignSocket(socket);
}

/** Takes a connection away from its response, and leaves it open. */
export function detachConnection(res: ServerResponse, socket: Socket): void {
  res.detachSocket(socket);
}

// --- what Node has decided of a message -------------------------------------------------------------------------------

/** Whether a response has a body (RFC 9110 6.4.1): by the method that was received, and by the status code once that is written. */
export function hasResponseBody(res: ServerResponse): boolean {
  return internals(res)._hasBody;
}

/** The Content-Length of the head that was written; `undefined` if it has none. */
export function promisedLength(res: ServerResponse): number | undefined {
  return internals(res)._contentLength ?? undefined;
}

/** Whether a response has the chunked transfer coding. Known when its head is written. */
export function isChunked(res: ServerResponse): boolean {
  return res.chunkedEncoding;
}

/** Whether the connection is kept open after this message. */
export function isKeptAlive(message: OutgoingMessage): boolean {
  return message.shouldKeepAlive;
}

/** Has Node close the connection after this message. */
export function closeBehind(message: OutgoingMessage): void {
  message.shouldKeepAlive = false;
}

/** Whether the request of an HTTP/2 stream is a HEAD. Middleware cannot change this, as it can the method of a request. */
export function isHeadStream(stream: Http2Stream): boolean {
  return internals(stream).headRequest;
}

/** Whether the decoder of a message with an encoding holds no incomplete character. */
export function isDecoderEmpty(message: IncomingMessage): boolean {
  return internals(message)._readableState?.decoder?.lastNeed === 0;
}

// --- agents -----------------------------------------------------------------------------------------------------------

/** Asks an agent for a connection for a request: this is the contract between Node's requests and custom agents. */
export function addRequest(agent: Agent, request: ClientRequest, options: RequestOptions): void {
  internals(agent).addRequest(request, options);
}

/**
 * What a request shows as its agent, which others read. It is Node's only until the agent has been asked for a connection; behind that
 * Node asks but whether there is one.
 */
export function showAgent(request: ClientRequest, agent: object): void {
  internals(request).agent = agent;
}
